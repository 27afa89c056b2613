//! A task that runs again and again: its runs, one after the other, and what its owner sees of them.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Wake};
use std::time::Instant;

use parking_lot::Mutex;

use super::period::Every;
use crate::error::{JoinError, SubmitErrorKind};
use crate::pool::{Accepts, WeakWith};
use crate::sync::Arc;
use crate::sync::clock;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::waiter::Waiter;
use crate::task::running_tasks::Stop;
use crate::task::state::{Outcome, TaskState};

/// A task that runs again and again; made by [`Pool::submit_every`](crate::Pool::submit_every) and the methods of that name. Dropping it
/// leaves the task running.
///
/// ```
/// use std::time::Duration;
///
/// let pool = formicary::Pool::new(1)?;
/// let series = pool.submit_every(Duration::from_secs(3600), || println!("tick"))?;
/// assert_eq!((series.runs(), series.is_over()), (0, false));
/// series.cancel();
/// assert!(series.is_over());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Series {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    runs: AtomicU64,
    panics: AtomicU64,
    skipped: AtomicU64,
    missed: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The task of the run that is scheduled, or runs. `None` between two runs.
    run: Option<Arc<dyn Stop>>,
    /// Its time.
    due: Option<Instant>,
    is_over: bool,
}

impl Series {
    /// Ends the series. A run that has not started never will; its captures are dropped at once. A run that has started is told to stop
    /// ([`Context::is_cancelled`](crate::Context::is_cancelled)), and is not waited for.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let series = pool.submit_every(std::time::Duration::from_secs(3600), || ())?;
    /// series.cancel();
    /// assert_eq!(pool.stats().scheduled, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("abort", "stop"))]
    pub fn cancel(&self) {
        let run = self.shared.end();
        run.into_iter().for_each(|run| run.stop());
    }

    /// How many runs have ended, those that panicked included.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let series = pool.submit_every(std::time::Duration::from_millis(1), || ())?;
    /// while series.runs() < 3 {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.shared.runs.load(Ordering::Relaxed)
    }

    /// How many runs have panicked.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let series = pool.submit_every(std::time::Duration::from_millis(1), || panic!("broken"))?;
    /// while series.panics() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// How many runs were left out because their times had passed ([`Overrun::Skip`](crate::Overrun::Skip)).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let series = pool.submit_every(std::time::Duration::from_secs(3600), || ())?;
    /// assert_eq!(series.skipped(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.load(Ordering::Relaxed)
    }

    /// How many runs did not start because the pool refused them at their time, or their own limit of time had passed.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).nonblocking(true).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// let series = pool.submit_every(std::time::Duration::from_millis(1), || ())?;
    /// while series.missed() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// The time of the run that is scheduled, or that runs or waits for a worker since. `None` if the series is over.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let time = Instant::now() + Duration::from_secs(3600);
    /// let series = pool.with().at(time).submit_every(Duration::from_secs(60), || || ())?;
    /// assert_eq!(series.next_run(), Some(time));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn next_run(&self) -> Option<Instant> {
        let state = self.shared.state.lock();
        state.due.filter(|_| !state.is_over)
    }

    /// Whether there will be no other run. A last one may still run.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let series = pool.submit_every(std::time::Duration::from_secs(3600), || ())?;
    /// pool.shutdown();
    /// assert!(series.is_over());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.state.lock().is_over
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series")
            .field("runs", &self.runs())
            .field("panics", &self.panics())
            .field("skipped", &self.skipped())
            .field("missed", &self.missed())
            .field("next_run", &self.next_run())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Ends the series. Returns the run that was scheduled or runs.
    fn end(&self) -> Option<Arc<dyn Stop>> {
        let mut state = self.state.lock();
        state.is_over = true;
        state.run.take()
    }

    /// A run is scheduled. Returns it if the series is over.
    fn set_run(&self, due: Instant, run: Arc<dyn Stop>) -> Option<Arc<dyn Stop>> {
        let mut state = self.state.lock();
        if state.is_over {
            return Some(run);
        }
        state.due = Some(due);
        state.run = Some(run);
        None
    }

    /// Counts a run that is over. Returns whether the series goes on.
    fn note(&self, ended: Result<(), JoinError>) -> bool {
        let run = self.state.lock().run.take();
        drop(run);
        let counter = match ended {
            Ok(()) => &self.runs,
            Err(error) if error.is_panic() => {
                self.panics.fetch_add(1, Ordering::Relaxed);
                &self.runs
            }
            Err(error) => {
                let is_missed =
                    error.is_timed_out() || error.refusal().is_some_and(|kind| kind != SubmitErrorKind::Closed);
                if !is_missed {
                    return false;
                }
                &self.missed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        !self.state.lock().is_over
    }
}

/// Begins the series whose first run, at `due`, is scheduled.
pub(super) fn begin<P, X, M>(
    with: WeakWith<P>,
    every: Every,
    due: Instant,
    first: Arc<TaskState<X, P::Output>>,
    make: M,
) -> Series
where
    P: Accepts<X> + 'static,
    X: Send + 'static,
    M: FnMut() -> X + Send + 'static,
{
    let shared = Arc::<Shared>::default();
    let runs = DetachedFuture::new(run_all(with, every, due, first, make, Arc::clone(&shared)));
    runs.wake();
    Series { shared }
}

/// Waits for the end of each run, and schedules the next. It is polled on the thread that ends a run.
async fn run_all<P, X, M>(
    with: WeakWith<P>,
    every: Every,
    mut due: Instant,
    mut run: Arc<TaskState<X, P::Output>>,
    mut make: M,
    shared: Arc<Shared>,
) where
    P: Accepts<X> + 'static,
    X: Send + 'static,
    M: FnMut() -> X + Send + 'static,
{
    loop {
        if let Some(unwanted) = shared.set_run(due, Arc::clone(&run) as Arc<dyn Stop>) {
            unwanted.stop();
        }
        let ended = match ended(&run).await {
            Outcome::Done(Ok(output)) => {
                with.catch_user_panic(|| drop(output));
                Ok(())
            }
            Outcome::Done(Err(error)) => Err(error),
            _ => break,
        };
        if !shared.note(ended) {
            break;
        }
        let (next, skipped) = every.next(due, clock::now());
        shared.skipped.fetch_add(skipped, Ordering::Relaxed);
        due = next;
        // Before the run is scheduled, so that who sees it there is told its time.
        shared.state.lock().due = Some(due);
        let Some(input) = with.catch_user_panic(&mut make) else { break };
        match with.schedule(due, input) {
            Ok(task_state) => run = task_state,
            Err(_) => break,
        }
    }
    drop(shared.end());
}

/// Waits for the end of a run, and takes its result. Never runs it, as a poll of a handle may.
async fn ended<I: Send, O: Send>(run: &TaskState<I, O>) -> Outcome<I, O> {
    let mut entry = None;
    poll_fn(|poller| {
        entry = run.relisten(entry.take(), Waiter::Task(poller.waker().clone()));
        if entry.is_none() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    run.poll(None).unwrap_or(Outcome::TimedOut)
}
