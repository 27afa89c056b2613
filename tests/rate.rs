//! Rates of views, by a clock that the tests advance: how many tasks have started by when, and what becomes of those that wait for their
//! time. A program of its own, because the clock is for the whole process.
#![cfg(all(feature = "rate", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use formicary::{
    Accepts, CancelToken, Dispatch, Limited, Overflow, Pool, PoolControl, PoolWithFunc, Quota, StatefulPool,
    SubmitErrorKind, Task, TestClock,
};
use support::waking::{CountingWaker, block_on, poll_with};
use support::{Count, Gate, LIMIT, RunTask, eventually, on_every_dispatch, within};

/// The time between two starts.
const INTERVAL: Duration = Duration::from_secs(100);

fn quota(burst: u32) -> Quota {
    Quota::new(1, INTERVAL).burst(burst)
}

/// What has started, and after how many intervals.
struct Starts {
    clock: TestClock,
    log: Log,
}

#[derive(Clone, Default)]
struct Log {
    started: Arc<Mutex<Vec<(u32, u32)>>>,
    /// Intervals that have passed.
    passed: Arc<AtomicU32>,
}

impl Log {
    fn task(&self, name: u32) -> Task {
        let log = self.clone();
        Task::new(move || log.started.lock().push((name, log.passed.load(SeqCst))))
    }
}

impl Starts {
    fn new() -> Self {
        Starts { clock: TestClock::freeze(), log: Log::default() }
    }

    fn task(&self, name: u32) -> Task {
        self.log.task(name)
    }

    /// Waits until so many have started.
    fn awaits(&self, count: usize) {
        eventually("they have started", || self.log.started.lock().len() >= count);
    }

    fn pass(&self, intervals: u32) {
        self.log.passed.fetch_add(intervals, SeqCst);
        self.clock.advance(INTERVAL * intervals);
    }

    /// What has started since the last call, by name and interval.
    fn take(&self) -> Vec<(u32, u32)> {
        let mut log = std::mem::take(&mut *self.log.started.lock());
        log.sort_by_key(|(name, interval)| (*interval, *name));
        log
    }
}

/// Runs a check on a view of each kind of pool on a dispatch, with the given limit.
macro_rules! on_kinds {
    ($dispatch:ty, $limit:expr, $check:ident) => {{
        macro_rules! on {
            ($builder:expr) => {{
                let pool = $builder.workers(2).queue(50).dispatch::<$dispatch>().build().unwrap();
                $check(pool.limited($limit), &pool);
            }};
        }
        on!(Pool::builder());
        on!(PoolWithFunc::builder(Task::run));
        on!(StatefulPool::builder(|_| Ok(RunTask)));
    }};
}

/// Waits until the timer thread has seen to all that is due: an alarm that is set now, for a time that has passed since, comes after those.
fn after_alarms(starts: &Starts) {
    let token = CancelToken::new();
    token.cancel_after(Duration::from_nanos(1));
    let mut cancelled = Box::pin(token.cancelled());
    let waker = CountingWaker::new();
    assert!(poll_with(cancelled.as_mut(), &waker).is_pending());
    starts.clock.advance(Duration::from_nanos(1));
    eventually("the alarm", || waker.wakes() == 1);
}

fn assert_quiet<P: Accepts<Task>>(view: &Limited<P>) {
    assert!(view.wait_idle());
    let stats = view.stats();
    assert_eq!((stats.queued, stats.running, view.waiting()), (0, 0, 0), "{stats:?}");
    assert_eq!(
        stats.submitted,
        stats.completed + stats.panicked + stats.cancelled + stats.returned + stats.dropped,
        "{stats:?}"
    );
}

/// The burst starts at once, and then one per interval, in order; what is saved up while nothing starts is the burst again. All verbs wait.
fn evenly<P: Accepts<Task, Output = ()>>(view: Limited<P>, _control: &PoolControl<Task>) {
    let starts = Starts::new();
    let view = view.rate(quota(2));
    assert_eq!(view.submit_all((0..6).map(|n| starts.task(n))).unwrap(), 6);
    starts.awaits(2);
    for n in 3..7 {
        starts.pass(1);
        starts.awaits(n);
    }
    assert_eq!(starts.take(), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]);
    starts.pass(10);
    let handles: Vec<_> = (0..2).map(|n| view.spawn(starts.task(n)).unwrap()).collect();
    let third = block_on(view.spawn_async(starts.task(2))).unwrap();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    thread::scope(|scope| {
        let task = starts.task(3);
        let fourth = scope.spawn(|| view.run(task).unwrap());
        eventually("it waits", || view.stats().queued == 2);
        starts.pass(1);
        starts.awaits(3);
        starts.pass(1);
        fourth.join().unwrap();
    });
    third.join().unwrap();
    assert_eq!(starts.take(), [(0, 14), (1, 14), (2, 15), (3, 16)]);
    assert_quiet(&view);
}

fn every_pace<D: Dispatch>() {
    on_kinds!(D, 2, evenly);
}

#[test]
fn tasks_start_evenly() {
    on_every_dispatch!(every_pace);
}

/// Each key has its own rate and order, and does not hold up others; those without a key share one.
fn by_key<P: Accepts<Task, Output = ()>>(view: Limited<P>, _control: &PoolControl<Task>) {
    let starts = Starts::new();
    let view = view.rate_per_key(quota(1));
    for n in 0..3 {
        for key in [10, 20] {
            view.with().rate_key(key).submit(starts.task(key + n)).unwrap();
        }
        view.submit(starts.task(n)).unwrap();
    }
    block_on(view.with().rate_key("other").name("other").spawn_async(starts.task(30))).unwrap().join().unwrap();
    for n in 1..4 {
        starts.awaits(3 * n + 1);
        starts.pass(1);
    }
    assert_quiet(&view);
    let expected = [(0, 0), (10, 0), (20, 0), (30, 0), (1, 1), (11, 1), (21, 1), (2, 2), (12, 2), (22, 2)];
    assert_eq!(starts.take(), expected);
}

fn every_key<D: Dispatch>() {
    on_kinds!(D, 3, by_key);
}

#[test]
fn keys_have_rates_of_their_own() {
    on_every_dispatch!(every_key);
}

/// What is cancelled while it waits for its time uses up no start, wherever it is in its queue.
fn cancelled<P: Accepts<Task, Output = ()>>(view: Limited<P>, control: &PoolControl<Task>) {
    let starts = Starts::new();
    let view = view.rate(quota(1));
    view.run(starts.task(0)).unwrap();
    let token = CancelToken::new();
    let by_token = view.with().token(&token).spawn(starts.task(1)).unwrap();
    let handles: Vec<_> = (2..6).map(|n| view.spawn(starts.task(n)).unwrap()).collect();
    assert_eq!(view.stats().queued, 5);
    // The first to come, one in the middle, and the last.
    token.cancel();
    handles[1].cancel();
    handles[3].cancel();
    starts.pass(1);
    starts.awaits(2);
    starts.pass(1);
    starts.awaits(3);
    assert_eq!(starts.take(), [(0, 0), (2, 1), (4, 2)]);
    assert!(by_token.join().unwrap_err().is_cancelled());
    let ends: Vec<_> = handles.into_iter().map(|handle| handle.join().is_ok()).collect();
    assert_eq!(ends, [true, false, true, false]);
    assert_quiet(&view);
    assert_eq!((view.stats().completed, view.stats().cancelled), (3, 3));

    // A close gives back what waits, in order; those with a handle are cancelled.
    let waiting = view.spawn(starts.task(0)).unwrap();
    view.submit_all((1..4).map(|n| starts.task(n))).unwrap();
    assert_eq!(view.close().len(), 4);
    assert!(waiting.join().unwrap_err().is_cancelled());
    assert_quiet(&view);
    assert_eq!(view.stats().returned, 4);
    assert!(control.wait_idle());
}

fn every_cancel<D: Dispatch>() {
    on_kinds!(D, 2, cancelled);
}

#[test]
fn what_waits_can_be_cancelled_and_returned() {
    on_every_dispatch!(every_cancel);
}

#[test]
fn a_close_gives_back_in_order() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(1).build().unwrap();
    let view = pool.limited(1).rate_per_key(quota(1));
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..9 {
        let order = Arc::clone(&order);
        view.with().rate_key(n % 3).submit(move || order.lock().push(n)).unwrap();
    }
    eventually("three have started", || view.stats().completed == 3);
    view.close().into_iter().for_each(Task::run);
    assert_eq!(*order.lock(), (0..9).collect::<Vec<_>>());
    assert_quiet(&view);
    drop(starts);
}

/// The time stands still, and a shutdown does not wait for it.
fn shut_down<P: Accepts<Task, Output = ()>>(view: Limited<P>, control: &PoolControl<Task>) {
    let starts = Starts::new();
    let view = view.rate(quota(1));
    let dropped = Count::new();
    struct Counts(Count);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.up();
        }
    }
    view.run(starts.task(0)).unwrap();
    let waiting = view.spawn(starts.task(1)).unwrap();
    for _ in 0..3 {
        let captured = Counts(dropped.clone());
        view.submit(Task::new(move || drop(captured))).unwrap();
    }
    control.shutdown();
    assert!(waiting.join().unwrap_err().is_cancelled());
    assert_eq!(dropped.get(), 3);
    assert!(view.submit(starts.task(2)).unwrap_err().is_closed());
    assert_quiet(&view);
    assert_eq!((view.stats().completed, view.stats().cancelled), (1, 4));
    starts.pass(10);
    assert_eq!(starts.take(), [(0, 0)]);
}

fn every_end<D: Dispatch>() {
    on_kinds!(D, 2, shut_down);
}

#[test]
fn a_shutdown_drops_what_waits_for_its_time() {
    on_every_dispatch!(every_end);
}

/// What waits for its time holds no worker, and counts as waiting in the view.
#[test]
fn waiting_holds_no_worker() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(1).queue(4).build().unwrap();
    let view = pool.limited(1).rate(quota(1));
    for n in 0..4 {
        view.submit(starts.task(n)).unwrap();
    }
    starts.awaits(1);
    eventually("three wait", || (view.stats().queued, view.stats().running, pool.stats().queued) == (3, 0, 0));
    assert_eq!(pool.run(|| 7).unwrap(), 7);
    assert!(pool.wait_idle() && !view.wait_idle_timeout(Duration::ZERO));
    // They use up the pool's room: one worker, and four in the queue.
    view.submit(starts.task(4)).unwrap();
    view.submit(starts.task(5)).unwrap();
    assert!(view.try_submit(starts.task(6)).unwrap_err().is_full());
    let mut waits = Box::pin(view.submit_async(starts.task(6)));
    assert!(poll_with(waits.as_mut(), &CountingWaker::new()).is_pending());
    for n in 2..7 {
        starts.pass(1);
        starts.awaits(n);
        if n == 2 {
            block_on(waits.as_mut()).unwrap();
        }
    }
    starts.pass(1);
    assert!(view.wait_idle());
    assert_eq!(starts.take(), (0..7).map(|n| (n, n)).collect::<Vec<_>>());
}

/// A view without a queue takes in as many as may run, also if they have to wait for their time.
#[test]
fn a_view_without_a_queue_has_room_for_its_permits() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(4).queue(0).build().unwrap();
    let view = pool.limited(2).queue(0).rate(quota(1));
    for n in 0..3 {
        // The first is over at once, and the others wait.
        view.try_submit(starts.task(n)).unwrap();
        starts.awaits(1);
        eventually("the first is over", || view.stats().completed == 1);
    }
    assert!(view.try_submit(starts.task(3)).unwrap_err().is_full());
    thread::scope(|scope| {
        let task = starts.task(3);
        let submits = scope.spawn(|| view.submit(task).unwrap());
        eventually("it waits for room", || view.waiting() == 1);
        starts.pass(1);
        submits.join().unwrap();
    });
    starts.pass(2);
    eventually("the rest", || {
        starts.pass(1);
        view.stats().completed == 4
    });
    let names: Vec<_> = starts.take().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [0, 1, 2, 3]);
}

/// A pause holds up what has its start, which is no more than the permits.
#[test]
fn a_pause_saves_up_no_more_than_the_permits() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(4).build().unwrap();
    let view = pool.limited(2).rate(quota(1));
    let pause = pool.pause();
    view.submit_all((0..6).map(|n| starts.task(n))).unwrap();
    eventually("one has its start", || pool.stats().queued == 1);
    starts.pass(1);
    eventually("two have their start", || pool.stats().queued == 2);
    starts.pass(4);
    assert!(starts.take().is_empty());
    drop(pause);
    // The two, and the one start that was saved up since.
    starts.awaits(3);
    for n in 4..7 {
        starts.pass(1);
        starts.awaits(n);
    }
    assert!(view.wait_idle());
    assert_eq!(starts.take(), [(0, 5), (1, 5), (2, 5), (3, 6), (4, 7), (5, 8)]);
}

/// A task of a view of a view needs a start of each: a rate for all, and one for each key.
#[test]
fn rates_of_nested_views_both_hold() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(4).build().unwrap();
    let all = pool.limited(4).rate(quota(2));
    let by_key = all.limited(4).rate_per_key(Quota::new(1, 4 * INTERVAL));
    for n in 0..2 {
        by_key.with().rate_key("a").submit(starts.task(10 + n)).unwrap();
        by_key.with().rate_key("b").submit(starts.task(20 + n)).unwrap();
    }
    all.submit(starts.task(0)).unwrap();
    starts.awaits(2);
    starts.pass(1);
    starts.awaits(3);
    assert_eq!(starts.take(), [(10, 0), (20, 0), (0, 1)]);
    starts.pass(2);
    all.run(starts.task(1)).unwrap();
    // The second of each key has its own time now, and one of them a start of all.
    starts.pass(1);
    starts.awaits(3);
    assert_quiet(&by_key);
    assert_quiet(&all);
    assert_eq!(starts.take(), [(1, 3), (11, 4), (21, 4)]);
}

/// A newcomer waits behind those that wait for their time, also when that has come and nobody has noticed.
#[test]
fn newcomers_do_not_overtake() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(2).build().unwrap();
    let view = pool.limited(1).rate(quota(1));
    let rounds = 50;
    view.submit(starts.task(0)).unwrap();
    view.submit(starts.task(1)).unwrap();
    for n in 2..rounds {
        starts.pass(1);
        view.submit(starts.task(n)).unwrap();
        starts.awaits(n as usize);
    }
    starts.pass(1);
    assert!(view.wait_idle());
    let order: Vec<_> = starts.log.started.lock().iter().map(|(name, _)| *name).collect();
    assert_eq!(order, (0..rounds).collect::<Vec<_>>());
}

/// The first in a queue, whose time has come, waits for a permit, and goes: by its handle, its token, or because the pool is full. The
/// next follows.
#[test]
fn who_follows_the_first_takes_its_place() {
    for how in 0..3 {
        let starts = Starts::new();
        let builder = Pool::builder().workers(2).queue(if how == 2 { 3 } else { 50 });
        let pool = builder.overflow(if how == 2 { Overflow::DropOldest } else { Overflow::Block }).build().unwrap();
        let view = pool.limited(2).rate(quota(1));
        let (gate, token) = (Gate::new(), CancelToken::new());
        view.submit(gate.closure()).unwrap();
        gate.await_arrivals(1);
        let first = view.with().token(&token).spawn(starts.task(1)).unwrap();
        let others: Vec<_> = (2..4).map(|n| view.spawn(starts.task(n)).unwrap()).collect();
        assert_eq!(view.stats().queued, 3);
        view.set_limit(1);
        // Its time comes, and it has no permit.
        starts.pass(1);
        after_alarms(&starts);
        match how {
            0 => assert!(first.cancel()),
            1 => token.cancel(),
            // There is room for four in the view: one permit, and a queue of three.
            _ => assert!(view.try_submit(starts.task(4)).is_ok()),
        }
        view.set_limit(2);
        starts.awaits(1);
        starts.pass(1);
        starts.awaits(2);
        starts.pass(1);
        gate.open();
        assert!(first.join().is_err());
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_quiet(&view);
        let names: Vec<_> = starts.take().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, if how == 2 { vec![2, 3, 4] } else { vec![2, 3] });
    }
}

/// Limits that change, and views that are dropped, while tasks wait for their time.
#[test]
fn limits_change_while_tasks_wait() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(4).build().unwrap();
    let view = pool.limited(2).rate(quota(3));
    let gate = Gate::new();
    // Two run, one waits for a permit, and two for their time as well.
    (0..2).for_each(|_| view.submit(gate.closure()).unwrap());
    gate.await_arrivals(2);
    (0..3).for_each(|_| view.submit(|| ()).unwrap());
    view.set_limit(1);
    view.set_limit(5);
    eventually("the third has a start", || view.stats().completed == 1);
    starts.pass(1);
    eventually("the fourth has one", || view.stats().completed == 2);
    gate.open();
    starts.pass(1);
    assert_quiet(&view);
    let waiting: Vec<_> = (0..3).map(|n| view.spawn(move || n).unwrap()).collect();
    drop(view);
    assert!(waiting.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
    assert!(pool.wait_idle());
}

/// A worker that waits for a task of the view waits for its time, too; the last worker does not.
#[test]
fn a_task_that_waits_for_one_waits_for_its_time() {
    let starts = Starts::new();
    let joined = |workers: usize| {
        let pool = Arc::new(Pool::builder().workers(workers).build().unwrap());
        let view = Arc::new(pool.limited(4).rate(quota(1)));
        let inner = Arc::clone(&view);
        let handle = pool.spawn(move || [(); 2].map(|()| inner.run(|| 7).map_err(|error| error.to_string()))).unwrap();
        if workers > 1 {
            eventually("the second waits", || view.stats().queued == 1 && view.stats().completed == 1);
            starts.pass(1);
        }
        within(LIMIT, "a task that waits", move || handle.join().unwrap())
    };
    assert_eq!(joined(2), [Ok(7), Ok(7)]);
    let [first, second] = joined(1);
    assert_eq!(first, Ok(7));
    assert!(second.unwrap_err().contains("deadlock"));
}

/// Many tasks of many keys, while some are cancelled and the limit changes: each starts once or is cancelled, and no key is too fast.
#[test]
fn nothing_is_lost_in_a_crowd() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(3).unbounded_queue().build().unwrap();
    let view = pool.limited(3).rate_per_key(quota(1));
    let handles: Vec<_> = (0..400_u32)
        .map(|n| {
            let key = n % 40;
            view.with().rate_key(key).spawn(starts.task(key)).unwrap()
        })
        .collect();
    for (n, handle) in handles.iter().enumerate() {
        if n % 3 == 0 {
            handle.cancel();
        }
        if n % 50 == 0 {
            view.set_limit(1 + n % 4);
        }
    }
    eventually("all are over", || {
        starts.pass(1);
        let stats = view.stats();
        stats.submitted == stats.completed + stats.cancelled
    });
    let ended = handles.into_iter().filter_map(|handle| handle.join().ok()).count();
    let mut started = starts.take();
    assert_eq!((ended, started.len() as u64), (started.len(), view.stats().completed));
    started.sort_unstable();
    for of_key in started.chunk_by(|one, other| one.0 == other.0) {
        // The first at once, the second after an interval, and so on.
        assert!(of_key.iter().zip(0..).all(|((_, interval), n)| *interval >= n), "{of_key:?}");
    }
    assert_quiet(&view);
}

/// A refused task uses up no start, and the options have their meaning.
#[test]
fn options_hold_for_what_waits_for_its_time() {
    let starts = Starts::new();
    let pool = Pool::builder().workers(1).build().unwrap();
    let view = pool.limited(1).rate(quota(1));
    view.run(|| ()).unwrap();
    let late = view.with().timeout(INTERVAL / 2).spawn(|| ()).unwrap();
    starts.pass(1);
    let kind = late.join().unwrap_err();
    assert!(kind.is_timed_out() || kind.is_cancelled());
    view.run(|| ()).unwrap();
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(view.with().token(&token).submit(|| ()).unwrap_err().kind(), SubmitErrorKind::Cancelled);
    starts.pass(1);
    view.run(|| ()).unwrap();
    assert_quiet(&view);
}

#[test]
fn bad_quotas_are_panics_that_name_the_argument() {
    let text = |make: fn() -> Quota| match catch_unwind(make).unwrap_err().downcast::<String>() {
        Ok(text) => *text,
        Err(other) => (*other.downcast::<&str>().unwrap()).to_owned(),
    };
    assert!(text(|| Quota::per_second(0)).contains("`n` is 0"));
    assert!(text(|| Quota::per_second(2_000_000_000)).contains("`period` is 1s"));
    assert!(text(|| Quota::new(1, Duration::ZERO)).contains("`period` is 0ns"));
    assert!(text(|| Quota::new(1, Duration::MAX)).contains("more than 100 years"));
    assert!(text(|| Quota::per_second(1).burst(0)).contains("`starts` is 0"));
    assert!(text(|| Quota::per_second(1).burst(u32::MAX)).contains("more than 100 years"));
}
