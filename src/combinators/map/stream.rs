//! Maps as streams, for callers that must not block a thread.

use std::fmt;
use std::iter::Fuse;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

use crate::combinators::map::window::{Answer, EnterFuture, Order, Owned, Submitter, Window};
use crate::combinators::map::{Map, closure_submitter, payload_submitter};
use crate::pool::examples::{square, stream};
use crate::pool::{Pool, PoolWithFunc, StatefulPool};
use crate::queue::Dispatch;
use crate::sync::waiter::Waiter;
use crate::task::worker::Worker;

/// A [`Map`] as a stream; made by [`Map::into_stream`] and the pools' `map_stream`. It needs the feature `stream`, and works on any
/// executor.
///
/// Its items are those of [`Results`](crate::Results): a panic is an error at the position of its item, and affects no other. It pulls
/// ahead, and ends when it is dropped, as [`Map`] does. If the pool is full, it waits for room as a future, as
/// [`submit_async`](crate::Pool::submit_async) does, also on a [`nonblocking`](crate::Builder::nonblocking) pool. The input is polled
/// inside `poll_next`, and only while no result is ready.
///
/// Do not await it on a worker of the same pool: the pool does not detect there that the worker waits for itself.
///
/// ```
/// use futures_core::Stream;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let pool = formicary::Pool::new(2)?;
/// let mut squares = pin!(pool.map(1..=3_u64, |n| n * n).into_stream());
/// let mut sum = 0;
/// // An executor would park instead of spinning.
/// let mut poller = Context::from_waker(Waker::noop());
/// loop {
///     match squares.as_mut().poll_next(&mut poller) {
///         Poll::Ready(Some(square)) => sum += square?,
///         Poll::Ready(None) => break,
///         Poll::Pending => std::thread::yield_now(),
///     }
/// }
/// assert_eq!(sum, 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct MapStream<'p, S: Stream, R: Send + 'static> {
    /// `None` once it has ended.
    input: Option<Pin<Box<S>>>,
    window: Window<'p, S::Item, R>,
    /// An item that waits for room.
    entering: Option<EnterFuture<'p, S::Item, R>>,
}

// The input is pinned in a box of its own, and no other field is pinned.
impl<S: Stream, R: Send + 'static> Unpin for MapStream<'_, S, R> {}

/// An iterator as a stream that is always ready: the input of a stream that [`Map::into_stream`] makes.
///
/// ```
/// let pool = formicary::Pool::new(2)?;
/// let map = pool.map(vec!["an", "ant"], str::len);
/// let stream: formicary::MapStream<'_, formicary::IterStream<std::vec::IntoIter<&str>>, usize> = map.into_stream();
/// # drop(stream);
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct IterStream<I>(Fuse<I>);

impl<I> Unpin for IterStream<I> {}

impl<I: Iterator> Stream for IterStream<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'p, I: Iterator, R: Send + 'static> Map<'p, I, R> {
    /// The same as a stream of [`results`](Self::results). Pulling from the iterator must not block for long.
    ///
    /// ```
    #[doc = stream!()]
    /// let pool = formicary::Pool::new(2)?;
    /// assert_eq!(collect(pool.map(["an", "ant"], str::len).into_stream()), [2, 3]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_stream(self) -> MapStream<'p, IterStream<I>, R> {
        let (items, window) = self.results().into_parts();
        MapStream { input: Some(Box::pin(IterStream(items))), window, entering: None }
    }
}

impl<'p, S: Stream, R: Send + 'static> MapStream<'p, S, R> {
    fn new(input: S, submitter: impl Submitter<'p, S::Item, R> + 'p) -> Self {
        MapStream { input: Some(Box::pin(input)), window: Window::new(submitter, Order::Input), entering: None }
    }

    /// As [`Map::window`].
    ///
    /// ```
    #[doc = stream!()]
    /// let pool = formicary::Pool::new(2)?;
    /// assert_eq!(collect(pool.map(1..=3, |n: u64| n * n).into_stream().window(2)), [1, 4, 9]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// If `items` is 0.
    #[track_caller]
    pub fn window(mut self, items: usize) -> Self {
        self.window.set_most(items);
        self
    }

    /// Polls the item that waits for room.
    fn poll_entering(&mut self, poller: &mut Context<'_>) {
        if let Some(entering) = &mut self.entering {
            if let Poll::Ready(entered) = entering.as_mut().poll(poller) {
                self.entering = None;
                self.window.insert(entered);
            }
        }
    }

    /// See [`Window::fill`].
    fn fill(&mut self, poller: &mut Context<'_>) -> Option<Answer<S::Item, R>> {
        let input = &mut self.input;
        self.window.fill(|| match input.as_mut()?.as_mut().poll_next(poller) {
            Poll::Ready(Some(item)) => Some(item),
            Poll::Ready(None) => {
                *input = None;
                None
            }
            Poll::Pending => None,
        })
    }
}

impl<S: Stream, R: Send + 'static> Stream for MapStream<'_, S, R> {
    type Item = Answer<S::Item, R>;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            this.poll_entering(poller);
            if this.entering.is_none() {
                if let Some(answer) = this.fill(poller) {
                    return Poll::Ready(Some(answer));
                }
            }
            if let Some(answer) = this.window.take_or_listen(|| Waiter::Task(poller.waker().clone())) {
                return Poll::Ready(Some(answer));
            }
            if this.entering.is_none() {
                this.entering = this.window.enter_held_async();
                if this.entering.is_some() {
                    continue;
                }
            }
            let is_over = this.input.is_none() && this.entering.is_none() && this.window.is_empty();
            return if is_over { Poll::Ready(None) } else { Poll::Pending };
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.input.as_ref().map_or((0, Some(0)), |input| input.size_hint());
        let pulled = self.window.pulled() + usize::from(self.entering.is_some());
        (least.saturating_add(pulled), most.and_then(|most| most.checked_add(pulled)))
    }
}

impl<S: Stream, R: Send + 'static> FusedStream for MapStream<'_, S, R> {
    fn is_terminated(&self) -> bool {
        self.input.is_none() && self.entering.is_none() && self.window.pulled() == 0
    }
}

impl<S: Stream, R: Send + 'static> fmt::Debug for MapStream<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapStream").field("pulled", &self.window.pulled()).finish_non_exhaustive()
    }
}

impl<D: Dispatch> Pool<D> {
    /// As [`map`](Self::map), from a stream to a stream, in the order of the items. Needs the feature `stream`.
    ///
    /// ```
    #[doc = stream!()]
    /// let pool = formicary::Pool::new(2)?;
    /// let squares = pool.map_stream(inputs(1..=3), |n| n * n); // `inputs` makes a stream of an iterator
    /// assert_eq!(collect(squares), [1, 4, 9]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream<S, F, R>(&self, items: S, f: F) -> MapStream<'_, S, R>
    where
        S: Stream,
        S::Item: Send + 'static,
        F: Fn(S::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        MapStream::new(items, self.submitter(f, None))
    }

    /// As [`map_stream`](Self::map_stream), but the stream shares ownership of the pool; see [`map_owned`](Self::map_owned). So it can be
    /// given to an executor that requires `'static`.
    ///
    /// ```
    #[doc = stream!()]
    /// use formicary::{MapStream, Pool};
    ///
    /// fn squares() -> Result<MapStream<'static, impl futures_core::Stream<Item = u64>, u64>, formicary::BuildError> {
    ///     let pool = std::sync::Arc::new(Pool::new(2)?);
    ///     Ok(pool.map_stream_owned(inputs(1..=3), |n| n * n))
    /// }
    /// assert_eq!(collect(squares()?), [1, 4, 9]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream_owned<S, F, R>(self: &Arc<Self>, items: S, f: F) -> MapStream<'static, S, R>
    where
        S: Stream,
        S::Item: Send + 'static,
        F: Fn(S::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        MapStream::new(items, closure_submitter(Owned(Arc::clone(self)), f, None))
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// As [`map`](Self::map), from a stream to a stream; see [`Pool::map_stream`].
    ///
    /// ```
    #[doc = stream!()]
    /// let pool = formicary::PoolWithFunc::new(2, |n: u64| n * n)?;
    /// assert_eq!(collect(pool.map_stream(inputs(1..=3))), [1, 4, 9]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream<S: Stream<Item = T>>(&self, items: S) -> MapStream<'_, S, R> {
        MapStream::new(items, payload_submitter(&self.engine))
    }

    /// As [`map_stream`](Self::map_stream), but the stream shares ownership of the pool; see [`Pool::map_stream_owned`].
    ///
    /// ```
    #[doc = stream!()]
    /// let pool = std::sync::Arc::new(formicary::PoolWithFunc::new(2, |n: u64| n * n)?);
    /// let squares = pool.map_stream_owned(inputs(1..=3));
    /// drop(pool);
    /// assert_eq!(collect(squares), [1, 4, 9]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream_owned<S: Stream<Item = T>>(self: &Arc<Self>, items: S) -> MapStream<'static, S, R> {
        MapStream::new(items, payload_submitter(Owned(Arc::clone(self))))
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// As [`map`](Self::map), from a stream to a stream; see [`Pool::map_stream`].
    ///
    /// ```
    #[doc = stream!()]
    #[doc = square!()]
    /// let pool = StatefulPool::new(2, |_worker| Ok(Square))?;
    /// assert_eq!(collect(pool.map_stream(inputs(1..=3))), [1, 4, 9]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream<S: Stream<Item = W::Input>>(&self, items: S) -> MapStream<'_, S, W::Output> {
        MapStream::new(items, payload_submitter(&self.engine))
    }

    /// As [`map_stream`](Self::map_stream), but the stream shares ownership of the pool; see [`Pool::map_stream_owned`].
    ///
    /// ```
    #[doc = stream!()]
    #[doc = square!()]
    /// let pool = std::sync::Arc::new(StatefulPool::new(2, |_worker| Ok(Square))?);
    /// let squares = pool.map_stream_owned(inputs(1..=3));
    /// drop(pool);
    /// assert_eq!(collect(squares), [1, 4, 9]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream_owned<S: Stream<Item = W::Input>>(
        self: &Arc<Self>,
        items: S,
    ) -> MapStream<'static, S, W::Output> {
        MapStream::new(items, payload_submitter(Owned(Arc::clone(self))))
    }
}
