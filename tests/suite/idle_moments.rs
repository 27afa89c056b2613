//! D26: every thread that waits for a pool to be idle returns when it is, whatever is submitted in the next moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::{AnyPool, Count, Gate, LIMIT, Setup, eventually, for_each, on_every_dispatch, threads_named};
use formicary::{Dispatch, Limited, Pool, Task};

const WAITERS: usize = 6;

/// How many threads of that name sleep (Linux; elsewhere all of them, after a while).
fn asleep(name: &str) -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        thread::sleep(Duration::from_millis(200));
        return WAITERS;
    };
    let sleeps = |status: String| {
        let is = |key: &str, value: &str| {
            status.lines().any(|line| line.strip_prefix(key).is_some_and(|at| at.trim().starts_with(value)))
        };
        is("Name:", name) && is("State:", "S")
    };
    tasks.flatten().filter(|task| std::fs::read_to_string(task.path().join("status")).is_ok_and(sleeps)).count()
}

/// Something that runs tasks, and that one can wait for.
#[derive(Clone)]
struct Place<P> {
    submit: fn(&P, Task),
    wait: fn(&P) -> bool,
    running: fn(&P) -> usize,
}

/// Several threads wait for a pool, or a view of one, that runs a task. The first one that returns submits another task, which ends
/// when all have returned.
fn all_get_out<P: Send + Sync + 'static>(name: &'static str, pool: &Arc<P>, place: &Place<P>) {
    let Place { submit, wait, running } = *place;
    let (first, second, out) = (Gate::new(), Gate::new(), Count::new());
    submit(pool, first.task());
    first.await_arrivals(1);
    let is_first = Arc::new(AtomicBool::new(true));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (pool, second, out, is_first) = (Arc::clone(pool), second.clone(), out.clone(), Arc::clone(&is_first));
            let body = move || {
                assert!(wait(&pool));
                if is_first.swap(false, SeqCst) {
                    submit(&pool, second.task());
                }
                out.up();
            };
            thread::Builder::new().name(name.into()).spawn(body).unwrap()
        })
        .collect();
    for _ in 0..3 {
        eventually("all wait", || asleep(name) == WAITERS);
    }
    first.open();
    second.await_arrivals(1);
    eventually("all are out", || out.get() == WAITERS);
    assert_eq!(running(pool), 1);
    second.open();
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    eventually("the threads are gone", || threads_named(name) == 0);
}

fn all_get_out_of_a_pool(name: &'static str, wait: fn(&AnyPool) -> bool) {
    let place =
        Place { submit: |pool: &AnyPool, task| pool.submit(task).unwrap(), wait, running: |pool| pool.running() };
    for_each(move |variant| all_get_out(name, &Arc::new(variant.build(Setup::new(1, 8))), &place));
}

#[test]
fn d26_all_who_wait_for_one_idle_moment_get_out() {
    all_get_out_of_a_pool("d26wait", |pool| pool.wait_idle());
}

#[test]
fn d26_all_who_wait_with_a_limit_get_out() {
    all_get_out_of_a_pool("d26timed", |pool| pool.wait_idle_timeout(100 * LIMIT));
}

fn all_get_out_of_a_view<D: Dispatch>() {
    let pool = Pool::builder().workers(1).dispatch::<D>().build().unwrap();
    let place = Place {
        submit: |view: &Limited<Pool<D>>, task: Task| view.submit(move || task.run()).unwrap(),
        wait: |view| view.wait_idle(),
        running: |view| view.stats().running,
    };
    all_get_out("d26view", &Arc::new(pool.limited(1)), &place);
}

/// D26: the same for a view.
#[test]
fn d26_all_who_wait_for_a_view_get_out() {
    on_every_dispatch!(all_get_out_of_a_view);
}
