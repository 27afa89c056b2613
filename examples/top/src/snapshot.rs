//! What the pages show: plain data, which serde can write.

use serde::Serialize;

/// All registered pools at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// In the order in which they joined the registry.
    pub pools: Vec<PoolSnapshot>,
}

/// One pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PoolSnapshot {
    /// Its number in the registry, which no other pool of the process has.
    pub id: u64,
    /// Its name, which other pools may have too.
    pub name: String,
    /// How many workers may be alive.
    pub capacity: usize,
    /// Living workers.
    pub live: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that wait for a worker.
    pub queued: usize,
    /// How many tasks may wait for a worker. `None`: any number.
    pub queue_bound: Option<usize>,
    /// Submitters that wait for room.
    pub waiting: usize,
    /// Whether a pause is in force.
    pub paused: bool,
    /// Tasks that ran to their end, ever.
    pub completed: u64,
    /// Tasks that panicked, ever.
    pub panicked: u64,
    /// Tasks that were cancelled, ever.
    pub cancelled: u64,
    /// Tasks that have ended since the previous snapshot, for each second. 0 in the first.
    pub per_second: f64,
    /// The part of the workers' time that tasks took in the last seconds, 0 to 1. `None` if the pool does not measure it.
    pub utilisation: Option<f64>,
    /// Refused submissions by kind, ever. Kinds that have not occurred are left out.
    pub refusals: Vec<Refused>,
    /// The times of tasks in the last seconds: of all, then of each name, those with most tasks first. Empty if the pool does not measure
    /// them.
    pub times: Vec<Times>,
    /// One cell for each worker that may be alive or was given up, in the order of their numbers. If there are more than [`MAX_CELLS`], those
    /// with a task come before the others.
    pub cells: Vec<Cell>,
    /// How many workers have no cell.
    pub without_cell: usize,
}

/// The most workers of a pool that are shown.
pub const MAX_CELLS: usize = 256;

/// Refused submissions of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// As the fields of `formicary::Refusals`: `full`, `timed_out`, and so on.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
}

/// The times of tasks with one name, or of all tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// `None` for all tasks of the pool.
    pub name: Option<String>,
    /// From the submission to the start.
    pub queue_wait: Percentiles,
    /// From the start to the end.
    pub run_time: Percentiles,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many times were measured. If none, the others are 0.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// Nine of ten are shorter.
    pub p90_us: u64,
    /// Ninety-nine of a hundred are shorter.
    pub p99_us: u64,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// Its number in the pool.
    pub worker: usize,
    /// What it does.
    pub state: CellState,
    /// The tasks that it runs: the outermost first, then what that task runs on the same worker. Empty if the pool keeps no list.
    pub tasks: Vec<TaskCell>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellState {
    /// The thread is not started: a task that finds no idle worker starts it.
    #[default]
    NotStarted,
    /// It waits for a task.
    Idle,
    /// It runs a task.
    Running,
    /// It has run its task for longer than [`LONG`].
    Long,
    /// The pool has given up on it, because its task does not end. It does not count as living.
    GivenUp,
}

/// From when on a task is shown as a long one.
pub const LONG: std::time::Duration = std::time::Duration::from_secs(1);

/// A running task.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TaskCell {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// How long it has run, in microseconds.
    pub for_us: u64,
    /// Whether it was cancelled and runs on.
    pub cancelled: bool,
    /// Whether its deadline is over.
    pub overdue: bool,
}
