//! Traps: user code that panics at one place of all those where a pool runs it.
#![allow(dead_code, unreachable_pub)] // every test file uses its own part

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

/// Where user code is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Process,
    DropInput,
    DropOutput,
    DropState,
    Factory,
    AskInterrupter,
    Interrupt,
    Ready,
    Terminate,
    ThreadStart,
    ThreadStop,
    Spawn,
    Handler,
    Iterate,
    WakeUp,
}
use Place::*;

/// The places that every kind of pool has.
pub const COMMON: [Place; 8] = [Process, DropInput, DropOutput, ThreadStart, ThreadStop, Spawn, Handler, Iterate];
/// Those of a pool that gives handles.
pub const OF_HANDLES: [Place; 1] = [WakeUp];
/// Those of a pool whose workers have a state.
pub const OF_STATES: [Place; 6] = [DropState, Factory, AskInterrupter, Interrupt, Ready, Terminate];

impl Place {
    /// Whether that code also runs on the thread of a caller, to which the panic then belongs: inputs are dropped by the caller
    /// that gets them back or cancels them, outputs by the one that joins.
    fn is_the_callers(self) -> bool {
        matches!(self, DropInput | DropOutput | Iterate)
    }
}

/// What a panic carries. It panics once more when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            resume_unwind(Box::new("a test's panic, of a payload"));
        }
    }
}

/// Panics at one place, once each time that it is armed, or every time.
#[derive(Clone)]
pub struct Trap(Arc<Inner>);

struct Inner {
    place: Place,
    always: bool,
    armed: AtomicBool,
    fired: AtomicUsize,
    /// The live values of the test, plus one.
    values: Arc<()>,
}

impl Trap {
    pub fn new(place: Place, always: bool) -> Self {
        let (armed, fired, values) = (AtomicBool::new(false), AtomicUsize::new(0), Arc::new(()));
        Trap(Arc::new(Inner { place, always, armed, fired, values }))
    }

    /// The code of `here`.
    pub fn pass(&self, here: Place) {
        let Inner { place, always, armed, fired, .. } = &*self.0;
        // A panic during another one would abort the process.
        if here != *place || thread::panicking() {
            return;
        }
        if if *always { armed.load(SeqCst) } else { armed.swap(false, SeqCst) } {
            fired.fetch_add(1, SeqCst);
            resume_unwind(Box::new(PanicsOnDrop));
        }
    }

    pub fn arm(&self, armed: bool) {
        self.0.armed.store(armed, SeqCst);
    }

    pub fn place(&self) -> Place {
        self.0.place
    }

    /// How often it went off.
    pub fn fired(&self) -> usize {
        self.0.fired.load(SeqCst)
    }

    /// How many values there are.
    pub fn values(&self) -> usize {
        Arc::strong_count(&self.0.values) - 1
    }

    /// Something that is counted, and whose drop is at a place.
    pub fn value(&self, dropped: Place) -> Value {
        Value { trap: self.clone(), dropped, _counted: Arc::clone(&self.0.values) }
    }

    /// Something that a caller does. A panic may come out of it only if its place belongs to the caller.
    pub fn outside(&self, f: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            std::mem::forget(payload);
            assert!(self.0.place.is_the_callers(), "the panic came out");
        }
    }
}

/// An input, an output, or a part of a state or of a hook.
pub struct Value {
    pub trap: Trap,
    dropped: Place,
    _counted: Arc<()>,
}

impl Drop for Value {
    fn drop(&mut self) {
        self.trap.pass(self.dropped);
    }
}
