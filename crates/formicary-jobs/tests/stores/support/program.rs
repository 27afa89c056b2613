//! The program that runs jobs, and is killed. It is this test program: a test of it that does nothing unless it is started as a worker.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use formicary::Pool;
use formicary_jobs::Runner;

use super::effects::Effects;
use super::{Count, Other, WORKER_LOG, logged, server};

/// The jobs' number that kills the process.
pub(crate) const POISON: u32 = u32::MAX;

const STORE: &str = "FORMICARY_JOBS_STORE";
const FOLDER: &str = "FORMICARY_JOBS_FOLDER";

/// A worker process. It is killed at the end of the test.
pub(crate) struct Worker(Child);

impl Worker {
    /// Starts a process that runs the jobs of a store, and has their effects in a folder.
    pub(crate) fn start(store: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["support::program::worker", "--exact", "--nocapture"]).env(STORE, store).env(FOLDER, folder);
        Worker(logged(&mut command, folder, WORKER_LOG).spawn().unwrap())
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill(); // SIGKILL
        self.0.wait().unwrap();
    }

    pub(crate) fn is_dead(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn worker() {
    let (Ok(store), Ok(folder)) = (std::env::var(STORE), std::env::var(FOLDER)) else { return };
    let effects = Arc::new(Effects::open(Path::new(&folder)));
    let pool = Arc::new(Pool::builder().workers(4).build().unwrap());
    let others = Arc::new(pool.limited(2));
    let also = Arc::clone(&effects);
    let running = Runner::new(server::open(&store, server::LEASE, server::HASTY))
        .lease(server::LEASE)
        .poll(Duration::from_millis(20))
        .prefetch(60)
        .on(&pool, move |Count(n), cx| {
            if n == POISON {
                std::process::abort();
            }
            effects.happen(cx.key());
            Ok(())
        })
        .on(&others, move |Other(_), cx| {
            also.happen(cx.key());
            Ok(())
        })
        .start()
        .unwrap();
    // Whoever started it kills it, or is gone.
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        std::thread::sleep(Duration::from_secs(1));
        println!("{} {}", std::process::id(), running.stats());
    }
}
