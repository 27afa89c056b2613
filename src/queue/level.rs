//! Levels of priority, and whose turn it is.

use std::fmt;

use super::DEFAULT_LANE;

/// The level of a task on a pool with the dispatch [`Priority`](crate::Priority), for [`With::priority`](crate::With::priority).
///
/// A pool has 3 levels unless [`Builder::levels`](crate::Builder::levels) says otherwise. `LOW` is the lowest of them, `HIGH` the highest,
/// and `NORMAL` the middle one, the lower of two. [`new`](Self::new) names any of them by its number.
///
/// ```
/// use formicary::{Level, Pool, Priority};
///
/// let pool = Pool::builder().workers(1).dispatch::<Priority>().levels(5).build()?;
/// assert_eq!(pool.with().priority(Level::HIGH).run(|| 7)?, 7);
/// assert_eq!(pool.with().priority(Level::new(3)).run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Level(Name);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Name {
    Low,
    #[default]
    Normal,
    High,
    Number(usize),
}

impl Level {
    /// The lowest level of a pool.
    pub const LOW: Level = Level(Name::Low);
    /// The middle level, that of tasks without one. On a pool with an even number of levels, the lower of the two in the middle.
    pub const NORMAL: Level = Level(Name::Normal);
    /// The highest level.
    pub const HIGH: Level = Level(Name::High);

    /// The level with this number: 0 is the lowest, one less than the number of levels the highest. A pool that has fewer levels refuses
    /// it ([`With::priority`](crate::With::priority)).
    ///
    /// ```
    /// use formicary::Level;
    ///
    /// assert_eq!(Level::new(4).to_string(), "level 4");
    /// assert_ne!(Level::new(0), Level::LOW); // equal on every pool, but another name
    /// ```
    #[must_use]
    pub const fn new(number: usize) -> Level {
        Level(Name::Number(number))
    }

    /// Its number on a pool with so many levels, if that has it.
    pub(crate) fn number(self, levels: usize) -> Option<usize> {
        let number = match self.0 {
            Name::Low => 0,
            Name::Normal => normal(levels),
            Name::High => levels.checked_sub(1)?,
            Name::Number(number) => number,
        };
        (number < levels).then_some(number)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Name::Low => f.write_str("LOW"),
            Name::Normal => f.write_str("NORMAL"),
            Name::High => f.write_str("HIGH"),
            Name::Number(number) => write!(f, "level {number}"),
        }
    }
}

/// The number of the middle level.
fn normal(levels: usize) -> usize {
    levels.saturating_sub(1) / 2
}

/// The lane of the level with this number.
pub(super) fn lane_of(levels: usize, number: usize) -> usize {
    if number == normal(levels) { DEFAULT_LANE } else { levels - number }
}

/// Which of several levels goes next. A level below others, that waits, is passed by at most `bound` of them for each level above it.
///
/// Levels have ranks here: 0 is the highest.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct LevelTurns {
    /// How often a higher level went while each waited, since it went itself or began to wait.
    passed: Box<[usize]>,
    bound: usize,
    normal: usize,
}

impl LevelTurns {
    pub(super) fn new(levels: usize, bound: usize) -> Self {
        LevelTurns { passed: vec![0; levels].into(), bound, normal: levels - 1 - normal(levels) }
    }

    pub(super) fn rank(&self, lane: usize) -> usize {
        // `lane_of` numbers the others from 1, the highest.
        lane.checked_sub(1).unwrap_or(self.normal)
    }

    pub(super) fn lane(&self, rank: usize) -> usize {
        if rank == self.normal { DEFAULT_LANE } else { rank + 1 }
    }

    /// The rank that goes next of those that wait: the lowest that was passed by as many as may pass it, or else the highest.
    pub(super) fn next(&self, waits: impl Fn(usize) -> bool) -> Option<usize> {
        let is_due = |rank: &usize| self.passed[*rank] >= self.bound * *rank;
        let mut lowest_first = (1..self.passed.len()).rev().filter(is_due);
        lowest_first.find(|rank| waits(*rank)).or_else(|| (0..self.passed.len()).find(|rank| waits(*rank)))
    }

    /// Counts that a rank went, past those that wait now.
    pub(super) fn went(&mut self, rank: usize, waits: impl Fn(usize) -> bool) {
        self.passed[rank] = 0;
        for (below, passed) in self.passed.iter_mut().enumerate().skip(rank + 1) {
            *passed = if waits(below) { *passed + 1 } else { 0 };
        }
    }

    /// The lane that goes next of those that wait.
    pub(crate) fn next_lane(&self, waits: impl Fn(usize) -> bool) -> Option<usize> {
        self.next(|rank| waits(self.lane(rank))).map(|rank| self.lane(rank))
    }

    /// Counts that a lane went.
    pub(crate) fn lane_went(&mut self, lane: usize, waits: impl Fn(usize) -> bool) {
        let (rank, levels) = (self.rank(lane), self.passed.len());
        let waiting: Vec<_> = (0..levels).map(|rank| waits(self.lane(rank))).collect();
        self.went(rank, |rank| waiting[rank]);
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_a_lane_of_its_own_and_the_middle_one_the_default_lane() {
        for levels in 1..=64 {
            let turns = LevelTurns::new(levels, 8);
            assert_eq!(lane_of(levels, normal(levels)), DEFAULT_LANE);
            for number in 0..levels {
                let lane = lane_of(levels, number);
                assert_eq!((turns.rank(lane), turns.lane(turns.rank(lane))), (levels - 1 - number, lane));
            }
            let named = [Level::LOW, Level::NORMAL, Level::HIGH].map(|level| level.number(levels));
            assert_eq!(named, [Some(0), Some((levels - 1) / 2), Some(levels - 1)]);
            assert_eq!(Level::new(levels).number(levels), None);
        }
    }

    /// All levels wait all the time. Each is passed by no more than its bound, the highest goes most often, and each more often than the
    /// next but for a rounding.
    #[test]
    fn no_level_is_passed_more_often_than_its_bound() {
        for levels in [1, 2, 3, 5, 64] {
            let (mut turns, mut went, mut passed) = (LevelTurns::new(levels, 8), vec![0; levels], vec![0; levels]);
            for _ in 0..100_000 {
                let rank = turns.next(|_| true).unwrap();
                turns.went(rank, |_| true);
                went[rank] += 1;
                passed[rank] = 0;
                for (below, passed) in passed.iter_mut().enumerate().skip(rank + 1) {
                    *passed += 1;
                    assert!(*passed <= 8 * below, "rank {below} of {levels}");
                }
            }
            assert!(went.windows(2).all(|pair| pair[0] + 1 >= pair[1]), "{went:?}");
            assert!(went[0] >= 100_000 * 2 / 5, "{went:?}");
        }
    }
}
