//! Tasks that run again and again.
//!
//! A run is a task that the pool's schedule keeps until its time. The end of a run schedules the next, so runs do not overlap, and a series
//! keeps neither a thread nor the pool: what the schedule does with its tasks at a shutdown ends the series too.

mod period;
mod series;

use std::time::Instant;

use parking_lot::Mutex;

pub use period::{Every, Overrun};
pub use series::Series;

use crate::combinators::limited::Limited;
use crate::error::SubmitError;
use crate::pool::{Accepts, AnyPool, Pool, PoolWithFunc, StatefulPool, WeakWith, With, time_after};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::sync::clock;
use crate::task::worker::Worker;

impl<P: AnyPool> With<'_, P> {
    /// Runs a task again and again, each one made by `make`: the closures of a [`Pool`], the payloads or inputs of the other kinds. `every` is
    /// an [`Every`], or a [`Duration`](std::time::Duration) for [`Every::rate`]. The first run is at the [time](Self::at) that is set,
    /// or else after one period; the result of a run is dropped.
    ///
    /// Runs of a series never overlap. Each is a task of the pool, with these options: limits of time count from its own time, a key or a
    /// view applies to it, and the pool counts and observes it. `make` is called here for the first run and, for each other, on the thread
    /// that has ended the run before, when that ends; it should be quick. A run that panics is reported as any task, and one that finds no
    /// room in its time is counted as [missed](Series::missed); the series goes on.
    ///
    /// The series ends when it is [cancelled](Series::cancel), when the pool or the view is closed, when the token is cancelled or the
    /// deadline passes, or when `make` panics, which is caught and counted
    /// ([`Stats::handler_panics`](crate::Stats::handler_panics)). Dropping the [`Series`] leaves it running. It keeps neither the pool nor the
    /// view. What becomes of the next run when the pool is closed: [`Builder::on_close`](crate::Builder::on_close).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let squares = formicary::PoolWithFunc::new(1, move |n: u64| tell.send(n * n).unwrap())?;
    /// let mut n = 0;
    /// let named = squares.with().name("square");
    /// let series = named.submit_every(Duration::from_millis(1), move || { n += 1; n })?;
    /// assert_eq!((told.recv()?, told.recv()?), (1, 4));
    /// series.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// On a `Pool`, `make` is a closure that returns the closure of a run:
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let named = pool.with().name("tick");
    /// let series = named.submit_every(Duration::from_millis(1), move || {
    ///     let tell = tell.clone();
    ///     move || tell.send("tick").unwrap()
    /// })?;
    /// assert_eq!([told.recv()?, told.recv()?], ["tick"; 2]);
    /// series.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with `make`, if the first run cannot be scheduled.
    ///
    /// # Panics
    /// If the options name a [`weight`](Self::weight).
    #[track_caller]
    pub fn submit_every<X, M>(&self, every: impl Into<Every>, mut make: M) -> Result<Series, SubmitError<M>>
    where
        P: Accepts<X> + 'static,
        X: Send + 'static,
        M: FnMut() -> X + Send + 'static,
    {
        let every = every.into();
        assert!(self.has_no_weight(), "a task that runs again and again has no weight");
        let first: Instant = self.due().unwrap_or_else(|| time_after(clock::now(), every.period()));
        let with = WeakWith::new(self);
        match with.schedule(first, make()) {
            Ok(task_state) => Ok(series::begin(with, every, first, task_state, make)),
            Err(refusal) => Err(SubmitError::new(refusal.kind(), make)),
        }
    }
}

/// A closure that runs again and again. It is taken out while it runs, so that no lock is held.
struct Again<F>(Arc<Mutex<Option<F>>>);

impl<F: FnMut() + Send + 'static> Again<F> {
    fn of(f: F) -> Self {
        Again(Arc::new(Mutex::new(Some(f))))
    }

    /// The next run.
    fn next(&self) -> impl FnOnce() + Send + 'static + use<F> {
        let again = Again(Arc::clone(&self.0));
        move || {
            let f = again.0.lock().take();
            if let Some(f) = f {
                let mut running = PutBack { again, f: Some(f) };
                if let Some(f) = &mut running.f {
                    f();
                }
            }
        }
    }

    /// The closure, if it does not run.
    fn take(&self) -> Option<F> {
        self.0.lock().take()
    }
}

/// Puts the closure back when its run ends, also by a panic.
struct PutBack<F> {
    again: Again<F>,
    f: Option<F>,
}

impl<F> Drop for PutBack<F> {
    fn drop(&mut self) {
        *self.again.0.lock() = self.f.take();
    }
}

/// Submits a closure that needs no input.
fn closure_every<P, F, X>(
    with: &With<'_, P>,
    every: impl Into<Every>,
    f: F,
    next: impl Fn(&Again<F>) -> X + Send + 'static,
) -> Result<Series, SubmitError<F>>
where
    P: Accepts<X> + 'static,
    X: Send + 'static,
    F: FnMut() + Send + 'static,
{
    let again = Again::of(f);
    let kept = Again(Arc::clone(&again.0));
    with.submit_every(every, move || next(&again)).map_err(|refusal| {
        let Some(f) = kept.take() else { unreachable!("a closure that was refused does not run") };
        SubmitError::new(refusal.kind(), f)
    })
}

macro_rules! submit_every {
    () => {
        /// Runs a closure again and again: `every` period, for the first time after one. A [`Duration`](std::time::Duration) is a fixed rate,
        /// [`Every`] has other ways. Runs never overlap, each is a task of the pool, and a panic in one does not end the series. The
        /// [`Series`] cancels and counts; dropping it leaves the series running, until the pool is closed.
        ///
        /// With options, and when the series ends: [`With::submit_every`].
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// let pool = formicary::Pool::new(1)?;
        /// let (tell, told) = std::sync::mpsc::channel();
        /// let series = pool.submit_every(Duration::from_millis(1), move || tell.send("tick").unwrap())?;
        /// assert_eq!([told.recv()?, told.recv()?], ["tick"; 2]);
        /// series.cancel();
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        ///
        /// # Errors
        /// [`SubmitError`], with the closure, if the first run cannot be scheduled.
        pub fn submit_every<F>(&self, every: impl Into<Every>, f: F) -> Result<Series, SubmitError<F>>
        where
            F: FnMut() + Send + 'static,
        {
            closure_every(&self.with(), every, f, Again::next)
        }
    };
}

impl<D: Dispatch> Pool<D> {
    submit_every!();
}

impl<D: Dispatch> Limited<Pool<D>> {
    submit_every!();
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// Runs the function again and again, with payloads that `make` makes. See [`With::submit_every`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let pool = formicary::PoolWithFunc::new(1, move |host: &str| tell.send(host.len()).unwrap())?;
    /// let series = pool.submit_every(Duration::from_millis(1), || "localhost")?;
    /// assert_eq!((told.recv()?, told.recv()?), (9, 9));
    /// series.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with `make`, if the first run cannot be scheduled.
    pub fn submit_every<M>(&self, every: impl Into<Every>, make: M) -> Result<Series, SubmitError<M>>
    where
        M: FnMut() -> T + Send + 'static,
    {
        self.with().submit_every(every, make)
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Has a worker process an input again and again, which `make` makes. See [`With::submit_every`].
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// let series = squares.submit_every(std::time::Duration::from_millis(1), || 7)?;
    /// while series.runs() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with `make`, if the first run cannot be scheduled.
    pub fn submit_every<M>(&self, every: impl Into<Every>, make: M) -> Result<Series, SubmitError<M>>
    where
        M: FnMut() -> W::Input + Send + 'static,
    {
        self.with().submit_every(every, make)
    }
}
