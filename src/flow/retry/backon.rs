//! Policies of the crate `backon` (feature `backon`).

use backon::BackoffBuilder;

use super::policy::Retry;

impl<E> Retry<E> {
    /// Waits as a policy of the crate [`backon`] says, and gives up when it does. Needs the feature `backon`.
    ///
    /// Its delays, their number, and its jitter are the builder's. What is set here as well applies on top.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backon::ConstantBuilder;
    /// use formicary::{Pool, Retry};
    ///
    /// let pool = Pool::new(1)?;
    /// let policy = Retry::backon(ConstantBuilder::new().with_delay(Duration::from_millis(1)).with_max_times(2));
    /// let error = pool.retrying(policy).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!(error.attempts(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backon<B>(builder: B) -> Self
    where
        B: BackoffBuilder + Clone + 'static,
        B::Backoff: 'static,
    {
        Self::from_fn(move || Box::new(builder.clone().build()))
    }
}
