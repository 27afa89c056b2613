//! The figures of a pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::clock;

/// The figures of a running pipeline, by stage, at about one moment.
///
/// ```
/// use formicary::{Bottleneck, Pipeline, Pool};
///
/// let pool = Pool::new(2)?;
/// let mut results = Pipeline::from(0..10).stage(&pool, |n: u32| n + 1).name("add").into_iter();
/// assert_eq!(results.by_ref().count(), 10);
/// let stats: formicary::PipelineStats = results.stats();
/// let add: &formicary::StageStats = &stats.stages[0];
/// assert_eq!((add.name.as_deref(), add.entered, add.left, add.running), (Some("add"), 10, 10, 0));
/// assert!(matches!(stats.bottleneck(), Bottleneck::Source | Bottleneck::Stage(0) | Bottleneck::Consumer));
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PipelineStats {
    /// Items that were pulled from the source.
    pub pulled: u64,
    /// How long the source has waited for room in the first stage.
    pub source_blocked: Duration,
    /// The stages, in their order.
    pub stages: Vec<StageStats>,
}

/// The figures of one stage.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let results = formicary::Pipeline::from([1]).stage(&pool, |n: u32| n).buffer(7).into_iter();
/// let stage: formicary::StageStats = results.stats().stages.remove(0);
/// assert_eq!(stage.buffer, 7);
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StageStats {
    /// The name, if it has one.
    pub name: Option<Arc<str>>,
    /// The most items in the stage.
    pub buffer: usize,
    /// Items that have come in.
    pub entered: u64,
    /// Items that were passed on.
    pub left: u64,
    /// Items that have not started: they wait for room in the pool, or in its queue.
    pub queued: usize,
    /// Items that run.
    pub running: usize,
    /// Items that are done and have not been passed on: for want of room in the next stage, or because an earlier one is not done. In a
    /// batch, all that are in it.
    pub waiting_for_room: usize,
    /// How long an item that could go on has waited for room in the next stage.
    pub blocked: Duration,
    /// How long the closure has run, in all workers together, in the runs that have ended. `None` for a stage that is a function's or a
    /// state's pool, and for a batch.
    pub busy: Option<Duration>,
}

/// What a pipeline waits for most.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let results = formicary::Pipeline::from([1]).stage(&pool, |n: u32| n).into_iter();
/// let bottleneck: formicary::Bottleneck = results.stats().bottleneck();
/// println!("{bottleneck:?}");
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bottleneck {
    /// Nothing has waited for room: the stages wait for the source.
    Source,
    /// The stage with this number, which what is before it waits for.
    Stage(usize),
    /// Who takes the results.
    Consumer,
}

impl PipelineStats {
    /// What the pipeline waits for most: the last stage that what is before it has waited for, at least half as long as anything has waited
    /// for room. (A slow stage fills those before it, which then wait about as long for each other.)
    ///
    /// ```
    /// use formicary::{Bottleneck, Pipeline, Pool};
    ///
    /// let pool = Pool::new(2)?;
    /// let mut results = Pipeline::from(0..3).stage(&pool, |n: u32| n).into_iter();
    /// results.next();
    /// assert_ne!(results.stats().bottleneck(), Bottleneck::Stage(1));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn bottleneck(&self) -> Bottleneck {
        let blocked: Vec<_> =
            std::iter::once(self.source_blocked).chain(self.stages.iter().map(|stage| stage.blocked)).collect();
        let longest = blocked.iter().max().copied().unwrap_or_default();
        let last = blocked.iter().rposition(|time| !time.is_zero() && *time >= longest / 2);
        match last {
            None => Bottleneck::Source,
            Some(last) if last == self.stages.len() => Bottleneck::Consumer,
            Some(last) => Bottleneck::Stage(last),
        }
    }
}

/// Adds up the times of one wait after another.
#[derive(Default)]
pub(super) struct Waited {
    total: Duration,
    since: Option<Instant>,
}

impl Waited {
    pub(super) fn begin(&mut self) {
        self.since.get_or_insert_with(clock::now);
    }

    pub(super) fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.total += clock::now().saturating_duration_since(since);
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// With the wait that has not ended.
    pub(super) fn total(&self) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| clock::now().saturating_duration_since(since))
    }
}
