//! Views of every kind of pool, and views of views: every verb with every option, limits that change, bounds of their own, and the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::races::together;
use crate::support::refusals::assert_each_verb_refuses;
use crate::support::waking::{Bell, block_on, poll_with};
use crate::support::{Count, Gate, RunTask, eventually, on_every_dispatch};
use formicary::{
    Accepts, Builder, CancelToken, Context, Dispatch, Limited, Nested, Pool, PoolControl, PoolWithFunc, Sharded,
    StatefulPool, SubmitErrorKind, Task, With,
};
use parking_lot::Mutex;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(2);

/// A view of a pool that runs tasks, itself or one of its own.
struct Subject<'p, P: Accepts<Task>> {
    view: Limited<P>,
    /// The view of the pool, where the first is a view of this.
    outer: Option<Limited<P>>,
    control: &'p PoolControl<Task>,
    /// Whether a worker can run a task in the middle of another.
    helps: bool,
}

/// How the pools and views of a check are made.
#[derive(Clone, Copy)]
struct Setup {
    workers: usize,
    queue: usize,
    limit: usize,
    /// The limit of the view that it is a view of, in its turn.
    outer: usize,
}

impl Setup {
    fn change<K>(self, builder: Builder<K>) -> Builder<K> {
        builder.workers(self.workers).queue(self.queue)
    }

    fn check<P: Accepts<Task>>(
        self,
        control: &PoolControl<Task>,
        view: impl Fn(usize) -> Limited<P>,
        helps: bool,
        check: impl Fn(&Subject<'_, P>),
    ) {
        check(&Subject { view: view(self.limit), outer: None, control, helps });
        let outer = view(self.outer);
        check(&Subject { view: outer.limited(self.limit), outer: Some(outer), control, helps });
    }
}

/// Runs a check on a view of each kind of pool on a dispatch, and on a view of a view.
macro_rules! on_kinds {
    ($dispatch:ty, $setup:expr, $check:ident) => {{
        let setup: Setup = $setup;
        let pool = setup.change(Pool::builder()).dispatch::<$dispatch>().build().unwrap();
        setup.check(&pool, |limit| pool.limited(limit), true, |subject| $check(subject));
        let pool = setup.change(PoolWithFunc::builder(Task::run)).dispatch::<$dispatch>().build().unwrap();
        setup.check(&pool, |limit| pool.limited(limit), true, |subject| $check(subject));
        let pool = setup.change(StatefulPool::builder(|_| Ok(RunTask))).dispatch::<$dispatch>().build().unwrap();
        setup.check(&pool, |limit| pool.limited(limit), false, |subject| $check(subject));
    }};
}

impl<P: Accepts<Task, Output = ()>> Subject<'_, P> {
    /// Occupies the permits until the gate opens.
    fn fill(&self) -> Gate {
        let gate = Gate::new();
        let limit = self.view.limit();
        (0..limit).for_each(|_| self.view.submit(gate.task()).unwrap());
        gate.await_arrivals(limit);
        gate
    }

    /// All is over, and everything was counted.
    fn assert_quiet(&self) {
        for view in [Some(&self.view), self.outer.as_ref()].into_iter().flatten() {
            assert!(view.wait_idle());
            let stats = view.stats();
            assert_eq!((stats.queued, stats.running, view.waiting()), (0, 0, 0), "{stats:?}");
            let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned;
            assert_eq!(stats.submitted, ended, "{stats:?}");
        }
        assert!(self.control.wait_idle());
        let stats = self.control.stats();
        let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned;
        assert_eq!((stats.submitted, stats.waiting), (ended, 0), "{stats:?}");
    }
}

/// All combinations of options, with what a task learns of them.
fn combinations<'p, P: Accepts<Task>>(view: &'p Limited<P>, token: &CancelToken) -> Vec<(With<'p, Limited<P>>, u32)> {
    (0..32_u32)
        .map(|bits| {
            let mut with = view.with();
            if bits & 1 != 0 {
                with = with.token(token);
            }
            if bits & 2 != 0 {
                with = with.deadline(Instant::now() + LONG);
            }
            if bits & 4 != 0 {
                with = with.timeout(LONG);
            }
            if bits & 8 != 0 {
                with = with.room_timeout(LONG);
            }
            if bits & 16 != 0 {
                with = with.name("resize");
            }
            (with, bits)
        })
        .collect()
}

/// Every verb, with every combination of options and without any.
fn verbs<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let (view, ran, token) = (&subject.view, Count::new(), CancelToken::new());
    let before = view.stats().submitted;
    view.submit(ran.task()).unwrap();
    block_on(view.submit_async(ran.task())).unwrap();
    assert_eq!(view.submit_all([ran.task(), ran.task()]).unwrap(), 2);
    view.spawn(ran.task()).unwrap().join().unwrap();
    block_on(block_on(view.spawn_async(ran.task())).unwrap()).unwrap();
    view.run(ran.task()).unwrap();
    block_on(view.run_async(ran.task())).unwrap();
    assert!(view.wait_idle());
    view.try_submit(ran.task()).unwrap();
    view.try_spawn(ran.task()).unwrap().join().unwrap();
    assert!(view.wait_idle());
    view.try_run(ran.task()).unwrap();
    assert_eq!(ran.get(), 11);
    for (with, bits) in combinations(view, &token) {
        let check = |ran: &Count| {
            let ran = ran.clone();
            Task::new(move || {
                let (name, deadline) = Context::with(|cx| (cx.name().map(str::to_owned), cx.deadline())).unwrap();
                assert_eq!((name.is_some(), deadline.is_some()), (bits & 16 != 0, bits & 6 != 0), "{bits}");
                ran.up();
            })
        };
        let ran = Count::new();
        with.submit(check(&ran)).unwrap();
        block_on(with.submit_async(check(&ran))).unwrap();
        assert_eq!(with.submit_all([check(&ran), check(&ran)]).unwrap(), 2);
        with.spawn(check(&ran)).unwrap().join().unwrap();
        block_on(block_on(with.spawn_async(check(&ran))).unwrap()).unwrap();
        with.run(check(&ran)).unwrap();
        block_on(with.run_async(check(&ran))).unwrap();
        assert!(view.wait_idle());
        with.try_submit(check(&ran)).unwrap();
        with.try_spawn(check(&ran)).unwrap().join().unwrap();
        assert!(view.wait_idle());
        with.try_run(check(&ran)).unwrap();
        assert!(view.wait_idle());
        assert_eq!(ran.get(), 11, "{bits}");
    }
    subject.assert_quiet();
    let stats = view.stats();
    assert_eq!((stats.submitted - before, stats.panicked, stats.peak_running), (33 * 11, 0, 1));
    if let Some(outer) = &subject.outer {
        assert_eq!(outer.stats().submitted, stats.submitted, "it counts there, too");
    }
}

fn every_verb<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 2, queue: 10, limit: 1, outer: 2 }, verbs);
}

#[test]
fn every_verb_of_a_view_with_every_option() {
    on_every_dispatch!(every_verb);
}

/// Every refusal hands the task back with the reason, by each verb: at a view without room, whose pool has some.
fn refusals<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let (never, cancelled) = (Count::new(), CancelToken::new());
    cancelled.cancel();
    let gate = subject.fill();
    let view = &subject.view;
    let with = view.with();
    let checks = [
        (with.clone().token(&cancelled), SubmitErrorKind::Cancelled),
        (with.clone().deadline(Instant::now()), SubmitErrorKind::TimedOut),
        (with.clone().timeout(Duration::ZERO), SubmitErrorKind::TimedOut),
        (with.clone().timeout(SHORT).name("late"), SubmitErrorKind::TimedOut),
        (with.clone().room_timeout(SHORT), SubmitErrorKind::TimedOut),
        (with.clone().room_timeout(SHORT).token(&CancelToken::new()), SubmitErrorKind::TimedOut),
        (with.clone().token(&cancelled).timeout(LONG).name("both"), SubmitErrorKind::Cancelled),
    ];
    let count = checks.len();
    for (options, kind) in checks {
        assert_each_verb_refuses(&options, kind, &never);
        let refusal = options.submit_all([never.task(), never.task()]).unwrap_err();
        let (refusal, rest) = refusal.into_parts();
        assert_eq!((refusal.kind(), rest.count()), (kind, 1));
    }
    assert_eq!(never.get(), count, "what was given back can be run");
    let patient = with.clone().room_timeout(LONG).token(&CancelToken::new()).name("patient");
    assert_eq!(patient.try_submit(never.task()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert_eq!(patient.try_spawn(never.task()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert!(patient.try_run(never.task()).unwrap_err().is_full());
    assert_eq!(view.try_submit(never.task()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert_eq!(view.try_spawn(never.task()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert!(view.try_run(never.task()).unwrap_err().is_full());
    // A token that is cancelled while a thread, or a future, waits.
    for is_async in [false, true] {
        let token = CancelToken::new();
        thread::scope(|scope| {
            let waits = with.clone().token(&token);
            let task = never.task();
            let waits =
                scope.spawn(move || if is_async { block_on(waits.submit_async(task)) } else { waits.submit(task) });
            eventually("it waits", || view.waiting() == 1);
            token.cancel();
            assert_eq!(waits.join().unwrap().unwrap_err().kind(), SubmitErrorKind::Cancelled);
        });
    }
    // A future that is dropped takes its task back.
    let mut waits = Box::pin(view.run_async(never.task()));
    assert!(poll_with(waits.as_mut(), &Bell::new()).is_pending());
    assert_eq!(view.waiting(), 1);
    drop(waits);
    assert_eq!(view.waiting(), 0);
    gate.open();
    subject.assert_quiet();
    assert_eq!(never.get(), count, "no other has run");
}

/// The scope joins them too, but ThreadSanitizer does not see that.
fn join_all(threads: Vec<thread::ScopedJoinHandle<'_, ()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn bounded<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let limit = subject.view.limit();
    // The bound may be that of the view or that of the view that it is of; the pool has room.
    let inner = subject.view.limited(limit).queue(0);
    refusals(&Subject { view: inner, outer: None, control: subject.control, helps: subject.helps });
    let own = subject.view.limited(2 * limit).queue(0);
    refusals(&Subject {
        view: own.limited(limit).queue(0),
        outer: Some(own),
        control: subject.control,
        helps: subject.helps,
    });
}

fn refused<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 2, queue: 20, limit: 2, outer: 2 }, bounded);
    on_kinds!(D, Setup { workers: 1, queue: 0, limit: 1, outer: 1 }, refusals);
}

#[test]
fn every_refusal_of_a_view_hands_the_task_back() {
    on_every_dispatch!(refused);
}

/// A view with a bound takes in so many beyond its limit, in whichever view of it they wait, and blocked submitters enter in order.
fn in_order<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let outer = subject.view.limited(2).queue(3);
    let (view, gate) = (outer.limited(2), Gate::new());
    let order = Arc::new(Mutex::new(Vec::new()));
    let task = |n: usize| {
        let order = Arc::clone(&order);
        Task::new(move || order.lock().push(n))
    };
    (0..2).for_each(|_| view.submit(gate.task()).unwrap());
    gate.await_arrivals(2);
    (0..3).for_each(|n| view.try_submit(task(n)).unwrap());
    assert!(view.try_submit(task(99)).unwrap_err().is_full() && outer.try_submit(task(99)).unwrap_err().is_full());
    assert_eq!((view.stats().queued, outer.stats().queued), (3, 3));
    thread::scope(|scope| {
        let mut submitters = Vec::new();
        for n in 3..9 {
            let (view, task) = (&view, task(n));
            submitters.push(scope.spawn(move || match n % 2 {
                0 => view.submit(task).unwrap(),
                _ => block_on(view.submit_async(task)).unwrap(),
            }));
            eventually("it waits", || view.waiting() == n - 2);
        }
        // One after the other from here on.
        view.set_limit(1);
        gate.open();
        join_all(submitters);
    });
    assert!(outer.wait_idle());
    // A future that is polled late is passed over; a thread is not.
    let of_threads: Vec<_> = order.lock().iter().copied().filter(|n| *n < 3 || n % 2 == 0).collect();
    assert_eq!((of_threads, order.lock().len()), (vec![0, 1, 2, 4, 6, 8], 9));
    assert_eq!((view.stats().peak_running, outer.stats().completed), (2, 11));
    subject.assert_quiet();
}

fn orders<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 4, queue: 50, limit: 4, outer: 4 }, in_order);
}

#[test]
fn a_view_has_a_bound_of_its_own() {
    on_every_dispatch!(orders);
}

/// Both limits hold, whichever is smaller, with tasks of both views, panics and cancellations.
fn both_limits<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let (view, outer) = (&subject.view, subject.outer.as_ref().unwrap_or(&subject.view));
    let (in_view, in_outer) = (Count::new(), Count::new());
    together(4, |n| {
        for i in 0..100 {
            let (inner, counts) = ((n + i) % 2 == 0, (in_view.clone(), in_outer.clone()));
            let task = Task::new(move || {
                let (in_view, in_outer) = counts;
                in_outer.up();
                if inner {
                    in_view.up();
                }
                thread::yield_now();
                if inner {
                    in_view.down();
                }
                in_outer.down();
            });
            let to = if inner { view } else { outer };
            match i % 5 {
                0 => to.submit(task).unwrap(),
                1 => _ = to.spawn(task).unwrap().cancel(),
                2 => to.run(task).unwrap(),
                3 => block_on(to.submit_async(task)).unwrap(),
                _ => drop(block_on(to.with().timeout(Duration::from_micros(200)).run_async(task))),
            }
        }
    });
    subject.assert_quiet();
    let limit = view.limit().min(outer.limit());
    assert!(in_view.peak() <= limit && in_outer.peak() <= outer.limit());
    assert!(view.stats().peak_running <= limit && outer.stats().peak_running <= outer.limit());
}

fn limits<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 4, queue: 10, limit: 1, outer: 3 }, both_limits);
    on_kinds!(D, Setup { workers: 4, queue: 3, limit: 3, outer: 2 }, both_limits);
    on_kinds!(D, Setup { workers: 2, queue: 0, limit: 100, outer: 100 }, both_limits);
}

#[test]
fn a_view_of_a_view_keeps_both_limits() {
    on_every_dispatch!(limits);
}

/// A lower limit is in force when `set_limit` returns, also for tasks that are in the pool's queue; a higher one lets tasks start.
fn resized<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let (view, at_once) = (&subject.view, Count::new());
    let task = |at_once: &Count, gate: &Gate| {
        let (at_once, gate) = (at_once.clone(), gate.clone());
        Task::new(move || {
            at_once.up();
            gate.wait();
            at_once.down();
        })
    };
    for changed in [view, subject.outer.as_ref().unwrap_or(view)] {
        let before = changed.limit();
        // In the pool's queue.
        let (pause, gate) = (subject.control.pause(), Gate::new());
        (0..6).for_each(|_| view.submit(task(&at_once, &gate)).unwrap());
        assert_eq!(subject.control.queued(), 4);
        changed.set_limit(1);
        assert_eq!((subject.control.queued(), view.stats().queued), (1, 6));
        drop(pause);
        gate.await_arrivals(1);
        thread::sleep(SHORT);
        assert_eq!((at_once.get(), view.stats().running), (1, 1));
        // A worker that finds a stale entry counts as running for that moment.
        eventually("the stale entries are gone", || subject.control.running() == 1);
        // Those that run go on.
        changed.set_limit(3);
        gate.await_arrivals(3);
        changed.set_limit(2);
        thread::sleep(SHORT);
        assert_eq!((at_once.get(), view.stats().running), (3, 3));
        gate.pass(1);
        eventually("one is over", || view.stats().running == 2);
        thread::sleep(SHORT);
        assert_eq!((at_once.get(), view.stats().queued), (2, 3));
        gate.open();
        subject.assert_quiet();
        changed.set_limit(before);
    }
    // Under load: what starts after the change keeps to it.
    let (limit, is_over) = (Arc::new(AtomicUsize::new(4)), AtomicBool::new(false));
    let running = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        let mut submitters = Vec::new();
        for _ in 0..2 {
            submitters.push(scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    let (limit, running) = (Arc::clone(&limit), Arc::clone(&running));
                    let task = Task::new(move || {
                        // Counted after the limit was read: that was in force, or is higher than it.
                        let most = limit.load(SeqCst);
                        let now = running.fetch_add(1, SeqCst) + 1;
                        assert!(now <= most.max(limit.load(SeqCst)), "{now} at once");
                        thread::yield_now();
                        running.fetch_sub(1, SeqCst);
                    });
                    view.submit(task).unwrap();
                }
            }));
        }
        for n in 0..100 {
            let next = 1 + n % 4;
            if next > view.limit() {
                limit.store(next, SeqCst);
                view.set_limit(next);
            } else {
                view.set_limit(next);
                // Those that ran before end.
                eventually("there are no more", || running.load(SeqCst) <= next && view.stats().running <= next);
                limit.store(next, SeqCst);
            }
        }
        is_over.store(true, SeqCst);
        join_all(submitters);
    });
    view.set_limit(4);
    subject.assert_quiet();
    assert_eq!(view.stats().panicked, 0);
}

fn resizes<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 4, queue: 20, limit: 4, outer: 4 }, resized);
}

#[test]
fn a_limit_changes_at_once() {
    on_every_dispatch!(resizes);
}

/// The same while submitters wait at a full pool, and entries of tasks do: none is lost.
fn resized_at_a_full_pool<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let (view, ran, others) = (&subject.view, Count::new(), Count::new());
    let at_once = Count::new();
    thread::scope(|scope| {
        let mut submitters = Vec::new();
        for n in 0..4 {
            let (ran, at_once) = (&ran, &at_once);
            submitters.push(scope.spawn(move || {
                for i in 0..100 {
                    let (ran, at_once) = (ran.clone(), at_once.clone());
                    let task = Task::new(move || {
                        at_once.up();
                        ran.up();
                        at_once.down();
                    });
                    if (n + i) % 3 == 0 {
                        block_on(view.submit_async(task)).unwrap()
                    } else {
                        view.submit(task).unwrap()
                    }
                }
            }));
        }
        (0..300).for_each(|n| view.set_limit(1 + n % 3));
        join_all(submitters);
    });
    assert_eq!((at_once.peak() <= 3, others.get()), (true, 0));
    subject.assert_quiet();
    assert_eq!(ran.get(), 400);
}

fn resizes_at_full_pools<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 2, queue: 0, limit: 2, outer: 3 }, resized_at_a_full_pool);
    on_kinds!(D, Setup { workers: 1, queue: 1, limit: 2, outer: 1 }, resized_at_a_full_pool);
}

#[test]
fn a_limit_changes_while_submitters_wait() {
    on_every_dispatch!(resizes_at_full_pools);
}

/// Nothing is lost when a view is closed, or dropped, amid submitters of it and of its views.
fn ends<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    for (drops, round) in (0..20).map(|round| (round % 2 == 0, round)) {
        let (ran, refused, alive) = (Count::new(), Count::new(), Arc::new(()));
        let outer = Arc::new(subject.view.limited(2));
        let (inner, begun) = (Arc::new(outer.limited(1 + round % 3)), Gate::new());
        begun.open();
        let submitters: Vec<_> = (0..3)
            .map(|n| {
                let view = Arc::clone(if n % 2 == 0 { &inner } else { &outer });
                let (ran, refused, alive, begun) = (ran.clone(), refused.clone(), Arc::clone(&alive), begun.clone());
                move || {
                    for i in 0..40 {
                        let (ran, alive) = (ran.clone(), Arc::clone(&alive));
                        let task = Task::new(move || {
                            ran.up();
                            drop(alive);
                        });
                        let entered = match (n + i) % 4 {
                            0 => view.submit(task).map_err(|refusal| refusal.kind()),
                            1 => block_on(view.submit_async(task)).map_err(|refusal| refusal.kind()),
                            2 => view.try_submit(task).map_err(|refusal| refusal.kind()),
                            _ => view.spawn(task).map(drop).map_err(|refusal| refusal.kind()),
                        };
                        if let Err(kind) = entered {
                            assert!(matches!(kind, SubmitErrorKind::Closed | SubmitErrorKind::Full), "{kind:?}");
                            refused.up();
                        }
                        if i == 20 {
                            begun.wait();
                        }
                    }
                }
            })
            .collect();
        let returned = thread::scope(|scope| {
            let submitters: Vec<_> = submitters.into_iter().map(|submits| scope.spawn(submits)).collect();
            begun.await_arrivals(1);
            let returned = outer.close().len();
            assert!(inner.close().is_empty(), "it was closed with that which it is a view of");
            join_all(submitters);
            returned
        });
        assert!(outer.wait_idle() && inner.wait_idle());
        let stats = outer.stats();
        assert_eq!((stats.returned, stats.completed), (returned as u64, ran.get() as u64), "{stats:?}");
        assert_eq!(ran.get() + refused.get() + returned, 120, "{stats:?}");
        assert!(inner.submit(Task::new(|| ())).unwrap_err().is_closed());
        assert!(outer.limited(1).submit(Task::new(|| ())).unwrap_err().is_closed());
        if drops {
            drop((outer, inner));
        }
        assert!(subject.control.wait_idle());
        assert_eq!(Arc::strong_count(&alive), 1);
    }
    // What waits in a view that is dropped is cancelled; what has gone to the pool is not.
    let (gate, ran) = (Gate::new(), Count::new());
    let outer = subject.view.limited(1);
    let inner = outer.limited(1);
    inner.submit(gate.task()).unwrap();
    let handles: Vec<_> = (0..5).map(|_| inner.spawn(ran.task()).unwrap()).collect();
    gate.await_arrivals(1);
    drop(outer);
    assert!(handles.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
    gate.open();
    assert!(inner.wait_idle());
    drop(inner);
    subject.assert_quiet();
    assert_eq!(ran.get(), 0);
}

fn ended<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 2, queue: 5, limit: 2, outer: 2 }, ends);
}

#[test]
fn nothing_is_lost_when_a_view_is_closed() {
    on_every_dispatch!(ended);
}

/// A view of a view inside the pool: tasks wait for those of the inner view, with each other's permits, on as few workers as can be.
fn inside<D: Dispatch>() {
    for (workers, limit, nested) in
        [(1, 1, Nested::Any), (1, 1, Nested::Bounded), (1, 3, Nested::Any), (3, 1, Nested::Any)]
    {
        let builder = Pool::builder().workers(workers).queue(4).nested(nested).dispatch::<D>();
        let pool = builder.build().unwrap();
        waits_inside(&pool, Arc::new(pool.limited(limit)), limit, workers == 1, nested == Nested::Any);
        let builder = PoolWithFunc::builder(Task::run).workers(workers).queue(4).nested(nested).dispatch::<D>();
        let pool = builder.build().unwrap();
        waits_inside(&pool, Arc::new(pool.limited(limit)), limit, workers == 1, nested == Nested::Any);
    }
}

fn waits_inside<P>(control: &PoolControl<Task>, outer: Arc<Limited<P>>, limit: usize, alone: bool, spawns: bool)
where
    P: Accepts<Task, Output = ()> + Send + Sync + 'static,
    Limited<P>: Send + Sync,
{
    let (inner, done) = (Arc::new(outer.limited(1)), Count::new());
    let handles: Vec<_> = (0..6)
        .map(|n| {
            let (view, ran) = (Arc::clone(&inner), done.clone());
            let work = Task::new(move || {
                view.run(ran.task()).unwrap();
                if spawns {
                    view.spawn(ran.task()).unwrap().join().unwrap();
                    block_on(view.spawn(ran.task()).unwrap()).unwrap();
                    // The last first.
                    let handles: Vec<_> = (0..3).map(|_| view.spawn(ran.task()).unwrap()).collect();
                    handles.into_iter().rev().for_each(|handle| handle.join().unwrap());
                    // With a limit only the last worker that could make progress runs it; else it waits for a permit.
                    let mut last = view.spawn(ran.task()).unwrap();
                    if alone {
                        last.join_timeout(LONG).unwrap().unwrap()
                    } else {
                        last.join().unwrap()
                    }
                    assert!(!view.wait_idle());
                }
                ran.up();
            });
            if n % 2 == 0 { outer.spawn(work).unwrap() } else { inner.spawn(work).unwrap() }
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert!(outer.wait_idle() && inner.wait_idle());
    assert_eq!(done.get(), if spawns { 6 * 8 } else { 6 * 2 });
    assert!(outer.stats().peak_running <= limit && inner.stats().peak_running <= 1);
    let subject = Subject { view: outer.limited(1), outer: None, control, helps: true };
    subject.assert_quiet();
}

#[test]
fn a_view_of_a_view_from_inside_its_pool() {
    on_every_dispatch!(inside);
}

/// A future waits for a view to be idle; one that is dropped leaves nothing.
fn idle<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let (view, bell) = (&subject.view, Bell::new());
    assert!(block_on(view.wait_idle_async()));
    let gate = subject.fill();
    assert!(!view.wait_idle_timeout(SHORT));
    let mut waits = Box::pin(view.wait_idle_async());
    assert!(poll_with(waits.as_mut(), &bell).is_pending());
    let mut other = Box::pin(view.wait_idle_async());
    assert!(poll_with(other.as_mut(), &bell).is_pending());
    drop(other);
    gate.open();
    eventually("it is woken", || bell.rung() > 0);
    // A moment that has passed counts.
    let again = subject.fill();
    assert!(block_on(waits));
    again.open();
    subject.assert_quiet();
    assert_eq!(Arc::strong_count(&bell), 1);
}

fn idles<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 2, queue: 5, limit: 2, outer: 2 }, idle);
}

#[test]
fn a_future_waits_for_a_view_to_be_idle() {
    on_every_dispatch!(idles);
}

/// A key of a view's task leads to its shard, whether it waited in the view or not.
#[test]
fn a_key_reaches_the_pool() {
    crate::support::within(crate::support::LIMIT, "keys", || {
        let pool = Pool::builder().workers(2).queue(100).dispatch::<Sharded>().shards(2).build().unwrap();
        let outer = pool.limited(2);
        let (view, ran) = (outer.limited(1), Count::new());
        let acme = view.with().key("acme").name("acme");
        for n in 0..40 {
            match n % 4 {
                0 => acme.submit(ran.task()).unwrap(),
                1 => drop(acme.spawn(ran.task()).unwrap()),
                2 => block_on(acme.submit_async(ran.task())).unwrap(),
                _ => acme.run(ran.task()).unwrap(),
            }
        }
        assert!(view.wait_idle() && pool.wait_idle());
        let submitted: Vec<_> = pool.stats().shards.iter().map(|shard| shard.submitted).collect();
        assert_eq!((ran.get(), submitted[pool.shard_of("acme")]), (40, 40));
    });
}

/// A future that was notified and does not come is passed over by those behind it.
fn late<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let view = subject.view.limited(1).queue(0);
    let (gate, ran, bell) = (Gate::new(), Count::new(), Bell::new());
    view.submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    let mut late = Box::pin(view.submit_async(ran.task()));
    assert!(poll_with(late.as_mut(), &bell).is_pending());
    thread::scope(|scope| {
        let submitter = scope.spawn(|| block_on(view.submit_async(ran.task())).unwrap());
        eventually("both wait", || view.waiting() == 2);
        gate.open();
        join_all(vec![submitter]);
    });
    assert!(view.wait_idle());
    assert_eq!(ran.get(), 1);
    block_on(late).unwrap();
    assert!(view.wait_idle());
    assert_eq!(ran.get(), 2);
    subject.assert_quiet();
}

fn lates<D: Dispatch>() {
    on_kinds!(D, Setup { workers: 1, queue: 5, limit: 1, outer: 1 }, late);
}

#[test]
fn a_future_at_a_view_that_does_not_come_holds_up_nobody() {
    on_every_dispatch!(lates);
}

#[test]
#[should_panic(expected = "`limit` is 0")]
fn a_limit_of_zero_is_a_panic() {
    Pool::new(1).unwrap().limited(1).set_limit(0);
}
