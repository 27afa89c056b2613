//! Histograms of durations, of which one has any number of writers and any range without being configured.
//!
//! Values are nanoseconds. Each power of two is divided into 32 buckets of equal width, so a bucket is at most 1/32 of its values wide,
//! and its middle is at most 1/64 (1.6 %) away from any of them. Below 64 ns each value has a bucket of its own. The last bucket takes all
//! from 2⁴⁴ ns (4.9 hours) on.
//!
//! Our own, because a recorded value then costs no lock and no allocation: the counters are atomics, and the buckets of a power of two are
//! allocated when it first occurs, 256 bytes each. The crate `hdrhistogram` records under `&mut`, or through a channel.

use std::array;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How many buckets a power of two is divided into, as a power of two.
const SUB_BITS: u32 = 5;
const SUBS: usize = 1 << SUB_BITS;
/// Values of so many bits and more are all in the last bucket.
const TOP_BITS: u32 = 44;
/// The first row has the values below [`SUBS`]; each of the others has one power of two.
const ROWS: usize = (TOP_BITS - SUB_BITS + 1) as usize;

/// The number of a bucket.
type Index = u16;

/// The bucket of a value.
fn index_of(value: u64) -> Index {
    let value = value.min((1 << TOP_BITS) - 1);
    let bits = value.max(SUBS as u64).ilog2();
    let shift = bits - SUB_BITS;
    // Of a value in the first row, the upper part is 0. In the other rows the top bit of the lower part is set, and counts for one row.
    ((u64::from(shift) << SUB_BITS) + (value >> shift)) as Index
}

/// The least value of a bucket, and the greatest.
fn bounds(index: Index) -> (u64, u64) {
    let index = u64::from(index);
    let shift = (index >> SUB_BITS).saturating_sub(1);
    let first = (index - (shift << SUB_BITS)) << shift;
    (first, first + (1 << shift) - 1)
}

fn middle(index: Index) -> u64 {
    let (first, last) = bounds(index);
    first + (last - first) / 2
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

type Row = Box<[AtomicU64; SUBS]>;

/// The counters of a histogram. Any thread may add to them at any time; each worker has its own, so that they share no cache line.
pub(super) struct Counters {
    rows: [OnceLock<Row>; ROWS],
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            rows: array::from_fn(|_| OnceLock::new()),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl Counters {
    pub(super) fn record(&self, duration: Duration) {
        let value = nanoseconds(duration);
        let index = usize::from(index_of(value));
        let row = self.rows[index >> SUB_BITS].get_or_init(|| Box::new(array::from_fn(|_| AtomicU64::new(0))));
        self.sum.fetch_add(value, Ordering::Relaxed);
        if value < self.min.load(Ordering::Relaxed) {
            self.min.fetch_min(value, Ordering::Relaxed);
        }
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
        // ORDERING: Release pairs with the Acquire in `add_to`: who counts the value knows its sum, minimum and maximum.
        row[index % SUBS].fetch_add(1, Ordering::Release);
    }

    /// Adds what was counted.
    pub(super) fn add_to(&self, sum: &mut HistogramSum) {
        for (row, counters) in self.rows.iter().enumerate() {
            let Some(counters) = counters.get() else { continue };
            for (index, counter) in counters.iter().enumerate() {
                // ORDERING: Acquire, see `record`.
                sum.counts[row * SUBS + index] += counter.load(Ordering::Acquire);
            }
        }
        sum.sum = sum.sum.wrapping_add(self.sum.load(Ordering::Relaxed));
        sum.min = sum.min.min(self.min.load(Ordering::Relaxed));
        sum.max = sum.max.max(self.max.load(Ordering::Relaxed));
    }
}

/// Adds up histograms.
pub(super) struct HistogramSum {
    counts: Vec<u64>,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for HistogramSum {
    fn default() -> Self {
        HistogramSum { counts: vec![0; ROWS * SUBS], sum: 0, min: u64::MAX, max: 0 }
    }
}

impl HistogramSum {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        histogram.counts.iter().for_each(|&(index, count)| self.counts[usize::from(index)] += count);
        if histogram.count > 0 {
            self.sum = self.sum.wrapping_add(histogram.sum);
            self.min = self.min.min(histogram.min);
            self.max = self.max.max(histogram.max);
        }
    }

    pub(super) fn finish(&self) -> Histogram {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let counts: Vec<_> = counted.map(|(index, count)| (index as Index, *count)).collect();
        Histogram { min: self.min, max: self.max, ..Histogram::of(counts, self.sum) }
    }
}

/// How long something took, for many tasks: a snapshot of a histogram.
///
/// Quantiles are within 1.6 % of the exact ones, from 64 ns to 4.9 hours; below that they are exact, and above it they are only known to be
/// longer. Count, mean, minimum and maximum are exact, up to 584 years in total.
///
/// ```
/// use std::time::Duration;
///
/// let pool = formicary::Pool::builder().workers(1).latencies().build()?;
/// pool.run(|| std::thread::sleep(Duration::from_millis(2)))?;
/// let run_time = pool.latencies().unwrap().run_time;
/// assert_eq!(run_time.count(), 1);
/// assert!(run_time.quantile(0.5) >= Duration::from_millis(2));
/// println!("{run_time}"); // count 1, p50 2.1ms, p90 2.1ms, p99 2.1ms, p99.9 2.1ms, max 2.1ms
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Those that are not 0, in the order of their values.
    counts: Vec<(Index, u64)>,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    /// One in which nothing is counted.
    fn default() -> Self {
        Histogram { counts: Vec::new(), count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Histogram {
    /// One whose minimum and maximum are only known by their buckets.
    fn of(counts: Vec<(Index, u64)>, sum: u64) -> Self {
        let count = counts.iter().map(|(_, count)| count).sum();
        let min = counts.first().map_or(u64::MAX, |&(index, _)| middle(index));
        let max = counts.last().map_or(0, |&(index, _)| middle(index));
        Histogram { counts, count, sum, min, max }
    }

    /// How many were counted.
    ///
    /// ```
    /// assert_eq!(formicary::observe::Histogram::default().count(), 0);
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The shortest duration that at least this share of them did not exceed: 0.5 for the median, 0.99 for the 99th percentile. Zero if
    /// nothing was counted. A share outside of 0 to 1 counts as the nearer of the two.
    ///
    /// Visits the buckets, at most 1,280.
    ///
    /// ```
    /// # let pool = formicary::Pool::builder().workers(1).latencies().build()?;
    /// (0..100).try_for_each(|_| pool.run(|| ()))?;
    /// let wait = pool.latencies().unwrap().queue_wait;
    /// assert!(wait.min() <= wait.quantile(0.5) && wait.quantile(0.5) <= wait.quantile(0.99));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        if self.count == 0 {
            return Duration::ZERO;
        }
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        let at_rank = |&&(_, count): &&(Index, u64)| {
            seen += count;
            seen >= rank
        };
        let value = self.counts.iter().find(at_rank).map_or(self.max, |&(index, _)| middle(index));
        Duration::from_nanos(value.max(self.min).min(self.max))
    }

    /// The shortest. Zero if nothing was counted. In what happened [since](super::Latencies::since) an earlier moment, as exact as a quantile.
    ///
    /// ```
    /// assert_eq!(formicary::observe::Histogram::default().min(), std::time::Duration::ZERO);
    /// ```
    #[must_use]
    pub fn min(&self) -> Duration {
        Duration::from_nanos(if self.count == 0 { 0 } else { self.min })
    }

    /// The longest. Zero if nothing was counted. In what happened [since](super::Latencies::since) an earlier moment, as exact as a quantile.
    ///
    /// ```
    /// assert_eq!(formicary::observe::Histogram::default().max(), std::time::Duration::ZERO);
    /// ```
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The average. Zero if nothing was counted.
    ///
    /// ```
    /// # let pool = formicary::Pool::builder().workers(1).latencies().build()?;
    /// pool.run(|| ())?;
    /// let run_time = pool.latencies().unwrap().run_time;
    /// assert!(run_time.min() <= run_time.mean() && run_time.mean() <= run_time.max());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.count).unwrap_or(0))
    }

    /// What was counted between `earlier`, a snapshot of the same histogram, and this one.
    pub(super) fn since(&self, earlier: &Histogram) -> Histogram {
        let mut before = earlier.counts.iter().copied().peekable();
        let left = |&(index, count): &(Index, u64)| {
            while before.next_if(|(other, _)| *other < index).is_some() {}
            let count =
                count.saturating_sub(before.next_if(|(other, _)| *other == index).map_or(0, |(_, count)| count));
            (count > 0).then_some((index, count))
        };
        let counts: Vec<_> = self.counts.iter().filter_map(left).collect();
        let mut window = Histogram::of(counts, self.sum.wrapping_sub(earlier.sum));
        if window.count > 0 {
            // A new extreme is known exactly, and no other value is beyond the old one.
            window.min = if self.min < earlier.min { self.min } else { window.min.max(self.min) };
            window.max = if self.max > earlier.max { self.max } else { window.max.min(self.max) };
        }
        window
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|share| self.quantile(share));
        let (count, max) = (self.count, self.max());
        write!(f, "count {count}, p50 {p50:.1?}, p90 {p90:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, max {max:.1?}")
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({self})")
    }
}
