//! D06: absurd values lead to an error or a lower number, never to an abort or a hang.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::time::Duration;

use formicary::{BuildError, Dispatch, MAX_WORKERS, Pool, Sharded, Task};
use support::{Count, Setup, assert_conserved, for_each, on_every_dispatch};

/// A pool that was built in spite of its options works.
fn works(pool: Result<support::AnyPool, BuildError>) {
    let Ok(pool) = pool else { return };
    let ran = Count::new();
    let accepted = (0..10).filter(|_| pool.submit(ran.task()).is_ok()).count();
    assert!(pool.wait_idle_timeout(Duration::MAX));
    assert_eq!(ran.get(), accepted);
    assert!(pool.shutdown_timeout(Duration::MAX).is_complete());
    assert_conserved(&*pool);
}

#[test]
fn d06_absurd_stacks() {
    for bytes in [0, 1, 4097, 1 << 47, 1 << 62, usize::MAX / 2, usize::MAX - 4095, usize::MAX] {
        for_each(move |variant| {
            println!("{bytes} bytes for {}", variant.name);
            works(variant.try_build(Setup { stack_size: Some(bytes), ..Setup::new(2, 16) }));
            let setup = Setup { stack_size: Some(bytes), min_workers: Some(0), ..Setup::new(2, 16) };
            works(variant.try_build(setup));
        });
    }
}

#[test]
fn d06_absurd_queues() {
    for tasks in [usize::MAX, usize::MAX - 1, usize::MAX / 2, isize::MAX as usize, 1 << 62] {
        for workers in [1, 2, MAX_WORKERS] {
            for_each(move |variant| works(variant.try_build(Setup::new(workers, tasks))));
        }
    }
}

#[test]
fn d06_absurd_shards() {
    for shards in [0, 3, 1 << 20, usize::MAX] {
        for workers in [2, MAX_WORKERS] {
            let pool = Pool::builder().workers(workers).dispatch::<Sharded>().shards(shards).build();
            if let Ok(pool) = pool {
                assert_eq!(pool.run(|| 7).unwrap(), 7);
            }
        }
    }
}

#[test]
fn d06_absurd_times() {
    for time in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 40)] {
        for_each(move |variant| {
            let setup = Setup { spin: Some(time), expiry: Some(Some(time)), ..Setup::new(2, 16) };
            let pool = variant.build(setup);
            let pause = pool.pause_timeout(time);
            pool.submit_timeout(Task::new(|| ()), time).unwrap();
            assert!(pause.wait_quiet_timeout(time));
            drop(pause);
            assert!(pool.wait_idle_timeout(time));
            assert!(pool.shutdown_graceful(time).1.is_complete());
        });
    }
}

#[test]
fn d06_absurd_workers() {
    fn test<D: Dispatch>() {
        for workers in [MAX_WORKERS + 1, usize::MAX] {
            let error = Pool::builder().workers(workers).dispatch::<D>().build().err().unwrap();
            assert!(error.to_string().contains(&workers.to_string()), "{error}");
            let pool = Pool::builder().workers(2).dispatch::<D>().build().unwrap();
            assert!(pool.tune(workers).is_err());
            assert_eq!(pool.capacity(), 2);
            pool.tune(MAX_WORKERS).unwrap();
            assert_eq!(pool.run(|| 7).unwrap(), 7);
        }
    }
    on_every_dispatch!(test);
}

/// More tasks than the system has room for threads, each in need of one, in a process that has used up most of its memory maps: the
/// living workers run them all.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "a program of its own, which the next test runs"]
fn d06_child_with_few_memory_maps() {
    const LEFT: usize = 6_000;
    const TASKS: usize = 2_500;
    let number = |path: &str| std::fs::read_to_string(path).unwrap().trim().parse::<usize>().unwrap();
    let in_use = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let pages = number("/proc/sys/vm/max_map_count").saturating_sub(in_use + LEFT);
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the memory is new, and nothing else refers to it.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), pages * page, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    for n in (0..pages).step_by(2) {
        // SAFETY: a page of that memory. Neighbours with other rights are maps of their own.
        assert_eq!(unsafe { libc::mprotect(start.byte_add(n * page), page, libc::PROT_READ) }, 0);
    }

    let builder = Pool::builder().unlimited_workers().unbounded_queue().stack_size(64 * 1024);
    let pool = builder.build().unwrap();
    let (gate, ran) = (support::Gate::new(), Count::new());
    for _ in 0..TASKS {
        let (gate, ran) = (gate.clone(), ran.clone());
        pool.submit(move || {
            gate.wait();
            ran.up();
        })
        .unwrap();
    }
    let stats = pool.stats();
    let error = Pool::builder().unlimited_workers().min_workers(60_000).build();
    // Before anything can fail: the pool's drop waits for the tasks.
    gate.open();
    assert!(stats.live < TASKS && stats.failed_starts > 0, "{stats:?}");
    match error {
        Err(BuildError::Spawn(source)) => assert!(source.to_string().contains("60000"), "{source}"),
        other => panic!("{other:?}"),
    }
    assert!(pool.wait_idle());
    assert_eq!(ran.get(), TASKS);
}

#[cfg(target_os = "linux")]
#[test]
fn d06_more_workers_than_the_system_has_room_for() {
    let myself = std::env::current_exe().unwrap();
    let name = "d06_child_with_few_memory_maps";
    let end = std::process::Command::new(myself).args(["--ignored", "--exact", name]).output().unwrap();
    let said = String::from_utf8_lossy(&end.stdout).into_owned() + &String::from_utf8_lossy(&end.stderr);
    assert!(end.status.success() && said.contains("1 passed"), "{}\n{said}", end.status);
}
