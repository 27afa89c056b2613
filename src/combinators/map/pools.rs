//! `map` of each kind of pool.

use std::ops::Deref;
use std::sync::Arc;

use super::Map;
use crate::cancel::CancelToken;
use crate::combinators::map::window::{EngineSubmitter, Order, Owned, Submitter};
use crate::engine::{Engine, Runner};
use crate::pool::examples::square;
use crate::pool::{CallTask, Pool, PoolWithFunc, StatefulPool, answered};
use crate::queue::Dispatch;
use crate::task::job::Job;
use crate::task::state::{Run, TaskMeta, TaskRef, TaskState};
use crate::task::worker::Worker;

impl<D: Dispatch> Pool<D> {
    /// Calls `f` on the items of an iterator, on the workers, several at a time. Returns an iterator over the results, in the order of the
    /// items. See [`Map`] for how far it pulls ahead, for panics, and for its end.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let lengths: Vec<usize> = pool.map(["an", "ant", "nest"], str::len).collect();
    /// assert_eq!(lengths, [2, 3, 4]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("par_iter", "imap"))]
    pub fn map<I, F, R>(&self, items: I, f: F) -> Map<'_, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map::new(items.into_iter(), self.submitter(f, None), Order::Input)
    }

    /// As [`map`](Self::map), with the results in the order in which they are ready: a slow item does not hold up those behind it.
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
    #[doc(alias("imap_unordered"))]
    pub fn map_unordered<I, F, R>(&self, items: I, f: F) -> Map<'_, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map::new(items.into_iter(), self.submitter(f, None), Order::End)
    }

    /// As [`map`](Self::map), but the map shares ownership of the pool instead of borrowing it. So it can be returned, stored, and sent to
    /// another thread.
    ///
    /// The pool lives at least as long as the map. If the map is the last owner, dropping it drops the pool, which ends as
    /// [`Builder::on_drop`](crate::Builder::on_drop) says.
    ///
    /// ```
    /// use formicary::{Map, Pool};
    /// use std::sync::Arc;
    ///
    /// fn lengths(words: Vec<String>) -> Result<impl Iterator<Item = usize> + Send, formicary::BuildError> {
    ///     let pool = Arc::new(Pool::new(4)?);
    ///     Ok(pool.map_owned(words, |word| word.len()))
    /// }
    /// assert!(lengths(vec!["ant".into(), "nest".into()])?.eq([3, 4]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_owned<I, F, R>(self: &Arc<Self>, items: I, f: F) -> Map<'static, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map::new(items.into_iter(), closure_submitter(Owned(Arc::clone(self)), f, None), Order::Input)
    }

    /// As [`map_unordered`](Self::map_unordered), but the map shares ownership of the pool; see [`map_owned`](Self::map_owned).
    ///
    /// ```
    /// let pool = std::sync::Arc::new(formicary::Pool::new(4)?);
    /// let squares = pool.map_unordered_owned(1..=3_u64, |n| n * n);
    /// drop(pool);
    /// assert_eq!(squares.sum::<u64>(), 14);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_unordered_owned<I, F, R>(self: &Arc<Self>, items: I, f: F) -> Map<'static, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map::new(items.into_iter(), closure_submitter(Owned(Arc::clone(self)), f, None), Order::End)
    }

    pub(crate) fn submitter<T, F, R>(&self, f: F, token: Option<CancelToken>) -> impl Submitter<'_, T, R>
    where
        T: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        closure_submitter(&self.engine, f, token)
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// Calls the bound function with the items of an iterator, several at a time. Returns an iterator over the results, in the order of the
    /// items. See [`Map`] for how far it pulls ahead, for panics, and for its end.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(4, |n: u64| n * n)?;
    /// assert!(pool.map(1..=3).eq([1, 4, 9]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map<I: IntoIterator<Item = T>>(&self, items: I) -> Map<'_, I::IntoIter, R> {
        Map::new(items.into_iter(), payload_submitter(&self.engine), Order::Input)
    }

    /// As [`map`](Self::map), with the results in the order in which they are ready.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(4, |n: u64| n * n)?;
    /// assert_eq!(pool.map_unordered(1..=3).sum::<u64>(), 14);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_unordered<I: IntoIterator<Item = T>>(&self, items: I) -> Map<'_, I::IntoIter, R> {
        Map::new(items.into_iter(), payload_submitter(&self.engine), Order::End)
    }

    /// As [`map`](Self::map), but the map shares ownership of the pool; see [`Pool::map_owned`].
    ///
    /// ```
    /// let pool = std::sync::Arc::new(formicary::PoolWithFunc::new(4, |n: u64| n * n)?);
    /// let outputs = pool.map_owned(1..=3);
    /// drop(pool);
    /// assert!(outputs.eq([1, 4, 9]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_owned<I: IntoIterator<Item = T>>(self: &Arc<Self>, items: I) -> Map<'static, I::IntoIter, R> {
        Map::new(items.into_iter(), payload_submitter(Owned(Arc::clone(self))), Order::Input)
    }

    /// As [`map_unordered`](Self::map_unordered), but the map shares ownership of the pool; see [`Pool::map_owned`].
    ///
    /// ```
    /// let pool = std::sync::Arc::new(formicary::PoolWithFunc::new(4, |n: u64| n * n)?);
    /// assert_eq!(pool.map_unordered_owned(1..=3).sum::<u64>(), 14);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_unordered_owned<I: IntoIterator<Item = T>>(self: &Arc<Self>, items: I) -> Map<'static, I::IntoIter, R> {
        Map::new(items.into_iter(), payload_submitter(Owned(Arc::clone(self))), Order::End)
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Has the workers process the items of an iterator, several at a time. Returns an iterator over the outputs, in the order of the
    /// items. See [`Map`] for how far it pulls ahead, for panics, and for its end.
    ///
    /// ```
    #[doc = square!()]
    /// let pool = StatefulPool::new(2, |_worker| Ok(Square))?;
    /// assert!(pool.map(1..=3).eq([1, 4, 9]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map<I: IntoIterator<Item = W::Input>>(&self, items: I) -> Map<'_, I::IntoIter, W::Output> {
        Map::new(items.into_iter(), payload_submitter(&self.engine), Order::Input)
    }

    /// As [`map`](Self::map), with the outputs in the order in which they are ready.
    ///
    /// ```
    #[doc = square!()]
    /// let pool = StatefulPool::new(2, |_worker| Ok(Square))?;
    /// assert_eq!(pool.map_unordered(1..=3).sum::<u64>(), 14);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_unordered<I: IntoIterator<Item = W::Input>>(&self, items: I) -> Map<'_, I::IntoIter, W::Output> {
        Map::new(items.into_iter(), payload_submitter(&self.engine), Order::End)
    }

    /// As [`map`](Self::map), but the map shares ownership of the pool; see [`Pool::map_owned`].
    ///
    /// ```
    #[doc = square!()]
    /// let pool = std::sync::Arc::new(StatefulPool::new(2, |_worker| Ok(Square))?);
    /// let outputs = pool.map_owned(1..=3);
    /// drop(pool);
    /// assert!(outputs.eq([1, 4, 9]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_owned<I: IntoIterator<Item = W::Input>>(
        self: &Arc<Self>,
        items: I,
    ) -> Map<'static, I::IntoIter, W::Output> {
        Map::new(items.into_iter(), payload_submitter(Owned(Arc::clone(self))), Order::Input)
    }

    /// As [`map_unordered`](Self::map_unordered), but the map shares ownership of the pool; see [`Pool::map_owned`].
    ///
    /// ```
    #[doc = square!()]
    /// let pool = std::sync::Arc::new(StatefulPool::new(2, |_worker| Ok(Square))?);
    /// assert_eq!(pool.map_unordered_owned(1..=3).sum::<u64>(), 14);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_unordered_owned<I: IntoIterator<Item = W::Input>>(
        self: &Arc<Self>,
        items: I,
    ) -> Map<'static, I::IntoIter, W::Output> {
        Map::new(items.into_iter(), payload_submitter(Owned(Arc::clone(self))), Order::End)
    }
}

/// Submits items to a pool of closures, each with a call of `f`.
pub(crate) fn closure_submitter<'p, G, D, T, F, R>(
    engine: G,
    f: F,
    token: Option<CancelToken>,
) -> impl Submitter<'p, T, R>
where
    G: Deref<Target = Arc<Engine<CallTask, D>>> + Clone + Send + Sync + 'p,
    D: Dispatch,
    T: Send + 'static,
    F: Fn(T) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    let (f, pool) = (Arc::new(f), engine.clone());
    let make = move |item| {
        let run: Run<(Arc<F>, T), R> = |(f, item), _| f(item);
        let meta = TaskMeta { token: token.clone(), run_here: Some(run), ..pool.task_meta() };
        answered((Arc::clone(&f), item), run, meta)
    };
    EngineSubmitter { engine, make, item: |(_, item)| item }
}

/// Submits items to a pool whose payloads they are.
pub(crate) fn payload_submitter<'p, G, E, D, T, R>(engine: G) -> impl Submitter<'p, T, R>
where
    G: Deref<Target = Arc<Engine<E, D>>> + Clone + Send + Sync + 'p,
    E: Runner<Item = Job<T, R>>,
    D: Dispatch,
    T: Send + 'static,
    R: Send + 'static,
{
    let pool = engine.clone();
    let make = move |item| {
        let task_state = TaskState::new(item, pool.task_meta());
        let task = Job::answered(TaskRef::new(&task_state));
        (task_state, task)
    };
    EngineSubmitter { engine, make, item: |item| item }
}
