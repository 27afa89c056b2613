//! Threads that wait: tasks that sleep, and pools that have nothing to do.

use std::time::Duration;

use super::{Ask, Row};
use crate::measure::{Meter, TALLY};
use crate::pools::{Closures, Plan};

pub const TASK: Duration = Duration::from_millis(5);

/// Workers, and tasks, as many for each worker. A smaller scale has fewer rounds.
pub fn plan(ask: Ask) -> (usize, u64) {
    (100, 100 * ask.count(20, 2))
}

/// Efficiency is rounds of 5 ms over the time taken: sleeping itself takes somewhat longer than asked, as the bare
/// threads show.
pub fn row(meter: &Meter, workers: usize, tasks: u64) -> Row {
    let time = meter.elapsed();
    let ideal = TASK.as_secs_f64() * tasks as f64 / workers as f64;
    meter.row().with("efficiency", ideal / time.as_secs_f64()).with("ms", time.as_secs_f64() * 1e3)
}

/// Tasks that sleep, 20 for each of 100 workers.
pub fn sleep<C: Closures>(ask: Ask) -> Row {
    let (workers, tasks) = plan(ask);
    let pool = C::build(&Plan::new(workers));
    let run = |tasks| {
        TALLY.begin(tasks);
        let meter = Meter::start();
        for _ in 0..tasks {
            pool.submit(|| {
                std::thread::sleep(TASK);
                TALLY.one();
            });
        }
        TALLY.wait();
        meter
    };
    run(2 * workers as u64); // all threads have started
    let meter = run(tasks);
    let row = row(&meter, workers, tasks);
    pool.end();
    TALLY.check();
    row
}

/// Three seconds without tasks. A smaller scale takes less time, and scales the figures to three seconds.
pub fn idle(ask: Ask) -> Row {
    let full = Duration::from_secs(3);
    let time = full.mul_f64(ask.scale.clamp(0.01, 1.0));
    let meter = Meter::start();
    std::thread::sleep(time);
    let row = meter.row();
    let factor = full.as_secs_f64() / time.as_secs_f64();
    let (cpu, switches) = (row.cpu_ms * factor, (row.voluntary + row.involuntary) as f64 * factor);
    row.with("CPU ms", cpu).with("switches", switches)
}

/// The same, right after 10,000 tiny tasks.
pub fn idle_cpu<C: Closures>(ask: Ask) -> Row {
    let pool = C::build(&Plan::new(2));
    TALLY.begin(10_000);
    (0..10_000).for_each(|_| pool.submit(|| TALLY.one()));
    TALLY.wait();
    let row = idle(ask);
    pool.end();
    TALLY.check();
    row
}
