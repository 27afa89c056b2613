//! What an autoscaler looks at and sets: a pool, or a view. It keeps neither.

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::controller::Sample;
use crate::combinators::limited::steering::{SteeredView, ViewMeter};
use crate::engine::Visited;
use crate::observe::{Latencies, latencies_of};
use crate::sync::Arc;
use crate::sync::clock;
use crate::sync::user_code::catch_user_panic;

/// How things stand.
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) size: usize,
    /// The pool is paused or closed: nothing can be learnt.
    pub(super) is_held: bool,
    queued: usize,
    running: usize,
    waiting: usize,
    /// Tasks that have ended, ever.
    ended: u64,
    times: Times,
}

/// What is known of times.
enum Times {
    Unknown,
    Pool(Box<Latencies>),
    /// Tasks that have ended, and their run times together.
    View(u64, Duration),
}

/// What an autoscaler sets the size of.
pub(super) enum Target {
    Pool(Weak<dyn Visited>),
    View(Weak<dyn SteeredView>, Option<Arc<ViewMeter>>),
}

impl Target {
    /// `None` once its owner has dropped it.
    pub(super) fn look(&self) -> Option<Look> {
        match self {
            Target::Pool(pool) => visit(pool, |engine| (!engine.is_dropped()).then(|| look_at_pool(engine))),
            Target::View(view, meter) => visit(view, |view| look_at_view(view, meter.as_deref())),
        }
        .flatten()
    }

    /// Sets the size. May start threads, and so call hooks of the pool.
    pub(super) fn set(&self, size: usize) {
        match self {
            // The size was checked when the autoscaler was started.
            Target::Pool(pool) => drop(visit(pool, |engine| engine.tune(size))),
            Target::View(view, _) => drop(visit(view, |view| view.set_limit(size))),
        }
    }
}

/// Calls `f` with the target, unless it is gone. This may then hold the last reference to it, and drop the pool's hooks.
fn visit<T: ?Sized, O>(target: &Weak<T>, f: impl FnOnce(&T) -> O) -> Option<O> {
    let target = target.upgrade()?;
    let output = f(&target);
    catch_user_panic(|| drop(target));
    Some(output)
}

fn look_at_pool(engine: &dyn Visited) -> Look {
    let stats = engine.stats();
    let latencies = latencies_of(engine.extensions());
    Look {
        at: clock::now(),
        size: stats.capacity,
        is_held: engine.is_paused() || engine.is_closed(),
        queued: stats.queued,
        running: stats.running,
        waiting: stats.waiting,
        ended: stats.completed + stats.panicked,
        times: latencies.map_or(Times::Unknown, |latencies| Times::Pool(Box::new(latencies))),
    }
}

fn look_at_view(view: &dyn SteeredView, meter: Option<&ViewMeter>) -> Option<Look> {
    let (limit, stats) = view.look()?;
    let times = meter.map(ViewMeter::read);
    Some(Look {
        at: clock::now(),
        size: limit,
        is_held: view.is_held(),
        queued: stats.queued,
        running: stats.running,
        waiting: view.waiting(),
        ended: stats.completed + stats.panicked,
        times: times.map_or(Times::Unknown, |(ended, time)| Times::View(ended, time)),
    })
}

impl Look {
    /// What happened since `before`. `stalled` is for how long no task has ended although some were queued; it is brought up to date.
    pub(super) fn since(&self, before: &Look, (min, max): (usize, usize), stalled: &mut Duration) -> Sample {
        let elapsed = self.at.saturating_duration_since(before.at);
        let ended = self.ended.saturating_sub(before.ended);
        *stalled = if ended > 0 || self.queued == 0 { Duration::ZERO } else { stalled.saturating_add(elapsed) };
        let mut sample = Sample {
            elapsed,
            size: self.size,
            min,
            max,
            queued: self.queued,
            running: self.running,
            waiting: self.waiting,
            ended,
            busy: self.running as f64,
            queue_wait: if ended > 0 { per_task(elapsed, self.queued as f64 / ended as f64) } else { *stalled },
            // By Little's law, with as many tasks as run now and ran then.
            run_time: (ended > 0)
                .then(|| per_task(elapsed, (self.running + before.running) as f64 / 2.0 / ended as f64)),
        };
        match (&self.times, &before.times) {
            (Times::Pool(now), Times::Pool(then)) => {
                let window = now.since(then);
                if !elapsed.is_zero() {
                    sample.busy = window.busy().as_secs_f64() / elapsed.as_secs_f64();
                }
                if window.queue_wait.count() > 0 {
                    sample.queue_wait = window.queue_wait.mean();
                }
                sample.run_time = (window.run_time.count() > 0).then(|| window.run_time.mean());
            }
            (Times::View(now, now_time), Times::View(then, then_time)) => {
                let (count, time) = (now.saturating_sub(*then), now_time.saturating_sub(*then_time));
                sample.run_time = (count > 0).then(|| time.div_f64(count as f64));
                if !elapsed.is_zero() {
                    sample.busy = sample.busy.max(time.as_secs_f64() / elapsed.as_secs_f64());
                }
            }
            _ => {}
        }
        sample
    }
}

/// A time for each of so many tasks; the longest there is if it would be longer.
fn per_task(time: Duration, tasks: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * tasks).unwrap_or(Duration::MAX)
}
