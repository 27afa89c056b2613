//! What ends with the process, in which order, and how far it has come.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::signals::Next;
use crate::cancel::CancelToken;
use crate::engine::Controlled;
use crate::sync::user_code::catch_user_panic;

#[derive(Default)]
pub(super) struct Ending {
    stages: Mutex<Stages>,
    /// Wake the threads of the crate. Nothing else waits for these, so the thread that gets the signals runs no waker.
    pub(super) begin: CancelToken,
    pub(super) stop: CancelToken,
    /// The program's, and cancelled by these threads.
    pub(super) drain: CancelToken,
    pub(super) cancel: CancelToken,
    pub(super) end: CancelToken,
}

#[derive(Default)]
struct Stages {
    /// What has not had its turn.
    queue: VecDeque<Stage>,
    /// All pools, also those that had it.
    pools: Vec<Arc<dyn Ends>>,
    limit: Option<Duration>,
    has_begun: bool,
    is_over: bool,
}

impl Stages {
    /// So that a program that makes pools again and again keeps a short list.
    fn forget_dropped(&mut self) {
        self.pools.retain(|pool| pool.is_alive());
        self.queue.retain(|stage| if let Stage::Pool(pool) = stage { pool.is_alive() } else { true });
    }
}

enum Stage {
    Pool(Arc<dyn Ends>),
    Step(Box<dyn FnOnce() + Send>),
}

impl Ending {
    pub(super) fn add<X: 'static>(&self, engine: &Arc<dyn Controlled<X>>) {
        let pool: Arc<dyn Ends> = Arc::new(Ended(Arc::downgrade(engine)));
        let is_over = {
            let mut stages = self.stages.lock();
            stages.forget_dropped();
            stages.pools.push(Arc::clone(&pool));
            stages.queue.push_back(Stage::Pool(Arc::clone(&pool)));
            stages.is_over
        };
        if is_over {
            pool.close();
        }
    }

    pub(super) fn add_step(&self, step: Box<dyn FnOnce() + Send>) {
        let mut stages = self.stages.lock();
        if stages.is_over {
            // It may own a pool, or another value whose drop is the program's code.
            drop(stages);
            drop(step);
        } else {
            stages.queue.push_back(Stage::Step(step));
        }
    }

    pub(super) fn cancel_after(&self, limit: Duration) {
        let mut stages = self.stages.lock();
        if stages.has_begun {
            self.stop.cancel_after(limit);
        } else {
            stages.limit = Some(stages.limit.map_or(limit, |before| before.min(limit)));
        }
    }

    /// Takes note of a signal. Runs no user code.
    pub(super) fn signal(&self) -> Next {
        if !self.begin.is_cancelled() {
            self.begin.cancel();
        } else if !self.stop.is_cancelled() {
            self.stop.cancel();
        } else {
            return Next::Exit;
        }
        Next::GoOn
    }

    /// Waits for the first signal, and ends one after the other.
    pub(super) fn drain_in_order(&self) {
        self.begin.wait();
        let limit = {
            let mut stages = self.stages.lock();
            stages.has_begun = true;
            stages.limit
        };
        if let Some(limit) = limit {
            self.stop.cancel_after(limit);
        }
        self.drain.cancel();
        while let Some(stage) = self.next() {
            match stage {
                Stage::Step(step) => drop(catch_user_panic(step)),
                // One that was added after the cancel.
                Stage::Pool(pool) if self.stop.is_cancelled() => {
                    pool.cancel();
                    pool.drain();
                }
                Stage::Pool(pool) => pool.drain(),
            }
        }
        self.end.cancel();
    }

    fn next(&self) -> Option<Stage> {
        let mut stages = self.stages.lock();
        let next = stages.queue.pop_front();
        stages.is_over = next.is_none();
        next
    }

    /// Waits for the second signal, or the limit, and cancels all pools.
    pub(super) fn cancel_all(&self) {
        self.stop.wait();
        self.cancel.cancel();
        let pools = self.stages.lock().pools.clone();
        pools.iter().for_each(|pool| pool.cancel());
    }
}

/// A pool of any kind that ends with the process.
trait Ends: Send + Sync {
    fn is_alive(&self) -> bool;
    /// Closes it and waits for its end.
    fn drain(&self);
    /// Closes it, drops what has not started, and tells the rest to stop.
    fn cancel(&self);
    /// Closes it, and waits for nothing.
    fn close(&self);
}

struct Ended<X>(Weak<dyn Controlled<X>>);

impl<X> Ended<X> {
    /// Calls `f` with the engine, unless its pool was dropped. User code may run in it, and where this drops the last reference.
    fn visit(&self, f: impl FnOnce(&dyn Controlled<X>)) {
        if let Some(engine) = self.0.upgrade() {
            catch_user_panic(|| {
                if !engine.is_dropped() {
                    f(&*engine)
                }
            });
            catch_user_panic(|| drop(engine));
        }
    }
}

impl<X> Ends for Ended<X> {
    fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    fn drain(&self) {
        self.visit(|engine| {
            engine.shutdown(None);
        });
    }

    fn cancel(&self) {
        self.visit(|engine| drop(engine.shutdown_graceful(Some(Instant::now()))));
    }

    fn close(&self) {
        self.visit(|engine| {
            engine.shutdown(Some(Instant::now()));
        });
    }
}
