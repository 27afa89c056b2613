//! Faults: `fork`. Only the calling thread is in the child, so a pool of the parent has no worker there. What works in the child
//! and what does not; `SECURITY.md` says it to users.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::ffi::OsString;
use std::fs::{read_dir, read_to_string};
use std::io::{Read, Write};
use std::mem;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::time::Duration;

use formicary::{CancelToken, Dispatch, Pool, SubmitErrorKind};
use support::waking::{CountingWaker, block_on, poll_with};
use support::{Gate, LIMIT, eventually, on_every_dispatch};

/// How a child ended.
#[derive(Debug, PartialEq)]
enum End {
    Well,
    /// With what it said.
    Panicked(String),
    Signal(i32),
}

/// Runs `body` in a child, and waits for its end however long that takes: a child that hangs is ended by an alarm of its own.
fn in_a_child(body: impl FnOnce()) -> End {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    // SAFETY: the child goes on with this thread alone. What it may find locked for ever are the locks of other threads: the callers
    // see to it that all of them sleep. The C library's own allocator is made for it.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            drop(ours);
            // SAFETY: no memory is involved.
            unsafe { libc::alarm(LIMIT.as_secs() as u32 / 2) };
            // The hook of the parent takes seconds for a backtrace.
            set_hook(Box::new(move |panic| drop(write!(&theirs, "{panic}"))));
            let is_well = catch_unwind(AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the child here: nothing of the test goes on in it, and nothing of the parent's is flushed or dropped.
            unsafe { libc::_exit(i32::from(!is_well)) }
        }
        child => {
            drop(theirs);
            // The other end is closed when the child is gone.
            let (mut said, mut status) = (String::new(), 0);
            ours.read_to_string(&mut said).unwrap();
            // SAFETY: `status` lives, and the child is this process's own.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            match status {
                0 => End::Well,
                _ if libc::WIFSIGNALED(status) => End::Signal(libc::WTERMSIG(status)),
                _ => End::Panicked(said),
            }
        }
    }
}

/// All threads but this one, each with its number of context switches; `None` if one is awake.
fn sleepers() -> Option<Vec<(OsString, [u64; 2])>> {
    // SAFETY: asks for a number.
    let me = unsafe { libc::gettid() }.to_string();
    let mut others = Vec::new();
    for task in read_dir("/proc/self/task").unwrap().flatten().filter(|task| task.file_name() != *me) {
        let status = read_to_string(task.path().join("status")).ok()?;
        if field(&status, "State:") != "S" {
            return None;
        }
        let switches = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
        others.push((task.file_name(), switches.map(|name| field(&status, name).parse().unwrap())));
    }
    // The list breaks off at a thread that ends meanwhile.
    let threads = field(&read_to_string("/proc/self/status").unwrap(), "Threads:").parse();
    (threads == Ok(others.len() + 1)).then_some(others)
}

fn field<'s>(status: &'s str, name: &str) -> &'s str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap()
}

/// Whether every thread but this one sleeps, and so holds none of its short locks. The check reads them one after the other, so one
/// could wake another that was read before; but a thread that slept both times and did not run in between has slept all the while.
fn others_sleep() -> bool {
    let before = sleepers();
    before.is_some() && before == sleepers()
}

fn parent<D: Dispatch>() -> Pool<D> {
    // No worker wakes by itself.
    let builder = Pool::builder().workers(2).min_workers(2).queue(2).expiry(None);
    let pool: Pool<D> = builder.dispatch().build().unwrap();
    assert_eq!(pool.run(|| 7).unwrap(), 7);
    eventually("all sleep", others_sleep);
    pool
}

/// A new pool in the child works like any other.
fn a_new_pool<D: Dispatch>() {
    let pool = parent::<D>();
    let end = in_a_child(|| {
        let own: Pool<D> = Pool::builder().workers(2).dispatch().build().unwrap();
        let sum: u64 = own.map(0..100_u64, |n| 2 * n).sum();
        assert_eq!(sum, 9_900);
        assert!(own.shutdown().is_complete());
    });
    assert_eq!(end, End::Well);
    // The parent has not noticed.
    assert_eq!(pool.run(|| 7).unwrap(), 7);
}

/// The parent's pool in the child takes tasks until it is full, and runs none. What has a time limit returns.
fn the_parents_pool<D: Dispatch>() {
    let pool = parent::<D>();
    let end = in_a_child(|| {
        (0..4).for_each(|_| pool.try_submit(|| ()).unwrap());
        let refused = pool.try_submit(|| ()).unwrap_err().kind();
        let timed_out = pool.with().room_timeout(Duration::from_millis(10)).submit(|| ()).unwrap_err().kind();
        assert_eq!((refused, timed_out), (SubmitErrorKind::Full, SubmitErrorKind::TimedOut));
        let stats = pool.stats();
        assert_eq!((stats.live, stats.queued, stats.completed), (2, 4, 1));
        assert!(!pool.wait_idle_timeout(Duration::from_millis(10)));
        // So a shutdown without a limit, and a drop, would wait for ever, or fail to join what is not there.
        let report = pool.shutdown_timeout(Duration::from_millis(10));
        assert_eq!((report.workers, report.queued, report.is_complete()), (2, 4, false));
    });
    assert_eq!(end, End::Well);
    assert_eq!(pool.run(|| 7).unwrap(), 7);
    assert!(pool.shutdown().is_complete());
    assert_eq!(pool.stats().completed, 2);
}

/// A child ends well with the parent's pool forgotten or detached, or by leaving without a drop.
fn leaving<D: Dispatch>() {
    let pool = parent::<D>();
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    eventually("all sleep", others_sleep);
    let mut pool = Some(pool);
    let end = in_a_child(|| mem::forget(pool.take()));
    assert_eq!(end, End::Well);
    let end = in_a_child(|| {
        let pool = pool.take().unwrap();
        pool.detach();
        drop(pool);
    });
    assert_eq!(end, End::Well);
    // A drop hangs, and the alarm ends it; or the standard library panics as it finds no thread to join.
    let end = in_a_child(|| {
        // SAFETY: no memory is involved.
        unsafe { libc::alarm(1) };
        drop(pool.take());
    });
    assert!(matches!(end, End::Signal(libc::SIGALRM) | End::Panicked(_)), "{end:?}");
    gate.open();
    assert!(pool.unwrap().shutdown().is_complete());
}

/// The timer thread does not exist in the child. The first future there that waits for a time starts another one, which serves also
/// the parent's futures.
fn an_awaited_deadline() {
    let (token, waker) = (CancelToken::new(), CountingWaker::new());
    token.cancel_after(10 * LIMIT);
    let mut waits = Box::pin(token.cancelled());
    assert!(poll_with(waits.as_mut(), &waker).is_pending());
    eventually("all sleep", others_sleep);
    let end = in_a_child(|| {
        let own = CancelToken::new();
        own.cancel_after(Duration::from_millis(10));
        block_on(own.cancelled());
        token.cancel_after(Duration::from_millis(10));
        block_on(waits.as_mut());
    });
    assert_eq!(end, End::Well);
}

/// One after the other: a child may be made only while no other thread does anything.
#[test]
fn a_child_has_no_workers_of_its_parent() {
    on_every_dispatch!(a_new_pool);
    on_every_dispatch!(the_parents_pool);
    on_every_dispatch!(leaving);
    an_awaited_deadline();
}
