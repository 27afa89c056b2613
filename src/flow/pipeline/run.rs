//! Runs a pipeline.

use std::task::Wake;

use super::control::Control;
use super::error::{Failure, PipelineError};
use super::output::{Output, PipelineResults};
use super::source::Source;
use super::{Parts, Pipeline};
use crate::sync::Arc;
use crate::sync::detached_future::DetachedFuture;

impl<T: Send + 'static> Pipeline<T> {
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
