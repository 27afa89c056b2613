//! The tasks of one map that were started and whose results have not been handed out: a bounded number.
//!
//! The driver of a [`Window`] fills it, takes results that are ready, and otherwise waits: as a thread (`mod.rs`) or as a future
//! (`stream.rs`).

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Instant;

use crate::cancel::CancelToken;
use crate::engine::{Engine, Runner, SubmitOptions, WaitMode};
use crate::error::{CallError, JoinError, SubmitError};
use crate::pool::AnyPool;
use crate::queue::Dispatch;
use crate::sync::notifier::Notifier;
use crate::sync::waiter::Waiter;
use crate::sync::{current, park};
use crate::task::handle::Handle;
use crate::task::state::TaskState;

/// The result of an item, or why it has none.
pub(crate) type Answer<T, R> = Result<R, CallError<T>>;

/// An asynchronous submit in progress.
pub(crate) type EnterFuture<'p, T, R> = Pin<Box<dyn Future<Output = Result<Handle<R>, SubmitError<T>>> + Send + 'p>>;

/// Makes a task of an item and submits it, whatever the pool's kind.
pub(crate) trait Submitter<'p, T, R: Send + 'static>: Send {
    fn enter(&self, item: T, options: SubmitOptions<'_>) -> Result<Handle<R>, SubmitError<T>>;
    /// How the pool's own `submit` waits.
    fn default_mode(&self) -> WaitMode;
    #[cfg_attr(not(feature = "stream"), expect(dead_code, reason = "only streams wait without a thread"))]
    fn enter_async(&self, item: T) -> EnterFuture<'p, T, R>;
    /// The pool's capacity in workers.
    fn capacity(&self) -> usize;
    /// Whether the calling thread is one of the pool's workers.
    fn is_inside(&self) -> bool;
    /// Runs user code whose panic has no receiver: it is caught, and the pool counts it.
    fn catch_user_panic(&self, f: &mut dyn FnMut());
}

/// Submits to an engine, which is borrowed from a pool or held by a shared reference to the pool. `make` makes a task's state and the
/// queued task that refers to it; `item` gets the item out of the state's input again.
pub(crate) struct EngineSubmitter<G, I, T, M> {
    pub(crate) engine: G,
    pub(crate) make: M,
    pub(crate) item: fn(I) -> T,
}

/// A shared reference to a pool, which dereferences to its engine.
pub(crate) struct Owned<P>(pub(crate) Arc<P>);

impl<P> Clone for Owned<P> {
    fn clone(&self) -> Self {
        Owned(Arc::clone(&self.0))
    }
}

impl<P: AnyPool> Deref for Owned<P> {
    type Target = Arc<Engine<P::Runner, P::Dispatch>>;

    fn deref(&self) -> &Self::Target {
        self.0.engine()
    }
}

impl<'p, G, E, D, T, I, R, M> Submitter<'p, T, R> for EngineSubmitter<G, I, T, M>
where
    G: Deref<Target = Arc<Engine<E, D>>> + Clone + Send + Sync + 'p,
    E: Runner,
    D: Dispatch,
    T: Send + 'static,
    I: Send + 'static,
    R: Send + 'static,
    M: Fn(T) -> (Arc<TaskState<I, R>>, E::Item) + Send,
{
    fn enter(&self, item: T, options: SubmitOptions<'_>) -> Result<Handle<R>, SubmitError<T>> {
        let (task_state, task) = (self.make)(item);
        self.engine.submit_state(&task_state, task, options).map_err(|refusal| refusal.map(self.item))?;
        Ok(Handle::new(task_state))
    }

    fn default_mode(&self) -> WaitMode {
        self.engine.default_mode()
    }

    fn enter_async(&self, item: T) -> EnterFuture<'p, T, R> {
        let (task_state, task) = (self.make)(item);
        let (engine, item) = (self.engine.clone(), self.item);
        Box::pin(async move {
            let entered = engine.submit_state_async(task_state, task, WaitMode::Forever.into()).await;
            entered.map(Handle::new).map_err(|refusal| refusal.map(item))
        })
    }

    fn capacity(&self) -> usize {
        self.engine.capacity()
    }

    fn is_inside(&self) -> bool {
        self.engine.is_inside()
    }

    fn catch_user_panic(&self, f: &mut dyn FnMut()) {
        self.engine.catch_user_panic(f);
    }
}

/// A waiter that cancels the token when it is woken.
fn cancelled_by_waking(token: &CancelToken) -> Waiter {
    struct Cancels(CancelToken);

    impl Wake for Cancels {
        fn wake(self: Arc<Self>) {
            self.0.cancel();
        }
    }

    Waiter::Inline(Waker::from(Arc::new(Cancels(token.clone()))))
}

/// In which order results are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The order of the items.
    Input,
    /// The order in which the tasks end.
    End,
}

/// An item that was pulled.
enum Entry<T, R: Send + 'static> {
    Started(Handle<R>),
    Over(Answer<T, R>),
}

/// See the [module](self).
pub(crate) struct Window<'p, T, R: Send + 'static> {
    submitter: Box<dyn Submitter<'p, T, R> + 'p>,
    /// `None`: twice the pool's capacity.
    most: Option<usize>,
    /// By the position in the input.
    entries: BTreeMap<u64, Entry<T, R>>,
    next_number: u64,
    /// An item that found no room in the pool.
    held: Option<T>,
    /// An item was refused, and the refusal has not been handed out. Nothing is pulled until then.
    has_refusal: bool,
    /// Nothing is pulled any more.
    is_closed: bool,
    order: Order,
    notifier: Arc<Notifier>,
}

impl<'p, T, R: Send + 'static> Window<'p, T, R> {
    pub(crate) fn new(submitter: impl Submitter<'p, T, R> + 'p, order: Order) -> Self {
        Window {
            submitter: Box::new(submitter),
            most: None,
            entries: BTreeMap::new(),
            next_number: 0,
            held: None,
            has_refusal: false,
            is_closed: false,
            order,
            notifier: Notifier::new(order == Order::End),
        }
    }

    /// Sets how many items may be pulled and not handed out.
    #[track_caller]
    pub(crate) fn set_most(&mut self, items: usize) {
        assert!(items > 0, "window is 0: a map needs at least 1");
        self.most = Some(items);
    }

    /// The number of items that are pulled and not handed out.
    pub(crate) fn pulled(&self) -> usize {
        self.entries.len() + usize::from(self.held.is_some())
    }

    /// Whether no item is in the window. One may still be held.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Starts tasks. Returns the next answer as soon as it is ready, or `None` when the window or the pool is full or `pull` returns nothing.
    /// Blocks only in `pull`, and pulls nothing while an answer is ready.
    pub(crate) fn fill(&mut self, mut pull: impl FnMut() -> Option<T>) -> Option<Answer<T, R>> {
        let most = self.most.unwrap_or_else(|| self.submitter.capacity().saturating_mul(2));
        loop {
            let answer = self.take();
            if answer.is_some() || self.entries.len() >= most || self.has_refusal || self.is_closed {
                return answer;
            }
            let item = self.held.take().or_else(&mut pull)?;
            if !self.enter(item, WaitMode::Never.into()) {
                return None;
            }
        }
    }

    /// Submits an item. If there is no room for now, holds the item and returns `false`.
    fn enter(&mut self, item: T, options: SubmitOptions<'_>) -> bool {
        match self.submitter.enter(item, options.retried()) {
            Err(refusal) if refusal.kind().is_temporary() => {
                self.held = Some(refusal.into_task());
                false
            }
            entered => {
                self.insert(entered);
                true
            }
        }
    }

    /// Submits the held item, and blocks for room until the deadline at most. Returns whether there was one. To be called only when the
    /// window is empty, since it waits for nothing else.
    pub(crate) fn enter_held(&mut self, deadline: Option<Instant>) -> bool {
        let Some(item) = self.held.take() else { return false };
        match (self.submitter.default_mode(), deadline) {
            (WaitMode::Forever, Some(deadline)) => _ = self.enter(item, WaitMode::Until(deadline).into()),
            (mode, _) => {
                let entered = self.submitter.enter(item, mode.into());
                self.insert(entered);
            }
        }
        true
    }

    /// As [`enter_held`](Self::enter_held), as a future.
    #[cfg(feature = "stream")]
    pub(crate) fn enter_held_async(&mut self) -> Option<EnterFuture<'p, T, R>> {
        self.held.take().map(|item| self.submitter.enter_async(item))
    }

    /// Adds the next item, which has been accepted or refused.
    pub(crate) fn insert(&mut self, entered: Result<Handle<R>, SubmitError<T>>) {
        let number = self.next_number;
        self.next_number += 1;
        let entry = match entered {
            Err(refusal) => {
                self.has_refusal = true;
                Entry::Over(Err(refusal.into()))
            }
            Ok(mut handle) => match handle.poll_or_listen(|| Waiter::Listed(Arc::clone(&self.notifier), number)) {
                Some(result) => Entry::Over(result.map_err(CallError::from)),
                None => Entry::Started(handle),
            },
        };
        if matches!(entry, Entry::Over(_)) {
            self.notifier.note(number);
        }
        self.entries.insert(number, entry);
    }

    /// The next answer in order, if it is ready.
    pub(crate) fn take(&mut self) -> Option<Answer<T, R>> {
        let entry = match self.order {
            Order::Input => self.entries.first_entry().filter(|first| first.get().is_over())?.remove(),
            Order::End => loop {
                let number = self.notifier.next_ended()?;
                // The notifier may list a task twice that `join_oldest` has joined.
                if let Some(entry) = self.entries.remove(&number) {
                    break entry;
                }
            },
        };
        let answer = match entry {
            Entry::Over(answer) => answer,
            Entry::Started(mut handle) => match handle.try_join() {
                Some(result) => result.map_err(CallError::from),
                None => handle.join().map_err(CallError::from),
            },
        };
        if let Err(CallError::Refused(_)) = answer {
            self.has_refusal = false;
        }
        Some(answer)
    }

    /// As [`take`](Self::take); if no answer is ready, registers the waiter to be woken when one is.
    pub(crate) fn take_or_listen(&mut self, waiter: impl FnOnce() -> Waiter) -> Option<Answer<T, R>> {
        if let Some(answer) = self.take() {
            return Some(answer);
        }
        // Cloning a waker is user code, as dropping one is: not under the notifier's lock.
        let waiter = waiter();
        let only = match self.order {
            Order::Input => self.entries.first_key_value().map(|(number, _)| *number),
            Order::End => None,
        };
        self.notifier.listen(waiter, only);
        // A task that ended before `listen` has notified no waiter.
        self.take()
    }

    /// Blocks for the next answer and returns it. Returns `None` at the deadline, and also after a wake-up for which no answer is ready: the
    /// caller tries again. Meanwhile a held item waits for room.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Option<Answer<T, R>> {
        if self.held.is_some() {
            let token = CancelToken::new();
            let answer = self.take_or_listen(|| cancelled_by_waking(&token));
            if answer.is_some() {
                return answer;
            }
            let item = self.held.take()?;
            let mode = deadline.map_or(WaitMode::Forever, WaitMode::Until);
            if self.enter(item, SubmitOptions::from(mode).with_token(Some(&token))) || token.is_cancelled() {
                return None;
            }
            // The wait queue is full as well.
        }
        let answer = self.take_or_listen(|| Waiter::Thread(current()));
        if answer.is_none() {
            park(deadline);
        }
        answer
    }

    /// Whether the calling thread is a worker of the pool, which may deadlock if it parks without being counted as blocked.
    pub(crate) fn is_inside(&self) -> bool {
        self.submitter.is_inside()
    }

    /// Waits for the oldest task, until the deadline at most, as a worker of the pool does: it runs the task itself if it can. A task that
    /// cannot be waited for is cancelled, so that it does not run after it was reported as failed.
    pub(crate) fn join_oldest(&mut self, deadline: Option<Instant>) {
        let oldest = self.entries.iter_mut().find_map(|(number, entry)| match entry {
            Entry::Started(handle) => Some((*number, handle.wait_or_cancel(deadline))),
            Entry::Over(_) => None,
        });
        if let Some((number, Some(result))) = oldest {
            self.entries.insert(number, Entry::Over(result.map_err(CallError::from)));
            self.notifier.note(number);
        }
    }

    /// Ends the window without waiting: cancels tasks that have not started, tells running ones to stop, and drops all results.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        self.notifier.stop_listening();
        self.cancel();
        self.entries.clear();
        self.held = None;
    }

    /// Ends the window: cancels tasks that have not started, waits for running ones, and drops all results.
    pub(crate) fn drain(&mut self) {
        self.is_closed = true;
        self.cancel();
        for entry in std::mem::take(&mut self.entries).into_values() {
            if let Entry::Started(handle) = entry {
                // The caller already reports an earlier failure.
                drop(handle.join());
            }
        }
        self.held = None;
    }

    fn cancel(&self) {
        for entry in self.entries.values() {
            if let Entry::Started(handle) = entry {
                // This drops the item, which may panic. The other tasks must still be cancelled.
                self.submitter.catch_user_panic(&mut || _ = handle.cancel());
            }
        }
    }
}

impl<T, R: Send + 'static> Entry<T, R> {
    fn is_over(&self) -> bool {
        match self {
            Entry::Started(handle) => handle.is_finished(),
            Entry::Over(_) => true,
        }
    }
}

impl<R: Send + 'static> Handle<R> {
    fn wait_or_cancel(&self, deadline: Option<Instant>) -> Option<Result<R, JoinError>> {
        let result = self.wait_until(deadline)?;
        if result.as_ref().is_err_and(JoinError::is_would_deadlock) {
            self.cancel();
        }
        Some(result)
    }
}

impl<T, R: Send + 'static> Drop for Window<'_, T, R> {
    fn drop(&mut self) {
        self.close();
    }
}
