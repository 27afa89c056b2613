//! B19, D20: an idle pool uses no processor time. Only these tests measure time.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::time::Duration;

use formicary::Task;
use support::{Gate, Setup, eventually, for_each};

/// The time that threads whose name begins with `prefix` have been on a processor (Linux).
fn cpu_time(prefix: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with(prefix) {
            let nanos = read("schedstat").split(' ').next()?.parse().ok()?;
            sum += Duration::from_nanos(nanos);
        }
    }
    Some(sum)
}

/// The least that `prefix` used in one of some stretches of 100 ms; `None` where the system does not report it.
fn least_use(prefix: &str) -> Option<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..3 {
        let before = cpu_time(prefix)?;
        std::thread::sleep(Duration::from_millis(100));
        least = least.min(cpu_time(prefix)?.saturating_sub(before));
    }
    Some(least)
}

/// How often threads whose name begins with `prefix` have slept (Linux).
fn sleeps(prefix: &str) -> Option<usize> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with(prefix) {
            let status = read("status");
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            sum += line.trim().parse::<usize>().ok()?;
        }
    }
    Some(sum)
}

/// In one of some stretches of 200 ms there are at most `most` wake-ups.
fn assert_asleep(what: &str, prefix: &str, most: usize) {
    let wake_ups = || {
        let before = sleeps(prefix)?;
        std::thread::sleep(Duration::from_millis(200));
        Some(sleeps(prefix)?.saturating_sub(before))
    };
    let is_asleep = (0..5).any(|_| wake_ups().is_none_or(|count| count <= most));
    assert!(is_asleep, "{what}: wakes up again and again");
}

/// A spinning thread would use a share of 100 ms; sleeping ones use microseconds.
fn assert_quiet(what: &str, prefix: &str) {
    if let Some(used) = least_use(prefix) {
        assert!(used < Duration::from_millis(5), "{what}: {used:?} of 100 ms");
    }
}

fn named(name: &str, mut setup: Setup) -> Setup {
    setup.thread_name = Some(name.into());
    setup
}

/// The measure measures: a thread that spins is seen.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "counts threads in /proc")]
fn b19_control_a_spinning_thread_is_seen() {
    let stop = Gate::new();
    let seen = stop.clone();
    let spinning = std::thread::Builder::new().name("b19spin".into()).spawn(move || {
        while seen.arrived() == 0 {
            std::hint::spin_loop();
        }
    });
    eventually("the thread has its name", || support::threads_named("b19spin") == 1);
    let used = least_use("b19spin");
    stop.open();
    stop.wait();
    spinning.unwrap().join().unwrap();
    assert!(used.is_none_or(|used| used > Duration::from_millis(5)), "{used:?}");
}

/// B19: thirty-two workers that have worked and are idle; with an expiry far off, and without one.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "counts threads in /proc")]
fn b19_idle_workers_use_no_cpu() {
    for expiry in [None, Some(Duration::from_secs(600))] {
        for_each(move |variant| {
            let mut setup = named("b19idle", Setup::roomy(32));
            setup.expiry = Some(expiry);
            let (pool, gate) = (variant.build(setup), Gate::new());
            (0..32).for_each(|_| pool.submit(gate.task()).unwrap());
            gate.await_arrivals(32);
            gate.open();
            assert!(pool.wait_idle());
            assert_eq!(support::threads_named("b19idle"), 32);
            assert_quiet("idle workers", "b19idle");
        });
    }
}

/// B19: the minimum stays, however short the expiry, and does not poll whether it may exit.
#[test]
fn b19_workers_that_may_not_expire_use_no_cpu() {
    for_each(|variant| {
        let setup = Setup { min_workers: Some(2), expiry: Some(Some(Duration::ZERO)), ..Setup::new(2, 8) };
        let pool = variant.build(named("b19kept", setup));
        pool.submit(Task::new(|| ())).unwrap();
        pool.wait_idle();
        assert_quiet(variant.name, "b19kept");
    });
}

/// B19: a pause with tasks queued; the workers may not start them and do not poll.
#[test]
fn b19_a_paused_pool_uses_no_cpu() {
    for_each(|variant| {
        let mut setup = named("b19pause", Setup::new(4, 64));
        setup.min_workers = Some(4);
        let pool = variant.build(setup);
        let forever = pool.pause();
        let timed = pool.pause_timeout(Duration::from_secs(600));
        (0..10).for_each(|_| pool.submit(Task::new(|| ())).unwrap());
        assert_quiet("a paused pool", "b19pause");
        drop((forever, timed));
        assert!(pool.wait_idle());
    });
}

/// B19: one busy worker, idle ones beside it, as many tasks running as may: no thread polls for the end.
#[test]
fn b19_workers_beside_a_busy_one_use_no_cpu() {
    for_each(|variant| {
        let mut setup = named("b19busy", Setup::new(8, 8));
        setup.min_workers = Some(8);
        let (pool, gate) = (variant.build(setup), Gate::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        assert_quiet("idle workers beside a busy one", "b19busy");
        gate.open();
    });
}

/// B19 and B08: a thread that waits (for room, for idleness, for the end with a time limit) sleeps.
#[test]
fn b19_b08_waiting_callers_use_no_cpu() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 0)), Gate::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        std::thread::scope(|scope| {
            let waiter = |body: fn(&support::AnyPool)| {
                let pool = &pool;
                let builder = std::thread::Builder::new().name("b19wait".into());
                builder.spawn_scoped(scope, move || body(pool)).unwrap();
            };
            waiter(|pool| drop(pool.submit(Task::new(|| ()))));
            waiter(|pool| drop(pool.submit_timeout(Task::new(|| ()), Duration::from_secs(600))));
            eventually("two wait for room", || pool.waiting() == 2);
            waiter(|pool| assert!(pool.wait_idle_timeout(Duration::from_secs(600))));
            assert_quiet("submitters that wait for room", "b19wait");
            waiter(|pool| assert!(pool.shutdown_timeout(Duration::from_secs(600)).is_complete()));
            eventually("closed", || pool.is_closed());
            assert_quiet("a timed end", "b19wait");
            gate.open();
        });
    });
}

/// D20: workers that the minimum keeps sleep until something happens, whatever their expiry; also after they have worked.
#[test]
fn d20_workers_that_may_not_expire_sleep() {
    for expiry in [Duration::ZERO, Duration::from_millis(1)] {
        for_each(move |variant| {
            let setup = Setup { min_workers: Some(16), expiry: Some(Some(expiry)), ..Setup::new(16, 16) };
            let (pool, gate) = (variant.build(named("d20kept", setup)), Gate::new());
            (0..16).for_each(|_| pool.submit(gate.task()).unwrap());
            gate.await_arrivals(16);
            gate.open();
            assert!(pool.wait_idle());
            assert_asleep(variant.name, "d20kept", 8);
            assert_eq!(pool.stats().live, 16);
        });
    }
}

/// D20: workers that have expired beside tasks that a pause holds back.
#[test]
fn d20_workers_of_a_paused_pool_sleep() {
    for_each(|variant| {
        let setup = Setup { min_workers: Some(1), expiry: Some(Some(Duration::ZERO)), ..Setup::new(8, 64) };
        let pool = variant.build(named("d20pause", setup));
        let pause = pool.pause();
        (0..16).for_each(|_| pool.submit(Task::new(|| ())).unwrap());
        assert_asleep(variant.name, "d20pause", 8);
        drop(pause);
        assert!(pool.wait_idle());
        eventually("the surplus expires", || pool.stats().live == 1);
    });
}
