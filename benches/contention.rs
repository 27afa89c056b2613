//! How submitters slow each other down: the same tiny tasks through two workers, from 1, 2, 4, 8 and 16 threads.
//!
//! `cargo bench --bench contention`; one count of them with `-- "16 submitters"`.

mod common;

use common::load::{Load, measure, tiny_task};
use common::{criterion, task_pools};
use criterion::{Criterion, criterion_group, criterion_main};

fn submitters(criterion: &mut Criterion) {
    for submitters in [1, 2, 4, 8, 16] {
        let name = format!("contention/{submitters} submitters");
        measure(criterion, &name, &task_pools(), Load { submitters, slice: 1 }, tiny_task);
    }
}

criterion_group! { name = benches; config = criterion(); targets = submitters }
criterion_main!(benches);
