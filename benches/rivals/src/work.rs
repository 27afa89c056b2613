//! Work for the processor, the same amount on any thread: a number of steps, not a time, so that a task that is preempted does not
//! get shorter.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

pub fn steps(steps: u64) {
    let mut x = steps;
    for _ in 0..steps {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    black_box(x);
}

/// How many steps take about `time` here and now: the fastest of some tries.
pub fn steps_for(time: Duration) -> u64 {
    const TRY: u64 = 200_000;
    let fastest = (0..10).map(|_| {
        let start = Instant::now();
        steps(TRY);
        start.elapsed()
    });
    let fastest = fastest.min().expect("there were tries");
    (TRY as f64 * time.as_secs_f64() / fastest.as_secs_f64()).ceil() as u64
}

/// The ideal: so many bare threads that divide `tasks` among them and do not communicate.
pub fn bare(workers: u64, tasks: u64, steps_each: u64) -> Duration {
    let go = Barrier::new(workers as usize + 1);
    let mut start = None;
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let go = &go;
            let share = tasks / workers + u64::from(worker < tasks % workers);
            scope.spawn(move || {
                go.wait();
                (0..share).for_each(|_| steps(steps_each));
            });
        }
        go.wait();
        start = Some(Instant::now());
    });
    start.expect("it was set").elapsed()
}
