//! The options that pools are built with.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use formicary::{Builder, Dispatch, Nested, OnDrop, Ring};

use super::job::panics;
use super::keys::Keyed;
use super::ledger::Ledger;
use super::subjects::MOMENT;
use super::told::Counts;

/// Means a queue without a bound, or is the bound where there must be one.
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

    /// Whether the pool has an observer: a bit of the same byte.
    fn is_observed(&self) -> bool {
        self.workers / 4 % 2 == 1
    }

    /// How many tasks may wait; `None`, any number, where the dispatch can have so many.
    pub(crate) fn queue(&self) -> Option<usize> {
        Some(usize::from(self.queue) % (NO_BOUND + 1)).filter(|tasks| *tasks < NO_BOUND)
    }

    /// The same on a dispatch; a ring has a bound.
    pub(crate) fn queue_on(&self, dispatch: &str) -> Option<usize> {
        self.queue().or((dispatch == Ring::NAME).then_some(NO_BOUND))
    }

    /// How many tasks may wait in a paused pool with so many workers. A ring keeps the slots that it was built with, so it may have
    /// less than the bound says.
    pub(crate) fn room_on(&self, dispatch: &str, workers: usize) -> Option<RangeInclusive<usize>> {
        let queue = self.queue_on(dispatch)?;
        let slots = if dispatch == Ring::NAME { (self.workers() + queue).next_power_of_two() } else { usize::MAX };
        let bound = workers + queue;
        Some(slots.min(bound)..=bound)
    }

    /// No more than there is room for.
    fn shards(&self) -> Option<usize> {
        let shards = usize::from(self.queue) / (NO_BOUND + 1) % 5;
        (shards > 0).then(|| shards.min(self.queue().map_or(shards, |tasks| self.workers() + tasks)))
    }

    /// Whether submitters may be refused because too many wait.
    pub(crate) fn limits_blocking(&self) -> bool {
        self.max_blocking < 128
    }

    pub(crate) fn keeps_state(&self) -> bool {
        self.keeps_state
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking
    }

    /// What dropping the pool does: bits of the same byte.
    pub(crate) fn on_drop(&self) -> OnDrop {
        match self.expiry / 32 {
            6 => OnDrop::Cancel,
            7 => OnDrop::Detach,
            _ => OnDrop::Drain,
        }
    }

    /// What the pool's own tasks may submit beyond the bound: bits of a byte that does not need all of them.
    pub(crate) fn nested(&self) -> Nested {
        match self.expiry / 4 % 8 {
            6 => Nested::Bounded,
            7 => Nested::AtMost(3),
            _ => Nested::Any,
        }
    }

    /// With these two, besides, for plans that know what comes of them.
    pub(crate) fn with_ends<K, D: Keyed>(&self, builder: Builder<K, D>) -> Builder<K, D> {
        builder.nested(self.nested()).on_drop(self.on_drop())
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
        if self.is_observed() {
            builder = builder.observer(Counts::new(ledger));
        }
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
        match self.queue_on(D::NAME) {
            None => builder.unbounded_queue(),
            Some(tasks) => builder.queue(tasks),
        }
    }
}
