//! Measurements on the machine of `docs/benchmarks.md`, while other programs ran: medians of about ten runs of `--check` in each of its states.

use crate::calibrate::Measured;
use crate::measure::Figures;

/// The two cores are close to each other.
pub const CLOSE: Measured = Measured {
    ping_pong: 96.7,
    instructions: [23.1, 433.4, 4.8],
    figures: [
        Figures {
            submit_1: 19.8,
            outside_1: 57.2,
            outside_2: 40.4,
            submit_2: 39.2,
            drain_2: 54.4,
            nested_1: 79.5,
            nested_2: 46.3,
            forks_1: 17.6,
            forks_2: 12.9,
        },
        Figures {
            submit_1: 11.7,
            outside_1: 47.1,
            outside_2: 33.5,
            submit_2: 32.6,
            drain_2: 64.7,
            nested_1: 79.4,
            nested_2: 46.2,
            forks_1: 23.8,
            forks_2: 12.8,
        },
        Figures {
            submit_1: 19.8,
            outside_1: 68.9,
            outside_2: 45.9,
            submit_2: 63.2,
            drain_2: 29.0,
            nested_1: 88.5,
            nested_2: 46.3,
            forks_1: 17.7,
            forks_2: 12.9,
        },
    ],
};

/// They are far apart.
pub const FAR: Measured = Measured {
    ping_pong: 506.7,
    instructions: [23.2, 434.5, 4.9],
    figures: [
        Figures {
            submit_1: 20.0,
            outside_1: 58.2,
            outside_2: 164.9,
            submit_2: 111.1,
            drain_2: 87.6,
            nested_1: 79.4,
            nested_2: 71.5,
            forks_1: 19.9,
            forks_2: 15.3,
        },
        Figures {
            submit_1: 11.9,
            outside_1: 47.9,
            outside_2: 41.5,
            submit_2: 127.1,
            drain_2: 191.6,
            nested_1: 79.8,
            nested_2: 72.6,
            forks_1: 19.1,
            forks_2: 15.3,
        },
        Figures {
            submit_1: 20.2,
            outside_1: 69.6,
            outside_2: 121.5,
            submit_2: 208.6,
            drain_2: 39.2,
            nested_1: 89.4,
            nested_2: 72.9,
            forks_1: 20.0,
            forks_2: 15.6,
        },
    ],
};
