//! Whole pools under random schedules, for what is too large for loom: `RUSTFLAGS="--cfg formicary_shuttle"`, see
//! `ci/shuttle.sh`.
//!
//! shuttle runs all threads of a scenario, the workers too, in turns on one thread of the system, and draws at every operation on
//! a lock, an atomic, a condition variable or a park token which thread goes on. Half of the schedules are drawn evenly, half by
//! PCT, which gives the threads priorities and changes them at few points; what a scenario does is drawn as well. If no thread can
//! go on, the scenario fails at once: a lost wake-up, or a thread that does not end, needs no time limit to be found.
//!
//! **Covered**: the engine, the three queues, task states, tokens, handles, forks, groups, scopes and views, on every kind of pool; workers
//! that start, expire and end, and the joining of their threads.
//!
//! **Not covered**: memory orderings weaker than sequentially consistent (loom's and ThreadSanitizer's part). Time: a
//! deadline is either over when it is checked or never comes, so there are only limits of zero, and no thread of the timer.
//! Orders that were not drawn.
//!
//! `FORMICARY_SHUTTLE_SCHEDULES` says how many schedules each scenario is run with, on each kind of pool (10,000). A failure prints its
//! schedule; put into a file that `FORMICARY_SHUTTLE_REPLAY` names, it is run again by the same test, with
//! `FORMICARY_SHUTTLE_ONLY` as the name that was printed with it. `SHUTTLE_RANDOM_SEED` draws others.
#![cfg(formicary_shuttle)]
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)] // a test fails by panicking; its modules are its own

#[path = "../support/mod.rs"]
mod support;

mod explore;
mod handles;
mod owners;
mod recursive;
mod retrying;
mod tasks;
