//! Tasks that are not run twice at a time.

use std::collections::BTreeMap;
use std::fmt;

use super::Retrying;
use super::attempts::Attempts;
use super::counters::Due;
use super::error::RetryError;
use super::letters::Letters;
use crate::cancel::CancelToken;
use crate::error::SubmitError;
use crate::flow::base::{Base, Judges};
use crate::flow::repeats::Repeats;
use crate::sync::{Arc, Mutex};
use crate::task::handle::{Handle, SharedHandle};

/// Takes an entry out of the table, to drop it without the lock.
type Remove = Box<dyn FnMut() + Send>;

/// The key of a task, which is taken until this is dropped.
pub(super) struct Held(Remove);

impl Drop for Held {
    fn drop(&mut self) {
        (self.0)();
    }
}

type Table<T, E> = Mutex<BTreeMap<Arc<str>, SharedHandle<Result<T, RetryError<E>>>>>;

/// Runs no two tasks of the same key at a time; made by [`Retrying::once_per_key`].
///
/// While a task is unfinished, from its submission until its last attempt has ended, another one with its key is not run: it is dropped,
/// and its submitter gets a handle to the result of the first. A key costs an entry of a map while its task is unfinished, and nothing
/// afterwards: a task that comes later is run. So this is against duplicates that come together; what must not run again even later needs
/// a record that outlives the process.
///
/// ```
/// use formicary::{Pool, Retry};
///
/// let pool = Pool::new(2)?;
/// let once = pool.retrying(Retry::<String>::none()).once_per_key();
/// let pause = pool.pause();
/// let first = once.spawn("order-17", || Ok(1))?;
/// let second = once.spawn("order-17", || Ok(2))?;
/// drop(pause);
/// assert_eq!(first.join().unwrap().as_ref().unwrap(), &1);
/// assert_eq!(second.join().unwrap().as_ref().unwrap(), &1);
/// assert_eq!(once.unfinished(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OncePerKey<T: Send + Sync + 'static, B: Base, E: Send + Sync + 'static, L> {
    retrying: Retrying<B, E, L>,
    unfinished: Arc<Table<T, E>>,
}

impl<B: Base, E: Send + Sync + 'static, L> Retrying<B, E, L> {
    /// Runs no two tasks of the same key at a time. See [`OncePerKey`]. Each call makes a table of its own; to share one, put the
    /// value into an `Arc`, or clone it.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let once = pool.retrying(formicary::Retry::<String>::none()).once_per_key();
    /// assert!(once.spawn("a", || Ok(7))?.join().unwrap().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn once_per_key<T: Send + Sync + 'static>(self) -> OncePerKey<T, B, E, L> {
        OncePerKey { retrying: self, unfinished: Arc::new(Mutex::new(BTreeMap::new())) }
    }
}

/// The handle that all submitters of one key share.
type Shared<T, E> = SharedHandle<Result<T, RetryError<E>>>;

impl<T: Send + Sync + 'static, B: Base, E: Send + Sync + 'static, L> OncePerKey<T, B, E, L> {
    /// The handle of the unfinished task with this key; or that of a new one, and what is due for it.
    #[expect(clippy::type_complexity)]
    fn claim(&self, key: Arc<str>) -> Result<(Shared<T, E>, Due<Result<T, RetryError<E>>>, CancelToken), Shared<T, E>> {
        let (promise, token) = self.retrying.promise();
        let handle = Handle::new(promise.task_state()).shared();
        let mut unfinished = self.unfinished.lock();
        if let Some(first) = unfinished.get(&key) {
            return Err(first.clone());
        }
        unfinished.insert(Arc::clone(&key), handle.clone());
        drop(unfinished);
        let table = Arc::clone(&self.unfinished);
        let held = Held(Box::new(move || {
            let removed = table.lock().remove(&key);
            drop(removed);
        }));
        Ok((handle, Due::new(promise, Some(held)), token))
    }

    /// How many keys have an unfinished task.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let once = pool.retrying(formicary::Retry::<String>::none()).once_per_key::<u8>();
    /// assert_eq!(once.unfinished(), 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn unfinished(&self) -> usize {
        self.unfinished.lock().len()
    }

    fn spawn_for<X>(&self, key: Arc<str>, x: X, waits: bool) -> Result<Shared<T, E>, SubmitError<X>>
    where
        B: Judges<Result<T, E>>,
        B::Pool: Repeats<X, Value = T, Error = E>,
        L: Letters<X, E>,
        X: Send + 'static,
    {
        match self.claim(key) {
            Ok((handle, due, token)) => {
                Attempts::new(&self.retrying, x, due, token).submit(waits)?;
                Ok(handle)
            }
            Err(first) => Ok(first),
        }
    }

    /// Submits a task, unless one with this key is unfinished. Returns a handle to the result of the one that is run. Blocks while the pool
    /// is full.
    ///
    /// The handle is shared: to cancel it cancels the task for all.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let once = pool.retrying(formicary::Retry::<String>::none()).once_per_key();
    /// assert!(once.spawn("a", || Ok(7))?.join().unwrap().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the task, if the pool refuses it. Those that got the handle of this task meanwhile find it cancelled.
    pub fn spawn<X>(&self, key: impl Into<Arc<str>>, x: X) -> Result<Shared<T, E>, SubmitError<X>>
    where
        B: Judges<Result<T, E>>,
        B::Pool: Repeats<X, Value = T, Error = E>,
        L: Letters<X, E>,
        X: Send + 'static,
    {
        self.spawn_for(key.into(), x, true)
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let once = pool.retrying(formicary::Retry::<String>::none()).once_per_key();
    /// assert!(once.try_spawn("a", || Ok(7))?.join().unwrap().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `spawn`; of kind `Full` if there is no room.
    pub fn try_spawn<X>(&self, key: impl Into<Arc<str>>, x: X) -> Result<Shared<T, E>, SubmitError<X>>
    where
        B: Judges<Result<T, E>>,
        B::Pool: Repeats<X, Value = T, Error = E>,
        L: Letters<X, E>,
        X: Send + 'static,
    {
        self.spawn_for(key.into(), x, false)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future. Dropping the future drops the task and frees the key.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// let once = pool.retrying(formicary::Retry::<String>::none()).once_per_key();
    /// assert!(once.spawn_async("a", || Ok(7)).await?.join().unwrap().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `spawn`.
    pub async fn spawn_async<X>(&self, key: impl Into<Arc<str>> + Send, x: X) -> Result<Shared<T, E>, SubmitError<X>>
    where
        B: Judges<Result<T, E>>,
        B::Pool: Repeats<X, Value = T, Error = E>,
        L: Letters<X, E>,
        X: Send + 'static,
    {
        match self.claim(key.into()) {
            Ok((handle, due, token)) => {
                Attempts::new(&self.retrying, x, due, token).submit_async().await?;
                Ok(handle)
            }
            Err(first) => Ok(first),
        }
    }
}

impl<T: Send + Sync + 'static, B: Base, E: Send + Sync + 'static, L: Clone> Clone for OncePerKey<T, B, E, L> {
    fn clone(&self) -> Self {
        OncePerKey { retrying: self.retrying.clone(), unfinished: Arc::clone(&self.unfinished) }
    }
}

impl<T: Send + Sync + 'static, B: Base, E: Send + Sync + 'static, L> fmt::Debug for OncePerKey<T, B, E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OncePerKey").field("unfinished", &self.unfinished()).finish_non_exhaustive()
    }
}
