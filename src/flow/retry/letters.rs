//! Where tasks go that are given up.

use std::collections::VecDeque;
use std::fmt;

use super::error::RetryError;
use super::letter::DeadLetter;
use crate::error::{SubmitError, SubmitErrorKind};
use crate::flow::Sealed;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// What a [`Retrying`](crate::Retrying) does with a task that it gives up: [`NoLetters`], or [`DeadLetters`]. Sealed. It appears in bounds
/// only.
pub trait Letters<X, E>: Sealed + Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn receive(&self, task: X, error: &RetryError<E>, name: Option<&Arc<str>>);
}

/// Drops the tasks that are given up, which is the default of a [`Retrying`](crate::Retrying). The handle has the error.
///
/// ```
/// use formicary::{NoLetters, Pool, Retry, Retrying};
///
/// let pool = Pool::new(1)?;
/// let retrying: Retrying<_, String, NoLetters> = pool.retrying(Retry::none());
/// assert!(retrying.run(|| Ok(7))?.is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLetters;

impl Sealed for NoLetters {}
impl<X> Sealed for DeadLetters<X> {}

impl<X: Send, E> Letters<X, E> for NoLetters {
    fn receive(&self, task: X, _error: &RetryError<E>, _name: Option<&Arc<str>>) {
        catch_user_panic(|| drop(task));
    }
}

type Handler<X> = Box<dyn Fn(DeadLetter<X>) + Send + Sync>;

/// Tasks that were given up: a bounded queue, a handler, or both. For [`Retrying::dead_letters`](crate::Retrying::dead_letters).
///
/// `X` is the type of the tasks: the input on a [`PoolWithFunc`](crate::PoolWithFunc) or [`StatefulPool`](crate::StatefulPool), one type of
/// closures on a [`Pool`](crate::Pool). For closures of many types, let `X` be a `Box<dyn FnMut() -> Result<T, E> + Send>`.
///
/// A task comes here when it has no attempt left, if its failure is not retried, if its time is up, and if the pool is closed while it waits
/// for its next attempt, at once. One that was cancelled does not. Every letter that came is in the queue, was taken out, was given to the
/// handler, or was dropped: `received = len + taken + handled + dropped`, where a replayed letter counts as taken, and one that came back
/// from a replay does not.
///
/// Clones are references to the same letters. The error of the tasks must be `Display`: a letter has its text.
///
/// ```
/// use std::time::Duration;
/// use formicary::{DeadLetters, PoolWithFunc, Retry};
///
/// let pool = PoolWithFunc::new(1, |n: u8| if n < 200 { Ok(n) } else { Err("too large") })?;
/// let letters = DeadLetters::queue(100);
/// let retrying = pool.retrying(Retry::fixed(Duration::ZERO).attempts(2)).dead_letters(&letters);
/// assert!(retrying.run(250)?.is_err());
///
/// let letter = letters.take().unwrap();
/// assert_eq!((letter.attempts(), letter.error()), (2, "too large"));
/// assert_eq!(letter.into_task(), 250);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DeadLetters<X>(Arc<Shared<X>>);

struct Shared<X> {
    queue: Mutex<VecDeque<DeadLetter<X>>>,
    capacity: usize,
    handler: Option<Handler<X>>,
    received: AtomicU64,
    taken: AtomicU64,
    handled: AtomicU64,
    dropped: AtomicU64,
    handler_panics: AtomicU64,
}

/// The figures of [`DeadLetters`].
///
/// ```
/// let letters = formicary::DeadLetters::<String>::queue(10);
/// assert_eq!(letters.stats().received, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterStats {
    /// Letters that came.
    pub received: u64,
    /// Letters that were taken out, or replayed and accepted.
    pub taken: u64,
    /// Letters that were given to the handler.
    pub handled: u64,
    /// Letters that were dropped because the queue was full and there was no handler.
    pub dropped: u64,
    /// How often the handler panicked.
    pub handler_panics: u64,
}

/// What a [replay](DeadLetters::replay) did.
///
/// ```
/// let letters = formicary::DeadLetters::<String>::queue(10);
/// assert_eq!(letters.replay(|_task| Ok(())), formicary::Replayed::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// How many were accepted.
    pub accepted: usize,
    /// Why the next one was refused. It is in the queue again, before those that came later.
    pub refused: Option<SubmitErrorKind>,
}

impl<X: Send + 'static> DeadLetters<X> {
    fn new(capacity: usize, handler: Option<Handler<X>>) -> Self {
        let [received, taken, handled, dropped, handler_panics] = [(); 5].map(|()| AtomicU64::new(0));
        let queue = Mutex::new(VecDeque::new());
        DeadLetters(Arc::new(Shared { queue, capacity, handler, received, taken, handled, dropped, handler_panics }))
    }

    /// Keeps up to `capacity` letters. When it is full, the oldest is dropped for a new one, and counted. The memory is allocated as
    /// letters come.
    ///
    /// ```
    /// let letters = formicary::DeadLetters::<String>::queue(1000);
    /// assert!(letters.is_empty());
    /// ```
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[track_caller]
    pub fn queue(capacity: usize) -> Self {
        assert!(capacity > 0, "`capacity` is 0: there must be room for a letter");
        Self::new(capacity, None)
    }

    /// Gives each letter to a handler.
    ///
    /// It is called on the thread that gives the task up: a worker, or one that cancels or closes the pool, and in rare cases the crate's
    /// timer. So it must not take long, or block. A panic is caught and counted; the letter is gone then.
    ///
    /// ```
    /// use formicary::{DeadLetters, PoolWithFunc, Retry};
    ///
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let letters = DeadLetters::handler(move |letter| sender.send(letter.into_task()).unwrap());
    /// let pool = PoolWithFunc::new(1, |n: u8| Err::<(), _>(format!("no {n}")))?;
    /// pool.retrying(Retry::none()).dead_letters(&letters).submit(7)?;
    /// assert_eq!(receiver.recv()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handler(handler: impl Fn(DeadLetter<X>) + Send + Sync + 'static) -> Self {
        Self::new(0, Some(Box::new(handler)))
    }

    /// Keeps up to `capacity` letters. When it is full, a new one goes to a [handler](Self::handler).
    ///
    /// ```
    /// use formicary::DeadLetters;
    /// let letters = DeadLetters::<String>::queue_and_handler(1000, |letter| eprintln!("lost: {}", letter.error()));
    /// assert_eq!(letters.len(), 0);
    /// ```
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[track_caller]
    pub fn queue_and_handler(capacity: usize, handler: impl Fn(DeadLetter<X>) + Send + Sync + 'static) -> Self {
        assert!(capacity > 0, "`capacity` is 0: there must be room for a letter");
        Self::new(capacity, Some(Box::new(handler)))
    }

    /// Takes the oldest letter out of the queue.
    ///
    /// ```
    /// assert!(formicary::DeadLetters::<String>::queue(1).take().is_none());
    /// ```
    pub fn take(&self) -> Option<DeadLetter<X>> {
        let letter = self.0.queue.lock().pop_front();
        self.0.taken.fetch_add(u64::from(letter.is_some()), Ordering::Relaxed);
        letter
    }

    /// Takes all letters out of the queue, the oldest first.
    ///
    /// ```
    /// assert!(formicary::DeadLetters::<String>::queue(1).take_all().is_empty());
    /// ```
    pub fn take_all(&self) -> Vec<DeadLetter<X>> {
        let letters = std::mem::take(&mut *self.0.queue.lock());
        self.0.taken.fetch_add(letters.len() as u64, Ordering::Relaxed);
        letters.into()
    }

    /// How many letters are in the queue.
    ///
    /// ```
    /// assert_eq!(formicary::DeadLetters::<String>::queue(1).len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.0.queue.lock().len()
    }

    /// Whether no letter is in the queue.
    ///
    /// ```
    /// assert!(formicary::DeadLetters::<String>::queue(1).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The figures.
    ///
    /// ```
    /// assert_eq!(formicary::DeadLetters::<String>::queue(1).stats().dropped, 0);
    /// ```
    pub fn stats(&self) -> DeadLetterStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { received, taken, handled, dropped, handler_panics, .. } = &*self.0;
        DeadLetterStats {
            received: get(received),
            taken: get(taken),
            handled: get(handled),
            dropped: get(dropped),
            handler_panics: get(handler_panics),
        }
    }

    /// Submits the tasks in the queue again, the oldest first, with any verb of any pool. Stops at the first that is refused and puts it
    /// back. Letters that come meanwhile stay.
    ///
    /// ```
    /// use formicary::{DeadLetters, Pool, Retry};
    ///
    /// let pool = Pool::new(1)?;
    /// let letters = DeadLetters::queue(10);
    /// let retrying = pool.retrying(Retry::none()).dead_letters(&letters);
    /// let mut is_down = true;
    /// retrying.run(move || if std::mem::take(&mut is_down) { Err("down") } else { Ok(()) })?.unwrap_err();
    ///
    /// assert_eq!(letters.replay(|task| retrying.submit(task)).accepted, 1);
    /// pool.wait_idle();
    /// assert!(letters.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `submit` panics. The task that it was called with is gone then, and counts as taken.
    pub fn replay(&self, submit: impl FnMut(X) -> Result<(), SubmitError<X>>) -> Replayed {
        self.replay_some(usize::MAX, submit)
    }

    /// As [`replay`](Self::replay), for the oldest letter only.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| if n == 0 { Err("zero") } else { Ok(n) })?;
    /// let letters = formicary::DeadLetters::queue(10);
    /// let retrying = pool.retrying(formicary::Retry::none()).dead_letters(&letters);
    /// retrying.run(0)?.unwrap_err();
    /// assert_eq!(letters.replay_one(|n| pool.submit(n)).accepted, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// As `replay`.
    pub fn replay_one(&self, submit: impl FnMut(X) -> Result<(), SubmitError<X>>) -> Replayed {
        self.replay_some(1, submit)
    }

    fn replay_some(&self, most: usize, mut submit: impl FnMut(X) -> Result<(), SubmitError<X>>) -> Replayed {
        let mut replayed = Replayed::default();
        // A task may fail again, and be here again, before this has ended.
        for _ in 0..self.len().min(most) {
            let Some(DeadLetter { task, about }) = self.take() else { break };
            match submit(task) {
                Ok(()) => replayed.accepted += 1,
                Err(refusal) => {
                    let (kind, task) = refusal.into_parts();
                    self.put_back(DeadLetter { task, about });
                    replayed.refused = Some(kind);
                    break;
                }
            }
        }
        replayed
    }

    /// Returns a letter to the head of the queue. It is the oldest, so it leaves if the queue has become full.
    fn put_back(&self, letter: DeadLetter<X>) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        let mut queue = self.0.queue.lock();
        if queue.len() < self.0.capacity {
            queue.push_front(letter);
            return;
        }
        drop(queue);
        self.overflow(letter);
    }

    fn push(&self, letter: DeadLetter<X>) {
        self.0.received.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.0.queue.lock();
        if queue.len() < self.0.capacity {
            queue.push_back(letter);
            return;
        }
        let one_too_many = match self.0.handler {
            Some(_) => Some(letter),
            None => {
                queue.push_back(letter);
                queue.pop_front()
            }
        };
        drop(queue);
        one_too_many.into_iter().for_each(|letter| self.overflow(letter));
    }

    /// A letter for which there is no room.
    fn overflow(&self, letter: DeadLetter<X>) {
        let Some(handler) = &self.0.handler else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            catch_user_panic(|| drop(letter));
            return;
        };
        self.0.handled.fetch_add(1, Ordering::Relaxed);
        if catch_user_panic(|| handler(letter)).is_none() {
            self.0.handler_panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<X> Clone for DeadLetters<X> {
    fn clone(&self) -> Self {
        DeadLetters(Arc::clone(&self.0))
    }
}

impl<X> fmt::Debug for DeadLetters<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.queue.lock().len();
        f.debug_struct("DeadLetters").field("len", &len).field("capacity", &self.0.capacity).finish_non_exhaustive()
    }
}

impl<X: Send + 'static, E: fmt::Display> Letters<X, E> for DeadLetters<X> {
    fn receive(&self, task: X, error: &RetryError<E>, name: Option<&Arc<str>>) {
        self.push(DeadLetter::new(task, error, name));
    }
}
