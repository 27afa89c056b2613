//! The targets `stack_pool`, `loop_pool`, `sharded_pool`, `priority`, `fair` and `stateful_pool`: one driver for every kind of pool on every dispatch.
//!
//! The plan's thread does one operation after the other, so it must not wait for what only it could bring about: if the pool is
//! paused, or a task waits for the gate, it waits with a limit, or opens and resumes first.

mod ends;
mod fills;
mod futures;
mod operations;
mod scopes;
mod submits;
mod views;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use arbitrary::Arbitrary;
use formicary::{
    BuildError, CancelToken, Fair, Handle, JoinError, Nested, PanicPolicy, PauseGuard, Pool, PoolWithFunc, Priority,
    Ring, Sharded, Stack, StatefulPool,
};

use self::ends::Last;
use self::futures::Kept;
use self::operations::Operation;
use super::closures::View;
use super::job::{Job, Nest, Output};
use super::keys::Keyed;
use super::ledger::Ledger;
use super::shape::Shape;
use super::states::{Adept, Faults};
use super::subjects::{MOMENT, Subject, WaitMode, Way};
use super::{Sequence, await_no_threads, eventually, thread_name};

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    /// Which kind of pool, or which dispatch.
    which: u8,
    shape: Shape,
    /// Whether the pool is dropped at the end without a shutdown.
    drops: bool,
    operations: Sequence<Operation>,
}

/// A pool of closures, or of a function, on the dispatch `D`.
pub(crate) fn drive<D: Keyed>(plan: &Plan) {
    let (ledger, name) = (Ledger::new(plan.shape.workers()), thread_name());
    if plan.which % 2 == 0 {
        let builder = plan.shape.on(Pool::builder().dispatch::<D>(), &name, &ledger);
        let pool = plan.shape.with_ends(builder).build();
        Driver::new(plan, pool.expect("the shape is good"), ledger).drive(&name);
    } else {
        let builder = plan.shape.on(PoolWithFunc::builder(Job::run).dispatch::<D>(), &name, &ledger);
        let pool = plan.shape.with_ends(builder).build();
        Driver::new(plan, pool.expect("the shape is good"), ledger).drive(&name);
    }
}

/// A pool of workers with state, on any dispatch.
pub(crate) fn drive_stateful(plan: &Plan) {
    match plan.which % 5 {
        0 => drive_stateful_on::<Stack>(plan),
        1 => drive_stateful_on::<Ring>(plan),
        2 => drive_stateful_on::<Sharded>(plan),
        3 => drive_stateful_on::<Priority>(plan),
        _ => drive_stateful_on::<Fair>(plan),
    }
}

fn drive_stateful_on<D: Keyed>(plan: &Plan) {
    let (ledger, name, faults) = (Ledger::new(plan.shape.workers()), thread_name(), Arc::<Faults>::default());
    let policy = if plan.shape.keeps_state() { PanicPolicy::Keep } else { PanicPolicy::Rebuild };
    let builder = StatefulPool::builder(Adept::make(&ledger, &faults)).panic_policy(policy).dispatch::<D>();
    let builder = plan.shape.with_ends(plan.shape.on(builder, &name, &ledger));
    let mut driver = Driver::new(plan, builder.build().expect("the shape is good"), ledger);
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
    /// Whether a task may wait for the gate, so that waiting for the task might never end.
    holds: bool,
    pauses: Vec<PauseGuard>,
    handles: Vec<(usize, Handle<Output>)>,
    tokens: [CancelToken; 2],
    /// Submissions that have been polled and are not over. A submitter behind one of them waits for the plan's thread.
    futures: Vec<Kept>,
    views: [Option<Arc<dyn View>>; 3],
    /// Whether a view was dropped with jobs: they go on, and their end cannot be asked for any more.
    is_trailing: bool,
    /// The shard of each key that was observed.
    shards: HashMap<u8, usize>,
    blocked: Vec<JoinHandle<()>>,
    returned: u64,
}

impl<'p, S: Subject> Driver<'p, S> {
    fn new(plan: &'p Plan, pool: S, ledger: Arc<Ledger>) -> Self {
        let pool = Arc::new(pool);
        let nest: Arc<dyn Nest> = Arc::clone(&pool) as _;
        assert!(ledger.nest.set(Arc::downgrade(&nest)).is_ok());
        if plan.shape.nested() != Nested::Any {
            ledger.bounds_nesting();
        }
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
            futures: Vec::new(),
            views: std::array::from_fn(|_| None),
            is_trailing: false,
            shards: HashMap::new(),
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
            Operation::Submit(mode, what) => {
                self.submit(mode, *what);
            }
            Operation::SubmitAll(count, what) => self.submit_all(usize::from(count % 8), *what),
            Operation::Block(what) => self.block(*what, Way::Block),
            Operation::BlockKeyed(what, key) => self.block(*what, Way::Keyed(*key)),
            Operation::BlockCall(what) => self.block_call(*what),
            Operation::Call(what) => self.call(*what, WaitMode::Endless),
            Operation::CallWithLimit(what) => self.call(*what, WaitMode::Moment),
            Operation::CallWithToken(what, token) => {
                let token = self.token(*token).child();
                token.cancel_after(MOMENT);
                self.call(*what, WaitMode::Token(&token));
            }
            Operation::CallKeyed(what, key) => self.call(*what, WaitMode::Keyed(*key)),
            Operation::Fill(key) => self.fill(*key),
            Operation::Future(step) => self.future(step),
            Operation::View(which, step) => self.view(*which, step),
            Operation::Scope(first, chain, what, turn) => {
                self.scope(usize::from(first % 4), usize::from(chain % 3), *what, *turn);
            }
            Operation::Pass => self.pass(),
            Operation::Bury(how, what) => self.bury(*how, *what),
            Operation::Open => self.open(),
            Operation::Cancel(token) => {
                self.token(*token).cancel();
                self.poll_cancelled();
            }
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
                self.ledger.has_faults();
                self.faults.plan(*fault, usize::from(times % 4));
            }
            Operation::Shutdown => {
                self.open();
                self.ledger.closes();
                let report = self.pool.shutdown();
                assert!(report.is_complete(), "{report:?}");
                self.check_told();
            }
            Operation::ShutdownTimeout => {
                self.ledger.closes();
                let _report = self.pool.shutdown_timeout(MOMENT);
                self.check_told();
            }
            Operation::ShutdownNow => {
                self.open();
                self.ledger.closes();
                let returned = self.pool.shutdown_now();
                self.take_back(returned);
                self.check_told();
            }
            Operation::ShutdownGraceful => {
                self.ledger.closes();
                let (returned, _report) = self.pool.shutdown_graceful(MOMENT);
                self.take_back(returned);
                self.check_told();
            }
            Operation::Crowd(order) => self.crowd(*order),
            Operation::LetGo => {
                self.ledger.closes();
                self.pool.detach();
                self.check_told();
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

    /// Whether waiting for a task might never end.
    fn is_stuck(&self) -> bool {
        self.holds || !self.pauses.is_empty() || !self.futures.is_empty()
    }

    fn open(&mut self) {
        self.ledger.gate().open();
        self.holds = false;
    }

    fn resume(&mut self) {
        self.open();
        self.pauses.clear();
        self.settle_futures();
    }

    fn cancel_handle(&mut self, which: u8) {
        let count = self.handles.len();
        if count > 0 {
            self.cancel_handle_at(usize::from(which) % count);
        }
    }

    fn cancel_handle_at(&self, at: usize) {
        let (id, handle) = &self.handles[at];
        // The job's captures are dropped here, which may be meant to panic.
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
        self.check_result(id, result);
    }

    fn check_result(&self, id: usize, result: Result<Output, JoinError>) {
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
        // Before it is idle: what they submitted is over then.
        let (is_stuck, is_alone) = (self.is_stuck(), self.is_alone());
        // The pool does not count what waits in a view.
        let mut is_quiet = self.views.iter().flatten().all(|view| match is_stuck {
            true => view.wait_idle_timeout(MOMENT),
            false => view.wait_idle(),
        });
        let is_idle = match is_stuck {
            true => self.pool.wait_idle_timeout(MOMENT),
            false => self.pool.wait_idle(),
        };
        // Others may be submitting.
        is_quiet &= is_idle && is_alone && self.futures.is_empty() && !self.is_trailing;
        if is_quiet {
            self.ledger.check(&self.pool.stats(), self.returned, self.is_faulty);
            self.ledger.set_bound(self.pool.capacity());
            assert_eq!(self.ledger.running(), 0);
            self.views.iter().flatten().for_each(|view| view.account().check(&view.stats()));
        }
        assert!(is_idle || is_stuck);
    }

    fn take_back(&mut self, returned: Vec<S::Item>) {
        self.returned += returned.len() as u64;
        returned.into_iter().for_each(S::back);
    }

    fn restart(&mut self) {
        match self.pool.restart() {
            Ok(()) if self.holds_closers() => {}
            Ok(()) => {
                assert!(!self.pool.is_closed());
                self.ledger.reopens();
            }
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
        let mut last = Last::default();
        if self.plan.drops {
            // Waiting submitters own a share of the pool.
            self.resume();
            self.join_blocked();
            last = self.give_last();
        } else {
            self.ledger.closes();
            assert!(self.pool.shutdown().is_complete());
            // Each has been told.
            self.settle_futures();
            self.join_blocked();
            let stats = self.pool.stats();
            self.ledger.check(&stats, self.returned, self.is_faulty);
            assert_eq!((stats.live, stats.spawned), (0, stats.retired), "{stats:?}");
        }
        let Driver { pool, ledger, handles, faults, mut pauses, views, is_faulty, .. } = self;
        ledger.closes();
        let task_owner = Arc::downgrade(&pool);
        drop(pool);
        if task_owner.strong_count() > 0 {
            // A task owns the pool, and may wait for another one, which does not start in a pause.
            last.may_start();
            pauses.clear();
        }
        // A wait for a held job would never end.
        ledger.gate().open();
        // The last owner may have been a task of the pool: then the pool ends by itself, as it does if it was detached. A thread
        // that has not started yet has no name.
        eventually(|| is_faulty || last.is_cancelled || !ledger.has_waiting());
        eventually(|| handles.iter().all(|(_, handle)| handle.is_finished()));
        await_no_threads(name);
        for view in views.into_iter().flatten() {
            assert!(view.wait_idle());
            view.account().check(&view.stats());
        }
        handles.into_iter().for_each(|(_, handle)| drop(handle.join()));
        last.check(&ledger);
        ledger.check_records(is_faulty || last.is_cancelled);
        drop((pauses, faults));
        eventually(|| Arc::strong_count(&ledger) == 1);
    }

    fn join_blocked(&mut self) {
        self.blocked.drain(..).for_each(|thread| thread.join().expect("a submitter does not panic"));
    }
}
