//! Bounds of the error, merging, and what happened between two snapshots.

use super::*;

/// SplitMix64, as Steele, Lea and Flood published it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Of any order of magnitude below 2 to the power of `bits`.
    fn value(&mut self, bits: u32) -> u64 {
        let bits = self.next() % u64::from(bits) + 1;
        self.next() >> (64 - bits)
    }
}

/// A thousand times fewer values where each takes a thousand times as long.
const MANY: usize = if cfg!(miri) { 300 } else { 300_000 };

fn snapshot<'c>(all: impl IntoIterator<Item = &'c Counters>) -> Histogram {
    let mut sum = HistogramSum::default();
    all.into_iter().for_each(|counters| counters.add_to(&mut sum));
    sum.finish()
}

fn histogram(values: &[u64]) -> Histogram {
    let counters = Counters::default();
    values.iter().for_each(|value| counters.record(Duration::from_nanos(*value)));
    snapshot([&counters])
}

/// Whether `found` is within 1/64 of `value`, and equal below 64.
fn is_near(found: Duration, value: u64) -> bool {
    u64::try_from(found.as_nanos()).unwrap().abs_diff(value) <= value / 64
}

#[test]
fn buckets_are_contiguous_and_narrow() {
    let mut next = 0;
    for index in 0..(ROWS * SUBS) as Index {
        let (first, last) = bounds(index);
        assert_eq!((first, index_of(first), index_of(last)), (next, index, index));
        assert!(last - middle(index) <= first / 64 && middle(index) - first <= first / 64, "bucket {index}");
        next = last + 1;
    }
    assert_eq!(next, 1 << TOP_BITS);
    assert_eq!([next, u64::MAX].map(index_of), [(ROWS * SUBS - 1) as Index; 2], "all beyond is in the last");
}

#[test]
fn every_value_is_near_the_middle_of_its_bucket() {
    let mut random = Random(1);
    for value in (0..MANY).map(|_| random.value(TOP_BITS)) {
        assert!(is_near(Duration::from_nanos(middle(index_of(value))), value), "{value}");
    }
}

#[test]
fn quantiles_are_near_those_of_a_sorted_list() {
    let mut random = Random(2);
    for length in [1, 2, 3, 10, 101, 4000] {
        let mut values: Vec<_> = (0..length).map(|_| random.value(TOP_BITS)).collect();
        let histogram = histogram(&values);
        values.sort_unstable();
        for share in (0..=1000).map(|thousandth| f64::from(thousandth) / 1000.0) {
            let rank = ((share * length as f64).ceil() as usize).max(1);
            let (found, value) = (histogram.quantile(share), values[rank - 1]);
            assert!(is_near(found, value), "{share} of {length}: {found:?} for {value}");
        }
        let sum: u64 = values.iter().sum();
        assert_eq!(histogram.count(), length as u64);
        assert_eq!(histogram.min().as_nanos(), u128::from(values[0]));
        assert_eq!(histogram.max().as_nanos(), u128::from(values[length - 1]));
        assert_eq!(histogram.mean().as_nanos(), u128::from(sum / length as u64));
        assert_eq!([-1.0, f64::NAN].map(|share| histogram.quantile(share)), [histogram.quantile(0.0); 2]);
        assert_eq!(histogram.quantile(7.0), histogram.quantile(1.0));
    }
}

#[test]
fn merged_histograms_equal_one_that_was_fed_serially() {
    let mut random = Random(3);
    let (all, workers) = (Counters::default(), [(); 5].map(|()| Counters::default()));
    for index in 0..MANY / 10 {
        let value = Duration::from_nanos(random.value(50));
        all.record(value);
        workers[index * index % 5].record(value);
    }
    let serial = snapshot([&all]);
    assert_eq!(snapshot(&workers), serial);
    // So do histograms that are added up again.
    let mut sum = HistogramSum::default();
    workers.iter().for_each(|counters| sum.add(&snapshot([counters])));
    assert_eq!(sum.finish(), serial);
}

#[test]
fn threads_lose_nothing() {
    let counters = Counters::default();
    let per_thread = MANY as u64 / 30;
    std::thread::scope(|scope| {
        let record = |thread| {
            let counters = &counters;
            scope.spawn(move || (0..per_thread).for_each(|n| counters.record(Duration::from_nanos(thread + 4 * n))))
        };
        // A snapshot at any time is of whole values.
        let threads: Vec<_> = (0..4).map(record).collect();
        for _ in 0..20 {
            let now = snapshot([&counters]);
            assert!(now.count() == 0 || now.min() <= now.quantile(0.5) && now.quantile(0.5) <= now.max(), "{now}");
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let all: Vec<_> = (0..4 * per_thread).collect();
    assert_eq!(snapshot([&counters]), histogram(&all));
}

#[test]
fn a_window_has_what_came_in_between() {
    let mut random = Random(4);
    let values: Vec<_> = (0..3000).map(|_| 1000 + random.value(30)).collect();
    for split in [0, 1, 1500, 2999, 3000] {
        let (before, after) = values.split_at(split);
        let window = histogram(&values).since(&histogram(before));
        let expected = histogram(after);
        assert_eq!(
            (window.count(), window.mean(), &window.counts),
            (expected.count(), expected.mean(), &expected.counts)
        );
        let [shortest, longest] = [expected.min(), expected.max()].map(|time| time.as_nanos() as u64);
        assert!(is_near(window.min(), shortest) && is_near(window.max(), longest), "{window} for {expected}");
    }
    // New extremes are exact.
    let window = histogram(&[5000, 7000, 1001, 90_001]).since(&histogram(&[5000, 7000]));
    assert_eq!((window.min().as_nanos(), window.max().as_nanos()), (1001, 90_001));
    // An old one that is near a new value does not hide it.
    let window = histogram(&[100_000, 100_100]).since(&histogram(&[100_000]));
    assert_eq!((window.count(), window.max().as_nanos()), (1, 100_100));
}

#[test]
fn a_histogram_is_shown_in_a_line() {
    let text = histogram(&[1_000_000; 99].into_iter().chain([25_000_000]).collect::<Vec<_>>()).to_string();
    assert_eq!(text, "count 100, p50 1.0ms, p90 1.0ms, p99 1.0ms, p99.9 24.9ms, max 25.0ms");
    assert_eq!(Histogram::default().to_string(), "count 0, p50 0.0ns, p90 0.0ns, p99 0.0ns, p99.9 0.0ns, max 0.0ns");
    assert_eq!(histogram(&[]), Histogram::default());
}
