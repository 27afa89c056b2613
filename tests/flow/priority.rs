//! The dispatch `Priority`: the order of levels, its bound, and that room goes by level too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context as Poller, Waker};

use crate::support::log::Log;
use crate::support::{Gate, LIMIT, Setup, assert_conserved, await_waiting, eventually, within};
use formicary::{CancelToken, Level, Nested, Overflow, Pool, PoolWithFunc, Priority, StatefulPool, Task, WorkerPool};

type PriorityPool = Pool<Priority>;

fn pool(setup: Setup, levels: usize) -> Arc<PriorityPool> {
    Arc::new(setup.on(Pool::builder().dispatch::<Priority>()).levels(levels).build().unwrap())
}

/// Checks the bound on the order in which tasks started that were all queued before. Each is the number of its level.
fn assert_bounded(started: &[usize], levels: usize) {
    for level in 0..levels {
        let mut higher = 0;
        let last = started.iter().rposition(|of| *of == level).unwrap_or(0);
        for of in &started[..last] {
            match of.cmp(&level) {
                std::cmp::Ordering::Equal => higher = 0,
                std::cmp::Ordering::Greater => higher += 1,
                std::cmp::Ordering::Less => {}
            }
            let most = Priority::MOST_BEFORE * (levels - 1 - level);
            assert!(higher <= most, "{higher} higher ones before one of level {level}, {most} may");
        }
    }
}

#[test]
fn higher_levels_start_first_and_each_level_in_order() {
    within(LIMIT, "order", || {
        let (pool, log) = (pool(Setup::roomy(1), 3), Log::new());
        let pause = pool.pause();
        for n in 0..7 {
            pool.with().priority(Level::LOW).submit(log.task(("low", n))).unwrap();
            match n % 2 {
                0 => pool.submit(log.task(("normal", n))).unwrap(),
                _ => pool.with().priority(Level::NORMAL).submit(log.task(("normal", n))).unwrap(),
            }
            pool.with().priority(Level::HIGH).submit(log.task(("high", n))).unwrap();
        }
        drop(pause);
        assert!(pool.wait_idle());
        let expected: Vec<_> =
            ["high", "normal", "low"].iter().flat_map(|level| (0..7).map(move |n| (*level, n))).collect();
        assert_eq!(log.entries(), expected);
    });
}

/// A backlog of all levels, whatever its make-up: none is passed by more higher ones than the bound says.
#[test]
fn no_level_starves() {
    within(LIMIT, "levels", || {
        for levels in [1, 2, 3, 4, 64] {
            for backlog in [[400, 400, 400], [1000, 30, 5], [5, 1000, 30], [0, 1000, 5]] {
                let (pool, log) = (pool(Setup::unbounded(1), levels), Log::new());
                let pause = pool.pause();
                for (n, count) in backlog.into_iter().enumerate() {
                    for task in 0..count {
                        let level = (levels - 1).saturating_sub(n + task % levels.div_ceil(3) * 3);
                        pool.with().priority(Level::new(level)).submit(log.task(level)).unwrap();
                    }
                }
                drop(pause);
                assert!(pool.wait_idle());
                let started = log.entries();
                assert_eq!(started.len(), backlog.iter().sum::<usize>());
                assert_bounded(&started, levels);
            }
        }
    });
}

/// Tasks of the highest level that submit themselves again for ever, and one of the lowest: it starts after 16 at most.
#[test]
fn tasks_that_respawn_do_not_starve_a_lower_level() {
    fn respawn(pool: &Arc<PriorityPool>, log: &Log<&'static str>) {
        log.note("high");
        if !log.has(&"low") {
            let (inner, log) = (Arc::clone(pool), log.clone());
            pool.with().priority(Level::HIGH).submit(move || respawn(&inner, &log)).unwrap();
        }
    }
    within(LIMIT, "respawning", || {
        let (pool, log) = (pool(Setup::new(1, 10), 3), Log::new());
        let pause = pool.pause();
        for _ in 0..3 {
            let (inner, log) = (Arc::clone(&pool), log.clone());
            pool.with().priority(Level::HIGH).submit(move || respawn(&inner, &log)).unwrap();
        }
        pool.with().priority(Level::LOW).submit(log.task("low")).unwrap();
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!(log.entries().iter().position(|entry| *entry == "low"), Some(2 * Priority::MOST_BEFORE));
        assert_conserved(&*pool);
    });
}

#[test]
fn a_level_that_the_pool_does_not_have_is_a_panic_and_named() {
    within(LIMIT, "levels", || {
        let pool = pool(Setup::new(1, 1), 4);
        let panic = catch_unwind(AssertUnwindSafe(|| pool.with().priority(Level::new(4)))).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "level 4: the pool has the levels 0 to 3");
        for level in [Level::LOW, Level::NORMAL, Level::HIGH, Level::new(0), Level::new(3)] {
            assert_eq!(pool.with().priority(level).run(|| 7).unwrap(), 7);
        }
        for levels in [0, 65, usize::MAX] {
            let error = Pool::builder().dispatch::<Priority>().levels(levels).build().unwrap_err();
            assert_eq!(error.to_string(), format!("dispatch Priority: `levels` is {levels}: a pool has 1 to 64"));
        }
        let elsewhere = Pool::builder().dispatch::<Priority>().levels(2).dispatch::<formicary::Ring>().build();
        let error = elsewhere.unwrap_err();
        assert_eq!(error.to_string(), "dispatch Ring: `levels` is set, and it has no levels");
    });
}

/// `NORMAL` is the middle one, and has one queue with the tasks that name no level.
#[test]
fn the_middle_level_is_that_of_tasks_without_one() {
    within(LIMIT, "levels", || {
        for levels in [1, 2, 5, 8, 64] {
            let (pool, log, middle) = (pool(Setup::roomy(1), levels), Log::new(), Level::new((levels - 1) / 2));
            let pause = pool.pause();
            for n in 0..9 {
                match n % 3 {
                    0 => pool.submit(log.task(n)).unwrap(),
                    1 => pool.with().priority(Level::NORMAL).submit(log.task(n)).unwrap(),
                    _ => pool.with().priority(middle).submit(log.task(n)).unwrap(),
                }
            }
            drop(pause);
            assert!(pool.wait_idle());
            assert_eq!(log.entries(), (0..9).collect::<Vec<_>>());
        }
    });
}

#[test]
fn the_bound_counts_all_levels_together() {
    within(LIMIT, "bound", || {
        let (pool, log) = (pool(Setup::new(2, 3), 3), Log::new());
        let pause = pool.pause();
        for level in [Level::LOW, Level::LOW, Level::HIGH, Level::NORMAL, Level::LOW] {
            pool.with().priority(level).submit(log.task(0)).unwrap();
        }
        for level in [Level::LOW, Level::NORMAL, Level::HIGH] {
            assert!(pool.with().priority(level).try_submit(log.task(0)).unwrap_err().is_full());
        }
        pool.reconfigure(&formicary::Reconfigure::new().queue(4)).unwrap();
        assert_eq!(pool.with().priority(Level::LOW).submit_all((0..1).map(|_| log.task(0))).unwrap(), 1);
        assert!(pool.try_submit(log.task(0)).unwrap_err().is_full());
        drop(pause);
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    });
}

/// Threads that wait for room: it goes to those of the highest level, and the lower ones are not passed more often than tasks are. A
/// future that is not polled holds up none of them for long.
#[test]
fn room_goes_to_the_highest_level_and_starves_none() {
    for has_future in [false, true] {
        within(LIMIT, "room", move || {
            let (pool, log, gate) = (pool(Setup::new(1, 0), 3), Log::new(), Gate::new());
            pool.submit(gate.closure()).unwrap();
            gate.await_arrivals(1);
            let urgent = pool.with().priority(Level::HIGH);
            let mut future = Box::pin(urgent.submit_async(log.held(9, &gate)));
            if has_future {
                assert!(future.as_mut().poll(&mut Poller::from_waker(Waker::noop())).is_pending());
            }
            let (futures, mut threads) = (usize::from(has_future), Vec::new());
            for (level, count) in [(0, 2), (1, 3), (2, 40)] {
                for _ in 0..count {
                    let (own, task) = (Arc::clone(&pool), log.held(level, &gate));
                    threads.push(std::thread::spawn(move || {
                        own.with().priority(Level::new(level)).submit(task).unwrap();
                    }));
                    await_waiting(&*pool, threads.len() + futures);
                }
            }
            for n in 0..threads.len() {
                gate.pass(1);
                gate.await_arrivals(n + 2);
            }
            drop(future);
            gate.open();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert!(pool.wait_idle());
            let started = log.entries();
            assert_eq!(started.len(), 45);
            if !has_future {
                // Those behind the future wait until it has had its time to be polled.
                assert_eq!(started[..Priority::MOST_BEFORE], [2; Priority::MOST_BEFORE]);
                assert_bounded(&started, 3);
            }
            assert_conserved(&*pool);
        });
    }
}

/// A blocked submitter that gives up passes the room on to another level.
#[test]
fn a_submitter_that_gives_up_leaves_the_room_to_another_level() {
    within(LIMIT, "giving up", || {
        for _ in 0..50 {
            let (pool, gate, token) = (pool(Setup::new(1, 0), 3), Gate::new(), CancelToken::new());
            pool.submit(gate.closure()).unwrap();
            gate.await_arrivals(1);
            let submit = |level, token: Option<CancelToken>| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || match token {
                    Some(token) => pool.with().priority(level).token(&token).submit(|| ()).is_ok(),
                    None => pool.with().priority(level).submit(|| ()).is_ok(),
                })
            };
            let (high, low) = (submit(Level::HIGH, Some(token.clone())), submit(Level::LOW, None));
            await_waiting(&*pool, 2);
            gate.open();
            token.cancel();
            high.join().unwrap();
            assert!(low.join().unwrap());
            assert!(pool.wait_idle());
            assert_conserved(&*pool);
        }
    });
}

#[test]
fn nested_tasks_keep_the_level_that_they_name_and_inherit_none() {
    within(LIMIT, "nested", || {
        let (pool, log) = (pool(Setup::new(1, 0), 3), Log::new());
        let (inner, entries) = (Arc::clone(&pool), log.clone());
        let nest = move || {
            for (n, level) in [Level::LOW, Level::NORMAL, Level::HIGH, Level::LOW].into_iter().enumerate() {
                inner.with().priority(level).submit(entries.task((level.to_string(), n))).unwrap();
            }
            inner.submit(entries.task(("none".to_owned(), 4))).unwrap();
            assert_eq!((inner.stats().overcommitted, inner.queued()), (5, 5));
        };
        pool.with().priority(Level::HIGH).submit(nest).unwrap();
        assert!(pool.wait_idle());
        let started: Vec<_> = log.entries().into_iter().map(|(level, n)| format!("{level} {n}")).collect();
        assert_eq!(started, ["HIGH 2", "NORMAL 1", "none 4", "LOW 0", "LOW 3"]);
        assert_eq!(pool.stats().overcommitted, 0);
        assert_conserved(&*pool);
    });
}

/// Nested tasks take no room from others, and their own limit is exact.
#[test]
fn nested_tasks_are_beyond_the_bound() {
    within(LIMIT, "nested", || {
        let setup = Setup { nested: Some(Nested::AtMost(2)), ..Setup::new(1, 1) };
        let pool: Arc<PriorityPool> = Arc::new(setup.on(Pool::builder().dispatch::<Priority>()).build().unwrap());
        let (tell, told) = channel();
        let (inner, gate) = (Arc::clone(&pool), Gate::new());
        let hold = gate.closure();
        let nest = move || {
            let urgent = inner.with().priority(Level::HIGH);
            (0..2).for_each(|_| urgent.try_submit(|| ()).unwrap());
            // Within the bound, and then nowhere.
            assert!(urgent.try_submit(|| ()).is_ok());
            assert!(urgent.try_submit(|| ()).unwrap_err().is_full());
            tell.send(inner.stats().overcommitted).unwrap();
            hold();
        };
        pool.submit(nest).unwrap();
        gate.await_arrivals(1);
        assert_eq!(told.recv().unwrap(), 2);
        assert!(pool.try_submit(|| ()).unwrap_err().is_full());
        gate.open();
        assert!(pool.wait_idle());
        let pause = pool.pause();
        (0..2).for_each(|_| pool.try_submit(|| ()).unwrap());
        assert!(pool.try_submit(|| ()).unwrap_err().is_full());
        drop(pause);
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    });
}

/// Cancelled tasks of all levels leave when their room is needed.
#[test]
fn cancelled_tasks_make_room() {
    within(LIMIT, "sweep", || {
        let (pool, log, token) = (pool(Setup::new(1, 5), 3), Log::new(), CancelToken::new());
        let pause = pool.pause();
        for level in [0, 1, 2, 0, 1, 2] {
            let with = pool.with().priority(Level::new(level));
            with.token(&token).submit(log.task(9)).unwrap();
        }
        token.cancel();
        for level in [0, 2, 1, 0, 2, 1] {
            assert!(pool.with().priority(Level::new(level)).try_submit(log.task(level)).is_ok());
        }
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!(log.entries(), [2, 2, 1, 1, 0, 0]);
        assert_eq!(pool.stats().cancelled, 6);
        let handle = {
            let _pause = pool.pause();
            let handle = pool.with().priority(Level::HIGH).spawn(|| ()).unwrap();
            assert!(handle.cancel());
            handle
        };
        assert!(handle.join().unwrap_err().is_cancelled());
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    });
}

/// A full pool drops the oldest task of the lowest level, and none that is more urgent than the new one.
#[test]
fn the_least_urgent_task_is_dropped() {
    within(LIMIT, "dropping", || {
        let builder = Pool::builder().workers(1).queue(3).overflow(Overflow::DropOldest).dispatch::<Priority>();
        let (pool, log) = (builder.build().unwrap(), Log::new());
        let pause = pool.pause();
        for (n, level) in [0, 0, 1, 2, 1, 2, 0, 1, 2].into_iter().enumerate() {
            pool.with().priority(Level::new(level)).submit(log.task((level, n))).unwrap();
        }
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!(log.entries(), [(2, 3), (2, 5), (2, 8), (1, 7)]);
        assert_eq!(pool.stats().dropped, 5);
        assert_conserved(&pool);
    });
}

/// Each task that has not started comes back, in the order of the levels; a pause and a smaller capacity hold.
#[test]
fn what_has_not_started_comes_back() {
    within(LIMIT, "shutdown", || {
        let (pool, gate) = (pool(Setup::roomy(2), 3), Gate::new());
        (0..2).for_each(|_| pool.submit(gate.closure()).unwrap());
        gate.await_arrivals(2);
        pool.tune(1).unwrap();
        for level in [Level::LOW, Level::NORMAL, Level::HIGH] {
            (0..10).for_each(|_| pool.with().priority(level).submit(gate.closure()).unwrap());
        }
        gate.pass(1);
        eventually("one has ended", || pool.stats().completed == 1);
        assert_eq!((pool.running(), pool.queued(), gate.arrived()), (1, 30, 2));
        gate.pass(1);
        gate.await_arrivals(3);
        let pause = pool.pause();
        gate.pass(1);
        assert!(pause.wait_quiet());
        assert_eq!((pool.running(), pool.queued()), (0, 29));
        assert_eq!(pool.shutdown_now().len(), 29);
        assert_conserved(&*pool);
        drop(pause);
        assert!(pool.with().priority(Level::HIGH).submit(|| ()).unwrap_err().is_closed());
        pool.restart().unwrap();
        assert_eq!(pool.with().priority(Level::HIGH).run(|| 7).unwrap(), 7);
    });
}

/// Through a view too: tasks get their permits in the order in which they came, and keep their level in the pool's queue.
#[test]
fn a_view_keeps_the_level() {
    within(LIMIT, "views", || {
        let (pool, log, gate) = (pool(Setup::roomy(1), 3), Log::new(), Gate::new());
        pool.submit(gate.closure()).unwrap();
        gate.await_arrivals(1);
        let (wide, narrow) = (pool.limited(10), pool.limited(1));
        for (n, level) in [Level::LOW, Level::NORMAL, Level::HIGH].into_iter().enumerate() {
            wide.with().priority(level).submit(log.task(n)).unwrap();
            narrow.with().priority(level).submit(log.task(10 + n)).unwrap();
        }
        gate.open();
        assert!(wide.wait_idle() && narrow.wait_idle() && pool.wait_idle());
        let of_view = |first: usize| log.entries().into_iter().filter(|n| n / 10 == first).collect::<Vec<_>>();
        assert_eq!((of_view(0), of_view(1)), (vec![2, 1, 0], vec![10, 11, 12]));
        assert_conserved(&*pool);
    });
}

#[test]
fn the_other_kinds_have_levels() {
    within(LIMIT, "PoolWithFunc", || {
        let log = Log::new();
        let noted = log.clone();
        let func = move |n: usize| noted.task(n)();
        let pool = PoolWithFunc::builder(func).workers(1).dispatch::<Priority>().build().unwrap();
        let pause = pool.pause();
        (0..3).for_each(|n| pool.with().priority(Level::new(n)).submit(n).unwrap());
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!(log.entries(), [2, 1, 0]);
    });
    within(LIMIT, "StatefulPool", || {
        let log = Log::new();
        let noted = log.clone();
        let builder = StatefulPool::builder(move |_| Ok(noted.clone())).workers(1).dispatch::<Priority>();
        let pool = builder.levels(5).build().unwrap();
        let pause = pool.pause();
        let handles: Vec<_> = (0..5).map(|n| pool.with().priority(Level::new(n)).spawn(n).unwrap()).collect();
        drop(pause);
        assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq(1..6));
        assert_eq!(log.entries(), [4, 3, 2, 1, 0]);
    });
    within(LIMIT, "WorkerPool", || {
        let pool: Box<dyn WorkerPool<Task>> = Box::new(Pool::builder().dispatch::<Priority>().build().unwrap());
        pool.submit(Task::new(|| ())).unwrap();
        assert!(pool.wait_idle());
    });
}
