//! Adds stages to a pipeline.

use std::sync::OnceLock;
use std::time::Duration;

use super::batch::BatchStage;
use super::error::Failure;
use super::stage::{AnyStage, Inlet, Launch, Launcher, Outlet, Position, Settings, Stage};
use super::{Connect, Pipeline};
use crate::error::{BoxError, JoinError};
use crate::flow::Continuation;
use crate::flow::sending::{Sender, sender};
use crate::pool::{Accepts, AnyPool};
use crate::sync::clock;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::{Arc, Mutex};

impl<T: Send + 'static> Pipeline<T> {
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
        let (buffer, launch) = (default_buffer(pool), launcher(sender(pool), Ok));
        self.add(Settings::default(), move |position| Stage::new(position, buffer, launch, None))
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
        let check = |result: Result<U, E>| result.map_err(Into::into);
        let (buffer, launch) = (default_buffer(pool), launcher(sender(pool), check));
        self.add(Settings::default(), move |position| Stage::new(position, buffer, launch, None))
    }

    /// Collects items for the next stage: `max` of them in a `Vec`, in their order. A smaller one goes on when its first item came in
    /// `max_delay` ago, or when nothing comes after it (the source has ended, or a stage before has failed). The timer thread keeps the time.
    /// With `Duration::MAX` only the last one is smaller, with zero each goes on as soon as the next stage has room.
    ///
    /// It holds at most `max` items, or [`buffer`](Self::buffer) of them: while a smaller one waits for room in the next stage, it grows.
    /// It counts as a stage in errors and figures, whose unit is the item. The next stage's items, and so its buffer, are batches.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let database = formicary::Pool::new(1)?;
    /// let sizes = formicary::Pipeline::from(0..10)
    ///     .batch(4, Duration::from_secs(60))
    ///     .stage(&database, |rows: Vec<u32>| rows.len())
    ///     .collect::<Vec<_>>()?;
    /// assert_eq!(sizes, [4, 4, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `max` is 0.
    #[track_caller]
    pub fn batch(self, max: usize, max_delay: Duration) -> Pipeline<Vec<T>> {
        assert!(max > 0, "`max` is 0: a batch has at least one item");
        let settings = Settings { least_buffer: max, ..Settings::default() };
        self.add(settings, move |position| BatchStage::new(position, max, max_delay))
    }

    fn closure_stage<P, F, R, U>(self, pool: &P, f: F, check: fn(R) -> Result<U, BoxError>) -> Pipeline<U>
    where
        P: Accepts<Continuation<R>, Output = R>,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Send + 'static,
        U: Send + 'static,
    {
        let buffer = default_buffer(pool);
        let busy = Arc::new(Mutex::new(Duration::ZERO));
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
        let launch = launcher(send, check);
        self.add(Settings::default(), move |position| Stage::new(position, buffer, launch, Some(busy)))
    }

    fn add<U, S>(self, settings: Settings, make: impl FnOnce(Position<U>) -> Arc<S> + Send + 'static) -> Pipeline<U>
    where
        U: Send + 'static,
        S: Inlet<T> + AnyStage + 'static,
    {
        let Pipeline { connect, settings: before, stages: number, options } = self;
        let connect: Connect<U> = Box::new(move |next, settings, parts| {
            let control = Arc::downgrade(&parts.control);
            let submissions = Arc::clone(parts.control.submissions());
            let stage = make(Position { number, settings, next, control, submissions, before: OnceLock::new() });
            parts.stages.push(Arc::clone(&stage) as _);
            let before = connect(Arc::clone(&stage) as _, before, parts);
            stage.set_before(before);
            let outlet: Arc<dyn Outlet> = stage;
            Arc::downgrade(&outlet)
        });
        Pipeline { connect, settings, stages: number + 1, options }
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
