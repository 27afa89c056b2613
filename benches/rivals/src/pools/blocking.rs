//! `blocking`: `unblock` on the one pool of the process, which has no end. Its limit of threads is an environment variable, read at the
//! first use. An idle thread wakes twice a second.

use super::{Closures, Plan, block_on};

pub struct Blocking;

impl Closures for Blocking {
    fn name() -> String {
        "blocking".into()
    }

    fn cannot(scenario: &str) -> Option<&'static str> {
        (scenario == "construct").then_some("one pool per process, which has no end")
    }

    fn build(plan: &Plan) -> Self {
        // SAFETY: each row has a process of its own, and no other thread of it reads the environment yet.
        unsafe { std::env::set_var("BLOCKING_MAX_THREADS", plan.workers.to_string()) };
        Blocking
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        blocking::unblock(task).detach();
    }

    fn call(&self, n: u64) -> u64 {
        block_on(blocking::unblock(move || n + 1))
    }

    fn end(self) {}
}
