//! The state of the machine. On some machines the time that two cores need to communicate changes now and then, and with it every
//! figure that depends on it. A bare ping-pong measures it.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use serde::{Deserialize, Serialize};

use crate::measure::Row;
use crate::scenarios::Ask;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Close,
    Between,
    Far,
    /// The state changed each time that the row was measured, or rows of several states are pooled.
    Mixed,
}

impl State {
    pub fn of(ping_pong_ns: f64) -> Self {
        match ping_pong_ns {
            ns if ns < 150.0 => State::Close,
            ns if ns > 250.0 => State::Far,
            _ => State::Between,
        }
    }

    pub fn of_row(row: &Row) -> Self {
        let [before, after] = [row.before_ns, row.after_ns].map(State::of);
        if before == after { before } else { State::Mixed }
    }

    pub fn name(self) -> &'static str {
        match self {
            State::Close => "close",
            State::Between => "between",
            State::Far => "far",
            State::Mixed => "mixed",
        }
    }
}

/// Two threads that spin on a word each. A thread that is not answered for long yields, in case both are on one core.
struct Table {
    there: CachePadded<AtomicU64>,
    back: CachePadded<AtomicU64>,
}

/// Spins until the word is `value`, at most until the end. Returns whether it is.
fn spin_until(word: &AtomicU64, value: u64) -> bool {
    let mut spins = 0_u32;
    loop {
        match word.load(Acquire) {
            now if now == value => return true,
            END => return false,
            _ => std::hint::spin_loop(),
        }
        spins += 1;
        if spins.is_multiple_of(4096) {
            std::thread::yield_now();
        }
    }
}

const END: u64 = u64::MAX;
const CHUNK: u64 = 100;

/// Calls `play` with a function that plays `n` round trips.
pub fn with_partner<T>(play: impl FnOnce(&mut dyn FnMut(u64)) -> T) -> T {
    let table = Table { there: CachePadded::new(AtomicU64::new(0)), back: CachePadded::new(AtomicU64::new(0)) };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 1;
            while spin_until(&table.there, round) {
                table.back.store(round, Release);
                round += 1;
            }
        });
        let mut round = 0;
        let result = play(&mut |trips| {
            for _ in 0..trips {
                round += 1;
                table.there.store(round, Release);
                spin_until(&table.back, round);
            }
        });
        table.there.store(END, Release);
        result
    })
}

/// Nanoseconds of a round trip: the median of 200 times 100 trips, or of as many as fit into 50 ms.
pub fn ping_pong(ask: Ask) -> f64 {
    with_partner(|play| {
        play(CHUNK); // the partner has started
        let begun = Instant::now();
        let mut chunks = Vec::new();
        while chunks.len() < ask.count(200, 5) as usize && begun.elapsed() < Duration::from_millis(50) {
            let start = Instant::now();
            play(CHUNK);
            chunks.push(start.elapsed().as_secs_f64() * 1e9 / CHUNK as f64);
        }
        chunks.sort_by(f64::total_cmp);
        chunks[chunks.len() / 2]
    })
}
