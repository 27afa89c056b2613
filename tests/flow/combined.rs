//! Tools of flow control used together. Each has tests of its own; here, what one does to the tasks of the other is told and counted.
//! By a clock that the test advances: `tests/combined_clock.rs`.
//! Batches and pipelines that end midway: `combined_ends.rs`.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::{Count, Gate, eventually, on_every_dispatch};
use formicary::{
    DeadLetters, Dispatch, Fair, GaveUp, Level, OnClose, Overflow, Pool, Priority, Retry, Semaphore, SubmitErrorKind,
    Task,
};

/// No test lasts as long as this.
const HOUR: Duration = Duration::from_secs(3600);

/// A task that is attempted.
type Attempt = Box<dyn FnMut() -> Result<usize, String> + Send>;

fn attempt(f: impl FnMut() -> Result<usize, String> + Send + 'static) -> Attempt {
    Box::new(f)
}

/// Counts its drop.
struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.up();
    }
}

/// A pool of one worker and one place, with this policy.
fn narrow<D: Dispatch>(overflow: Overflow) -> Pool<D> {
    Pool::builder().workers(1).queue(1).overflow(overflow).dispatch::<D>().build().unwrap()
}

/// A continuation finds its pool full, and the policy applies to it as to any task.
fn continuations<D: Dispatch>() {
    for policy in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Refuse, Overflow::CallerRuns] {
        let (other, target, drops) = (pool::<D>(1, 10), narrow::<D>(policy), Count::new());
        let (gate, holds) = (occupy(&target), occupy(&other));
        let captured = Counted(drops.clone());
        let next = other.spawn(|| 1).unwrap().then(&target, move |n| {
            drop(captured);
            n.unwrap() + 1
        });
        let waits = target.spawn(|| 7).unwrap();
        holds.open();
        let dropped = match policy {
            Overflow::DropOldest => {
                assert!(waits.join().unwrap_err().is_dropped());
                // It takes the place after the drop. From then on it is the oldest itself.
                eventually("it is queued", || (target.stats().submitted, target.queued()) == (3, 1));
                let last = target.spawn(|| 8).unwrap();
                assert!(next.join().unwrap_err().is_dropped());
                assert_eq!(drops.get(), 1);
                gate.open();
                assert_eq!(last.join().unwrap(), 8);
                2
            }
            Overflow::DropNewest => {
                assert!(next.join().unwrap_err().is_dropped());
                assert_eq!(drops.get(), 1);
                gate.open();
                assert_eq!(waits.join().unwrap(), 7);
                1
            }
            // It waits without a thread, as a future does: nobody is there to get it back, or to run it.
            _ => {
                eventually("it waits for room", || target.stats().waiting == 1);
                gate.open();
                assert_eq!((waits.join().unwrap(), next.join().unwrap()), (7, 2));
                0
            }
        };
        assert_quiet(&target);
        assert_quiet(&other);
        assert_eq!((target.stats().dropped, drops.get()), (dropped, 1), "{policy:?}");
    }
}

#[test]
fn a_policy_drops_continuations_and_their_handles_say_so() {
    on_every_dispatch!(continuations);
}

/// The policy drops an attempt, which is a failed one; unless a handler has it, which may run it.
fn dropped_attempts<D: Dispatch>() {
    for policy in [Overflow::DropOldest, Overflow::DropNewest] {
        let (pool, letters) = (narrow::<D>(policy), DeadLetters::queue(9));
        let gate = occupy(&pool);
        // The oldest itself finds room with its next attempt: it drops what has dropped it.
        let attempts = if policy == Overflow::DropOldest { u32::MAX } else { 3 };
        let retrying = pool.retrying(Retry::fixed(Duration::from_millis(1)).attempts(attempts));
        let retrying = retrying.dead_letters(&letters);
        if policy == Overflow::DropNewest {
            pool.submit(|| ()).unwrap();
        }
        let handle = retrying.spawn(attempt(|| Ok(7))).unwrap();
        if policy == Overflow::DropOldest {
            pool.submit(|| ()).unwrap();
            eventually("it is dropped, and comes again", || {
                retrying.stats().retried > 0 && pool.stats().drops.oldest > 1
            });
            gate.open();
            assert_eq!(handle.join().unwrap().unwrap(), 7);
        } else {
            let error = handle.join().unwrap().unwrap_err();
            assert_eq!((error.reason(), error.attempts()), (GaveUp::Exhausted, 3));
            assert!(error.join_error().unwrap().is_dropped());
            eventually("each is counted", || pool.stats().drops.newest == 3);
            let mut task = letters.take().unwrap().into_task();
            assert_eq!(task(), Ok(7));
            gate.open();
        }
        assert!(letters.is_empty());
        assert_quiet(&pool);

        let (sender, handed) = channel();
        let builder = Pool::builder().workers(1).queue(1).overflow(policy).dispatch::<D>();
        let pool = builder.dropped_handler(move |dropped| drop(sender.send(dropped.into_task()))).build().unwrap();
        let gate = occupy(&pool);
        if policy == Overflow::DropNewest {
            pool.submit(|| ()).unwrap();
        }
        let retrying = pool.retrying(Retry::fixed(HOUR)).dead_letters(&letters);
        let runs = Count::new();
        let counts = runs.clone();
        let handle = retrying.spawn(attempt(move || Ok(counts.up()))).unwrap();
        if policy == Overflow::DropOldest {
            pool.submit(|| ()).unwrap();
        }
        assert_eq!(handle.join().unwrap().unwrap_err().reason(), GaveUp::Cancelled);
        assert_eq!((letters.len(), retrying.stats().cancelled), (0, 1));
        handed.recv().unwrap().run();
        assert_eq!(runs.get(), 1);
        gate.open();
        assert_quiet(&pool);
    }
}

#[test]
fn a_dropped_attempt_is_a_failed_one_or_the_handlers() {
    on_every_dispatch!(dropped_attempts);
}

/// Attempts that waited for too long in the queue, and such as the pool lets in no more, end as letters.
fn late_attempts<D: Dispatch>() {
    let (pool, letters) = (pool::<D>(1, 10), DeadLetters::queue(9));
    let gate = occupy(&pool);
    let fresh = pool.with().max_queue_time(Duration::ZERO);
    let late = fresh.retrying(Retry::fixed(Duration::ZERO).attempts(3)).dead_letters(&letters);
    let handle = late.spawn(attempt(|| Ok(7))).unwrap();
    gate.open();
    let error = handle.join().unwrap().unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (GaveUp::Exhausted, 3));
    assert_quiet(&pool);
    assert_eq!((pool.stats().drops.late, letters.take().unwrap().reason()), (3, GaveUp::Exhausted));

    for on_close in [OnClose::Return, OnClose::Drop] {
        for has_handler in [false, true] {
            let (sender, handed) = channel();
            let mut builder = Pool::builder().workers(1).on_close(on_close).dispatch::<D>();
            if has_handler {
                builder = builder.dropped_handler(move |dropped| drop(sender.send(dropped.into_task())));
            }
            let pool = builder.build().unwrap();
            let scheduled = pool.with().after(HOUR).retrying(Retry::fixed(HOUR)).dead_letters(&letters);
            let handle = scheduled.spawn(attempt(|| Ok(7))).unwrap();
            assert_eq!(pool.stats().scheduled, 1);
            assert!(pool.shutdown().is_complete());
            let reason = handle.join().unwrap().unwrap_err().reason();
            assert_eq!(reason, if has_handler { GaveUp::Cancelled } else { GaveUp::Closed });
            // It is in one place.
            assert_eq!(
                (handed.try_iter().count(), letters.take_all().len()),
                if has_handler { (1, 0) } else { (0, 1) }
            );
            assert_quiet(&pool);
            assert_eq!((pool.stats().drops.closed, pool.stats().scheduled), (1, 0));
        }
    }
}

#[test]
fn a_late_or_closed_out_attempt_is_a_letter() {
    on_every_dispatch!(late_attempts);
}

/// A cancelled task leaves the order of its key and the view; the others keep their order.
fn ordered_in_view<D: Dispatch>() {
    let pool = pool::<D>(2, 20);
    let view = pool.limited(1);
    let (log, drops, gate) = (Arc::new(Mutex::new(Vec::new())), Count::new(), Gate::new());
    let lane = view.with().in_order("a");
    lane.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let noting = |n| {
        let (log, captured) = (Arc::clone(&log), Counted(drops.clone()));
        move || {
            let _ = &captured;
            log.lock().push(n);
        }
    };
    let handles: Vec<_> = (0..6).map(|n| lane.spawn(noting(n)).unwrap()).collect();
    let other = view.with().in_order("b").spawn(noting(9)).unwrap();
    for cancelled in [0, 3, 5] {
        assert!(handles[cancelled].cancel());
    }
    assert_eq!(drops.get(), 3);
    gate.open();
    other.join().unwrap();
    let ended: Vec<_> = handles.into_iter().map(|handle| handle.join().is_ok()).collect();
    assert_eq!(ended, [false, true, true, false, true, false]);
    assert!(view.wait_idle());
    let ran: Vec<_> = log.lock().iter().copied().filter(|n| *n != 9).collect();
    assert_eq!(ran, [1, 2, 4]);
    let stats = view.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled, stats.peak_running), (8, 5, 3, 1));
    assert_quiet(&pool);
    assert_eq!(drops.get(), 7);
}

#[test]
fn cancelling_in_the_order_of_a_key_in_a_view() {
    on_every_dispatch!(ordered_in_view);
}

/// A scheduled task has its weight until it has ended, whatever the end is; also in the order of a key, and in a view.
fn scheduled_weights<D: Dispatch>() {
    let budget = Semaphore::new(3);
    let build = || Pool::builder().workers(2).budget(&budget).dispatch::<D>().build().unwrap();
    let pool = build();
    let view = pool.limited(1);
    let seen = budget.clone();
    let soon = pool.with().after(Duration::from_millis(1)).weight(2).in_order("a");
    assert_eq!(soon.run(move || seen.available()).unwrap(), 1);
    let late = [
        pool.with().after(HOUR).weight(1).in_order("a").spawn(|| ()).unwrap(),
        view.with().after(HOUR).weight(1).spawn(|| ()).unwrap(),
        pool.with().after(HOUR).weight(1).spawn(|| ()).unwrap(),
    ];
    assert_eq!((budget.available(), pool.stats().scheduled), (0, 3));
    assert!(pool.with().after(HOUR).weight(1).try_submit(|| ()).unwrap_err().is_full());
    assert!(late[0].cancel());
    assert_eq!(budget.available(), 1);
    drop(view);
    assert!(late[1].is_finished());
    assert_eq!(budget.available(), 2);
    assert!(pool.shutdown().is_complete());
    assert!(late[2].is_finished());
    assert_eq!(budget.available(), 3);
    assert_quiet(&pool);
    // Given back: the caller has the task, and the budget its weight.
    let pool = build();
    pool.with().after(HOUR).weight(3).submit(|| ()).unwrap();
    let returned: Vec<Task> = pool.shutdown_now();
    assert_eq!((returned.len(), budget.available()), (1, 3));
    assert_quiet(&pool);
}

#[test]
fn a_scheduled_task_gives_its_weight_back() {
    on_every_dispatch!(scheduled_weights);
}

/// Tasks that enter at a time start by their level, or in the turn of their tenant, as those that were submitted then.
#[test]
fn a_scheduled_task_keeps_its_level_and_its_tenant() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let noting = |what: &'static str| {
        let log = Arc::clone(&log);
        move || log.lock().push(what)
    };
    let soon = Duration::from_millis(1);
    let budget = Semaphore::new(9);
    let pool = Pool::builder().workers(1).budget(&budget).dispatch::<Priority>().build().unwrap();
    let pause = pool.pause();
    for (level, name) in [(Level::LOW, "low"), (Level::NORMAL, "normal"), (Level::HIGH, "high")] {
        pool.with().after(soon).priority(level).weight(3).submit(noting(name)).unwrap();
    }
    eventually("all have entered", || pool.stats().queued == 3);
    assert_eq!((budget.available(), pool.stats().scheduled), (0, 0));
    drop(pause);
    assert!(pool.wait_idle());
    assert_eq!(std::mem::take(&mut *log.lock()), ["high", "normal", "low"]);
    assert_eq!(budget.available(), 9);

    let pool = Pool::builder().workers(1).budget(&budget).dispatch::<Fair>().build().unwrap();
    let pause = pool.pause();
    (0..4).for_each(|_| pool.with().after(soon).tenant("many").weight(1).submit(noting("many")).unwrap());
    pool.with().after(2 * soon).tenant("one").weight(1).submit(noting("one")).unwrap();
    eventually("all have entered", || pool.stats().queued == 5);
    drop(pause);
    assert!(pool.wait_idle());
    let place = log.lock().iter().position(|name| *name == "one");
    assert!(place.is_some_and(|place| place < 2), "{:?}", log.lock());
    assert_eq!(budget.available(), 9);
}

/// A budget shrinks to nothing while an attempt has its weight: that goes on, and the next one is refused, as too large.
fn no_budget_left<D: Dispatch>() {
    let budget = Semaphore::new(2);
    let pool = Arc::new(Pool::builder().workers(2).budget(&budget).dispatch::<D>().build().unwrap());
    let (letters, gate) = (DeadLetters::queue(9), Gate::new());
    let waits = gate.clone();
    let retrying = pool.with().weight(2).retrying(Retry::fixed(Duration::ZERO).attempts(2)).dead_letters(&letters);
    let handle = retrying.spawn(attempt(move || (waits.wait(), Err("no".to_owned())).1)).unwrap();
    gate.await_arrivals(1);
    let blocked = {
        let pool = Arc::clone(&pool);
        thread::spawn(move || pool.with().weight(1).submit(|| ()).unwrap_err().kind())
    };
    let later = pool.with().weight(1).after(HOUR);
    eventually("it waits for its weight", || budget.waiting() == 1);
    budget.resize(0);
    assert_eq!(blocked.join().unwrap(), SubmitErrorKind::TooLarge);
    assert!(later.submit(|| ()).unwrap_err().is_too_large());
    gate.open();
    let error = handle.join().unwrap().unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (GaveUp::Exhausted, 2));
    assert_eq!(error.refusal(), Some(SubmitErrorKind::TooLarge));
    assert_eq!((letters.len(), gate.arrived()), (1, 1));
    assert_quiet(&pool);
    assert_eq!((budget.permits(), budget.available(), budget.waiting()), (0, 0, 0));
    budget.resize(2);
    let letter = letters.take().unwrap().into_task();
    assert!(retrying.run(letter).unwrap().is_err());
    assert_eq!(budget.available(), 2);
    assert_quiet(&pool);
}

#[test]
fn a_budget_of_nothing_ends_what_waits_and_not_what_runs() {
    on_every_dispatch!(no_budget_left);
}
