//! Tasks with a time, by the real clock and from many threads: none is lost, and each ends once. With a scripted clock: `tests/schedule`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::races::shift;
use crate::support::random::Random;
use crate::support::{eventually, on_every_dispatch};
use formicary::{CancelToken, Dispatch, Every, GaveUp, Handle, OnClose, Pool, Retry, Task};

const THREADS: u64 = 4;
const TASKS: u64 = if cfg!(miri) { 20 } else { 400 };

/// Threads schedule and cancel on a pool that is nearly always full, and on a view of it, until the pool is shut down.
fn from_many_threads<D: Dispatch>() {
    for on_close in [OnClose::Return, OnClose::RunNow, OnClose::Drop] {
        let missed = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&missed);
        let builder = Pool::builder().workers(2).queue(1).on_close(on_close).dispatch::<D>();
        let pool =
            Arc::new(builder.dropped_handler(move |dropped| keeps.lock().push(dropped.into_task())).build().unwrap());
        let (view, ran) = (Arc::new(pool.limited(1)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (pool, view, ran) = (Arc::clone(&pool), Arc::clone(&view), Arc::clone(&ran));
                std::thread::spawn(move || {
                    let mut random = Random(thread + 1);
                    let mut schedule = |n: u64| -> Handle<()> {
                        let ran = Arc::clone(&ran);
                        let task = Task::new(move || _ = ran.fetch_add(1, SeqCst));
                        let late = n % 16 == 0;
                        let delay = random.micros(2_000) * if late { 1_000_000 } else { 1 };
                        match n % 4 {
                            0 => view.with().after(delay).spawn(task).unwrap(),
                            _ => pool.with().after(delay).spawn(task).unwrap(),
                        }
                    };
                    let handles: Vec<_> = (0..TASKS).map(&mut schedule).collect();
                    let cancelled = handles.iter().step_by(5).filter(|handle| handle.cancel()).count();
                    (handles, cancelled)
                })
            })
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let returned = pool.shutdown_now().len();
        eventually("the timer is through", || pool.stats().scheduled == 0);
        let cancelled: usize = ended.iter().map(|(_, cancelled)| cancelled).sum();
        let joined = ended.into_iter().flat_map(|(handles, _)| handles).map(|handle| handle.join().is_ok());
        let completed = joined.filter(|is_ok| *is_ok).count();
        let stats = pool.stats();
        assert_eq!((completed, stats.completed as usize), (ran.load(SeqCst), completed), "{stats:?}");
        assert_eq!(stats.submitted, stats.completed + stats.cancelled + stats.returned + stats.dropped, "{stats:?}");
        // What waited in the view was dropped with it; each other one is known.
        let known = || completed + cancelled + returned + missed.lock().len();
        assert!(known() <= (THREADS * TASKS) as usize);
        drop(view);
        eventually("no task is kept", || Arc::strong_count(&ran) == 1 + missed.lock().len());
    }
}

#[test]
fn no_task_is_lost() {
    on_every_dispatch!(from_many_threads);
}

/// Series that end while their runs are due: by themselves, with their view, and with the pool.
fn series_end<D: Dispatch>() {
    for round in 0..20 {
        let pool = Pool::builder().workers(2).queue(0).dispatch::<D>().build().unwrap();
        let (view, captured) = (pool.limited(1), Arc::new(()));
        let all: Vec<_> = (0..6_u64)
            .map(|n| {
                let kept = Arc::clone(&captured);
                let every = Every::rate(Duration::from_micros(50 + 10 * n));
                let f = move || drop(Arc::clone(&kept));
                if n % 2 == 0 { pool.submit_every(every, f).unwrap() } else { view.submit_every(every, f).unwrap() }
            })
            .collect();
        eventually("they run", || all.iter().all(|series| series.runs() > round % 3));
        all[0].cancel();
        all[1].cancel();
        drop(view);
        drop(pool);
        eventually("they are over", || all.iter().all(formicary::Series::is_over));
        eventually("nothing is left of them", || Arc::strong_count(&captured) == 1);
    }
}

#[test]
fn a_series_ends_while_it_runs() {
    on_every_dispatch!(series_end);
}

/// How often a task has run, and what its handle says.
type Raced = (Arc<AtomicUsize>, Handle<()>);

/// In each round a task, a series and a task that is tried again meet a cancel or the end of a deadline at about their time: each has one end, and
/// the figures know of it.
fn races<D: Dispatch>() {
    // 10 000 on all dispatches together.
    const ROUNDS: usize = if cfg!(miri) { 10 } else { 2_000 };
    let pool = Pool::builder().workers(2).queue(1).dispatch::<D>().build().unwrap();
    let view = pool.limited(1);
    let mut random = Random(21);
    let mut tasks: Vec<Raced> = Vec::new();
    let (attempts, mut series_runs) = (Arc::new(AtomicUsize::new(0)), 0);
    let (send, cancels) = std::sync::mpsc::channel::<(Duration, CancelToken)>();
    let canceller = std::thread::spawn(move || {
        for (delay, token) in cancels {
            shift(delay);
            token.cancel();
        }
    });
    for round in 0..ROUNDS {
        let (token, ran) = (CancelToken::new(), Arc::new(AtomicUsize::new(0)));
        let count = |ran: &Arc<AtomicUsize>| {
            let ran = Arc::clone(ran);
            move || _ = ran.fetch_add(1, SeqCst)
        };
        let (delay, end) = (random.micros(60), random.micros(60));
        match round % 3 {
            0 => token.cancel_after(end),
            1 => send.send((end, token.clone())).unwrap(),
            // By the handle, below.
            _ => {}
        }
        let with = match round % 4 {
            0 => view.with().token(&token).after(delay).spawn(count(&ran)),
            1 => pool.with().in_order(7).token(&token).after(delay).spawn(count(&ran)),
            _ => pool.with().token(&token).after(delay).spawn(count(&ran)),
        };
        let handle = match with {
            Ok(handle) => handle,
            Err(refusal) => {
                assert!(refusal.is_cancelled() || refusal.is_timed_out(), "{refusal}");
                continue;
            }
        };
        let series = pool
            .with()
            .token(&token)
            .submit_every(Every::delay(Duration::from_micros(1) + random.micros(30)), || || ());
        let tried = Arc::clone(&attempts);
        let retry = Retry::fixed(random.micros(20)).attempts(u32::MAX);
        let retried = pool.with().token(&token).retrying(retry).spawn(move || {
            tried.fetch_add(1, SeqCst);
            Err::<(), _>("again")
        });
        if round % 3 == 2 {
            shift(end);
            handle.cancel();
            token.cancel();
        }
        if let Ok(series) = series {
            eventually("the series is over", || series.is_over());
            series_runs += series.runs();
        }
        if let Ok(retried) = retried {
            // Its token was cancelled, between two attempts or before the first.
            let reason = retried.join().map(|result| result.unwrap_err().reason());
            assert!(matches!(reason, Ok(GaveUp::Cancelled | GaveUp::TimeUp) | Err(_)), "{reason:?}");
        }
        tasks.push((ran, handle));
    }
    drop(send);
    canceller.join().unwrap();
    eventually("the timer is through", || pool.stats().scheduled == 0);
    assert!(pool.wait_idle());
    let mut completed = 0;
    for (ran, handle) in tasks {
        let result = handle.join();
        assert_eq!(ran.load(SeqCst), usize::from(result.is_ok()), "{result:?}");
        completed += u64::from(result.is_ok());
        assert!(result.map_or_else(|error| error.is_cancelled() || error.is_timed_out(), |()| true));
    }
    let stats = pool.stats();
    let ran = completed + series_runs + attempts.load(SeqCst) as u64;
    assert_eq!((stats.completed, stats.panicked), (ran, 0), "{stats:?}");
    assert_eq!(stats.submitted, stats.completed + stats.cancelled + stats.returned + stats.dropped, "{stats:?}");
    assert_eq!((stats.queued, stats.running, view.waiting()), (0, 0, 0));
}

#[test]
fn each_task_that_is_cancelled_at_its_time_has_one_end() {
    on_every_dispatch!(races);
}
