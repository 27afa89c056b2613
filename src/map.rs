//! Iterators whose items go through a pool: in order, as they come, and for nothing but the effect.

use std::convert::Infallible;
use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::cancel::CancelToken;
use crate::dispatch::Dispatch;
use crate::engine::{Engine, Runner};
use crate::error::CallError;
use crate::job::{self, Job};
use crate::pool::{CallTask, Pool};
use crate::pool_with_func::PoolWithFunc;
use crate::slot::{Slot, Ticket};
use crate::stateful::StatefulPool;
use crate::window::{Answer, Door, EngineDoor, Order, Window};
use crate::worker::Worker;

/// An iterator over the results of a pool; made by `map` and `map_unordered` of [`Pool`], [`PoolWithFunc`] and
/// [`StatefulPool`].
///
/// Nothing is pulled or started before the first `next`. Each `next` first pulls from the input, on the caller's thread, until
/// so many items are under way as the [`window`](Self::window) allows or the pool is full, and then hands out one result,
/// blocking until it is there. So an infinite input is no trouble, and results that nobody has asked for stay few.
///
/// Where the pool is full, because its queue is short or others fill it, `next` hands out what is ready all the same. While it has
/// to wait anyway it stands in line with other submitters.
///
/// Dropping it cancels what has not started and tells what runs to stop ([`Handle::cancel`](crate::Handle::cancel)). It does not wait.
///
/// Inside a task of the same pool, `next` runs the awaited task on the spot if nobody has started it. A [`StatefulPool`]'s worker
/// cannot: if no other worker is free to do it, the item fails as `WouldDeadlock`.
///
/// # Panics
/// In `next`: with the task's own panic, at the place of its item. If the pool refuses an item (it was shut down, or is
/// [`nonblocking`](crate::Builder::nonblocking) and full), or if a task that was accepted is cancelled, with the reason. After it
/// the iterator is at its end: the rest is cancelled as if it was dropped, and blocks nobody. [`results`](Self::results) gives
/// all this as errors.
///
/// ```
/// let pool = formicary::Pool::new(4)?;
/// let mut squares = pool.map(1_u64.., |n| n * n);
/// assert_eq!(squares.next(), Some(1));
/// assert!(squares.take(3).eq([4, 9, 16]));
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[must_use = "a map does nothing before its first `next`"]
pub struct Map<'p, I: Iterator, R: Send + 'static>(Results<'p, I, R>);

/// As [`Map`], with an error where there is no result; made by [`Map::results`]. Gives exactly one answer for each item pulled.
///
/// After a refusal nothing more is pulled until it has been handed out; then it goes on, so that a loop may mend the pool or
/// stop.
///
/// ```
/// let pool = formicary::PoolWithFunc::new(1, |n: u32| n + 1)?;
/// pool.shutdown();
/// let mut input = 1..=3;
/// let mut results = pool.map(&mut input).results();
/// assert_eq!(results.next().unwrap().unwrap_err().into_input(), Some(1));
/// drop(results);
/// assert!(input.eq(2..=3));
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[must_use = "a map does nothing before its first `next`"]
pub struct Results<'p, I: Iterator, R: Send + 'static> {
    items: Fuse<I>,
    window: Window<'p, I::Item, R>,
}

impl<'p, I: Iterator, R: Send + 'static> Map<'p, I, R> {
    fn new(items: I, door: impl Door<'p, I::Item, R> + 'p, order: Order) -> Self {
        Map(Results { items: items.fuse(), window: Window::new(door, order) })
    }

    /// How many items may be pulled whose results have not been handed out: at least 1, and 0 counts as 1. Default: twice the pool's
    /// capacity, one item for each worker to be at and one to go on with while the caller is busy with a result.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let mut input = 1..=100;
    /// let first = pool.map(&mut input, |n| 10 * n).window(3).next();
    /// assert_eq!(first, Some(10));
    /// assert_eq!(input.next(), Some(4)); // three were pulled
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn window(mut self, items: usize) -> Self {
        self.0.window.set_most(items);
        self
    }

    /// The same with panics and refusals as errors, which come at their items' places; the other items are not touched.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let results = pool.map([6, 0, 3], |n: u32| 12_u32.checked_div(n).unwrap_or_else(|| std::panic::panic_any("zero")));
    /// let answers: Vec<_> = results.results().map(|result| result.map_err(|error| error.is_panic())).collect();
    /// assert!(matches!(answers[..], [Ok(2), Err(true), Ok(4)]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn results(self) -> Results<'p, I, R> {
        self.0
    }
}

impl<'p, I: Iterator, R: Send + 'static> Results<'p, I, R> {
    #[cfg(feature = "stream")]
    pub(crate) fn into_parts(self) -> (Fuse<I>, Window<'p, I::Item, R>) {
        (self.items, self.window)
    }
}

impl<I: Iterator, R: Send + 'static> Iterator for Results<'_, I, R> {
    type Item = Answer<I::Item, R>;

    fn next(&mut self) -> Option<Self::Item> {
        let Results { items, window } = self;
        loop {
            window.fill(|| items.next());
            if window.is_empty() && !window.enter_held() {
                return None;
            }
            if window.is_inside() {
                if let Some(answer) = window.take() {
                    return Some(answer);
                }
                window.join_oldest();
            } else if let Some(answer) = window.wait() {
                return Some(answer);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.items.size_hint();
        let pulled = self.window.pulled();
        (least.saturating_add(pulled), most.and_then(|most| most.checked_add(pulled)))
    }
}

impl<I: Iterator, R: Send + 'static> FusedIterator for Results<'_, I, R> {}

/// Passes a panic on, and makes one of any other failure.
fn raise<T>(error: CallError<T>) -> ! {
    match error {
        CallError::Failed(error) => match error.into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(error) => panic!("an item has no result: {error}"),
        },
        CallError::Refused(refusal) => panic!("an item was refused: {refusal}"),
    }
}

impl<I: Iterator, R: Send + 'static> Iterator for Map<'_, I, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        match self.0.next()? {
            Ok(result) => Some(result),
            Err(error) => {
                self.0.window.close();
                raise(error)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<I: Iterator, R: Send + 'static> FusedIterator for Map<'_, I, R> {}

impl<I: Iterator, R: Send + 'static> fmt::Debug for Map<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("pulled", &self.0.window.pulled()).finish_non_exhaustive()
    }
}

impl<I: Iterator, R: Send + 'static> fmt::Debug for Results<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("pulled", &self.window.pulled()).finish_non_exhaustive()
    }
}

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

    pub(crate) fn door<T, F, R>(&self, f: F, token: Option<CancelToken>) -> impl Door<'_, T, R>
    where
        T: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let f = Arc::new(f);
        EngineDoor::<'_, CallTask, D, T, (Arc<F>, T), _> {
            engine: &self.engine,
            make: move |item| self.slot((Arc::clone(&f), item), |(f, item), _| f(item), false, token.as_ref()),
            item: |(_, item)| item,
        }
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

/// The door of a pool whose payloads are its items.
pub(crate) fn payload_door<'p, E, D, T, R>(engine: &'p Arc<Engine<E, D>>) -> impl Door<'p, T, R>
where
    E: Runner<Item = Job<T, R>>,
    D: Dispatch,
    T: Send + 'static,
    R: Send + 'static,
{
    let make = |item| {
        let slot = Slot::new(item, job::terms(engine.id(), false, None));
        let task = Job::Answered(Ticket::new(&slot));
        (slot, task)
    };
    EngineDoor { engine, make, item: |item| item }
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
