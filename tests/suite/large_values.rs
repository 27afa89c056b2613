//! B24: large values, queued by value.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::support::{Gate, on_every_dispatch};
use formicary::{Dispatch, PoolWithFunc};

const SIZE: usize = 32 * 1024;

/// What Rust gives a thread when nothing is said.
const STACK: usize = 2 * 1024 * 1024;

/// B24: hundreds of payloads of 32 KiB wait in the queue; neither the queue nor push and pop need a stack for more than the few
/// that are being moved.
fn hundreds_of_large_payloads<D: Dispatch>() {
    let (gate, sum) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let (hold, add) = (gate.clone(), Arc::clone(&sum));
    let builder = PoolWithFunc::builder(move |payload: [u8; SIZE]| {
        hold.wait();
        add.fetch_add(usize::from(payload[SIZE / 2]), SeqCst);
    });
    let pool = builder.workers(1).queue(300).dispatch::<D>().build().unwrap();
    let submitter = std::thread::Builder::new().stack_size(STACK);
    std::thread::scope(|scope| {
        let submit = || (0..300).for_each(|_| pool.submit([1; SIZE]).unwrap());
        submitter.spawn_scoped(scope, submit).unwrap();
    });
    gate.await_arrivals(1);
    assert_eq!(pool.queued(), 299);
    gate.pass(200);
    gate.await_arrivals(201);
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!(sum.load(SeqCst), 300);
}

#[test]
fn b24_hundreds_of_large_payloads_fit_the_stack() {
    on_every_dispatch!(hundreds_of_large_payloads);
}
