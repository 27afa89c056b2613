//! Children that are killed in the middle of their work, or that end themselves: every document is answered, in its order.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Turns a hang into a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// The program as a filter. It is killed when the test is over.
struct Filter {
    program: Child,
    /// What it prints, and what it says of its children.
    answers: Receiver<String>,
    reports: Receiver<String>,
}

fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

impl Filter {
    fn start(options: &[&str]) -> (Self, ChildStdin) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_children"));
        command.arg("-").args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let input = program.stdin.take().unwrap();
        let out: ChildStdout = program.stdout.take().unwrap();
        let err: ChildStderr = program.stderr.take().unwrap();
        (Filter { program, answers: lines(out), reports: lines(err) }, input)
    }

    /// The children that it has now.
    fn children(&self) -> Vec<i32> {
        let parent = format!("PPid:\t{}\n", self.program.id());
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_child = |id: &i32| fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|it| it.contains(&parent));
        numbers.filter(is_child).collect()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved, and the process has not been waited for, so the number is its own.
        assert_eq!(unsafe { libc::kill(self.program.id() as i32, signal) }, 0);
    }

    #[track_caller]
    fn expect_answer(&self, answer: &str) {
        assert_eq!(self.answers.recv_timeout(LIMIT).as_deref(), Ok(answer));
    }

    #[track_caller]
    fn expect_end(&mut self) {
        assert!(self.answers.recv_timeout(LIMIT).is_err());
        assert!(self.program.wait().unwrap().success());
        assert_eq!(self.children(), []);
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn nested(depth: usize) -> String {
    "(".repeat(depth) + &")".repeat(depth) + "\n"
}

/// Kills every child again and again, while it works, and once there is one: some thousand documents, of which none is lost.
#[test]
fn a_killed_child_costs_no_document() {
    const ROUNDS: usize = 5;
    const WORKERS: usize = 4;
    // More attempts than anybody kills.
    let (mut filter, mut input) = Filter::start(&["--workers=4", "--attempts=50", "--limit=60000"]);
    let (stop, is_over) = channel::<()>();
    let feeder = thread::spawn(move || {
        let mut fed = 0;
        while is_over.try_recv().is_err_and(|error| error == std::sync::mpsc::TryRecvError::Empty) {
            input.write_all(nested(fed % 2000).as_bytes()).unwrap();
            fed += 1;
        }
        fed
    });
    let mut answered = 0;
    for _ in 0..ROUNDS {
        // They work.
        for _ in 0..100 {
            filter.expect_answer(&(answered % 2000).to_string());
            answered += 1;
        }
        for id in filter.children() {
            // SAFETY: no memory is involved. That the number has passed to another process meanwhile takes thousands of new ones.
            unsafe { libc::kill(id, libc::SIGKILL) };
        }
        // And it has been noticed, so that the next round has others.
        let report = filter.reports.recv_timeout(LIMIT).unwrap();
        assert!(report.contains("signal: 9"), "{report}");
    }
    drop(stop);
    let fed = loop {
        if feeder.is_finished() {
            break feeder.join().unwrap();
        }
        // The feeder waits for the program, which waits for its answers to be read.
        filter.expect_answer(&(answered % 2000).to_string());
        answered += 1;
    };
    for n in answered..fed {
        filter.expect_answer(&(n % 2000).to_string());
    }
    filter.expect_end();
    let deaths = filter.reports.iter().filter(|report| report.contains("signal: 9")).count() + ROUNDS;
    assert!((ROUNDS..=ROUNDS * WORKERS).contains(&deaths), "{deaths}");
}

#[test]
fn a_document_that_kills_its_child_or_hangs_is_given_up_and_the_others_are_answered() {
    let (mut filter, mut input) = Filter::start(&["--workers=2", "--attempts=2", "--limit=100"]);
    let hostile = "(".repeat(1_000_000) + "\n";
    input.write_all([&*nested(3), &hostile, &nested(4), "@\n", &nested(5)].concat().as_bytes()).unwrap();
    drop(input);
    filter.expect_answer("3");
    let answer = filter.answers.recv_timeout(LIMIT).unwrap();
    assert!(answer.starts_with("given up after 2 attempts: child ") && answer.contains("signal: 6"), "{answer}");
    filter.expect_answer("4");
    let answer = filter.answers.recv_timeout(LIMIT).unwrap();
    assert!(answer.starts_with("given up after 2 attempts: child ") && answer.contains("signal: 9"), "{answer}");
    filter.expect_answer("5");
    filter.expect_end();
}

/// The input stays open, as that of a terminal does.
#[test]
fn a_signal_ends_the_reading_and_what_was_read_is_answered() {
    let (mut filter, mut input) = Filter::start(&["--workers=1", "--limit=60000"]);
    input.write_all([nested(1), nested(2)].concat().as_bytes()).unwrap();
    filter.expect_answer("1");
    filter.expect_answer("2");
    filter.signal(libc::SIGINT);
    filter.expect_end();
    drop(input);
}

#[test]
fn the_second_signal_kills_the_children() {
    let (mut filter, mut input) = Filter::start(&["--workers=2", "--limit=60000"]);
    input.write_all(b"@\n@\n").unwrap();
    // A second worker, and so a second child, is started for the second document.
    let start = Instant::now();
    while filter.children().len() < 2 {
        assert!(start.elapsed() < LIMIT);
        thread::yield_now();
    }
    filter.signal(libc::SIGTERM);
    filter.signal(libc::SIGINT);
    for _ in 0..2 {
        let answer = filter.answers.recv_timeout(LIMIT).unwrap();
        assert!(answer.starts_with("given up after "), "{answer}");
    }
    filter.expect_end();
    drop(input);
}
