//! Iterators whose items are processed by a pool, in order or as they are done.

mod for_each;
mod pools;
#[cfg(feature = "stream")]
pub(crate) mod stream;
mod window;

use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use crate::combinators::map::window::{Answer, Order, Submitter, Window};
use crate::error::{CallError, Chain};
use crate::sync::clock::{self, deadline};

#[cfg(feature = "stream")]
pub(crate) use pools::{closure_submitter, payload_submitter};

/// An iterator over the results of a pool. It is made by `map` and `map_unordered` of [`Pool`](crate::Pool),
/// [`PoolWithFunc`](crate::PoolWithFunc) and [`StatefulPool`](crate::StatefulPool). `map_owned` and `map_unordered_owned` make one that
/// shares ownership of the pool and borrows nothing.
///
/// Nothing is pulled or started before the first `next`. Each `next` returns the next result if it is ready. Otherwise it pulls from the
/// input, on the caller's thread, until the result is ready, the [`window`](Self::window) is full, or the pool is full; then it blocks
/// until the result is ready. So the input may be infinite, the number of stored results is bounded, and a result that is ready does not
/// wait for a slow input.
///
/// An input that blocks does so inside `next`, which meanwhile sees no result, no failure, and no end of the pool. Where that is too late,
/// use an input that gives up after a time (`recv_timeout`).
///
/// While the caller handles a result, nothing is pulled, and the workers go on with the items in the window. Enlarge the window if the
/// caller is slow at times.
///
/// If the pool is full, `next` still returns a result that is ready. While it has to wait, it also waits for room, in the pool's wait
/// queue.
///
/// Dropping it cancels tasks that have not started, and tells running ones to stop ([`Handle::cancel`](crate::Handle::cancel)). It does not
/// wait.
///
/// Inside a task of the same pool, `next` runs the awaited task on the calling thread if it has not started. A worker of a
/// [`StatefulPool`](crate::StatefulPool) cannot: if no other worker is free, the item fails as `WouldDeadlock`.
///
/// # Panics
/// In `next`: with the task's own panic, at the position of its item; or, with the reason, if the pool refuses an item (it was shut down,
/// or is [`nonblocking`](crate::Builder::nonblocking) and full) or an accepted task is cancelled. After that the iterator is at its end,
/// and the rest is cancelled as by a drop. [`results`](Self::results) returns errors instead.
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

/// As [`Map`], with an error where there is no result; made by [`Map::results`]. It yields exactly one result for each item pulled.
///
/// After a refusal nothing is pulled until the refusal has been returned. Then it goes on, so a loop may restart the pool or stop.
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
    fn new(items: I, submitter: impl Submitter<'p, I::Item, R> + 'p, order: Order) -> Self {
        Map(Results { items: items.fuse(), window: Window::new(submitter, order) })
    }

    /// How many items may be pulled whose results have not been returned: at least 1. Default: twice the pool's capacity, so that each
    /// worker has an item to run and one to go on with while the caller handles a result.
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

    /// The same with panics and refusals as errors, at the positions of their items. Other items are not affected.
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

impl<I: Iterator, R: Send + 'static> Results<'_, I, R> {
    /// As `next`, for at most `limit`. `None`: the next answer has not come in this time. `Some(None)`: the map is at its end.
    ///
    /// An answer that is there is handed out whatever the limit. The limit is for the wait for an answer and for room in the pool; an
    /// input that blocks takes its time. On a worker of the pool it can take longer than `limit`, as [`Handle::join_timeout`] does.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let mut results = pool.map([7], |n: u32| n + 1).results();
    /// assert!(results.next_timeout(Duration::from_millis(1)).is_none());
    /// drop(pause);
    /// assert_eq!(results.next_timeout(Duration::from_secs(60)).unwrap().unwrap()?, 8);
    /// assert!(matches!(results.next_timeout(Duration::ZERO), Some(None)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`Handle::join_timeout`]: crate::Handle::join_timeout
    #[must_use = "it takes an answer, if there is one"]
    pub fn next_timeout(&mut self, limit: Duration) -> Option<Option<Answer<I::Item, R>>> {
        self.next_until(deadline(limit))
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Option<Option<Answer<I::Item, R>>> {
        let Results { items, window } = self;
        loop {
            if let Some(answer) = window.fill(|| items.next()) {
                return Some(Some(answer));
            }
            let is_late = deadline.is_some_and(|deadline| clock::now() >= deadline);
            if window.is_empty() {
                if is_late && window.pulled() > 0 {
                    return None;
                }
                if !window.enter_held(deadline) {
                    return Some(None);
                }
            } else if is_late {
                return None;
            }
            if window.is_inside() {
                if let Some(answer) = window.take() {
                    return Some(Some(answer));
                }
                window.join_oldest(deadline);
            } else if let Some(answer) = window.wait(deadline) {
                return Some(Some(answer));
            }
        }
    }
}

impl<I: Iterator, R: Send + 'static> Iterator for Results<'_, I, R> {
    type Item = Answer<I::Item, R>;

    fn next(&mut self) -> Option<Self::Item> {
        // `None` means that the time is up, which cannot happen without a deadline.
        self.next_until(None).flatten()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.items.size_hint();
        let pulled = self.window.pulled();
        (least.saturating_add(pulled), most.and_then(|most| most.checked_add(pulled)))
    }
}

impl<I: Iterator, R: Send + 'static> FusedIterator for Results<'_, I, R> {}

/// Resumes a task's panic, and panics with the reason of any other failure.
fn panic_with<T>(error: CallError<T>) -> ! {
    match error {
        CallError::Failed(error) => match error.into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(error) => panic!("an item has no result: {}", Chain(&error)),
        },
        CallError::Refused(refusal) => panic!("an item was refused: {}", Chain(&refusal.map(drop))),
    }
}

impl<I: Iterator, R: Send + 'static> Map<'_, I, R> {
    /// As `next`, for at most `limit`; see [`Results::next_timeout`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let mut map = pool.map([7], |n: u32| n + 1);
    /// assert_eq!(map.next_timeout(Duration::from_millis(1)), None);
    /// drop(pause);
    /// assert_eq!(map.next_timeout(Duration::from_secs(60)), Some(Some(8)));
    /// assert_eq!(map.next_timeout(Duration::ZERO), Some(None));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// As `next`.
    #[must_use = "it takes a result, if there is one"]
    pub fn next_timeout(&mut self, limit: Duration) -> Option<Option<R>> {
        let answer = self.0.next_timeout(limit)?;
        Some(answer.map(|answer| self.unwrap(answer)))
    }

    fn unwrap(&mut self, answer: Answer<I::Item, R>) -> R {
        answer.unwrap_or_else(|error| {
            self.0.window.close();
            panic_with(error)
        })
    }
}

impl<I: Iterator, R: Send + 'static> Iterator for Map<'_, I, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        let answer = self.0.next()?;
        Some(self.unwrap(answer))
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
