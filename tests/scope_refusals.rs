//! Scopes whose pool does not take their tasks: what runs on the spawning thread takes no stack in proportion.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use formicary::{Dispatch, Pool, Scope};
use support::closures::{assert_quiet, occupy, pool};
use support::races::quiet_panic;
use support::{on_every_dispatch, quiet_panics};

/// A small stack, also for a build that is not optimised: a call in a call a few hundred deep does not fit.
const STACK: usize = 256 * 1024;

/// Each task spawns the next.
fn chain<'scope, D: Dispatch>(s: &'scope Scope<'scope, '_, D>, left: usize, ran: &'scope AtomicUsize) {
    ran.fetch_add(1, SeqCst);
    if left > 1 {
        s.spawn(move || chain(s, left - 1, ran));
    }
}

fn run_chain<D: Dispatch>(pool: &Pool<D>, length: usize) {
    let ran = AtomicUsize::new(0);
    pool.scope(|s| s.spawn(|| chain(s, length, &ran)));
    assert_eq!(ran.load(SeqCst), length);
}

fn on_a_small_stack(f: impl FnOnce() + Send) {
    thread::scope(|threads| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(threads, f);
        thread.unwrap().join().unwrap();
    });
}

fn chains<D: Dispatch>() {
    for (nonblocking, queue) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        let builder = Pool::builder().workers(1).queue(queue).nonblocking(nonblocking).stack_size(STACK);
        let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
        let inner = Arc::clone(&pool);
        pool.run(move || run_chain(&inner, 20_000)).unwrap();
        on_a_small_stack(|| run_chain(&pool, 20_000));
        if nonblocking {
            let gate = occupy(&pool);
            while pool.try_submit(|| ()).is_ok() {}
            on_a_small_stack(|| run_chain(&pool, 20_000));
            gate.open();
        }
        assert_quiet(&pool);
        let inner = Arc::clone(&pool);
        let inside = pool.spawn(move || {
            inner.shutdown();
            run_chain(&inner, 20_000);
        });
        inside.unwrap().join().unwrap();
        on_a_small_stack(|| run_chain(&pool, 100_000));
    }
}

/// Runs `body` in a process of its own: a stack that overflows ends the process.
fn in_another_process(test: &str, body: fn()) {
    const CHILD: &str = "FORMICARY_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let end = child.args([test, "--exact", "--nocapture"]).env(CHILD, "1").status().unwrap();
    assert!(end.success(), "{test}: {end}");
}

/// D05: a chain of spawns that find no room needs no stack: on a full pool, on one without a queue, on a closed one, from inside
/// a task and from outside.
#[test]
fn d05_a_chain_of_refused_spawns_needs_no_stack() {
    in_another_process("d05_a_chain_of_refused_spawns_needs_no_stack", || on_every_dispatch!(chains));
}

/// D05: what a refused task spawns runs after it, in order and before what the thread spawns next; its panics are kept.
fn in_order<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(1, 10);
    pool.shutdown();
    let order = Mutex::new(Vec::new());
    let note = |name| order.lock().unwrap().push(name);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|s| {
            s.spawn(|| {
                s.spawn(|| {
                    s.spawn(|| note("1.1.1"));
                    s.spawn(|| note("1.1.2"));
                    note("1.1");
                    quiet_panic();
                });
                s.spawn(|| note("1.2"));
                note("1");
            });
            note("spawned");
            s.spawn(|| note("2"));
        });
    }));
    assert!(panic.is_err());
    assert_eq!(*order.lock().unwrap(), ["1", "1.1", "1.1.1", "1.1.2", "1.2", "spawned", "2"]);
}

#[test]
fn d05_refused_tasks_run_in_order() {
    on_every_dispatch!(in_order);
}

/// D05: a scope in the middle of a refused task of another ends, and both have all that was spawned, however they mix.
fn mixed<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    pool.shutdown();
    let ran = AtomicUsize::new(0);
    let count = || ran.fetch_add(1, SeqCst);
    pool.scope(|outer| {
        outer.spawn(|| {
            let mut inside = 0;
            pool.scope(|inner| {
                inner.spawn(|| {
                    outer.spawn(count);
                    inside += 1;
                    inner.spawn(count);
                });
                outer.spawn(count);
            });
            assert_eq!((inside, ran.load(SeqCst)), (1, 1), "the inner one has ended, the outer one's wait");
            outer.spawn(count);
        });
        assert_eq!(ran.load(SeqCst), 4);
    });
}

#[test]
fn d05_refused_tasks_of_several_scopes() {
    on_every_dispatch!(mixed);
}

/// D05: what is put off on a worker runs there, though the scope's own thread waits for it in the middle of its closure.
fn owner_blocked<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let (done, wait) = mpsc::channel();
    let (pool, done) = (&*pool, &done);
    pool.scope(|s| {
        s.spawn(move || {
            pool.shutdown();
            s.spawn(move || s.spawn(move || s.spawn(move || done.send(thread::current().id()).unwrap())));
        });
        let here = thread::current().id();
        assert_ne!(wait.recv().unwrap(), here);
    });
    assert_quiet(pool);
}

#[test]
fn d05_deferred_tasks_do_not_wait_for_the_owner() {
    on_every_dispatch!(owner_blocked);
}

/// D05: several threads and several workers spawn into one scope that is refused.
fn together<D: Dispatch>() {
    fn tree<'scope, D: Dispatch>(s: &'scope Scope<'scope, '_, D>, count: &'scope AtomicUsize, depth: u32) {
        count.fetch_add(1, SeqCst);
        for _ in 0..depth.min(2) {
            s.spawn(move || tree(s, count, depth - 1));
        }
    }
    for closes in [false, true] {
        let builder = Pool::builder().workers(3).queue(1).nonblocking(true);
        let pool = builder.dispatch::<D>().build().unwrap();
        if closes {
            pool.shutdown();
        }
        let count = AtomicUsize::new(0);
        pool.scope(|s| {
            thread::scope(|threads| {
                for _ in 0..3 {
                    threads.spawn(|| tree(s, &count, 10));
                }
            });
        });
        // Two each, but for those above the leaves, which have one.
        let mut expected = 1;
        (1..=10).for_each(|depth| expected = 1 + expected * std::cmp::min(depth, 2));
        assert_eq!(count.load(SeqCst), 3 * expected);
        if !closes {
            assert_quiet(&pool);
        }
    }
}

#[test]
fn d05_trees_of_refused_spawns_from_many_threads() {
    on_every_dispatch!(together);
}
