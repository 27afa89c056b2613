//! Small programs, one for each way in which a pool can end: `ci/memcheck.sh` has valgrind look for memory that is used wrongly
//! or left. By itself this only shows that they end.
//!
//! `--list` names them, `--program NAME` is one of them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a program that goes wrong fails by panicking

#[path = "endings/inside.rs"]
mod inside;
mod support;

use std::process::{Command, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use formicary::{CancelToken, Context, Dispatch, Pool, StatefulPool, Worker};
use support::races::quiet_panic;
use support::tokens::own_token;
use support::{Gate, LIMIT, await_waiting, each_dispatch, eventually, within};

/// Long enough for nothing.
const SHORT: Duration = Duration::from_millis(5);

/// A pool of two workers, with memory of the test's in its tasks.
fn pool<D: Dispatch>() -> Arc<Pool<D>> {
    Arc::new(Pool::builder().workers(2).queue(64).dispatch().build().unwrap())
}

/// Something on the heap that a task holds.
fn task() -> impl FnOnce() + Send + 'static {
    let text = "a task's".to_owned();
    move || assert_eq!(text.len(), 8)
}

/// Both workers are held at the gate, and eight tasks are queued.
fn busy<D: Dispatch>() -> (Arc<Pool<D>>, Gate) {
    let (pool, gate) = (pool(), Gate::new());
    for _ in 0..2 {
        let gate = gate.clone();
        pool.submit(move || gate.wait()).unwrap();
    }
    gate.await_arrivals(2);
    (0..8).for_each(|_| pool.submit(task()).unwrap());
    (pool, gate)
}

fn dropped<D: Dispatch>() {
    let pool = pool::<D>();
    let handles: Vec<_> = (0..20).map(|n| pool.spawn(move || vec![n; 10]).unwrap()).collect();
    drop(pool);
    assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()[9]).sum::<i32>(), 190);
}

fn shut_down<D: Dispatch>() {
    let (pool, gate) = busy::<D>();
    gate.open();
    assert!(pool.shutdown().is_complete());
    assert!(pool.submit(task()).is_err());
    assert_eq!(pool.stats().completed, 10);
}

fn shut_down_now<D: Dispatch>() {
    let (pool, gate) = busy::<D>();
    let handle = pool.spawn(task()).unwrap();
    let ending = thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.shutdown_now().len()
    });
    assert!(handle.join().is_err());
    gate.open();
    assert_eq!(ending.join().unwrap(), 9);
}

fn shut_down_in_time<D: Dispatch>() {
    let (pool, gate) = busy::<D>();
    assert!(!pool.shutdown_timeout(SHORT).is_complete());
    gate.open();
    assert!(pool.shutdown().is_complete());
}

fn shut_down_gracefully<D: Dispatch>() {
    let pool = pool::<D>();
    let (token, gate) = (CancelToken::new(), Gate::new());
    for _ in 0..2 {
        let at = gate.clone();
        let until_cancelled = move || {
            let token = own_token();
            at.open();
            at.wait();
            while !token.is_cancelled() {
                thread::yield_now();
            }
        };
        drop(pool.with().token(&token).spawn(until_cancelled).unwrap());
    }
    gate.await_arrivals(2);
    (0..8).for_each(|_| pool.submit(task()).unwrap());
    let (returned, _) = pool.shutdown_graceful(SHORT);
    assert_eq!(returned.len(), 8);
    assert!(pool.shutdown().is_complete());
}

fn dropped_inside<D: Dispatch>() {
    let (pool, gate) = (pool::<D>(), Gate::new());
    let (owner, held, ended) = (Arc::clone(&pool), gate.clone(), Arc::new(()));
    let alive = Arc::clone(&ended);
    pool.submit(move || {
        held.wait();
        drop(owner);
    })
    .unwrap();
    pool.submit(move || drop(alive)).unwrap();
    drop(pool);
    gate.open();
    eventually("the rest has run", || Arc::strong_count(&ended) == 1);
    eventually("no thread is left", || support::threads_named(formicary::DEFAULT_NAME) == 0);
}

fn closed_with_submitters_blocked<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap());
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    let blocked: Vec<_> = (0..3)
        .map(|_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.submit(task()).is_err())
        })
        .collect();
    await_waiting(&*pool, 3);
    assert!(!pool.shutdown_timeout(SHORT).is_complete());
    assert!(blocked.into_iter().all(|submitter| submitter.join().unwrap()));
    gate.open();
    drop(pool);
}

fn dropped_when_the_last_worker_has_expired<D: Dispatch>() {
    let pool: Pool<D> = Pool::builder().workers(2).min_workers(0).expiry(SHORT).dispatch().build().unwrap();
    (0..8).for_each(|_| pool.submit(task()).unwrap());
    eventually("all expire", || pool.stats().live == 0);
}

/// A state on the heap, which its factory makes once.
struct State(Box<u32>);

impl Worker for State {
    type Input = String;
    type Output = usize;

    fn process(&mut self, text: String, _: &Context<'_>) -> usize {
        if text.is_empty() {
            quiet_panic();
        }
        *self.0 += 1;
        text.len()
    }
}

fn dropped_with_a_state_lost<D: Dispatch>() {
    let made = AtomicUsize::new(0);
    let factory = move |_| match made.fetch_add(1, SeqCst) {
        0 => Ok(State(Box::new(0))),
        _ => Err("there is only one".into()),
    };
    let pool: StatefulPool<State, D> = StatefulPool::builder(factory).workers(1).dispatch().build().unwrap();
    assert_eq!(pool.run("four".to_owned()).unwrap(), 4);
    assert!(pool.run(String::new()).unwrap_err().is_panic());
    assert!(pool.run("five".to_owned()).is_err());
    drop(pool.spawn("gone".to_owned()).unwrap());
}

fn restarted_and_dropped<D: Dispatch>() {
    let (pool, gate) = busy::<D>();
    gate.open();
    pool.shutdown();
    pool.restart().unwrap();
    (0..8).for_each(|_| pool.submit(task()).unwrap());
}

/// The process ends with tasks running and queued. Nothing is dropped, so nothing dropped is used.
fn left_by_exit<D: Dispatch>() {
    let (_pool, _gate) = busy::<D>();
    exit(0);
}

/// The same with the pool of the whole process, at the end of the main function.
fn left_with_the_global_pool() {
    let (pool, gate) = (Pool::global(), Gate::new());
    assert_eq!(pool.run(|| 7).unwrap(), 7);
    for _ in 0..pool.capacity() {
        let gate = gate.clone();
        pool.submit(move || gate.wait()).unwrap();
    }
    gate.await_arrivals(pool.capacity());
    (0..8).for_each(|_| pool.submit(task()).unwrap());
}

type Program = (String, fn());

fn programs() -> Vec<Program> {
    let mut all = Vec::new();
    macro_rules! add {
        ($dispatch:ty, $name:literal) => {
            let programs: [(&str, fn()); 15] = [
                ("drop", dropped::<$dispatch>),
                ("shutdown", shut_down::<$dispatch>),
                ("shutdown_now", shut_down_now::<$dispatch>),
                ("shutdown_timeout", shut_down_in_time::<$dispatch>),
                ("shutdown_graceful", shut_down_gracefully::<$dispatch>),
                ("drop_inside", dropped_inside::<$dispatch>),
                ("blocked_submitters", closed_with_submitters_blocked::<$dispatch>),
                ("last_worker_expired", dropped_when_the_last_worker_has_expired::<$dispatch>),
                ("state_lost", dropped_with_a_state_lost::<$dispatch>),
                ("restart", restarted_and_dropped::<$dispatch>),
                ("exit", left_by_exit::<$dispatch>),
                ("own_threads", inside::d02_ended_on_its_own_threads::<$dispatch>),
                ("own_state", inside::d02_ended_by_a_state::<$dispatch>),
                ("circle", inside::d02_ended_in_a_circle::<$dispatch>),
                ("thread_that_ends", inside::d02_used_by_a_thread_that_ends::<$dispatch>),
            ];
            all.extend(programs.map(|(name, run)| (format!("{name}/{}", $name), run)));
        };
    }
    each_dispatch!(add);
    all.push(("global".to_owned(), left_with_the_global_pool));
    all
}

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--program" && arg != "--list");
    match (args.next(), args.next()) {
        (Some(flag), Some(wanted)) if flag == "--program" => {
            let (name, run) =
                programs().into_iter().find(|(name, _)| *name == wanted).expect("there is such a program");
            within(LIMIT, &name, run);
        }
        (Some(_), _) => programs().iter().for_each(|(name, _)| println!("{name}")),
        _ => {
            let myself = std::env::current_exe().unwrap();
            for (name, _) in programs() {
                let end = Command::new(&myself).args(["--program", &name]).status().unwrap();
                assert!(end.success(), "{name}: {end}");
            }
        }
    }
}
