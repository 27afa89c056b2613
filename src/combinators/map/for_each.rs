//! Iterators whose items are processed by a pool for the effect only.

use std::convert::Infallible;

use super::{Map, Results, panic_with};
use crate::cancel::CancelToken;
use crate::combinators::map::window::Order;
use crate::error::CallError;
use crate::pool::{Pool, PoolWithFunc, StatefulPool};
use crate::queue::Dispatch;
use crate::task::worker::Worker;

impl<D: Dispatch> Pool<D> {
    /// Calls `f` on every item of an iterator, on the workers, and blocks until all are done. Pulls ahead as [`map`](Self::map) does.
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
    /// With the first panic in `f`. From then on no item starts, and running ones are waited for. In the same way, with the reason, if the
    /// pool refuses an item or gives one back.
    #[doc(alias("par_iter", "par_for_each"))]
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

    /// As [`for_each`](Self::for_each), until `f` returns an error. From then on no item starts and nothing is pulled, and running items
    /// are waited for. If the input blocks, a failure is noticed when the input returns.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let failed = pool.try_for_each(1.., |n: u32| if n == 1000 { Err(n) } else { Ok(()) });
    /// assert_eq!(failed, Err(1000));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// The first error in time. Later ones are dropped.
    ///
    /// # Panics
    /// As `for_each`, if the panic came first.
    pub fn try_for_each<I, F, E>(&self, items: I, f: F) -> Result<(), E>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> Result<(), E> + Send + Sync + 'static,
        E: Send + 'static,
    {
        let token = CancelToken::new();
        let failure = token.clone();
        let f = move |item| {
            let mut cancel = CancelOnDrop(Some(&failure));
            let result = f(item);
            if result.is_ok() {
                cancel.0 = None;
            }
            result
        };
        let mut items = items.into_iter();
        let until_failure = std::iter::from_fn(|| if token.is_cancelled() { None } else { items.next() });
        run_to_end(
            Map::new(until_failure, self.submitter(f, Some(token.clone())), Order::End),
            Some(&token),
            |result| result,
        )
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// Calls the bound function with every item of an iterator, drops the results, and blocks until all are done. Pulls ahead as
    /// [`map`](Self::map) does. Until the calling thread notices a failure, items that are already pulled may start: up to twice the pool's
    /// capacity.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    ///
    /// let sum = Arc::new(AtomicU64::new(0));
    /// let total = sum.clone();
    /// let pool = formicary::PoolWithFunc::new(4, move |n| { total.fetch_add(n, Relaxed); })?;
    /// pool.for_each(1..=100);
    /// assert_eq!(sum.load(Relaxed), 5050);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// With the first panic of the function. Then nothing more is pulled, items that have not started are cancelled, and running ones are
    /// waited for. In the same way, with the reason, if the pool refuses an item or gives one back.
    pub fn for_each<I: IntoIterator<Item = T>>(&self, items: I) {
        run_all_to_end(self.map_unordered(items));
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static, E: Send + 'static> PoolWithFunc<T, D, Result<R, E>> {
    /// As [`for_each`](Self::for_each), until the function returns an error. Then nothing more is pulled, items that have not started are
    /// cancelled, and running ones are waited for. If the input blocks, a failure is noticed when the input returns.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(4, |n: u32| if n == 1000 { Err(n) } else { Ok(()) })?;
    /// assert_eq!(pool.try_for_each(1..), Err(1000));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// The first error in time. Later ones are dropped.
    ///
    /// # Panics
    /// As `for_each`, if the panic came first.
    pub fn try_for_each<I: IntoIterator<Item = T>>(&self, items: I) -> Result<(), E> {
        run_to_end(self.map_unordered(items), None, |result| result.map(drop))
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Has the workers process every item of an iterator, drops the outputs, and blocks until all are done. Pulls ahead as
    /// [`map`](Self::map) does. Until the calling thread notices a failure, items that are already pulled may start: up to twice the pool's
    /// capacity.
    ///
    /// ```
    /// use formicary::{Context, StatefulPool, Worker};
    ///
    /// struct Adder { sum: u64 }
    /// impl Worker for Adder {
    ///     type Input = u64;
    ///     type Output = ();
    ///     fn process(&mut self, n: u64, _: &Context<'_>) { self.sum += n }
    /// }
    /// let pool = StatefulPool::builder(|_worker| Ok(Adder { sum: 0 })).workers(2).min_workers(2).build()?;
    /// pool.for_each(1..=100);
    /// let sums = pool.broadcast(|adder| adder.sum).unwrap();
    /// assert_eq!(sums.into_iter().filter_map(|(_worker, sum)| sum.ok()).sum::<u64>(), 5050);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// With the first panic of a worker. Then nothing more is pulled, items that have not started are cancelled, and running ones are
    /// waited for. In the same way, with the reason, if the pool refuses an item or gives one back, or if this is called from a task of the
    /// same pool and no other worker is free.
    pub fn for_each<I: IntoIterator<Item = W::Input>>(&self, items: I) {
        run_all_to_end(self.map_unordered(items));
    }

    /// As [`for_each`](Self::for_each), until a worker's output is an error. Then nothing more is pulled, items that have not started are
    /// cancelled, and running ones are told to stop and waited for. If the input blocks, a failure is noticed when the input returns.
    ///
    /// ```
    /// use formicary::{Context, StatefulPool, Worker};
    ///
    /// struct Picky;
    /// impl Worker for Picky {
    ///     type Input = u32;
    ///     type Output = Result<(), u32>;
    ///     fn process(&mut self, n: u32, _: &Context<'_>) -> Result<(), u32> { if n == 1000 { Err(n) } else { Ok(()) } }
    /// }
    /// let pool = StatefulPool::new(4, |_worker| Ok(Picky))?;
    /// assert_eq!(pool.try_for_each(1..), Err(1000));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// The first error in time. Later ones are dropped.
    ///
    /// # Panics
    /// As `for_each`, if the panic came first.
    pub fn try_for_each<I, R, E>(&self, items: I) -> Result<(), E>
    where
        I: IntoIterator<Item = W::Input>,
        W: Worker<Output = Result<R, E>>,
        R: Send + 'static,
        E: Send + 'static,
    {
        run_to_end(self.map_unordered(items), None, |result| result.map(drop))
    }
}

/// Runs a map for the effect, until `check` fails for a result. Then it waits for the running tasks. Tasks that fail cancel `token`.
fn run_to_end<I: Iterator, R: Send + 'static, E>(
    map: Map<'_, I, R>,
    token: Option<&CancelToken>,
    check: impl Fn(R) -> Result<(), E>,
) -> Result<(), E> {
    let mut all = DrainOnDrop(map.results());
    for answer in all.0.by_ref() {
        match answer {
            Ok(output) => check(output)?,
            // It did not start because of a failure whose result comes later.
            Err(CallError::Failed(error)) if error.is_cancelled() && token.is_some_and(CancelToken::is_cancelled) => {}
            Err(error) => {
                drop(all);
                panic_with(error);
            }
        }
    }
    Ok(())
}

/// As [`run_to_end`], where no result is a failure.
fn run_all_to_end<I: Iterator, R: Send + 'static>(map: Map<'_, I, R>) {
    let done: Result<(), Infallible> = run_to_end(map, None, |output| {
        drop(output);
        Ok(())
    });
    let Ok(()) = done;
}

/// Cancels the token on drop, unless it was taken out: on an error, and on a panic.
struct CancelOnDrop<'a>(Option<&'a CancelToken>);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.0 {
            token.cancel();
        }
    }
}

/// Waits for the running tasks on drop, also if the input panics.
struct DrainOnDrop<'p, I: Iterator, R: Send + 'static>(Results<'p, I, R>);

impl<I: Iterator, R: Send + 'static> Drop for DrainOnDrop<'_, I, R> {
    fn drop(&mut self) {
        self.0.window.drain();
    }
}
