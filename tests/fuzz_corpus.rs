//! The fuzz targets without a fuzzer: what their corpus has, and some hundred inputs from a fixed seed.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub)] // a test fails by panicking

#[path = "../fuzz/src/lib.rs"]
mod plans;

use std::path::Path;

/// Inputs from the seed for each target.
const ROUNDS: u64 = 100;

/// The longest of them, in bytes.
const LONGEST: u64 = 400;

const SEED: u64 = 0x05ee_d0f0_2611_2026;

fn corpus(target: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "a corpus has files");
    for file in files {
        println!("{}", file.display());
        plans::run(target, &std::fs::read(file).unwrap());
    }
}

/// As the numbers of `splitmix64` say, which is the shortest generator that is good enough.
fn seeded(target: &str) {
    let mut state = SEED;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    for round in 0..ROUNDS {
        println!("{target}: round {round} of seed {SEED:#x}");
        let input: Vec<u8> = (0..next() % LONGEST).map(|_| next() as u8).collect();
        plans::run(target, &input);
    }
}

macro_rules! targets {
    ($($target:ident)*) => {$(
        mod $target {
            #[test]
            fn corpus() {
                super::corpus(stringify!($target));
            }

            #[test]
            fn seeded() {
                super::seeded(stringify!($target));
            }
        }
    )*

        #[test]
        fn no_target_is_missing() {
            assert_eq!([$(stringify!($target)),*], plans::TARGETS.map(|(name, _)| name));
        }
    };
}

targets!(ring stack_pool loop_pool sharded_pool priority fair stateful_pool group tokens map semaphore timer pipeline);
