//! `shutdown_on_signal`, in processes of their own that are sent signals: each test starts one of the ignored tests below it.
#![cfg(all(unix, feature = "signal", not(miri)))]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::future::Future;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, stdin};
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Barrier};
use std::task::{Context as Poller, Wake, Waker};
use std::thread;
use std::time::Duration;

use formicary::{CancelToken, Context, Interrupter, Pool, PoolWithFunc, StatefulPool, Worker, shutdown_on_signal};
use support::{LIMIT, within};

/// A process that runs one of the ignored tests. It is killed when the test is over.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(test: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", test]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Process { child, lines }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved, and the child has not been waited for, so the number is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0, "{}", io::Error::last_os_error());
    }

    /// The next line that a process has to say, without those of the test harness.
    fn says(&mut self) -> Option<String> {
        let lines = self.lines.by_ref().lines().map(Result::unwrap);
        lines.filter_map(|line| Some(line.strip_prefix("> ")?.to_owned())).next()
    }

    fn expect(&mut self, line: &str) {
        assert_eq!(self.says().as_deref(), Some(line));
    }

    /// Lets it go on where it reads its input.
    fn release(&mut self) {
        drop(self.child.stdin.take());
    }

    fn end(&mut self) -> ExitStatus {
        assert_eq!(self.says(), None);
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn test(name: &'static str, body: impl FnOnce(Process) + Send + 'static) {
    within(LIMIT, name, move || body(Process::start(name)));
}

fn say(line: &str) {
    // In one piece, and at a line's beginning: the harness writes without a line's end.
    println!("\n> {line}");
}

/// Until the test releases this process.
fn await_release() {
    assert_eq!(stdin().read_line(&mut String::new()).unwrap(), 0);
}

/// Runs until it is told to stop.
fn until_told() {
    while Context::with(|cx| cx.is_cancelled()) == Some(false) {
        thread::yield_now();
    }
}

#[test]
fn the_first_signal_ends_the_pools_in_their_order() {
    test("drained", |mut process| {
        process.expect("ready");
        process.signal(libc::SIGTERM);
        process.expect("asked to end");
        process.release();
        for line in ["step", "lines: 4 completed", "the last step", "back in main"] {
            process.expect(line);
        }
        assert_eq!(process.end().code(), Some(0));
    });
}

#[test]
#[ignore = "a process of the tests"]
fn drained() {
    let ending = shutdown_on_signal().unwrap();
    let store = Arc::new(PoolWithFunc::new(1, |_line: u32| ()).unwrap());
    let parse = Pool::new(1).unwrap();
    ending.add(&parse);
    ending.add_step(|| say("step"));
    ending.add_step(|| panic!("a step"));
    ending.add(&*store);
    let stored = Arc::clone(&store);
    ending.add_step(move || {
        say(&format!("lines: {} completed", stored.stats().completed));
        say("the last step");
    });
    let asked = ending.drain_token().clone();
    let (tell, told) = std::sync::mpsc::channel();
    let first = Arc::clone(&store);
    parse
        .submit(move || {
            tell.send(()).unwrap();
            asked.wait();
            say("asked to end");
            await_release();
            first.submit(0).unwrap();
        })
        .unwrap();
    for n in 1..4 {
        let store = Arc::clone(&store);
        parse.submit(move || store.submit(n).unwrap()).unwrap();
    }
    told.recv().unwrap();
    say("ready");
    ending.wait();
    assert!(parse.is_closed() && store.is_closed());
    assert_eq!((parse.stats().completed, store.stats().live), (4, 0));
    say("back in main");
}

#[test]
fn the_second_signal_cancels() {
    test("cancelled", |mut process| {
        process.expect("ready");
        process.signal(libc::SIGTERM);
        process.expect("asked to end");
        process.signal(libc::SIGINT);
        for line in ["told to stop", "3 returned", "late: 1 returned"] {
            process.expect(line);
        }
        assert_eq!(process.end().code(), Some(0));
    });
}

#[test]
#[ignore = "a process of the tests"]
fn cancelled() {
    let ending = shutdown_on_signal().unwrap();
    let (pool, late) = (Pool::new(1).unwrap(), Pool::new(1).unwrap());
    ending.add(&pool);
    ending.add(&late);
    let begun = Arc::new(Barrier::new(3));
    for pool in [&pool, &late] {
        let begun = Arc::clone(&begun);
        pool.submit(move || {
            begun.wait();
            until_told();
        })
        .unwrap();
    }
    (0..3).for_each(|_| pool.submit(|| say("never runs")).unwrap());
    late.submit(|| say("never runs")).unwrap();
    let cancelled = ending.cancel_token().clone();
    ending.add_step(move || assert!(cancelled.is_cancelled()));
    begun.wait();
    say("ready");
    ending.drain_token().wait();
    assert!(!ending.cancel_token().is_cancelled());
    say("asked to end");
    ending.wait();
    say("told to stop");
    say(&format!("{} returned", pool.stats().returned));
    say(&format!("late: {} returned", late.stats().returned));
}

#[test]
fn a_pool_whose_cancel_takes_long_holds_up_no_other() {
    test("slow_cancels", |mut process| {
        process.expect("ready");
        process.signal(libc::SIGTERM);
        process.expect("asked to end");
        process.signal(libc::SIGTERM);
        process.expect("all pools were told");
        assert_eq!(process.end().code(), Some(0));
    });
}

/// A task that came back and an interrupter end only when the pool behind theirs was told to stop.
#[test]
#[ignore = "a process of the tests"]
fn slow_cancels() {
    struct Waits(CancelToken);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.wait();
        }
    }
    struct Interrupted(CancelToken, Arc<Barrier>);
    impl Worker for Interrupted {
        type Input = ();
        type Output = ();
        fn process(&mut self, (): (), cx: &Context<'_>) {
            self.1.wait();
            while !cx.is_cancelled() {
                thread::yield_now();
            }
        }
        fn interrupter(&self) -> Option<Interrupter> {
            let told = self.0.clone();
            Some(Interrupter::new(move || told.wait()))
        }
    }
    let ending = shutdown_on_signal().unwrap();
    let told = CancelToken::new();
    let returns = Pool::new(1).unwrap();
    let (last, begun) = (told.clone(), Arc::new(Barrier::new(4)));
    let arrived = Arc::clone(&begun);
    let interrupts = StatefulPool::new(1, move |_| Ok(Interrupted(last.clone(), Arc::clone(&arrived)))).unwrap();
    let behind = Pool::new(1).unwrap();
    ending.add(&returns);
    ending.add(&interrupts);
    ending.add(&behind);
    for pool in [&returns, &behind] {
        let begun = Arc::clone(&begun);
        pool.submit(move || {
            begun.wait();
            until_told();
        })
        .unwrap();
    }
    let waits = Waits(told.clone());
    returns.submit(move || drop(waits)).unwrap();
    interrupts.with().token(&CancelToken::new()).submit(()).unwrap();
    begun.wait();
    say("ready");
    ending.drain_token().wait();
    say("asked to end");
    // The pool behind ends at its cancel, though the drain waits for the first.
    behind.shutdown();
    told.cancel();
    ending.wait();
    say("all pools were told");
}

#[test]
fn a_wait_in_a_step_or_a_task_returns_at_once() {
    test("waits_inside", |mut process| {
        process.expect("done");
        assert_eq!(process.end().code(), Some(0));
    });
}

#[test]
#[ignore = "a process of the tests"]
fn waits_inside() {
    let ending = shutdown_on_signal().unwrap();
    let (pool, store) = (Pool::new(1).unwrap(), Pool::new(1).unwrap());
    ending.add(&pool);
    let inside = ending.clone();
    ending.add_step(move || {
        inside.wait();
        assert!(!inside.end_token().is_cancelled());
    });
    ending.add(&store);
    // Each waits for a pool whose end needs the pool of the task.
    for pool in [&pool, &store] {
        let inside = ending.clone();
        pool.submit(move || {
            inside.wait();
            assert!(!inside.end_token().is_cancelled());
        })
        .unwrap();
    }
    // A pool that is not in the list may wait.
    let other = Pool::new(1).unwrap();
    let outside = ending.clone();
    let waited = other
        .spawn(move || {
            outside.wait();
            outside.end_token().is_cancelled()
        })
        .unwrap();
    ending.drain();
    assert!(waited.join().unwrap());
    ending.wait();
    assert_eq!(pool.stats().completed + store.stats().completed, 2);
    say("done");
}

#[test]
fn the_third_signal_exits() {
    for (last, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        test("stuck", move |mut process| {
            process.expect("ready");
            process.signal(libc::SIGTERM);
            process.expect("asked to end");
            process.signal(libc::SIGTERM);
            process.expect("cancelled");
            process.signal(last);
            assert_eq!(process.end().code(), Some(code));
        });
    }
}

/// Every place in which user code may hang does so: a waker of each token, a task, a step.
#[test]
#[ignore = "a process of the tests"]
fn stuck() {
    struct Stuck(&'static str);
    impl Wake for Stuck {
        fn wake(self: Arc<Self>) {
            say(self.0);
            loop {
                thread::park();
            }
        }
    }
    let ending = shutdown_on_signal().unwrap();
    let pool = Pool::new(1).unwrap();
    ending.add(&pool);
    ending.add_step(|| {
        loop {
            thread::park();
        }
    });
    let (drains, cancels) = (ending.drain_token().clone(), ending.cancel_token().clone());
    let (mut drains, mut cancels) = (pin!(drains.cancelled()), pin!(cancels.cancelled()));
    let poll = |future: std::pin::Pin<&mut formicary::Cancelled>, line| {
        let waker = Waker::from(Arc::new(Stuck(line)));
        assert!(future.poll(&mut Poller::from_waker(&waker)).is_pending());
    };
    poll(drains.as_mut(), "asked to end");
    poll(cancels.as_mut(), "cancelled");
    let (tell, told) = std::sync::mpsc::channel();
    pool.submit(move || {
        tell.send(()).unwrap();
        loop {
            thread::park();
        }
    })
    .unwrap();
    told.recv().unwrap();
    say("ready");
    ending.wait();
}

#[test]
fn a_drain_that_takes_too_long_is_cancelled_and_then_the_second_signal_exits() {
    test("limited", |mut process| {
        process.expect("ready");
        process.signal(libc::SIGTERM);
        for line in ["asked to end", "over time", "1 returned", "stuck"] {
            process.expect(line);
        }
        process.signal(libc::SIGTERM);
        assert_eq!(process.end().code(), Some(143));
    });
}

#[test]
#[ignore = "a process of the tests"]
fn limited() {
    let ending = shutdown_on_signal().unwrap();
    let pool = Pool::new(1).unwrap();
    ending.add(&pool);
    ending.cancel_after(Duration::from_millis(20));
    ending.cancel_after(LIMIT);
    let (tell, told) = std::sync::mpsc::channel();
    pool.submit(move || {
        tell.send(()).unwrap();
        until_told();
    })
    .unwrap();
    pool.submit(|| say("never runs")).unwrap();
    told.recv().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    ending.add_step(move || {
        assert_eq!(told.recv(), Ok("returned"));
        say("stuck");
        loop {
            thread::park();
        }
    });
    say("ready");
    ending.drain_token().wait();
    say("asked to end");
    ending.cancel_token().wait();
    say("over time");
    pool.shutdown();
    say(&format!("{} returned", pool.stats().returned));
    tell.send("returned").unwrap();
    ending.wait();
}

#[test]
fn without_the_call_a_signal_ends_the_process() {
    test("not_installed", |mut process| {
        process.expect("ready");
        process.signal(libc::SIGTERM);
        assert_eq!(process.end().signal(), Some(libc::SIGTERM));
    });
}

#[test]
#[ignore = "a process of the tests"]
fn not_installed() {
    let pool = Pool::new(1).unwrap();
    pool.run(|| ()).unwrap();
    say("ready");
    await_release();
}

#[test]
fn what_the_program_may_do_besides() {
    test("besides", |mut process| {
        process.expect("done");
        assert_eq!(process.end().code(), Some(0));
    });
}

#[test]
#[ignore = "a process of the tests"]
fn besides() {
    let ending = shutdown_on_signal().unwrap();
    assert_eq!(shutdown_on_signal().unwrap_err().kind(), ErrorKind::AlreadyExists);
    // A pool that is dropped is not waited for, and is not kept.
    let gone = Pool::builder().workers(1).on_drop(formicary::OnDrop::Detach).build().unwrap();
    ending.add(&gone);
    gone.submit(|| {
        loop {
            thread::park();
        }
    })
    .unwrap();
    drop(gone);
    let there = Pool::new(1).unwrap();
    ending.add(&there);
    ending.add(&there);
    ending.drain();
    ending.wait();
    assert!(there.is_closed() && !ending.cancel_token().is_cancelled());
    // What is added after the end.
    let late = Pool::new(1).unwrap();
    late.run(|| ()).unwrap();
    ending.add(&late);
    let owned = Arc::new(());
    let kept = Arc::clone(&owned);
    ending.add_step(move || drop(kept));
    assert!(late.is_closed());
    assert_eq!(Arc::strong_count(&owned), 1);
    say("done");
}

#[test]
fn a_signal_to_a_child_of_fork_does_nothing_in_it_and_nothing_here() {
    test("forked", |mut process| {
        process.expect("drained");
        assert_eq!(process.end().code(), Some(0));
    });
}

#[test]
#[ignore = "a process of the tests"]
fn forked() {
    let ending = shutdown_on_signal().unwrap();
    // SAFETY: the child calls nothing but functions that a signal handler may call.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no memory is involved. The alarm ends a child that nobody signals.
        unsafe {
            libc::alarm(LIMIT.as_secs() as u32);
            libc::pause();
            libc::_exit(7)
        }
    }
    assert_ne!(child, -1, "{}", io::Error::last_os_error());
    // Again and again: the first may come before the child waits.
    let mut status = 0;
    // SAFETY: `status` lives, and the child is this process's own, so its number is until it has been waited for.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(child, libc::SIGTERM) }, 0);
        thread::yield_now();
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status}");
    // This is the first signal here.
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
    ending.wait();
    assert!(!ending.cancel_token().is_cancelled());
    say("drained");
}
