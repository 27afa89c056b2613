//! Pipelines that collect items for the next stage. How long a batch waits is in `tests/test_clock/flow.rs`.

use std::sync::mpsc;
use std::time::Duration;

use crate::support::closures::{assert_quiet, pool};
use crate::support::{Count, Gate, LIMIT, Living, eventually, on_every_dispatch, quiet_panics, within};
use formicary::{CancelToken, Dispatch, OnError, Pipeline, Pool};

/// Batches go on when they are full, or nothing comes after them.
const NEVER: Duration = Duration::MAX;

fn in_order<D: Dispatch>() {
    let pool = pool::<D>(3, 10);
    for (items, max) in [(0, 3), (1, 3), (3, 3), (7, 3), (5, 1), (5, 100)] {
        let batches = Pipeline::from(0..items)
            .stage(&*pool, |n: u32| n)
            .batch(max, NEVER)
            .stage(&*pool, |batch| batch)
            .collect::<Vec<_>>();
        assert!(batches.unwrap().into_iter().eq((0..items).collect::<Vec<_>>().chunks(max).map(<[u32]>::to_vec)));
    }
    // From the source to the consumer, and of batches.
    assert_eq!(Pipeline::from(0..3).batch(2, NEVER).collect::<Vec<_>>().unwrap(), [vec![0, 1], vec![2]]);
    let twice = Pipeline::from(0..5).batch(2, NEVER).batch(2, NEVER).collect::<Vec<_>>().unwrap();
    assert_eq!(twice, [vec![vec![0, 1], vec![2, 3]], vec![vec![4]]]);
    // Each item is in one.
    let unordered = Pipeline::from(0..1000).stage(&*pool, |n: u32| n).unordered().batch(7, Duration::ZERO);
    let mut items = unordered.stage(&*pool, |batch| batch).unordered().collect::<Vec<_>>().unwrap().concat();
    items.sort_unstable();
    assert!(items.into_iter().eq(0..1000));
    assert_quiet(&pool);
}

#[test]
fn batches_have_the_items_in_order_and_the_last_what_is_left() {
    on_every_dispatch!(in_order);
}

/// So many wait that to move all of them for each newcomer would take minutes.
#[test]
fn a_large_buffer_costs_nothing() {
    let many: usize = if cfg!(miri) { 50 } else { 30_000 };
    within(LIMIT, "large buffer", move || {
        let pool = Pool::new(1).unwrap();
        let gate = Gate::new();
        let held = gate.clone();
        let pipeline = Pipeline::from((0..many).map(|_| [0_u64; 200])).batch(7, NEVER).buffer(many);
        let pipeline = pipeline.stage(&pool, move |batch| {
            held.wait();
            batch.len()
        });
        let monitor = pipeline.monitor();
        let results = pipeline.into_iter();
        eventually("all wait", || monitor.stats().pulled == many as u64);
        gate.open();
        assert_eq!(results.map(Result::unwrap).sum::<usize>(), many);
    });
}

/// The next stage holds one batch, and one waits for room. Where more may wait, more do.
fn bounded<D: Dispatch>() {
    for (buffer, waiting) in [(None, 3), (Some(5), 5)] {
        let pool = pool::<D>(1, 10);
        let (pulled, gate) = (Count::new(), Gate::new());
        let (seen, held) = (pulled.clone(), gate.clone());
        let mut pipeline = Pipeline::from((0..10).inspect(move |_| _ = seen.up())).batch(3, NEVER).name("batch");
        if let Some(items) = buffer {
            pipeline = pipeline.buffer(items);
        }
        let hold = move |batch: Vec<u32>| {
            held.wait();
            batch.len()
        };
        let results = pipeline.stage(&*pool, hold).buffer(1).into_iter();
        gate.await_arrivals(1);
        // A batch that is being passed on counts until the next stage has it.
        eventually("the batch behind it is full", || {
            let stats = results.stats();
            (stats.stages[0].left, stats.stages[0].waiting_for_room) == (3, waiting)
        });
        let stats = results.stats();
        let batch = &stats.stages[0];
        assert_eq!((pulled.get(), stats.pulled), (3 + waiting, 3 + waiting as u64));
        assert_eq!((batch.name.as_deref(), batch.buffer), (Some("batch"), waiting));
        assert_eq!((batch.entered, batch.left), (3 + waiting as u64, 3));
        assert_eq!((batch.queued, batch.running, batch.busy), (0, 0, None));
        gate.open();
        assert!(results.map(Result::unwrap).eq([3, 3, 3, 1]));
        assert_quiet(&pool);
    }
}

#[test]
fn a_batch_holds_no_more_than_it_may() {
    on_every_dispatch!(bounded);
}

/// Without a delay the first item goes on alone, and what comes while there is no room goes together.
fn growing<D: Dispatch>() {
    let (pool, gate) = (pool::<D>(1, 10), Gate::new());
    let held = gate.clone();
    let hold = move |batch: Vec<u32>| {
        held.wait();
        batch
    };
    let (sender, receiver) = mpsc::channel();
    let mut results = Pipeline::from(receiver).batch(4, Duration::ZERO).stage(&*pool, hold).buffer(1).into_iter();
    sender.send(0).unwrap();
    gate.await_arrivals(1);
    (1..=3).for_each(|n| sender.send(n).unwrap());
    eventually("three wait", || results.stats().stages[0].waiting_for_room == 3);
    gate.open();
    assert_eq!(results.next().unwrap().unwrap(), [0]);
    assert_eq!(results.next().unwrap().unwrap(), [1, 2, 3]);
    drop(sender);
    assert!(results.next().is_none());
    assert_quiet(&pool);
}

#[test]
fn a_batch_grows_while_it_waits_for_room() {
    on_every_dispatch!(growing);
}

fn failing<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(2, 10);
    for is_panic in [false, true] {
        let fails = move |n: u32| match n {
            5 if is_panic => std::panic::panic_any("five"),
            5 => Err("five"),
            n => Ok(n),
        };
        let pipeline = |on_error| {
            Pipeline::from(0..).try_stage(&*pool, fails).batch(3, NEVER).stage(&*pool, |batch| batch).on_error(on_error)
        };
        let mut batches = Vec::new();
        let error = pipeline(OnError::Drain).for_each(|batch| batches.push(batch)).unwrap_err();
        assert_eq!((batches, error.stage()), (vec![vec![0, 1, 2], vec![3, 4]], Some(0)));
        let last = pipeline(OnError::Cancel).into_iter().last().unwrap();
        assert_eq!(last.unwrap_err().stage(), Some(0));
    }
    // After the batch, which counts as a stage.
    let after = Pipeline::from(0..).batch(3, NEVER).name("three").try_stage(&*pool, |batch: Vec<u32>| match batch[0] {
        6 => Err("six"),
        _ => Ok(batch.len()),
    });
    let mut results: Vec<_> = after.into_iter().collect();
    assert_eq!(results.pop().unwrap().unwrap_err().stage(), Some(1));
    assert!(results.into_iter().map(Result::unwrap).eq([3, 3]));
    assert_quiet(&pool);
}

#[test]
fn what_is_before_a_failure_comes_out_in_a_smaller_batch() {
    on_every_dispatch!(failing);
}

fn leaving<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let token = CancelToken::new();
    for is_cancelled in [false, true] {
        let living = Count::new();
        let (sender, receiver) = mpsc::channel::<Living>();
        let mut results = Pipeline::from(receiver)
            .batch(10, Duration::from_secs(3600))
            .stage(&*pool, |batch| batch.len())
            .token(&token)
            .into_iter();
        for _ in 0..3 {
            sender.send(Living::new(&living)).unwrap();
        }
        eventually("the batch has them", || results.stats().stages[0].waiting_for_room == 3);
        match is_cancelled {
            false => drop(results),
            true => {
                token.cancel();
                assert!(results.next().unwrap().unwrap_err().is_cancelled());
                assert_eq!(results.stats().stages[0].waiting_for_room, 0);
            }
        }
        assert_eq!(living.get(), 0, "what is in a batch is dropped at once");
    }
    assert_quiet(&pool);
    assert_eq!(pool.stats().submitted, 0);
}

#[test]
fn leaving_a_pipeline_drops_what_is_in_a_batch() {
    on_every_dispatch!(leaving);
}

#[test]
#[should_panic(expected = "`max` is 0")]
fn a_batch_without_items_panics() {
    drop(Pipeline::from(0..3).batch(0, NEVER));
}

#[test]
#[should_panic(expected = "`items` is 2: this stage holds at least 3")]
fn a_batch_that_could_never_be_full_panics() {
    drop(Pipeline::from(0..3).batch(3, NEVER).buffer(2));
}

/// The least buffer is the batch's own.
#[test]
fn a_stage_after_a_batch_may_hold_one() {
    let pool = Pool::new(1).unwrap();
    let sizes = Pipeline::from(0..3).batch(3, NEVER).buffer(3).stage(&pool, |batch: Vec<u32>| batch.len()).buffer(1);
    assert_eq!(sizes.collect::<Vec<_>>().unwrap(), [3]);
}
