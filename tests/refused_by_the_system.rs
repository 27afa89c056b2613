//! B20: threads that the system itself refuses, for want of room for their stacks; `refused_threads.rs` has a spawn handler do it. No
//! right is needed for that, and none helps: a limit on processes does not hold for root, one on the address space does.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::error::Error;
use std::time::Duration;

use formicary::{BuildError, SubmitErrorKind};
use parking_lot::Mutex;
use support::{Count, Gate, Setup, Variant, assert_conserved, eventually, for_each};

/// A stack that no address space has room for.
const ENDLESS: usize = 1 << 60;
/// One that there is room for, and that the C library does not keep for the next thread.
const LARGE: usize = 256 << 20;

/// Held by tests that start threads, which may not meet the limit of another.
static ALONE: Mutex<()> = Mutex::new(());

/// While it lives, the system gives this process no thread with a large stack.
struct Exhausted(libc::rlimit);

impl Exhausted {
    /// There is room for what tasks need, but not for one more stack.
    fn new() -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `before` lives.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut before) }, 0);
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let mapped = pages.split(' ').next().unwrap().parse::<u64>().unwrap() * page as u64;
        set(libc::rlimit { rlim_cur: (mapped + LARGE as u64 / 2).min(before.rlim_max), ..before });
        Exhausted(before)
    }
}

impl Drop for Exhausted {
    fn drop(&mut self) {
        set(self.0);
    }
}

fn set(limit: libc::rlimit) {
    // SAFETY: reads what the reference is to.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

/// B20: no thread at build: the error is the system's own, and says so. Nothing is left; the same options with a stack that can be had
/// make a pool.
#[test]
fn b20_build_says_what_the_system_refused() {
    let _alone = ALONE.lock();
    for_each(|variant| {
        let setup = Setup { stack_size: Some(ENDLESS), min_workers: Some(2), ..Setup::new(2, 4) };
        let error = variant.try_build(setup.clone()).err().expect("there is no such stack");
        let BuildError::Spawn(refusal) = &error else { panic!("{error}") };
        assert!(refusal.raw_os_error().is_some(), "{refusal:?}");
        assert_eq!(error.source().unwrap().to_string(), refusal.to_string());
        let pool = variant.build(Setup { stack_size: None, ..setup });
        assert_eq!(pool.stats().live, 2);
    });
}

/// B20: no thread ever, and none at build: every submit is refused with its task, and the end returns.
#[test]
fn b20_each_submit_says_what_the_system_refused() {
    let _alone = ALONE.lock();
    for_each(|variant| {
        let setup = Setup { stack_size: Some(ENDLESS), min_workers: Some(0), ..Setup::new(2, 4) };
        let (pool, ran) = (variant.build(setup), Count::new());
        for refused in 1..=3 {
            let refusal = pool.submit(ran.task()).unwrap_err();
            assert_eq!((refusal.kind(), pool.stats().failed_starts), (SubmitErrorKind::Spawn, refused));
            refusal.into_task().run();
        }
        assert!(pool.wait_idle());
        assert!(pool.shutdown().is_complete());
        assert_eq!(ran.get(), 3);
        assert_conserved(&*pool);
    });
}

/// There is one worker, and no other can start: it runs all tasks. When the system has threads again, more workers start.
fn one_worker_is_left(variant: Variant) {
    let pool = variant.build(Setup { stack_size: Some(LARGE), min_workers: Some(1), ..Setup::new(3, 16) });
    let (gate, ran) = (Gate::new(), Count::new());
    pool.submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    let exhausted = Exhausted::new();
    (0..8).for_each(|_| pool.submit(ran.task()).unwrap());
    let stats = pool.stats();
    assert_eq!((stats.live, stats.queued, stats.spawned), (1, 8, 1), "{stats:?}");
    assert!(stats.failed_starts > 0, "{stats:?}");
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!((ran.get(), pool.stats().live), (8, 1));

    drop(exhausted);
    let gate = Gate::new();
    (0..3).for_each(|_| pool.submit(gate.task()).unwrap());
    gate.await_arrivals(3);
    // Nor is one needed for the end.
    let _exhausted = Exhausted::new();
    (0..8).for_each(|_| pool.submit(ran.task()).unwrap());
    gate.open();
    assert!(pool.shutdown().is_complete());
    assert_eq!(ran.get(), 16);
    assert_conserved(&*pool);
}

/// The last worker has expired, and no other can start: tasks come back, until there are threads again.
fn no_worker_is_left(variant: Variant) {
    let setup = Setup { stack_size: Some(LARGE), ..Setup::fleeting(2, 4, Duration::from_millis(1)) };
    let (pool, ran) = (variant.build(setup), Count::new());
    pool.submit(ran.task()).unwrap();
    eventually("the worker expires", || pool.stats().live == 0);
    let exhausted = Exhausted::new();
    for refused in 1..=3 {
        let refusal = pool.submit(ran.task()).unwrap_err();
        assert_eq!((refusal.kind(), pool.stats().failed_starts), (SubmitErrorKind::Spawn, refused));
        refusal.into_task().run();
    }
    drop(exhausted);
    pool.submit(ran.task()).unwrap();
    assert!(pool.wait_idle());
    assert_eq!((ran.get(), pool.stats().rejected), (5, 3));
    assert_conserved(&*pool);
}

#[test]
fn b20_the_system_refuses_threads_later() {
    let _alone = ALONE.lock();
    for_each(|variant| {
        one_worker_is_left(variant);
        no_worker_is_left(variant);
    });
}
