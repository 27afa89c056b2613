//! What a builder sets about the end of a pool.

use super::builder::Builder;
use crate::engine::options::{OnClose, OnDrop};
use crate::queue::Dispatch;

impl<K, D: Dispatch> Builder<K, D> {
    /// What dropping the pool does with its tasks, and whether it waits. Default: [`OnDrop::Drain`].
    ///
    /// ```
    /// use formicary::{OnDrop, Pool};
    ///
    /// let pool = Pool::builder().workers(1).on_drop(OnDrop::Detach).build()?;
    /// pool.submit(|| loop { std::thread::park() })?;
    /// drop(pool); // does not wait
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.options.on_drop = on_drop;
        self
    }

    /// What becomes of tasks whose time has not come when the pool is closed. Default: [`OnClose::Return`].
    ///
    /// ```
    /// use formicary::{OnClose, Pool};
    ///
    /// let pool = Pool::builder().workers(1).on_close(OnClose::Drop).build()?;
    /// let late = pool.with().after(std::time::Duration::from_secs(3600));
    /// late.submit(|| println!("never"))?;
    /// assert!(pool.shutdown_now().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_close(mut self, on_close: OnClose) -> Self {
        self.options.on_close = on_close;
        self
    }
}
