//! What is freed, and when: tests that count the bytes of the whole process, one at a time.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "../support/mod.rs"]
mod support;

mod finished;
mod left_behind;
mod queued;
mod rate_keys;
mod shrinking;
mod stateful_memory;

#[global_allocator]
static ALLOCATOR: support::allocator::Counting = support::allocator::Counting;
