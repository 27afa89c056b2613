//! Where a panic began, as the panic handler learns it. A process of its own: the hook is the process's.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod support;

use std::env;
use std::panic::{catch_unwind, resume_unwind, set_hook, take_hook};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use formicary::{Builder, Closures, Dispatch, Pool};
use support::{Count, on_every_dispatch};

type Report = (Option<String>, String);

fn reporting<D: Dispatch>(sender: Sender<Report>) -> Builder<Closures, D> {
    let report = move |panic: &formicary::TaskPanic<'_>| {
        drop(sender.send((panic.location().map(str::to_owned), panic.to_string())));
    };
    Pool::builder().workers(1).panic_handler(report).dispatch::<D>()
}

fn locations<D: Dispatch>() {
    let (sender, reports) = channel();
    let silent = reporting::<D>(sender.clone()).build().unwrap();
    silent.submit(|| panic!("unseen")).unwrap();
    assert_eq!(reports.recv().unwrap().0, None);

    let pool = reporting::<D>(sender).panic_locations().build().unwrap();
    let line = line!() + 1;
    pool.submit(|| panic!("seen")).unwrap();
    let (location, text) = reports.recv().unwrap();
    let location = location.unwrap();
    assert!(location.starts_with(&format!("{}:{line}:", file!())), "{location}");
    assert_eq!(text, format!("worker 0 of formicary panicked at {location}: seen"));

    // A panic that is passed on has run no hook, and has no other panic's location.
    pool.submit(|| resume_unwind(Box::new("passed on"))).unwrap();
    assert_eq!(reports.recv().unwrap().0, None);

    // For a panic in the standard library it is where that function was called.
    let line = line!() + 1;
    pool.submit(|| _ = Vec::<u8>::new().remove(0)).unwrap();
    assert!(reports.recv().unwrap().0.unwrap().contains(&format!(":{line}:")));
}

#[test]
fn the_handler_learns_where_a_panic_began() {
    let seen = Count::new();
    let hook = seen.clone();
    set_hook(Box::new(move |_| _ = hook.up()));
    on_every_dispatch!(locations);
    // The previous hook is called as before, once for each panic but those that are passed on.
    let before = seen.get();
    drop(catch_unwind(|| panic!("once more")));
    assert_eq!(seen.get(), before + 1);
    drop(take_hook());
}

#[inline(never)]
fn breaks_deep_inside() {
    panic!("seen")
}

fn backtraces<D: Dispatch>() {
    let is_wanted = env::var_os("RUST_LIB_BACKTRACE").is_some_and(|value| value == "1");
    let (sender, reports) = channel();
    let report = move |panic: &formicary::TaskPanic<'_>| drop(sender.send(panic.backtrace().map(ToString::to_string)));
    let pool = Pool::builder().workers(1).panic_locations().panic_handler(report).dispatch::<D>().build().unwrap();
    pool.submit(breaks_deep_inside).unwrap();
    let calls = reports.recv().unwrap();
    assert_eq!(calls.is_some(), is_wanted);
    assert!(calls.is_none_or(|calls| calls.contains("breaks_deep_inside")));
    // A panic that is passed on has no other panic's.
    pool.submit(|| resume_unwind(Box::new("passed on"))).unwrap();
    assert!(reports.recv().unwrap().is_none());
}

/// Run by the test below, whose environment it looks at.
#[test]
#[ignore = "has its environment from another test"]
fn with_the_environment_of_the_parent() {
    on_every_dispatch!(backtraces);
}

/// Whether a process wants backtraces is asked once, so each case is a process.
#[test]
fn the_handler_learns_the_calls_if_the_environment_asks_for_them() {
    for wanted in ["0", "1"] {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "with_the_environment_of_the_parent", "--ignored"]);
        let output = child.env("RUST_LIB_BACKTRACE", wanted).output().unwrap();
        assert!(output.status.success(), "{wanted}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{wanted}");
    }
}
