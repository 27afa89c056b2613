//! `rayon`: `ThreadPoolBuilder` and `spawn`; a call is `install`. Dropping a pool does not join, so its threads are
//! kept to be joined. A panic handler is set, because without one a panic in `spawn` aborts the process.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{Closures, Forks, Plan};

pub struct Rayon {
    pool: rayon::ThreadPool,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Closures for Rayon {
    fn name() -> String {
        "rayon".into()
    }

    fn build(plan: &Plan) -> Self {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let kept = threads.clone();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(plan.workers)
            .panic_handler(|_| ())
            .spawn_handler(move |thread| {
                let handle = std::thread::Builder::new().spawn(|| thread.run())?;
                kept.lock().expect("nobody panics here").push(handle);
                Ok(())
            })
            .build()
            .expect("there are threads");
        Rayon { pool, threads }
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.pool.spawn(task);
    }

    fn call(&self, n: u64) -> u64 {
        self.pool.install(move || n + 1)
    }

    fn end(self) {
        drop(self.pool);
        for thread in self.threads.lock().expect("nobody panics here").drain(..) {
            thread.join().expect("panics are caught");
        }
    }
}

impl Forks for Rayon {
    fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        rayon::join(a, b)
    }

    fn scope(&self, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
        rayon::scope(|scope| {
            scope.spawn(|_| a());
            scope.spawn(|_| b());
        });
    }

    fn install<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.pool.install(f)
    }
}
