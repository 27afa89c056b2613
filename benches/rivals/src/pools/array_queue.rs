//! A floor: W threads that spin on a `crossbeam_queue::ArrayQueue`, and producers that spin when it is full. It never
//! sleeps, so it cannot be a pool, and with more spinning threads than cores it is no floor either. Spinning is
//! `Backoff::snooze`: some rounds of pause instructions, then `yield`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::thread::JoinHandle;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::Backoff;

use super::channel::NESTED;
use super::{Bound, Class, Closures, Function, Machine, Plan};

type Job = Box<dyn FnOnce() + Send>;

struct Shared<T> {
    queue: ArrayQueue<T>,
    closed: AtomicBool,
}

pub struct Spinners<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Spinners<T> {
    fn start<R: FnMut(T)>(plan: &Plan, make: impl Fn() -> R + Copy + Send + 'static) -> Self {
        let shared = Arc::new(Shared { queue: ArrayQueue::new(plan.queue), closed: AtomicBool::new(false) });
        let threads = (0..plan.workers)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    let mut run = make();
                    let backoff = Backoff::new();
                    loop {
                        if let Some(item) = shared.queue.pop() {
                            drop(catch_unwind(AssertUnwindSafe(|| run(item))));
                            backoff.reset();
                        } else if shared.closed.load(Acquire) {
                            break;
                        } else {
                            backoff.snooze();
                        }
                    }
                })
            })
            .collect();
        Spinners { shared, threads }
    }

    fn push(&self, mut item: T) {
        let backoff = Backoff::new();
        while let Err(back) = self.shared.queue.push(item) {
            item = back;
            backoff.snooze();
        }
    }

    fn join(self) {
        self.shared.closed.store(true, Release);
        self.threads.into_iter().for_each(|thread| thread.join().expect("panics are caught"));
    }
}

pub struct Spinning(Spinners<Job>);

impl Closures for Spinning {
    const CLASS: Class = Class::Floor;

    fn name() -> String {
        "ArrayQueue, spinning".into()
    }

    fn cannot(scenario: &str) -> Option<&'static str> {
        match scenario {
            "idle_cpu" => Some("spins by design"),
            "work10us_1024" | "sleep" | "idle_memory" | "server" => Some("so many threads cannot spin on two cores"),
            "tree" | "walk" => Some(NESTED),
            _ => None,
        }
    }

    fn build(plan: &Plan) -> Self {
        Spinning(Spinners::start(plan, || |job: Job| job()))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.push(Box::new(task));
    }

    /// The caller spins too.
    fn call(&self, n: u64) -> u64 {
        let answer = Arc::new(ArrayQueue::new(1));
        let to = answer.clone();
        self.submit(move || to.push(n + 1).expect("there is room for one"));
        let backoff = Backoff::new();
        loop {
            match answer.pop() {
                Some(answer) => return answer,
                None => backoff.snooze(),
            }
        }
    }

    fn end(self) {
        self.0.join();
    }
}

impl Function for Spinning {
    type Of<M: Machine> = Spinners<u64>;
}

impl<M: Machine> Bound<M> for Spinners<u64> {
    fn build(plan: &Plan) -> Self {
        Spinners::start(plan, || {
            let mut machine = M::default();
            move |n| {
                machine.step(n);
            }
        })
    }

    fn invoke(&self, n: u64) {
        self.push(n);
    }

    fn end(self) {
        self.join();
    }
}
