//! Names, stacks and number of threads.

use std::sync::mpsc::channel;
use std::thread;

use super::support::{Gate, within_limit};
use crate::subject::{Builder, ThreadPool};

/// The names of so many threads at once.
fn names(pool: &ThreadPool, threads: usize) -> Vec<Option<String>> {
    let (gate, (sender, receiver)) = (Gate::new(), channel());
    for _ in 0..threads {
        let (gate, sender) = (gate.clone(), sender.clone());
        pool.execute(move || {
            gate.pass();
            sender.send(thread::current().name().map(str::to_owned)).unwrap();
        });
    }
    gate.await_arrivals(threads);
    gate.open();
    drop(sender);
    receiver.iter().collect()
}

/// Ported: `test_name`.
#[test]
fn all_threads_have_the_name() {
    within_limit(|| {
        for name in ["test", "", "a name that is longer than what the system shows"] {
            let mut pool = ThreadPool::with_name(name.to_owned(), 2);
            assert_eq!(names(&pool, 2), vec![Some(name.to_owned()); 2]);
            // A thread that is added, and one that follows a panic.
            pool.set_num_threads(3);
            assert_eq!(names(&pool, 3), vec![Some(name.to_owned()); 3]);
            pool.execute(|| panic!("a test's panic"));
            assert_eq!(names(&pool, 3), vec![Some(name.to_owned()); 3]);
        }
    });
}

#[test]
fn threads_without_a_name_have_none() {
    within_limit(|| {
        let mut pool = ThreadPool::new(2);
        assert_eq!(names(&pool, 2), [None, None]);
        pool.set_num_threads(3);
        assert_eq!(names(&pool, 3), [None, None, None]);
    });
}

#[test]
fn threads_have_the_stack() {
    /// Needs some 32 MiB, more than a thread has by default.
    fn deep(levels: usize) -> usize {
        let filled = std::hint::black_box([levels as u8; 32 * 1024]);
        if levels == 0 { usize::from(filled[0]) } else { deep(levels - 1) + usize::from(filled[0] == levels as u8) }
    }
    within_limit(|| {
        let mut pool = Builder::new().num_threads(1).thread_stack_size(128 << 20).build();
        pool.set_num_threads(2);
        let (gate, (sender, receiver)) = (Gate::new(), channel());
        for _ in 0..2 {
            let (gate, sender) = (gate.clone(), sender.clone());
            pool.execute(move || {
                gate.pass();
                sender.send(deep(1000)).unwrap();
            });
        }
        gate.await_arrivals(2);
        gate.open();
        assert_eq!(receiver.iter().take(2).sum::<usize>(), 2000);
        // The system rounds it up.
        let pool = Builder::new().num_threads(1).thread_stack_size(0).build();
        assert_eq!(names(&pool, 1), [None]);
    });
}

/// The pool starts its threads when it is built, and keeps them.
#[cfg(target_os = "linux")]
#[test]
fn all_threads_start_with_the_pool() {
    use super::support::{eventually, threads_named};

    within_limit(|| {
        let pool = ThreadPool::with_name("starts at once".into(), 5);
        eventually("all threads have started", || threads_named("starts at once") == 5);
        names(&pool, 5);
        pool.join();
        assert_eq!(threads_named("starts at once"), 5);
        drop(pool);
        eventually("all threads have ended", || threads_named("starts at once") == 0);
    });
}
