//! Expensive state: lines against a regex that takes about a millisecond to compile. A pool with state per worker
//! compiles it once on each thread. A pool without state compiles it for each line.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use regex::Regex;

use super::{Ask, Row};
use crate::measure::{Meter, TALLY};
use crate::pools::{Bound, Machine, Plan};

static BUILT: AtomicU64 = AtomicU64::new(0);
static MATCHED: AtomicU64 = AtomicU64::new(0);

const PATTERN: &str = r"\w{3}-[a-z]{2,8}=[0-9]{1,4}";

pub struct Matcher(Regex);

impl Default for Matcher {
    fn default() -> Self {
        BUILT.fetch_add(1, Relaxed);
        Matcher(Regex::new(PATTERN).expect("the pattern is right"))
    }
}

impl Machine for Matcher {
    fn step(&mut self, n: u64) -> u64 {
        let line = if n.is_multiple_of(2) { "a line with user-name=17 in it" } else { "a line without any such thing" };
        let hit = u64::from(self.0.is_match(line));
        MATCHED.fetch_add(hit, Relaxed);
        TALLY.one();
        hit
    }
}

pub fn warm<B: Bound<Matcher>>(ask: Ask) -> Row {
    let lines = ask.count(2000, 20);
    let compile = (0..5).map(|_| {
        let start = Instant::now();
        drop(Matcher::default());
        start.elapsed()
    });
    let compile = compile.min().expect("there were tries");
    BUILT.store(0, Relaxed);
    TALLY.begin(lines);
    let meter = Meter::start();
    let pool = B::build(&Plan { eager: true, ..Plan::new(2) });
    (0..lines).for_each(|n| pool.invoke(n));
    TALLY.wait();
    let time = meter.elapsed();
    let row = meter.row();
    pool.end();
    TALLY.check();
    assert_eq!(MATCHED.load(Relaxed), lines.div_ceil(2), "every second line matches");
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    row.with("us/line", us(time) / lines as f64)
        .with("built", BUILT.load(Relaxed) as f64)
        .with("compile us", us(compile))
}
