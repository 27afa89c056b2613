//! Views of a pool that run at most so many tasks at once.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::closures::{occupy, pool};
use crate::support::races::{quiet_panic, together};
use crate::support::{Count, Gate, assert_conserved, await_waiting, eventually, on_every_dispatch, quiet_panics};
use formicary::{Dispatch, Limited, Pool, Ring, SubmitErrorKind};
use parking_lot::Mutex;

fn assert_view_conserved<D: Dispatch>(view: &Limited<Pool<D>>) {
    let stats = view.stats();
    assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled + stats.returned, "{stats:?}");
}

/// A32, A40: views of 1 and of 10 with any number of submitters, beside the pool's own tasks: neither limit is exceeded, and
/// all tasks of a view are the pool's, too.
fn never_exceeded<D: Dispatch>() {
    let pool = pool::<D>(12, 5);
    let (one, ten) = (pool.limited(1), pool.limited(10));
    let (in_one, in_ten) = (Count::new(), Count::new());
    together(6, |n| {
        for i in 0..200 {
            let (view, count) = if (n + i) % 2 == 0 { (&one, &in_one) } else { (&ten, &in_ten) };
            let count = count.clone();
            let work = move || {
                count.up();
                thread::yield_now();
                count.down();
                if i % 9 == 0 {
                    quiet_panic();
                }
            };
            match i % 4 {
                0 => view.submit(work).unwrap(),
                1 => drop(view.spawn(work).unwrap()),
                2 => drop(view.run(work)),
                _ => pool.submit(|| ()).unwrap(),
            }
        }
    });
    assert!(one.wait_idle() && ten.wait_idle() && pool.wait_idle());
    assert!(in_one.peak() == 1 && in_ten.peak() <= 10);
    assert!(one.stats().peak_running == 1 && ten.stats().peak_running <= 10);
    assert_eq!(one.stats().submitted + ten.stats().submitted, 6 * 150);
    assert!(one.stats().panicked + ten.stats().panicked > 0);
    let (stats, figures) = (pool.stats(), [one.stats(), ten.stats()]);
    assert_eq!(stats.submitted, 6 * 200);
    assert_eq!(stats.panicked, figures.iter().map(|figures| figures.panicked).sum::<u64>());
    [&one, &ten].into_iter().for_each(assert_view_conserved);
    assert_conserved(&*pool);
}

#[test]
fn a32_a_view_never_exceeds_its_limit() {
    quiet_panics();
    on_every_dispatch!(never_exceeded);
}

/// B12: tasks that wait in a view hold no worker and take no room in the pool.
fn waits_without_a_worker<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (view, gate) = (pool.limited(1), Gate::new());
    let held = gate.clone();
    view.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    (0..10).for_each(|_| view.submit(|| ()).unwrap());
    assert_eq!(view.try_submit(|| ()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert_eq!((pool.queued(), pool.running(), view.stats().queued), (0, 1, 10));
    assert_eq!(pool.run(|| 7).unwrap(), 7);
    thread::scope(|scope| {
        let submitters: Vec<_> = (0..4).map(|_| scope.spawn(|| view.submit(|| ()).unwrap())).collect();
        gate.open();
        submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
    });
    assert!(view.wait_idle());
    assert_eq!((view.stats().completed, view.stats().peak_running), (15, 1));
    assert_view_conserved(&view);
}

#[test]
fn b12_tasks_that_wait_in_a_view_hold_no_worker() {
    on_every_dispatch!(waits_without_a_worker);
}

/// B12: the tasks that a view has accepted wait in the wait queue of a pool that is full meanwhile, without a thread that waits, and enter
/// when there is room. Nothing starts in a pause.
fn full_pool<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(2).queue(1).max_blocking(1).dispatch::<D>().build().unwrap());
    let (view, other, gate, ran) = (pool.limited(1), pool.limited(1), Gate::new(), Count::new());
    let task = || {
        let ran = ran.clone();
        move || _ = ran.up()
    };
    for view in [&view, &other] {
        let held = gate.clone();
        view.submit(move || held.wait()).unwrap();
    }
    gate.await_arrivals(2);
    view.submit(task()).unwrap();
    pool.submit(task()).unwrap();
    thread::scope(|scope| {
        let submitter = scope.spawn(|| pool.submit(task()).unwrap());
        eventually("it waits", || pool.waiting() == 1);
        // In a pause one enters, and then there is room for the other.
        let pause = pool.pause();
        gate.open();
        assert!(pause.wait_quiet());
        submitter.join().unwrap();
        eventually("it has entered", || pool.waiting() == 0);
        assert_eq!((ran.get(), pool.queued()), (0, 3));
        drop(pause);
    });
    assert!(view.wait_idle() && other.wait_idle() && pool.wait_idle());
    assert_eq!((ran.get(), pool.stats().submitted, pool.waiting()), (3, 5, 0));
    assert_conserved(&*pool);
}

#[test]
fn b12_a_view_of_a_full_pool() {
    on_every_dispatch!(full_pool);
}

/// From inside: tasks of the view and of the pool submit to it, run in it, and join what is in it, on as few workers as can be.
fn nested<D: Dispatch>() {
    for workers in [1, 2, 4] {
        for limit in [1, 3] {
            let pool = pool::<D>(workers, 4);
            let (view, done) = (Arc::new(pool.limited(limit)), Count::new());
            // Few enough that all of them can run in the middle of one another.
            let handles: Vec<_> = (0..8)
                .map(|n| {
                    let (inner, done) = (Arc::clone(&view), done.clone());
                    let work = move || {
                        // D09: also where the view is full.
                        assert_eq!(inner.spawn(|| 1).unwrap().join().unwrap(), 1);
                        let again = Arc::clone(&inner);
                        if n % 2 == 0 {
                            assert_eq!(inner.run(move || again.run(|| 2).unwrap()).unwrap(), 2);
                        }
                        assert!(!inner.wait_idle());
                        done.up();
                    };
                    match n % 2 {
                        0 => view.spawn(work).unwrap(),
                        _ => pool.spawn(work).unwrap(),
                    }
                })
                .collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
            assert!(view.wait_idle() && pool.wait_idle());
            assert_eq!(done.get(), 8);
            assert!(view.stats().peak_running <= limit);
            assert_view_conserved(&view);
            assert_conserved(&*pool);
        }
    }
}

#[test]
fn a40_a_view_from_inside_its_pool() {
    on_every_dispatch!(nested);
}

/// A panic releases the permit, and so does a task that is cancelled, one that is given back, and one that is dropped with its pool.
fn permits_are_released<D: Dispatch>() {
    let pool = pool::<D>(2, 100);
    let view = pool.limited(1);
    for n in 0..50 {
        let handle = view
            .spawn(move || {
                if n % 2 == 0 {
                    quiet_panic()
                }
            })
            .unwrap();
        assert_eq!(handle.join().is_ok(), n % 2 == 1);
    }
    let pause = pool.pause();
    let handles: Vec<_> = (0..10).map(|n| view.spawn(move || n).unwrap()).collect();
    assert!(handles.iter().step_by(2).all(|handle| handle.cancel()));
    drop(pause);
    let ran = handles.into_iter().filter_map(|handle| handle.join().ok()).collect::<Vec<_>>();
    assert_eq!(ran, [1, 3, 5, 7, 9]);
    assert!(view.wait_idle());
    let stats = view.stats();
    assert_eq!((stats.completed, stats.panicked, stats.cancelled), (30, 25, 5));
    assert_view_conserved(&view);
}

#[test]
fn a32_every_end_of_a_task_releases_its_permit() {
    on_every_dispatch!(permits_are_released);
}

/// Closing gives back what waits in the view and refuses submitters. What is in the pool goes on, and so does the pool.
fn closing<D: Dispatch>() {
    let pool = pool::<D>(2, 2);
    let (view, gate, ran) = (Arc::new(pool.limited(1)), Gate::new(), Count::new());
    let held = gate.clone();
    let running = view.spawn(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    let task = |ran: &Count| {
        let ran = ran.clone();
        move || _ = ran.up()
    };
    view.submit(task(&ran)).unwrap();
    let queued = view.spawn(task(&ran)).unwrap();
    let submitter = {
        let (view, work) = (Arc::clone(&view), task(&ran));
        thread::spawn(move || view.submit(work).unwrap_err().kind())
    };
    let mut back = view.close();
    assert_eq!((submitter.join().unwrap(), back.len()), (SubmitErrorKind::Closed, 2));
    assert!(queued.join().unwrap_err().is_cancelled());
    back.pop().unwrap().run();
    drop(back);
    assert_eq!(ran.get(), 1);
    gate.open();
    running.join().unwrap();
    assert!(view.wait_idle());
    let stats = view.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled, stats.returned), (3, 1, 0, 2));
    assert!(view.submit(|| ()).unwrap_err().is_closed());
    assert_eq!(pool.run(|| 7).unwrap(), 7);
}

#[test]
fn a32_closing_a_view_leaves_the_pool_open() {
    on_every_dispatch!(closing);
}

/// A view is dropped, or its pool is, with tasks queued: all captures are dropped, no handle waits for ever, and the pool ends.
fn dropped<D: Dispatch>() {
    for drops_pool in [false, true] {
        let pool = pool::<D>(1, 2000);
        let (view, gate, alive) = (pool.limited(2), Gate::new(), Arc::new(()));
        let held = gate.clone();
        view.submit(move || held.wait()).unwrap();
        gate.await_arrivals(1);
        let handles: Vec<_> = (0..1000)
            .map(|_| {
                let alive = Arc::clone(&alive);
                view.spawn(move || drop(alive)).unwrap()
            })
            .collect();
        if drops_pool {
            let ends = Arc::clone(&pool);
            let ending = thread::spawn(move || ends.shutdown_now());
            eventually("the pool is closed", || pool.is_closed());
            gate.open();
            drop(ending.join().unwrap());
            assert!(view.submit(|| ()).unwrap_err().is_closed());
            assert!(view.wait_idle());
            assert_view_conserved(&view);
        } else {
            drop(view);
            gate.open();
        }
        let ran = handles.into_iter().filter_map(|handle| handle.join().ok()).count();
        assert_eq!(ran, usize::from(!drops_pool), "the one that was in the pool's queue");
        assert!(pool.shutdown().is_complete());
        assert_eq!(Arc::strong_count(&alive), 1);
        assert_conserved(&*pool);
    }
}

#[test]
fn b12_views_and_pools_that_are_dropped_with_tasks_queued() {
    on_every_dispatch!(dropped);
}

/// A view holds its limit and the pool's queue, and one task more is refused, as exactly as a pool.
fn exact_room<D: Dispatch>() {
    for (limit, queue) in [(1, 0), (1, 2), (3, 0), (3, 4)] {
        let pool = pool::<D>(3, queue);
        let (view, count) = (pool.limited(limit), Count::new());
        let pause = pool.pause();
        let submit = || {
            let count = count.clone();
            view.try_submit(move || _ = count.up())
        };
        for _ in 0..limit + queue {
            submit().unwrap();
        }
        assert_eq!(submit().unwrap_err().kind(), SubmitErrorKind::Full, "limit {limit}, queue {queue}");
        drop(pause);
        assert!(view.wait_idle() && pool.wait_idle());
        assert_eq!(count.get(), limit + queue);
        assert_view_conserved(&view);
    }
}

#[test]
fn a32_the_room_of_a_view_is_exact() {
    on_every_dispatch!(exact_room);
}

/// A call whose closure is returned after it was accepted, by the end of the pool or of the view, has ended for the view too.
fn returned_calls<D: Dispatch>() {
    for closes_view in [false, true] {
        let pool = pool::<D>(1, 4);
        let view = pool.limited(1);
        let pause = pool.pause();
        thread::scope(|scope| {
            let callers: Vec<_> = (0..2).map(|_| scope.spawn(|| view.run(|| 7))).collect();
            eventually("both are queued", || view.stats().queued == 2);
            if closes_view {
                assert!(view.close().is_empty());
                drop(pause);
            } else {
                assert!(pool.shutdown_now().is_empty());
            }
            let answers: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), usize::from(closes_view), "{answers:?}");
        });
        assert!(view.wait_idle_timeout(Duration::from_secs(10)), "{:?}", view.stats());
        assert_eq!((view.stats().submitted, view.stats().completed), (2, u64::from(closes_view)));
        assert_view_conserved(&view);
        assert_conserved(&*pool);
    }
}

#[test]
fn a32_a_call_that_is_returned_has_ended() {
    on_every_dispatch!(returned_calls);
}

/// D17: however large its limit, a view holds no more than its pool may hold; a view of a full pool is full; and of many views none
/// accepts what the pool has no room for.
fn bound<D: Dispatch>() {
    let full = |view: &Limited<Pool<D>>| {
        let accepted = (0..100).take_while(|_| view.try_submit(|| ()).is_ok()).count();
        assert_eq!(view.try_submit(|| ()).unwrap_err().kind(), SubmitErrorKind::Full);
        accepted
    };
    for limit in [2, 3, 12, 13, 1_000_000, usize::MAX] {
        let pool = pool::<D>(2, 10);
        let view = pool.limited(limit);
        let pause = pool.pause();
        assert_eq!(full(&view), 12, "limit {limit}");
        drop(pause);
        assert!(view.wait_idle() && pool.wait_idle());

        let pause = pool.pause();
        (0..12).for_each(|_| pool.try_submit(|| ()).unwrap());
        assert_eq!((full(&view), full(&pool.limited(1))), (0, 0), "limit {limit}");
        drop(pause);
        assert!(pool.wait_idle());
    }
    let pool = pool::<D>(2, 10);
    let views: Vec<_> = (0..100).map(|n| pool.limited(if n % 2 == 0 { 1 } else { 1_000 })).collect();
    let pause = pool.pause();
    let accepted: usize = views.iter().map(full).sum();
    assert_eq!(pool.queued(), 12);
    assert!(accepted - 12 < 12, "{accepted}");
    drop(pause);
    assert!(views.iter().all(Limited::wait_idle) && pool.wait_idle());
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.rejected), (accepted as u64, 0));
}

#[test]
fn d17_a_view_does_not_widen_the_bound_of_its_pool() {
    on_every_dispatch!(bound);
}

/// D17: submitters that wait for room in a view or in its pool enter, in whichever order room is made.
fn blocked_at_views<D: Dispatch>() {
    let pool = pool::<D>(2, 1);
    let views = [pool.limited(1), pool.limited(2), pool.limited(1_000_000), pool.limited(1)];
    together(6, |n| {
        for i in 0..200 {
            match (n + i) % 5 {
                4 => pool.submit(|| ()).unwrap(),
                view => views[view].submit(thread::yield_now).unwrap(),
            }
        }
    });
    assert!(views.iter().all(Limited::wait_idle) && pool.wait_idle());
    assert_eq!((pool.stats().completed, pool.waiting()), (1200, 0));
    views.iter().for_each(assert_view_conserved);
    assert_eq!(views.iter().map(|view| view.stats().completed).sum::<u64>(), 960);
}

#[test]
fn d17_submitters_that_wait_at_views_enter() {
    on_every_dispatch!(blocked_at_views);
}

/// D17: at a full pool a view's submitter waits in the pool's wait queue, in its order. The pool's end refuses it.
fn in_the_pools_wait_queue<D: Dispatch>() {
    for closes in [false, true] {
        let pool = pool::<D>(1, 0);
        let (view, gate, order) = (pool.limited(2), occupy(&pool), Mutex::new(Vec::new()));
        let (view, order, pool) = (Arc::new(view), Arc::new(order), &pool);
        thread::scope(|scope| {
            let submitters: Vec<_> = (0..4)
                .map(|n| {
                    let (view, order) = (Arc::clone(&view), Arc::clone(&order));
                    let task = move || order.lock().push(n);
                    let submitter = scope.spawn(move || match n % 2 {
                        0 => view.submit(task).map_err(|refusal| refusal.kind()),
                        _ => pool.submit(task).map_err(|refusal| refusal.kind()),
                    });
                    await_waiting(&**pool, n + 1);
                    submitter
                })
                .collect();
            if closes {
                let ending = scope.spawn(|| drop(pool.shutdown_now()));
                let answers: Vec<_> = submitters.into_iter().map(|submitter| submitter.join().unwrap()).collect();
                assert!(answers.iter().all(|answer| *answer == Err(SubmitErrorKind::Closed)));
                gate.open();
                ending.join().unwrap();
            } else {
                gate.open();
                submitters.into_iter().for_each(|submitter| submitter.join().unwrap().unwrap());
                assert!(view.wait_idle() && pool.wait_idle());
                assert_eq!(*order.lock(), [0, 1, 2, 3]);
            }
        });
        assert_view_conserved(&view);
        assert_conserved(&**pool);
    }
}

#[test]
fn d17_at_a_full_pool_a_view_waits_in_its_wait_queue() {
    on_every_dispatch!(in_the_pools_wait_queue);
}

/// D17: the end of a view refuses those of its submitters that wait at the pool, and no others.
fn closed_in_the_pools_wait_queue<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let (view, gate) = (pool.limited(2), occupy(&pool));
    thread::scope(|scope| {
        let at_view: Vec<_> = (0..3).map(|_| scope.spawn(|| view.submit(|| ()).unwrap_err().kind())).collect();
        await_waiting(&*pool, 2);
        let at_pool = scope.spawn(|| pool.submit(|| ()).unwrap());
        await_waiting(&*pool, 3);
        assert!(view.close().is_empty());
        assert!(at_view.into_iter().all(|submitter| submitter.join().unwrap() == SubmitErrorKind::Closed));
        gate.open();
        at_pool.join().unwrap();
    });
    assert!(view.wait_idle() && pool.wait_idle());
    assert_eq!((view.stats().submitted, pool.stats().completed), (0, 2));
}

#[test]
fn d17_closing_a_view_ends_the_wait_at_its_pool() {
    on_every_dispatch!(closed_in_the_pools_wait_queue);
}

/// The next task gets a permit when the pool has counted the end of the one before: no figure shows more than the limit.
fn exact_peaks<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(16).min_workers(16).queue(100).dispatch::<D>().build().unwrap());
    let (ten, one) = (pool.limited(10), pool.limited(1));
    for n in 0..3_000 {
        ten.submit(move || {
            if n % 7 == 0 {
                quiet_panic();
            }
        })
        .unwrap();
    }
    assert!(ten.wait_idle() && pool.wait_idle());
    let (peak, view) = (pool.stats().peak_running, ten.stats().peak_running);
    assert!(peak <= 10 && view <= 10, "{peak}, {view}");
    let (first, counted) = (pool.stats().completed, Count::new());
    for n in 0..1_000 {
        let (asks, counted) = (Arc::clone(&pool), counted.clone());
        one.submit(move || {
            if asks.stats().completed == first + n {
                counted.up();
            }
        })
        .unwrap();
    }
    assert!(one.wait_idle() && pool.wait_idle());
    assert_eq!(counted.get(), 1_000);
}

#[test]
fn a32_no_figure_shows_more_than_the_limit() {
    quiet_panics();
    on_every_dispatch!(exact_peaks);
}

#[test]
#[should_panic(expected = "`limit` is 0")]
fn a_limit_of_zero_is_a_panic() {
    drop(Pool::new(1).unwrap().limited(0));
}

/// Runs `f` on a thread with a small stack, and waits for it.
fn on_a_stack_of<T: Send>(bytes: usize, f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(bytes).spawn_scoped(scope, f).unwrap();
        thread.join().unwrap()
    })
}

/// How thousands of views' tasks leave the wait queue of their pool.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Exit {
    Shutdown,
    ShutdownNow,
    Dropped,
    /// There is room for all of them at once.
    Room,
    /// There is room for one after the other.
    Chain,
}

fn wait_idle<D: Dispatch>(views: &[Limited<Pool<D>>]) {
    views.iter().for_each(|view| assert!(view.wait_idle()));
}

/// D03: thousands of views, each with a task in the pool's wait queue: however they leave it, each followed by the next, the stack does
/// not grow with their number.
fn many_views<D: Dispatch>(exit: Exit, count: usize, stack: usize) {
    let pool = Pool::builder().workers(1).queue(0).stack_size(stack).dispatch::<D>().build().unwrap();
    let (gate, ran) = (Gate::new(), Count::new());
    let views: Arc<Vec<_>> = Arc::new((0..count).map(|_| pool.limited(1)).collect());
    let (held, inner, counts) = (gate.clone(), Arc::clone(&views), ran.clone());
    // A submit from inside the pool does not block, so its tasks wait instead.
    let submits = move || {
        for view in inner.iter() {
            let ran = counts.clone();
            view.submit(move || _ = ran.up()).unwrap();
        }
        drop(inner);
        held.wait();
    };
    pool.submit(submits).unwrap();
    gate.await_arrivals(1);
    assert_eq!(pool.waiting(), count);
    let runs = matches!(exit, Exit::Room | Exit::Chain);
    thread::scope(|scope| {
        scope.spawn(|| {
            // The worker goes on when all have left the wait queue, so that the thread that ends the pool makes them leave.
            let is_over = || runs || views.iter().all(|view| view.stats().cancelled == 1);
            eventually("the wait queue is empty", is_over);
            gate.open();
        });
        match exit {
            Exit::Shutdown => assert!(on_a_stack_of(stack, || pool.shutdown()).is_complete()),
            Exit::ShutdownNow => assert!(on_a_stack_of(stack, || pool.shutdown_now()).is_empty()),
            Exit::Dropped => on_a_stack_of(stack, || drop(pool)),
            Exit::Room => {
                let pause = pool.pause();
                on_a_stack_of(stack, || pool.tune(2 * count).unwrap());
                eventually("all have entered", || pool.waiting() == 0);
                pool.tune(2).unwrap();
                drop(pause);
                wait_idle(&views);
            }
            // Not for the pool, which is idle between one of them and the next, and is dropped right behind.
            Exit::Chain => wait_idle(&views),
        }
    });
    wait_idle(&views);
    for view in views.iter() {
        let (stats, ran) = (view.stats(), u64::from(runs));
        assert_eq!((stats.submitted, stats.completed, stats.cancelled), (1, ran, 1 - ran), "{exit:?}, {count} views");
    }
    assert_eq!(ran.get(), if runs { count } else { 0 });
}

fn many_views_leave_in_each_way<D: Dispatch>() {
    let (large, small) = (2 << 20, 256 << 10);
    for exit in [Exit::Shutdown, Exit::ShutdownNow, Exit::Dropped, Exit::Room, Exit::Chain] {
        // A ring has no room for more than it was built for.
        if exit == Exit::Room && D::NAME == Ring::NAME {
            continue;
        }
        // There is a worker for each of them meanwhile.
        let count = if exit == Exit::Room { 1_000 } else { 5_000 };
        many_views::<D>(exit, count, large);
        many_views::<D>(exit, count, small);
    }
    many_views::<D>(Exit::Shutdown, 20_000, large);
}

#[test]
fn d03_thousands_of_views_leave_the_wait_queue_on_a_small_stack() {
    on_every_dispatch!(many_views_leave_in_each_way);
}

/// D03: a view with thousands of tasks that wait in it is refused them one by one, on a worker with a small stack.
fn one_view_with_many<D: Dispatch>() {
    let build = Pool::builder().workers(1).queue(20_000).stack_size(256 << 10).dispatch::<D>().build();
    let pool = Arc::new(build.unwrap());
    let (view, gate) = (pool.limited(1), Gate::new());
    let held = gate.clone();
    view.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    (0..20_000).for_each(|_| view.submit(|| unreachable!("the pool is closed")).unwrap());
    thread::scope(|scope| {
        let ending = scope.spawn(|| pool.shutdown());
        eventually("the pool is closed", || pool.is_closed());
        gate.open();
        assert!(ending.join().unwrap().is_complete());
    });
    assert!(view.wait_idle());
    assert_eq!((view.stats().completed, view.stats().cancelled), (1, 20_000));
}

#[test]
fn d03_a_view_with_thousands_of_tasks_ends_on_a_small_stack() {
    on_every_dispatch!(one_view_with_many);
}
