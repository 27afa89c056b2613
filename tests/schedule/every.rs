//! Tasks that run again and again.

use std::sync::Arc;

use formicary::{Dispatch, Every, OnClose, Overrun, Pool, PoolWithFunc, StatefulPool, Task, TestClock};

use crate::support::{Count, Gate, RunTask, Setup, eventually, on_every_dispatch, quiet_panics};
use crate::{HOUR, More, TaskPool, looks_at_the_time, on_every_pool};

fn by_rate<P: TaskPool>() {
    let clock = TestClock::freeze();
    let (pool, count) = (P::build(Setup::roomy(2), More::default()), Count::new());
    let runs = count.clone();
    let series = pool.with().name("tick").submit_every(HOUR, move || runs.task()).unwrap();
    let start = clock.now();
    assert_eq!((series.next_run(), pool.stats().scheduled), (Some(start + HOUR), 1));
    for n in 1..4 {
        looks_at_the_time();
        assert_eq!(count.get(), n - 1);
        clock.advance(HOUR);
        eventually("it runs", || series.runs() == n as u64 && pool.stats().scheduled == 1);
        assert_eq!(count.get(), n);
        assert_eq!(series.next_run(), Some(start + HOUR * (n as u32 + 1)));
    }
    series.cancel();
    assert!(series.is_over() && series.next_run().is_none());
    assert_eq!(pool.stats().scheduled, 0);
    clock.advance(5 * HOUR);
    looks_at_the_time();
    assert_eq!((count.get(), series.runs(), series.skipped()), (3, 3, 0));
    // A series without its handle goes on until its pool is closed.
    let runs = count.clone();
    drop(pool.with().after(HOUR).submit_every(2 * HOUR, move || runs.task()).unwrap());
    clock.advance(HOUR);
    eventually("it runs", || count.get() == 4 && pool.stats().scheduled == 1);
    assert_eq!(pool.shutdown_now().len(), 1);
    let refusal = pool.with().submit_every(HOUR, || Task::new(|| ())).unwrap_err();
    assert!(refusal.is_closed());
}

#[test]
fn a_task_runs_at_a_fixed_rate() {
    on_every_pool!(by_rate);
}

/// Runs that take 2.5 periods, by each policy: `at` is when the next is, in half periods.
fn overruns<D: Dispatch>() {
    let policies = [
        (Every::rate(HOUR), 8, 2),
        (Every::rate(HOUR).overrun(Overrun::CatchUp), 4, 0),
        (Every::rate(HOUR).overrun(Overrun::Shift), 7, 0),
        (Every::delay(HOUR), 9, 0),
    ];
    for (every, next, skipped) in policies {
        let clock = TestClock::freeze();
        let pool = Pool::builder().workers(2).dispatch::<D>().build().unwrap();
        let (gate, running) = (Gate::new(), Count::new());
        let (waits, counts, start) = (gate.clone(), running.clone(), clock.now());
        let series = pool
            .submit_every(every, move || {
                counts.up();
                waits.wait();
                counts.down();
            })
            .unwrap();
        clock.advance(HOUR);
        gate.await_arrivals(1);
        clock.advance(HOUR * 5 / 2);
        looks_at_the_time();
        assert_eq!(gate.arrived(), 1, "runs do not overlap");
        gate.pass(1);
        eventually("the next is known", || series.runs() == 1 && series.next_run() != Some(start + HOUR));
        assert_eq!(series.next_run(), Some(start + HOUR * next / 2), "{every:?}");
        assert_eq!(series.skipped(), skipped, "{every:?}");
        gate.open();
        // So many runs whose times have passed are made up for.
        let made_up = match next {
            4 => 2,
            7 => 1,
            _ => 0,
        };
        eventually("late runs", || series.runs() == 1 + made_up);
        looks_at_the_time();
        assert_eq!((series.runs(), running.peak()), (1 + made_up, 1), "{every:?}");
        clock.advance(HOUR);
        eventually("it goes on", || series.runs() > 1 + made_up);
    }
}

#[test]
fn late_runs_are_left_out_made_up_for_or_moved() {
    on_every_dispatch!(overruns);
}

#[test]
fn a_series_survives_panics_and_refusals() {
    quiet_panics();
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(1).queue(0).nonblocking(true).build().unwrap();
    let mut n = 0;
    let series = pool
        .submit_every(HOUR, move || {
            n += 1;
            assert!(n != 1, "a test's panic");
        })
        .unwrap();
    clock.advance(HOUR);
    eventually("it panics", || series.panics() == 1 && pool.stats().scheduled == 1);
    let gate = Gate::new();
    eventually("there is room", || pool.try_submit(gate.closure()).is_ok());
    gate.await_arrivals(1);
    clock.advance(HOUR);
    eventually("it is missed", || series.missed() == 1 && pool.stats().scheduled == 1);
    gate.open();
    eventually("there is room", || pool.running() == 0);
    clock.advance(HOUR);
    eventually("it runs", || series.runs() == 2);
    assert_eq!((series.panics(), series.missed(), pool.stats().panicked), (1, 1, 1));
}

#[test]
fn a_series_ends_with_its_pool() {
    let clock = TestClock::freeze();
    for on_close in [OnClose::Return, OnClose::RunNow, OnClose::Drop] {
        let (count, captured) = (Count::new(), Arc::new(()));
        let pool = Pool::builder().workers(1).on_close(on_close).build().unwrap();
        let (runs, kept) = (count.clone(), Arc::clone(&captured));
        let series = pool
            .submit_every(HOUR, move || {
                let _ = &kept;
                runs.up();
            })
            .unwrap();
        drop(pool);
        assert!(series.is_over(), "{on_close:?}");
        assert_eq!(count.get(), usize::from(on_close == OnClose::RunNow));
        eventually("nothing is left of it", || Arc::strong_count(&captured) == 1);
        clock.advance(3 * HOUR);
    }
}

#[test]
fn a_series_of_a_view_has_its_permit() {
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(2).build().unwrap();
    let (view, count, gate) = (pool.limited(1), Count::new(), Gate::new());
    let runs = count.clone();
    let series = view.submit_every(HOUR, move || _ = runs.up()).unwrap();
    view.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    clock.advance(HOUR);
    eventually("it waits for its permit", || view.stats().queued == 1);
    gate.open();
    eventually("it runs", || series.runs() == 1 && pool.stats().scheduled == 1);
    assert_eq!(view.stats().completed, 2);
    drop(view);
    assert!(series.is_over());
}

#[test]
fn other_kinds_get_inputs() {
    let clock = TestClock::freeze();
    let (tell, told) = std::sync::mpsc::channel();
    let pool = PoolWithFunc::new(1, move |n: u32| tell.send(n).unwrap()).unwrap();
    let mut n = 0;
    let series = pool
        .submit_every(Every::delay(HOUR), move || {
            n += 1;
            assert!(n < 3, "a test's panic");
            n
        })
        .unwrap();
    for n in 1..3 {
        clock.advance(HOUR);
        assert_eq!(told.recv().unwrap(), n);
        eventually("it is over, or scheduled", || series.is_over() || pool.stats().scheduled == 1);
    }
    eventually("an input could not be made", || series.is_over());
    assert_eq!(pool.stats().handler_panics, 1);

    let count = Count::new();
    let runs = count.clone();
    let states = StatefulPool::<RunTask>::new(1, |_| Ok(RunTask)).unwrap();
    let series = states.submit_every(HOUR, move || runs.task()).unwrap();
    clock.advance(HOUR);
    eventually("it runs", || series.runs() == 1);
    assert_eq!(count.get(), 1);
}

/// Nobody reads what a series of a refused closure had captured: the closure comes back.
#[test]
fn a_refused_closure_comes_back() {
    let pool = Pool::new(1).unwrap();
    pool.shutdown();
    let text = String::from("kept");
    let (tell, told) = std::sync::mpsc::channel();
    let mut refused = pool.submit_every(HOUR, move || tell.send(text.clone()).unwrap()).unwrap_err().into_task();
    refused();
    assert_eq!(told.recv().unwrap(), "kept");
}
