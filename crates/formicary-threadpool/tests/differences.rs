//! Where this crate differs from `threadpool`, as its README says. Where `threadpool` does the other thing for certain, a test shows both.

#[path = "cases/support.rs"]
mod support;

use std::cell::Cell;
use std::sync::mpsc::channel;
use std::time::Duration;

use support::{Gate, within_limit};

thread_local! {
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

/// How many jobs the thread of a pool has run that runs one behind a panic.
macro_rules! runs_behind_a_panic {
    ($name:ident) => {{
        let pool = $name::ThreadPool::new(1);
        pool.execute(|| {
            RUNS.set(RUNS.get() + 1);
            panic!("a test's panic");
        });
        let (sender, receiver) = channel();
        pool.execute(move || sender.send(RUNS.replace(RUNS.get() + 1)).unwrap());
        receiver.recv().unwrap()
    }};
}

#[test]
fn a_thread_survives_a_panic() {
    within_limit(|| {
        assert_eq!(runs_behind_a_panic!(original), 0);
        assert_eq!(runs_behind_a_panic!(threadpool), 1);
    });
}

/// How many of four jobs run at once on a pool whose number of threads was lowered to 2 while its four threads had nothing to do.
macro_rules! jobs_at_once_after_a_reduction {
    ($name:ident, $limit:expr) => {{
        let mut pool = $name::ThreadPool::new(4);
        let all = Gate::new();
        (0..4).for_each(|_| pool.execute(all.job()));
        all.await_arrivals(4);
        all.open();
        pool.join();
        pool.set_num_threads(2);
        let gate = Gate::new();
        (0..4).for_each(|_| pool.execute(gate.job()));
        gate.await_arrivals(2);
        let are_more = gate.has_within(3, $limit);
        let running = pool.active_count();
        gate.open();
        pool.join();
        assert_eq!(running > 2, are_more);
        running
    }};
}

#[test]
fn a_reduction_holds_at_once() {
    within_limit(|| {
        // A thread may have been slow to wait for its next job, and leave.
        assert!((0..10).any(|_| jobs_at_once_after_a_reduction!(original, Duration::from_secs(1)) > 2));
        for _ in 0..10 {
            assert_eq!(jobs_at_once_after_a_reduction!(threadpool, Duration::from_millis(10)), 2);
        }
    });
}

/// `threadpool` lets a joining thread go before it counts the panic.
#[test]
fn panics_are_counted_when_join_returns() {
    within_limit(|| {
        let pool = threadpool::ThreadPool::new(4);
        for wave in 1..=100 {
            (0..4).for_each(|_| pool.execute(|| std::panic::resume_unwind(Box::new(()))));
            pool.join();
            assert_eq!(pool.panic_count(), 4 * wave);
        }
    });
}

/// Threads beyond those of the start come when there are jobs for them.
#[cfg(target_os = "linux")]
#[test]
fn an_increase_starts_threads_on_demand() {
    use support::{eventually, threads_named};

    within_limit(|| {
        let mut pool = original::ThreadPool::with_name("grows".into(), 1);
        pool.set_num_threads(3);
        eventually("all threads are there", || threads_named("grows") == 3);

        let mut pool = threadpool::ThreadPool::with_name("grows on demand".into(), 1);
        pool.set_num_threads(3);
        assert_eq!(threads_named("grows on demand"), 1);
        let gate = Gate::new();
        (0..3).for_each(|_| pool.execute(gate.job()));
        gate.await_arrivals(3);
        assert_eq!(threads_named("grows on demand"), 3);
        gate.open();
    });
}

#[test]
fn there_are_at_most_65_535_threads() {
    let text = "called `Result::unwrap()` on an `Err` value: TooManyWorkers { asked: 65536, limit: 65535 }";
    let build = std::panic::catch_unwind(|| threadpool::ThreadPool::new(65_536)).unwrap_err();
    assert_eq!(build.downcast_ref::<String>().unwrap(), text);
    let mut pool = threadpool::ThreadPool::new(1);
    let same = pool.clone();
    let change = std::panic::catch_unwind(move || pool.set_num_threads(65_536)).unwrap_err();
    assert_eq!(change.downcast_ref::<String>().unwrap(), text);
    assert_eq!(same.max_count(), 1);
}
