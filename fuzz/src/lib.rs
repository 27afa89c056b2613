//! Sequences of operations on the public interface, made from a fuzzer's bytes, and what must hold after each.
//!
//! Nothing here depends on a fuzzer: the targets in `fuzz_targets` and the crate's test `tests/fuzz_corpus.rs` both [`run`] the
//! same. A plan that fails panics, or aborts the process if it hangs or fails on another thread.

#[macro_use]
mod choices;

mod account;
mod closures;
mod gate;
mod group;
mod job;
mod keys;
mod ledger;
mod map;
mod nested;
mod pipeline;
mod pool;
mod ring;
mod semaphore;
mod shape;
mod states;
mod subjects;
mod timer;
mod tokens;
mod told;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use formicary::{Fair, Priority, Ring, Sharded, Stack};

/// What makes a plan of bytes and carries it out.
type Target = fn(&[u8]);

/// The targets and their names; each has a folder of that name in the corpus.
pub const TARGETS: [(&str, Target); 13] = [
    ("ring", |input| plan(input, ring::drive)),
    ("stack_pool", |input| plan(input, pool::drive::<Stack>)),
    ("loop_pool", |input| plan(input, pool::drive::<Ring>)),
    ("sharded_pool", |input| plan(input, pool::drive::<Sharded>)),
    ("priority", |input| plan(input, pool::drive::<Priority>)),
    ("fair", |input| plan(input, pool::drive::<Fair>)),
    ("stateful_pool", |input| plan(input, pool::drive_stateful)),
    ("group", |input| plan(input, group::drive)),
    ("tokens", |input| plan(input, tokens::drive)),
    ("map", |input| plan(input, map::drive)),
    ("semaphore", |input| plan(input, semaphore::drive)),
    ("timer", |input| plan(input, timer::drive)),
    ("pipeline", |input| plan(input, pipeline::drive)),
];

/// The most operations of a plan that are carried out.
const OPERATIONS: usize = 48;

/// How long a plan may take: a thousand times what it needs on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Decodes `input` to a plan and carries it out.
///
/// # Panics
/// If something that must hold does not, or if there is no such target.
pub fn run(target: &str, input: &[u8]) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target's name");
    run(input);
}

/// Too few bytes for a plan are none.
fn plan<P>(input: &[u8], drive: fn(&P))
where
    P: for<'a> Arbitrary<'a> + Debug + Send + Sync + 'static,
{
    let Ok(plan) = P::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let plan = Arc::new(plan);
    let (done, ended) = mpsc::channel::<()>();
    let watched = Arc::clone(&plan);
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("hangs (nothing for {LIMIT:?}): {watched:?}");
            std::process::abort();
        }
    });
    let result = catch_unwind(AssertUnwindSafe(|| drive(&plan)));
    drop(done);
    drop(watch.join());
    if let Err(panic) = result {
        eprintln!("the plan was {plan:?}");
        resume_unwind(panic);
    }
}

/// The operations of a plan: as many as there are bytes for. (A vector would toss a coin before each.)
#[derive(Debug)]
struct Sequence<T>(Vec<T>);

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Sequence<T> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut operations = Vec::new();
        while !input.is_empty() && operations.len() < OPERATIONS {
            operations.push(input.arbitrary()?);
        }
        Ok(Sequence(operations))
    }
}

/// A prefix for a pool's threads that no other plan of this process uses.
fn thread_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("fz{:x}.", NEXT.fetch_add(1, Relaxed))
}

/// Waits until no thread of that name is left. A thread that was joined may still be in the system's list for a moment.
fn await_no_threads(prefix: &str) {
    eventually(|| threads_named(prefix) == 0);
}

/// Polls for a state that comes without a notification. The plan's own limit ends it.
fn eventually(condition: impl Fn() -> bool) {
    for round in 0_u32.. {
        if condition() {
            return;
        }
        match round {
            0..100 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}

/// Threads of this process whose name begins with `prefix` (Linux; none elsewhere).
fn threads_named(prefix: &str) -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}
