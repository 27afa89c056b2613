//! The list of scenarios, with our targets.

use super::Needs;
use super::target::{BEST_RIVAL, Limit, Of, Rivals, Target, Who, at_least, at_most};
use crate::floors::{self, Floor};
use crate::pools::SPIN_60;

/// A scenario: a question to all contestants.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// The scenario's own figures; the first is the one that is drawn.
    pub figures: &'static [&'static str],
    pub better: Direction,
    pub needs: Needs,
    pub floors: &'static [Floor],
    pub targets: &'static [Target],
    /// Whether all rows of a round may be measured at the same time, because nothing is timed.
    pub together: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Lower,
    Higher,
}

const PLAIN: Scenario = Scenario {
    name: "",
    about: "",
    figures: &["ns"],
    better: Direction::Lower,
    needs: Needs::Closures,
    floors: &[],
    targets: &[],
    together: false,
};

const SPIN: &str = "bare ping-pong, spinning";
const PARK: &str = "bare ping-pong, parking";
const CALLS: &[&str] = &["p50 ns", "p99 ns", "mean ns", "clock ns"];
const FORKS: &[&str] = &["p50 us", "p99 us"];
const WORK: &[&str] = &["efficiency", "us/task", "CPU/work"];
const RAYON_P50: Of = Of::Line("rayon", "p50 us");
/// The rivals of a server: pools for tasks that block.
const BLOCKING: Rivals = Rivals::Named(&["threadpool", "tokio"]);
const BLOCKED: &str = "blocked/task";
/// The rivals whose workers sleep between two tasks, instead of spinning.
const SLEEPERS: Rivals = Rivals::AtLeast(BLOCKED, 0.9);

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "tiny_1p",
        about: "1 producer, 1,000,000 closures of one relaxed add; ns a task",
        targets: &[
            at_most(Who::Only("Pool<Ring>"), "ns", 0.20, BEST_RIVAL),
            at_most(Who::But("Pool<Ring>"), "ns", 0.5, BEST_RIVAL),
        ],
        ..PLAIN
    },
    Scenario {
        name: "tiny_4p",
        about: "4 producers of 250,000 such closures each; ns a task",
        targets: &[
            at_most(Who::Only("Pool<Ring>"), "ns", 0.25, BEST_RIVAL),
            at_most(Who::But("Pool<Ring>"), "ns", 0.6, BEST_RIVAL),
        ],
        ..PLAIN
    },
    Scenario {
        name: "tiny_func_1p",
        about: "1,000,000 payloads of u64 through one bound function; ns a task",
        needs: Needs::Bound,
        targets: &[
            at_most(Who::Only("PoolWithFunc<Ring>"), "ns", 0.25, BEST_RIVAL),
            Target { who: Who::But("PoolWithFunc<Ring>"), figure: "ns", limit: Limit::Reported, of: BEST_RIVAL },
        ],
        ..PLAIN
    },
    Scenario {
        name: "batch",
        about: "the same payloads, for Pool closures, in slices of 256, and one by one on the same pool; ns a task",
        figures: &["ns", "single ns", "to single"],
        needs: Needs::Batches,
        targets: &[at_most(Who::All, "to single", 0.5, Of::One)],
        ..PLAIN
    },
    Scenario {
        name: "roundtrip",
        about: "100,000 calls u64 to u64, 1 worker, 1 caller; ns a call",
        figures: CALLS,
        needs: Needs::Call,
        floors: &[(SPIN, floors::spin_ping_pong)],
        targets: &[
            at_most(Who::Like("StatefulPool"), "p50 ns", 2.5, Of::Line(SPIN, "p50 ns")),
            at_most(Who::Like("StatefulPool"), "mean ns", 4.0, Of::Line(SPIN, "mean ns")),
            at_most(Who::Like("StatefulPool"), "p50 ns", 0.5, BEST_RIVAL),
            at_most(Who::Like("StatefulPool"), "mean ns", 0.5, BEST_RIVAL),
        ],
        ..PLAIN
    },
    Scenario {
        name: "roundtrip_idle",
        about: "2,000 such calls, the caller sleeps 200 µs before each; ns a call",
        figures: CALLS,
        needs: Needs::Call,
        floors: &[(PARK, floors::park_unpark)],
        targets: &[at_most(Who::Like("StatefulPool"), "p50 ns", 1.1, Of::Line(PARK, "p50 ns"))],
        ..PLAIN
    },
    Scenario {
        name: "join",
        about: "fib(27) by joins down to fib(12), 2 workers; µs",
        figures: FORKS,
        needs: Needs::Forks,
        targets: &[at_most(Who::Like("Pool<"), "p50 us", 1.15, BEST_RIVAL)],
        ..PLAIN
    },
    Scenario {
        name: "join_uncut",
        about: "fib(20) by nothing but joins, 10,945 of them, 2 workers; µs",
        figures: FORKS,
        needs: Needs::Forks,
        targets: &[at_most(Who::Like("Pool<"), "p50 us", 1.5, BEST_RIVAL)],
        ..PLAIN
    },
    Scenario {
        name: "scope",
        about: "fib(18) by nothing but scopes of two tasks, 4,180 of them, 2 workers; µs",
        figures: FORKS,
        needs: Needs::Forks,
        targets: &[
            at_most(Who::BestLike("Pool<"), "p50 us", 1.0, RAYON_P50),
            at_most(Who::Like("Pool<"), "p50 us", 1.3, RAYON_P50),
        ],
        ..PLAIN
    },
    Scenario {
        name: "quicksort",
        about: "2^20 numbers, joins down to 4,096, which the standard library sorts, 2 workers; µs",
        figures: FORKS,
        needs: Needs::Forks,
        targets: &[at_most(Who::Like("Pool<"), "p50 us", 1.05, RAYON_P50)],
        ..PLAIN
    },
    Scenario {
        name: "matmul",
        about: "512 × 512 numbers times as many, joins of quadrants down to 64 × 64, 2 workers; µs",
        figures: FORKS,
        needs: Needs::Forks,
        targets: &[at_most(Who::Like("Pool<"), "p50 us", 1.05, RAYON_P50)],
        ..PLAIN
    },
    Scenario {
        name: "tree",
        about: "2^18 - 1 tasks, each of which submits two more, down to level 18, 2 workers; ns a task",
        targets: &[
            at_most(Who::BestLike("Pool<"), "ns", 0.5, Of::Line("rayon", "ns")),
            at_most(Who::All, "ns", 1.0, Of::Line("rayon", "ns")),
        ],
        ..PLAIN
    },
    Scenario {
        name: "walk",
        about: "counts files and bytes below the local cargo registry, a task for each directory, 2 workers; ms",
        figures: &["p50 ms", "max ms", "us/dir", "dirs", "files"],
        targets: &[at_most(Who::All, "p50 ms", 1.0, Of::Line("rayon", "p50 ms"))],
        ..PLAIN
    },
    Scenario {
        name: "server",
        about: "HTTP, 20,000 requests of 20 µs of work on 64 connections, 8 workers; requests/s",
        figures: &["requests/s", "p50 us", "p99 us", "CPU us"],
        better: Direction::Higher,
        floors: &[("2 threads on one epoll", floors::bare_server)],
        targets: &[
            at_least(Who::All, "requests/s", 1.1, Of::Best(BLOCKING)),
            at_most(Who::All, "p99 us", 1.0, Of::Best(BLOCKING)),
        ],
        ..PLAIN
    },
    Scenario {
        name: "work10us",
        about: "100,000 tasks of 10 µs, 2 workers; time of two bare threads for it over the time taken",
        figures: WORK,
        better: Direction::Higher,
        floors: &[("bare threads", floors::bare_work)],
        targets: &[at_least(Who::All, "efficiency", 0.985, Of::One)],
        ..PLAIN
    },
    Scenario {
        name: "work10us_1024",
        about: "the same with 1,024 workers allowed",
        figures: WORK,
        better: Direction::Higher,
        floors: &[("bare threads", floors::bare_work)],
        targets: &[at_least(Who::All, "efficiency", 0.97, Of::One)],
        ..PLAIN
    },
    Scenario {
        name: "burst",
        about: "200 bursts of 64 tasks of 20 µs, 5 ms of sleep after each; time of a burst over the ideal",
        figures: &["p50/ideal", "p99/ideal", "CPU/work", "p50 us", "p99 us", "ideal us"],
        targets: &[
            at_most(Who::All, "p50/ideal", 1.02, Of::One),
            at_most(Who::All, "p99/ideal", 1.08, Of::One),
            at_most(Who::All, "CPU/work", 1.03, Of::One),
        ],
        floors: &[("bare threads", floors::bare_burst)],
        ..PLAIN
    },
    Scenario {
        name: "open_loop",
        about: "10,000 tasks of 5 µs at 20,000 a second; µs from due to started",
        figures: &["p50 us", "p99 us", "max us", "workers ms", BLOCKED],
        targets: &[
            at_most(Who::Without(SPIN_60), "workers ms", 1.2, Of::Best(SLEEPERS)),
            at_most(Who::Without(SPIN_60), "p50 us", 1.0, Of::Best(SLEEPERS)),
            at_most(Who::With(SPIN_60), "p50 us", 1.0, Of::One),
        ],
        ..PLAIN
    },
    Scenario {
        name: "tenants",
        about: "a tenant submits a task each millisecond while another floods the pool with 10 µs; µs from due to started",
        figures: &["p50 us", "p99 us", "max us", "tasks"],
        targets: &[at_most(Who::Only("Pool<Sharded>, by key"), "p50 us", 0.1, BEST_RIVAL)],
        ..PLAIN
    },
    Scenario {
        name: "one_long",
        about: "1 task of 50 ms, then 10,000 of 10 µs; time until these are done over what one bare thread takes",
        figures: &["ms/ideal", "stuck", "ms", "ideal ms", "during long"],
        targets: &[at_most(Who::All, "ms/ideal", 1.0, Of::One), at_most(Who::All, "stuck", 0.0, Of::One)],
        ..PLAIN
    },
    Scenario {
        name: "sleep",
        about: "2,000 tasks that sleep 5 ms, 100 workers; 20 times 5 ms over the time taken",
        figures: &["efficiency", "ms"],
        better: Direction::Higher,
        floors: &[("bare threads", floors::bare_sleep)],
        targets: &[at_least(Who::All, "efficiency", 0.98, Of::One)],
        ..PLAIN
    },
    Scenario {
        name: "pending_memory",
        about: "1,000,000 queued closures of 16 bytes of captures; resident bytes a task",
        figures: &["bytes/task"],
        targets: &[at_most(Who::All, "bytes/task", 64.0, Of::One)],
        ..PLAIN
    },
    Scenario {
        name: "pending_payload",
        about: "1,000,000 queued payloads of 8 bytes; resident bytes a task",
        figures: &["bytes/task"],
        needs: Needs::Bound,
        targets: &[at_most(Who::Like("PoolWithFunc"), "bytes/task", 24.0, Of::One)],
        ..PLAIN
    },
    Scenario {
        name: "idle_memory",
        about: "1,000 idle workers that had a task each; resident KiB a worker",
        figures: &["KiB/worker"],
        floors: &[("bare threads", floors::bare_memory)],
        targets: &[Target {
            who: Who::All,
            figure: "KiB/worker",
            limit: Limit::AtMostPlus(1.0),
            of: Of::Line("bare threads", "KiB/worker"),
        }],
        ..PLAIN
    },
    Scenario {
        name: "idle_cpu",
        about: "3 s of nothing right after 10,000 tiny tasks; CPU ms",
        figures: &["CPU ms", "switches"],
        floors: &[("no pool", floors::nothing)],
        targets: &[at_most(Who::All, "CPU ms", 0.1, Of::One)],
        together: true,
        ..PLAIN
    },
    Scenario {
        name: "construct",
        about: "build 2 workers, one task, shut down, joined where there is a way; µs",
        figures: &["p50 us", "p99 us", "mean us"],
        floors: &[("bare threads", floors::bare_construct)],
        targets: &[at_most(Who::All, "p50 us", 1.3, Of::Line("bare threads", "p50 us"))],
        ..PLAIN
    },
    Scenario {
        name: "panic",
        about: "100,000 tasks that panic, 2 workers; ns a task",
        floors: &[("catch_unwind, bare threads", floors::bare_panic)],
        targets: &[at_most(Who::All, "ns", 1.5, Of::Line("catch_unwind, bare threads", "ns"))],
        ..PLAIN
    },
    Scenario {
        name: "producers",
        about: "tiny tasks from 1, 2, 4, 8 and 16 producers; cost of a task at 16 over its cost at 1",
        figures: &["16 to 1", "p1", "p2", "p4", "p8", "p16"],
        targets: &[at_most(Who::All, "16 to 1", 1.5, Of::One)],
        ..PLAIN
    },
    Scenario {
        name: "warm_state",
        about: "2,000 lines against a regex that is compiled once per worker, or per line; µs a line",
        figures: &["us/line", "built", "compile us"],
        needs: Needs::Bound,
        targets: &[
            at_least(Who::Like("StatefulPool"), "built", 2.0, Of::One),
            at_most(Who::Like("StatefulPool"), "built", 2.0, Of::One),
            Target {
                who: Who::Like("StatefulPool"),
                figure: "us/line",
                limit: Limit::Reported,
                of: Of::Line("PoolWithFunc<Stack>", "us/line"),
            },
        ],
        ..PLAIN
    },
];
