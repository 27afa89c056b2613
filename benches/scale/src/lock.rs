//! A lock as parking_lot's: it spins, yields, and then parks. The one that releases it wakes one that has parked, who tries again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::machine::{Core, Line, Machine, Nanos};

/// How often a waiter pauses before it yields, each time twice as long, and how often it tries before it parks.
const PAUSES: u32 = 3;
const TRIES: u32 = 10;

pub struct Lock {
    /// The word of the lock, and what else lies on its line.
    pub line: Line,
    name: &'static str,
    is_held: Cell<bool>,
    parked: RefCell<VecDeque<usize>>,
}

impl Lock {
    pub fn new(machine: &Machine, name: &'static str) -> Self {
        Lock { line: machine.line(name), name, is_held: Cell::new(false), parked: RefCell::new(VecDeque::new()) }
    }

    pub async fn lock(&self, core: Core<'_>) {
        let mut tries = 0;
        loop {
            core.modify(self.line).await;
            if !self.is_held.replace(true) {
                return;
            }
            while self.is_held.get() {
                if tries == TRIES || !self.parked.borrow().is_empty() {
                    self.parked.borrow_mut().push_back(core.id);
                    core.park(self.name).await;
                    tries = 0;
                    break;
                }
                tries += 1;
                core.wait(self.name, self.delay(core, tries)).await;
                core.read(self.line).await;
            }
        }
    }

    fn delay(&self, core: Core<'_>, tries: u32) -> Nanos {
        let costs = &core.machine.costs;
        if tries <= PAUSES { costs.pause << tries } else { costs.sched_yield }
    }

    pub async fn unlock(&self, core: Core<'_>) {
        core.modify(self.line).await;
        self.is_held.set(false);
        let parked = self.parked.borrow_mut().pop_front();
        if let Some(parked) = parked {
            core.wake(parked).await;
        }
    }
}
