//! The cost of a submit: tiny tasks through two workers, from one submitter and from four, one by one and in slices.
//!
//! `cargo bench --bench submit`; a part of it with a name, `cargo bench --bench submit -- "four submitters"`.

mod common;

use common::load::{Load, add, measure, tiny_task};
use common::{criterion, number_pools, task_pools};
use criterion::{Criterion, criterion_group, criterion_main};

const ONE: Load = Load { submitters: 1, slice: 1 };
const FOUR: Load = Load { submitters: 4, slice: 1 };
const SLICES: Load = Load { submitters: 1, slice: 64 };

/// Closures in a `Task`.
fn tasks(criterion: &mut Criterion) {
    measure(criterion, "submit/one submitter", &task_pools(), ONE, tiny_task);
    measure(criterion, "submit/four submitters", &task_pools(), FOUR, tiny_task);
    measure(criterion, "submit/slices of 64", &task_pools(), SLICES, tiny_task);
}

/// Payloads of eight bytes: nothing but the number is queued.
fn numbers(criterion: &mut Criterion) {
    measure(criterion, "submit/u64, one submitter", &number_pools(add), ONE, || 1);
    measure(criterion, "submit/u64, four submitters", &number_pools(add), FOUR, || 1);
    measure(criterion, "submit/u64, slices of 64", &number_pools(add), SLICES, || 1);
}

criterion_group! { name = benches; config = criterion(); targets = tasks, numbers }
criterion_main!(benches);
