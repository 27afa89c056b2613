//! Everything at once, many times over: short-lived pools of all kinds under every operation that there is.
//!
//! `FORMICARY_STRESS_ROUNDS` multiplies the number of rounds (a fraction will do). A failure names the seed of its pool;
//! the pool's size and what each thread does follow from it, their order does not.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::support::races::{quiet_panic, shift, together};
use crate::support::random::Random;
use crate::support::{
    Count, LIMIT, RunTask, Setup, assert_conserved, each_dispatch, eventually, on_every_dispatch, threads_named, within,
};
use formicary::{
    BuildError, CallError, Dispatch, Handle, JoinError, Pool, PoolWithFunc, StatefulPool, SubmitError, Task, WorkerPool,
};
use parking_lot::Mutex;

/// The number of rounds, scaled as the environment says.
fn rounds(usual: u32) -> u32 {
    let factor = std::env::var("FORMICARY_STRESS_ROUNDS").map_or(1.0, |text| text.parse().expect("a number"));
    (1..).take_while(|n| f64::from(n - 1) < f64::from(usual) * factor).last().unwrap_or(1)
}

/// What a submitter was told of a task.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Nothing,
    /// It was refused, or retracted from the queue for the caller that waited for it.
    NotRun,
    /// It runs, or a shutdown gives it back.
    Accepted,
    /// A shutdown has given it back.
    GivenBack,
    Ran,
}

/// The record of one task.
struct Entry {
    said: Mutex<Said>,
    runs: AtomicUsize,
    drops: AtomicUsize,
}

/// What a task captures.
struct Token(Arc<Entry>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, SeqCst);
    }
}

/// What is known of a pool without asking it.
#[derive(Default)]
struct Ledger {
    entries: Mutex<Vec<Arc<Entry>>>,
    running: Count,
    /// The most tasks that may run, and how often that has begun or ended to change.
    limit: AtomicUsize,
    changes: AtomicUsize,
    /// The most that ran above the limit.
    excess: AtomicUsize,
    returned: AtomicUsize,
}

impl Ledger {
    fn change_limit(&self, change: impl FnOnce(usize) -> usize) {
        self.changes.fetch_add(1, SeqCst);
        self.limit.store(change(self.limit.load(SeqCst)), SeqCst);
        self.changes.fetch_add(1, SeqCst);
    }

    /// A task that does something at random, perhaps submitting one more that does not.
    fn task(self: &Arc<Self>, pool: &Weak<dyn Stressed>, random: &mut Random, is_inner: bool) -> (Task, Arc<Entry>) {
        let entry =
            Arc::new(Entry { said: Mutex::new(Said::Nothing), runs: AtomicUsize::new(0), drops: AtomicUsize::new(0) });
        self.entries.lock().push(Arc::clone(&entry));
        let (ledger, pool, token) = (Arc::clone(self), Weak::clone(pool), Token(Arc::clone(&entry)));
        let mut random = Random(random.next());
        let task = Task::new(move || {
            token.0.runs.fetch_add(1, SeqCst);
            let (changes, limit) = (ledger.changes.load(SeqCst), ledger.limit.load(SeqCst));
            let running = ledger.running.up();
            // While the limit changes, it is unknown which one held when this task was counted.
            if changes % 2 == 0 && changes == ledger.changes.load(SeqCst) {
                ledger.excess.fetch_max(running.saturating_sub(limit), SeqCst);
            }
            if random.below(3) == 0 {
                shift(random.micros(60));
            }
            ledger.running.down();
            // From here on another may run in this one's place.
            match random.below(8) {
                0 | 1 if !is_inner => _ = pool.upgrade().map(|pool| ledger.submit(&pool, &mut random, true)),
                2 => quiet_panic(),
                _ => {}
            }
        });
        (task, entry)
    }

    /// Submits by one of the methods; returns whether the pool refused because it is closed.
    fn submit(self: &Arc<Self>, pool: &Arc<dyn Stressed>, random: &mut Random, is_inner: bool) -> bool {
        let weak = Arc::downgrade(pool);
        let (task, entry) = self.task(&weak, random, is_inner);
        let result = match random.below(6) {
            0 => pool.try_submit(task),
            1 => pool.submit(task),
            2 => pool.submit_timeout(task, random.micros(200)),
            3 => {
                let (next, next_entry) = self.task(&weak, random, is_inner);
                let result = pool.submit_all(&mut [task, next].into_iter());
                let accepted = result.as_ref().map_or_else(|(accepted, _)| *accepted, |accepted| *accepted);
                *next_entry.said.lock() = if accepted == 2 { Said::Accepted } else { Said::NotRun };
                *entry.said.lock() = if accepted >= 1 { Said::Accepted } else { Said::NotRun };
                return result.is_err_and(|(_, refusal)| refusal.is_closed());
            }
            _ => {
                *entry.said.lock() = pool.ask(task, random);
                return pool.is_closed();
            }
        };
        *entry.said.lock() = if result.is_ok() { Said::Accepted } else { Said::NotRun };
        result.is_err_and(|refusal| refusal.is_closed())
    }

    /// Compares what became of the tasks with what the submitters were told. Returns how many ran, were certainly accepted, and may
    /// have been accepted.
    fn check(&self) -> (u64, u64, u64) {
        let (mut ran, mut accepted, mut perhaps, mut given_back) = (0, 0, 0, 0);
        for entry in &*self.entries.lock() {
            let said = *entry.said.lock();
            let (runs, drops) = (entry.runs.load(SeqCst), entry.drops.load(SeqCst));
            assert!(runs <= 1 && drops == 1, "{said:?}: ran {runs} times, dropped {drops} times");
            assert_eq!(Arc::strong_count(entry), 1, "{said:?}: the captured value is still held");
            match said {
                Said::Nothing => panic!("a submitter was not answered"),
                Said::NotRun | Said::GivenBack => assert_eq!(runs, 0, "{said:?}"),
                Said::Ran => assert_eq!(runs, 1, "{said:?}"),
                Said::Accepted => {}
            }
            ran += runs as u64;
            accepted += u64::from(said != Said::NotRun);
            perhaps += u64::from(said == Said::NotRun);
            given_back += usize::from(said != Said::NotRun && runs == 0);
        }
        assert_eq!(given_back, self.returned.load(SeqCst), "accepted, not run, and not given back");
        assert_eq!((self.running.get(), self.excess.load(SeqCst)), (0, 0), "left running, and too many at a time");
        (ran, accepted, accepted + perhaps)
    }
}

/// A pool whose own calls return answers, which the caller may wait for or not.
trait Stressed: WorkerPool<Task> {
    fn ask(&self, task: Task, random: &mut Random) -> Said;
}

fn told(result: Result<(), JoinError>) -> Said {
    match result {
        Err(error) if error.is_cancelled() => Said::GivenBack,
        // The pool's own worker would have waited for itself: the task's turn comes later.
        Err(error) if error.is_would_deadlock() => Said::Accepted,
        _ => Said::Ran,
    }
}

fn handled<I>(handle: Result<Handle<()>, SubmitError<I>>, random: &mut Random) -> Said {
    let Ok(mut handle) = handle else { return Said::NotRun };
    match random.below(3) {
        0 => Said::Accepted, // dropped
        1 => handle.join_timeout(random.micros(100)).map_or(Said::Accepted, told),
        _ => told(handle.join()),
    }
}

fn called<I>(result: Result<(), CallError<I>>) -> Said {
    match result {
        Err(CallError::Refused(_)) => Said::NotRun,
        Err(CallError::Failed(error)) => told(Err(error)),
        Ok(()) => Said::Ran,
    }
}

impl<D: Dispatch> Stressed for Pool<D> {
    fn ask(&self, task: Task, random: &mut Random) -> Said {
        let run = move || task.run();
        if random.below(4) == 0 { called(self.run(run)) } else { handled(self.spawn(run), random) }
    }
}

impl<D: Dispatch> Stressed for PoolWithFunc<Task, D, ()> {
    fn ask(&self, task: Task, _: &mut Random) -> Said {
        called(self.run(task))
    }
}

impl<D: Dispatch> Stressed for StatefulPool<RunTask, D> {
    fn ask(&self, task: Task, random: &mut Random) -> Said {
        match random.below(4) {
            0 | 1 => called(self.with().timeout(random.micros(200)).run(task)),
            2 => called(self.run(task)),
            _ => handled(StatefulPool::spawn(self, task), random),
        }
    }
}

/// Changes the pool until it is closed.
fn disturb(pool: &dyn WorkerPool<Task>, ledger: &Ledger, mut random: Random) {
    for _ in 0..20 {
        match random.below(3) {
            0 => {
                let workers = 1 + random.below(4);
                ledger.change_limit(|limit| limit.max(workers));
                pool.tune(workers).unwrap();
                // Those that ran already may go on. If they end soon, no more than this may ever run.
                for _ in 0..50 {
                    if pool.running() <= workers {
                        ledger.change_limit(|_| workers);
                        break;
                    }
                    std::thread::yield_now();
                }
            }
            1 => {
                let pause = if random.below(2) == 0 { pool.pause() } else { pool.pause_timeout(random.micros(200)) };
                shift(random.micros(100));
                drop(pause);
            }
            _ => shift(random.micros(200)),
        }
        if pool.is_closed() {
            break;
        }
    }
}

/// One pool from its beginning to its end.
fn one_pool(build: fn(Setup) -> Result<Arc<dyn Stressed>, BuildError>, seed: u64) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("stress{}_", NUMBER.fetch_add(1, SeqCst));
    let mut random = Random(seed);
    let workers = 1 + random.below(4);
    let mut setup = Setup::new(workers, random.below(4));
    setup.thread_name = Some(name.clone());
    setup.min_workers = Some(random.below(workers + 1));
    setup.expiry = Some((random.below(3) != 0).then(|| random.micros(1000)));
    let (mut kept, ledger) = (build(setup).unwrap(), Arc::new(Ledger::default()));
    ledger.limit.store(workers, SeqCst);
    loop {
        let pool = live(kept, &ledger, &mut random);
        if pool.is_none() {
            // One of its own workers may have dropped it last, and does not wait.
            eventually("every task has ended", || {
                ledger.entries.lock().iter().all(|entry| Arc::strong_count(entry) == 1)
            });
        }
        eventually("no thread is left", || threads_named(&name) == 0);
        let (ran, least, most) = ledger.check();
        let Some(pool) = pool else { return };
        let stats = pool.stats();
        assert_conserved(&*pool);
        assert_eq!(stats.completed + stats.panicked, ran, "{stats:?}");
        assert!((least..=most).contains(&stats.submitted), "{least} to {most}: {stats:?}");
        if random.below(2) == 0 {
            return;
        }
        pool.restart().unwrap();
        kept = pool;
    }
}

/// Many threads use a pool, and one ends it meanwhile. Returns the pool unless it ended because all owners dropped it.
fn live(pool: Arc<dyn Stressed>, ledger: &Arc<Ledger>, random: &mut Random) -> Option<Arc<dyn Stressed>> {
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (pool, mut random) = (Arc::clone(&pool), Random(random.next()));
            scope.spawn(move || {
                let mut refused = 0;
                for _ in 0..40 {
                    refused += u32::from(ledger.submit(&pool, &mut random, false));
                    if refused == 3 {
                        break;
                    }
                }
            });
        }
        let (disturbed, other) = (Arc::clone(&pool), Random(random.next()));
        scope.spawn(move || disturb(&*disturbed, ledger, other));

        shift(random.micros(1500));
        let returned = match random.below(5) {
            0 => return None,
            1 => pool.shutdown_now(),
            2 => pool.shutdown_graceful(random.micros(100)).0,
            3 => {
                let _ = pool.shutdown_timeout(random.micros(100));
                Vec::new()
            }
            _ => Vec::new(),
        };
        ledger.returned.fetch_add(returned.len(), SeqCst);
        drop(returned);
        assert!(pool.shutdown().is_complete());
        Some(pool)
    })
}

#[test]
fn short_lived_pools() {
    macro_rules! on {
        ($dispatch:ty, $name:literal) => {
            for round in 0..rounds(100) {
                let pools: [fn(Setup) -> Result<Arc<dyn Stressed>, BuildError>; 3] = [
                    |setup| Ok(Arc::new(setup.on(Pool::builder()).dispatch::<$dispatch>().build()?)),
                    |setup| Ok(Arc::new(setup.on(PoolWithFunc::builder(Task::run)).dispatch::<$dispatch>().build()?)),
                    |setup| {
                        let builder = setup.on(StatefulPool::builder(|_| Ok(RunTask)));
                        Ok(Arc::new(builder.dispatch::<$dispatch>().build()?))
                    },
                ];
                for (kind, build) in pools.into_iter().enumerate() {
                    let seed = u64::from(round);
                    within(LIMIT, &format!("{}, kind {kind}, seed {seed}", $name), move || one_pool(build, seed));
                }
            }
        };
    }
    each_dispatch!(on);
}

/// Four submitters and four workers on the smallest queues: nothing is lost, nothing comes twice.
fn contention<D: Dispatch>() {
    for queue in 1..=3 {
        // A pool that was built for fewer workers has the fewest slots.
        for built_for in [1, 4] {
            let sums = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
            let to = Arc::clone(&sums);
            let builder = PoolWithFunc::builder(move |n: Box<u64>| {
                to.0.fetch_add(*n, SeqCst);
                to.1.fetch_add(*n * *n, SeqCst);
            });
            let pool = builder.workers(built_for).queue(queue).dispatch::<D>().build().unwrap();
            pool.tune(4).unwrap();
            let count = u64::from(rounds(2000));
            together(4, |n| (0..count).for_each(|i| pool.submit(Box::new(4 * i + n as u64)).unwrap()));
            assert!(pool.shutdown().is_complete());
            let expected = (0..4 * count).fold((0, 0), |(sum, squares), n| (sum + n, squares + n * n));
            assert_eq!((sums.0.load(SeqCst), sums.1.load(SeqCst)), expected);
            assert_eq!(pool.stats().completed, 4 * count);
        }
    }
}

#[test]
fn four_submitters_and_four_workers_in_a_tiny_queue() {
    on_every_dispatch!(contention);
}

/// Memory that nothing but the pool guards.
#[derive(Default)]
struct Plain(UnsafeCell<u64>);

// SAFETY: the test below touches it in a task, or after it has waited for the task.
unsafe impl Sync for Plain {}

/// A thread that finds the pool idle sees the effects of its tasks, and so does the next task. For ThreadSanitizer.
fn plain_memory<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(1).dispatch::<D>().build().unwrap();
    let memory = Arc::new(Plain::default());
    for round in 0..u64::from(rounds(1000)) {
        let shared = Arc::clone(&memory);
        pool.submit(move || {
            let Plain(cell) = &*shared;
            // SAFETY: the test waits for this task before it reads, and before it submits another.
            unsafe { *cell.get() += 1 };
        })
        .unwrap();
        // Often the task has ended by then, and there is no wake-up.
        shift(Duration::from_micros(round % 30));
        assert!(pool.wait_idle());
        // SAFETY: the only task has ended.
        assert_eq!(unsafe { *memory.0.get() }, round + 1);
    }
}

#[test]
fn an_idle_pool_shows_what_its_tasks_did() {
    on_every_dispatch!(plain_memory);
}
