//! The target `group`: tasks that succeed or fail together, and one answer for each.

use std::sync::Arc;

use arbitrary::Arbitrary;
use formicary::{CancelToken, Group, GroupError, PauseGuard, Pool, Ring, Sharded, Stack, SubmitErrorKind, TaskFailure};

use super::job::{Output, What};
use super::keys::Keyed;
use super::ledger::{Back, Ledger};
use super::shape::Shape;
use super::subjects::{MOMENT, Subject};
use super::{Sequence, await_no_threads, thread_name};

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    dispatch: u8,
    shape: Shape,
    limit: u8,
    collects_all: bool,
    end: End,
    operations: Sequence<Operation>,
}

choices! {
    #[derive(Clone, Copy, Debug)]
    enum End {
        Wait,
        Collect,
        Drop,
    }
}

choices! {
    #[derive(Debug)]
    enum Operation {
        Spawn(Does),
        TrySpawn(Does),
        Open,
        Cancel,
        CancelParent,
        WaitForMoment,
        Pause,
        Resume,
        ShutdownNow,
        Restart,
        /// The end of this group, and another one.
        Next,
    }
}

choices! {
    #[derive(Clone, Copy, Debug)]
    enum Does {
        Job(Simple),
        Fail,
        CancelGroup,
        /// Makes a group of its own with so many tasks, on the same pool.
        Nest(u8),
    }
}

choices! {
    #[derive(Clone, Copy, Debug)]
    enum Simple {
        Return,
        Panic,
        PanicInDrop,
        Hold,
    }
}

impl From<Simple> for What {
    fn from(simple: Simple) -> What {
        match simple {
            Simple::Return => What::Return,
            Simple::Panic => What::Panic,
            Simple::PanicInDrop => What::PanicInDrop,
            Simple::Hold => What::Hold,
        }
    }
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
    let pool = plan.shape.on(Pool::builder().dispatch::<D>(), &name, &ledger).build().expect("the shape is good");
    let (pool, parent) = (Arc::new(pool), CancelToken::new());
    let group = new_group(plan, &pool, &parent);
    let pauses = Vec::new();
    let mut driver = Driver {
        plan,
        pool,
        ledger,
        group: Some(group),
        parent,
        pauses,
        accepted: Vec::new(),
        holds: false,
        returned: 0,
    };
    for operation in &plan.operations.0 {
        driver.carry_out(operation);
    }
    driver.end(&name);
}

fn new_group<D: Keyed>(plan: &Plan, pool: &Pool<D>, parent: &CancelToken) -> Group<Output, Failed, D> {
    let group = pool.group_with(parent).collect_all(plan.collects_all);
    match plan.limit % 8 {
        0 => group,
        limit => group.limit(limit.into()),
    }
}

/// What a task of the group fails with: its number.
type Failed = usize;

struct Driver<'p, D: Keyed> {
    plan: &'p Plan,
    pool: Arc<Pool<D>>,
    ledger: Arc<Ledger>,
    group: Option<Group<Output, Failed, D>>,
    parent: CancelToken,
    pauses: Vec<PauseGuard>,
    /// Numbers of the jobs in the group, and what they do.
    accepted: Vec<(usize, Does)>,
    holds: bool,
    returned: u64,
}

impl<D: Keyed> Driver<'_, D> {
    fn carry_out(&mut self, operation: &Operation) {
        let Some(group) = &self.group else { return };
        match operation {
            Operation::Spawn(does) => self.spawn(*does, false),
            Operation::TrySpawn(does) => self.spawn(*does, true),
            Operation::Open => self.open(),
            Operation::Cancel => group.cancel(),
            Operation::CancelParent => self.parent.cancel(),
            Operation::WaitForMoment => {
                let is_over = group.wait_timeout(MOMENT);
                // Groups before this one that were dropped may have left tasks that run.
                let is_alone = !matches!(self.plan.end, End::Drop);
                assert!(!is_over || !is_alone || self.ledger.running() == 0, "tasks run after the wait");
            }
            Operation::Pause => self.pauses.push(self.pool.pause()),
            Operation::Resume => drop(self.pauses.pop()),
            Operation::Next => {
                self.end_group();
                self.accepted.clear();
                self.parent = CancelToken::new();
                self.group = Some(new_group(self.plan, &self.pool, &self.parent));
            }
            Operation::ShutdownNow => {
                self.open();
                let returned = self.pool.shutdown_now();
                self.returned += returned.len() as u64;
                returned.into_iter().for_each(<Pool<D> as Subject>::back);
            }
            Operation::Restart => {
                if self.pool.is_closed() {
                    self.pool.restart().expect("a pool that has ended");
                }
            }
        }
    }

    fn open(&mut self) {
        self.ledger.gate().open();
        self.holds = false;
    }

    fn spawn(&mut self, does: Does, is_try: bool) {
        // It must not wait for room that only this thread can make.
        let is_try = is_try || self.holds || !self.pauses.is_empty();
        let Some(group) = &self.group else { return };
        let what = if let Does::Job(simple) = does { simple.into() } else { What::Return };
        let job = self.ledger.job(what);
        let (id, pool, ledger) = (job.id, Arc::downgrade(&self.pool), Arc::clone(&self.ledger));
        self.ledger.has_token(id, group.token());
        self.holds |= what == What::Hold;
        let task = move |token: &CancelToken| {
            let output = job.run();
            match does {
                // It came back, and only reports its number.
                _ if Ledger::identifies() => Ok(output),
                Does::Job(_) => Ok(output),
                Does::Fail => Err(output.id),
                Does::CancelGroup => {
                    token.cancel();
                    Ok(output)
                }
                Does::Nest(count) => {
                    if let Some(pool) = pool.upgrade() {
                        nest(&pool, &ledger, token, count);
                    }
                    Ok(output)
                }
            }
        };
        let entered = if is_try { group.try_spawn(task) } else { group.spawn(task) };
        match entered {
            Ok(()) => {
                self.ledger.accepted(id);
                self.accepted.push((id, does));
                assert_eq!(group.len(), self.accepted.len());
            }
            Err(refusal) => {
                self.ledger.refused(id);
                let kind = refusal.kind();
                let token = CancelToken::new();
                Ledger::identify(Back::Refused, || drop(refusal.into_task()(&token)));
                let is_right = match kind {
                    SubmitErrorKind::Full => is_try || self.plan.shape.is_nonblocking(),
                    SubmitErrorKind::Overloaded => self.plan.shape.limits_blocking(),
                    SubmitErrorKind::Cancelled => group.token().is_cancelled(),
                    SubmitErrorKind::Closed => self.pool.is_closed(),
                    _ => false,
                };
                assert!(is_right, "refused as {kind:?}");
            }
        }
    }

    /// Ends the group: after that nothing of it runs or will run.
    fn end_group(&mut self) {
        self.pauses.clear();
        // Tasks that hold their worker do so until the wait has begun.
        let ledger = Arc::clone(&self.ledger);
        let opener = self.holds.then(|| {
            std::thread::spawn(move || {
                std::thread::sleep(MOMENT);
                ledger.gate().open();
            })
        });
        self.await_group();
        if let Some(opener) = opener {
            opener.join().expect("an opener does not panic");
            self.holds = false;
        }
    }

    fn await_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        let token = group.token().clone();
        match self.plan.end {
            End::Wait => {
                let was_told = token.is_cancelled();
                match group.wait() {
                    Ok(outputs) => {
                        let ids: Vec<usize> = outputs.iter().map(|output| output.id).collect();
                        assert!(ids.iter().eq(self.accepted.iter().map(|(id, _)| id)), "values in their order");
                    }
                    Err(GroupError { index, failure }) => self.check_failure(index, &failure, was_told),
                }
                self.check_is_over();
            }
            End::Collect => {
                let results = group.collect();
                assert_eq!(results.len(), self.accepted.len());
                for (index, result) in results.iter().enumerate() {
                    match result {
                        Ok(output) => assert_eq!((output.id, self.ran(index)), (self.accepted[index].0, 1)),
                        Err(failure) => self.check_failure(index, failure, true),
                    }
                }
                self.check_is_over();
            }
            End::Drop => {
                drop(group);
                assert!(self.accepted.is_empty() || token.is_cancelled());
            }
        }
    }

    fn ran(&self, index: usize) -> u8 {
        self.ledger.ran(self.accepted[index].0)
    }

    fn check_failure(&self, index: usize, failure: &TaskFailure<Failed>, may_be_cancelled: bool) {
        let (id, does) = self.accepted[index];
        match failure {
            TaskFailure::Failed(number) => {
                assert!(matches!(does, Does::Fail));
                assert_eq!((*number, self.ran(index)), (id, 1));
            }
            TaskFailure::Panicked(_) => {
                assert!(matches!(does, Does::Job(Simple::Panic | Simple::PanicInDrop)));
                assert_eq!(self.ran(index), 1);
            }
            TaskFailure::Cancelled => {
                // Its own token may be cancelled by a task while it is waited for.
                let is_cancelled_by_task = self.accepted.iter().any(|(_, does)| matches!(does, Does::CancelGroup));
                assert!(may_be_cancelled || is_cancelled_by_task || self.returned > 0);
                assert_eq!(self.ran(index), 0);
            }
            _ => panic!("{failure}"),
        }
    }

    fn check_is_over(&self) {
        assert_eq!(self.ledger.running(), 0, "tasks run after the wait");
    }

    fn end(mut self, name: &str) {
        self.end_group();
        assert!(self.pool.wait_idle());
        self.ledger.check(&self.pool.stats(), self.returned, false);
        let Driver { pool, ledger, .. } = self;
        assert!(pool.shutdown().is_complete());
        ledger.check(&pool.stats(), self.returned, false);
        drop(pool);
        await_no_threads(name);
        assert_eq!(Arc::strong_count(&ledger), 1, "a capture is left");
    }
}

/// A group in a task, on the same pool and below the task's group.
fn nest<D: Keyed>(pool: &Pool<D>, ledger: &Arc<Ledger>, token: &CancelToken, count: u8) {
    let group = pool.group_with::<Output, ()>(token);
    let mut accepted = Vec::new();
    for _ in 0..count % 4 {
        let job = ledger.job(What::Return);
        let id = job.id;
        ledger.has_token(id, group.token());
        match group.spawn(move |_| Ok(job.run())) {
            Ok(()) => {
                ledger.accepted(id);
                accepted.push(id);
            }
            Err(refusal) => {
                ledger.refused(id);
                Ledger::identify(Back::Refused, || drop(refusal.into_task()(token)));
            }
        }
    }
    if let Ok(outputs) = group.wait() {
        let ids = outputs.iter().map(|output| output.id);
        if !ids.eq(accepted) {
            ledger.complain("a group in a group has other values".to_owned());
        }
    }
}
