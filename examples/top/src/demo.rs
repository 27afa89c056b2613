//! Pools with a load to look at: one of each kind, on one dispatch each. The tasks only sleep.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use formicary::observe::registry;
use formicary::{BoxError, CancelToken, Context, Pool, PoolWithFunc, Ring, Sharded, StatefulPool, SubmitError, Worker};

/// Three registered pools, and the threads that submit to them. Dropping it ends both: no task runs on.
#[derive(Debug)]
pub struct Demo {
    stop: CancelToken,
    thumbnails: Arc<Pool>,
    index: Arc<PoolWithFunc<Job, Ring>>,
    queries: Arc<StatefulPool<Connection, Sharded>>,
    submitters: Vec<JoinHandle<()>>,
}

/// A task.
#[derive(Clone, Debug)]
struct Job {
    time: Duration,
    stop: CancelToken,
}

impl Job {
    fn run(self) {
        let _ = self.stop.wait_timeout(self.time);
    }
}

/// A state that only counts what it has processed.
#[derive(Debug)]
struct Connection(u64);

impl Worker for Connection {
    type Input = Job;
    type Output = ();

    fn process(&mut self, job: Job, _cx: &Context<'_>) {
        job.run();
        self.0 += 1;
        if self.0 % 97 == 0 {
            // A panic without a message: the hook that prints it is not called.
            std::panic::resume_unwind(Box::new("the connection was lost"));
        }
    }
}

impl Demo {
    /// Builds and registers the pools and starts the load.
    ///
    /// ```
    /// let demo = formicary_top::demo::Demo::start()?;
    /// let pools = formicary::observe::registry().pools();
    /// let names: Vec<_> = pools.iter().map(|pool| pool.name()).collect();
    /// assert_eq!(names, ["thumbnails", "index", "queries"]);
    /// # Ok::<(), formicary::BoxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the builders, and of the system if it refuses a thread.
    pub fn start() -> Result<Demo, BoxError> {
        let thumbnails = Pool::builder().name("thumbnails").workers(8).queue(24).latencies().running_tasks();
        let index = PoolWithFunc::builder(Job::run).name("index").workers(4).queue(64).latencies().running_tasks();
        let queries = StatefulPool::builder(|_| Ok(Connection(0))).name("queries").workers(6).queue(32);
        let mut demo = Demo {
            stop: CancelToken::new(),
            thumbnails: Arc::new(thumbnails.build()?),
            index: Arc::new(index.dispatch::<Ring>().build()?),
            queries: Arc::new(queries.latencies().running_tasks().dispatch::<Sharded>().build()?),
            submitters: Vec::new(),
        };
        registry().add(&demo.thumbnails);
        registry().add(&demo.index);
        registry().add(&demo.queries);
        // Two threads, which wait for room in each burst.
        for first in [0, 50] {
            let pool = Arc::clone(&demo.thumbnails);
            demo.submitter(first, move |n, job| {
                let name = ["decode", "resize", "resize", "encode"][n as usize % 4];
                let job = job(Duration::from_millis(8 + n * 37 % 60));
                let submitted = pool.with().name(name).submit(move || job.run());
                unless_closed(submitted, if n % 100 == 99 { 1500 } else { 2 })
            })?;
        }
        // Bursts that the queue cannot take: what is too much is refused.
        let pool = Arc::clone(&demo.index);
        demo.submitter(0, move |n, job| {
            let (name, time) = if n % 10 == 0 { ("merge", 40) } else { ("parse", 1 + n * 7 % 12) };
            let job = job(Duration::from_millis(time));
            let submitted = pool.with().name(name).try_submit(job);
            unless_closed(submitted, if n % 400 < 80 { 0 } else { 4 })
        })?;
        // Short queries, and now and then one that runs for seconds.
        let pool = Arc::clone(&demo.queries);
        demo.submitter(0, move |n, job| {
            let (name, time) = if n % 150 == 20 { ("report", 2500) } else { ("select", 4 + n * 13 % 30) };
            let job = job(Duration::from_millis(time));
            let limit = Duration::from_secs(2);
            let submitted = pool.with().name(name).timeout(limit).submit(job);
            unless_closed(submitted, 3 + n / 40 % 3 * 4)
        })?;
        Ok(demo)
    }

    /// Starts a thread that submits, numbered from `first`. `submit` returns the time until the next one, or `None` at the end.
    fn submitter<F>(&mut self, first: u64, submit: F) -> std::io::Result<()>
    where
        F: Fn(u64, &dyn Fn(Duration) -> Job) -> Option<Duration> + Send + 'static,
    {
        let stop = self.stop.clone();
        let thread = thread::Builder::new().name("demo".into()).spawn(move || {
            let job = |time| Job { time, stop: stop.clone() };
            for n in first.. {
                match submit(n, &job) {
                    Some(pause) if !stop.wait_timeout(pause) => {}
                    _ => return,
                }
            }
        })?;
        self.submitters.push(thread);
        Ok(())
    }
}

/// The pause in milliseconds, unless the pool is closed. Other refusals belong to the load.
fn unless_closed<X>(submitted: Result<(), SubmitError<X>>, pause: u64) -> Option<Duration> {
    let is_closed = submitted.is_err_and(|refusal| refusal.is_closed());
    (!is_closed).then_some(Duration::from_millis(pause))
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.cancel();
        // The tasks that have not started go with it, also those of a paused pool.
        drop(self.thumbnails.shutdown_now());
        drop(self.index.shutdown_now());
        drop(self.queries.shutdown_now());
        for thread in self.submitters.drain(..) {
            let _ = thread.join();
        }
    }
}
