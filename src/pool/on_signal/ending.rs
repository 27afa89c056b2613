//! What ends with the process, in which order, and how far it has come.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::signals::Next;
use crate::cancel::CancelToken;
use crate::engine::Controlled;
use crate::engine::end_wait::wait_for_end;
use crate::sync::user_code::catch_user_panic;
use crate::task::current_worker::PoolId;

thread_local! {
    /// The end of everything needs this thread, which runs steps, or cancels pools.
    static IS_OWN_THREAD: Cell<bool> = const { Cell::new(false) };
}

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
    /// The pools that were in the list have been cancelled.
    is_cancelled: bool,
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
        let (is_over, is_cancelled) = {
            let mut stages = self.stages.lock();
            stages.forget_dropped();
            stages.pools.push(Arc::clone(&pool));
            stages.queue.push_back(Stage::Pool(Arc::clone(&pool)));
            (stages.is_over, stages.is_cancelled)
        };
        if is_over {
            pool.close();
        } else if is_cancelled {
            cancel_each(vec![pool]);
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
        IS_OWN_THREAD.set(true);
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
        IS_OWN_THREAD.set(true);
        self.stop.wait();
        self.cancel.cancel();
        let pools = {
            let mut stages = self.stages.lock();
            stages.is_cancelled = true;
            stages.pools.clone()
        };
        cancel_each(pools);
    }

    /// Waits for the end of everything, unless that waits for the calling thread.
    pub(super) fn wait(&self) {
        if IS_OWN_THREAD.get() {
            return;
        }
        let pools = self.stages.lock().pools.clone();
        let ids = pools.iter().filter_map(|pool| pool.id());
        let waits: Option<Vec<_>> = ids.map(|id| wait_for_end(id, false)).collect();
        if waits.is_some() {
            self.end.wait();
        }
    }
}

/// Cancels each on a thread of its own: an interrupter, or the drop of what came back, may take any time, which the others must not wait for.
/// Where the system refuses a thread, this one cancels the rest.
fn cancel_each(pools: Vec<Arc<dyn Ends>>) {
    let mut left = Vec::new();
    for pool in pools {
        let cancelled = Arc::clone(&pool);
        let cancel = move || {
            IS_OWN_THREAD.set(true);
            cancelled.cancel();
        };
        if thread::Builder::new().name("formicary-cancel".into()).spawn(cancel).is_err() {
            left.push(pool);
        }
    }
    left.iter().for_each(|pool| pool.cancel());
}

/// A pool of any kind that ends with the process.
trait Ends: Send + Sync {
    fn is_alive(&self) -> bool;
    /// `None` if it was dropped.
    fn id(&self) -> Option<PoolId>;
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

    fn id(&self) -> Option<PoolId> {
        let mut id = None;
        self.visit(|engine| id = Some(engine.id()));
        id
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
