//! How much of its time a thread has spent in something, also while it is in it.

use std::sync::atomic::{AtomicU64, Ordering};

/// The time that was measured, in nanoseconds, and whether it runs, in one word: a reader never sees half of a change.
///
/// While it stands, the upper 63 bits are the time measured so far, and the lowest bit is 0. While it runs, they are that less the moment
/// at which it started, modulo 2⁶³, so that a reader adds its own moment; and the lowest bit is 1.
#[derive(Default)]
pub(super) struct Stopwatch(AtomicU64);

const RUNS: u64 = 1;

impl Stopwatch {
    /// Starts it at a moment, in nanoseconds since any origin. Has no effect if it runs. One thread at a time starts and stops it.
    pub(super) fn start(&self, now: u64) {
        let word = self.0.load(Ordering::Relaxed);
        if word & RUNS == 0 {
            self.0.store(word.wrapping_sub(now << 1) | RUNS, Ordering::Relaxed);
        }
    }

    /// Stops it. Has no effect if it stands.
    pub(super) fn stop(&self, now: u64) {
        let word = self.0.load(Ordering::Relaxed);
        if word & RUNS != 0 {
            self.0.store((word & !RUNS).wrapping_add(now << 1), Ordering::Relaxed);
        }
    }

    /// The time measured until `now`.
    pub(super) fn read(&self, now: u64) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        let time = if word & RUNS == 0 { word } else { (word & !RUNS).wrapping_add(now << 1) } >> 1;
        // One that was started after the reader's moment has measured less than nothing since.
        if time >> 62 == 0 { time } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_measures_while_it_runs() {
        let watch = Stopwatch::default();
        assert_eq!(watch.read(1000), 0);
        watch.start(100);
        assert_eq!((watch.read(100), watch.read(130)), (0, 30));
        watch.start(120);
        assert_eq!(watch.read(130), 30, "it ran already");
        watch.stop(150);
        watch.stop(170);
        assert_eq!((watch.read(150), watch.read(1000)), (50, 50));
        watch.start(1 << 50);
        assert_eq!(watch.read((1 << 50) + 5), 55);
        watch.stop((1 << 50) + 7);
        assert_eq!(watch.read(u64::MAX >> 1), 57);
    }

    #[test]
    fn a_reader_may_be_late() {
        let watch = Stopwatch::default();
        watch.start(100);
        assert_eq!(watch.read(90), 0);
        watch.stop(110);
        watch.start(200);
        assert_eq!(watch.read(195), 5);
    }
}
