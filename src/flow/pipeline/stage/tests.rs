//! How often a stage looks at its tasks, which are only counted here.

use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::*;
use crate::error::JoinError;
use crate::sync::waiter::Waiter;
use crate::sync::{AtomicBool, Ordering};
use crate::task::state::{AwaitedEnd, PollAction};

/// A task that counts the looks at it.
struct Counted {
    has_started: AtomicBool,
    can_be_run: bool,
    looks: Arc<AtomicUsize>,
}

impl Awaited for Counted {
    fn is_finished(&self) -> bool {
        false
    }
    fn failure(&self) -> Option<Option<JoinError>> {
        None
    }
    fn await_end(&self, _: Option<Instant>) -> AwaitedEnd {
        AwaitedEnd::TimedOut
    }
    fn can_run(&self) -> bool {
        self.can_be_run
    }
    fn can_be_run(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.can_be_run
    }
    fn has_started(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.has_started.load(Ordering::Relaxed)
    }
    fn run_inside(&self) {
        self.has_started.store(true, Ordering::Relaxed);
    }
    fn poll_action(&self, _: &dyn Fn() -> Waiter) -> PollAction {
        PollAction::Wait
    }
    fn run_for_poll(&self, _: &dyn Fn() -> Waiter) {}
    fn listen_beside(&self, _: Waiter) -> Option<u64> {
        None
    }
    fn stop_listening(&self, _: u64) {}
    fn cancel(&self) -> bool {
        true
    }
}

struct Nowhere;

impl Inlet<()> for Nowhere {
    fn put(&self, (): ()) -> Result<(), ()> {
        Ok(())
    }
    fn has_room(&self) -> bool {
        true
    }
    fn end(&self, _: End) {}
}

/// A stage with so many tasks, which never end.
fn stage(items: u32, can_be_run: bool) -> (Arc<Stage<(), ()>>, Arc<AtomicUsize>) {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let launch: Launcher<(), ()> = Box::new(move |(), _, _| Launch {
        task: Arc::new(Counted { has_started: AtomicBool::new(false), can_be_run, looks: Arc::clone(&counted) }),
        future: DetachedFuture::new(async {}),
    });
    let position = Position {
        number: 0,
        settings: Settings::default(),
        next: Arc::new(Nowhere) as _,
        before: OnceLock::new(),
        control: Weak::new(),
        submissions: Submissions::new(),
    };
    let stage = Stage::new(position, items as usize, launch, None);
    (0..items).for_each(|_| assert!(stage.put(()).is_ok()));
    (stage, looks)
}

#[test]
fn a_worker_that_runs_the_tasks_looks_at_each_of_them_a_few_times() {
    let (stage, looks) = stage(1000, true);
    assert_eq!(std::iter::repeat_with(|| stage.run_one()).take_while(|&has_run| has_run).count(), 1000);
    assert!(looks.load(Ordering::Relaxed) <= 3 * 1000, "{looks:?}");
}

#[test]
fn a_worker_that_cannot_run_the_first_task_looks_at_no_other() {
    let (stage, looks) = stage(1000, false);
    (0..1000).for_each(|_| assert!(!stage.run_one()));
    assert!(looks.load(Ordering::Relaxed) <= 3 * 1000, "{looks:?}");
}
