//! Jobs that panic.

use std::process::Command;
use std::sync::mpsc::channel;

use super::support::{Gate, eventually, within_limit};
use crate::subject::ThreadPool;

const THREADS: usize = 4;

/// Ported: `test_recovery_from_subtask_panic`.
#[test]
fn a_panic_costs_no_thread() {
    within_limit(|| {
        let pool = ThreadPool::new(THREADS);
        (0..THREADS).for_each(|_| pool.execute(|| panic!("a test's panic")));
        pool.join();
        // `threadpool` counts a panic shortly after it lets a joining thread go.
        eventually("the panics are counted", || pool.panic_count() == THREADS);
        assert_eq!((pool.active_count(), pool.queued_count(), pool.max_count()), (0, 0, THREADS));

        let gate = Gate::new();
        (0..THREADS).for_each(|_| pool.execute(gate.job()));
        gate.await_arrivals(THREADS);
        assert_eq!(pool.active_count(), THREADS);
        gate.open();
        pool.join();
        assert_eq!(pool.panic_count(), THREADS);
        assert_eq!(pool.clone().panic_count(), THREADS);
    });
}

/// A panic that does not go through the hook counts as well.
#[test]
fn any_unwinding_counts() {
    within_limit(|| {
        let pool = ThreadPool::new(1);
        pool.execute(|| std::panic::resume_unwind(Box::new(7)));
        pool.execute(|| std::panic::panic_any(7));
        pool.execute(|| drop(std::panic::catch_unwind(|| panic!("a test's panic"))));
        pool.join();
        eventually("both are counted", || pool.panic_count() == 2);
    });
}

/// Ported: `test_should_not_panic_on_drop_if_subtasks_panic_after_drop`.
#[test]
fn jobs_may_panic_after_the_drop() {
    within_limit(|| {
        let pool = ThreadPool::new(THREADS);
        let (gate, (sender, receiver)) = (Gate::new(), channel());
        for _ in 0..THREADS {
            let (gate, sender) = (gate.clone(), sender.clone());
            pool.execute(move || {
                gate.pass();
                drop(sender);
                panic!("a test's panic");
            });
        }
        pool.execute(move || sender.send(7).unwrap());
        gate.await_arrivals(THREADS);
        drop(pool);
        gate.open();
        // What was queued behind them runs.
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [7]);
    });
}

/// The default hook prints a panic, with the name of the thread and the place in the job. Asserted about a process of its own.
#[test]
fn a_panic_is_printed_as_that_of_any_thread() {
    const CHILD: &str = "THREADPOOL_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        for pool in [ThreadPool::with_name("printer".into(), 1), ThreadPool::new(1)] {
            pool.execute(|| panic!("a test's panic"));
            pool.join();
            eventually("it is counted", || pool.panic_count() == 1);
        }
        return;
    }
    let name = format!("{}::a_panic_is_printed_as_that_of_any_thread", module_path!().split_once("::").unwrap().1);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([&name, "--exact", "--nocapture"]).env(CHILD, "1").env("RUST_BACKTRACE", "0");
    let output = child.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    for name in ["printer", "<unnamed>"] {
        // Newer versions of the standard library print the number of the thread behind its name.
        let start = text.find(&format!("thread '{name}'")).unwrap_or_else(|| panic!("{name}: {text}"));
        let (head, rest) = text[start..].split_once('\n').unwrap();
        assert!(head.contains(&format!("panicked at {}:", file!())), "{head}");
        assert!(rest.starts_with("a test's panic\n"), "{rest}");
    }
    assert_eq!(text.matches("panicked at").count(), 2, "{text}");
}
