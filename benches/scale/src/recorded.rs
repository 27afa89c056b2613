//! Measurements on the machine of `docs/benchmarks.md`, while other programs ran.

use crate::calibrate::Measured;
use crate::measure::Figures;

/// The two cores are close to each other.
pub const CLOSE: Measured = Measured {
    ping_pong: 99.2,
    instructions: [23.9, 437.1, 5.1],
    figures: [
        Figures {
            submit_1: 21.6,
            outside_1: 61.9,
            outside_2: 40.0,
            submit_2: 39.7,
            drain_2: 62.2,
            nested_1: 101.4,
            nested_2: 168.7,
            forks_1: 31.8,
            forks_2: 30.9,
        },
        Figures {
            submit_1: 12.9,
            outside_1: 50.0,
            outside_2: 34.6,
            submit_2: 37.7,
            drain_2: 72.0,
            nested_1: 101.8,
            nested_2: 155.1,
            forks_1: 30.8,
            forks_2: 30.9,
        },
        Figures {
            submit_1: 21.7,
            outside_1: 73.0,
            outside_2: 47.4,
            submit_2: 61.5,
            drain_2: 30.4,
            nested_1: 92.2,
            nested_2: 162.3,
            forks_1: 30.2,
            forks_2: 29.8,
        },
    ],
};

/// They are far apart.
pub const FAR: Measured = Measured {
    ping_pong: 516.9,
    instructions: [23.4, 455.0, 5.0],
    figures: [
        Figures {
            submit_1: 21.2,
            outside_1: 60.0,
            outside_2: 127.1,
            submit_2: 114.6,
            drain_2: 90.3,
            nested_1: 102.9,
            nested_2: 329.3,
            forks_1: 55.4,
            forks_2: 36.3,
        },
        Figures {
            submit_1: 12.5,
            outside_1: 49.2,
            outside_2: 43.4,
            submit_2: 122.7,
            drain_2: 120.7,
            nested_1: 99.1,
            nested_2: 205.0,
            forks_1: 30.5,
            forks_2: 35.6,
        },
        Figures {
            submit_1: 21.5,
            outside_1: 72.1,
            outside_2: 325.7,
            submit_2: 217.8,
            drain_2: 39.8,
            nested_1: 83.5,
            nested_2: 226.8,
            forks_1: 55.6,
            forks_2: 36.3,
        },
    ],
};
