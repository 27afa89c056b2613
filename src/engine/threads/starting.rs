//! Starting a worker's thread.

use std::io;

use super::{ThreadState, Threads, WorkerSlot};
use crate::engine::end_wait;
use crate::engine::options::{Options, WorkerThread};
use crate::engine::thread_limit::ThreadPermit;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Builder, JoinHandle};
use crate::task::current_worker::PoolId;

impl Threads {
    /// Starts the thread of a worker. If `body` is dropped without having run, the thread that drops it must [`abandon`](Self::abandon)
    /// the worker, also when this fails. In that case the caller calls [`notify_end`](Self::notify_end) afterwards.
    pub(crate) fn start(
        &self,
        options: &Options,
        worker_slot: WorkerSlot,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<()> {
        let index = worker_slot.number;
        let started = options.name_of(index).and_then(|name| {
            let thread = WorkerThread { name, index, stack_size: options.stack_size, body };
            match &options.spawn_handler {
                Some(handler) => catch_user_panic(|| handler(thread))
                    .unwrap_or_else(|| Err(io::Error::other("the spawn handler panicked")))
                    .map(|()| None),
                None => spawn(self.pool, options.pinned(thread)).map(Some),
            }
        });
        let (handle, mut result) = match started {
            Ok(handle) => (handle, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.edit(|registry| {
            registry.begin(worker_slot.serial);
            match registry.threads.remove(&worker_slot.serial) {
                // Not joined here: the end of that thread may wait for this one.
                Some(ThreadState::Ended) => registry.ended.extend(handle),
                Some(ThreadState::Abandoned) => {
                    if result.is_ok() {
                        result = Err(io::Error::other("the spawn handler dropped the worker"));
                    }
                }
                // Its handle is dropped here: nothing joins it.
                Some(ThreadState::GivenUp) => {}
                _ => {
                    registry.threads.insert(worker_slot.serial, ThreadState::Running);
                    registry.handles.extend(handle.map(|handle| (worker_slot.serial, handle)));
                }
            }
        });
        self.changed.notify_all();
        result
    }

    /// Records that the calling thread is the worker, and begins.
    pub(crate) fn begin(&self, worker_slot: WorkerSlot) {
        self.edit(|registry| registry.begin(worker_slot.serial));
    }

    /// Removes a worker that never began. Returns whether [`start`](Self::start) had returned before, so that its caller does not learn of
    /// this. Then the caller of this function calls [`notify_end`](Self::notify_end) afterwards.
    pub(crate) fn abandon(&self, worker_slot: WorkerSlot) -> bool {
        let is_late = self.edit(|registry| {
            let is_late = matches!(registry.threads.get(&worker_slot.serial), Some(ThreadState::Running));
            registry.abandon(worker_slot);
            is_late
        });
        self.changed.notify_all();
        is_late
    }

    /// Makes the calling thread, which the pool did not start, the thread of the worker.
    pub(crate) fn adopt_caller(&self, worker_slot: WorkerSlot) -> WorkerSlot {
        self.edit(|registry| {
            registry.begin(worker_slot.serial);
            registry.threads.insert(worker_slot.serial, ThreadState::Running);
            // Its thread is not the pool's to give up.
            registry.by_number.remove(&worker_slot.number);
        });
        WorkerSlot { is_inline_worker: true, ..worker_slot }
    }
}

fn spawn(pool: PoolId, mut thread: WorkerThread) -> io::Result<JoinHandle<()>> {
    let permit = ThreadPermit::take()?;
    let mut builder = Builder::new().name(std::mem::take(&mut thread.name));
    if let Some(bytes) = thread.stack_size {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(move || {
        let _permit = permit;
        end_wait::set_started_by(pool);
        thread.run();
    })
}
