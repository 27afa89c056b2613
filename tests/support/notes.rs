//! What the tests of broadcasts share: workers that keep notes.

use formicary::{Answers, Context, Dispatch, StatefulPool, Worker};

use super::Gate;
use super::races::quiet_panic;

/// A worker that does what its input says and keeps notes.
#[derive(Default)]
pub struct Notes(pub Vec<u32>);

pub type Process = Box<dyn FnOnce(&mut Notes) -> u32 + Send>;

impl Worker for Notes {
    type Input = Process;
    type Output = u32;

    fn process(&mut self, input: Process, _: &Context<'_>) -> u32 {
        input(self)
    }
}

pub type NotesPool<D> = StatefulPool<Notes, D>;

/// A pool of so many workers, all of them started.
pub fn full<D: Dispatch>(workers: usize) -> NotesPool<D> {
    let builder = StatefulPool::builder(|_| Ok(Notes::default())).workers(workers).min_workers(workers).queue(100);
    builder.dispatch::<D>().build().unwrap()
}

/// A task that waits at the gate.
pub fn held(gate: &Gate) -> Process {
    let gate = gate.clone();
    Box::new(move |_| {
        gate.wait();
        0
    })
}

/// A task that says what the worker has noted, in decimal digits.
pub fn digits() -> Process {
    Box::new(|notes| notes.0.iter().fold(0, |sum, digit| 10 * sum + digit))
}

/// The answers, all of which are there.
pub fn all<R>(answers: Answers<R>) -> Vec<(usize, R)> {
    answers.into_iter().map(|(worker, answer)| (worker, answer.unwrap())).collect()
}

pub fn panic_quietly() -> u32 {
    quiet_panic();
    0
}
