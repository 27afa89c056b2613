//! What is simulated: a dispatch, a load, and a number of cores with one thread each.

use std::cell::Cell;

use crate::machine::{Core, Costs, Machine, Nanos};
use crate::nested::Own;
use crate::pool::{Local, Pool, Task};
use crate::queues::{Dispatch, Queue};

/// The default bound of a pool's queue.
pub const QUEUE: u64 = 1024;

/// Who submits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// So many submitters; the other cores are workers. On one core a submitter and a worker take turns.
    Outside { submitters: usize },
    /// All cores submit, the workers are held up, and there is room for all.
    SubmitOnly,
    /// All cores are workers, and the queue is full at the beginning.
    DrainOnly,
    /// All cores are workers. Each task submits one task; at the beginning there are four for each worker.
    Nested,
    /// All cores are workers. One tree of forks after the other, with so many leaves for each worker.
    Forks { leaves: u64 },
}

#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub dispatch: Dispatch,
    pub load: Load,
    pub cores: usize,
    /// How long the user's code runs in a task.
    pub task: Nanos,
    pub queue: u64,
    /// Whether the pool has never run before. Then a worker that has a task counts those that run, until as many ran at one moment as workers
    /// are busy.
    pub is_new: bool,
    pub local: Local,
    pub costs: Costs,
}

pub struct Outcome {
    pub per_second: f64,
    /// What the cores have waited for, and in what part of their time, the most first.
    pub waits: Vec<(&'static str, f64)>,
}

impl Outcome {
    /// Of one task, over all cores.
    pub fn nanos(&self) -> f64 {
        1e9 / self.per_second
    }
}

/// How many tasks the loads have that end.
const ENDING: u64 = 4096;

impl Scenario {
    pub fn run(self) -> Outcome {
        let Scenario { dispatch, load, cores, .. } = self;
        let workers = match load {
            Load::Outside { submitters } => cores.saturating_sub(submitters).max(1),
            Load::SubmitOnly => 1.max(cores),
            _ => cores,
        };
        let queue = match load {
            Load::SubmitOnly | Load::DrainOnly => 2 * ENDING * cores as u64,
            _ => self.queue,
        };
        let machine = Machine::new(self.costs);
        let (forks, leaves) = match load {
            Load::Forks { leaves } => (true, leaves * workers as u64),
            _ => (false, 1),
        };
        let queue = Queue::new(&machine, dispatch, cores, workers, queue);
        let own = Own::new(&machine, workers, forks);
        let pool = Pool::new(&machine, queue, own, cores, leaves, (self.local, self.task, self.is_new));
        let (begin, end) = self.times();
        let core = |id| Core { machine: &machine, id };
        match load {
            Load::Outside { .. } if cores == 1 => {
                machine.count_from(begin);
                machine.run(vec![Box::pin(alternate(&pool, core(0)))], end);
                self.outcome(&machine, end - begin)
            }
            Load::Outside { .. } => {
                machine.count_from(begin);
                let programs = (0..cores).map(|id| {
                    let is_worker = id < workers;
                    let pool = &pool;
                    Box::pin(async move {
                        if is_worker {
                            pool.work(core(id)).await;
                        } else {
                            submit_forever(pool, core(id)).await;
                        }
                    }) as _
                });
                machine.run(programs.collect(), end);
                self.outcome(&machine, end - begin)
            }
            Load::SubmitOnly | Load::DrainOnly => {
                // What is filled or emptied was last used by core 0.
                let tasks = ENDING * cores as u64;
                let is_drain = load == Load::DrainOnly;
                machine.count_from(Nanos::MAX);
                machine.run(vec![Box::pin(fill(&pool, core(0), tasks, !is_drain))], Nanos::MAX);
                let start = machine.now();
                machine.count_from(start);
                let left = Cell::new(tasks);
                let program = |id| {
                    let (pool, left) = (&pool, &left);
                    Box::pin(async move {
                        if is_drain {
                            drain(pool, core(id)).await;
                        } else {
                            submit_some(pool, core(id), left).await;
                        }
                    }) as _
                };
                let end = machine.run((0..cores).map(program).collect(), Nanos::MAX);
                assert_eq!(machine.done(), tasks, "no task is lost, and none runs twice");
                self.outcome(&machine, end - start)
            }
            Load::Nested | Load::Forks { .. } => {
                machine.run(vec![Box::pin(seed(&pool, core(0), load, workers))], end);
                machine.count_from(begin);
                let programs = (0..cores).map(|id| Box::pin(pool.work(core(id))) as _);
                machine.run(programs.collect(), end);
                self.outcome(&machine, end - begin)
            }
        }
    }

    /// From when to when tasks are counted: some hundred for each worker.
    fn times(&self) -> (Nanos, Nanos) {
        let time = (self.task * 400).clamp(600_000, 4_000_000);
        (time / 4, time + time / 4)
    }

    fn outcome(&self, machine: &Machine, time: Nanos) -> Outcome {
        let all = (time * self.cores as u64) as f64;
        let waits = machine.waits().into_iter().map(|(name, time)| (name, time as f64 / all)).collect();
        Outcome { per_second: machine.done() as f64 * 1e9 / time as f64, waits }
    }
}

async fn submit_forever(pool: &Pool<'_>, core: Core<'_>) {
    loop {
        pool.submit(core).await;
    }
}

/// A submitter and a worker on one core, each until it has nothing to do.
async fn alternate(pool: &Pool<'_>, core: Core<'_>) {
    loop {
        for _ in 0..QUEUE {
            pool.submit(core).await;
        }
        drain_uncounted(pool, core).await;
    }
}

async fn drain_uncounted(pool: &Pool<'_>, core: Core<'_>) {
    while pool.queue.pop(core).await {
        pool.run(core, Task::Queued).await;
    }
}

/// Fills the queue with so many tasks, and empties it again.
async fn fill(pool: &Pool<'_>, core: Core<'_>, tasks: u64, empties: bool) {
    for _ in 0..tasks {
        pool.submit(core).await;
    }
    if empties {
        drain_uncounted(pool, core).await;
    }
}

async fn drain(pool: &Pool<'_>, core: Core<'_>) {
    while pool.queue.pop(core).await {
        pool.run(core, Task::Queued).await;
    }
}

async fn submit_some(pool: &Pool<'_>, core: Core<'_>, left: &Cell<u64>) {
    while left.get() > 0 {
        left.set(left.get() - 1);
        pool.submit(core).await;
        core.machine.count();
    }
}

async fn seed(pool: &Pool<'_>, core: Core<'_>, load: Load, workers: usize) {
    match load {
        Load::Forks { .. } => _ = pool.queue.push(core, 0, None).await,
        _ => {
            for worker in 0..workers {
                for _ in 0..4 {
                    pool.own.push_nested(Core { id: worker, ..core }).await;
                }
            }
        }
    }
}
