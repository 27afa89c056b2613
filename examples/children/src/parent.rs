//! The state of a worker: a child process, which is asked and answers, and is replaced when it has died.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use formicary::{Context, Interrupter, Worker};
use parking_lot::Mutex;

use crate::child;

/// The longest answer that is read from a child. It is not trusted to end.
const LONGEST_ANSWER: u64 = 1024;

/// A document that has no answer, because its child has none to give any more.
#[derive(Debug)]
pub(crate) struct Lost(String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lost {}

/// The children of all workers, by the workers' numbers, so that any thread can kill one.
pub(crate) struct Children {
    of: Vec<Mutex<Option<process::Child>>>,
    started: AtomicU64,
}

impl Children {
    pub(crate) fn new(workers: usize) -> Self {
        Children { of: (0..workers).map(|_| Mutex::default()).collect(), started: AtomicU64::new(0) }
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// Kills a worker's child. The worker notices, since its pipes end. If the task has just ended, this costs the next one an attempt.
    pub(crate) fn kill(&self, worker: usize) {
        if let Some(child) = &mut *self.of[worker].lock() {
            // An error is that it has ended before.
            let _ = child.kill();
        }
    }
}

/// A worker's ends of the pipes of its child.
struct Pipes {
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

pub(crate) struct Parent {
    children: Arc<Children>,
    worker: usize,
    /// `None` if the child has died and no other could be started.
    pipes: Option<Pipes>,
}

impl Parent {
    pub(crate) fn new(children: &Arc<Children>, worker: usize) -> io::Result<Self> {
        let mut parent = Parent { children: Arc::clone(children), worker, pipes: None };
        parent.start()?;
        Ok(parent)
    }

    /// Starts a child: this program, with nothing of the environment. In a process group of its own, or Ctrl-C would end it as well.
    fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(format!("--{}", child::ARGUMENT)).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        self.children.started.fetch_add(1, Relaxed);
        if let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) {
            self.pipes = Some(Pipes { questions, answers: BufReader::new(answers) });
        }
        *self.children.of[self.worker].lock() = Some(child);
        Ok(())
    }

    /// Kills the child, if it has not ended by itself, and says how it ended.
    fn end(&mut self) -> String {
        self.pipes = None;
        let child = self.children.of[self.worker].lock().take();
        let ended = child.map(|mut child| {
            let _ = child.kill();
            (child.id(), child.wait())
        });
        match ended {
            Some((id, Ok(status))) => format!("child {id} ended: {status}"),
            Some((id, Err(error))) => format!("child {id} is lost: {error}"),
            None => "there is no child".to_owned(),
        }
    }
}

impl Pipes {
    /// An error if the child has no answer, or something else.
    fn ask(&mut self, document: &str) -> io::Result<String> {
        self.questions.write_all(document.as_bytes())?;
        self.questions.write_all(b"\n")?;
        let mut answer = String::new();
        self.answers.by_ref().take(LONGEST_ANSWER).read_line(&mut answer)?;
        // Without its end it is the rest of a child, or an endless answer.
        answer.strip_suffix('\n').map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Worker for Parent {
    /// A line. It is kept for further attempts, and so is cheap to clone.
    type Input = Arc<str>;
    type Output = Result<String, Lost>;

    fn process(&mut self, document: Arc<str>, cx: &Context<'_>) -> Self::Output {
        if cx.is_cancelled() {
            return Err(Lost("not begun".to_owned()));
        }
        match self.pipes.as_mut().map(|pipes| pipes.ask(&document)) {
            Some(Ok(answer)) => Ok(answer),
            _ => {
                let how = self.end();
                eprintln!("{how}");
                Err(Lost(how))
            }
        }
    }

    /// After a death: another child, before the worker takes a task. If there is none, tasks fail until there is.
    fn ready(&mut self) {
        if self.pipes.is_none() {
            if let Err(error) = self.start() {
                eprintln!("no child: {error}");
            }
        }
    }

    /// For a task that is cancelled, by the second signal.
    fn interrupter(&self) -> Option<Interrupter> {
        let (children, worker) = (Arc::clone(&self.children), self.worker);
        Some(Interrupter::new(move || children.kill(worker)))
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.end();
    }
}
