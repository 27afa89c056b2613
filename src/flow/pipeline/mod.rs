//! Pipelines: items go through stages, each on a pool or view of its own, with bounded room between them.
//!
//! `stages.rs` and `options.rs` put a pipeline together, `run.rs` starts it. `source.rs` pulls items, `stage.rs` has them processed, `batch.rs`
//! collects them, `forward.rs` passes them on, `output.rs` hands the results out. `control.rs` ends all of them, with the
//! `submissions.rs` that are under way.

mod batch;
mod control;
mod error;
mod forward;
mod monitor;
mod options;
mod output;
mod run;
mod source;
mod stage;
mod stages;
mod stats;
mod submissions;

use std::fmt;
use std::io;

pub use control::OnError;
pub use error::PipelineError;
pub use monitor::PipelineMonitor;
pub use output::PipelineResults;
pub use stats::{Bottleneck, PipelineStats, StageStats};

use self::control::Control;
use self::source::Source;
use self::stage::{AnyStage, Inlet, Outlet, Settings};
use crate::cancel::CancelToken;
use crate::sync::Arc;

/// Items that go through stages, each with a pool or limited view of its own. Made by [`Pipeline::from`]; it starts at
/// [`for_each`](Self::for_each), [`collect`](Self::collect) or `into_iter`.
///
/// - **Stages.** [`stage`](Self::stage) and [`try_stage`](Self::try_stage) call a closure on a pool of closures or a view of one,
///   [`through`](Self::through) and [`try_through`](Self::try_through) use what any other pool does. Stages may share a pool.
///   [`batch`](Self::batch) collects items for the next stage.
/// - **Bounded.** A stage holds at most [`buffer`](Self::buffer) items: those that wait for the pool, run, or are done and wait for room
///   in the next stage. No worker and no thread waits for room, so stages that share one worker do not deadlock.
/// - **Back-pressure.** An item is pulled from the source only when the first stage has room for it. So at most as many items are under way as
///   all buffers hold, and one more.
/// - **Order.** A stage passes results on in the order of its items, or as they are done ([`unordered`](Self::unordered)).
///   It does not process them in order, also on one worker: for that (each writes after the one before) give it a [`buffer`](Self::buffer) of 1,
///   and the stage before it an order.
/// - **The source** is pulled on a thread of its own, which ends with it: an iterator may block, and results come out meanwhile.
/// - **Failures.** The first error or panic, in the order of the items, stops the source and is the last item of the results.
///   [`on_error`](Self::on_error) says what becomes of what is before it. A pool that is closed, or gives a task back, is a failure too.
/// - **Cancelling.** By a [`token`](Self::token), or by dropping the results.
///
/// An item costs several allocations and wake-ups a stage: where the work is a few microseconds, put several items into one in the source: a [`batch`](Self::batch) pays for each item until there.
///
/// ```
/// use formicary::{Pipeline, Pool};
///
/// let (parsers, disk) = (Pool::new(4)?, Pool::new(2)?);
/// let total: u64 = Pipeline::from(["1", "2", "39"])
///     .try_stage(&parsers, str::parse::<u64>)
///     .stage(&disk.limited(1), |n| 2 * n)
///     .collect::<Vec<_>>()?
///     .into_iter()
///     .sum();
/// assert_eq!(total, 84);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a pipeline does nothing until its results are taken"]
pub struct Pipeline<T: Send + 'static> {
    connect: Connect<T>,
    /// Of the last stage.
    settings: Settings,
    stages: usize,
    options: Options,
}

#[derive(Default)]
struct Options {
    on_error: OnError,
    token: Option<CancelToken>,
    monitor: PipelineMonitor,
}

/// Connects the last stage, which has these settings, to what comes after it.
type Connect<T> = Box<dyn FnOnce(Arc<dyn Inlet<T>>, Settings, &mut Parts) -> std::sync::Weak<dyn Outlet> + Send>;

/// What a pipeline is put together from.
struct Parts {
    control: Arc<Control>,
    source: Arc<Source>,
    /// The last first.
    stages: Vec<Arc<dyn AnyStage>>,
    start: Option<Box<dyn FnOnce() -> io::Result<()> + Send>>,
}

impl<T: Send + 'static> Pipeline<T> {
    /// A pipeline from an iterator, which is pulled on a thread of its own, and dropped there.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let squares = formicary::Pipeline::from(1..=3).stage(&pool, |n: u32| n * n).collect::<Vec<_>>()?;
    /// assert_eq!(squares, [1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from<I>(source: I) -> Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'static,
    {
        let items = source.into_iter();
        let connect: Connect<T> = Box::new(move |first, _, parts| {
            let source = Arc::clone(&parts.source);
            let outlet: Arc<dyn Outlet> = Arc::clone(&source) as _;
            parts.start = Some(Box::new(move || source.start(items, first)));
            Arc::downgrade(&outlet)
        });
        Pipeline { connect, settings: Settings::default(), stages: 0, options: Options::default() }
    }
}

impl<T: Send + 'static> fmt::Debug for Pipeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("stages", &self.stages).finish_non_exhaustive()
    }
}
