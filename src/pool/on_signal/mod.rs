//! The end of a process in order: a signal closes its pools one after the other, a second one cancels, a third one exits.

mod ending;
mod signals;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::control::PoolControl;
use crate::cancel::CancelToken;
use ending::Ending;

/// Ends the program's pools when the process is told to end, and not before its tasks have. Call it once, before the work begins; then
/// [add](SignalShutdown::add) the pools. Does not block.
///
/// | signal | what happens |
/// |---|---|
/// | the first | the pools and steps that were added end in that order, each when the one before it has: a pool as in [`shutdown`](PoolControl::shutdown), so accepted tasks run |
/// | the second | all pools at once return what has not started, which is dropped and counted as `returned`, and tell running tasks to stop ([`Context::is_cancelled`](crate::Context::is_cancelled)) |
/// | the third | the process exits at once with status 128 + the signal's number, as shells report it: no destructor runs |
///
/// The signals are `SIGINT` (Ctrl-C) and `SIGTERM`, on Windows Ctrl-C and Ctrl-Break. They count together. Those that come in the same
/// moment may count as one. What handled them before, through the crate `signal-hook` or tokio, still does. The crate installs no
/// handler unless this is called. The handlers, and three threads that sleep until a signal comes, stay as long as the process. The second
/// signal starts a thread for each pool: one whose interrupters, or whose drops of what did not start, take long holds up no other.
///
/// The process does not end by itself: the program returns from `main` when [`wait`](SignalShutdown::wait) does, or when its own work has
/// ended.
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::new(2)?;
/// let ending = formicary::shutdown_on_signal()?;
/// ending.add(&pool);
///
/// let answer = pool.spawn(|| 6 * 7)?;
/// # #[cfg(unix)]
/// unsafe { libc::raise(libc::SIGTERM) }; // as `kill` does, or Ctrl-C
/// # #[cfg(not(unix))]
/// # ending.drain();
/// ending.wait();
/// assert_eq!(answer.join()?, 42);
/// assert!(pool.submit(|| ()).unwrap_err().is_closed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `AlreadyExists` if it was called before in this process; otherwise the system's, if it refuses a thread or a handler.
pub fn shutdown_on_signal() -> io::Result<SignalShutdown> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut is_installed = INSTALLED.lock();
    if *is_installed {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this process has a shutdown on signals already"));
    }
    let ending = Arc::new(Ending::default());
    let started = start(&ending);
    if started.is_err() {
        // Ends the threads that were started.
        ending.begin.cancel();
        ending.stop.cancel();
    }
    started?;
    *is_installed = true;
    Ok(SignalShutdown(ending))
}

/// The drain and the cancel have threads of their own, since user code runs in them. The one that gets the signals must stay free to exit.
fn start(ending: &Arc<Ending>) -> io::Result<()> {
    let drains = Arc::clone(ending);
    thread::Builder::new().name("formicary-drain".into()).spawn(move || drains.drain_in_order())?;
    let cancels = Arc::clone(ending);
    thread::Builder::new().name("formicary-cancel".into()).spawn(move || cancels.cancel_all())?;
    let told = Arc::clone(ending);
    signals::on_each(move || told.signal())
}

/// The pools and steps that end with the process, made by [`shutdown_on_signal`]. A clone is the same list. It keeps no pool alive, and a
/// pool that is dropped leaves it. Dropping it changes nothing.
///
/// ```
/// use formicary::{Pool, PoolWithFunc};
///
/// let ending = formicary::shutdown_on_signal()?;
/// let store = PoolWithFunc::new(1, |line: String| println!("{line}"))?;
/// let parse = Pool::new(4)?;
/// ending.add(&parse); // first: its tasks submit to the other
/// ending.add(&store);
/// ending.add_step(|| println!("all is stored"));
/// # parse.run(|| ())?;
/// # store.run("a line".to_owned())?;
/// ending.drain(); // a signal would do the same
/// ending.wait();
/// assert!(parse.is_closed() && store.is_closed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SignalShutdown(Arc<Ending>);

impl SignalShutdown {
    /// Adds a pool of any kind behind what was added before. One that is added after the second signal is cancelled at once, one that is added
    /// after the end is closed at once. Does not block.
    ///
    /// ```
    /// let ending = formicary::shutdown_on_signal()?;
    /// let (first, late) = (formicary::Pool::new(1)?, formicary::Pool::new(1)?);
    /// ending.add(&first);
    /// ending.drain();
    /// ending.wait();
    /// ending.add(&late);
    /// assert!(first.is_closed() && late.is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add<X: 'static>(&self, pool: &PoolControl<X>) {
        self.0.add(&pool.engine);
    }

    /// Adds something to be done in its turn: to wait for the connections of a server, to write what is left. Does not block. A step that
    /// waits may also look at [`cancel_token`](Self::cancel_token). It runs once, on a thread of the shutdown, which the next in line wait for.
    /// A panic in it ends it and nothing else. A step that is added after the end is dropped.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    ///
    /// let ending = formicary::shutdown_on_signal()?;
    /// let (tell, told) = channel();
    /// ending.add_step(move || tell.send("the connections are closed").unwrap());
    /// ending.drain();
    /// assert_eq!(told.recv()?, "the connections are closed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_step(&self, step: impl FnOnce() + Send + 'static) {
        self.0.add_step(Box::new(step));
    }

    /// Cancels, as the second signal does, when the drain takes longer than `limit`. It counts from the first signal, or from this call if
    /// that is later. Unlimited unless called; of several calls, the shortest limit counts. Does not block.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let ending = formicary::shutdown_on_signal()?;
    /// ending.cancel_after(Duration::from_millis(5));
    /// let pool = formicary::Pool::new(1)?;
    /// ending.add(&pool);
    /// pool.submit(|| while formicary::Context::with(|cx| cx.is_cancelled()) == Some(false) { std::thread::yield_now() })?;
    /// ending.drain();
    /// ending.wait();
    /// assert!(ending.cancel_token().is_cancelled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_after(&self, limit: Duration) {
        self.0.cancel_after(limit);
    }

    /// Does what the first signal does. The next signal is then the second. Does not block.
    ///
    /// ```
    /// let ending = formicary::shutdown_on_signal()?;
    /// ending.drain(); // an administrator's page says so
    /// ending.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&self) {
        self.0.begin.cancel();
    }

    /// Does what the second signal does. Does not block.
    ///
    /// ```
    /// let ending = formicary::shutdown_on_signal()?;
    /// let pool = formicary::Pool::new(1)?;
    /// ending.add(&pool);
    /// ending.cancel();
    /// ending.wait();
    /// assert!(pool.is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) {
        self.0.begin.cancel();
        self.0.stop.cancel();
    }

    /// A token that is cancelled at the first signal, before the first pool is closed. A loop that accepts work looks at it, a server
    /// awaits it. To cancel it is not a signal.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let ending = formicary::shutdown_on_signal()?;
    /// assert!(!ending.drain_token().is_cancelled());
    /// ending.drain();
    /// ending.drain_token().cancelled().await; // and now accept no more connections
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn drain_token(&self) -> &CancelToken {
        &self.0.drain
    }

    /// A token that is cancelled at the second signal, or when the [limit](Self::cancel_after) has passed. Work that belongs to no pool of
    /// the list looks at it.
    ///
    /// ```
    /// let ending = formicary::shutdown_on_signal()?;
    /// let until = ending.cancel_token().clone();
    /// ending.add_step(move || until.wait());
    /// ending.drain();
    /// ending.cancel();
    /// ending.wait(); // for the step
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cancel_token(&self) -> &CancelToken {
        &self.0.cancel
    }

    /// A token that is cancelled when everything that was added has ended, for those who await it. [`wait`](Self::wait) blocks for it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let ending = formicary::shutdown_on_signal()?;
    /// let pool = formicary::Pool::new(1)?;
    /// ending.add(&pool);
    /// ending.drain();
    /// ending.end_token().cancelled().await;
    /// assert_eq!(pool.stats().live, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn end_token(&self) -> &CancelToken {
        &self.0.end
    }

    /// Blocks until a signal has come and everything that was added has ended. A task that ignores the second signal holds it up; the third
    /// one, or the limit of a wait for [`end_token`](Self::end_token), ends that.
    ///
    /// Returns at once, before the end, where it would wait for itself: in a step, and in a task of a pool of the list. A wait for
    /// [`end_token`](Self::end_token) there does not return, and neither does a step that waits for another thread which waits here.
    ///
    /// ```
    /// let ending = formicary::shutdown_on_signal()?;
    /// let pool = formicary::Pool::new(1)?;
    /// ending.add(&pool);
    /// # ending.drain();
    /// ending.wait(); // the rest of `main` is for the last words
    /// println!("{}", pool.stats());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&self) {
        self.0.wait();
    }
}

impl fmt::Debug for SignalShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalShutdown")
            .field("drain", &self.0.drain.is_cancelled())
            .field("cancel", &self.0.cancel.is_cancelled())
            .field("end", &self.0.end.is_cancelled())
            .finish_non_exhaustive()
    }
}
