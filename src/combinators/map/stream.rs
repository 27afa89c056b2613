//! Maps as streams: the same, for who must not block a thread.

use std::fmt;
use std::iter::Fuse;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

use crate::combinators::map::window::{Answer, EnterFuture, Order, Owned, Submitter, Window};
use crate::combinators::map::{Map, closure_submitter, payload_submitter};
use crate::pool::{Pool, PoolWithFunc, StatefulPool};
use crate::queue::Dispatch;
use crate::sync::waiter::Waiter;
use crate::task::worker::Worker;

/// A [`Map`] as a stream; made by [`Map::into_stream`] and the pools' `map_stream`. Needs the feature `stream`, and works on any
/// executor.
///
/// Its items are as those of [`Results`](crate::Results): a panic is an error at its item's place, and touches no other. How far ahead it works,
/// and what dropping it does, is as with [`Map`]. Where the pool is full, it stands in line at the door without blocking the
/// thread (as [`submit_async`](crate::Pool::submit_async) does), also at a pool that is [`nonblocking`](crate::Builder::nonblocking). The input is polled or
/// pulled in the middle of `poll_next`, and only where no result is ready.
///
/// Not on a worker of the same pool: there nobody sees that it waits for itself.
///
/// ```
/// use futures_core::Stream;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let pool = formicary::Pool::new(2)?;
/// let mut squares = pin!(pool.map(1..=3_u64, |n| n * n).into_stream());
/// let mut sum = 0;
/// // An executor would sleep, and not spin.
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
#[must_use = "streams do nothing with_token polled"]
pub struct MapStream<'p, S: Stream, R: Send + 'static> {
    /// `None` once it has ended.
    input: Option<Pin<Box<S>>>,
    window: Window<'p, S::Item, R>,
    /// An item in line at the door.
    entering: Option<EnterFuture<'p, S::Item, R>>,
}

// The input is pinned in a box of its own; nothing else is ever pinned.
impl<S: Stream, R: Send + 'static> Unpin for MapStream<'_, S, R> {}

/// An iterator as a stream that is always ready: the input of what [`Map::into_stream`] makes.
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
    /// let pool = formicary::Pool::new(2)?;
    /// let stream = pool.map(["an", "ant"], str::len).into_stream();
    /// # drop(stream);
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
    /// let pool = formicary::Pool::new(2)?;
    /// let stream = pool.map(1.., |n: u64| n * n).into_stream().window(100);
    /// # drop(stream);
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

    /// The item in line tries to get in.
    fn advance_held(&mut self, poller: &mut Context<'_>) {
        if let Some(entering) = &mut self.entering {
            if let Poll::Ready(entered) = entering.as_mut().poll(poller) {
                self.entering = None;
                self.window.place(entered);
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
            this.advance_held(poller);
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
    /// # fn inputs() -> impl futures_core::Stream<Item = u64> { Empty }
    /// # struct Empty;
    /// # impl futures_core::Stream for Empty {
    /// #     type Item = u64;
    /// #     fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<u64>> {
    /// #         None.into()
    /// #     }
    /// # }
    /// let pool = formicary::Pool::new(2)?;
    /// let squares = pool.map_stream(inputs(), |n| n * n).window(100);
    /// # drop(squares);
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

    /// As [`map_stream`](Self::map_stream), with a share in the pool instead of a borrow; see [`map_owned`](Self::map_owned). So the
    /// stream can be given to an executor that asks for `'static`.
    ///
    /// ```
    /// # fn inputs() -> impl futures_core::Stream<Item = u64> { Empty }
    /// # struct Empty;
    /// # impl futures_core::Stream for Empty {
    /// #     type Item = u64;
    /// #     fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<u64>> {
    /// #         None.into()
    /// #     }
    /// # }
    /// use formicary::{MapStream, Pool};
    ///
    /// fn squares() -> Result<MapStream<'static, impl futures_core::Stream<Item = u64>, u64>, formicary::BuildError> {
    ///     let pool = std::sync::Arc::new(Pool::new(2)?);
    ///     Ok(pool.map_stream_owned(inputs(), |n| n * n))
    /// }
    /// # drop(squares()?);
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
    /// # fn inputs() -> impl futures_core::Stream<Item = u64> { Empty }
    /// # struct Empty;
    /// # impl futures_core::Stream for Empty {
    /// #     type Item = u64;
    /// #     fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<u64>> {
    /// #         None.into()
    /// #     }
    /// # }
    /// let pool = formicary::PoolWithFunc::new(2, |n: u64| n * n)?;
    /// let squares = pool.map_stream(inputs());
    /// # drop(squares);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream<S: Stream<Item = T>>(&self, items: S) -> MapStream<'_, S, R> {
        MapStream::new(items, payload_submitter(&self.engine))
    }

    /// As [`map_stream`](Self::map_stream), with a share in the pool instead of a borrow; see [`Pool::map_stream_owned`].
    ///
    /// ```
    /// # fn inputs() -> impl futures_core::Stream<Item = u64> { Empty }
    /// # struct Empty;
    /// # impl futures_core::Stream for Empty {
    /// #     type Item = u64;
    /// #     fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<u64>> {
    /// #         None.into()
    /// #     }
    /// # }
    /// let pool = std::sync::Arc::new(formicary::PoolWithFunc::new(2, |n: u64| n * n)?);
    /// let outputs = pool.map_stream_owned(inputs());
    /// # drop(outputs);
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
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// # fn inputs() -> impl futures_core::Stream<Item = u64> { Empty }
    /// # struct Empty;
    /// # impl futures_core::Stream for Empty {
    /// #     type Item = u64;
    /// #     fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<u64>> {
    /// #         None.into()
    /// #     }
    /// # }
    /// let pool = StatefulPool::new(2, |_worker| Ok(Double))?;
    /// let doubles = pool.map_stream(inputs());
    /// # drop(doubles);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream<S: Stream<Item = W::Input>>(&self, items: S) -> MapStream<'_, S, W::Output> {
        MapStream::new(items, payload_submitter(&self.engine))
    }

    /// As [`map_stream`](Self::map_stream), with a share in the pool instead of a borrow; see [`Pool::map_stream_owned`].
    ///
    /// ```
    /// # fn inputs() -> impl futures_core::Stream<Item = u64> { Empty }
    /// # struct Empty;
    /// # impl futures_core::Stream for Empty {
    /// #     type Item = u64;
    /// #     fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<u64>> {
    /// #         None.into()
    /// #     }
    /// # }
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = std::sync::Arc::new(StatefulPool::new(2, |_worker| Ok(Double))?);
    /// let outputs = pool.map_stream_owned(inputs());
    /// # drop(outputs);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map_stream_owned<S: Stream<Item = W::Input>>(
        self: &Arc<Self>,
        items: S,
    ) -> MapStream<'static, S, W::Output> {
        MapStream::new(items, payload_submitter(Owned(Arc::clone(self))))
    }
}
