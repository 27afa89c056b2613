//! Tasks enter at their times, in order, and wait for room or are refused as any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use formicary::observe::Observer;
use formicary::{CancelToken, DropReason, Overflow, Pool, SubmitErrorKind, Task, TestClock};

use crate::support::waking::block_on;
use crate::support::{Count, Gate, Setup, eventually, quiet_panics, start_thread};
use crate::{HOUR, More, Ran, TaskPool, assert_conserved, looks_at_the_time, on_every_pool};

fn they_enter_in_the_order_of_their_times<P: TaskPool>() {
    let clock = TestClock::freeze();
    let (pool, ran) = (P::build(Setup::roomy(1), More::default()), Ran::default());
    let base = clock.now();
    for (hours, n) in [(3, 4), (1, 1), (2, 2), (2, 3)] {
        pool.with().at(base + hours * HOUR).submit(ran.task(n)).unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.scheduled, stats.submitted, stats.queued), (4, 0, 0));
    assert!(pool.wait_idle(), "what is scheduled does not keep a pool busy");
    clock.advance(HOUR - Duration::from_nanos(1));
    looks_at_the_time();
    assert_eq!(ran.len(), 0);
    clock.advance(Duration::from_nanos(1));
    eventually("the first runs", || ran.len() == 1);
    looks_at_the_time();
    assert_eq!((ran.get(), pool.stats().scheduled), (vec![1], 3));
    clock.advance(5 * HOUR);
    eventually("all run", || ran.len() == 4);
    assert_eq!(ran.get(), [1, 2, 3, 4]);
    pool.shutdown();
    assert_eq!(pool.stats().completed, 4);
    assert_conserved(&pool);
}

#[test]
fn tasks_enter_in_the_order_of_their_times() {
    on_every_pool!(they_enter_in_the_order_of_their_times);
}

fn by_each_verb<P: TaskPool>() {
    let clock = TestClock::freeze();
    let (pool, ran) = (Arc::new(P::build(Setup::roomy(2), More::default())), Ran::default());
    let late = pool.with().after(HOUR).name("late");
    late.submit(ran.task(0)).unwrap();
    late.try_submit(ran.task(0)).unwrap();
    assert_eq!(late.submit_all([ran.task(0), ran.task(0)]).unwrap(), 2);
    block_on(late.submit_async(ran.task(0))).unwrap();
    let handles = [late.spawn(ran.task(0)), late.try_spawn(ran.task(0)), block_on(late.spawn_async(ran.task(0)))];
    let callers: Vec<_> = [false, true]
        .map(|is_async| {
            let (pool, task) = (Arc::clone(&pool), ran.task(0));
            std::thread::spawn(move || {
                let late = pool.with().after(HOUR);
                if is_async { block_on(late.run_async(task)) } else { late.run(task) }.unwrap();
            })
        })
        .into_iter()
        .collect();
    eventually("all are scheduled", || pool.stats().scheduled == 10);
    looks_at_the_time();
    assert_eq!(ran.len(), 0);
    clock.advance(HOUR);
    handles.into_iter().for_each(|handle| handle.unwrap().join().unwrap());
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    eventually("all run", || ran.len() == 10);
    pool.shutdown();
    assert_conserved(&pool);
}

#[test]
fn every_verb_schedules() {
    on_every_pool!(by_each_verb);
}

fn cancelled<P: TaskPool>() {
    let clock = TestClock::freeze();
    let (pool, ran, captured) = (P::build(Setup::roomy(1), More::default()), Ran::default(), Arc::new(()));
    let kept = Arc::clone(&captured);
    let handle = pool.with().after(HOUR).spawn(Task::new(move || drop(kept))).unwrap();
    let other = pool.with().after(2 * HOUR).spawn(ran.task(1)).unwrap();
    handle.cancel();
    assert_eq!(Arc::strong_count(&captured), 1, "what it has captured is dropped at once");
    let stats = pool.stats();
    assert_eq!((stats.scheduled, stats.submitted, stats.cancelled), (1, 1, 1));
    assert!(handle.join().unwrap_err().is_cancelled());
    // A token is looked at when the time has come, and is no miss.
    let token = CancelToken::new();
    let by_token = pool.with().token(&token).after(HOUR).spawn(ran.task(2)).unwrap();
    token.cancel();
    assert!(pool.with().token(&token).after(HOUR).spawn(ran.task(2)).unwrap_err().is_cancelled());
    clock.advance(3 * HOUR);
    other.join().unwrap();
    assert!(by_token.join().unwrap_err().is_cancelled());
    assert_eq!(ran.get(), [1]);
    pool.shutdown();
    assert_eq!((pool.stats().refusals.cancelled, pool.stats().cancelled), (1, 2));
    assert_conserved(&pool);
}

#[test]
fn a_cancelled_task_leaves_the_schedule() {
    on_every_pool!(cancelled);
}

fn waits_for_room<P: TaskPool>() {
    let clock = TestClock::freeze();
    let setup = Setup { max_blocking: Some(0), ..Setup::new(1, 0) };
    let (pool, ran, gate) = (P::build(setup, More::default()), Ran::default(), Gate::new());
    pool.with().submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    for n in 1..=3 {
        pool.with().after(HOUR).submit(ran.task(n)).unwrap();
    }
    let cancelled = pool.with().after(HOUR).spawn(ran.task(0)).unwrap();
    let no_time = pool.with().after(HOUR).room_timeout(HOUR).spawn(ran.task(0)).unwrap();
    clock.advance(HOUR);
    eventually("they wait for room", || pool.waiting() == 5);
    assert_eq!((pool.stats().scheduled, pool.stats().submitted), (5, 1));
    cancelled.cancel();
    eventually("it waits no more", || pool.waiting() == 4);
    clock.advance(HOUR);
    assert!(no_time.join().unwrap_err().is_timed_out());
    gate.open();
    eventually("all run", || ran.len() == 3);
    assert_eq!(ran.get(), [1, 2, 3]);
    pool.shutdown();
    assert_conserved(&pool);
}

#[test]
fn a_task_waits_for_room_without_a_thread() {
    on_every_pool!(waits_for_room);
}

fn refused<P: TaskPool>() {
    let clock = TestClock::freeze();
    let (gate, more) = (Gate::new(), More::default());
    let pool = P::build(Setup { nonblocking: true, ..Setup::new(1, 0) }, more.clone());
    pool.with().submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    let handle = pool.with().after(HOUR).spawn(Task::new(|| ())).unwrap();
    pool.with().after(HOUR).submit(Task::new(|| ())).unwrap();
    pool.with().after(HOUR).room_timeout(HOUR).try_submit(Task::new(|| ())).unwrap();
    clock.advance(HOUR);
    let error = handle.join().unwrap_err();
    assert_eq!(error.refusal(), Some(SubmitErrorKind::Full));
    assert!(error.is_dropped() && error.to_string().ends_with("the pool is full"), "{error}");
    eventually("the handler is told", || *more.missed.lock() == [DropReason::Refused; 3]);
    assert_eq!((pool.stats().drops.refused, pool.stats().rejected, pool.stats().scheduled), (3, 0, 0));
    gate.open();
    pool.shutdown();
    assert_conserved(&pool);
}

#[test]
fn a_task_that_is_refused_at_its_time_is_reported() {
    on_every_pool!(refused);
}

fn paused<P: TaskPool>() {
    let clock = TestClock::freeze();
    let (pool, ran) = (P::build(Setup::roomy(1), More::default()), Ran::default());
    let pause = pool.pause();
    pool.with().after(HOUR).submit(ran.task(1)).unwrap();
    clock.advance(HOUR);
    eventually("it is queued", || pool.queued() == 1);
    looks_at_the_time();
    assert_eq!(ran.len(), 0);
    drop(pause);
    eventually("it runs", || ran.len() == 1);
}

#[test]
fn a_task_of_a_paused_pool_waits_in_the_queue() {
    on_every_pool!(paused);
}

#[test]
fn limits_count_from_the_time() {
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(1).build().unwrap();
    let pause = pool.pause();
    let late = pool.with().timeout(HOUR).after(HOUR).spawn(|| ()).unwrap();
    let early = pool.with().deadline(clock.now() + HOUR).after(2 * HOUR).spawn(|| ()).unwrap_err();
    assert!(early.is_timed_out());
    clock.advance(HOUR);
    eventually("it is queued", || pool.queued() == 1);
    clock.advance(HOUR);
    drop(pause);
    assert!(late.join().unwrap_err().is_timed_out());
    // The later of two times, and one beyond the clock.
    let both = pool.with().at(clock.now() + HOUR).after(Duration::ZERO).spawn(|| 7).unwrap();
    let never = pool.with().after(Duration::MAX).spawn(|| ()).unwrap();
    looks_at_the_time();
    assert!(!both.is_finished());
    clock.advance(HOUR);
    assert_eq!(both.join().unwrap(), 7);
    clock.advance(100 * 365 * 24 * HOUR);
    looks_at_the_time();
    assert!(!never.is_finished());
    // A time that is over.
    assert_eq!(pool.with().at(Instant::now()).run(|| 8).unwrap(), 8);
}

/// Counts what an observer is told.
#[derive(Clone, Default)]
struct Told {
    accepted: Count,
    ended: Count,
    refused: Count,
}

impl Observer for Told {
    fn accepted(&self) {
        self.accepted.up();
    }

    fn refused(&self, _: SubmitErrorKind) {
        self.refused.up();
    }

    fn ended(&self, _: &formicary::observe::TaskInfo<'_>, _: formicary::observe::TaskEnd) {
        self.ended.up();
    }
}

#[test]
fn observers_are_told_when_a_task_enters_or_will_not() {
    let clock = TestClock::freeze();
    let told = Told::default();
    let pool = Pool::builder().workers(1).observer(told.clone()).build().unwrap();
    let figures = || [&told.accepted, &told.ended, &told.refused].map(Count::get);
    let handle = pool.with().after(HOUR).spawn(|| ()).unwrap();
    let cancelled = pool.with().after(HOUR).spawn(|| ()).unwrap();
    assert_eq!(figures(), [0, 0, 0]);
    cancelled.cancel();
    assert_eq!(figures(), [1, 1, 0]);
    clock.advance(HOUR);
    handle.join().unwrap();
    eventually("both are told", || figures() == [2, 2, 0]);
    pool.with().after(HOUR).submit(|| ()).unwrap();
    assert_eq!(pool.shutdown_now().len(), 1);
    assert_eq!(figures(), [3, 3, 0]);
    assert!(pool.with().after(HOUR).submit(|| ()).unwrap_err().is_closed());
    assert_eq!(figures(), [3, 3, 1]);
}

#[test]
fn steps_take_what_is_due() {
    let clock = TestClock::freeze();
    let (pool, ran) = (Pool::builder().stepped().build().unwrap(), Ran::default());
    pool.with().after(2 * HOUR).submit(ran.task(2)).unwrap();
    pool.with().after(HOUR).submit(ran.task(1)).unwrap();
    assert!(!pool.step());
    clock.advance(2 * HOUR);
    assert!(pool.step() && pool.step() && !pool.step());
    assert_eq!(ran.get(), [1, 2]);
}

#[test]
fn an_inline_pool_runs_it_on_the_timer_thread() {
    let clock = TestClock::freeze();
    let pool = Pool::builder().inline().build().unwrap();
    let handle = pool.with().after(HOUR).spawn(|| std::thread::current().name().map(str::to_owned)).unwrap();
    clock.advance(HOUR);
    assert_eq!(handle.join().unwrap().as_deref(), Some("formicary-timer"));
}

fn without_a_worker<P: TaskPool>() {
    let clock = TestClock::freeze();
    let (more, is_given) = (More::default(), Arc::new(AtomicBool::new(false)));
    let gives = Arc::clone(&is_given);
    let setup = Setup {
        min_workers: Some(0),
        spawn_handler: Some(Arc::new(move |thread| start_thread(gives.load(SeqCst), thread))),
        ..Setup::roomy(1)
    };
    let (pool, ran) = (P::build(setup, more.clone()), Ran::default());
    let handle = pool.with().after(HOUR).spawn(ran.task(1)).unwrap();
    pool.with().after(2 * HOUR).submit(ran.task(2)).unwrap();
    clock.advance(HOUR);
    assert_eq!(handle.join().unwrap_err().refusal(), Some(SubmitErrorKind::Spawn));
    eventually("the handler is told", || *more.missed.lock() == [DropReason::Refused]);
    is_given.store(true, SeqCst);
    clock.advance(HOUR);
    eventually("it runs", || ran.get() == [2]);
}

#[test]
fn a_pool_without_a_thread_refuses_it() {
    on_every_pool!(without_a_worker);
}

/// At its time a task is as any other to a full pool, but the timer thread never runs it.
#[test]
fn a_full_pool_has_its_policy() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::CallerRuns] {
        let clock = TestClock::freeze();
        let pool = Pool::builder().workers(1).queue(1).overflow(overflow).build().unwrap();
        let gate = Gate::new();
        pool.submit(gate.closure()).unwrap();
        gate.await_arrivals(1);
        let queued = pool.spawn(|| ()).unwrap();
        let late = pool.with().after(HOUR).spawn(|| std::thread::current().name().map(str::to_owned)).unwrap();
        clock.advance(HOUR);
        if overflow == Overflow::CallerRuns {
            eventually("it waits for room", || pool.waiting() == 1);
        } else {
            eventually("one is dropped", || pool.stats().dropped == 1);
        }
        gate.open();
        let (queued, late) = (queued.join(), late.join());
        assert_eq!(queued.is_err_and(|error| error.is_dropped()), overflow == Overflow::DropOldest, "{overflow:?}");
        match late {
            Ok(name) => assert!(name.is_some_and(|name| name != "formicary-timer"), "{overflow:?}"),
            Err(error) => assert!(error.is_dropped() && overflow == Overflow::DropNewest, "{error}"),
        }
        pool.shutdown();
        assert_conserved(&pool);
    }
}

/// A handler, or the drop of a task, that takes long is not on the timer thread, and a panic in it is counted.
#[test]
fn a_handler_holds_up_no_other_timer() {
    quiet_panics();
    let clock = TestClock::freeze();
    let gate = Gate::new();
    let blocks = gate.closure();
    let builder = Pool::builder().workers(1).queue(0).nonblocking(true);
    let pool = builder
        .dropped_handler(move |dropped| {
            blocks();
            assert!(dropped.reason() != DropReason::Refused, "a test's panic");
        })
        .build()
        .unwrap();
    let busy = Gate::new();
    pool.submit(busy.closure()).unwrap();
    busy.await_arrivals(1);
    (0..2).for_each(|_| pool.with().after(HOUR).submit(|| ()).unwrap());
    clock.advance(HOUR);
    gate.await_arrivals(1);
    let other = Pool::new(1).unwrap();
    let handle = other.with().after(HOUR).spawn(|| 7).unwrap();
    clock.advance(HOUR);
    assert_eq!(handle.join().unwrap(), 7);
    gate.open();
    eventually("both are told", || pool.stats().handler_panics == 2);
    busy.open();
}
