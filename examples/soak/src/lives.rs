//! The life of one pool: threads use it, it is reconfigured meanwhile, it ends in some way, and then its counts are compared with the
//! tasks' own.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use formicary::{BuildError, Dispatch, OnDrop, Pool, PoolWithFunc, StatefulPool, Stats, Task};
use parking_lot::Mutex;

use crate::faults::{FAULTS, Flaky, count, unreliable};
use crate::ledger::Ledger;
use crate::support::random::Random;
use crate::support::{Setup, each_dispatch, eventually, threads_named};
use crate::users::{Soaked, User};

/// The prefix of their threads' names.
pub(crate) const POOLS: &str = "life";

/// How a pool of some kind and dispatch is built.
pub(crate) type Build = fn(Setup, Random) -> Result<Arc<dyn Soaked>, BuildError>;

/// Every kind of pool on every dispatch.
pub(crate) fn variants() -> Vec<Build> {
    let mut all: Vec<Build> = Vec::new();
    macro_rules! add {
        ($dispatch:ty, $name:literal) => {
            all.extend(kinds::<$dispatch>());
        };
    }
    each_dispatch!(add);
    all
}

fn kinds<D: Dispatch>() -> [Build; 3] {
    [
        |setup, _| Ok(Arc::new(setup.on(Pool::builder()).dispatch::<D>().build()?)),
        |setup, _| Ok(Arc::new(setup.on(PoolWithFunc::builder(Task::run)).dispatch::<D>().build()?)),
        |setup, random| {
            let dice = Mutex::new(random);
            let factory = move |_| Flaky::build(dice.lock().split());
            Ok(Arc::new(setup.on(StatefulPool::builder(factory)).dispatch::<D>().build()?))
        },
    ]
}

/// What a pool has done, by its own counts.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) pools: u64,
    pub(crate) ran: u64,
    pub(crate) not_run: u64,
    pub(crate) lost: u64,
}

thread_local! {
    /// Owners of pools, which are dropped with the thread's thread-locals.
    static LEFT_BEHIND: RefCell<Vec<Arc<dyn Soaked>>> = const { RefCell::new(Vec::new()) };
}

pub(crate) struct Life {
    pool: Arc<dyn Soaked>,
    ledger: Arc<Ledger>,
    random: Random,
    name: String,
}

impl Life {
    /// Builds a pool. `number` must be unique.
    pub(crate) fn begin(build: Build, number: u64, mut random: Random) -> Life {
        let name = format!("{POOLS}{number}_");
        loop {
            let workers = 1 + random.below(6);
            let mut setup = Setup::new(workers, [0, 1, 7, 64][random.below(4)]);
            setup.thread_name = Some(name.clone());
            setup.min_workers = Some(random.below(workers + 1));
            setup.expiry = Some((!random.once_in(3)).then(|| random.micros(3000)));
            setup.nonblocking = random.once_in(4);
            setup.max_blocking = random.once_in(4).then(|| 1 + random.below(2));
            setup.on_drop = [OnDrop::Drain, OnDrop::Cancel, OnDrop::Detach][random.below(3)];
            let setup = unreliable(setup, &mut random);
            if let Ok(pool) = build(setup, random.split()) {
                return Life { pool, ledger: Arc::default(), random, name };
            }
        }
    }

    pub(crate) fn pool(&self) -> Weak<dyn Soaked> {
        Arc::downgrade(&self.pool)
    }

    fn user(&mut self) -> User {
        User {
            ledger: Arc::clone(&self.ledger),
            pool: Arc::downgrade(&self.pool),
            random: self.random.split(),
            is_inside: false,
        }
    }

    /// Has several threads use the pool for that long, and reconfigures it meanwhile.
    pub(crate) fn exercise(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let users: Vec<User> = (0..=self.random.below(3)).map(|_| self.user()).collect();
        let (pool, mut random) = (&*self.pool, self.random.split());
        thread::scope(|scope| {
            for mut user in users {
                scope.spawn(move || {
                    while Instant::now() < end {
                        user.use_once(pool);
                    }
                });
            }
            while Instant::now() < end {
                disturb(pool, &mut random);
            }
        });
    }

    /// Waits until the pool is idle, and returns what it has done so far.
    pub(crate) fn settle(&self) -> Result<Totals, String> {
        self.pool.wait_idle();
        self.audit()
    }

    /// Ends the pool, in a random way.
    pub(crate) fn end(mut self) -> Result<Totals, String> {
        let mut user = self.user();
        (0..10).for_each(|_| user.use_once(&*self.pool));
        drop(user);
        let name = self.name.clone();
        let totals = if self.random.once_in(4) {
            count(&FAULTS.dropped);
            let ledger = Arc::clone(&self.ledger);
            if self.random.once_in(2) {
                let owner = Arc::clone(&self.pool);
                drop(self.pool.submit(Task::new(move || LEFT_BEHIND.with(|left| left.borrow_mut().push(owner)))));
                // Otherwise the worker would keep the pool alive, and the pool the worker.
                self.pool.detach();
            }
            drop(self);
            // If one of its own workers dropped the pool last, that did not wait.
            eventually("every task has ended", || ledger.is_settled());
            Totals { pools: 1, ran: ledger.ran(), ..Totals::default() }
        } else {
            finish(&*self.pool, &mut self.random);
            self.pool.shutdown();
            self.audit()?
        };
        eventually("no thread is left", || threads_named(&name) == 0);
        Ok(totals)
    }

    /// Compares the counts of the pool with those of its tasks. No task may be running.
    fn audit(&self) -> Result<Totals, String> {
        eventually("every task has ended", || self.ledger.is_settled());
        let stats = self.pool.stats();
        let Stats { submitted, completed, panicked, cancelled, returned, .. } = stats;
        let (ran, not_run) = (completed + panicked, cancelled + returned);
        if submitted != ran + not_run || !self.ledger.confirms(ran) {
            return Err(format!("{} tasks ran, and the pool says: {stats:?}", self.ledger.ran()));
        }
        Ok(Totals { pools: 1, ran, not_run, lost: submitted - ran - not_run })
    }
}

/// Reconfigures the pool, or ends and restarts it.
fn disturb(pool: &dyn Soaked, random: &mut Random) {
    match random.below(10) {
        0 | 1 => drop(pool.tune(1 + random.below(6))),
        2 => {
            let pause = pool.pause();
            thread::sleep(random.micros(300));
            drop(pause);
        }
        3 => drop(pool.pause_timeout(random.micros(300))),
        4 => _ = pool.wait_idle_timeout(random.micros(300)),
        5 if random.once_in(4) => {
            finish(pool, random);
            while pool.is_closed() {
                drop(pool.restart());
            }
        }
        6 => _ = pool.stats(),
        _ => thread::sleep(random.micros(2000)),
    }
}

/// Shuts the pool down, in a random way.
fn finish(pool: &dyn Soaked, random: &mut Random) {
    match random.below(5) {
        0 => drop(pool.shutdown_now()),
        1 => drop(pool.shutdown_graceful(random.micros(300))),
        2 => drop(pool.shutdown_timeout(random.micros(300))),
        3 => pool.detach(),
        _ => {}
    }
    pool.shutdown();
}
