//! The figures of a pipeline, seen from elsewhere.

use std::fmt;

use super::control::Control;
use super::stats::PipelineStats;
use crate::sync::{Arc, OnceLock};

/// A view of the figures of a pipeline that runs elsewhere; made by [`Pipeline::monitor`](crate::Pipeline::monitor).
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
pub struct PipelineMonitor(pub(super) Arc<OnceLock<Arc<Control>>>);

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
