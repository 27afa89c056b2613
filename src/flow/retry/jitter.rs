//! The random part of a delay.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::Arc;
use crate::sync::user_code::catch_user_panic;

#[derive(Clone)]
pub(super) enum Jitter {
    None,
    Full(Arc<Random>),
    Equal(Arc<Random>),
    With(Arc<dyn Fn(Duration) -> Duration + Send + Sync>),
}

/// Hashes of a counter, with the random keys of the standard library's hash maps. Good enough to spread delays, and for nothing else.
#[derive(Default)]
pub(super) struct Random {
    state: RandomState,
    drawn: AtomicU64,
}

impl Random {
    /// A share of a whole, from 0 up to 1.
    fn share(&self) -> f64 {
        let hash = self.state.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed));
        // As many bits as the fraction of an `f64` has.
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Jitter {
    pub(super) fn full() -> Self {
        Jitter::Full(Arc::default())
    }

    pub(super) fn equal() -> Self {
        Jitter::Equal(Arc::default())
    }

    pub(super) fn apply(&self, delay: Duration) -> Duration {
        match self {
            Jitter::None => delay,
            Jitter::Full(random) => part(delay, random.share()),
            Jitter::Equal(random) => delay / 2 + part(delay / 2, random.share()),
            Jitter::With(jitter) => catch_user_panic(|| jitter(delay)).unwrap_or(delay),
        }
    }
}

/// A part of a duration. Never panics.
fn part(of: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(of.as_secs_f64() * share).unwrap_or(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_drawn_from_their_ranges() {
        let delay = Duration::from_secs(8);
        let (full, equal) = (Jitter::full(), Jitter::equal());
        let drawn: Vec<_> = (0..1000).map(|_| (full.apply(delay), equal.apply(delay))).collect();
        assert!(drawn.iter().all(|(full, equal)| *full < delay && *equal >= delay / 2 && *equal < delay));
        // Each quarter of the range has some. That one of them has none has a chance of less than 2^-400.
        for quarter in 0..4 {
            let (from, to) = (delay / 4 * quarter, delay / 4 * (quarter + 1));
            assert!(drawn.iter().any(|(full, _)| (from..to).contains(full)));
        }
        assert_eq!(full.apply(Duration::ZERO), Duration::ZERO);
        assert!(full.apply(Duration::MAX) <= Duration::MAX);
        assert!(equal.apply(Duration::MAX) >= Duration::MAX / 2);
    }

    #[test]
    fn a_jitter_of_ones_own_may_panic() {
        assert_eq!(Jitter::With(Arc::new(|delay| delay * 3)).apply(Duration::from_secs(1)), Duration::from_secs(3));
        let broken = Jitter::With(Arc::new(|_| std::panic::panic_any("a test's panic")));
        assert_eq!(broken.apply(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
