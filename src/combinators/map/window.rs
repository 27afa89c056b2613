//! The tasks of one map: those that were started and whose results have not been handed out, never more than so many.
//!
//! Who drives a [`Window`] tops it up, takes what has ended, and otherwise waits:
//! as a thread (`map`) or as a future (`stream.rs`).

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

/// What an item is told, or comes back with.
pub(crate) type Answer<T, R> = Result<R, CallError<T>>;

/// The way into a pool in the middle of its submit.
pub(crate) type EnterFuture<'p, T, R> = Pin<Box<dyn Future<Output = Result<Handle<R>, SubmitError<T>>> + Send + 'p>>;

/// Makes a task of an item and puts it into a pool, whatever the pool's kind.
pub(crate) trait Submitter<'p, T, R: Send + 'static>: Send {
    fn enter(&self, item: T, options: SubmitOptions<'_>) -> Result<Handle<R>, SubmitError<T>>;
    /// As the pool's own submit waits.
    fn default_mode(&self) -> WaitMode;
    #[cfg_attr(not(feature = "stream"), expect(dead_code, reason = "only streams wait without a thread"))]
    fn enter_async(&self, item: T) -> EnterFuture<'p, T, R>;
    /// The pool's capacity in workers.
    fn capacity(&self) -> usize;
    /// Whether the calling thread is one of the pool's workers.
    fn is_inside(&self) -> bool;
    /// Runs somebody else's code whose panic nobody must have: the pool counts it.
    fn catch_user_panic(&self, f: &mut dyn FnMut());
}

/// The door of an engine, which it borrows from a pool, or holds with a share in the pool. A kind of pool gives it how to make a slot
/// and the task that stands for it, and how to get the item out of the slot's input again.
pub(crate) struct EngineSubmitter<G, I, T, M> {
    pub(crate) engine: G,
    pub(crate) make: M,
    pub(crate) item: fn(I) -> T,
}

/// The engine of a pool that somebody has a share in.
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

/// Waking it cancels the token.
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
    /// As the items came.
    Input,
    /// As the tasks end.
    End,
}

/// An item that was pulled.
enum Place<T, R: Send + 'static> {
    Started(Handle<R>),
    Over(Answer<T, R>),
}

/// See the [module](self).
pub(crate) struct Window<'p, T, R: Send + 'static> {
    submitter: Box<dyn Submitter<'p, T, R> + 'p>,
    /// `None`: twice the pool's capacity.
    most: Option<usize>,
    /// By the order of the input.
    places: BTreeMap<u64, Place<T, R>>,
    next_number: u64,
    /// An item that found no room in the pool.
    held: Option<T>,
    /// An item was refused, and that is not handed out: nothing more is pulled until then.
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
            places: BTreeMap::new(),
            next_number: 0,
            held: None,
            has_refusal: false,
            is_closed: false,
            order,
            notifier: Notifier::new(order == Order::End),
        }
    }

    /// At most so many items are pulled and not handed out.
    #[track_caller]
    pub(crate) fn set_most(&mut self, items: usize) {
        assert!(items > 0, "window is 0: a map needs at least 1");
        self.most = Some(items);
    }

    /// How many items are pulled and not handed out.
    pub(crate) fn pulled(&self) -> usize {
        self.places.len() + usize::from(self.held.is_some())
    }

    /// No item is under way; one may be held.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Starts tasks until the next answer is there, which comes back, or the window or the pool is full, or `pull` has nothing (now).
    /// Does not block but in `pull`, so nothing is pulled while there is an answer.
    pub(crate) fn fill(&mut self, mut pull: impl FnMut() -> Option<T>) -> Option<Answer<T, R>> {
        let most = self.most.unwrap_or_else(|| self.submitter.capacity().saturating_mul(2));
        loop {
            let answer = self.take();
            if answer.is_some() || self.places.len() >= most || self.has_refusal || self.is_closed {
                return answer;
            }
            let item = self.held.take().or_else(&mut pull)?;
            if !self.enter(item, WaitMode::Never.into()) {
                return None;
            }
        }
    }

    /// Tries to get an item in; if there is no room for now it is held, and this says so.
    fn enter(&mut self, item: T, options: SubmitOptions<'_>) -> bool {
        match self.submitter.enter(item, options.retried()) {
            Err(refusal) if refusal.kind().is_temporary() => {
                self.held = Some(refusal.into_task());
                false
            }
            entered => {
                self.place(entered);
                true
            }
        }
    }

    /// Puts the item that found no room into the pool, blocking for it until the deadline at most; says whether there was one. For a
    /// window that is otherwise empty, which has nothing else to wait for.
    pub(crate) fn enter_held(&mut self, deadline: Option<Instant>) -> bool {
        let Some(item) = self.held.take() else { return false };
        match (self.submitter.default_mode(), deadline) {
            (WaitMode::Forever, Some(deadline)) => _ = self.enter(item, WaitMode::Until(deadline).into()),
            (mode, _) => {
                let entered = self.submitter.enter(item, mode.into());
                self.place(entered);
            }
        }
        true
    }

    /// The same for a future.
    #[cfg(feature = "stream")]
    pub(crate) fn enter_held_async(&mut self) -> Option<EnterFuture<'p, T, R>> {
        self.held.take().map(|item| self.submitter.enter_async(item))
    }

    /// The next item has entered, or has been refused.
    pub(crate) fn place(&mut self, entered: Result<Handle<R>, SubmitError<T>>) {
        let number = self.next_number;
        self.next_number += 1;
        let place = match entered {
            Err(refusal) => {
                self.has_refusal = true;
                Place::Over(Err(refusal.into()))
            }
            Ok(mut handle) => match handle.poll_or_listen(|| Waiter::Listed(Arc::clone(&self.notifier), number)) {
                Some(result) => Place::Over(result.map_err(CallError::from)),
                None => Place::Started(handle),
            },
        };
        if matches!(place, Place::Over(_)) {
            self.notifier.note(number);
        }
        self.places.insert(number, place);
    }

    /// The answer that is next in order, if it is there.
    pub(crate) fn take(&mut self) -> Option<Answer<T, R>> {
        let place = match self.order {
            Order::Input => self.places.first_entry().filter(|first| first.get().is_over())?.remove(),
            Order::End => loop {
                let number = self.notifier.next_ended()?;
                // One that was joined by itself may be in the list a second time.
                if let Some(place) = self.places.remove(&number) {
                    break place;
                }
            },
        };
        let answer = match place {
            Place::Over(answer) => answer,
            Place::Started(mut handle) => match handle.try_join() {
                Some(result) => result.map_err(CallError::from),
                None => handle.join().map_err(CallError::from),
            },
        };
        if let Err(CallError::Refused(_)) = answer {
            self.has_refusal = false;
        }
        Some(answer)
    }

    /// [`take`](Self::take), or word to wake the waiter when it has come.
    pub(crate) fn take_or_listen(&mut self, waiter: impl FnOnce() -> Waiter) -> Option<Answer<T, R>> {
        if let Some(answer) = self.take() {
            return Some(answer);
        }
        // Cloning a waker is somebody else's code, as dropping one is: not under the lock.
        let waiter = waiter();
        let only = match self.order {
            Order::Input => self.places.first_key_value().map(|(number, _)| *number),
            Order::End => None,
        };
        self.notifier.listen(waiter, only);
        // A task that ended before that rang for nobody.
        self.take()
    }

    /// The next answer, or `None` where there may be one now, or the time is up. Blocks until then; meanwhile an item that found no
    /// room stands in line for it.
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
            // Not even room in line.
        }
        let answer = self.take_or_listen(|| Waiter::Thread(current()));
        if answer.is_none() {
            park(deadline);
        }
        answer
    }

    /// Whether the caller is a worker of the pool, which may not just sleep.
    pub(crate) fn is_inside(&self) -> bool {
        self.submitter.is_inside()
    }

    /// Waits for the oldest task, until the deadline at most: as a worker of the pool does, which runs it itself if it can. One that
    /// cannot be waited for is cancelled, so that it does not run after it was reported as failed.
    pub(crate) fn join_oldest(&mut self, deadline: Option<Instant>) {
        let oldest = self.places.iter_mut().find_map(|(number, place)| match place {
            Place::Started(handle) => Some((*number, handle.wait_or_cancel(deadline))),
            Place::Over(_) => None,
        });
        if let Some((number, Some(result))) = oldest {
            self.places.insert(number, Place::Over(result.map_err(CallError::from)));
            self.notifier.note(number);
        }
    }

    /// Cancels what has not started, tells what runs to stop, and forgets all results. Does not wait, and is the end.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        self.notifier.stop_listening();
        self.cancel();
        self.places.clear();
        self.held = None;
    }

    /// Cancels what has not started, waits for what runs, and forgets all results. Is the end.
    pub(crate) fn drain(&mut self) {
        self.is_closed = true;
        self.cancel();
        for place in std::mem::take(&mut self.places).into_values() {
            if let Place::Started(handle) = place {
                // Whatever it says, somebody else's failure came first.
                drop(handle.join());
            }
        }
        self.held = None;
    }

    fn cancel(&self) {
        for place in self.places.values() {
            if let Place::Started(handle) = place {
                // The item is dropped here, and may panic: the others are cancelled all the same.
                self.submitter.catch_user_panic(&mut || _ = handle.cancel());
            }
        }
    }
}

impl<T, R: Send + 'static> Place<T, R> {
    fn is_over(&self) -> bool {
        match self {
            Place::Started(handle) => handle.is_finished(),
            Place::Over(_) => true,
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
