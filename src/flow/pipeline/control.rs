//! What holds a running pipeline together.

use std::sync::OnceLock;

use super::error::{Failure, PipelineError};
use super::source::Source;
use super::stage::{AnyStage, End, Outlet};
use super::stats::PipelineStats;
use super::submissions::Submissions;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::{Arc, Mutex};

/// What a failure does to what came before it.
///
/// ```
/// use formicary::{OnError, Pipeline, Pool};
///
/// let pool = Pool::new(1)?;
/// let halves = |n: u32| if n == 3 { Err("odd") } else { Ok(n) };
/// let results = Pipeline::from([1, 2, 3, 4]).try_stage(&pool, halves).on_error(OnError::Drain);
/// let results: Vec<_> = results.into_iter().map(|result| result.ok()).collect();
/// assert_eq!(results, [Some(1), Some(2), None]);
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The source stops, and what comes after the failure is cancelled. The results before it come out first, in their order; then the error.
    #[default]
    Drain,
    /// The source stops, everything is cancelled, and the error comes out next.
    Cancel,
}

pub(super) struct Control {
    on_error: OnError,
    stages: OnceLock<Vec<Arc<dyn AnyStage>>>,
    source: OnceLock<Arc<Source>>,
    output: Arc<dyn OutputControl>,
    submissions: Arc<Submissions>,
    /// Waits for the token.
    watch: Mutex<Option<Arc<DetachedFuture>>>,
}

/// The end of a pipeline without the type of its results.
pub(super) trait OutputControl: Send + Sync {
    /// Drops what has not been taken. The error comes next, if there is one and none came before.
    fn close(&self, error: Option<PipelineError>);
    /// The consumer is a worker that may run a task.
    fn nudge(&self);
}

impl Control {
    pub(super) fn new(on_error: OnError, output: Arc<dyn OutputControl>) -> Arc<Self> {
        Arc::new(Control {
            on_error,
            stages: OnceLock::new(),
            source: OnceLock::new(),
            output,
            submissions: Submissions::new(),
            watch: Mutex::new(None),
        })
    }

    pub(super) fn set_parts(&self, source: Arc<Source>, stages: Vec<Arc<dyn AnyStage>>) {
        _ = self.source.set(source);
        _ = self.stages.set(stages);
    }

    /// Ends the pipeline when the future ends.
    pub(super) fn watch(&self, watch: Arc<DetachedFuture>) {
        *self.watch.lock() = Some(watch);
    }

    pub(super) fn submissions(&self) -> &Arc<Submissions> {
        &self.submissions
    }

    pub(super) fn cancels_at_once(&self) -> bool {
        self.on_error == OnError::Cancel
    }

    fn stages(&self) -> &[Arc<dyn AnyStage>] {
        self.stages.get().map_or(&[], |stages| stages)
    }

    /// Cancels everything, with an error for the consumer.
    pub(super) fn end(&self, error: PipelineError) {
        self.output.close(Some(error));
        self.abandon();
    }

    pub(super) fn cancel(&self) {
        self.end(PipelineError::new(Failure::Cancelled));
    }

    /// Nobody takes results any more. Waits for submissions that are under way on other threads.
    pub(super) fn close(&self) {
        let watch = self.watch.lock().take();
        watch.into_iter().for_each(|watch| watch.abort());
        self.output.close(None);
        self.abandon();
        self.submissions.await_end();
    }

    fn abandon(&self) {
        self.submissions.close();
        if let Some(source) = self.source.get() {
            source.abandon();
        }
        if let Some(last) = self.stages().last() {
            last.abandon();
        }
    }

    /// A task was sent to its pool.
    pub(super) fn launched(&self) {
        self.output.nudge();
    }

    pub(super) fn run_one(&self) -> bool {
        // The last first: it makes room for the others.
        self.stages().iter().rev().any(|stage| stage.run_one())
    }

    pub(super) fn stats(&self) -> PipelineStats {
        let (pulled, source_blocked) = self.source.get().map(|source| source.figures()).unwrap_or_default();
        PipelineStats { pulled, source_blocked, stages: self.stages().iter().map(|stage| stage.stats()).collect() }
    }
}

/// The end that a panic of the source is.
pub(super) fn source_panic(payload: crate::error::Payload) -> End {
    End::Failed(PipelineError::new(Failure::Source(crate::error::JoinError::panic(payload))))
}
