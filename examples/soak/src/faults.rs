//! Faults that are made on purpose, and their counts.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use formicary::{BoxError, Context, Task, Worker, WorkerThread};
use parking_lot::Mutex;

use crate::support::random::Random;
use crate::support::{Setup, start_thread};

macro_rules! faults {
    ($($name:ident: $text:literal,)*) => {
        /// How often each kind of fault was made.
        #[derive(Default)]
        pub(crate) struct Faults { $(pub(crate) $name: AtomicU64,)* }

        pub(crate) static FAULTS: Faults = Faults { $($name: AtomicU64::new(0),)* };

        impl Faults {
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($text, self.$name.load(Relaxed)),)*]
            }
        }
    };
}

faults! {
    tasks: "tasks that panicked",
    drops: "captured values that panicked in their drop",
    handlers: "panic handlers that panicked",
    threads: "threads refused",
    factories: "factories that failed or panicked",
    terminations: "states that panicked in `terminate`",
    submitters: "submitters that panicked in a submit",
    cancelled: "tasks cancelled",
    dropped: "pools dropped with work in them",
}

/// Counts one fault.
pub(crate) fn count(fault: &AtomicU64) {
    fault.fetch_add(1, Relaxed);
}

/// Panics without a message on the terminal.
pub(crate) fn fail(fault: &AtomicU64) -> ! {
    count(fault);
    resume_unwind(Box::new("a fault"))
}

/// A captured value whose drop panics once it is armed.
#[derive(Default)]
pub(crate) struct PanicsOnDrop(bool);

impl PanicsOnDrop {
    pub(crate) fn arm(&mut self) {
        self.0 = true;
    }
}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        if self.0 && !thread::panicking() {
            fail(&FAULTS.drops);
        }
    }
}

/// Options with which threads are refused, and panic handlers panic, at random.
pub(crate) fn unreliable(mut setup: Setup, random: &mut Random) -> Setup {
    if random.once_in(3) {
        let dice = Mutex::new(random.split());
        setup.spawn_handler = Some(Arc::new(move |thread: WorkerThread| {
            let is_refused = dice.lock().once_in(6);
            if is_refused {
                count(&FAULTS.threads);
            }
            start_thread(!is_refused, thread)
        }));
    }
    if random.once_in(3) {
        let dice = Mutex::new(random.split());
        setup.panic_handler = Some(Arc::new(move |_| {
            if dice.lock().once_in(4) {
                fail(&FAULTS.handlers);
            }
        }));
    }
    setup
}

/// A state that may fail to be made and may panic when it ends.
pub(crate) struct Flaky {
    random: Random,
}

impl Flaky {
    pub(crate) fn build(mut random: Random) -> Result<Self, BoxError> {
        match random.below(24) {
            0 => fail(&FAULTS.factories),
            1 | 2 => {
                count(&FAULTS.factories);
                Err("a fault".into())
            }
            _ => Ok(Flaky { random }),
        }
    }
}

impl Worker for Flaky {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _cx: &Context<'_>) {
        task.run();
    }

    fn terminate(mut self) {
        if self.random.once_in(8) {
            fail(&FAULTS.terminations);
        }
    }
}
