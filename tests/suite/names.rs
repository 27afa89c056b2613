//! Names of pools and of their threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use crate::support::races::panicking;
use crate::support::{AnyPool, Gate, LIMIT, Setup, chain, for_each};
use formicary::{BuildError, SubmitErrorKind, Task, TaskPanic};
use parking_lot::Mutex;

/// The names of the threads of so many workers at once.
fn names(pool: &AnyPool, workers: usize) -> BTreeSet<String> {
    let (gate, all) = (Gate::new(), Arc::new(Mutex::new(BTreeSet::new())));
    for _ in 0..workers {
        let (gate, all) = (gate.clone(), Arc::clone(&all));
        let note = move || {
            all.lock().insert(thread::current().name().unwrap().to_owned());
            gate.wait();
        };
        pool.submit(Task::new(note)).unwrap();
    }
    gate.await_arrivals(workers);
    gate.open();
    let all = all.lock();
    all.clone()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn threads_have_the_names_that_a_function_gives() {
    for_each(|variant| {
        let long = |worker| format!("worker {worker} of the whole mill");
        let setup = Setup {
            thread_names: Some(Arc::new(long)),
            thread_name: Some("mill".to_owned()),
            ..Setup::fleeting(3, 10, std::time::Duration::ZERO)
        };
        let pool = variant.build(setup);
        let expected = set(["worker 0 of the whole mill", "worker 1 of the whole mill", "worker 2 of the whole mill"]);
        // A later thread of the same number has the same name.
        for _ in 0..3 {
            assert_eq!(names(&pool, 3), expected);
            crate::support::eventually("all have ended", || pool.stats().live == 0);
        }
        assert_eq!(&*pool.stats().name, "mill");

        let alike = Setup { thread_names: Some(Arc::new(|_| "mill".to_owned())), ..Setup::roomy(2) };
        let pool = variant.build(alike);
        assert_eq!(names(&pool, 2), set(["mill"]));
        assert_eq!(&*pool.stats().name, formicary::DEFAULT_NAME);
    });
}

#[test]
fn a_pool_is_called_otherwise_than_its_threads() {
    for_each(|variant| {
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let tell = move |panic: &TaskPanic<'_>| drop(sender.lock().send(panic.pool().to_owned()));
        let setup = Setup {
            name: Some("the mill\0, all of it".to_owned()),
            thread_name: Some("mill".to_owned()),
            panic_handler: Some(Arc::new(tell)),
            ..Setup::roomy(2)
        };
        let pool = variant.build(setup);
        assert_eq!(names(&pool, 2), set(["mill-0", "mill-1"]));
        assert_eq!(&*pool.stats().name, "the mill\0, all of it");
        pool.submit(panicking()).unwrap();
        assert_eq!(receiver.recv_timeout(LIMIT).unwrap(), "the mill\0, all of it");
    });
}

/// A thread that cannot be named counts as refused.
#[test]
fn no_name_is_no_thread() {
    for_each(|variant| {
        let cases: [fn(usize) -> String; 3] =
            [|_| String::new(), |_| "a\0b".to_owned(), |_| std::panic::resume_unwind(Box::new("a test's panic"))];
        for (case, names) in cases.into_iter().enumerate() {
            let setup = |min| Setup { thread_names: Some(Arc::new(names)), min_workers: Some(min), ..Setup::new(1, 5) };
            let error = variant.try_build(setup(1)).map(drop).unwrap_err();
            assert!(matches!(error, BuildError::Spawn(_)), "{error}");
            let said = ["\"\" is no name", "\"a\\0b\" is no name", "the function that names threads panicked"][case];
            assert!(chain(&error)[1].starts_with(said), "{:?}", chain(&error));

            let pool = variant.build(setup(0));
            assert_eq!(pool.submit(Task::new(|| ())).unwrap_err().kind(), SubmitErrorKind::Spawn);
            assert_eq!((pool.stats().failed_starts, pool.stats().spawned, pool.stats().live), (1, 0, 0));
            assert!(pool.shutdown().is_complete());
        }
        // The first thread has one: the others are missing, and the work is done.
        let only_one = |worker| if worker == 0 { "one".to_owned() } else { String::new() };
        let pool = variant.build(Setup { thread_names: Some(Arc::new(only_one)), ..Setup::roomy(3) });
        for _ in 0..50 {
            pool.submit(Task::new(|| ())).unwrap();
        }
        assert!(pool.wait_idle());
        assert_eq!((pool.stats().completed, pool.stats().live), (50, 1));
    });
}
