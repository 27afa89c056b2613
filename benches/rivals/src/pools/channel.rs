//! Hand-rolled: W threads on a bounded `crossbeam_channel`, of boxed closures or of plain `u64`. Panics are caught.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use super::{Bound, Closures, Function, Machine, Plan};

/// Why a pool of few threads on a bounded queue is not given tasks that submit tasks.
pub const NESTED: &str = "workers that wait for room in their own queue would deadlock";

type Job = Box<dyn FnOnce() + Send>;

pub struct Threads<T> {
    sender: Sender<T>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Threads<T> {
    /// `make` is called on each thread for what runs the items there.
    fn start<R: FnMut(T)>(plan: &Plan, make: impl Fn() -> R + Copy + Send + 'static) -> Self {
        let (sender, receiver) = bounded(plan.queue);
        let threads = (0..plan.workers)
            .map(|_| {
                let receiver = receiver.clone();
                std::thread::spawn(move || {
                    let mut run = make();
                    while let Ok(item) = receiver.recv() {
                        drop(catch_unwind(AssertUnwindSafe(|| run(item))));
                    }
                })
            })
            .collect();
        Threads { sender, threads }
    }

    fn send(&self, item: T) {
        self.sender.send(item).expect("a thread receives");
    }

    fn join(self) {
        drop(self.sender);
        self.threads.into_iter().for_each(|thread| thread.join().expect("panics are caught"));
    }
}

pub struct Channel(Threads<Job>);

impl Closures for Channel {
    fn name() -> String {
        "channel (hand-rolled)".into()
    }

    fn cannot(scenario: &str) -> Option<&'static str> {
        matches!(scenario, "tree" | "walk").then_some(NESTED)
    }

    fn build(plan: &Plan) -> Self {
        Channel(Threads::start(plan, || |job: Job| job()))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.send(Box::new(task));
    }

    fn end(self) {
        self.0.join();
    }
}

impl Function for Channel {
    type Of<M: Machine> = Threads<u64>;
}

impl<M: Machine> Bound<M> for Threads<u64> {
    fn build(plan: &Plan) -> Self {
        Threads::start(plan, || {
            let mut machine = M::default();
            move |n| {
                machine.step(n);
            }
        })
    }

    fn invoke(&self, n: u64) {
        self.send(n);
    }

    fn end(self) {
        self.join();
    }
}
