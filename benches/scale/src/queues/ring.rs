//! The ring: `ring.rs`, `ticket_counter.rs`, `bounded_tickets.rs` and `slots.rs`.

use std::cell::Cell;

use super::Counters;
use crate::machine::{Core, Line, Machine};

pub struct Ring {
    push_tickets: Line,
    pushed: Cell<u64>,
    limit: Cell<u64>,
    pop_tickets: Line,
    popped: Cell<u64>,
    slots: Vec<(Line, Cell<bool>)>,
    pub finished: Counters,
    room: u64,
    /// How often a back-off doubles.
    most_doublings: u32,
}

impl Ring {
    pub fn new(machine: &Machine, cores: usize, room: u64, most_doublings: u32) -> Self {
        let slots = (0..room.next_power_of_two()).map(|_| (machine.line("slot"), Cell::new(false))).collect();
        Ring {
            push_tickets: machine.line("push_tickets"),
            pushed: Cell::new(0),
            limit: Cell::new(room),
            pop_tickets: machine.line("pop_tickets"),
            popped: Cell::new(0),
            slots,
            finished: Counters::new(machine, cores),
            room,
            most_doublings,
        }
    }

    fn slot(&self, ticket: u64) -> &(Line, Cell<bool>) {
        &self.slots[ticket as usize % self.slots.len()]
    }

    pub async fn push(&self, core: Core<'_>, reserved: u64) -> bool {
        let mut spins = 0;
        core.read(self.push_tickets).await;
        let mut word = self.pushed.get();
        loop {
            if word + reserved >= self.limit.get() {
                core.read(self.push_tickets).await;
                if word == self.pushed.get() {
                    if self.refresh_limit(core).await <= reserved {
                        return false;
                    }
                    core.read(self.push_tickets).await;
                }
                word = self.pushed.get();
                continue;
            }
            core.modify(self.push_tickets).await;
            if word == self.pushed.get() {
                break;
            }
            word = self.pushed.get();
            self.back_off(core, &mut spins).await;
        }
        self.pushed.set(word + 1);
        let (line, is_full) = self.slot(word);
        core.read_ahead(*line).await;
        while is_full.get() {
            core.work(core.machine.costs.pause).await;
            core.read(*line).await;
        }
        core.write_ahead(*line).await;
        is_full.set(true);
        true
    }

    /// `Backoff::spin`.
    async fn back_off(&self, core: Core<'_>, spins: &mut u32) {
        core.work(core.machine.about(core.machine.costs.pause << (*spins).min(self.most_doublings))).await;
        *spins += 1;
    }

    async fn refresh_limit(&self, core: Core<'_>) -> u64 {
        self.finished.control.lock(core).await;
        core.read(self.push_tickets).await;
        let count = self.pushed.get();
        let finished = self.finished.sum(core, Some(self.pop_tickets)).await;
        let limit = (self.popped.get() + self.slots.len() as u64).min(finished + self.room);
        core.write(self.push_tickets).await;
        self.limit.set(limit);
        self.finished.control.unlock(core).await;
        limit.saturating_sub(count)
    }

    pub async fn pop(&self, core: Core<'_>) -> bool {
        let mut spins = 0;
        core.read(self.pop_tickets).await;
        let mut word = self.popped.get();
        loop {
            let (line, is_full) = self.slot(word);
            core.read_ahead(*line).await;
            if !is_full.get() {
                core.read(self.pop_tickets).await;
                if word == self.popped.get() {
                    return false;
                }
                word = self.popped.get();
                continue;
            }
            core.modify(self.pop_tickets).await;
            if word == self.popped.get() {
                break;
            }
            word = self.popped.get();
            self.back_off(core, &mut spins).await;
        }
        self.popped.set(word + 1);
        let (line, is_full) = self.slot(word);
        core.write_ahead(*line).await;
        is_full.set(false);
        true
    }

    pub async fn running(&self, core: Core<'_>) -> u64 {
        self.finished.control.lock(core).await;
        core.read(self.pop_tickets).await;
        let started = self.popped.get();
        self.finished.control.unlock(core).await;
        started.saturating_sub(self.finished.sum_locked(core).await)
    }

    pub async fn peek(&self, core: Core<'_>) -> bool {
        core.read(self.pop_tickets).await;
        let (line, is_full) = self.slot(self.popped.get());
        core.read_ahead(*line).await;
        is_full.get()
    }

    pub async fn has_work(&self, core: Core<'_>) -> bool {
        core.read_together([self.pop_tickets, self.push_tickets]).await;
        self.popped.get() < self.pushed.get()
    }

    pub async fn has_more(&self, core: Core<'_>, searching: u64) -> bool {
        core.read_together([self.pop_tickets, self.push_tickets]).await;
        self.popped.get() + searching < self.pushed.get()
    }
}
