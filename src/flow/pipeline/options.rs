//! Options of the last stage, and of the whole pipeline.

use super::{OnError, Pipeline, PipelineMonitor};
use crate::cancel::CancelToken;

impl<T: Send + 'static> Pipeline<T> {
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
    /// capacity that its pool has now, or one [`batch`](Self::batch). More of them even out items that take long, fewer take less memory.
    ///
    /// With 1, the stage processes an item after the other, in the order in which the stage before passes them on. With more, tasks of a pool
    /// start in another order at times, whatever its number of workers.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let pipeline = formicary::Pipeline::from(0..100).stage(&pool, |n: u32| n).buffer(1);
    /// assert_eq!(pipeline.collect::<Vec<_>>()?.len(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `items` is 0, or less than the `max` of a batch.
    #[track_caller]
    pub fn buffer(mut self, items: usize) -> Self {
        let least = self.settings.least_buffer;
        assert!(items >= least, "`items` is {items}: this stage holds at least {least}");
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
}
