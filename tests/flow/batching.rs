//! Single items in, batches to a function.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{Count, Gate, LIMIT, eventually, on_every_dispatch, quiet_panics, within};
use formicary::{BatchStats, Dispatch, SubmitErrorKind, as_completed};
use parking_lot::Mutex;

/// Batches go out when they are full or flushed.
const NEVER: Duration = Duration::MAX;

type Seen = Arc<Mutex<Vec<Vec<u32>>>>;

/// A function that doubles, and notes its batches.
fn noting(seen: &Seen) -> impl Fn(Vec<u32>) -> Vec<u32> + Send + Sync + 'static + use<> {
    let seen = Arc::clone(seen);
    move |items| {
        let doubled = items.iter().map(|n| 2 * n).collect();
        seen.lock().push(items);
        doubled
    }
}

fn assert_conserved(stats: BatchStats) {
    let ended = stats.completed + stats.failed + stats.cancelled;
    assert_eq!(stats.submitted, ended, "{stats:?}");
    assert_eq!((stats.waiting, stats.running), (0, 0), "{stats:?}");
}

fn full<D: Dispatch>() {
    let (pool, seen) = (pool::<D>(1, 10), Seen::default());
    let batched = pool.batched(3, NEVER, noting(&seen)).queue(100);
    let handles: Vec<_> = (0..7).map(|n| batched.spawn(n).unwrap()).collect();
    let results: Vec<_> = handles[..6].iter().map(|_| ()).collect();
    assert_eq!(results.len(), 6);
    let mut handles = handles.into_iter();
    for n in 0..6 {
        assert_eq!(handles.next().unwrap().join().unwrap(), 2 * n);
    }
    let last = handles.next().unwrap();
    assert!(!last.is_finished());
    assert_eq!((batched.stats().waiting, pool.stats().submitted), (1, 2));
    batched.flush();
    batched.flush();
    assert_eq!(last.join().unwrap(), 12);
    assert_eq!(*seen.lock(), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    assert_quiet(&pool);
    assert_conserved(batched.stats());
    assert_eq!((batched.stats().batches, batched.stats().completed), (3, 7));
}

#[test]
fn a_batch_goes_out_when_it_is_full_or_flushed() {
    on_every_dispatch!(full);
}

fn delayed<D: Dispatch>() {
    let (pool, seen) = (pool::<D>(1, 10), Seen::default());
    let batched = pool.batched(100, Duration::from_millis(5), noting(&seen));
    assert_eq!(batched.run(1).unwrap(), 2);
    assert_eq!(block_on(batched.run_async(2)).unwrap(), 4);
    let at_once = pool.batched(100, Duration::ZERO, noting(&seen));
    assert_eq!(at_once.run(3).unwrap(), 6);
    assert_eq!(*seen.lock(), [[1], [2], [3]]);
}

#[test]
fn a_batch_goes_out_when_its_first_item_has_waited() {
    on_every_dispatch!(delayed);
}

fn wrong_number<D: Dispatch>() {
    let (pool, surplus) = (pool::<D>(1, 10), Arc::new(()));
    let kept = Arc::clone(&surplus);
    let batched = pool.batched(3, NEVER, move |items: Vec<usize>| vec![Arc::clone(&kept); items[0]]);
    let few: Vec<_> = [2, 0, 0].into_iter().map(|n| batched.spawn(n).unwrap()).collect();
    let few: Vec<_> = few.into_iter().map(|handle| handle.join().map_err(|error| error.is_no_result())).collect();
    assert!(matches!(few[..], [Ok(_), Ok(_), Err(true)]));
    drop(few);
    let many: Vec<_> = [5, 0, 0].into_iter().map(|n| batched.spawn(n).unwrap()).collect();
    assert_eq!(many.into_iter().filter_map(|handle| handle.join().ok()).count(), 3);
    assert_quiet(&pool);
    assert_eq!((batched.stats().completed, batched.stats().failed), (5, 1));
    drop(batched);
    eventually("the function is gone", || Arc::strong_count(&surplus) == 1);
}

#[test]
fn items_without_a_result_get_an_error() {
    on_every_dispatch!(wrong_number);
}

fn panicking<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(2, 10);
    let batched = pool.batched(2, NEVER, |items: Vec<u32>| {
        if items.contains(&7) {
            std::panic::panic_any("seven");
        }
        items
    });
    let handles: Vec<_> = [1, 2, 7, 8, 3, 4].into_iter().map(|n| batched.spawn(n).unwrap()).collect();
    let results: Vec<_> = handles.into_iter().map(|handle| handle.join().map_err(|error| error.is_panic())).collect();
    assert_eq!(results, [Ok(1), Ok(2), Err(true), Err(true), Ok(3), Ok(4)]);
    assert_quiet(&pool);
    assert_eq!((pool.stats().panicked, pool.stats().completed), (1, 2));
    assert_conserved(batched.stats());
}

#[test]
fn a_panic_is_the_error_of_its_batch_only() {
    on_every_dispatch!(panicking);
}

fn cancelling<D: Dispatch>() {
    let (pool, seen) = (pool::<D>(1, 10), Seen::default());
    let batched = pool.batched(2, NEVER, noting(&seen));
    // In the open batch, which takes another item then.
    let gone = batched.spawn(1).unwrap();
    assert!(gone.cancel() && !gone.cancel());
    assert_eq!(batched.stats().waiting, 0);
    let gate = occupy(&pool);
    let (one, two) = (batched.spawn(2).unwrap(), batched.spawn(3).unwrap());
    // In a batch that was sent.
    assert!(one.cancel());
    let (three, four) = (batched.spawn(4).unwrap(), batched.spawn(5).unwrap());
    assert!(three.cancel() && four.cancel());
    gate.open();
    assert_eq!(two.join().unwrap(), 6);
    assert!(gone.join().unwrap_err().is_cancelled() && one.join().unwrap_err().is_cancelled());
    assert_quiet(&pool);
    assert_eq!(*seen.lock(), [[3]], "a batch without items does not run");
    assert_conserved(batched.stats());
    assert_eq!(batched.stats().cancelled, 4);
}

#[test]
fn a_cancelled_item_leaves_its_batch() {
    on_every_dispatch!(cancelling);
}

/// So many that a look at all of them for each would take an hour.
#[test]
fn many_items_are_cancelled_in_time() {
    let many: u32 = if cfg!(miri) { 50 } else { 200_000 };
    within(LIMIT, "many cancels", move || {
        let pool = formicary::Pool::new(1).unwrap();
        let batched = pool.batched(many as usize, NEVER, |items: Vec<u32>| items);
        let handles: Vec<_> = (0..many - 1).map(|n| batched.spawn(n).unwrap()).collect();
        let (kept, cancelled): (Vec<_>, Vec<_>) = handles.into_iter().enumerate().partition(|(n, _)| n % 4 == 0);
        assert!(cancelled.iter().all(|(_, handle)| handle.cancel()));
        // The batch is full when so many are left.
        for n in 0..cancelled.len() as u32 {
            batched.submit(n).unwrap();
        }
        assert_eq!(batched.stats().waiting, many as usize - 1);
        batched.submit(0).unwrap();
        for (n, handle) in kept {
            assert_eq!(handle.join().unwrap(), n as u32);
        }
        assert!(pool.wait_idle());
        assert_eq!(batched.stats().batches, 1);
        assert_conserved(batched.stats());
    });
}

fn without_room<D: Dispatch>() {
    let (pool, seen) = (pool::<D>(1, 10), Seen::default());
    let batched = Arc::new(pool.batched(2, NEVER, noting(&seen)).queue(4));
    let gate = occupy(&pool);
    (0..4).for_each(|n| batched.submit(n).unwrap());
    let refusal = batched.try_spawn(4).unwrap_err();
    assert!(refusal.is_full() && refusal.into_task() == 4);
    let submitting = Arc::clone(&batched);
    let blocked = thread::spawn(move || submitting.run(4));
    eventually("one waits", || batched.stats().blocked == 1);
    let waker = CountingWaker::new();
    let mut second = Box::pin(batched.spawn_async(5));
    assert!(poll_with(second.as_mut(), &waker).is_pending());
    let mut third = Box::pin(batched.spawn_async(6));
    assert!(poll_with(third.as_mut(), &waker).is_pending());
    assert_eq!(batched.stats().blocked, 3);
    drop(third);
    assert_eq!(batched.stats().blocked, 2);
    gate.open();
    let second = block_on(second).unwrap();
    assert_eq!(blocked.join().unwrap().unwrap(), 8);
    assert_eq!(second.join().unwrap(), 10);
    assert_quiet(&pool);
    assert_conserved(batched.stats());
    assert_eq!(batched.stats().submitted, 6);
}

#[test]
fn so_many_items_wait_and_no_more() {
    on_every_dispatch!(without_room);
}

fn ending<D: Dispatch>() {
    let (target, seen) = (pool::<D>(1, 10), Seen::default());
    // Dropped: what has come goes out.
    let batched = target.batched(10, NEVER, noting(&seen));
    let handle = batched.spawn(1).unwrap();
    drop(batched);
    assert_eq!(handle.join().unwrap(), 2);
    // Closed: it comes back.
    let batched = target.batched(10, NEVER, noting(&seen));
    let handle = batched.spawn(2).unwrap();
    batched.submit(3).unwrap();
    assert_eq!(batched.close(), [2, 3]);
    assert!(handle.join().unwrap_err().is_cancelled());
    assert!(batched.submit(4).unwrap_err().is_closed());
    assert_conserved(batched.stats());
    // The pool is closed: handles say so.
    let batched = target.batched(10, NEVER, noting(&seen));
    let handle = batched.spawn(5).unwrap();
    assert!(target.shutdown().is_complete());
    assert_eq!(batched.submit(6).unwrap_err().into_task(), 6);
    batched.flush();
    assert_eq!(handle.join().unwrap_err().refusal(), Some(SubmitErrorKind::Closed));
    assert_conserved(batched.stats());
    // A batch that the pool gives back.
    let target = pool::<D>(1, 10);
    let batched = target.batched(2, NEVER, noting(&seen));
    let gate = occupy(&target);
    let handles = [batched.spawn(7).unwrap(), batched.spawn(8).unwrap()];
    assert_eq!(target.stats().queued, 1);
    let pause = target.pause();
    let ending = Arc::clone(&target);
    let ends = thread::spawn(move || ending.shutdown_now().len());
    eventually("it is closed", || target.is_closed());
    gate.open();
    assert_eq!(ends.join().unwrap(), 1);
    drop(pause);
    assert!(handles.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
    assert_conserved(batched.stats());
    assert_eq!(*seen.lock(), [[1]]);
}

#[test]
fn at_the_end_items_come_back_or_their_handles_say_why() {
    on_every_dispatch!(ending);
}

/// The only worker of the pool waits for items.
fn inside<D: Dispatch>() {
    for queue in [0, 10] {
        let (pool, seen) = (pool::<D>(1, queue), Seen::default());
        let batched = Arc::new(pool.batched(10, NEVER, noting(&seen)).queue(10));
        let inner = Arc::clone(&batched);
        let sum = pool.spawn(move || {
            // More than there is room for: a worker does not wait.
            let many: Vec<_> = (0..25).map(|n| inner.spawn(n).unwrap()).collect();
            let joined = inner.run(1).unwrap();
            let awaited = block_on(inner.run_async(2)).unwrap();
            let timed = inner.spawn(3).unwrap().join_timeout(LIMIT).unwrap().unwrap();
            joined + awaited + timed + as_completed(many).map(|(_, n)| n.unwrap()).sum::<u32>()
        });
        assert_eq!(sum.unwrap().join().unwrap(), 2 + 4 + 6 + 24 * 25);
        eventually("stale entries have left", || pool.waiting() == 0);
        assert_quiet(&pool);
        assert_conserved(batched.stats());
    }
}

#[test]
fn a_worker_that_waits_for_an_item_sends_its_batch() {
    on_every_dispatch!(inside);
}

fn in_view<D: Dispatch>() {
    let pool = pool::<D>(4, 100);
    let view = pool.limited(1);
    let (running, gate) = (Count::new(), Gate::new());
    let (count, held) = (running.clone(), gate.clone());
    let batched = view.batched(2, NEVER, move |items: Vec<u32>| {
        count.up();
        held.wait();
        count.down();
        items
    });
    let handles: Vec<_> = (0..8).map(|n| batched.spawn(n).unwrap()).collect();
    gate.await_arrivals(1);
    gate.open();
    assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq(0..8));
    assert_eq!((running.peak(), view.stats().completed), (1, 4));
    assert!(view.close().is_empty());
    assert!(batched.submit(9).unwrap_err().is_closed());
}

#[test]
fn batches_of_a_view_keep_to_its_limit() {
    on_every_dispatch!(in_view);
}

/// Many threads, items that are cancelled, and the timer: each item has one end.
fn conserved<D: Dispatch>() {
    let pool = pool::<D>(2, 5);
    let batched = Arc::new(pool.batched(7, Duration::from_micros(50), |items: Vec<u64>| items));
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let batched = Arc::clone(&batched);
            thread::spawn(move || {
                let mut sum = 0;
                for n in 0..200 {
                    let handle = batched.spawn(1000 * thread + n).unwrap();
                    match n % 10 {
                        0 => _ = handle.cancel(),
                        5 => batched.flush(),
                        _ => {}
                    }
                    match handle.join() {
                        Ok(result) => {
                            assert_eq!(result, 1000 * thread + n);
                            sum += 1;
                        }
                        Err(error) => assert!(error.is_cancelled() && n % 10 == 0),
                    }
                }
                sum
            })
        })
        .collect();
    let completed: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_quiet(&pool);
    assert_conserved(batched.stats());
    assert_eq!((batched.stats().submitted, batched.stats().completed), (800, completed));
}

#[test]
fn every_item_has_one_end() {
    on_every_dispatch!(conserved);
}

#[test]
#[should_panic(expected = "`max` is 0")]
fn a_batch_of_nothing_panics() {
    let pool = formicary::Pool::new(1).unwrap();
    drop(pool.batched(0, NEVER, |items: Vec<u32>| items));
}

#[test]
#[should_panic(expected = "`items` is 4")]
fn room_for_less_than_a_batch_panics() {
    let pool = formicary::Pool::new(1).unwrap();
    drop(pool.batched(5, NEVER, |items: Vec<u32>| items).queue(4));
}
