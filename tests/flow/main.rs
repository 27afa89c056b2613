//! Flow control, as one program: a file for each subject. What every pool promises is in `tests/suite/`, what needs a scripted clock in
//! programs beside it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "../support/mod.rs"]
mod support;

mod after_the_end;
mod autoscaling;
mod batching;
mod breaker;
mod combined;
mod combined_ends;
mod dependencies;
mod fair;
mod fair_room;
mod futures;
mod growing;
mod in_order;
mod overflow;
mod pipeline;
mod pipeline_batches;
mod priority;
mod retry_letters;
mod retrying;
mod scheduled;
mod semaphore;
mod tower;
mod weights;
