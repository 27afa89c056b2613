//! Faults: threads and states that cannot be had, in tables; submitters that unwind while they wait; tasks that unwind, forget or
//! own what they should not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::races::{quiet_panic, together};
use crate::support::waking::{Bell, poll_with};
use crate::support::{
    Count, Gate, LIMIT, Setup, assert_conserved, await_waiting, eventually, for_each, on_every_dispatch, quiet_panics,
    start_thread, threads_named, variants, within,
};
use formicary::{BuildError, Context, Dispatch, Pool, StatefulPool, SubmitErrorKind, Task, Worker, WorkerPool};

/// Which of several tries fail, counted from 1.
type Fails = (&'static str, fn(usize) -> bool);

const FAILS: [Fails; 6] = [
    ("the first", |n| n == 1),
    ("the third", |n| n == 3),
    ("the first three", |n| n <= 3),
    ("every other", |n| n % 2 == 0),
    ("all but the first", |n| n > 1),
    ("every", |_| true),
];

/// A prefix for the threads of one pool.
fn fresh_name() -> String {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    format!("flt{}x", NAMES.fetch_add(1, SeqCst))
}

/// Threads: a build fails only if no worker at all could be had. What is accepted runs, what is refused comes back, and nothing is left.
#[test]
fn any_thread_may_be_refused() {
    for (variant, (what, fails)) in variants().into_iter().flat_map(|variant| FAILS.map(|fails| (variant, fails))) {
        for minimum in [0, 1, 3] {
            within(LIMIT, &format!("{}, {what}, minimum {minimum}", variant.name), move || {
                let (tries, good) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
                let (asked, repaired) = (Arc::clone(&tries), Arc::clone(&good));
                let handler = move |thread: formicary::WorkerThread| {
                    let is_given = !fails(asked.fetch_add(1, SeqCst) + 1) || repaired.load(SeqCst);
                    start_thread(is_given, thread)
                };
                let name = fresh_name();
                let setup = Setup {
                    spawn_handler: Some(Arc::new(handler)),
                    thread_name: Some(name.clone()),
                    min_workers: Some(minimum),
                    ..Setup::new(3, 8)
                };
                let all_at_build = minimum > 0 && (1..=minimum).all(fails);
                let pool = match variant.try_build(setup) {
                    Ok(pool) => pool,
                    Err(error) => {
                        assert!(matches!(error, BuildError::Spawn(_)) && all_at_build, "{error}");
                        return eventually("no thread is left", || threads_named(&name) == 0);
                    }
                };
                assert!(!all_at_build);
                let (ran, mut refused) = (Count::new(), 0);
                for _ in 0..20 {
                    if let Err(refusal) = pool.submit(ran.task()) {
                        assert_eq!(refusal.kind(), SubmitErrorKind::Spawn);
                        refused += 1;
                    }
                }
                assert!(pool.wait_idle());
                assert_eq!(ran.get() + refused, 20);
                good.store(true, SeqCst);
                all_workers_meet(&*pool);
                assert_conserved(&*pool);
                assert!(pool.shutdown().is_complete());
                drop(pool);
                eventually("no thread is left", || threads_named(&name) == 0);
            });
        }
    }
}

/// The pool has its full capacity.
fn all_workers_meet(pool: &dyn WorkerPool<Task>) {
    let gate = Gate::new();
    (0..pool.capacity()).for_each(|_| pool.submit(gate.task()).unwrap());
    gate.await_arrivals(pool.capacity());
    gate.open();
    assert!(pool.wait_idle());
}

/// A state that counts itself.
struct Counted(Count);

impl Counted {
    fn new(states: &Count) -> Self {
        states.up();
        Counted(states.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.down();
    }
}

impl Worker for Counted {
    type Input = Box<dyn Fn(&Context<'_>) + Send>;
    type Output = ();

    fn process(&mut self, input: Self::Input, cx: &Context<'_>) {
        input(cx);
    }
}

/// Factories: by an error or by a panic, at build or later, with a state lost on the way.
fn factories<D: Dispatch>() {
    for (what, fails) in FAILS {
        for panics in [false, true] {
            let (states, tries, good) = (Count::new(), AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
            let (made, repaired) = (states.clone(), Arc::clone(&good));
            let factory = move |_| {
                if fails(tries.fetch_add(1, SeqCst) + 1) && !repaired.load(SeqCst) {
                    if panics {
                        quiet_panic();
                    }
                    return Err("a test's failure".into());
                }
                Ok(Counted::new(&made))
            };
            let name = fresh_name();
            let builder = StatefulPool::builder(factory).workers(3).queue(32).thread_name(name.clone());
            let pool = match builder.dispatch::<D>().build() {
                Ok(pool) => pool,
                Err(error) => {
                    assert!(fails(1), "{what}: {error}");
                    assert!(matches!(error, BuildError::Factory { .. }), "{what}: {error}");
                    eventually("no thread is left", || threads_named(&name) == 0);
                    continue;
                }
            };
            assert!(!fails(1), "{what}");
            let mut handles: Vec<_> = (0..12).map(|_| pool.spawn(Box::new(|_| ())).unwrap()).collect();
            handles.push(pool.spawn(Box::new(|_| quiet_panic())).unwrap());
            handles.extend((0..12).map(|_| pool.spawn(Box::new(|_| ())).unwrap()));
            let ends = handles.into_iter().map(|handle| handle.join());
            let cancelled = ends.filter(|end| end.as_ref().is_err_and(|error| error.is_cancelled())).count() as u64;
            assert!(pool.wait_idle());
            let stats = pool.stats();
            assert_eq!(
                (stats.submitted, stats.panicked + stats.completed, stats.cancelled),
                (25, 25 - cancelled, cancelled)
            );

            good.store(true, SeqCst);
            let gate = Gate::new();
            // A worker whose state could not be made may still be exiting; the next submit finds it gone.
            eventually("every worker can be had", || {
                let gate = gate.clone();
                let waits: <Counted as Worker>::Input = Box::new(move |_| gate.wait());
                drop(WorkerPool::try_submit(&pool, waits));
                states.get() >= 3 && pool.running() == 3
            });
            gate.open();
            assert!(pool.shutdown().is_complete());
            assert_eq!(states.get(), 0, "{what}");
            // The system may list a thread for a moment after it was joined.
            eventually("no thread is left", || threads_named(&name) == 0);
        }
    }
}

#[test]
fn any_state_may_fail_to_be_made() {
    on_every_dispatch!(factories);
}

/// A pool of one worker that waits at the gate, and no room.
fn full<D: Dispatch>() -> (Arc<Pool<D>>, Gate) {
    let pool = Arc::new(Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap());
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    (pool, gate)
}

/// A submitter's frame is unwound while it waits for room, before, after or at the moment it is notified: those behind get in.
fn killed_while_waiting<D: Dispatch>() {
    for round in 0..30 {
        let (pool, gate) = full::<D>();
        let captured = Arc::new(());
        let (in_line, kill) = (Gate::new(), Gate::new());
        let submitter = thread::spawn({
            let (pool, captured, in_line, kill) = (pool.clone(), captured.clone(), in_line.clone(), kill.clone());
            move || {
                let bell = Bell::new();
                let mut entering = Box::pin(pool.submit_async(move || drop(captured)));
                assert!(poll_with(entering.as_mut(), &bell).is_pending());
                in_line.open();
                kill.wait();
                quiet_panic();
            }
        });
        in_line.wait();
        let behind = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.run(|| 7).unwrap()
        });
        await_waiting(&*pool, 2);
        match round % 3 {
            0 => {
                kill.open();
                await_waiting(&*pool, 1);
                gate.open();
            }
            1 => {
                gate.open();
                eventually("the worker is free", || pool.running() == 0);
                kill.open();
            }
            _ => together(2, |n| if n == 0 { kill.open() } else { gate.open() }),
        }
        assert!(submitter.join().is_err());
        assert_eq!((behind.join().unwrap(), pool.waiting(), Arc::strong_count(&captured)), (7, 0, 1));
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    }
}

#[test]
fn a_submitter_that_is_killed_while_it_waits_strands_no_other() {
    on_every_dispatch!(killed_while_waiting);
}

/// An iterator panics after its first item has waited for room, with other submitters behind it.
#[test]
fn an_iterator_that_panics_on_a_full_pool_strands_no_submitter() {
    for_each(|variant| {
        let (pool, gate, ran) = (variant.build(Setup::new(1, 0)), Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        thread::scope(|scope| {
            let all = scope.spawn(|| {
                let mut items = (0..3).map(|n| {
                    if n == 1 {
                        quiet_panic();
                    }
                    ran.task()
                });
                let submitting = AssertUnwindSafe(|| pool.submit_all(&mut items).is_ok());
                catch_unwind(submitting).is_err()
            });
            await_waiting(&*pool, 1);
            let behind = scope.spawn(|| pool.submit(ran.task()).is_ok());
            await_waiting(&*pool, 2);
            gate.open();
            assert!(all.join().unwrap() && behind.join().unwrap());
        });
        assert!(pool.wait_idle());
        assert_eq!((ran.get(), pool.waiting()), (2, 0));
        assert_conserved(&*pool);
    });
}

/// The task unwinds because its caller stops waiting, or at that moment.
fn unwinds_as_the_caller_leaves<D: Dispatch>() {
    let (states, reports) = (Count::new(), Count::new());
    let (made, told) = (states.clone(), reports.clone());
    let builder = StatefulPool::builder(move |_| Ok(Counted::new(&made))).workers(1).panic_handler(move |_| {
        told.up();
    });
    let pool = builder.dispatch::<D>().build().unwrap();
    let mut panics = 0;
    for round in 0..60 {
        let limit = Duration::from_micros(500 + 50 * (round % 30));
        let unwinds: <Counted as Worker>::Input = match round % 2 {
            0 => Box::new(|cx| {
                while !cx.is_cancelled() {
                    thread::yield_now();
                }
                quiet_panic();
            }),
            // At about the moment when the caller stops waiting.
            _ => Box::new(move |_| {
                crate::support::races::shift(Duration::from_millis(1));
                quiet_panic();
            }),
        };
        match pool.with().timeout(limit).run(unwinds).unwrap_err() {
            // The time was up before it had begun.
            error @ formicary::CallError::Refused(_) => assert!(error.is_timed_out()),
            error => {
                assert!(error.is_timed_out() || error.is_panic(), "{error}");
                panics += 1;
            }
        }
        pool.run(Box::new(|_| ())).unwrap();
    }
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!((stats.panicked, reports.get() as u64, stats.handler_panics), (panics, panics, 0), "{stats:?}");
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled, "{stats:?}");
    assert_eq!(states.get(), 1);
    assert!(pool.shutdown().is_complete());
    assert_eq!(states.get(), 0);
}

#[test]
fn a_task_may_unwind_while_its_timed_caller_leaves() {
    on_every_dispatch!(unwinds_as_the_caller_leaves);
}

/// What is forgotten keeps its result, and nothing else: the tasks count, the pool idles and ends.
fn forgotten<D: Dispatch>() {
    let name = fresh_name();
    let builder = Pool::builder().workers(2).queue(8).thread_name(name.clone());
    let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
    let captured = Arc::new(());
    let (own, held) = (Arc::downgrade(&pool), Arc::clone(&captured));
    let forgets = move || {
        let held = Arc::clone(&held);
        std::mem::forget(own.upgrade().unwrap().spawn(move || drop(held)));
    };
    for _ in 0..4 {
        std::mem::forget(pool.spawn(forgets.clone()).unwrap());
    }
    drop(forgets);
    assert!(pool.wait_idle());
    assert_eq!((pool.stats().completed, Arc::strong_count(&captured)), (8, 1));

    // A forgotten future in the wait queue holds up those behind it, but not the end.
    let (full, gate) = full::<D>();
    let mut entering = Box::pin(full.submit_async(|| ()));
    assert!(poll_with(entering.as_mut(), &Bell::new()).is_pending());
    thread::scope(|scope| {
        let behind = scope.spawn(|| full.submit(|| ()).unwrap_err().is_closed());
        await_waiting(&*full, 2);
        let end = scope.spawn(|| full.shutdown());
        assert!(behind.join().unwrap());
        gate.open();
        assert!(end.join().unwrap().is_complete());
    });
    std::mem::forget(entering);

    // So does a pause.
    std::mem::forget(pool.pause());
    pool.submit(|| ()).unwrap();
    assert!(pool.shutdown().is_complete());
    assert_eq!(pool.stats().completed, 9);
    // The system may list a thread for a moment after it was joined.
    eventually("no thread is left", || threads_named(&name) == 0);
}

#[test]
fn what_is_forgotten_does_not_keep_a_pool_from_its_end() {
    on_every_dispatch!(forgotten);
}

/// The last owner of a pool is a task that panics: the pool ends while its own worker unwinds.
#[test]
fn a_pool_whose_owner_is_a_task_that_panics_ends() {
    quiet_panics();
    for_each(|variant| {
        let (name, gate, ran) = (fresh_name(), Gate::new(), Count::new());
        let pool = variant.build(Setup { thread_name: Some(name.clone()), ..Setup::roomy(2) });
        let (owner, held) = (Arc::clone(&pool), gate.clone());
        let task = move || {
            let _owner = owner;
            held.wait();
            quiet_panic();
        };
        pool.submit(Task::new(task)).unwrap();
        gate.await_arrivals(1);
        (0..10).for_each(|_| pool.submit(ran.task()).unwrap());
        drop(pool);
        gate.open();
        eventually("what was queued has run", || ran.get() == 10);
        eventually("no thread is left", || threads_named(&name) == 0);
    });
}
