//! The target `map`: iterators through a pool against the same iterators without one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use arbitrary::Arbitrary;
use formicary::{CallError, Map, Pool, PoolWithFunc, Ring, Sharded, Stack, StatefulPool, SubmitErrorKind};

use super::job::{Job, Output, What, panics};
use super::keys::Keyed;
use super::ledger::Ledger;
use super::shape::Shape;
use super::states::{Adept, Faults};
use super::subjects::{Subject, job_back};
use super::{Sequence, await_no_threads, thread_name};

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    dispatch: u8,
    kind: u8,
    shape: Shape,
    operations: Sequence<Operation>,
}

/// One map, until so many results have been taken.
#[derive(Arbitrary, Debug)]
struct Operation {
    items: u8,
    /// Which items panic: those whose number this divides, none if it is 0. In their drop, if that is so.
    panics: u8,
    is_in_drop: bool,
    /// The window in its low bits. Where the highest is set, the input is slow: each pull waits until all that was pulled is done.
    window: u8,
    take: u8,
    is_unordered: bool,
    /// At which item the input itself panics, if there is one of that number.
    input_panics: u8,
    /// The pool is closed after so many results.
    closes: u8,
}

pub(crate) fn drive(plan: &Plan) {
    match plan.dispatch % 3 {
        0 => drive_on::<Stack>(plan),
        1 => drive_on::<Ring>(plan),
        _ => drive_on::<Sharded>(plan),
    }
}

fn drive_on<D: Keyed>(plan: &Plan) {
    let (ledger, name) = (Ledger::new(plan.shape.workers()), thread_name());
    match plan.kind % 3 {
        0 => {
            let builder = plan.shape.on(Pool::builder().dispatch::<D>(), &name, &ledger);
            Driver { plan, pool: builder.build().expect("the shape is good"), ledger, returned: 0 }.drive(&name);
        }
        1 => {
            let builder = plan.shape.on(PoolWithFunc::builder(Job::run).dispatch::<D>(), &name, &ledger);
            Driver { plan, pool: builder.build().expect("the shape is good"), ledger, returned: 0 }.drive(&name);
        }
        _ => {
            let builder = StatefulPool::builder(Adept::make(&ledger, &Arc::<Faults>::default())).dispatch::<D>();
            let pool = plan.shape.on(builder, &name, &ledger).build().expect("the shape is good");
            Driver { plan, pool, ledger, returned: 0 }.drive(&name);
        }
    }
}

type Items<'a> = Box<dyn Iterator<Item = Job> + 'a>;

/// A pool with its maps.
trait Maps: Subject {
    fn map<'a>(&'a self, items: Items<'a>, is_unordered: bool) -> Map<'a, Items<'a>, Output>;
}

impl<D: Keyed> Maps for Pool<D> {
    fn map<'a>(&'a self, items: Items<'a>, is_unordered: bool) -> Map<'a, Items<'a>, Output> {
        if is_unordered { self.map_unordered(items, Job::run) } else { self.map(items, Job::run) }
    }
}

impl<D: Keyed> Maps for PoolWithFunc<Job, D, Output> {
    fn map<'a>(&'a self, items: Items<'a>, is_unordered: bool) -> Map<'a, Items<'a>, Output> {
        if is_unordered { self.map_unordered(items) } else { self.map(items) }
    }
}

impl<D: Keyed> Maps for StatefulPool<Adept, D> {
    fn map<'a>(&'a self, items: Items<'a>, is_unordered: bool) -> Map<'a, Items<'a>, Output> {
        if is_unordered { self.map_unordered(items) } else { self.map(items) }
    }
}

struct Driver<'p, S: Maps> {
    plan: &'p Plan,
    pool: S,
    ledger: Arc<Ledger>,
    returned: u64,
}

impl<S: Maps> Driver<'_, S> {
    fn drive(mut self, name: &str) {
        // A plan of many maps would be one of very many items.
        for operation in self.plan.operations.0.iter().take(12) {
            self.map(operation);
        }
        assert!(self.pool.shutdown().is_complete());
        self.ledger.check(&self.pool.stats(), self.returned, false);
        let Driver { pool, ledger, .. } = self;
        drop(pool);
        await_no_threads(name);
        assert_eq!(Arc::strong_count(&ledger), 1, "a capture is left");
    }

    fn map(&mut self, operation: &Operation) {
        let (count, window) = (usize::from(operation.items % 32), 1 + usize::from(operation.window % 8));
        let (ledger, pulled, handed_out) = (&self.ledger, AtomicUsize::new(0), AtomicUsize::new(0));
        let is_slow = operation.window >> 7 == 1;
        let mut jobs = Vec::new();
        for n in 1..=count {
            let is_multiple = operation.panics > 0 && n % usize::from(operation.panics) == 0;
            jobs.push(ledger.job(match (is_multiple, operation.is_in_drop) {
                (false, _) => What::Return,
                (true, false) => What::Panic,
                (true, true) => What::PanicInDrop,
            }));
        }
        let ids: Vec<(usize, bool)> = jobs.iter().map(|job| (job.id, job.panics())).collect();
        let mut jobs = jobs.into_iter();
        let input = jobs.by_ref().inspect(|_| {
            if pulled.load(SeqCst) == usize::from(operation.input_panics) {
                // The item goes with it.
                panics();
            }
            let before = pulled.fetch_add(1, SeqCst);
            if is_slow {
                // At the last pull, the answers to all earlier items were ready.
                assert!(handed_out.load(SeqCst) + 1 >= before, "an answer waits for more input");
                assert!(self.pool.wait_idle());
            }
        });
        let mut is_closed = false;
        let mut answered = vec![false; count];
        let mut returned = Vec::new();
        let mut results = S::map(&self.pool, Box::new(input), operation.is_unordered).window(window).results();
        for taken in 0..usize::from(operation.take % 40) {
            if taken == usize::from(operation.closes) {
                is_closed = true;
                returned.extend(self.pool.shutdown_now());
            }
            // The input may panic, and nothing else.
            let Ok(next) = catch_unwind(AssertUnwindSafe(|| results.next())) else {
                assert_eq!(pulled.load(SeqCst), usize::from(operation.input_panics));
                break;
            };
            let Some(answer) = next else {
                assert!(taken == count, "{taken} answers for {count} items");
                break;
            };
            handed_out.fetch_add(1, SeqCst);
            assert!(pulled.load(SeqCst) <= taken + window, "more is pulled than the window has room for");
            let place = match &answer {
                Ok(output) => ids.iter().position(|(id, _)| *id == output.id).expect("one of these items"),
                // Only an ordered map tells which one it is.
                Err(_) => taken,
            };
            if !operation.is_unordered {
                assert_eq!(place, taken, "answers in the order of the input");
            }
            match answer {
                Ok(_) => {
                    assert!(!std::mem::replace(&mut answered[place], true), "two answers for an item");
                    assert_eq!((ledger.ran(ids[place].0), ids[place].1), (1, false));
                }
                Err(CallError::Refused(refusal)) => {
                    let kind = refusal.kind();
                    job_back(refusal.into_task());
                    let is_right = match kind {
                        SubmitErrorKind::Closed => is_closed,
                        SubmitErrorKind::Full => self.plan.shape.is_nonblocking(),
                        SubmitErrorKind::Overloaded => self.plan.shape.limits_blocking(),
                        _ => false,
                    };
                    assert!(is_right, "refused as {kind:?}");
                }
                Err(CallError::Failed(error)) => {
                    assert!(error.is_panic() || is_closed && error.is_cancelled(), "{error}");
                    assert!(operation.is_unordered || error.is_cancelled() || ids[place].1, "a panic of another item");
                }
            }
        }
        // An item that found no room is dropped with it.
        let ended = catch_unwind(AssertUnwindSafe(|| drop(results)));
        assert!(ended.is_ok() || operation.is_in_drop);
        self.returned += returned.len() as u64;
        returned.into_iter().for_each(S::back);
        jobs.for_each(job_back);
        self.pool.wait_idle();
        for (id, _) in ids {
            self.ledger.unsure_unless_ran(id);
        }
        if is_closed {
            assert!(self.pool.shutdown().is_complete());
            self.ledger.check(&self.pool.stats(), self.returned, false);
            self.pool.restart().expect("a pool that has ended");
        }
    }
}
