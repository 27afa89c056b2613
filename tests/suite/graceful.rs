//! Ends with a time limit, and ends at once: what runs, what comes back, what each waiter is told.

use std::time::Duration;

use crate::support::tokens::own_token;
use crate::support::{Count, Gate, LIMIT, Setup, assert_conserved, for_each, on_every_dispatch};
use formicary::{CancelReason, CancelToken, Dispatch, Pool};

/// Within its time it is a shutdown like any other.
#[test]
fn a_graceful_shutdown_runs_what_it_can() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::new(2, 8)), Count::new());
        // So that nothing has run before.
        let pause = pool.pause();
        (0..8).for_each(|_| pool.submit(count.task()).unwrap());
        let (returned, report) = pool.shutdown_graceful(LIMIT);
        assert!(returned.is_empty() && report.is_complete());
        assert_eq!((count.get(), report.ran, report.cancelled, report.returned), (8, 8, 0, 0));
        drop(pause);
    });
}

/// After its time it gives back what has not started, and reports what still runs without waiting for it.
#[test]
fn a_graceful_shutdown_gives_back_what_it_cannot_run() {
    for_each(|variant| {
        let (pool, gate, count) = (variant.build(Setup::new(1, 8)), Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        (0..3).for_each(|_| pool.submit(count.task()).unwrap());
        let (returned, report) = pool.shutdown_graceful(Duration::from_millis(10));
        assert_eq!((returned.len(), report.running, report.queued, report.workers), (3, 1, 0, 1));
        assert_eq!((report.ran, report.cancelled, report.returned), (0, 0, 3));
        assert!(pool.is_closed());
        gate.open();
        assert!(pool.shutdown().is_complete());
        assert_eq!((count.get(), pool.stats().returned), (0, 3));
        assert_conserved(&*pool);
    });
}

/// A report is about one end: tasks from before it, and from before an earlier end, are in the pool's figures only.
fn a_report_is_of_one_end<D: Dispatch>() {
    let pool: Pool<D> = Pool::builder().workers(1).queue(8).dispatch().build().unwrap();
    for life in 1..3 {
        let (pause, token, gate) = (pool.pause(), CancelToken::new(), Gate::new());
        pool.submit(|| ()).unwrap();
        pool.with().token(&token).submit(|| unreachable!("it is cancelled")).unwrap();
        token.cancel();
        drop(pause);
        assert!(pool.wait_idle());
        let hold = gate.clone();
        pool.submit(move || hold.wait()).unwrap();
        gate.await_arrivals(1);
        pool.submit(|| ()).unwrap();
        let (returned, report) = pool.shutdown_graceful(Duration::from_millis(10));
        assert_eq!((returned.len(), report.ran, report.cancelled, report.returned), (1, 0, 0, 1));
        gate.open();
        assert!(pool.shutdown().is_complete());
        let stats = pool.stats();
        assert_eq!((stats.completed, stats.cancelled, stats.returned), (2 * life, life, life));
        pool.restart().unwrap();
    }
}

#[test]
fn reports_are_of_one_end() {
    on_every_dispatch!(a_report_is_of_one_end);
}

/// After its time it cancels the tokens of running tasks, and only those: the token that the task was submitted with stays.
fn a_graceful_shutdown_cancels_the_tokens_of_what_runs<D: Dispatch>() {
    let (pool, mine, started) = (Pool::<D>::with_workers(1).unwrap(), CancelToken::new(), Gate::new());
    let begun = started.clone();
    let waits = pool.with().token(&mine).spawn(move || {
        let token = own_token();
        begun.pass(1);
        begun.wait();
        token.wait();
        token.reason()
    });
    started.await_arrivals(1);
    let queued = pool.with().token(&mine).spawn(|| unreachable!("it is given back")).unwrap();
    let (returned, report) = pool.shutdown_graceful(Duration::from_millis(10));
    assert_eq!((returned.len(), report.returned), (1, 1));
    assert_eq!(waits.unwrap().join().unwrap(), Some(CancelReason::Asked));
    assert!(queued.join().unwrap_err().is_cancelled() && !mine.is_cancelled());
    assert!(pool.shutdown().is_complete());
}

#[test]
fn a_graceful_shutdown_cancels_tokens() {
    on_every_dispatch!(a_graceful_shutdown_cancels_the_tokens_of_what_runs);
}

/// A paused pool runs nothing of what it holds when `shutdown_now` ends it.
#[test]
fn a36_shutdown_now_starts_nothing_in_a_paused_pool() {
    for_each(|variant| {
        for _ in 0..20 {
            let (pool, count) = (variant.build(Setup::new(2, 300)), Count::new());
            let pause = pool.pause();
            (0..300).for_each(|_| pool.submit(count.task()).unwrap());
            assert_eq!(pool.shutdown_now().len(), 300);
            assert_eq!(count.get(), 0);
            drop(pause);
        }
    });
}
