//! Pipelines: items go through stages, each on a pool or view of its own, with bounded room between them.
//!
//! `source.rs` pulls items, `stage.rs` has them processed and passes them on, `output.rs` hands the results out. `control.rs` ends all of them, with the
//! `submissions.rs` that are under way.

mod control;
mod error;
mod output;
mod source;
mod stage;
mod stats;
mod submissions;

use std::fmt;
use std::io;
use std::task::Wake;

pub use control::OnError;
pub use error::PipelineError;
pub use output::PipelineResults;
pub use stats::{Bottleneck, PipelineStats, StageStats};

use self::control::Control;
use self::error::Failure;
use self::output::Output;
use self::source::Source;
use self::stage::{AnyStage, Inlet, Launch, Launcher, Outlet, Settings, Stage};
use crate::cancel::CancelToken;
use crate::error::{BoxError, JoinError};
use crate::flow::Continuation;
use crate::flow::sending::{Sender, sender};
use crate::pool::{Accepts, AnyPool};
use crate::sync::clock;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::{Arc, Mutex, OnceLock};

/// Items that go through stages, each with a pool or limited view of its own. Made by [`Pipeline::from`]; it starts at
/// [`for_each`](Self::for_each), [`collect`](Self::collect) or `into_iter`.
///
/// - **Stages.** [`stage`](Self::stage) and [`try_stage`](Self::try_stage) call a closure on a pool of closures or a view of one,
///   [`through`](Self::through) and [`try_through`](Self::try_through) use what any other pool does. Stages may share a pool.
/// - **Bounded.** A stage holds at most [`buffer`](Self::buffer) items: those that wait for the pool, run, or are done and wait for room
///   in the next stage. No worker and no thread waits for room, so stages that share one worker do not deadlock.
/// - **Back-pressure.** An item is pulled from the source only when the first stage has room for it. So at most as many items are under way as
///   all buffers hold, and one more.
/// - **Order.** A stage passes results on in the order of its items, or as they are done ([`unordered`](Self::unordered)).
/// - **The source** is pulled on a thread of its own, which ends with it: an iterator may block, and results come out meanwhile.
/// - **Failures.** The first error or panic, in the order of the items, stops the source and is the last item of the results.
///   [`on_error`](Self::on_error) says what becomes of what is before it. A pool that is closed, or gives a task back, is a failure too.
/// - **Cancelling.** By a [`token`](Self::token), or by dropping the results.
///
/// An item costs several allocations and wake-ups a stage: where the work is a few microseconds, put several items into one.
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

/// A view of the figures of a pipeline that runs elsewhere; made by [`Pipeline::monitor`].
///
/// ```
/// let pool = formicary::Pool::new(2)?;
/// let pipeline = formicary::Pipeline::from([1, 2, 3]).stage(&pool, |n: u32| n);
/// let monitor: formicary::PipelineMonitor = pipeline.monitor();
/// assert!(monitor.stats().stages.is_empty()); // it has not started
/// pipeline.for_each(|_| ())?;
/// assert_eq!(monitor.stats().pulled, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PipelineMonitor(Arc<OnceLock<Arc<Control>>>);

impl Default for PipelineMonitor {
    fn default() -> Self {
        PipelineMonitor(Arc::new(OnceLock::new()))
    }
}

impl PipelineMonitor {
    /// The figures so far; none before the pipeline has started.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let pipeline = formicary::Pipeline::from([1, 2, 3]).stage(&pool, |n: u32| n);
    /// assert_eq!(pipeline.monitor().stats().pulled, 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stats(&self) -> PipelineStats {
        self.0.get().map(|control| control.stats()).unwrap_or_default()
    }
}

impl fmt::Debug for PipelineMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipelineMonitor").field(&self.stats()).finish()
    }
}

fn default_settings() -> Settings {
    Settings { is_ordered: true, buffer: None, name: None }
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
        Pipeline { connect, settings: default_settings(), stages: 0, options: Options::default() }
    }

    /// Calls `f` on each item, on the workers of `pool`: a pool of closures, or a view of one.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let lengths = formicary::Pipeline::from(["an", "ant"]).stage(&pool, str::len).collect::<Vec<_>>()?;
    /// assert_eq!(lengths, [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stage<P, F, U>(self, pool: &P, f: F) -> Pipeline<U>
    where
        P: Accepts<Continuation<U>, Output = U>,
        F: Fn(T) -> U + Send + Sync + 'static,
        U: Send + 'static,
    {
        self.closure_stage(pool, f, Ok)
    }

    /// As [`stage`](Self::stage), for a closure that may fail. Its first error ends the pipeline.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let numbers = formicary::Pipeline::from(["1", "x"]).try_stage(&pool, str::parse::<u32>).collect::<Vec<_>>();
    /// assert_eq!(numbers.unwrap_err().to_string(), "stage 0 failed");
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn try_stage<P, F, U, E>(self, pool: &P, f: F) -> Pipeline<U>
    where
        P: Accepts<Continuation<Result<U, E>>, Output = Result<U, E>>,
        F: Fn(T) -> Result<U, E> + Send + Sync + 'static,
        U: Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        self.closure_stage(pool, f, |result| result.map_err(Into::into))
    }

    /// Has a pool process each item: its function, or a worker's state.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(2, |word: &'static str| word.len())?;
    /// assert_eq!(formicary::Pipeline::from(["an", "ant"]).through(&lengths).collect::<Vec<_>>()?, [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn through<P>(self, pool: &P) -> Pipeline<P::Output>
    where
        P: Accepts<T>,
    {
        let buffer = default_buffer(pool);
        self.add(buffer, launcher(sender(pool), Ok), None)
    }

    /// As [`through`](Self::through), where the pool's result may be an error. The first one ends the pipeline.
    ///
    /// ```
    /// let numbers = formicary::PoolWithFunc::new(2, |word: &'static str| word.parse::<u32>())?;
    /// assert_eq!(formicary::Pipeline::from(["1", "2"]).try_through(&numbers).collect::<Vec<_>>()?, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_through<P, U, E>(self, pool: &P) -> Pipeline<U>
    where
        P: Accepts<T, Output = Result<U, E>>,
        U: Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let buffer = default_buffer(pool);
        self.add(buffer, launcher(sender(pool), |result: Result<U, E>| result.map_err(Into::into)), None)
    }

    fn closure_stage<P, F, R, U>(self, pool: &P, f: F, check: fn(R) -> Result<U, BoxError>) -> Pipeline<U>
    where
        P: Accepts<Continuation<R>, Output = R>,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Send + 'static,
        U: Send + 'static,
    {
        let buffer = default_buffer(pool);
        let busy = Arc::new(Mutex::new(std::time::Duration::ZERO));
        let (send, times, f) = (sender(pool), Arc::clone(&busy), Arc::new(f));
        let send: Sender<T, R> = Box::new(move |x| {
            let (f, times) = (Arc::clone(&f), Arc::clone(&times));
            send(Box::new(move || {
                let begun = clock::now();
                let result = f(x);
                *times.lock() += clock::now().saturating_duration_since(begun);
                result
            }))
        });
        self.add(buffer, launcher(send, check), Some(busy))
    }

    fn add<U: Send + 'static>(
        self,
        default_buffer: usize,
        launch: Launcher<T, U>,
        busy: Option<Arc<Mutex<std::time::Duration>>>,
    ) -> Pipeline<U> {
        let Pipeline { connect, settings: before, stages: number, options } = self;
        let connect: Connect<U> = Box::new(move |next, settings, parts| {
            let stage = Stage::new(&parts.control, (settings, default_buffer), launch, busy, next, number);
            parts.stages.push(Arc::clone(&stage) as _);
            let outlet: Arc<dyn Outlet> = Arc::clone(&stage) as _;
            let before = connect(Arc::clone(&stage) as _, before, parts);
            stage.set_before(before);
            Arc::downgrade(&outlet)
        });
        Pipeline { connect, settings: default_settings(), stages: number + 1, options }
    }

    /// The last stage passes results on in the order of its items. This is the default.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let same = formicary::Pipeline::from(0..100).stage(&pool, |n: u32| n).ordered().collect::<Vec<_>>()?;
    /// assert!(same.into_iter().eq(0..100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ordered(mut self) -> Self {
        self.settings.is_ordered = true;
        self
    }

    /// The last stage passes results on as they are done. A failure there comes after those that were done before.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let mut same = formicary::Pipeline::from(0..100).stage(&pool, |n: u32| n).unordered().collect::<Vec<_>>()?;
    /// same.sort_unstable();
    /// assert!(same.into_iter().eq(0..100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unordered(mut self) -> Self {
        self.settings.is_ordered = false;
        self
    }

    /// The most items that the last stage holds, from when they come in until the next stage takes their results. Default: twice the
    /// capacity that its pool has now. More of them even out items that take long, fewer take less memory.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let pipeline = formicary::Pipeline::from(0..100).stage(&pool, |n: u32| n).buffer(1);
    /// assert_eq!(pipeline.collect::<Vec<_>>()?.len(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `items` is 0.
    #[track_caller]
    pub fn buffer(mut self, items: usize) -> Self {
        assert!(items > 0, "`items` is 0: a stage holds at least one item");
        self.settings.buffer = Some(items);
        self
    }

    /// Names the last stage, for errors and figures.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let results = formicary::Pipeline::from(["x"]).try_stage(&pool, str::parse::<u32>).name("parse");
    /// assert_eq!(results.for_each(|_| ()).unwrap_err().to_string(), "stage 0 (parse) failed");
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn name(mut self, name: impl Into<std::sync::Arc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// What becomes of the results before a failure, in any stage. Default: [`OnError::Drain`].
    ///
    /// ```
    /// use formicary::{OnError, Pipeline, Pool};
    ///
    /// let pool = Pool::new(4)?;
    /// let pipeline = Pipeline::from(["1", "x"]).try_stage(&pool, str::parse::<u32>).on_error(OnError::Cancel);
    /// assert!(pipeline.for_each(|_| ()).is_err());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.options.on_error = on_error;
        self
    }

    /// Ends the pipeline when the token is cancelled, or its time is up: what has not been taken is dropped, and an error comes out.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let token = formicary::CancelToken::new();
    /// let pipeline = formicary::Pipeline::from(0..).stage(&pool, |n: u32| n).token(&token);
    /// let ended = pipeline.for_each(|n| if n == 100 { token.cancel() });
    /// assert!(ended.unwrap_err().is_cancelled());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn token(mut self, token: &CancelToken) -> Self {
        self.options.token = Some(token.clone());
        self
    }

    /// Shows the figures while the pipeline runs, on any thread.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let pipeline = formicary::Pipeline::from(0..10).stage(&pool, |n: u32| n);
    /// let monitor = pipeline.monitor();
    /// pipeline.for_each(|n| assert!(monitor.stats().pulled > u64::from(n)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn monitor(&self) -> PipelineMonitor {
        self.options.monitor.clone()
    }

    /// Runs the pipeline, and calls `f` with each result, on the calling thread. If `f` panics, the pipeline is cancelled.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let mut sum = 0;
    /// formicary::Pipeline::from(1..=10).stage(&pool, |n: u32| n).for_each(|n| sum += n)?;
    /// assert_eq!(sum, 55);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first failure, after the results before it.
    pub fn for_each(self, mut f: impl FnMut(T)) -> Result<(), PipelineError> {
        self.into_iter().try_for_each(|result| result.map(&mut f))
    }

    /// The same as a future, which works on any executor. Dropping it cancels the pipeline, which starts when the future is first polled.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(4)?;
    /// let mut sum = 0;
    /// formicary::Pipeline::from(1..=10).stage(&pool, |n: u32| n).for_each_async(|n| sum += n).await?;
    /// assert_eq!(sum, 55);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`for_each`](Self::for_each).
    pub async fn for_each_async(self, mut f: impl FnMut(T) + Send) -> Result<(), PipelineError> {
        let mut results = self.into_iter();
        while let Some(result) = results.next_async().await {
            f(result?);
        }
        Ok(())
    }

    /// Runs the pipeline, and collects its results.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let squares = formicary::Pipeline::from(1..=3).stage(&pool, |n: u32| n * n).collect::<Vec<_>>()?;
    /// assert_eq!(squares, [1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first failure.
    pub fn collect<C: FromIterator<T>>(self) -> Result<C, PipelineError> {
        self.into_iter().collect()
    }

    fn start(self) -> PipelineResults<T> {
        let Pipeline { connect, settings, options, .. } = self;
        let output = Output::new();
        let control = Control::new(options.on_error, Arc::clone(&output) as _);
        let mut parts = Parts {
            control: Arc::clone(&control),
            source: Arc::new(Source::default()),
            stages: Vec::new(),
            start: None,
        };
        let before = connect(Arc::clone(&output) as _, settings, &mut parts);
        output.set_before(before);
        parts.stages.reverse();
        let Parts { source, stages, start, .. } = parts;
        control.set_parts(source, stages);
        _ = options.monitor.0.get_or_init(|| Arc::clone(&control));
        let results = PipelineResults::new(output, Arc::clone(&control));
        if let Some(token) = options.token {
            let watched = Arc::downgrade(&control);
            let watch = DetachedFuture::new(async move {
                token.cancelled().await;
                watched.upgrade().into_iter().for_each(|control| control.cancel());
            });
            control.watch(Arc::clone(&watch));
            watch.wake();
        }
        if let Some(Err(error)) = start.map(|start| start()) {
            control.end(PipelineError::new(Failure::NoThread(error)));
        }
        results
    }
}

/// Starts the pipeline.
impl<T: Send + 'static> IntoIterator for Pipeline<T> {
    type Item = Result<T, PipelineError>;
    type IntoIter = PipelineResults<T>;

    fn into_iter(self) -> PipelineResults<T> {
        self.start()
    }
}

impl<T: Send + 'static> fmt::Debug for Pipeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("stages", &self.stages).finish_non_exhaustive()
    }
}

/// So that each worker has an item to run and one to go on with.
fn default_buffer<P: AnyPool>(pool: &P) -> usize {
    pool.engine().capacity().saturating_mul(2).max(2)
}

/// Makes the tasks of a stage.
fn launcher<A, R, U>(send: Sender<A, R>, check: fn(R) -> Result<U, BoxError>) -> Launcher<A, U>
where
    A: Send + 'static,
    R: Send + 'static,
    U: Send + 'static,
{
    Box::new(move |x, deliver, submissions| {
        let sent = send(x);
        let task = sent.awaited();
        let future = DetachedFuture::new(async move {
            let ended: Result<R, JoinError> =
                sent.ended(|entering| async move { submissions.enter(entering).await }).await;
            deliver(match ended {
                Ok(output) => check(output).map_err(Failure::Stage),
                Err(error) => Err(Failure::Task(error)),
            });
        });
        Launch { task, future }
    })
}
