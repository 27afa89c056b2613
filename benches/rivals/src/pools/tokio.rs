//! `tokio`: `spawn_blocking` with `max_blocking_threads(W)`. The runtime is the one without worker threads, so that
//! there are no others; dropping it joins the threads.

use tokio::runtime::{Builder, Runtime};

use super::{Closures, Plan};

pub struct Tokio(Runtime);

impl Closures for Tokio {
    fn name() -> String {
        "tokio".into()
    }

    fn build(plan: &Plan) -> Self {
        let mut builder = Builder::new_current_thread();
        Tokio(builder.max_blocking_threads(plan.workers).build().expect("there are threads"))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        drop(self.0.spawn_blocking(task));
    }

    fn call(&self, n: u64) -> u64 {
        self.0.block_on(self.0.spawn_blocking(move || n + 1)).expect("the task answers")
    }

    fn end(self) {
        drop(self.0);
    }
}
