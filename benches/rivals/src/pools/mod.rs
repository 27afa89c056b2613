//! The contestants, each behind the same two small traits.
//!
//! A new rival is one file here that implements [`Closures`], and one line in [`contestants`].

mod affinitypool;
mod array_queue;
mod beekeeper;
mod blocking;
mod channel;
mod executors;
mod ignore;
mod ours;
mod rayon;
mod rusty_pool;
mod threadfin;
mod threadpool;
mod tokio;
mod workerpool;

use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

pub use ours::SPIN_60;

use crate::measure::TALLY;
use crate::scenarios;
use crate::scenarios::Ask;

/// The settings of a pool.
#[derive(Clone, Copy)]
pub struct Plan {
    /// The most threads that may run tasks.
    pub workers: usize,
    /// The bound of the queue, for a pool whose queue always has one. The other queues have none.
    pub queue: usize,
    /// Whether all threads should start at once, if the pool can choose.
    pub eager: bool,
    /// How long an idle worker of ours may spin, if not by default.
    pub spin: Option<Duration>,
}

impl Plan {
    /// The bound of a queue that has one, unless the scenario needs another: formicary's own default.
    pub const QUEUE: usize = 1024;

    pub fn new(workers: usize) -> Self {
        Plan { workers, queue: Self::QUEUE, eager: false, spin: None }
    }
}

/// The origin of a contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Ours,
    Rival,
    /// A bound of the machine, or a program that gives up too much to be a pool.
    Floor,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Ours => "ours",
            Class::Rival => "rival",
            Class::Floor => "floor",
        }
    }
}

/// A pool of closures.
pub trait Closures: Sized + Send + Sync + 'static {
    const CLASS: Class = Class::Rival;
    /// Whether a panic ends the thread, so that each costs a new one: then `panic` takes a tenth of the tasks.
    const PANIC_ENDS_THREAD: bool = false;

    fn name() -> String;

    /// Why it cannot take part in a scenario.
    fn cannot(_scenario: &str) -> Option<&'static str> {
        None
    }

    fn build(plan: &Plan) -> Self;

    /// Submits a task. Blocks while a bounded queue is full.
    fn submit<F: FnOnce() + Send + 'static>(&self, task: F);

    /// Submits a task of one of two tenants, whom the pool keeps apart if it can.
    fn submit_for<F: FnOnce() + Send + 'static>(&self, _tenant: usize, task: F) {
        self.submit(task);
    }

    /// Submits all of these at once, if the pool can.
    fn submit_all<F: FnOnce() + Send + 'static>(&self, _tasks: impl Iterator<Item = F>) {
        unreachable!("only ours are asked");
    }

    /// Lets a worker compute `n + 1` and waits for it, by the pool's own means, or else with a channel.
    fn call(&self, n: u64) -> u64 {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.submit(move || sender.send(n + 1).expect("the caller waits"));
        receiver.recv().expect("the task answers")
    }

    /// Ends the pool, and joins its threads if the pool can.
    fn end(self);
}

/// The state that a bound function uses. A pool without a state per worker makes one for each call.
pub trait Machine: Default + Send + Sync + 'static {
    fn step(&mut self, n: u64) -> u64;
}

/// A pool that calls one function, with payloads of `u64`.
pub trait Bound<M: Machine>: Sized + Send + Sync + 'static {
    fn build(plan: &Plan) -> Self;
    fn invoke(&self, n: u64);
    /// Submits all of these at once, if the pool can.
    fn invoke_all(&self, _all: Range<u64>) {
        unreachable!("only ours are asked");
    }
    /// Calls and waits.
    fn call(&self, _n: u64) -> u64 {
        unreachable!("rivals are asked as pools of closures");
    }
    fn end(self);
}

/// A contestant that can fork and join.
pub trait Forks: Closures {
    /// Runs both, perhaps at the same time. Called on a worker.
    fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send;

    /// A scope with both as its tasks. Called on a worker.
    fn scope(&self, a: impl FnOnce() + Send, b: impl FnOnce() + Send);

    /// Runs `f` on a worker, and waits for it.
    fn install<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T;
}

/// A contestant that is also a pool with a bound function.
pub trait Function: Closures {
    type Of<M: Machine>: Bound<M>;
}

/// A contestant, with its type erased.
pub struct Entry {
    pub name: String,
    pub class: Class,
    pub cannot: fn(&str) -> Option<&'static str>,
    /// The one scenario of a contestant that is in no other.
    pub only: Option<&'static str>,
    /// Measures a scenario of closures.
    pub closures: fn(Ask) -> scenarios::Row,
    /// Measures a scenario of a bound function.
    pub bound: Option<fn(Ask) -> scenarios::Row>,
    /// Measures a scenario of forks.
    pub forks: Option<fn(Ask) -> scenarios::Row>,
}

fn closures<C: Closures>() -> Entry {
    Entry {
        name: C::name(),
        class: C::CLASS,
        cannot: C::cannot,
        only: None,
        closures: scenarios::of_closures::<C>,
        bound: None,
        forks: None,
    }
}

fn function<F: Function>() -> Entry {
    Entry { bound: Some(scenarios::of_function::<F>), ..closures::<F>() }
}

fn forks<F: Forks>() -> Entry {
    Entry { forks: Some(scenarios::of_forks::<F>), ..closures::<F>() }
}

/// A pool of ours whose workers spin for longer than others would, which is a question of latency.
fn spin_60<C: Closures>() -> Entry {
    Entry { only: Some("open_loop"), ..closures::<ours::Spin60<C>>() }
}

pub fn contestants() -> Vec<Entry> {
    use formicary::{Ring, Sharded, Stack};
    use ours::{Func, OfClosures, Stateful};

    vec![
        forks::<OfClosures<Stack>>(),
        forks::<OfClosures<Ring>>(),
        forks::<OfClosures<Sharded>>(),
        function::<Func<Stack>>(),
        function::<Func<Ring>>(),
        function::<Func<Sharded>>(),
        function::<Stateful<Stack>>(),
        function::<Stateful<Ring>>(),
        function::<Stateful<Sharded>>(),
        spin_60::<OfClosures<Stack>>(),
        spin_60::<OfClosures<Ring>>(),
        spin_60::<OfClosures<Sharded>>(),
        spin_60::<Func<Stack>>(),
        spin_60::<Func<Ring>>(),
        spin_60::<Func<Sharded>>(),
        spin_60::<Stateful<Stack>>(),
        spin_60::<Stateful<Ring>>(),
        spin_60::<Stateful<Sharded>>(),
        Entry { only: Some("tenants"), ..closures::<ours::ByKey>() },
        forks::<self::rayon::Rayon>(),
        closures::<self::threadpool::Threadpool>(),
        closures::<self::rusty_pool::RustyPool>(),
        function::<self::workerpool::Workerpool>(),
        function::<self::beekeeper::Beekeeper>(),
        closures::<self::tokio::Tokio>(),
        closures::<self::blocking::Blocking>(),
        closures::<self::affinitypool::Affinitypool>(),
        closures::<self::threadfin::Threadfin>(),
        closures::<self::executors::WorkStealing>(),
        closures::<self::executors::Channel>(),
        function::<self::channel::Channel>(),
        function::<self::array_queue::Spinning>(),
        self::ignore::entry(),
    ]
}

/// Waits for a future by parking.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Lends `run` a pool that its own tasks can reach. Then waits for the last task, and ends the pool.
///
/// # Safety
/// No task uses the pool after it has counted itself.
pub unsafe fn with_reachable<C: Closures, T>(plan: &Plan, run: impl FnOnce(&'static C) -> T) -> T {
    let pool: &'static C = Box::leak(Box::new(C::build(plan)));
    let result = run(pool);
    TALLY.wait();
    // SAFETY: the memory stays allocated and is never dropped. All tasks have counted themselves, so by the caller's promise nobody uses
    // the original any more, and the copy is the pool.
    unsafe { std::ptr::read(pool) }.end();
    TALLY.check();
    result
}
