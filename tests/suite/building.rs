//! Building: what is refused, the defaults, threads and their names, expiry, refused threads.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::support::{AnyPool, Count, Gate, LIMIT, Setup, eventually, for_each, quiet_panics};
use formicary::{BuildError, DEFAULT_NAME, DEFAULT_QUEUE, MAX_WORKERS, Pool, SubmitErrorKind, Task};
use parking_lot::Mutex;

/// Makes `count` workers alive at once, then all idle. None is idle before all have met, however short the expiry: a started worker
/// finds its task queued, and those before it run theirs.
fn start_workers(pool: &AnyPool, count: usize) {
    let gate = Gate::new();
    for at_work in 1..=count {
        assert!(pool.submit(gate.task()).is_ok());
        gate.await_arrivals(at_work);
    }
    gate.open();
    assert!(pool.wait_idle());
}

/// A setup whose threads can be had only while the flag is set.
fn with_threads_if(setup: Setup, allowed: &Arc<AtomicBool>) -> Setup {
    let allowed = allowed.clone();
    let spawn = move |thread: formicary::WorkerThread| {
        if allowed.load(SeqCst) {
            std::thread::Builder::new().spawn(|| thread.run()).map(drop)
        } else {
            Err(io::Error::other("no more threads"))
        }
    };
    Setup { spawn_handler: Some(Arc::new(spawn)), ..setup }
}

#[test]
fn zero_workers_is_an_error_that_says_so() {
    for_each(|variant| {
        let error = variant.try_build(Setup::new(0, 1)).err().unwrap();
        assert!(matches!(error, BuildError::ZeroWorkers));
        assert!(error.to_string().contains('0'), "{error}");
    });
}

#[test]
fn bad_options_are_named() {
    for_each(|variant| {
        let too_many = variant.try_build(Setup::new(MAX_WORKERS + 1, 1)).err().unwrap();
        assert!(
            matches!(too_many, BuildError::TooManyWorkers { asked, limit: MAX_WORKERS } if asked == MAX_WORKERS + 1)
        );
        let above = Setup { min_workers: Some(3), ..Setup::new(2, 1) };
        assert!(matches!(variant.try_build(above).err().unwrap(), BuildError::MinAboveMax { min: 3, max: 2 }));
        let name = Setup { thread_name: Some("a\0b".into()), ..Setup::new(1, 1) };
        assert!(matches!(variant.try_build(name).err().unwrap(), BuildError::ThreadName(name) if name == "a\0b"));
    });
}

#[test]
fn defaults_are_as_stated() {
    for_each(|variant| {
        assert_eq!(variant.build(Setup::default()).capacity(), num_cpus::get());

        let pool = variant.build(Setup { workers: Some(2), ..Setup::default() });
        assert_eq!(pool.stats().live, 1, "one worker is started to find out whether it can be");
        let pause = pool.pause();
        for _ in 0..2 + DEFAULT_QUEUE {
            assert!(pool.try_submit(Task::new(|| ())).is_ok());
        }
        assert!(pool.try_submit(Task::new(|| ())).unwrap_err().is_full());
        drop(pause);
    });
}

#[test]
fn workers_start_on_demand_up_to_the_capacity() {
    for_each(|variant| {
        let pool = variant.build(Setup { min_workers: Some(0), ..Setup::roomy(3) });
        assert_eq!(pool.stats().spawned, 0);
        let gate = Gate::new();
        for tasks in 1..=5 {
            pool.submit(gate.task()).unwrap();
            gate.await_arrivals(tasks.min(3));
            let stats = pool.stats();
            assert_eq!(
                (stats.live, stats.running, stats.queued),
                (tasks.min(3), tasks.min(3), tasks.saturating_sub(3))
            );
        }
        gate.open();
    });
}

/// A35
#[test]
fn a35_tasks_one_after_the_other_use_one_worker() {
    for_each(|variant| {
        let pool = variant.build(Setup { min_workers: Some(0), expiry: Some(None), ..Setup::new(10, 10) });
        for _ in 0..10 {
            pool.submit(Task::new(|| ())).unwrap();
            assert!(pool.wait_idle());
        }
        assert_eq!(pool.stats().spawned, 1);
    });
}

/// A05: all but the minimum expire, exactly; the pool with an expiry is the clock of the one without.
#[test]
fn a05_idle_workers_go_after_the_expiry_or_stay_without_one() {
    for_each(|variant| {
        let short = Some(Some(Duration::from_millis(1)));
        let expiring = variant.build(Setup { min_workers: Some(2), expiry: short, ..Setup::roomy(6) });
        let lasting = variant.build(Setup { min_workers: Some(2), expiry: Some(None), ..Setup::roomy(6) });
        assert_eq!((expiring.stats().live, lasting.stats().live), (2, 2));
        start_workers(&lasting, 6);
        for round in 1..=3 {
            start_workers(&expiring, 6);
            eventually("only the minimum is left", || {
                let live = expiring.stats().live;
                assert!(live >= 2, "round {round}: the minimum stays");
                live == 2
            });
            let stats = expiring.stats();
            assert_eq!((stats.spawned, stats.retired), (2 + 4 * round, 4 * round), "round {round}");
        }
        let stats = lasting.stats();
        assert_eq!((stats.live, stats.idle, stats.retired), (6, 6, 0));
    });
}

/// A02
#[test]
fn a02_after_all_workers_expired_a_submit_starts_one() {
    for_each(|variant| {
        // Long enough for a submit: a worker must not expire before it has got the task that it was started for.
        let expiry = Some(Some(Duration::from_millis(30)));
        let pool = variant.build(Setup { min_workers: Some(0), expiry, ..Setup::new(3, 3) });
        let count = Count::new();
        for round in 1..=3 {
            pool.submit(count.task()).unwrap();
            assert!(pool.wait_idle());
            assert_eq!(count.get(), round);
            eventually("no worker is left", || pool.stats().live == 0);
        }
        let stats = pool.stats();
        assert_eq!((stats.spawned, stats.retired), (3, 3));
    });
}

#[test]
fn threads_are_named_in_fifteen_bytes() {
    for_each(|variant| {
        for (prefix, expected) in
            [(None, format!("{DEFAULT_NAME}-0")), (Some("a-rather-long-name"), "a-rather-long-0".into())]
        {
            let pool = variant.build(Setup { thread_name: prefix.map(str::to_owned), ..Setup::new(1, 1) });
            let name = Arc::new(Mutex::new(String::new()));
            let seen = name.clone();
            let note = move || *seen.lock() = std::thread::current().name().unwrap().to_owned();
            pool.submit(Task::new(note)).unwrap();
            pool.wait_idle();
            assert_eq!(*name.lock(), expected);
        }
    });
}

#[test]
fn the_stack_size_is_the_threads_own() {
    let pool = Pool::builder().workers(1).stack_size(16 << 20).build().unwrap();
    // Twice the default stack.
    let sum = pool.run(|| std::hint::black_box([1_u8; 4 << 20]).iter().map(|byte| usize::from(*byte)).sum::<usize>());
    assert_eq!(sum.unwrap(), 4 << 20);
}

#[test]
fn thread_hooks_run_on_each_thread_first_and_last() {
    for_each(|variant| {
        let events = Arc::new(Mutex::new(Vec::new()));
        let hook = |what: &'static str| {
            let events = events.clone();
            let thread = move || std::thread::current().id();
            Some(Arc::new(move |worker: usize| events.lock().push((worker, thread(), what))) as _)
        };
        let (on_thread_start, on_thread_stop) = (hook("start"), hook("stop"));
        let pool = variant.build(Setup { on_thread_start, on_thread_stop, ..Setup::roomy(3) });
        start_workers(&pool, 3);
        pool.shutdown();
        let events = events.lock();
        for worker in 0..3 {
            let mine: Vec<_> = events.iter().filter(|event| event.0 == worker).collect();
            assert_eq!(mine.iter().map(|event| event.2).collect::<Vec<_>>(), ["start", "stop"]);
            assert_eq!(mine[0].1, mine[1].1, "both on the worker's thread");
        }
        assert_eq!(events.len(), 6);
    });
}

#[test]
fn a_panic_in_a_thread_hook_is_caught_and_counted() {
    quiet_panics();
    for_each(|variant| {
        let hook = Some(Arc::new(|worker: usize| assert_ne!(worker, 0, "a test's panic")) as _);
        let pool = variant.build(Setup { on_thread_start: hook.clone(), on_thread_stop: hook, ..Setup::new(1, 1) });
        let count = Count::new();
        pool.submit(count.task()).unwrap();
        assert!(pool.shutdown().is_complete());
        let stats = pool.stats();
        assert_eq!((count.get(), stats.completed, stats.panicked, stats.handler_panics), (1, 1, 0, 2));
    });
}

#[test]
fn the_caller_may_make_the_threads() {
    for_each(|variant| {
        let made = Count::new();
        let counter = made.clone();
        let spawn = move |thread: formicary::WorkerThread| {
            assert_eq!(thread.name(), format!("{DEFAULT_NAME}-{}", thread.index()));
            counter.up();
            std::thread::Builder::new().name("by hand".into()).spawn(|| thread.run()).map(drop)
        };
        let pool = variant.build(Setup { spawn_handler: Some(Arc::new(spawn)), ..Setup::roomy(2) });
        let (meet, named) = (Arc::new(Barrier::new(2)), Count::new());
        for _ in 0..2 {
            let (meet, named) = (meet.clone(), named.clone());
            let task = move || {
                meet.wait();
                if std::thread::current().name() == Some("by hand") {
                    named.up();
                }
            };
            pool.submit(Task::new(task)).unwrap();
        }
        assert!(pool.shutdown().is_complete());
        assert_eq!((made.get(), named.get()), (2, 2));
    });
}

#[test]
fn a_refused_first_thread_is_the_error_of_build() {
    for_each(|variant| {
        let setup = with_threads_if(Setup { min_workers: Some(2), ..Setup::new(2, 2) }, &Arc::default());
        match variant.try_build(setup).err().unwrap() {
            BuildError::Spawn(error) => assert_eq!(error.to_string(), "no more threads"),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn one_of_several_threads_at_build_is_enough() {
    for_each(|variant| {
        let asked = Count::new();
        let spawn = move |thread: formicary::WorkerThread| match asked.up() {
            1 => std::thread::Builder::new().spawn(|| thread.run()).map(drop),
            _ => Err(io::Error::other("no more threads")),
        };
        let setup = Setup { min_workers: Some(3), spawn_handler: Some(Arc::new(spawn)), ..Setup::new(3, 3) };
        let pool = variant.build(setup);
        let count = Count::new();
        pool.submit(count.task()).unwrap();
        pool.wait_idle();
        assert_eq!((pool.stats().live, count.get()), (1, 1));
    });
}

#[test]
fn a_refused_thread_leaves_the_task_to_a_living_worker() {
    for_each(|variant| {
        let allowed = Arc::new(AtomicBool::new(true));
        let pool = variant.build(with_threads_if(Setup::new(4, 4), &allowed));
        let (gate, count) = (Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        allowed.store(false, SeqCst);
        for _ in 0..3 {
            pool.submit(count.task()).unwrap();
        }
        assert_eq!((pool.stats().live, pool.queued()), (1, 3));
        assert!(pool.stats().failed_starts >= 1);
        gate.open();
        pool.wait_idle();
        assert_eq!((count.get(), pool.stats().live), (3, 1));
    });
}

#[test]
fn with_no_worker_and_no_thread_the_submitter_gets_the_task_back() {
    for_each(|variant| {
        let allowed = Arc::new(AtomicBool::new(false));
        let setup = with_threads_if(Setup { min_workers: Some(0), ..Setup::new(2, 2) }, &allowed);
        let (pool, count) = (variant.build(setup), Count::new());
        let refused =
            [pool.submit(count.task()), pool.try_submit(count.task()), pool.submit_timeout(count.task(), LIMIT)];
        for refusal in refused.map(Result::unwrap_err) {
            assert_eq!(refusal.kind(), SubmitErrorKind::Spawn);
            refusal.into_task().run();
        }
        assert_eq!((count.get(), pool.stats().rejected, pool.stats().submitted), (3, 3, 0));

        allowed.store(true, SeqCst);
        pool.submit(count.task()).unwrap();
        pool.wait_idle();
        assert_eq!(count.get(), 4, "a refusal is not for ever");
    });
}

#[test]
fn a_spawn_handler_that_drops_the_thread_counts_as_refusing_it() {
    for_each(|variant| {
        let spawn = |thread| {
            drop::<formicary::WorkerThread>(thread);
            Ok(())
        };
        let setup = Setup { spawn_handler: Some(Arc::new(spawn)), ..Setup::new(1, 1) };
        let error = crate::support::within(LIMIT / 6, "build", move || variant.try_build(setup).err().unwrap());
        assert!(matches!(error, BuildError::Spawn(_)), "{error}");
    });
}

/// D23: an unusable value is an error that names the setting and the value, and is never replaced by another value.
#[test]
fn d23_absurd_values_are_errors_that_name_them() {
    for_each(|variant| {
        let text = |setup| variant.try_build(setup).map(drop).unwrap_err().to_string();
        let table = [
            (Setup::new(0, 1), "workers is 0"),
            (Setup::new(MAX_WORKERS + 1, 1), "workers is 65536"),
            (Setup { min_workers: Some(3), ..Setup::new(2, 1) }, "min_workers is 3, which is above workers, 2"),
            (Setup { min_workers: Some(usize::MAX), ..Setup::new(2, 1) }, "which is above workers, 2"),
            (Setup { thread_name: Some(String::new()), ..Setup::new(1, 1) }, "thread_name is \"\""),
            (Setup { thread_name: Some("a\0b".into()), ..Setup::new(1, 1) }, "thread_name is \"a\\0b\""),
            (Setup { stack_size: Some(0), ..Setup::new(1, 1) }, "stack_size is 0"),
        ];
        for (setup, expected) in table {
            let text = text(setup);
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let pool = variant.build(Setup { min_workers: Some(2), ..Setup::new(2, 1) });
        assert_eq!(pool.tune(0).unwrap_err().to_string(), "workers is 0: a pool needs at least one");
        assert!(pool.tune(usize::MAX).unwrap_err().to_string().contains(&format!("workers is {}", usize::MAX)));
        assert_eq!(pool.capacity(), 2, "nothing has changed");
    });
}

/// D23: a value at the end of its range means what it says.
#[test]
fn d23_the_ends_of_each_range_are_taken_at_their_word() {
    for_each(|variant| {
        let (nothing, for_ever) = (Some(Duration::ZERO), Some(Duration::MAX));
        let table = [
            Setup { expiry: Some(nothing), min_workers: Some(0), ..Setup::new(2, 1) },
            Setup { expiry: Some(for_ever), min_workers: Some(0), ..Setup::new(2, 1) },
            Setup { spin: nothing, ..Setup::new(2, 1) },
            Setup { spin: for_ever, ..Setup::new(2, 1) },
            Setup { max_blocking: Some(0), ..Setup::new(2, 1) },
            Setup { stack_size: Some(1), ..Setup::new(2, 1) },
            Setup { thread_name: Some("-".into()), ..Setup::new(2, 1) },
            Setup::new(1, 0),
        ];
        for setup in table {
            let room = setup.workers.unwrap() + setup.queue.unwrap().unwrap();
            let refused = match setup.max_blocking {
                Some(0) => SubmitErrorKind::Overloaded,
                _ => SubmitErrorKind::TimedOut,
            };
            let (pool, count) = (variant.build(setup), Count::new());
            let pause = pool.pause_timeout(Duration::MAX);
            (0..room).for_each(|_| pool.submit_timeout(count.task(), Duration::MAX).unwrap());
            assert_eq!(pool.submit_timeout(count.task(), Duration::ZERO).unwrap_err().kind(), refused);
            assert!(!pool.wait_idle_timeout(Duration::ZERO));
            drop(pause);
            assert!(pool.wait_idle_timeout(Duration::MAX));
            assert!(pool.shutdown_timeout(Duration::MAX).is_complete());
            assert_eq!(count.get(), room);
        }
    });
}

/// D23: settings that a later one would make meaningless are reported.
#[test]
fn d23_what_is_set_for_shards_is_not_ignored_elsewhere() {
    use formicary::{Balance, Ring, Sharded, Stack};

    let with_shards = || Pool::builder().workers(2).dispatch::<Sharded>().shards(2);
    let error = with_shards().dispatch::<Ring>().build().unwrap_err();
    assert_eq!(error.to_string(), "dispatch Ring: `shards` is set, and it has no shards");
    let balanced = Pool::builder().workers(2).dispatch::<Sharded>().balance(Balance::Thread);
    let error = balanced.dispatch::<Stack>().build().unwrap_err();
    assert_eq!(error.to_string(), "dispatch Stack: `balance` is set, and it has no shards");
    assert_eq!(with_shards().dispatch::<Ring>().dispatch::<Sharded>().build().unwrap().stats().shards.len(), 2);
}
