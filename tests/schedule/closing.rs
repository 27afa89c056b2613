//! What becomes of scheduled tasks at the end of a pool.

use std::sync::Arc;

use formicary::{DropReason, OnClose, OnDrop, SubmitErrorKind, Task, TestClock};

use crate::support::waking::block_on;
use crate::support::{Gate, Setup, eventually};
use crate::{HOUR, More, Ran, TaskPool, assert_conserved, on_every_pool};

const CLOSED: SubmitErrorKind = SubmitErrorKind::Closed;

/// A pool with tasks 2, 3 and 1 that are due in two, three and one hours.
fn with_three<P: TaskPool>(on_close: OnClose, on_drop: OnDrop) -> (P, Ran, More) {
    let more = More { on_close, ..More::default() };
    let (pool, ran) = (P::build(Setup { on_drop, ..Setup::new(1, 0) }, more.clone()), Ran::default());
    for hours in [2, 3, 1] {
        pool.with().after(hours * HOUR).submit(ran.task(hours)).unwrap();
    }
    (pool, ran, more)
}

fn shut_down<P: TaskPool>() {
    let _clock = TestClock::freeze();
    let shutdowns: [fn(&P); 3] =
        [|pool| _ = pool.shutdown(), |pool| _ = block_on(pool.shutdown_async()), |pool| pool.detach()];
    for shutdown in shutdowns {
        for on_close in [OnClose::Return, OnClose::RunNow, OnClose::Drop] {
            let (pool, ran, more) = with_three::<P>(on_close, OnDrop::default());
            let handle = pool.with().after(4 * HOUR).spawn(Task::new(|| ())).unwrap();
            shutdown(&pool);
            pool.shutdown();
            let runs = on_close == OnClose::RunNow;
            assert_eq!(ran.get(), if runs { vec![1, 2, 3] } else { vec![] }, "{on_close:?}");
            assert_eq!(more.missed.lock().len(), if runs { 0 } else { 4 });
            assert!(more.missed.lock().iter().all(|reason| *reason == DropReason::Closed));
            assert_eq!(handle.join().map_err(|error| error.refusal()), if runs { Ok(()) } else { Err(Some(CLOSED)) });
            assert_eq!(pool.stats().drops.closed, if runs { 0 } else { 4 });
            assert!(pool.with().after(HOUR).submit(ran.task(0)).unwrap_err().is_closed());
            assert_conserved(&pool);
        }
    }
}

#[test]
fn a_shutdown_runs_or_drops_them() {
    on_every_pool!(shut_down);
}

fn returned<P: TaskPool>() {
    let _clock = TestClock::freeze();
    for on_close in [OnClose::Return, OnClose::RunNow, OnClose::Drop] {
        let (pool, ran, more) = with_three::<P>(on_close, OnDrop::default());
        let handle = pool.with().after(4 * HOUR).spawn(ran.task(4)).unwrap();
        let pause = pool.pause();
        pool.with().submit(ran.task(0)).unwrap();
        let returned = pool.shutdown_now();
        drop(pause);
        let error = handle.join().unwrap_err();
        assert_eq!(error.is_dropped(), on_close == OnClose::Drop);
        if on_close == OnClose::Drop {
            assert_eq!((returned.len(), more.missed.lock().len()), (1, 4));
            assert_eq!((pool.stats().returned, pool.stats().drops.closed), (1, 4));
        } else {
            assert_eq!((returned.len(), more.missed.lock().len()), (5, 0));
            returned.into_iter().for_each(Task::run);
            assert_eq!(ran.get(), [0, 1, 2, 3, 4]);
            assert_eq!(pool.stats().returned, 5);
        }
        assert_conserved(&pool);
    }
}

#[test]
fn a_shutdown_that_returns_tasks_returns_them_after_the_queued() {
    on_every_pool!(returned);
}

fn graceful<P: TaskPool>() {
    let _clock = TestClock::freeze();
    for on_close in [OnClose::Return, OnClose::RunNow, OnClose::Drop] {
        let (pool, ran, more) = with_three::<P>(on_close, OnDrop::default());
        let (returned, report) = pool.shutdown_graceful(HOUR);
        assert!(report.is_complete());
        let figures = (returned.len(), ran.get().len(), more.missed.lock().len());
        let [is_returned, runs, is_dropped] =
            [OnClose::Return, OnClose::RunNow, OnClose::Drop].map(|on| on == on_close);
        assert_eq!(figures, (3 * usize::from(is_returned), 3 * usize::from(runs), 3 * usize::from(is_dropped)));
        assert_conserved(&pool);
    }
}

#[test]
fn a_graceful_shutdown_does_as_asked() {
    on_every_pool!(graceful);
}

fn dropped<P: TaskPool>() {
    let clock = TestClock::freeze();
    for on_drop in [OnDrop::Drain, OnDrop::Cancel, OnDrop::Detach] {
        for on_close in [OnClose::Return, OnClose::RunNow, OnClose::Drop] {
            let (pool, ran, more) = with_three::<P>(on_close, on_drop);
            let captured = Arc::new(());
            let kept = Arc::clone(&captured);
            let handle = pool.with().after(4 * HOUR).spawn(Task::new(move || drop(kept))).unwrap();
            drop(pool);
            let runs = on_close == OnClose::RunNow && on_drop != OnDrop::Cancel;
            assert_eq!(handle.join().is_ok(), runs);
            eventually("nothing is left of it", || Arc::strong_count(&captured) == 1);
            eventually("they run or are told of", || ran.len() + more.missed.lock().len() == if runs { 3 } else { 4 });
            assert_eq!(ran.len(), if runs { 3 } else { 0 });
            clock.advance(5 * HOUR);
        }
    }
}

#[test]
fn a_dropped_pool_leaves_none_behind() {
    on_every_pool!(dropped);
}

fn turned_away<P: TaskPool>() {
    let clock = TestClock::freeze();
    for gives_back in [false, true] {
        let (pool, ran, more) = with_three::<P>(OnClose::Return, OnDrop::default());
        let gate = Gate::new();
        pool.with().submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        let called = pool.with().after(HOUR).spawn(ran.task(4)).unwrap();
        clock.advance(2 * HOUR);
        eventually("three wait for room", || pool.waiting() == 3);
        let opens = gate.clone();
        let (closes, closed) = std::sync::mpsc::channel();
        let shutdown = std::thread::spawn(move || {
            let returned = if gives_back {
                pool.shutdown_now()
            } else {
                _ = pool.shutdown();
                Vec::new()
            };
            closes.send(()).unwrap();
            (pool, returned)
        });
        assert_eq!(called.join().unwrap_err().is_dropped(), !gives_back);
        opens.open();
        closed.recv().unwrap();
        let (pool, returned) = shutdown.join().unwrap();
        assert_eq!(returned.len(), if gives_back { 4 } else { 0 });
        eventually("the handler is told", || more.missed.lock().len() == if gives_back { 0 } else { 4 });
        assert_eq!(ran.len(), 0);
        assert_eq!(pool.stats().drops.closed, if gives_back { 0 } else { 4 });
        assert_conserved(&pool);
    }
}

#[test]
fn those_that_wait_for_room_are_turned_away() {
    on_every_pool!(turned_away);
}

fn restarted<P: TaskPool>() {
    let clock = TestClock::freeze();
    let (pool, ran, _) = with_three::<P>(OnClose::Return, OnDrop::default());
    assert_eq!(pool.shutdown_now().len(), 3);
    pool.restart().unwrap();
    pool.with().after(HOUR).submit(ran.task(7)).unwrap();
    clock.advance(3 * HOUR);
    eventually("it runs", || ran.get() == [7]);
}

#[test]
fn a_restarted_pool_schedules_again() {
    on_every_pool!(restarted);
}

fn called<P: TaskPool>() {
    let _clock = TestClock::freeze();
    let pool = Arc::new(P::build(Setup::roomy(1), More::default()));
    let caller = Arc::clone(&pool);
    let waits = std::thread::spawn(move || caller.with().after(HOUR).run(Task::new(|| ())));
    eventually("it is scheduled", || pool.stats().scheduled == 1);
    pool.shutdown();
    let error = waits.join().unwrap().unwrap_err();
    assert!(error.is_closed(), "{error}");
    assert_conserved(&pool);
}

#[test]
fn a_caller_gets_its_task_back() {
    on_every_pool!(called);
}
