//! The pool of one function.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use super::call_func::CallFunc;
use super::control::PoolControl;
use super::verbs;
use super::with::With;
use crate::engine::{Engine, WaitMode};
use crate::error::{BuildError, CallError, SubmitAllError, SubmitError};
use crate::pool::builder::Builder;
use crate::queue::{Dispatch, Stack};
use crate::task::handle::Handle;

/// A pool that calls one function, bound when the pool is built, with payloads of one type. The queue holds only payloads, so
/// [`submit`](Self::submit) does not allocate.
///
/// A payload is moved by value a dozen times on its way through the stacks of both threads. Box payloads larger than about 32 KiB.
///
/// ```
/// use formicary::PoolWithFunc;
///
/// let pool = PoolWithFunc::new(4, |word: &'static str| word.len())?;
/// assert_eq!(pool.run("formica")?, 7); // waits for the result
/// pool.submit("rufa")?; // does not
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("NewPoolWithFunc", "NewFunc"))]
pub struct PoolWithFunc<T, D = Stack, R = ()>
where
    T: Send + 'static,
    D: Dispatch,
    R: Send + 'static,
{
    pub(crate) engine: Arc<Engine<CallFunc<T, R>, D>>,
    control: PoolControl<T>,
}

/// Builds a [`PoolWithFunc`]; made by [`PoolWithFunc::builder`].
///
/// ```
/// let pool = formicary::PoolWithFunc::builder(|n: u64| n + 1).workers(1).build()?;
/// assert_eq!(pool.run(1)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Function<F, T, R>(F, PhantomData<fn(T) -> R>);

impl<F, T, R> fmt::Debug for Function<F, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").finish_non_exhaustive()
    }
}

impl<F, T, R, D: Dispatch> Builder<Function<F, T, R>, D>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    /// Builds the pool and starts its minimum of workers.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::builder(|n: u64| n + 1).workers(1).build()?;
    /// assert_eq!(pool.run(1)?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`], which names the option that was wrong, or says why the first worker could not start.
    pub fn build(self) -> Result<PoolWithFunc<T, D, R>, BuildError> {
        Engine::build(self.options, CallFunc::new(self.kind.0)).map(PoolWithFunc::from_engine)
    }
}

impl<T: Send + 'static, R: Send + 'static> PoolWithFunc<T, Stack, R> {
    /// A pool of at most `workers` workers that call `func`. All other options have the [`Builder`]'s defaults.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(4, |n: u64| n * n)?;
    /// assert_eq!(pool.run(9)?, 81);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too large, or if the system refuses a thread.
    #[doc(alias("NewPoolWithFunc", "NewFunc"))]
    pub fn new(workers: usize, func: impl Fn(T) -> R + Send + Sync + 'static) -> Result<Self, BuildError> {
        Self::builder(func).workers(workers).build()
    }

    /// A builder for a pool that calls `func`.
    ///
    /// ```
    /// use formicary::PoolWithFunc;
    ///
    /// let pool = PoolWithFunc::builder(|n: u64| n * n).workers(2).queue(16).build()?;
    /// assert_eq!(pool.run(7)?, 49);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder<F>(func: F) -> Builder<Function<F, T, R>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        Builder::of(Function(func, PhantomData))
    }
}

/// The verbs.
impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// Submits a payload. The function's result is dropped on the worker.
    ///
    /// Blocks while the pool is full, that is while it has as many unfinished tasks as workers and places in the queue together. A
    /// [`nonblocking`](Builder::nonblocking) pool refuses the payload instead. On a thread of the pool itself this never waits for room:
    /// see [`Builder::nested`].
    ///
    /// ```
    /// let printer = formicary::PoolWithFunc::new(1, |word: &str| println!("{word}"))?;
    /// printer.submit("formica")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload: if the pool is closed; if it has no worker and the system refuses a thread; and, where this may
    /// not wait, if the pool is full or [too many](Builder::max_blocking) submitters wait already.
    #[doc(alias("execute", "go", "invoke"))]
    pub fn submit(&self, payload: T) -> Result<(), SubmitError<T>> {
        verbs::submit(self, payload, verbs::mode(self))
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// ```
    /// let pause = std::time::Duration::from_millis(20);
    /// let sleeper = formicary::PoolWithFunc::builder(std::thread::sleep).workers(1).queue(0).build()?;
    /// sleeper.try_submit(pause)?;
    /// assert!(sleeper.try_submit(pause).is_err_and(|refusal| refusal.is_full()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`; of kind `Full` if there is no room.
    #[doc(alias("try_invoke", "try_execute"))]
    pub fn try_submit(&self, payload: T) -> Result<(), SubmitError<T>> {
        verbs::submit(self, payload, WaitMode::Never)
    }

    /// As [`submit`](Self::submit), but waits for room as a future, which blocks no thread. Dropping the future takes the payload back.
    ///
    /// Futures and blocked threads share one wait queue. A future that is woken and not polled does not hold up those behind it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// lengths.submit_async("formica").await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`. It waits for room also on a `nonblocking` pool, since it blocks no thread.
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub fn submit_async(&self, payload: T) -> impl Future<Output = Result<(), SubmitError<T>>> + Send {
        verbs::submit_async(self, payload, WaitMode::Forever.into())
    }

    /// Submits a payload and returns a [`Handle`] to the function's result. Blocks as [`submit`](Self::submit) does.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.spawn("formica")?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[doc(alias("spawn_blocking", "apply_async"))]
    pub fn spawn(&self, payload: T) -> Result<Handle<R>, SubmitError<T>> {
        verbs::spawn(self, payload, verbs::mode(self))
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::builder(|word: &'static str| word.len()).workers(1).queue(0).build()?;
    /// let pause = lengths.pause();
    /// let handle = lengths.try_spawn("formica")?;
    /// assert!(lengths.try_spawn("lasius").is_err_and(|refusal| refusal.is_full()));
    /// drop(pause);
    /// assert_eq!(handle.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn(&self, payload: T) -> Result<Handle<R>, SubmitError<T>> {
        verbs::spawn(self, payload, WaitMode::Never)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future. Its output is the handle, which is a future of the result.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// let handle = lengths.spawn_async("formica").await?;
    /// assert_eq!(handle.await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit_async`](Self::submit_async).
    pub fn spawn_async(&self, payload: T) -> impl Future<Output = Result<Handle<R>, SubmitError<T>>> + Send {
        verbs::spawn_async(self, payload)
    }

    /// Calls the function on a worker and waits for its result. On a thread of the pool itself it is called on that thread.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.run("formica")?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the payload, as by [`submit`](Self::submit) or because the pool was closed before the task started; or
    /// failed, because it panicked.
    #[doc(alias("call", "process", "install"))]
    pub fn run(&self, payload: T) -> Result<R, CallError<T>> {
        verbs::run(self, payload, verbs::mode(self).into())
    }

    /// As [`run`](Self::run), but does not wait for room. It waits for the result.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::builder(|word: &'static str| word.len()).workers(1).queue(0).build()?;
    /// assert_eq!(lengths.try_run("formica")?, 7);
    /// let pause = lengths.pause();
    /// lengths.submit("rufa")?;
    /// assert!(lengths.try_run("lasius").unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`; refused with kind `Full` if there is no room.
    pub fn try_run(&self, payload: T) -> Result<R, CallError<T>> {
        verbs::run(self, payload, WaitMode::Never.into())
    }

    /// As [`run`](Self::run), but waits as a future, first for room and then for the result. Dropping the future takes the payload back if
    /// it has not entered the pool yet; otherwise the task goes on.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.run_async("formica").await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`.
    pub fn run_async(&self, payload: T) -> impl Future<Output = Result<R, CallError<T>>> + Send {
        verbs::run_async(self, payload)
    }

    /// Options for the verbs that are called on the value: a token, a deadline, a name, a key. See [`With`].
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// let limit = std::time::Duration::from_secs(60);
    /// assert_eq!(lengths.with().timeout(limit).run("formica")?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with(&self) -> With<'_, Self> {
        With::new(self)
    }

    /// Submits all payloads of an iterator, in order, and returns how many there were. Blocks as [`submit`](Self::submit) does for each of
    /// them; the iterator may block too.
    ///
    /// The items of a `Vec`, a boxed slice, a `VecDeque`, an array of up to 32, a copied slice, or a range are at hand: they go in batches of
    /// up to 64, as far as there is room, with one step and one wake-up for a batch. Any other iterator may block, an adaptor of these too, so
    /// each of its items goes alone.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.submit_all(["formica", "lasius"])?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as `submit` for the first payload that is refused. It holds that payload, the number of those accepted
    /// before, and the rest of the iterator.
    #[doc(alias("invokeAll", "invoke_all"))]
    pub fn submit_all<I>(&self, all: I) -> Result<usize, SubmitAllError<T, I::IntoIter>>
    where
        I: IntoIterator<Item = T>,
    {
        verbs::submit_all_plain(self, all, verbs::mode(self).into(), |x| self.submit(x))
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    pub(crate) fn from_engine(engine: Arc<Engine<CallFunc<T, R>, D>>) -> Self {
        let control = PoolControl::new(Arc::<Engine<_, _>>::clone(&engine), "PoolWithFunc");
        PoolWithFunc { engine, control }
    }

    /// As [`new`](PoolWithFunc::new), for any dispatch.
    ///
    /// ```
    /// use formicary::{PoolWithFunc, Ring};
    ///
    /// let pool = PoolWithFunc::<u64, Ring, u64>::with_workers(4, |n| n * n)?;
    /// assert_eq!(pool.run(9)?, 81);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `new`.
    pub fn with_workers(workers: usize, func: impl Fn(T) -> R + Send + Sync + 'static) -> Result<Self, BuildError> {
        PoolWithFunc::builder(func).workers(workers).dispatch::<D>().build()
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> Deref for PoolWithFunc<T, D, R> {
    type Target = PoolControl<T>;

    fn deref(&self) -> &PoolControl<T> {
        &self.control
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> fmt::Debug for PoolWithFunc<T, D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.control.fmt(f)
    }
}
