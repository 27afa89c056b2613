//! The options that pools are built with.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use formicary::{Builder, Dispatch, Nested, Ring};

use super::job::panics;
use super::keys::Keyed;
use super::ledger::Ledger;
use super::subjects::MOMENT;

/// Stands for a queue without a bound, and is one where there must be one.
const NO_BOUND: usize = 7;

/// The options of a pool.
#[derive(Arbitrary, Debug)]
pub(crate) struct Shape {
    workers: u8,
    min_workers: u8,
    queue: u8,
    expiry: u8,
    max_blocking: u8,
    spins: bool,
    nonblocking: bool,
    handlers_panic: bool,
    keeps_state: bool,
}

impl Shape {
    pub(crate) fn workers(&self) -> usize {
        1 + usize::from(self.workers % 4)
    }

    /// How many tasks may wait; `None`, any number, where the dispatch can have so many.
    pub(crate) fn queue(&self) -> Option<usize> {
        Some(usize::from(self.queue) % (NO_BOUND + 1)).filter(|tasks| *tasks < NO_BOUND)
    }

    /// No more than there is room for.
    fn shards(&self) -> Option<usize> {
        let shards = usize::from(self.queue) / (NO_BOUND + 1) % 5;
        (shards > 0).then(|| shards.min(self.queue().map_or(shards, |tasks| self.workers() + tasks)))
    }

    /// Whether submitters may be sent away for being too many.
    pub(crate) fn limits_blocking(&self) -> bool {
        self.max_blocking < 128
    }

    pub(crate) fn keeps_state(&self) -> bool {
        self.keeps_state
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking
    }

    /// What the pool's own tasks may submit beyond the bound: bits of a byte that need not all of it.
    pub(crate) fn nested(&self) -> Nested {
        match self.expiry / 4 % 8 {
            6 => Nested::Bounded,
            7 => Nested::AtMost(3),
            _ => Nested::Any,
        }
    }

    pub(crate) fn on<K, D: Keyed>(&self, builder: Builder<K, D>, name: &str, ledger: &Arc<Ledger>) -> Builder<K, D> {
        let workers = self.workers();
        let is_loud = self.handlers_panic;
        let hold = Arc::clone(ledger);
        let mut builder = builder
            .workers(workers)
            .min_workers(usize::from(self.min_workers) % (workers + 1))
            .nonblocking(self.nonblocking)
            .expiry(match self.expiry % 4 {
                0 => Some(Duration::ZERO),
                1 => Some(MOMENT),
                _ => None,
            })
            .thread_name(name)
            .panic_handler(move |_| {
                let _ = &hold;
                if is_loud {
                    panics();
                }
            });
        if !self.spins {
            builder = builder.spin(Duration::ZERO);
        }
        if is_loud {
            builder = builder.on_thread_start(|_| panics()).on_thread_stop(|_| panics());
        }
        if self.limits_blocking() {
            builder = builder.max_blocking(usize::from(self.max_blocking) % 3);
        }
        builder = D::with_shards(builder, self.shards());
        match self.queue() {
            None if D::NAME != Ring::NAME => builder.unbounded_queue(),
            // A ring has a bound.
            tasks => builder.queue(tasks.unwrap_or(NO_BOUND)),
        }
    }
}
