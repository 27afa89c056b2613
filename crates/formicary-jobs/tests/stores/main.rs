//! Every store, held against the same tests: what a store promises, what a runner does with it, and what is left after kill -9.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod disk;
mod endings;
mod faults;
#[cfg(feature = "nats")]
mod forgotten;
mod killed;
mod room;
mod support;
