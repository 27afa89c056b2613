//! Iterators whose items go through a pool, in order or as they come.

mod for_each;
mod pools;

use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::panic::resume_unwind;

use crate::error::{CallError, Chain};
use crate::window::{Answer, Door, Order, Window};

#[cfg(feature = "stream")]
pub(crate) use pools::payload_door;

/// An iterator over the results of a pool; made by `map` and `map_unordered` of [`Pool`](crate::Pool),
/// [`PoolWithFunc`](crate::PoolWithFunc) and [`StatefulPool`](crate::StatefulPool).
///
/// Nothing is pulled or started before the first `next`. Each `next` hands out the next result if it is there. Otherwise it pulls from
/// the input, on the caller's thread, until that result has come, or as many items are under way as the [`window`](Self::window)
/// allows, or the pool is full; then it blocks until the result is there. So an infinite input is no trouble, results that nobody has
/// asked for stay few, and a result that is ready never waits for an input that is slow, as a channel's receiver may be.
///
/// An input that blocks does so in the middle of `next`, and nothing else is seen meanwhile: a result, a failure, or the end of the
/// pool is found when the input speaks again. Where that is too late, let it give up after a time (`recv_timeout`).
///
/// While the caller is at a result nothing is pulled; the workers go on with what the window holds. Make it larger where the caller
/// is slow by turns.
///
/// Where the pool is full, because its queue is short or others fill it, `next` hands out what is ready all the same. While it has
/// to wait anyway it stands in line with other submitters.
///
/// Dropping it cancels what has not started and tells what runs to stop ([`Handle::cancel`](crate::Handle::cancel)). It does not wait.
///
/// Inside a task of the same pool, `next` runs the awaited task on the spot if nobody has started it. A
/// [`StatefulPool`](crate::StatefulPool)'s worker cannot: if no other worker is free to do it, the item fails as
/// `WouldDeadlock`.
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

    /// How many items may be pulled whose results have not been handed out: at least 1. Default: twice the pool's
    /// capacity, one item for each worker to be at and one to go on with while the caller is busy with a result.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let mut input = 1..=100;
    /// let first = pool.map(&mut input, |n| 10 * n).window(1).next();
    /// assert_eq!(first, Some(10));
    /// assert_eq!(input.next(), Some(2)); // one was pulled
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// If `items` is 0.
    #[track_caller]
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
            if let Some(answer) = window.fill(|| items.next()) {
                return Some(answer);
            }
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
            Err(error) => panic!("an item has no result: {}", Chain(&error)),
        },
        CallError::Refused(refusal) => panic!("an item was refused: {}", Chain(&refusal.map(drop))),
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
