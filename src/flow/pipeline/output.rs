//! The end of a pipeline: an iterator, a future, or a stream.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::iter::FusedIterator;
use std::sync::{OnceLock, Weak};
use std::task::Poll;

use super::control::{Control, OutputControl};
use super::error::PipelineError;
use super::stage::{End, Inlet, Outlet};
use super::stats::PipelineStats;
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, current, park};
use crate::task::current_worker;

/// How many results wait here. Those that find no room wait in the last stage.
const ROOM: usize = 1;

pub(super) struct Output<T> {
    state: Mutex<State<T>>,
    before: OnceLock<Weak<dyn Outlet>>,
    /// The consumer is a worker that runs tasks while it waits.
    is_helping: AtomicBool,
}

struct State<T> {
    items: VecDeque<T>,
    end: Option<End>,
    is_closed: bool,
    waiter: Option<Waiter>,
}

impl<T: Send + 'static> Output<T> {
    pub(super) fn new() -> Arc<Self> {
        let state = State { items: VecDeque::new(), end: None, is_closed: false, waiter: None };
        Arc::new(Output { state: Mutex::new(state), before: OnceLock::new(), is_helping: AtomicBool::new(false) })
    }

    pub(super) fn set_before(&self, before: Weak<dyn Outlet>) {
        _ = self.before.set(before);
    }

    fn wake(&self) {
        let waiter = self.state.lock().waiter.take();
        waiter.into_iter().for_each(Waiter::wake);
    }

    /// The next result, or the end. Otherwise registers `waiter`.
    fn take(&self, waiter: Option<Waiter>) -> Option<Option<Result<T, PipelineError>>> {
        let mut state = self.state.lock();
        let taken = match state.items.pop_front() {
            Some(item) => Some(Some(Ok(item))),
            None => match state.end.take() {
                Some(End::Failed(error)) => {
                    state.end = Some(End::Finished);
                    Some(Some(Err(error)))
                }
                Some(End::Finished) => {
                    state.end = Some(End::Finished);
                    Some(None)
                }
                None => None,
            },
        };
        let unused = match (&taken, waiter) {
            (None, Some(waiter)) => state.waiter.replace(waiter),
            (_, waiter) => waiter,
        };
        drop(state);
        unused.into_iter().for_each(Waiter::discard);
        if matches!(taken, Some(Some(Ok(_)))) {
            if let Some(before) = self.before.get().and_then(Weak::upgrade) {
                before.forward();
            }
        }
        taken
    }
}

impl<T: Send + 'static> Inlet<T> for Output<T> {
    fn put(&self, x: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.is_closed {
            drop(state);
            catch_user_panic(|| drop(x));
            return Ok(());
        }
        if state.items.len() >= ROOM {
            return Err(x);
        }
        state.items.push_back(x);
        drop(state);
        self.wake();
        Ok(())
    }

    fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.items.len() < ROOM && !state.is_closed
    }

    fn end(&self, end: End) {
        let mut state = self.state.lock();
        if !state.is_closed && state.end.is_none() {
            state.end = Some(end);
        }
        drop(state);
        self.wake();
    }
}

impl<T: Send + 'static> OutputControl for Output<T> {
    fn close(&self, error: Option<PipelineError>) {
        let mut state = self.state.lock();
        let is_first = !state.is_closed;
        state.is_closed = true;
        let items = std::mem::take(&mut state.items);
        let end = if is_first && state.end.is_none() { error.map(End::Failed) } else { None };
        state.end = end.or_else(|| state.end.take()).or(Some(End::Finished));
        drop(state);
        for item in items {
            catch_user_panic(|| drop(item));
        }
        self.wake();
    }

    fn nudge(&self) {
        // ORDERING: Acquire pairs with the Release in `next`: a consumer that helps looks for tasks after it has registered.
        if self.is_helping.load(Ordering::Acquire) {
            self.wake();
        }
    }
}

/// The results of a running [`Pipeline`](super::Pipeline), as they come out of its last stage; made by its `into_iter`.
///
/// `next` blocks until there is a result, and gives an error at most once, as the last item. Dropping it stops the source, cancels what
/// has not started, and does not wait for what runs, which borrows nothing and ends by itself. (A source that blocks ends its thread when it
/// returns.) It waits for submissions that other threads have begun, which wait for nothing but the pools' observers and spawn handlers: nothing
/// is submitted after it. A drop by such a callback, within a submission, does not wait.
///
/// On a worker of a stage's pool, `next` runs tasks of the pipeline while it waits, except those of a
/// [`StatefulPool`](crate::StatefulPool), whose state is in use. A wait there is not checked for deadlocks: if a stage is such a pool, or a
/// view, whose last free worker waits here, it may wait for ever. Take the results outside of the stages' pools.
///
/// A pipeline's tasks wait for room, whatever the pool's [`overflow`](crate::Builder::overflow). But a pool that drops its oldest task for
/// another submitter may drop one of a stage. That task goes to the pool's [`dropped_handler`](crate::Builder::dropped_handler), as the
/// closure, or the item where the stage is [`through`](super::Pipeline::through) a pool; the pipeline fails. What the handler does with it
/// does not come back into the pipeline. What the pipeline itself cancels (after a failure, by its token, or because this was dropped) is dropped
/// and no handler gets it.
///
/// ```
/// let pool = formicary::Pool::new(2)?;
/// let mut results: formicary::PipelineResults<u32> = formicary::Pipeline::from(1..).stage(&pool, |n| n * n).into_iter();
/// assert_eq!(results.next().unwrap().unwrap(), 1);
/// assert_eq!(results.next().unwrap().unwrap(), 4);
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[must_use = "a dropped pipeline is cancelled"]
pub struct PipelineResults<T: Send + 'static> {
    output: Arc<Output<T>>,
    control: Arc<Control>,
}

impl<T: Send + 'static> PipelineResults<T> {
    pub(super) fn new(output: Arc<Output<T>>, control: Arc<Control>) -> Self {
        PipelineResults { output, control }
    }

    /// The figures so far.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let mut results = formicary::Pipeline::from([1, 2]).stage(&pool, |n: u32| n).into_iter();
    /// assert_eq!(results.by_ref().count(), 2);
    /// assert_eq!(results.stats().pulled, 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stats(&self) -> PipelineStats {
        self.control.stats()
    }

    /// The next result, as a future. Dropping the future loses nothing.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(2)?;
    /// let mut results = formicary::Pipeline::from([1, 2]).stage(&pool, |n: u32| n + 1).into_iter();
    /// assert_eq!(results.next_async().await.unwrap()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_async(&mut self) -> impl Future<Output = Option<Result<T, PipelineError>>> + Send {
        poll_fn(|poller| self.poll_next_result(poller))
    }

    pub(super) fn poll_next_result(
        &mut self,
        poller: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<T, PipelineError>>> {
        if let Some(taken) = self.output.take(None) {
            return Poll::Ready(taken);
        }
        let waiter = Waiter::Task(poller.waker().clone());
        self.output.take(Some(waiter)).map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T: Send + 'static> Iterator for PipelineResults<T> {
    type Item = Result<T, PipelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if current_worker::is_worker() {
            // ORDERING: Release, see `nudge`.
            self.output.is_helping.store(true, Ordering::Release);
            loop {
                if let Some(taken) = self.output.take(None) {
                    return taken;
                }
                if self.control.run_one() {
                    continue;
                }
                if let Some(taken) = self.output.take(Some(Waiter::Thread(current()))) {
                    return taken;
                }
                // A task that was sent before the waiter was registered has woken nobody.
                if !self.control.run_one() {
                    park(None);
                }
            }
        }
        loop {
            if let Some(taken) = self.output.take(Some(Waiter::Thread(current()))) {
                return taken;
            }
            park(None);
        }
    }
}

impl<T: Send + 'static> FusedIterator for PipelineResults<T> {}

impl<T: Send + 'static> Drop for PipelineResults<T> {
    fn drop(&mut self) {
        self.control.close();
    }
}

impl<T: Send + 'static> fmt::Debug for PipelineResults<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineResults").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The results as a stream, which works on any executor. An await on a worker of a stage's pool runs nothing meanwhile.
#[cfg(feature = "stream")]
impl<T: Send + 'static> futures_core::Stream for PipelineResults<T> {
    type Item = Result<T, PipelineError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        poller: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<T, PipelineError>>> {
        self.poll_next_result(poller)
    }
}
