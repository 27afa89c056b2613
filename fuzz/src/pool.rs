//! The targets `stack_pool`, `loop_pool`, `sharded_pool` and `stateful_pool`: one driver for every kind of pool on every dispatch.
//!
//! The plan's thread does one operation after the other, so it must not wait for what only it could bring about: where the pool is
//! paused, or a task waits for the gate, it waits with a limit, or opens and resumes first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use arbitrary::Arbitrary;
use formicary::{
    BuildError, CallError, CancelToken, Dispatch, Handle, JoinError, PanicPolicy, PauseGuard, Pool, PoolWithFunc, Ring,
    Sharded, Stack, StatefulPool, SubmitErrorKind,
};

use super::job::{Job, Nest, Output, What};
use super::ledger::Ledger;
use super::subjects::{Adept, Fault, Faults, MOMENT, Order, Patience, Shape, Subject, Way};
use super::{Sequence, await_no_threads, eventually, thread_name};

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    /// Which kind of pool, or which dispatch.
    which: u8,
    shape: Shape,
    /// Whether the pool is dropped at the end as it is, and not shut down first.
    drops: bool,
    operations: Sequence<Operation>,
}

choices! {
    #[derive(Debug)]
    enum Operation {
        Submit(Door, What),
        SubmitAll(u8, What),
        /// A thread of its own submits and blocks.
        Block(What),
        Call(What),
        CallWithLimit(What),
        CallWithToken(What, u8),
        Open,
        Cancel(u8),
        CancelHandle(u8),
        Join(u8),
        Detach(u8),
        Tune(u8),
        Pause,
        PauseFor,
        Resume,
        WaitIdle,
        Order(Order),
        Fault(Fault, u8),
        Shutdown,
        ShutdownTimeout,
        ShutdownNow,
        ShutdownGraceful,
        Restart,
    }
}

choices! {
    #[derive(Debug)]
    enum Door {
        Block,
        Try,
        Timed,
        Token(u8),
        Handle,
        HandleToken(u8),
    }
}

/// A pool of closures, or of a function, on the dispatch `D`.
pub(crate) fn drive<D: Dispatch>(plan: &Plan) {
    let (ledger, name) = (Ledger::new(plan.shape.workers()), thread_name());
    if plan.which % 2 == 0 {
        let pool = plan.shape.on(Pool::builder().dispatch::<D>(), &name, &ledger).build();
        Driver::new(plan, pool.expect("the shape is good"), ledger).drive(&name);
    } else {
        let builder = plan.shape.on(PoolWithFunc::builder(Job::run).dispatch::<D>(), &name, &ledger);
        Driver::new(plan, builder.build().expect("the shape is good"), ledger).drive(&name);
    }
}

/// A pool of workers with state, on any dispatch.
pub(crate) fn drive_stateful(plan: &Plan) {
    match plan.which % 3 {
        0 => drive_stateful_on::<Stack>(plan),
        1 => drive_stateful_on::<Ring>(plan),
        _ => drive_stateful_on::<Sharded>(plan),
    }
}

fn drive_stateful_on<D: Dispatch>(plan: &Plan) {
    let (ledger, name, faults) = (Ledger::new(plan.shape.workers()), thread_name(), Arc::<Faults>::default());
    let policy = if plan.shape.keeps_state() { PanicPolicy::Keep } else { PanicPolicy::Rebuild };
    let builder = StatefulPool::builder(Adept::make(&ledger, &faults)).panic_policy(policy).dispatch::<D>();
    let pool = plan.shape.on(builder, &name, &ledger).build().expect("the shape is good");
    let mut driver = Driver::new(plan, pool, ledger);
    driver.faults = faults;
    driver.drive(&name);
}

struct Driver<'p, S: Subject> {
    plan: &'p Plan,
    pool: Arc<S>,
    ledger: Arc<Ledger>,
    faults: Arc<Faults>,
    /// Whether anything may be cancelled for want of a state, or refused for want of a worker.
    is_faulty: bool,
    /// Whether a task may wait for the gate, so that waiting for it would be for ever.
    holds: bool,
    pauses: Vec<PauseGuard>,
    handles: Vec<(usize, Handle<Output>)>,
    tokens: [CancelToken; 2],
    blocked: Vec<JoinHandle<()>>,
    returned: u64,
}

impl<'p, S: Subject> Driver<'p, S> {
    fn new(plan: &'p Plan, pool: S, ledger: Arc<Ledger>) -> Self {
        let pool = Arc::new(pool);
        let nest: Arc<dyn Nest> = Arc::clone(&pool) as _;
        assert!(ledger.nest.set(Arc::downgrade(&nest)).is_ok());
        Driver {
            plan,
            pool,
            ledger,
            faults: Arc::default(),
            is_faulty: false,
            holds: false,
            pauses: Vec::new(),
            handles: Vec::new(),
            tokens: std::array::from_fn(|_| CancelToken::new()),
            blocked: Vec::new(),
            returned: 0,
        }
    }

    fn drive(mut self, name: &str) {
        for operation in &self.plan.operations.0 {
            self.carry_out(operation);
        }
        self.end(name);
    }

    fn carry_out(&mut self, operation: &Operation) {
        match operation {
            Operation::Submit(door, what) => self.submit(door, *what),
            Operation::SubmitAll(count, what) => self.submit_all(usize::from(count % 8), *what),
            Operation::Block(what) => self.block(*what),
            Operation::Call(what) => self.call(*what, Patience::Endless),
            Operation::CallWithLimit(what) => self.call(*what, Patience::Moment),
            Operation::CallWithToken(what, token) => {
                let token = self.token(*token).child();
                token.cancel_after(MOMENT);
                self.call(*what, Patience::Token(&token));
            }
            Operation::Open => self.open(),
            Operation::Cancel(token) => self.token(*token).cancel(),
            Operation::CancelHandle(which) => self.cancel_handle(*which),
            Operation::Join(which) => self.join(*which),
            Operation::Detach(which) => {
                if let Some((_, handle)) = self.handle(*which) {
                    drop(handle);
                }
            }
            Operation::Tune(workers) => self.tune(usize::from(workers % 6)),
            Operation::Pause => self.pauses.push(self.pool.pause()),
            Operation::PauseFor => self.pauses.push(self.pool.pause_timeout(MOMENT)),
            Operation::Resume => drop(self.pauses.pop()),
            Operation::WaitIdle => self.wait_idle(),
            Operation::Order(order) => {
                // It waits for every worker.
                self.resume();
                self.pool.order(*order, &self.ledger);
            }
            Operation::Fault(fault, times) => {
                self.is_faulty = true;
                self.faults.plan(*fault, usize::from(times % 4));
            }
            Operation::Shutdown => {
                self.open();
                let report = self.pool.shutdown();
                assert!(report.is_complete(), "{report:?}");
            }
            Operation::ShutdownTimeout => {
                let _report = self.pool.shutdown_timeout(MOMENT);
            }
            Operation::ShutdownNow => {
                self.open();
                let returned = self.pool.shutdown_now();
                self.take_back(returned);
            }
            Operation::ShutdownGraceful => {
                let (returned, _report) = self.pool.shutdown_graceful(MOMENT);
                self.take_back(returned);
            }
            Operation::Restart => self.restart(),
        }
    }

    fn token(&self, which: u8) -> CancelToken {
        self.tokens[usize::from(which) % self.tokens.len()].clone()
    }

    fn handle(&mut self, which: u8) -> Option<(usize, Handle<Output>)> {
        let count = self.handles.len();
        (count > 0).then(|| self.handles.swap_remove(usize::from(which) % count))
    }

    /// Whether waiting for a task might be for ever.
    fn is_stuck(&self) -> bool {
        self.holds || !self.pauses.is_empty()
    }

    fn open(&mut self) {
        self.ledger.gate().open();
        self.holds = false;
    }

    fn resume(&mut self) {
        self.open();
        self.pauses.clear();
    }

    fn submit(&mut self, door: &Door, what: What) {
        let job = self.ledger.job(what);
        let (id, is_stuck) = (job.id, self.is_stuck());
        self.holds |= what == What::Hold;
        let token = match door {
            Door::Token(token) | Door::HandleToken(token) => Some(self.token(*token)),
            _ => None,
        };
        if let Some(token) = &token {
            self.ledger.has_token(id, token);
        }
        let limited = token.as_ref().filter(|_| is_stuck).map(|token| {
            let limited = token.child();
            limited.cancel_after(MOMENT);
            self.ledger.may_be_cancelled(id);
            limited
        });
        let token = limited.or(token).unwrap_or_default();
        let way = match door {
            Door::Try => Way::Try,
            Door::Token(_) => Way::Token(&token),
            Door::HandleToken(_) => Way::HandleToken(&token),
            Door::Handle if is_stuck => Way::HandleToken({
                self.ledger.may_be_cancelled(id);
                token.cancel_after(MOMENT);
                &token
            }),
            Door::Handle => Way::Handle,
            Door::Block if !is_stuck => Way::Block,
            Door::Block | Door::Timed => Way::Timed,
        };
        let entered = self.pool.enter(job, way);
        let (is_try, is_token) = (matches!(way, Way::Try), matches!(way, Way::Token(_) | Way::HandleToken(_)));
        match entered {
            Ok(handle) => {
                self.ledger.accepted(id);
                self.handles.extend(handle.map(|handle| (id, handle)));
            }
            Err(kind) => {
                self.ledger.refused(id);
                let is_right = match kind {
                    SubmitErrorKind::Full => is_try || self.plan.shape.is_nonblocking(),
                    SubmitErrorKind::TimedOut => matches!(way, Way::Timed) || is_token,
                    SubmitErrorKind::Cancelled => is_token && token.is_cancelled(),
                    _ => self.may_refuse(kind),
                };
                assert!(is_right, "refused as {kind:?}");
            }
        }
    }

    /// Whether the pool may give that as a reason, whoever submits.
    fn may_refuse(&self, kind: SubmitErrorKind) -> bool {
        match kind {
            SubmitErrorKind::Full => self.plan.shape.is_nonblocking(),
            SubmitErrorKind::Overloaded => self.plan.shape.limits_blocking(),
            SubmitErrorKind::Closed => self.pool.is_closed(),
            SubmitErrorKind::Spawn => self.is_faulty,
            _ => false,
        }
    }

    fn submit_all(&mut self, count: usize, what: What) {
        self.resume();
        // One after the other: they may be more than there is room for.
        let what = if what == What::Hold { What::Return } else { what };
        let jobs: Vec<Job> = (0..count).map(|_| self.ledger.job(what)).collect();
        let ids: Vec<usize> = jobs.iter().map(|job| job.id).collect();
        let accepted = match self.pool.enter_all(jobs) {
            Ok(accepted) => {
                assert_eq!(accepted, count);
                accepted
            }
            Err((accepted, kind)) => {
                assert!(self.may_refuse(kind), "refused as {kind:?}");
                accepted
            }
        };
        ids[..accepted].iter().for_each(|id| self.ledger.accepted(*id));
        ids[accepted..].iter().for_each(|id| self.ledger.refused(*id));
    }

    fn block(&mut self, what: What) {
        if self.blocked.len() == 3 {
            return;
        }
        let what = if what == What::Hold { What::Return } else { what };
        let (pool, ledger, job) = (Arc::clone(&self.pool), Arc::clone(&self.ledger), self.ledger.job(what));
        self.blocked.push(std::thread::spawn(move || {
            let id = job.id;
            match pool.enter(job, Way::Block) {
                Ok(_) => ledger.accepted(id),
                Err(_) => ledger.refused(id),
            }
        }));
    }

    fn call(&mut self, what: What, patience: Patience<'_>) {
        let is_endless = !S::CALLS_WITH_LIMIT || matches!(patience, Patience::Endless);
        if is_endless {
            self.resume();
        }
        let what = if what == What::Hold && is_endless { What::Return } else { what };
        self.holds |= what == What::Hold;
        let job = self.ledger.job(what);
        let id = job.id;
        match self.pool.call(job, patience) {
            Ok(output) => {
                self.ledger.accepted(id);
                assert_eq!((output.id, self.ledger.ran(id)), (id, 1), "an answer to the call");
            }
            Err(CallError::Refused(refusal)) => {
                self.ledger.unsure(id);
                let kind = refusal.kind;
                let is_limit = matches!(kind, SubmitErrorKind::TimedOut | SubmitErrorKind::Cancelled);
                assert!(is_limit && !is_endless || self.may_refuse(kind), "refused as {kind:?}");
            }
            Err(CallError::Failed(error)) => {
                self.ledger.accepted(id);
                let gave_up = (error.is_timed_out() || error.is_cancelled()) && !is_endless;
                assert!(gave_up || self.is_failure_of(id, what, &error), "{error}");
            }
        }
    }

    /// Whether a job may end so.
    fn is_failure_of(&self, id: usize, what: What, error: &JoinError) -> bool {
        if error.is_panic() {
            return matches!(what, What::Panic | What::PanicInDrop) && self.ledger.ran(id) == 1;
        }
        error.is_cancelled() && self.is_faulty && self.ledger.ran(id) == 0
    }

    fn cancel_handle(&mut self, which: u8) {
        let count = self.handles.len();
        if count == 0 {
            return;
        }
        let (id, handle) = &self.handles[usize::from(which) % count];
        // What the job captured is dropped here, which may be meant to panic.
        let is_before_start = catch_unwind(AssertUnwindSafe(|| handle.cancel())).unwrap_or(true);
        if is_before_start {
            self.ledger.may_be_cancelled(*id);
            assert_eq!(self.ledger.ran(*id), 0, "a job that was cancelled in time");
        }
    }

    fn join(&mut self, which: u8) {
        let is_stuck = self.is_stuck();
        let Some((id, mut handle)) = self.handle(which) else { return };
        let result = if is_stuck {
            let Some(result) = handle.join_timeout(MOMENT) else {
                self.handles.push((id, handle));
                return;
            };
            result
        } else {
            handle.join()
        };
        match result {
            Ok(output) => assert_eq!((output.id, self.ledger.ran(id)), (id, 1), "a handle's own result"),
            Err(error) if error.is_panic() => assert_eq!(self.ledger.ran(id), 1),
            Err(error) => {
                assert!(error.is_cancelled(), "{error}");
                assert_eq!(self.ledger.ran(id), 0, "a job whose handle says cancelled");
            }
        }
    }

    fn tune(&mut self, workers: usize) {
        self.ledger.raise_bound(workers);
        let result = self.pool.tune(workers);
        assert_eq!(result.is_ok(), workers > 0);
        if workers > 0 {
            assert_eq!(self.pool.capacity(), workers);
        }
    }

    fn wait_idle(&mut self) {
        let is_idle = match self.is_stuck() {
            true => self.pool.wait_idle_timeout(MOMENT),
            false => self.pool.wait_idle(),
        };
        // Others may be submitting.
        if is_idle && self.blocked.is_empty() {
            self.ledger.check(&self.pool.stats(), self.returned, self.is_faulty);
            self.ledger.set_bound(self.pool.capacity());
            assert_eq!(self.ledger.running(), 0);
        }
        assert!(is_idle || self.is_stuck());
    }

    fn take_back(&mut self, returned: Vec<S::Item>) {
        self.returned += returned.len() as u64;
        returned.into_iter().for_each(S::back);
    }

    fn restart(&mut self) {
        match self.pool.restart() {
            Ok(()) => assert!(!self.pool.is_closed() || self.holds_closers()),
            Err(BuildError::StillRunning) => {}
            Err(error) => assert!(self.is_faulty, "{error}"),
        }
    }

    /// Whether a task may close the pool at any time.
    fn holds_closers(&self) -> bool {
        self.plan.operations.0.iter().any(Operation::closes)
    }

    fn end(mut self, name: &str) {
        self.ledger.gate().open();
        if self.plan.drops {
            // Those at the door have a share in the pool.
            self.resume();
            self.blocked.drain(..).for_each(|thread| thread.join().expect("a submitter does not panic"));
        } else {
            assert!(self.pool.shutdown().is_complete());
            self.blocked.drain(..).for_each(|thread| thread.join().expect("a submitter does not panic"));
            let stats = self.pool.stats();
            self.ledger.check(&stats, self.returned, self.is_faulty);
            assert_eq!((stats.live, stats.spawned), (0, stats.retired), "{stats:?}");
        }
        let Driver { pool, ledger, handles, faults, pauses, is_faulty, .. } = self;
        drop(pool);
        // The last owner may have been a task of the pool: then the pool ends by itself.
        await_no_threads(name);
        for (id, handle) in handles {
            assert!(handle.is_finished(), "the handle of job {id}");
            drop(handle.join());
        }
        ledger.check_fates(is_faulty);
        drop((pauses, faults));
        eventually(|| Arc::strong_count(&ledger) == 1);
    }
}

impl Operation {
    fn closes(&self) -> bool {
        let (Self::Submit(_, what) | Self::SubmitAll(_, what) | Self::Block(what)) = self else { return false };
        *what == What::Nest(super::job::Nested::Close)
    }
}
