//! A runner that has been started.

use std::fmt;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Runner;
use super::handler::Event;
use super::rounds::Rounds;
use super::stats::Stats;
use crate::place::JobPool;
use crate::store::Store;

/// A runner that reserves jobs and runs them, until it is shut down. A drop is a shutdown that waits for at most one lease.
///
/// ```
/// use std::sync::Arc;
/// use formicary_jobs::{Runner, Sqlite};
///
/// let running = Runner::new(Arc::new(Sqlite::in_memory()?)).start()?;
/// assert_eq!(running.stats().store_errors, 0);
/// running.shutdown();
/// # Ok::<(), formicary_jobs::BoxError>(())
/// ```
pub struct Running {
    thread: Option<JoinHandle<()>>,
    events: Sender<Event>,
    stats: Arc<Mutex<Stats>>,
    store: Arc<dyn Store>,
    pools: Vec<(&'static str, Arc<dyn JobPool>)>,
    lease: Duration,
}

impl Running {
    pub(super) fn start(runner: Runner) -> std::io::Result<Self> {
        let (events, inbox) = mpsc::channel();
        let stats = Arc::new(Mutex::new(Stats::default()));
        let (store, lease) = (Arc::clone(&runner.store), runner.lease);
        let pools = runner.kinds.iter().map(|kind| (kind.name, Arc::clone(&kind.pool))).collect();
        let rounds = Rounds::new(runner, events.clone(), inbox, Arc::clone(&stats));
        let thread = thread::Builder::new().name("formicary-jobs".to_owned()).spawn(move || rounds.run())?;
        Ok(Running { thread: Some(thread), events, stats, store, pools, lease })
    }

    /// The figures of the runner, its store and its pools. Asks the store, and so blocks for at most its time limit.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use formicary_jobs::{Counts, Runner, Sqlite};
    /// let running = Runner::new(Arc::new(Sqlite::in_memory()?)).start()?;
    /// assert_eq!(running.stats().store, Some(Counts::default()));
    /// # Ok::<(), formicary_jobs::BoxError>(())
    /// ```
    pub fn stats(&self) -> Stats {
        let own = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pools = self.pools.iter().map(|(kind, pool)| ((*kind).to_owned(), pool.figures())).collect();
        Stats { store: self.store.counts().ok(), pools, ..own }
    }

    /// Reserves nothing more, gives back at once what has not begun, and waits for what runs and until the store has been told. Without the store it
    /// waits for the store.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use formicary_jobs::{Runner, Sqlite};
    /// let running = Runner::new(Arc::new(Sqlite::in_memory()?)).start()?;
    /// assert_eq!(running.shutdown().in_flight, 0);
    /// # Ok::<(), formicary_jobs::BoxError>(())
    /// ```
    pub fn shutdown(mut self) -> Stats {
        self.end(None);
        self.stats()
    }

    /// The same, and waits for at most this long (and one call of the store). What is `in_flight` then is taken over when its lease ends, by whoever
    /// reserves it; a handler that still runs goes on.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use formicary_jobs::{Runner, Sqlite};
    /// let running = Runner::new(Arc::new(Sqlite::in_memory()?)).start()?;
    /// assert_eq!(running.shutdown_timeout(Duration::from_secs(10)).in_flight, 0);
    /// # Ok::<(), formicary_jobs::BoxError>(())
    /// ```
    pub fn shutdown_timeout(mut self, limit: Duration) -> Stats {
        self.end(Some(limit));
        self.stats()
    }

    fn end(&mut self, limit: Option<Duration>) {
        let Some(thread) = self.thread.take() else { return };
        // A time that is too far away is none.
        let give_up = limit.and_then(|limit| Instant::now().checked_add(limit));
        let _ = self.events.send(Event::Stop { give_up });
        let _ = thread.join();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Some(self.lease));
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
