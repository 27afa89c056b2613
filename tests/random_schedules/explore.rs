//! How a scenario is run.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Changes of priority in a schedule of PCT.
const DEPTH: usize = 3;
/// The same schedules every time, unless `SHUTTLE_RANDOM_SEED` says otherwise.
const SEED: u64 = 1913;

thread_local! {
    /// Whether the schedules being run let every thread go on again and again. (All threads of a scenario are one thread of the system.)
    static IS_EVEN: Cell<bool> = const { Cell::new(true) };
}

/// Whether every thread goes on at some time, whatever the others do. Only then may a thread poll the clock in a loop.
pub fn is_even() -> bool {
    IS_EVEN.get()
}

/// Runs `scenario` with as many schedules as were asked for, half of them of each sort.
pub fn explore(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    let asked = std::env::var("FORMICARY_SHUTTLE_SCHEDULES").ok();
    let schedules: usize = asked.map_or(10_000, |count| count.parse().expect("a number of schedules"));
    let scenario = Arc::new(scenario);
    let even = schedules.div_ceil(2);
    run(&format!("{name}/even"), true, even, RandomScheduler::new_from_seed(SEED, even), Arc::clone(&scenario));
    let pct = schedules - even;
    run(&format!("{name}/pct"), false, pct, PctScheduler::new_from_seed(SEED, DEPTH, pct), scenario);
}

fn run(
    name: &str,
    is_even: bool,
    count: usize,
    drawn: impl Scheduler + 'static,
    f: Arc<impl Fn() + Send + Sync + 'static>,
) {
    if count == 0 || std::env::var("FORMICARY_SHUTTLE_ONLY").is_ok_and(|only| only != name) {
        return;
    }
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.max_steps = MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    IS_EVEN.set(is_even);
    let (shown, start) = (Named(name), Instant::now());
    let ran = match std::env::var("FORMICARY_SHUTTLE_REPLAY") {
        Ok(path) => {
            let schedule = ReplayScheduler::new_from_file(path).expect("a schedule that was printed");
            Runner::new(schedule, config).run(move || f())
        }
        Err(_) => Runner::new(drawn, config).run(move || f()),
    };
    println!("{ran} schedules: {} ({:.1} s)", shown.0, start.elapsed().as_secs_f32());
}

/// Tells which scenario failed.
struct Named<'a>(&'a str);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("FORMICARY_SHUTTLE_ONLY={}", self.0);
        }
    }
}

/// A number below `count`, drawn with the schedule.
pub fn draw(count: usize) -> usize {
    thread_rng().gen_range(0..count)
}

/// Lets the others go on, or not.
pub fn stumble() {
    for _ in 0..draw(3) {
        shuttle::thread::yield_now();
    }
}
