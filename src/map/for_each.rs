//! Iterators whose items go through a pool for nothing but the effect.

use std::convert::Infallible;

use super::{Map, Results, raise};
use crate::cancel::CancelToken;
use crate::dispatch::Dispatch;
use crate::error::CallError;
use crate::pool::Pool;
use crate::window::Order;

impl<D: Dispatch> Pool<D> {
    /// Calls `f` on every item of an iterator, on the workers, and blocks until all are done. Pulls ahead as [`map`](Self::map)
    /// does.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    ///
    /// let pool = formicary::Pool::new(4)?;
    /// let sum = Arc::new(AtomicU64::new(0));
    /// let total = sum.clone();
    /// pool.for_each(1..=100, move |n| { total.fetch_add(n, Relaxed); });
    /// assert_eq!(sum.load(Relaxed), 5050);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// With the first panic in `f`: from then on no item starts, and what runs is waited for. In the same way if the pool
    /// refuses an item or gives one back, with the reason.
    pub fn for_each<I, F>(&self, items: I, f: F)
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) + Send + Sync + 'static,
    {
        let done: Result<(), Infallible> = self.try_for_each(items, move |item| {
            f(item);
            Ok(())
        });
        let Ok(()) = done;
    }

    /// As [`for_each`](Self::for_each), until `f` fails: from then on no item starts and nothing more is pulled, and what runs is
    /// waited for.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let failed = pool.try_for_each(1.., |n: u32| if n == 1000 { Err(n) } else { Ok(()) });
    /// assert_eq!(failed, Err(1000));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// The first error in time, if there are several; the others are dropped.
    ///
    /// # Panics
    /// As `for_each`, if a panic came first.
    pub fn try_for_each<I, F, E>(&self, items: I, f: F) -> Result<(), E>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> Result<(), E> + Send + Sync + 'static,
        E: Send + 'static,
    {
        let token = CancelToken::new();
        let fuse = token.clone();
        let f = move |item| {
            let mut fuse = CancelOnDrop(Some(&fuse));
            let result = f(item);
            if result.is_ok() {
                fuse.0 = None;
            }
            result
        };
        let mut items = items.into_iter();
        let live = std::iter::from_fn(|| if token.is_cancelled() { None } else { items.next() });
        let mut all = WoundUp(Map::new(live, self.door(f, Some(token.clone())), Order::End).results());
        for answer in all.0.by_ref() {
            match answer {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                // It did not start because of a failure that is on its way.
                Err(CallError::Failed(error)) if error.is_cancelled() && token.is_cancelled() => {}
                Err(error) => {
                    drop(all);
                    raise(error);
                }
            }
        }
        Ok(())
    }
}

/// Cancels the token when dropped with it: on an error, and on a panic.
struct CancelOnDrop<'a>(Option<&'a CancelToken>);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.0 {
            token.cancel();
        }
    }
}

/// Waits for what runs when dropped, also if the input panics.
struct WoundUp<'p, I: Iterator, R: Send + 'static>(Results<'p, I, R>);

impl<I: Iterator, R: Send + 'static> Drop for WoundUp<'_, I, R> {
    fn drop(&mut self) {
        self.0.window.wind_up();
    }
}
