//! D07 for views: tasks of a pool, and of a view of it, that await or join tasks of the view.

use std::pin::Pin;
use std::sync::{Arc, Barrier};
use std::task::{Context as Poller, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::support::closures::{assert_quiet, deep_pool, pool};
use crate::support::races::{quiet_panic, together};
use crate::support::random::Random;
use crate::support::waking::{Bell, block_on, poll_with};
use crate::support::{Count, Gate, LIMIT, eventually, on_every_dispatch, quiet_panics, within};
use formicary::{Dispatch, Handle, Limited, Pool, as_completed, wait_any, wait_any_timeout};

/// Beyond the limit of any test: a wait that lasts so long fails it.
const LONG: Duration = Duration::from_secs(600);

type View<D> = Arc<Limited<Pool<D>>>;

fn counts(count: &Count) -> impl FnOnce() + Send + 'static {
    let count = count.clone();
    move || _ = count.up()
}

fn poll_once<T: Send>(handle: &mut Handle<T>) -> Poll<Result<T, formicary::JoinError>> {
    Pin::new(handle).poll(&mut Poller::from_waker(Waker::noop()))
}

fn assert_view_quiet<D: Dispatch>(pool: &Pool<D>, view: &Limited<Pool<D>>) {
    assert!(view.wait_idle());
    assert_quiet(pool);
    let stats = view.stats();
    assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled, "{stats:?}");
    assert!(stats.peak_running <= view.limit(), "{stats:?}");
}

/// In a task of the pool, or of the view.
fn inside<D: Dispatch, T: Send + 'static>(
    in_view: bool,
    pool: &Pool<D>,
    view: &View<D>,
    f: impl FnOnce(&View<D>) -> T + Send + 'static,
) -> T {
    let own = Arc::clone(view);
    let task = move || f(&own);
    if in_view { view.run(task).unwrap() } else { pool.run(task).unwrap() }
}

/// The pools, views and tasks of a test: a limit, a bound, and whether the task that waits is the view's.
fn each_way(mut f: impl FnMut(usize, usize, bool)) {
    for limit in [1, 3] {
        for queue in [0, 1, 10] {
            for in_view in [false, true] {
                f(limit, queue, in_view);
            }
        }
    }
}

/// D07: the only worker awaits tasks of a view, one after the other, in one another, and such as panic.
fn the_only_worker<D: Dispatch>() {
    each_way(|limit, queue, in_view| {
        let pool = pool::<D>(1, queue);
        let view = Arc::new(pool.limited(limit));
        let sum = inside(in_view, &pool, &view, |view| {
            let one = block_on(view.spawn(|| 1).unwrap()).unwrap();
            let inner = Arc::clone(view);
            let ten = block_on(view.spawn(move || block_on(inner.spawn(|| 10).unwrap()).unwrap()).unwrap()).unwrap();
            let panicked = block_on(view.spawn(quiet_panic).unwrap()).unwrap_err().is_panic();
            let cancelled = view.spawn(|| ()).unwrap();
            assert!(cancelled.cancel());
            assert!(block_on(cancelled).unwrap_err().is_cancelled());
            let hundreds: i32 = (0..5).map(|_| block_on(view.spawn(|| 100).unwrap()).unwrap()).sum();
            one + ten + i32::from(panicked) + hundreds
        });
        assert_eq!(sum, 512, "limit {limit}, queue {queue}, {in_view}");
        assert_view_quiet(&pool, &view);
    });
}

#[test]
fn d07_awaiting_a_task_of_a_view() {
    quiet_panics();
    on_every_dispatch!(the_only_worker);
}

/// D07: the same behind other tasks of the view, which come first, and which nobody awaits.
fn behind_others<D: Dispatch>() {
    waits_behind_others::<D>(|handle| block_on(handle).unwrap());
    waits_behind_others::<D>(|handle| handle.join().unwrap());
    waits_behind_others::<D>(|handle| *handle.shared().join().unwrap());
    waits_behind_others::<D>(|mut handle| handle.join_timeout(LONG).unwrap().unwrap());
    waits_behind_others::<D>(|handle| *handle.shared().join_timeout(LONG).unwrap().unwrap());
    waits_behind_others::<D>(|handle| block_on(handle.shared()).unwrap());
    waits_behind_others::<D>(|handle| as_completed([handle]).next().unwrap().1.unwrap());
    waits_behind_others::<D>(|handle| {
        let mut handles = [handle];
        assert_eq!(wait_any(&mut handles), Some(0));
        handles.map(|handle| handle.join().unwrap())[0]
    });
    waits_behind_others::<D>(|handle| {
        let mut handles = [handle];
        assert_eq!(wait_any_timeout(&mut handles, LONG), Some(0));
        handles.map(|handle| handle.join().unwrap())[0]
    });
}

fn waits_behind_others<D: Dispatch>(wait: fn(Handle<i32>) -> i32) {
    each_way(|limit, queue, in_view| {
        let pool = pool::<D>(1, queue);
        let view = Arc::new(pool.limited(limit));
        let before = Count::new();
        let count = before.clone();
        let sum = inside(in_view, &pool, &view, move |view| {
            (0..5).for_each(|_| view.submit(counts(&count)).unwrap());
            let mut handles: Vec<_> = (0..5).map(|n| view.spawn(move || n).unwrap()).collect();
            // The last first.
            handles.reverse();
            handles.into_iter().map(wait).sum::<i32>()
        });
        assert_eq!(sum, 10, "limit {limit}, queue {queue}, {in_view}");
        assert_view_quiet(&pool, &view);
        assert_eq!(before.get(), 5);
    });
}

#[test]
fn d07_awaiting_a_task_that_waits_in_a_view() {
    on_every_dispatch!(behind_others);
}

/// D07: the pool is full of others' tasks, so that what the view lets go waits at the pool's door.
fn at_a_full_pool<D: Dispatch>() {
    for joins in [false, true] {
        for limit in [1, 3] {
            for in_view in [false, true] {
                let pool = pool::<D>(1, 4);
                let view = Arc::new(pool.limited(limit));
                let (full, others) = (Gate::new(), Count::new());
                let wait = full.clone();
                let task = {
                    let own = Arc::clone(&view);
                    move || {
                        wait.wait();
                        let spawn = |n| own.spawn(move || n).unwrap();
                        let get = |handle: Handle<i32>| if joins { handle.join() } else { block_on(handle) };
                        (0..20).map(|n| get(spawn(n)).unwrap()).sum::<i32>()
                    }
                };
                let handle = if in_view { view.spawn(task) } else { pool.spawn(task) }.ok().unwrap();
                full.await_arrivals(1);
                while pool.try_submit(counts(&others)).is_ok() {}
                full.open();
                assert_eq!(handle.join().unwrap(), 190, "limit {limit}, {in_view}");
                assert_view_quiet(&pool, &view);
                assert_eq!((others.get(), pool.waiting()), (4, 0));
            }
        }
    }
}

#[test]
fn d07_awaiting_a_task_of_a_view_of_a_full_pool() {
    on_every_dispatch!(at_a_full_pool);
}

/// D07: the pool is paused, and the awaited task runs all the same. One that it does not wait for does not.
fn in_a_paused_pool<D: Dispatch>() {
    for in_view in [false, true] {
        let pool = pool::<D>(2, 10);
        let view = Arc::new(pool.limited(2));
        let (own, others) = (Arc::clone(&pool), Count::new());
        let count = others.clone();
        let result = inside(in_view, &pool, &view, move |view| {
            let pause = own.pause();
            let mut handle = view.spawn(|| 7).unwrap();
            view.submit(counts(&count)).unwrap();
            let result = block_on(&mut handle).unwrap();
            assert_eq!(count.get(), 0);
            drop(pause);
            result
        });
        assert_eq!(result, 7);
        assert_view_quiet(&pool, &view);
        assert_eq!(others.get(), 1);
    }
}

#[test]
fn d07_awaiting_a_task_of_a_view_in_a_paused_pool() {
    on_every_dispatch!(in_a_paused_pool);
}

/// D07: all workers await tasks of one view, or of several, by twos and threes: nobody else is there to run them.
fn all_await<D: Dispatch>() {
    for (workers, limit, in_view) in [(2, 1, false), (4, 2, false), (4, 1, false), (4, 8, false), (4, 2, true)] {
        let pool = pool::<D>(workers, 100);
        let views: Vec<View<D>> = (0..2).map(|_| Arc::new(pool.limited(limit))).collect();
        for views in [&views[..1], &views[..]] {
            let (all, at_once, plain) = (Arc::new(Barrier::new(workers)), Count::new(), Count::new());
            let handles: Vec<_> = (0..workers)
                .map(|n| {
                    let (view, all) = (Arc::clone(&views[n % views.len()]), Arc::clone(&all));
                    let (at_once, plain) = (at_once.clone(), plain.clone());
                    let task = move || {
                        // Those of a view are at work as many at a time as it lets.
                        if !in_view {
                            all.wait();
                        }
                        let spawn = |m: usize| {
                            view.submit(counts(&plain)).unwrap();
                            let at_once = at_once.clone();
                            let work = move || {
                                at_once.up();
                                thread::yield_now();
                                at_once.down();
                                n * m
                            };
                            view.spawn(work).unwrap()
                        };
                        let handles: Vec<_> = (0..10).map(spawn).collect();
                        handles.into_iter().map(|handle| block_on(handle).unwrap()).sum::<usize>()
                    };
                    let own = &views[n % views.len()];
                    if in_view { own.spawn(task).ok().unwrap() } else { pool.spawn(task).ok().unwrap() }
                })
                .collect();
            let sums: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
            assert_eq!(sums, (0..workers).map(|n| 45 * n).collect::<Vec<_>>());
            views.iter().for_each(|view| assert_view_quiet(&pool, view));
            assert_eq!(plain.get(), 10 * workers);
            assert!(at_once.peak() <= limit * views.len(), "{} at once, limit {limit}", at_once.peak());
        }
    }
}

#[test]
fn d07_all_workers_await_tasks_of_a_view() {
    on_every_dispatch!(all_await);
}

/// D07: a poll does not run what another worker is free to run, nor anything that is not the view's.
fn nothing_else<D: Dispatch>() {
    for in_view in [false, true] {
        let pool = pool::<D>(2, 10);
        let view = Arc::new(pool.limited(2));
        inside(in_view, &pool, &view, |view| {
            let me = thread::current().id();
            assert_ne!(block_on(view.spawn(|| thread::current().id()).unwrap()).unwrap(), me, "another was free");
        });
        assert_view_quiet(&pool, &view);

        let pool = crate::support::closures::pool::<D>(1, 10);
        let (view, others) = (Arc::new(pool.limited(2)), Count::new());
        let (own, other, count) = (Arc::clone(&pool), pool.limited(1), others.clone());
        inside(in_view, &pool, &view, move |view| {
            own.submit(counts(&count)).unwrap();
            other.submit(counts(&count)).unwrap();
            let mut handle = view.spawn(|| 7).unwrap();
            assert!(handle.try_join().is_none());
            assert_eq!(block_on(&mut handle).unwrap(), 7);
            let next = view.spawn(|| 8).unwrap();
            assert_eq!(next.join().unwrap(), 8);
            assert_eq!(count.get(), 0, "it ran what was queued before");
            assert!(other.close().is_empty());
        });
        assert_view_quiet(&pool, &view);
        assert_eq!(others.get(), 2);
    }
}

#[test]
fn d07_a_poll_of_a_views_task_runs_nothing_else() {
    on_every_dispatch!(nothing_else);
}

/// D07: a task runs in a place of its view, also on the worker that awaits it: while one is at work no other starts.
fn places_are_kept<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (view, runs, other) = (Arc::new(pool.limited(1)), Gate::new(), Count::new());
    // Both workers are busy, so that the one that awaits runs it.
    let busy = Gate::new();
    let held = busy.clone();
    pool.submit(move || held.wait()).unwrap();
    busy.await_arrivals(1);
    let (own, here) = (Arc::clone(&view), runs.clone());
    let awaits = pool.spawn(move || block_on(own.spawn(move || here.wait()).unwrap()).unwrap()).unwrap();
    runs.await_arrivals(1);
    assert_eq!((view.stats().running, view.stats().queued), (1, 0));
    view.submit(counts(&other)).unwrap();
    busy.open();
    eventually("the other worker is free", || pool.running() == 1);
    assert_eq!((other.get(), view.stats().queued), (0, 1));
    runs.open();
    awaits.join().unwrap();
    assert_view_quiet(&pool, &view);
    assert_eq!(other.get(), 1);
}

#[test]
fn d07_what_is_run_by_a_poll_has_its_place() {
    on_every_dispatch!(places_are_kept);
}

/// D07: a worker that has polled a task without a place is told when that has one, and runs it if the others are busy.
fn told_of_places<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (view, runs, polled, busy) = (Arc::new(pool.limited(1)), Gate::new(), Gate::new(), Gate::new());
    let held = runs.clone();
    view.submit(move || held.wait()).unwrap();
    runs.await_arrivals(1);
    let (own, has_polled) = (Arc::clone(&view), polled.clone());
    let awaits = pool.spawn(move || {
        let (mut handle, bell) = (own.spawn(|| 7).unwrap(), Bell::new());
        assert!(poll_with(Pin::new(&mut handle), &bell).is_pending());
        has_polled.pass(1);
        has_polled.wait();
        eventually("it is told", || bell.rung() > 0);
        block_on(handle).unwrap()
    });
    polled.await_arrivals(1);
    // The other worker is at this next.
    let held = busy.clone();
    pool.submit(move || held.wait()).unwrap();
    runs.open();
    assert_eq!(awaits.unwrap().join().unwrap(), 7);
    busy.await_arrivals(1);
    busy.open();
    assert_view_quiet(&pool, &view);
}

#[test]
fn d07_a_worker_is_told_of_a_place() {
    on_every_dispatch!(told_of_places);
}

/// D07: a worker that waits for any of several tasks runs one when it gets a place, if the others are busy with waiting.
fn several_are_told_of_places<D: Dispatch>() {
    let ways: [fn(Handle<u32>) -> u32; 2] = [
        |handle| {
            let mut handles = [handle];
            assert_eq!(wait_any(&mut handles), Some(0));
            handles[0].try_join().unwrap().unwrap()
        },
        |handle| as_completed([handle]).next().unwrap().1.unwrap(),
    ];
    for way in ways {
        let pool = pool::<D>(2, 10);
        let (view, runs, submitted) = (Arc::new(pool.limited(1)), Gate::new(), Gate::new());
        let held = runs.clone();
        view.submit(move || held.wait()).unwrap();
        runs.await_arrivals(1);
        let (own, here) = (Arc::clone(&view), submitted.clone());
        let waits = pool.spawn(move || {
            let handle = own.spawn(|| 7).unwrap();
            here.wait();
            way(handle)
        });
        let waits = waits.unwrap().shared();
        submitted.await_arrivals(1);
        // The other worker is at this next, before the view's task.
        let awaited = waits.clone();
        let other = pool.spawn(move || block_on(awaited).unwrap()).unwrap();
        submitted.open();
        thread::sleep(Duration::from_millis(2));
        runs.open();
        assert_eq!((waits.join().unwrap(), other.join().unwrap()), (&7, 7));
        assert_view_quiet(&pool, &view);
    }
}

#[test]
fn d07_a_worker_that_waits_for_several_is_told_of_a_place() {
    on_every_dispatch!(several_are_told_of_places);
}

/// D07: joins with a limit, and calls, of tasks of a view on the only worker.
fn other_waits<D: Dispatch>() {
    for limit in [1, 3] {
        for in_view in [false, true] {
            let pool = pool::<D>(1, 10);
            let view = Arc::new(pool.limited(limit));
            let sum = inside(in_view, &pool, &view, |view| {
                let timed = view.spawn(|| 1).unwrap().join_timeout(LONG).unwrap().unwrap();
                let shared = *view.spawn(|| 10).unwrap().shared().join_timeout(LONG).unwrap().unwrap();
                let joined = *view.spawn(|| 100).unwrap().shared().join().unwrap();
                timed + shared + joined + view.run(|| 1000).unwrap()
            });
            assert_eq!(sum, 1111);
            assert_view_quiet(&pool, &view);
        }
    }
}

#[test]
fn d07_other_waits_for_a_task_of_a_view() {
    on_every_dispatch!(other_waits);
}

/// D08: as deep as the stack, in one view and in one within the other.
fn nests<D: Dispatch>() {
    const DEEP: usize = 1000;
    fn deeper<D: Dispatch>(pool: &Arc<Pool<D>>, view: &View<D>, depth: usize, joins: bool, own: bool) -> usize {
        let (pool, view) = (Arc::clone(pool), if own { Arc::new(pool.limited(1)) } else { Arc::clone(view) });
        let next = {
            let (pool, view) = (Arc::clone(&pool), Arc::clone(&view));
            move || if depth == 0 { 0 } else { deeper(&pool, &view, depth - 1, joins, own) + 1 }
        };
        let handle = view.spawn(next).ok().unwrap();
        if joins { handle.join().unwrap() } else { block_on(handle).unwrap() }
    }
    for workers in [1, 4] {
        for (joins, own) in [(false, false), (false, true), (true, false), (true, true)] {
            let pool = deep_pool::<D>(workers, 10);
            let (inner, view) = (Arc::clone(&pool), Arc::new(pool.limited(2)));
            let own_view = Arc::clone(&view);
            let depth = pool.run(move || deeper(&inner, &own_view, DEEP, joins, own)).unwrap();
            assert_eq!(depth, DEEP, "{workers}, {joins}, {own}");
            assert_view_quiet(&pool, &view);
        }
    }
}

#[test]
fn d08_waits_for_tasks_of_views_nest_as_deep_as_the_stack() {
    on_every_dispatch!(nests);
}

/// D19: nothing is left of a poll inside whose handle is dropped.
fn dropped_handles<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (view, gate) = (Arc::new(pool.limited(1)), Gate::new());
    let held = gate.clone();
    view.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    let own = Arc::clone(&view);
    pool.run(move || {
        let bell = Bell::new();
        let polled = [own.spawn(|| ()).unwrap(), own.spawn(|| ()).unwrap()].map(|mut handle| {
            assert!(poll_with(Pin::new(&mut handle), &bell).is_pending());
            handle
        });
        assert!(Arc::strong_count(&bell) > 1);
        let [one, other] = polled;
        let mut shared = own.spawn(|| ()).unwrap().shared();
        assert!(poll_with(Pin::new(&mut shared), &bell).is_pending());
        drop(shared);
        drop(one);
        assert!(other.cancel());
        drop(other);
        assert_eq!(Arc::strong_count(&bell), 1);
    })
    .unwrap();
    gate.open();
    assert_view_quiet(&pool, &view);
}

#[test]
fn d19_a_dropped_handle_of_a_view_keeps_no_waker() {
    on_every_dispatch!(dropped_handles);
}

/// The handle of a view's task is as good as any other outside of the pool.
#[test]
fn a_poll_from_outside_runs_nothing() {
    within(LIMIT, "outside", || {
        let pool = Pool::new(1).unwrap();
        let view = pool.limited(1);
        let pause = pool.pause();
        let mut handle = view.spawn(|| thread::current().id()).unwrap();
        assert!(poll_once(&mut handle).is_pending());
        drop(pause);
        assert_ne!(block_on(handle).unwrap(), thread::current().id());
    });
}

/// Counts what is captured and dropped.
struct Captured(Count);

impl Captured {
    fn by(alive: &Count) -> Self {
        alive.up();
        Captured(alive.clone())
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// What a task does with the view that the next one is to be of, and what becomes of the handle of that.
fn ends<D: Dispatch>(
    pool: &Arc<Pool<D>>,
    views: &Arc<[Limited<Pool<D>>]>,
    mut random: Random,
    depth: usize,
    alive: &Count,
) {
    let (own, all, counts, next) = (Arc::clone(pool), Arc::clone(views), alive.clone(), random.split());
    let captured = Captured::by(alive);
    let task = move || {
        let _captured = captured;
        if depth > 0 {
            ends(&own, &all, next, depth - 1, &counts);
        }
    };
    if random.once_in(8) {
        drop(pool.spawn(task));
        return;
    }
    // Each in one further on: no two wait for a place in the other.
    let Ok(handle) = views[(2 - depth).min(views.len() - 1)].spawn(task) else { return };
    match random.below(12) {
        0 => drop(handle),
        1 => _ = handle.cancel(),
        2 => handle.token().cancel(),
        3 => handle.token().cancel_after(Duration::from_micros(50)),
        4 => drop(handle.join()),
        5 => _ = handle.shared().join(),
        6 => _ = handle.shared().join_timeout(Duration::from_micros(50)),
        7 => _ = block_on(handle.shared()),
        8 => _ = wait_any(&mut [handle]),
        _ => drop(block_on(handle)),
    }
}

/// A32, D07, D18: tasks of views are awaited, joined and cancelled, inside and outside, by many: none is lost or counted twice.
fn all_at_once<D: Dispatch>() {
    for (workers, queue) in [(1, 2), (3, 3), (2, 100)] {
        for limits in [&[1][..], &[2], &[100], &[1, 2, 3], &[2, 1, 1]] {
            for nests in [false, true] {
                let (pool, alive) = (pool::<D>(workers, queue), Count::new());
                let mut views: Vec<Limited<Pool<D>>> = Vec::new();
                for limit in limits {
                    views.push(match views.last().filter(|_| nests) {
                        // A view of the one before.
                        Some(view) => view.limited(*limit),
                        None => pool.limited(*limit),
                    });
                }
                let views = Arc::from(views);
                together(4, |n| {
                    let mut random = Random(n as u64);
                    (0..100).for_each(|i| ends(&pool, &views, random.split(), i % 3, &alive));
                });
                views.iter().for_each(|view| assert!(view.wait_idle()));
                assert_quiet(&pool);
                views.iter().for_each(|view| assert_view_quiet(&pool, view));
                assert_eq!(
                    (alive.get(), pool.waiting()),
                    (0, 0),
                    "{workers} workers, {queue} queued, {limits:?}, {nests}"
                );
            }
        }
    }
}

#[test]
fn a32_tasks_of_views_end_once_however_they_do() {
    on_every_dispatch!(all_at_once);
}
