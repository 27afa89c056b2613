//! What maps each kind of pool: closures by a function, the others by what their workers do.

use std::sync::Arc;

use super::Map;
use crate::cancel::CancelToken;
use crate::dispatch::Dispatch;
use crate::engine::{Engine, Runner};
use crate::job::Job;
use crate::pool::{CallTask, Pool, PoolWithFunc, StatefulPool, answered};
use crate::slot::{Run, Slot, Terms, Ticket};
use crate::window::{Door, EngineDoor, Order};
use crate::worker::Worker;

impl<D: Dispatch> Pool<D> {
    /// Calls `f` on the items of an iterator, on the workers, several at a time; the results come in the order of the items. See
    /// [`Map`] for how far ahead it works, for panics, and for its end.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let lengths: Vec<usize> = pool.map(["an", "ant", "nest"], str::len).collect();
    /// assert_eq!(lengths, [2, 3, 4]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map<I, F, R>(&self, items: I, f: F) -> Map<'_, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map::new(items.into_iter(), self.door(f, None), Order::Input)
    }

    /// As [`map`](Self::map), with the results as they come: a slow item does not hold up those behind it.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    ///
    /// let pool = formicary::Pool::new(2)?;
    /// let (go, gate) = channel::<()>();
    /// let gate = std::sync::Mutex::new(gate);
    /// let mut results = pool.map_unordered([1, 2], move |n| {
    ///     if n == 1 {
    ///         gate.lock().unwrap().recv().unwrap();
    ///     }
    ///     n
    /// });
    /// assert_eq!(results.next(), Some(2));
    /// go.send(())?;
    /// assert_eq!(results.next(), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_unordered<I, F, R>(&self, items: I, f: F) -> Map<'_, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map::new(items.into_iter(), self.door(f, None), Order::End)
    }

    pub(crate) fn door<T, F, R>(&self, f: F, token: Option<CancelToken>) -> impl Door<'_, T, R>
    where
        T: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let f = Arc::new(f);
        EngineDoor::<'_, CallTask, D, T, (Arc<F>, T), _> {
            engine: &self.engine,
            make: move |item| {
                let terms = Terms { token: token.clone(), ..Terms::new(self.engine.id()) };
                let run: Run<(Arc<F>, T), R> = |(f, item), _| f(item);
                answered((Arc::clone(&f), item), run, Terms { run_here: Some(run), ..terms })
            },
            item: |(_, item)| item,
        }
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// Gives the items of an iterator to the bound function, several at a time; the answers come in the order of the items. See
    /// [`Map`] for how far ahead it works, for panics, and for its end.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(4, |n: u64| n * n)?;
    /// assert!(pool.map(1..=3).eq([1, 4, 9]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map<I: IntoIterator<Item = T>>(&self, items: I) -> Map<'_, I::IntoIter, R> {
        Map::new(items.into_iter(), payload_door(&self.engine), Order::Input)
    }

    /// As [`map`](Self::map), with the answers as they come.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(4, |n: u64| n * n)?;
    /// assert_eq!(pool.map_unordered(1..=3).sum::<u64>(), 14);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_unordered<I: IntoIterator<Item = T>>(&self, items: I) -> Map<'_, I::IntoIter, R> {
        Map::new(items.into_iter(), payload_door(&self.engine), Order::End)
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Gives the items of an iterator to the workers, several at a time; the outputs come in the order of the items. See
    /// [`Map`] for how far ahead it works, for panics, and for its end.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::new(2, |_worker| Ok(Double))?;
    /// assert!(pool.map(1..=3).eq([2, 4, 6]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map<I: IntoIterator<Item = W::Input>>(&self, items: I) -> Map<'_, I::IntoIter, W::Output> {
        Map::new(items.into_iter(), payload_door(&self.engine), Order::Input)
    }

    /// As [`map`](Self::map), with the outputs as they come.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::new(2, |_worker| Ok(Double))?;
    /// assert_eq!(pool.map_unordered(1..=3).sum::<u64>(), 12);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_unordered<I: IntoIterator<Item = W::Input>>(&self, items: I) -> Map<'_, I::IntoIter, W::Output> {
        Map::new(items.into_iter(), payload_door(&self.engine), Order::End)
    }
}

/// The door of a pool whose payloads are its items.
pub(crate) fn payload_door<'p, E, D, T, R>(engine: &'p Arc<Engine<E, D>>) -> impl Door<'p, T, R>
where
    E: Runner<Item = Job<T, R>>,
    D: Dispatch,
    T: Send + 'static,
    R: Send + 'static,
{
    let make = |item| {
        let slot = Slot::new(item, Terms::new(engine.id()));
        let task = Job::Answered(Ticket::new(&slot));
        (slot, task)
    };
    EngineDoor { engine, make, item: |item| item }
}
