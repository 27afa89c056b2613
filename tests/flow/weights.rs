//! Weights of tasks against a budget: taken before a task is queued, given back at its end, whatever the end is. On every kind of pool, on
//! views with and without a budget of their own, and on every dispatch.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::support::verbs::{assert_each_verb_refuses, each_verb_with_each_option};
use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{Count, Gate, LIMIT, RunTask, eventually, on_every_dispatch, within};
use formicary::{
    Accepts, CallError, CancelToken, Dispatch, Limited, Pool, PoolControl, PoolWithFunc, Semaphore, StatefulPool,
    SubmitErrorKind, Task, With,
};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(2);

/// What the budget has.
const ALL: usize = 3;

/// A pool or a view with a budget, made to run tasks.
struct Subject<'p, P> {
    with: With<'p, P>,
    control: &'p PoolControl<Task>,
    budget: &'p Semaphore,
    /// Whether the pool's own figures have its refusals.
    is_view: bool,
}

/// Runs a check on each kind of pool on a dispatch, on a view that uses the pool's budget, and on a view of one that has its own.
macro_rules! on_kinds {
    ($dispatch:ty, $check:ident) => {{
        let budget = Semaphore::new(ALL);
        macro_rules! on {
            ($builder:expr) => {{
                let builder = || $builder.workers(2).queue(10).panic_handler(|_| {}).dispatch::<$dispatch>();
                let pool = builder().budget(&budget).build().unwrap();
                $check(Subject { with: pool.with(), control: &pool, budget: &budget, is_view: false });
                assert_eq!((budget.available(), budget.waiting()), (ALL, 0));

                let pool = builder().budget(&budget).build().unwrap();
                let view = pool.limited(2);
                $check(Subject { with: view.with(), control: &pool, budget: &budget, is_view: true });
                assert_eq!((budget.available(), budget.waiting()), (ALL, 0));

                let other = Semaphore::new(0);
                let pool = builder().budget(&other).build().unwrap();
                let outer = pool.limited(2).budget(&budget);
                let view = outer.limited(2);
                $check(Subject { with: view.with(), control: &pool, budget: &budget, is_view: true });
                assert_eq!((budget.available(), budget.waiting()), (ALL, 0));
            }};
        }
        on!(Pool::builder());
        on!(PoolWithFunc::builder(Task::run));
        on!(StatefulPool::builder(|_| Ok(RunTask)));
    }};
}

impl<'p, P: Accepts<Task, Output = ()>> Subject<'p, P> {
    fn weight(&self, weight: usize) -> With<'p, P> {
        self.with.clone().weight(weight)
    }

    fn wait_idle(&self) {
        assert!(self.control.wait_idle());
    }
}

/// Every verb with every option: each task has its weight while it runs, and it is back when the task has ended.
fn each_verb_works<P: Accepts<Task, Output = ()>>(subject: Subject<'_, P>) {
    each_verb_with_each_option(&subject.weight(1), || subject.control.wait_idle());
    assert_eq!(subject.budget.available(), ALL);
    for weight in [0, 1, ALL] {
        let (budget, seen) = (subject.budget.clone(), Arc::new(Mutex::new(None)));
        let sees = Arc::clone(&seen);
        let task = Task::new(move || *sees.lock() = Some(budget.available()));
        subject.weight(weight).spawn(task).unwrap().join().unwrap();
        assert_eq!((*seen.lock(), subject.budget.available()), (Some(ALL - weight), ALL));
    }
    // Those without a weight need nothing.
    let all = subject.budget.acquire(ALL).unwrap();
    subject.with.run(Task::new(|| ())).unwrap();
    subject.weight(0).run(Task::new(|| ())).unwrap();
    drop(all);
}

fn every_verb<D: Dispatch>() {
    on_kinds!(D, each_verb_works);
}

#[test]
fn a_task_has_its_weight_until_it_has_ended() {
    on_every_dispatch!(every_verb);
}

/// Notes what is free when it is dropped.
struct Captured(Semaphore, Arc<Mutex<Vec<usize>>>);

impl Drop for Captured {
    fn drop(&mut self) {
        self.1.lock().push(self.0.available());
    }
}

/// However a task ends: its weight comes back after what it has captured is gone, and before its end is announced.
fn each_end_gives_back<P: Accepts<Task, Output = ()>>(subject: Subject<'_, P>) {
    let free = Arc::new(Mutex::new(Vec::new()));
    let task = |end: fn()| {
        let captured = Captured(subject.budget.clone(), Arc::clone(&free));
        Task::new(move || {
            let _captured = captured;
            end();
        })
    };
    let with = subject.weight(2);
    // What has run, or panicked.
    for end in [|| (), || resume_unwind(Box::new("a test's panic"))] {
        // Its state stays as long as this handle.
        let kept = with.spawn(task(end)).unwrap().shared();
        _ = kept.clone().join();
        assert_eq!(subject.budget.available(), ALL);
    }
    assert!(with.run(task(|| resume_unwind(Box::new("a test's panic")))).is_err());
    assert_eq!(subject.budget.available(), ALL);
    // What is cancelled unstarted: by its handle, or by its token.
    let pause = subject.control.pause();
    let handle = with.spawn(task(|| unreachable!("it is cancelled"))).unwrap();
    assert_eq!(subject.budget.available(), ALL - 2);
    handle.cancel();
    assert_eq!(subject.budget.available(), ALL);
    assert!(handle.join().unwrap_err().is_cancelled());
    let token = CancelToken::new();
    let handle = with.clone().token(&token).spawn(task(|| unreachable!("it is cancelled"))).unwrap().shared();
    token.cancel();
    drop(pause);
    assert!(handle.clone().join().unwrap_err().is_cancelled());
    assert_eq!(subject.budget.available(), ALL);
    assert_eq!(std::mem::take(&mut *free.lock()), [ALL - 2; 5], "it still had its weight");
    // A call that gives up gets its task back.
    let pause = subject.control.pause();
    let Err(CallError::Refused(refusal)) = with.clone().timeout(SHORT).run(task(|| ())) else { panic!("it is late") };
    assert!(refusal.is_timed_out());
    drop((refusal, pause));
    subject.wait_idle();
    assert_eq!(subject.budget.available(), ALL);
    // And what a shutdown gives back, or drops.
    let pause = subject.control.pause();
    let kept = with.spawn(task(|| unreachable!("it is returned"))).unwrap();
    assert_eq!(subject.budget.available(), ALL - 2);
    let returned = subject.control.shutdown_now();
    drop(pause);
    assert!(subject.control.wait_idle());
    assert!(kept.is_finished());
    assert_eq!((returned.len(), subject.budget.available()), (1, ALL));
}

fn every_end<D: Dispatch>() {
    on_kinds!(D, each_end_gives_back);
}

#[test]
fn however_a_task_ends_its_weight_comes_back() {
    on_every_dispatch!(every_end);
}

/// A verb waits for the weight as long as for room, and every refusal gives the task back, with the reason.
fn each_refusal<P: Accepts<Task, Output = ()>>(subject: Subject<'_, P>) {
    let (never, control) = (Count::new(), subject.control);
    assert_each_verb_refuses(&subject.weight(ALL + 1), SubmitErrorKind::TooLarge, &never);
    assert_each_verb_refuses(&subject.weight(usize::MAX), SubmitErrorKind::TooLarge, &never);
    let held = subject.budget.acquire(ALL - 1).unwrap();
    let with = subject.weight(2);
    let [submit, spawn] = [with.try_submit(never.task()).unwrap_err(), with.try_spawn(never.task()).unwrap_err()];
    assert!(submit.is_full() && spawn.is_full());
    assert!(matches!(with.try_run(never.task()), Err(CallError::Refused(refusal)) if refusal.is_full()));
    assert_each_verb_refuses(&with.clone().room_timeout(SHORT), SubmitErrorKind::TimedOut, &never);
    assert_each_verb_refuses(&with.clone().timeout(SHORT), SubmitErrorKind::TimedOut, &never);
    assert_each_verb_refuses(&with.clone().deadline(Instant::now()), SubmitErrorKind::TimedOut, &never);
    let token = CancelToken::new();
    token.cancel();
    assert_each_verb_refuses(&with.clone().token(&token), SubmitErrorKind::Cancelled, &never);
    // A token that is cancelled while they wait.
    let token = CancelToken::new();
    let waits = with.clone().token(&token);
    let mut future = Box::pin(waits.submit_async(never.task()));
    let waker = CountingWaker::new();
    assert!(poll_with(future.as_mut(), &waker).is_pending());
    thread::scope(|scope| {
        let waits = scope.spawn(|| waits.submit(never.task()).unwrap_err().kind());
        eventually("it waits", || subject.budget.waiting() == 2);
        token.cancel();
        assert_eq!(waits.join().unwrap(), SubmitErrorKind::Cancelled);
    });
    assert!(block_on(future).unwrap_err().is_cancelled());
    assert_eq!((subject.budget.available(), subject.budget.waiting()), (1, 0));
    let refusals = control.stats().refusals;
    let counted = (refusals.too_large, refusals.full, refusals.cancelled);
    assert_eq!(counted, if subject.is_view { (0, 0, 0) } else { (12, 3, 8) });
    // A weight that is there, and no room.
    let gate = Gate::new();
    (0..2).for_each(|_| subject.with.submit(gate.task()).unwrap());
    gate.await_arrivals(2);
    while subject.with.try_submit(gate.task()).is_ok() {}
    let light = subject.weight(1);
    assert!(light.try_submit(never.task()).unwrap_err().is_full());
    assert_eq!(subject.budget.available(), 1, "it is given back");
    assert!(light.clone().room_timeout(SHORT).submit(never.task()).unwrap_err().is_timed_out());
    assert_eq!(subject.budget.available(), 1, "it is given back");
    gate.open();
    subject.wait_idle();
    // The close wakes those who wait.
    let mut future = Box::pin(with.submit_async(never.task()));
    assert!(poll_with(future.as_mut(), &waker).is_pending());
    thread::scope(|scope| {
        let waits = scope.spawn(|| with.submit(never.task()).unwrap_err().kind());
        eventually("it waits", || subject.budget.waiting() == 2);
        control.shutdown();
        assert_eq!(waits.join().unwrap(), SubmitErrorKind::Closed);
    });
    assert!(block_on(future).unwrap_err().is_closed());
    assert_eq!(never.get(), 6, "only those that came back ran");
    drop(held);
}

fn every_refusal<D: Dispatch>() {
    on_kinds!(D, each_refusal);
}

#[test]
fn a_refusal_for_want_of_weight_gives_the_task_back() {
    on_every_dispatch!(every_refusal);
}

/// Threads and futures get their weights in the order of their coming, and no more run than the budget allows.
fn in_order<P: Accepts<Task, Output = ()>>(subject: Subject<'_, P>) {
    let (started, gate) = (Arc::new(Mutex::new(Vec::new())), Gate::new());
    let task = |n: usize| {
        let (started, gate) = (Arc::clone(&started), gate.clone());
        Task::new(move || {
            started.lock().push(n);
            gate.wait();
        })
    };
    subject.weight(2).submit(task(0)).unwrap();
    gate.await_arrivals(1);
    thread::scope(|scope| {
        let large = scope.spawn(|| subject.weight(ALL).spawn(task(1)).unwrap().join().unwrap());
        eventually("the large one waits", || subject.budget.waiting() == 1);
        let mut future = Box::pin(subject.weight(1).submit_async(task(2)));
        let waker = CountingWaker::new();
        assert!(poll_with(future.as_mut(), &waker).is_pending(), "it would overtake");
        gate.pass(1);
        gate.await_arrivals(2);
        assert_eq!((*started.lock()).as_slice(), [0, 1]);
        gate.pass(1);
        large.join().unwrap();
        block_on(future).unwrap();
    });
    gate.open();
    subject.wait_idle();
    assert_eq!((*started.lock()).as_slice(), [0, 1, 2]);
    // A future that is dropped takes its task, and its place, back.
    let all = subject.budget.acquire(ALL).unwrap();
    let mut future = Box::pin(subject.weight(1).submit_async(task(3)));
    assert!(poll_with(future.as_mut(), &CountingWaker::new()).is_pending());
    drop(all);
    drop(future);
    subject.wait_idle();
    assert_eq!((*started.lock()).len(), 3);
}

fn every_order<D: Dispatch>() {
    on_kinds!(D, in_order);
}

#[test]
fn weights_are_taken_in_order() {
    on_every_dispatch!(every_order);
}

/// A task of the pool takes what is free, and does not wait without a limit.
fn nested<D: Dispatch>() {
    let budget = Semaphore::new(2);
    let pool = Arc::new(Pool::builder().workers(1).budget(&budget).dispatch::<D>().build().unwrap());
    let inner = Arc::clone(&pool);
    let kinds = pool.with().weight(1).run(move || {
        let with = inner.with().weight(1);
        // The first fits.
        assert_eq!(with.spawn(|| 7).unwrap().join().unwrap(), 7);
        with.submit(|| ()).unwrap();
        let forever = with.submit(|| ()).unwrap_err().kind();
        let timed = with.clone().room_timeout(SHORT).submit(|| ()).unwrap_err().kind();
        [forever, timed]
    });
    assert_eq!(kinds.unwrap(), [SubmitErrorKind::WouldDeadlock, SubmitErrorKind::TimedOut]);
    assert!(pool.wait_idle());
    assert_eq!(budget.available(), 2);
}

#[test]
fn a_worker_does_not_wait_for_ever() {
    on_every_dispatch!(nested);
}

/// Two pools and other code share a budget.
#[test]
fn pools_share_a_budget() {
    let budget = Semaphore::new(4);
    let pools = [(); 2].map(|()| Pool::builder().workers(4).budget(&budget).build().unwrap());
    let running = Count::new();
    within(LIMIT, "two pools", move || {
        for n in 0..200 {
            let running = running.clone();
            let task = move || {
                (0..2).for_each(|_| _ = running.up());
                thread::yield_now();
                (0..2).for_each(|_| running.down());
            };
            pools[n % 2].with().weight(2).submit(task).unwrap();
            if n % 10 == 0 {
                drop(budget.acquire(1).unwrap());
            }
        }
        pools.iter().for_each(|pool| assert!(pool.wait_idle()));
        assert!(running.peak() <= 4);
        assert_eq!((budget.available(), running.get()), (4, 0));
    });
}

/// A view that is closed refuses those that wait for its weights, and gives back what has one.
#[test]
fn a_view_that_is_closed_gives_weights_back() {
    let budget = Semaphore::new(3);
    let held = budget.acquire(1).unwrap();
    let pool = Pool::builder().workers(1).build().unwrap();
    let view = pool.limited(1).budget(&budget);
    let other = pool.limited(1).budget(&budget);
    let gate = Gate::new();
    view.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    view.with().weight(2).submit(|| ()).unwrap();
    assert_eq!(budget.available(), 0);
    thread::scope(|scope| {
        // There will not be as many before the close.
        let refused = scope.spawn(|| view.with().weight(3).submit(|| ()).unwrap_err().kind());
        eventually("it waits", || budget.waiting() == 1);
        let waits = scope.spawn(|| other.with().weight(1).spawn(|| 7).unwrap().join().unwrap());
        eventually("so does one of another view", || budget.waiting() == 2);
        assert_eq!(view.close().len(), 1);
        assert_eq!(refused.join().unwrap(), SubmitErrorKind::Closed);
        gate.open();
        assert_eq!(waits.join().unwrap(), 7);
    });
    drop(held);
    assert_eq!(budget.available(), 3);
    // And one that is dropped.
    let view: Limited<_> = pool.limited(1).budget(&budget);
    let pause = pool.pause();
    view.submit(|| ()).unwrap();
    view.with().weight(2).submit(|| ()).unwrap();
    drop(view);
    assert_eq!(budget.available(), 3);
    drop(pause);
}

/// A budget that shrinks or is closed refuses those who wait for it.
#[test]
fn a_budget_that_changes_is_felt_at_once() {
    let budget = Semaphore::new(2);
    let pool = Pool::builder().workers(1).budget(&budget).build().unwrap();
    let held = budget.acquire(1).unwrap();
    let refused = |change: &dyn Fn()| {
        thread::scope(|scope| {
            let waits = scope.spawn(|| pool.with().weight(2).submit(|| ()).unwrap_err().kind());
            eventually("it waits", || budget.waiting() == 1);
            change();
            waits.join().unwrap()
        })
    };
    assert_eq!(refused(&|| budget.resize(1)), SubmitErrorKind::TooLarge);
    budget.resize(2);
    assert_eq!(refused(&|| budget.close()), SubmitErrorKind::Closed);
    assert!(pool.with().weight(0).submit(|| ()).unwrap_err().is_closed());
    pool.run(|| ()).unwrap();
    drop(held);
}

#[test]
fn a_weight_without_a_budget_is_a_panic_that_says_so() {
    let pool = Pool::new(1).unwrap();
    let view = pool.limited(1);
    for panic in [
        catch_unwind(AssertUnwindSafe(|| drop(pool.with().weight(7)))),
        catch_unwind(AssertUnwindSafe(|| drop(view.with().weight(7)))),
    ] {
        let text = panic.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*text, "`weight` is 7, and the pool has no budget to take it from");
    }
    let nonblocking = Pool::builder().workers(1).nonblocking(true).budget(&Semaphore::new(1)).build().unwrap();
    let pause = nonblocking.pause();
    let with = nonblocking.with().weight(1);
    with.submit(|| ()).unwrap();
    assert!(with.submit(|| ()).unwrap_err().is_full());
    assert!(with.room_timeout(SHORT).submit(|| ()).unwrap_err().is_timed_out());
    drop(pause);
    assert!(nonblocking.wait_idle_timeout(LONG));
}
