//! A pool as a queueing model: tasks come at random, wait, and run for random times. A second takes some microseconds, and the same every
//! time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::flow::autoscale::{Controller, Decision, Sample};

pub(super) const PERIOD_MS: usize = 100;

/// Uniform numbers from 0 to 1 (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.next()).ln()
    }
}

/// What one period was like.
pub(super) struct Period {
    pub(super) size: usize,
    pub(super) decision: Decision,
    pub(super) throughput: f64,
}

pub(super) struct Model {
    random: Random,
    pub(super) size: usize,
    pub(super) min: usize,
    pub(super) max: usize,
    /// The mean service time of a task that runs alone, in milliseconds.
    pub(super) service: f64,
    /// How many times as long it takes where so many run.
    pub(super) slowdown: fn(usize) -> f64,
    /// No more than so many may wait; others are refused.
    pub(super) queue: usize,
    now: usize,
    next_arrival: f64,
    /// When those that wait came.
    queued: VecDeque<usize>,
    /// The work that is left of those that run, and when they started.
    running: Vec<(f64, usize)>,
}

impl Model {
    pub(super) fn new(size: usize, (min, max): (usize, usize)) -> Self {
        Model {
            random: Random(7),
            size,
            min,
            max,
            service: 20.0,
            slowdown: |_| 1.0,
            queue: 100_000,
            now: 0,
            next_arrival: 0.0,
            queued: VecDeque::new(),
            running: Vec::new(),
        }
    }

    /// Lets the controller work for so many periods, with so many tasks per second in each.
    pub(super) fn run(
        &mut self,
        controller: &mut dyn Controller,
        periods: usize,
        rate: impl Fn(usize) -> f64,
    ) -> Vec<Period> {
        controller.check().unwrap();
        let mut all = Vec::new();
        for period in 0..periods {
            let sample = self.period(rate(period));
            let throughput = sample.throughput();
            let decision = controller.next(&sample);
            // As the driver does.
            self.size = decision.size.clamp(self.min, self.max);
            all.push(Period { size: self.size, decision, throughput });
        }
        all
    }

    fn period(&mut self, per_second: f64) -> Sample {
        let mut sample = Sample {
            elapsed: Duration::from_millis(PERIOD_MS as u64),
            size: self.size,
            min: self.min,
            max: self.max,
            ..Sample::default()
        };
        let (mut waited, mut started, mut ran, mut busy) = (0, 0u32, 0, 0);
        for _ in 0..PERIOD_MS {
            while per_second > 0.0 && self.next_arrival <= self.now as f64 {
                if self.queued.len() < self.queue {
                    self.queued.push_back(self.now);
                }
                self.next_arrival += self.random.exponential(1000.0 / per_second);
            }
            if per_second <= 0.0 {
                self.next_arrival = self.now as f64;
            }
            while self.running.len() < self.size {
                let Some(came) = self.queued.pop_front() else { break };
                waited += self.now - came;
                started += 1;
                let work = self.random.exponential(self.service);
                self.running.push((work, self.now));
            }
            busy += self.running.len();
            let speed = 1.0 / (self.slowdown)(self.running.len());
            self.now += 1;
            let now = self.now;
            self.running.iter_mut().for_each(|(left, _)| *left -= speed);
            self.running.retain(|(left, since)| {
                if *left > 0.0 {
                    return true;
                }
                sample.ended += 1;
                ran += now - since;
                false
            });
        }
        let millis = |millis: usize| Duration::from_millis(millis as u64);
        sample.queued = self.queued.len();
        sample.running = self.running.len();
        sample.busy = busy as f64 / PERIOD_MS as f64;
        sample.queue_wait = if started > 0 { millis(waited) / started } else { Duration::ZERO };
        sample.run_time = (sample.ended > 0).then(|| millis(ran).div_f64(sample.ended as f64));
        sample
    }
}

/// How often the size changed its direction.
pub(super) fn turns(periods: &[Period]) -> usize {
    let changes = periods.windows(2).map(|pair| pair[1].size.cmp(&pair[0].size)).filter(|change| change.is_ne());
    let changes: Vec<_> = changes.collect();
    changes.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

pub(super) fn mean_size(periods: &[Period]) -> f64 {
    periods.iter().map(|period| period.size as f64).sum::<f64>() / periods.len() as f64
}

pub(super) fn mean_throughput(periods: &[Period]) -> f64 {
    periods.iter().map(|period| period.throughput).sum::<f64>() / periods.len() as f64
}
