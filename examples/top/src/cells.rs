//! The workers of a pool as cells.

use std::collections::BTreeMap;
use std::time::Instant;

use formicary::Stats;
use formicary::observe::RunningTask;

use crate::snapshot::{Cell, CellState, LONG, MAX_CELLS, TaskCell};

/// The cells, and how many workers have none.
///
/// The workers with a task have the numbers that the list says. Which of the others are alive is not known, only how many: they get the
/// lowest free numbers.
pub(crate) fn cells(stats: &Stats, running: Option<Vec<RunningTask>>, now: Instant) -> (Vec<Cell>, usize) {
    // Without a list it is known how many run a task, and not which.
    let mut unlisted = if running.is_some() { 0 } else { stats.running };
    let mut cells: BTreeMap<usize, Cell> = BTreeMap::new();
    for task in running.into_iter().flatten() {
        let lasts = now.saturating_duration_since(task.since);
        let state = match lasts {
            _ if task.is_given_up => CellState::GivenUp,
            lasts if lasts > LONG => CellState::Long,
            _ => CellState::Running,
        };
        // The outermost task is the first.
        let cell = cells.entry(task.worker).or_insert(Cell { worker: task.worker, state, tasks: Vec::new() });
        cell.tasks.push(TaskCell {
            name: task.name.map(|name| name.to_string()),
            for_us: u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX),
            cancelled: task.is_cancelled,
            overdue: task.deadline.is_some_and(|deadline| deadline <= now),
        });
    }
    let given_up = cells.values().filter(|cell| cell.state == CellState::GivenUp).count();
    let busy = cells.len() - given_up;
    let mut idle = stats.live.saturating_sub(busy);
    let total = given_up + stats.capacity.max(stats.live).max(busy);
    let mut numbers = 0..;
    while cells.len() < total.min(MAX_CELLS) {
        let Some(worker) = numbers.find(|number| !cells.contains_key(number)) else { break };
        let state = match idle {
            0 => CellState::NotStarted,
            _ if unlisted > 0 => CellState::Running,
            _ => CellState::Idle,
        };
        (idle, unlisted) = (idle.saturating_sub(1), unlisted.saturating_sub(1));
        cells.insert(worker, Cell { worker, state, tasks: Vec::new() });
    }
    let cells: Vec<Cell> = cells.into_values().take(MAX_CELLS).collect();
    let without_cell = total - cells.len();
    (cells, without_cell)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::Duration;

    use formicary::{Builder, CancelToken, Closures, MAX_WORKERS, Pool, With};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn builder(workers: usize) -> Builder<Closures> {
        Pool::builder().workers(workers).running_tasks()
    }

    /// Submits a task that runs until the sender is dropped, and waits until it runs.
    fn hold(with: &With<'_, Pool>) -> Sender<()> {
        let (release, gate) = channel::<()>();
        let (started, begun) = channel();
        let task = move || {
            started.send(()).unwrap();
            let _ = gate.recv();
        };
        with.submit(task).unwrap();
        begun.recv_timeout(LIMIT).unwrap();
        release
    }

    fn seen(pool: &Pool, now: Instant) -> Vec<Cell> {
        let (cells, without_cell) = cells(&pool.stats(), pool.running_tasks(), now);
        assert_eq!(without_cell, 0);
        cells
    }

    fn states(cells: &[Cell]) -> Vec<CellState> {
        cells.iter().map(|cell| cell.state).collect()
    }

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < LIMIT, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn they_show_what_runs() {
        let pool = builder(3).build().unwrap();
        let release = hold(&pool.with().name("held"));
        let now = Instant::now();
        let busy = |now| -> Vec<Cell> {
            let cells = seen(&pool, now);
            assert_eq!(cells.len(), 3);
            cells.into_iter().filter(|cell| !cell.tasks.is_empty()).collect()
        };
        let running = busy(now);
        assert_eq!(states(&running), [CellState::Running]);
        let task = &running[0].tasks[0];
        assert_eq!((task.name.as_deref(), task.cancelled, task.overdue), (Some("held"), false, false));
        let long = busy(now + LONG);
        assert_eq!(states(&long), [CellState::Long]);
        assert!(long[0].tasks[0].for_us >= task.for_us + 1_000_000);
        drop(release);
        assert!(pool.wait_idle());
        let idle = seen(&pool, now);
        assert_eq!(states(&idle), [CellState::Idle, CellState::NotStarted, CellState::NotStarted]);
    }

    #[test]
    fn marks_tell_of_cancelled_and_late_tasks() {
        let pool = builder(1).build().unwrap();
        let (token, limit) = (CancelToken::new(), Duration::from_secs(3600));
        let release = hold(&pool.with().token(&token).timeout(limit));
        let marks = |now| {
            let task = &seen(&pool, now)[0].tasks[0];
            (task.cancelled, task.overdue)
        };
        let now = Instant::now();
        assert_eq!(marks(now), (false, false));
        assert_eq!(marks(now + limit), (false, true));
        token.cancel();
        assert_eq!(marks(now), (true, false));
        drop(release);
    }

    #[test]
    fn a_worker_that_was_given_up_is_one_more() {
        let pool = builder(1).build().unwrap();
        let release = hold(&pool.with());
        assert!(pool.replace(&pool.running_tasks().unwrap()[0]));
        assert!(pool.wait_idle());
        wait_until("the new worker is alive", || pool.stats().live == 1);
        let mut both = states(&seen(&pool, Instant::now()));
        both.sort_by_key(|state| *state == CellState::GivenUp);
        assert_eq!(both, [CellState::Idle, CellState::GivenUp]);
        drop(release);
        wait_until("the old worker ends", || pool.stats().given_up == 0);
        assert_eq!(states(&seen(&pool, Instant::now())), [CellState::Idle]);
    }

    #[test]
    fn a_pool_that_has_shrunk_keeps_no_cells() {
        let pool = builder(3).build().unwrap();
        let mut held: Vec<_> = (0..3).map(|n| (n.to_string(), hold(&pool.with().name(n.to_string())))).collect();
        let cells = seen(&pool, Instant::now());
        assert_eq!(states(&cells), [CellState::Running; 3]);
        pool.tune(1).unwrap();
        // The one with the highest number stays.
        let last = cells[2].tasks[0].name.clone().unwrap();
        held.retain(|(name, _)| *name == last);
        wait_until("two workers end", || pool.stats().live == 1);
        let left = seen(&pool, Instant::now());
        assert_eq!((left.len(), left[0].worker, left[0].state), (1, 2, CellState::Running));
        drop(held);
    }

    #[test]
    fn a_pool_without_a_list_shows_how_many_run() {
        let pool = Pool::new(2).unwrap();
        let release = hold(&pool.with());
        assert_eq!(states(&seen(&pool, Instant::now())), [CellState::Running, CellState::NotStarted]);
        drop(release);
    }

    #[test]
    fn their_number_is_bounded() {
        let pool = Pool::builder().unlimited_workers().build().unwrap();
        let (cells, without_cell) = cells(&pool.stats(), pool.running_tasks(), Instant::now());
        assert_eq!((cells.len(), without_cell), (MAX_CELLS, MAX_WORKERS - MAX_CELLS));
    }
}
