//! Scheduled tasks of limited views.

use std::sync::Arc;

use formicary::{Dispatch, OnClose, Pool, SubmitErrorKind, TestClock};
use parking_lot::Mutex;

use crate::support::{Gate, eventually, on_every_dispatch};
use crate::{HOUR, looks_at_the_time};

fn limit_holds<D: Dispatch>() {
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(4).dispatch::<D>().build().unwrap();
    let outer = pool.limited(2);
    let (view, gate) = (outer.limited(1), Gate::new());
    let handles: Vec<_> = (0..3).map(|_| view.with().after(HOUR).spawn(gate.closure()).unwrap()).collect();
    view.with().after(HOUR).submit(gate.closure()).unwrap();
    let cancelled = view.with().after(HOUR).spawn(gate.closure()).unwrap();
    assert_eq!((view.stats().queued, pool.stats().scheduled), (0, 5));
    cancelled.cancel();
    assert_eq!((view.stats().submitted, pool.stats().scheduled, pool.stats().cancelled), (0, 4, 1));
    clock.advance(HOUR);
    gate.await_arrivals(1);
    eventually("the others wait in the view", || view.stats().queued == 3 && pool.stats().scheduled == 0);
    assert_eq!((gate.arrived(), view.stats().running), (1, 1));
    handles[2].cancel();
    gate.open();
    assert_eq!(handles.into_iter().map(|handle| handle.join().is_ok()).collect::<Vec<_>>(), [true, true, false]);
    assert!(view.wait_idle());
    assert_eq!((view.stats().completed, view.stats().cancelled, view.stats().peak_running), (3, 1, 1));
}

#[test]
fn the_limit_holds() {
    on_every_dispatch!(limit_holds);
}

fn waits_at_a_full_view<D: Dispatch>() {
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(2).dispatch::<D>().build().unwrap();
    let (view, gate) = (pool.limited(1).queue(0), Gate::new());
    view.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let waits = view.with().after(HOUR).spawn(|| 1).unwrap();
    let gives_up = view.with().after(HOUR).room_timeout(HOUR).spawn(|| 2).unwrap();
    let refused = view.with().after(HOUR).try_spawn(|| 3).unwrap();
    let cancelled = view.with().after(HOUR).spawn(|| 4).unwrap();
    clock.advance(HOUR);
    eventually("three wait", || view.waiting() == 3);
    assert_eq!(refused.join().unwrap_err().refusal(), Some(SubmitErrorKind::Full));
    assert_eq!(pool.run(|| 5).unwrap(), 5, "the pool is not held up");
    cancelled.cancel();
    eventually("two wait", || view.waiting() == 2);
    clock.advance(HOUR);
    assert!(gives_up.join().unwrap_err().is_timed_out());
    assert_eq!(pool.stats().scheduled, 1);
    gate.open();
    assert_eq!(waits.join().unwrap(), 1);
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!((stats.scheduled, stats.drops.refused, stats.rejected), (0, 2, 0));
}

#[test]
fn a_task_waits_for_room_in_a_view() {
    on_every_dispatch!(waits_at_a_full_view);
}

fn closed<D: Dispatch>() {
    let clock = TestClock::freeze();
    let missed = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&missed);
    let builder = Pool::builder().workers(2).dispatch::<D>().on_close(OnClose::RunNow);
    let pool = builder.dropped_handler(move |dropped| told.lock().push(dropped.reason())).build().unwrap();
    let [view, other, last] = [(); 3].map(|()| pool.limited(1));
    let inner = view.limited(1);
    let handles = [&view, &inner].map(|view| view.with().after(HOUR).spawn(|| ()).unwrap());
    let stays = pool.with().after(HOUR).spawn(|| 7).unwrap();
    let dropped = other.with().after(HOUR).spawn(|| ()).unwrap();
    assert_eq!((view.close().len(), pool.stats().returned), (2, 2));
    for view in [&view, &inner] {
        assert!(view.with().after(HOUR).spawn(|| ()).unwrap_err().is_closed());
        assert!(view.submit_every(HOUR, || ()).unwrap_err().is_closed());
    }
    handles.into_iter().for_each(|handle| assert!(handle.join().unwrap_err().is_cancelled()));
    drop(other);
    assert_eq!(dropped.join().unwrap_err().refusal(), Some(SubmitErrorKind::Closed));
    eventually("the handler is told", || missed.lock().len() == 1);
    clock.advance(HOUR);
    assert_eq!(stays.join().unwrap(), 7);
    // A view runs nothing at the end of its pool.
    let never = last.with().after(HOUR).spawn(|| ()).unwrap();
    pool.shutdown();
    assert_eq!(never.join().unwrap_err().refusal(), Some(SubmitErrorKind::Closed));
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.cancelled + stats.returned + stats.dropped);
}

#[test]
fn a_closed_view_gives_them_back() {
    on_every_dispatch!(closed);
}

/// A worker that joins a scheduled task of a view neither runs it nor takes its permit.
#[test]
fn a_worker_joins_a_task_of_a_view() {
    let clock = TestClock::freeze();
    let pool = Arc::new(Pool::builder().workers(2).build().unwrap());
    let view = Arc::new(pool.limited(1));
    let inner = Arc::clone(&view);
    let outer = pool.spawn(move || inner.with().after(HOUR).run(|| 7).unwrap()).unwrap();
    eventually("it is scheduled", || pool.stats().scheduled == 1);
    looks_at_the_time();
    assert!(!outer.is_finished());
    clock.advance(HOUR);
    assert_eq!(outer.join().unwrap(), 7);
}

/// Tasks of a key enter at their times, and then run one at a time, in the order in which they have entered.
#[test]
fn the_order_of_a_key_begins_when_a_task_enters() {
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(4).build().unwrap();
    let (ran, gate) = (Arc::new(Mutex::new(Vec::new())), Gate::new());
    let handles: Vec<_> = [3_u32, 1, 2]
        .into_iter()
        .map(|hours| {
            let (ran, gate) = (Arc::clone(&ran), gate.clone());
            let task = move || {
                gate.wait();
                ran.lock().push(hours);
            };
            pool.with().in_order("key").after(hours * HOUR).spawn(task).unwrap()
        })
        .collect();
    assert_eq!(pool.stats().scheduled, 3);
    clock.advance(3 * HOUR);
    gate.await_arrivals(1);
    looks_at_the_time();
    assert_eq!(gate.arrived(), 1, "one at a time");
    gate.open();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert_eq!(*ran.lock(), [1, 2, 3]);
}
