//! The most tasks that ran at one moment: `src/queue/high_water.rs`, and `TaskQueue::peak_running`.

use std::cell::Cell;

use crate::machine::{Core, Line, Machine};
use crate::nested::Own;
use crate::queues::Queue;

pub struct HighWater {
    line: Line,
    busy: Cell<u64>,
    highest: Cell<u64>,
    is_busy: Vec<Cell<bool>>,
}

impl HighWater {
    pub fn new(machine: &Machine, cores: usize) -> Self {
        let is_busy = (0..cores).map(|_| Cell::new(false)).collect();
        HighWater { line: machine.line("high_water"), busy: Cell::new(0), highest: Cell::new(0), is_busy }
    }

    /// The worker has a task. In a pool that is new it counts the running ones, if there may be more than ever.
    pub async fn enter(&self, core: Core<'_>, queue: &Queue, own: &Own, counts: bool) {
        if self.is_busy[core.id].replace(true) {
            core.read(self.line).await;
        } else {
            core.modify(self.line).await;
            self.busy.set(self.busy.get() + 1);
        }
        if counts && self.busy.get() > self.highest.get() {
            let running = queue.running(core).await + own.running(core).await;
            core.read(self.line).await;
            if running > self.highest.get() {
                core.modify(self.line).await;
                self.highest.set(running.max(self.highest.get()));
            }
        }
    }

    pub async fn exit(&self, core: Core<'_>) {
        if self.is_busy[core.id].replace(false) {
            core.modify(self.line).await;
            self.busy.set(self.busy.get() - 1);
        }
    }
}
