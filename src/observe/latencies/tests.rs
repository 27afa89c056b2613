//! The recorder, fed with times.

use std::time::Instant;

use super::*;
use crate::queue::MAX_WORKERS;

const SECOND: Duration = Duration::from_secs(1);

/// A recorder, and times after its start.
struct Fed {
    recorder: LatencyRecorder,
    start: Instant,
}

impl Fed {
    fn new() -> Self {
        let recorder = LatencyRecorder::default();
        Fed { recorder, start: Instant::now() }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn live(&self, worker: usize, from: f64) {
        self.recorder.worker_started(worker, self.at(from));
    }

    fn die(&self, worker: usize, at: f64) {
        self.recorder.worker_stopped(worker, self.at(at));
    }

    fn begin(&self, worker: usize, name: Option<&str>, waited: Option<Duration>, at: f64) {
        self.recorder.task_started(worker, name, waited, self.at(at));
    }

    fn end(&self, worker: usize, name: Option<&str>, ran: Duration, at: f64) {
        self.recorder.task_ended(worker, name, ran, || self.at(at));
    }

    fn look(&self, at: f64) -> Latencies {
        self.recorder.latencies_at(self.at(at))
    }

    fn utilisation(&self, at: f64) -> f64 {
        round(self.look(at).utilisation())
    }
}

fn round(share: f64) -> f64 {
    (share * 1e6).round() / 1e6
}

fn names(latencies: &Latencies) -> Vec<&str> {
    latencies.by_name().iter().map(|kind| &*kind.name).collect()
}

#[test]
fn waits_and_runs_are_counted_in_total_and_by_name() {
    let fed = Fed::new();
    for (worker, name) in [(0, None), (7, Some("resize")), (MAX_WORKERS - 1, Some("resize")), (7, Some("crop"))] {
        fed.begin(worker, name, Some(SECOND), 0.0);
        fed.end(worker, name, 2 * SECOND, 2.0);
    }
    // One that did not wait in the queue, and one that still runs.
    fed.begin(0, Some("crop"), None, 0.0);
    fed.end(0, Some("crop"), 3 * SECOND, 3.0);
    fed.begin(0, Some("late"), Some(5 * SECOND), 3.0);
    let all = fed.look(4.0);
    assert_eq!((all.queue_wait.count(), all.queue_wait.max()), (5, 5 * SECOND));
    assert_eq!((all.run_time.count(), all.run_time.max()), (5, 3 * SECOND));
    let counts: Vec<_> =
        all.by_name().iter().map(|kind| (&*kind.name, kind.queue_wait.count(), kind.run_time.count())).collect();
    assert_eq!(counts, [("crop", 1, 2), ("late", 1, 0), ("resize", 2, 2)]);
}

#[test]
fn late_names_are_counted_together() {
    let fed = Fed::new();
    for number in 0..100 {
        let name = format!("task {number:02}");
        fed.begin(number % 3, Some(&name), Some(SECOND), 0.0);
        fed.end(number % 3, Some(&name), SECOND, 1.0);
    }
    let all = fed.look(1.0);
    assert_eq!((all.by_name().len(), all.run_time.count()), (65, 100));
    assert_eq!((names(&all)[..2].to_vec(), names(&all)[64]), (vec!["other", "task 00"], "task 63"));
    assert_eq!(all.by_name()[0].run_time.count(), 36);
}

#[test]
fn a_window_leaves_out_what_was_before() {
    let fed = Fed::new();
    fed.live(0, 0.0);
    let run = |name, from: f64, seconds: u32| {
        fed.begin(0, name, Some(SECOND), from);
        fed.end(0, name, seconds * SECOND, from + f64::from(seconds));
    };
    run(Some("early"), 0.0, 1);
    run(Some("both"), 1.0, 1);
    let before = fed.look(2.0);
    run(Some("both"), 3.0, 3);
    run(None, 6.0, 1);
    run(Some("new"), 7.0, 2);
    let window = fed.look(10.0).since(&before);
    assert_eq!((window.run_time.count(), window.run_time.max(), window.run_time.mean()), (3, 3 * SECOND, 2 * SECOND));
    assert_eq!(names(&window), ["both", "new"]);
    assert_eq!(window.by_name()[0].run_time.count(), 1);
    // 6 of 8 seconds.
    assert_eq!((round(window.utilisation()), fed.utilisation(10.0)), (0.75, 0.8));
    // Nothing in between.
    let empty = fed.look(12.0).since(&fed.look(11.0));
    assert_eq!((empty.by_name().len(), empty.busy), (0, Duration::ZERO));
    assert_eq!((empty.queue_wait, empty.run_time), (Histogram::default(), Histogram::default()));
}

#[test]
fn utilisation_is_the_share_of_the_workers_lives() {
    let fed = Fed::new();
    assert_eq!(fed.utilisation(5.0), 0.0, "no worker");
    fed.live(0, 0.0);
    fed.live(1, 5.0);
    assert_eq!(fed.utilisation(10.0), 0.0);
    // A running task counts up to now.
    fed.begin(0, None, None, 10.0);
    assert_eq!(fed.utilisation(20.0), round(10.0 / 35.0));
    fed.end(0, None, 15 * SECOND, 25.0);
    assert_eq!(fed.utilisation(25.0), round(15.0 / 45.0));
    // A worker that has ended has lived until then; another one may get its number.
    fed.die(1, 25.0);
    assert_eq!(fed.utilisation(35.0), round(15.0 / 55.0));
    fed.live(1, 35.0);
    fed.begin(1, None, None, 35.0);
    assert_eq!(fed.utilisation(40.0), round(20.0 / 65.0));
}

#[test]
fn tasks_within_tasks_count_once_as_busy() {
    let fed = Fed::new();
    fed.live(3, 0.0);
    fed.begin(3, Some("outer"), None, 0.0);
    fed.begin(3, Some("inner"), None, 1.0);
    assert_eq!(fed.utilisation(2.0), 1.0);
    fed.end(3, Some("inner"), SECOND, 2.0);
    assert_eq!(fed.utilisation(3.0), 1.0, "the outer task runs on");
    fed.end(3, Some("outer"), 3 * SECOND, 3.0);
    assert_eq!(fed.utilisation(4.0), 0.75);
    let all = fed.look(4.0);
    assert_eq!((all.run_time.count(), names(&all)), (2, vec!["inner", "outer"]));
}

#[test]
fn they_are_shown_in_a_few_lines() {
    let fed = Fed::new();
    fed.live(0, 0.0);
    fed.begin(0, Some("resize"), Some(SECOND / 2), 0.0);
    fed.end(0, Some("resize"), SECOND, 1.0);
    let lines = "queue wait: count 1, p50 500.0ms, p90 500.0ms, p99 500.0ms, p99.9 500.0ms, max 500.0ms
run time: count 1, p50 1.0s, p90 1.0s, p99 1.0s, p99.9 1.0s, max 1.0s
run time of resize: count 1, p50 1.0s, p90 1.0s, p99 1.0s, p99.9 1.0s, max 1.0s
utilisation: 25.0 %";
    assert_eq!(fed.look(4.0).to_string(), lines);
}
