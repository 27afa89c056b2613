//! Random numbers from a seed.
#![allow(dead_code, unreachable_pub)] // every user takes its own part

use std::time::Duration;

/// SplitMix64, as Steele, Lea and Flood published it.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn micros(&mut self, end: usize) -> Duration {
        Duration::from_micros(self.below(end) as u64)
    }

    /// Another generator, for another thread.
    pub fn split(&mut self) -> Random {
        Random(self.next())
    }
}
