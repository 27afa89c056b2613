//! `executors`: both pools. `shutdown` waits, for at most five seconds, until every thread has left its loop.

use executors::crossbeam_channel_pool;
use executors::crossbeam_workstealing_pool::{self, pool_with_auto_parker};
use executors::parker::DynParker;
use executors::{CanExecute, Executor};

use super::{Closures, Plan};

fn shut_down(pool: impl Executor) {
    if let Err(error) = pool.shutdown() {
        eprintln!("executors: {error}");
    }
}

pub struct WorkStealing(crossbeam_workstealing_pool::ThreadPool<DynParker>);

impl Closures for WorkStealing {
    const PANIC_ENDS_THREAD: bool = true;

    fn name() -> String {
        "executors, work stealing".into()
    }

    fn cannot(scenario: &str) -> Option<&'static str> {
        let many = matches!(scenario, "work10us_1024" | "idle_memory");
        many.then_some("each thread has a list of all others, so that a thousand do not start within a minute")
    }

    fn build(plan: &Plan) -> Self {
        WorkStealing(pool_with_auto_parker(plan.workers))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.execute_job(Box::new(task));
    }

    fn end(self) {
        shut_down(self.0);
    }
}

pub struct Channel(crossbeam_channel_pool::ThreadPool);

impl Closures for Channel {
    const PANIC_ENDS_THREAD: bool = true;

    fn name() -> String {
        "executors, channel".into()
    }

    fn build(plan: &Plan) -> Self {
        Channel(crossbeam_channel_pool::ThreadPool::new(plan.workers))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.execute_job(Box::new(task));
    }

    fn end(self) {
        shut_down(self.0);
    }
}
