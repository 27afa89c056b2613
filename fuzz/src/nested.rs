//! Jobs that use their own pool, or their own view.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use formicary::{CallError, SubmitErrorKind};

use super::closures::View;
use super::job::{HELD, Job, Nest, Nested, Of, Output, What};
use super::ledger::Ledger;
use super::subjects::{Entered, Subject, WaitMode, Way};

impl<S: Subject> Nest for S {
    fn nest(&self, how: Nested, ledger: &Arc<Ledger>) {
        match how {
            Nested::Try => submit(ledger, &Of::Pool, |job| self.enter(job, Way::Try)),
            Nested::Submit => submit(ledger, &Of::Pool, |job| self.enter(job, Way::Block)),
            Nested::Call => call(ledger, &Of::Pool, What::Return, |job| self.call(job, WaitMode::Endless)),
            Nested::CallPanicking => call(ledger, &Of::Pool, What::Panic, |job| self.call(job, WaitMode::Endless)),
            Nested::Close => {
                ledger.closes();
                let _report = self.shutdown_timeout(Duration::ZERO);
            }
            Nested::Scope => scope(self, ledger, What::Return),
            Nested::ScopePanicking => scope(self, ledger, What::Panic),
            Nested::Tree(tree) => Tree(tree).grow(ledger, &Of::Pool, |job, way| self.enter(job, way)),
        }
    }
}

/// What a view's own jobs may do with it.
pub(crate) fn nest_in_view(view: &dyn View, how: Nested, ledger: &Arc<Ledger>) {
    let of = Of::View(Arc::clone(view.account()));
    match how {
        Nested::Try => submit(ledger, &of, |job| view.enter(job, Way::Try)),
        Nested::Submit => submit(ledger, &of, |job| view.enter(job, Way::Block)),
        Nested::Call => call(ledger, &of, What::Return, |job| view.run(job)),
        Nested::CallPanicking => call(ledger, &of, What::Panic, |job| view.run(job)),
        Nested::Close => view.close(),
        Nested::Scope | Nested::ScopePanicking => {}
        Nested::Tree(tree) => Tree(tree).grow(ledger, &of, |job, way| view.enter(job, way)),
    }
}

fn submit(ledger: &Arc<Ledger>, of: &Of, enter: impl FnOnce(Job) -> Entered) {
    let job = ledger.job_of(of.clone(), What::Return);
    let id = job.id;
    match enter(job) {
        Ok(_) => ledger.accepted(id),
        Err(_) => ledger.refused(id),
    }
}

fn call(ledger: &Arc<Ledger>, of: &Of, what: What, call: impl FnOnce(Job) -> Result<Output, CallError<()>>) {
    let job = ledger.job_of(of.clone(), what);
    let id = job.id;
    match call(job) {
        Ok(_) | Err(CallError::Failed(_)) => ledger.accepted(id),
        Err(CallError::Refused(_)) => ledger.unsure(id),
    }
}

/// A tree of jobs: its depth, how many each job submits, and how it begins with the ways in.
struct Tree(u8);

impl Tree {
    fn depth(&self) -> u8 {
        self.0 % 4
    }

    fn width(&self) -> u8 {
        1 + self.0 / 4 % 3
    }

    /// Submits the children of the running job.
    fn grow(&self, ledger: &Arc<Ledger>, of: &Of, enter: impl Fn(Job, Way<'_>) -> Entered) {
        if self.depth() == 0 {
            return;
        }
        for child in (0..self.width()).take_while(|_| ledger.may_grow()) {
            let way = match (self.0 / 12 + child) % 3 {
                0 => Way::Block,
                1 => Way::Try,
                _ => Way::Handle,
            };
            let job = ledger.job_of(of.clone(), What::Nest(Nested::Tree((self.0 - 1) % HELD)));
            let id = job.id;
            match enter(job, way) {
                Ok(_) => ledger.accepted(id),
                Err(kind) => {
                    ledger.refused(id);
                    if !may_refuse(ledger, of, kind) {
                        ledger.complain(format!("job {id} of a tree was refused as {kind:?}"));
                    }
                }
            }
        }
    }
}

/// Whether that is a reason to refuse what a job submits: want of room is none, unless the pool was built so.
fn may_refuse(ledger: &Ledger, of: &Of, kind: SubmitErrorKind) -> bool {
    let is_over = if let Of::View(account) = of { account.is_over() } else { false };
    match kind {
        SubmitErrorKind::Closed => ledger.is_closed() || is_over,
        SubmitErrorKind::Spawn | SubmitErrorKind::NoState => ledger.is_faulty(),
        // What a scope's owner runs is not on a worker.
        SubmitErrorKind::Full | SubmitErrorKind::Overloaded => ledger.is_nesting_bounded() || ledger.is_planner(),
        SubmitErrorKind::WouldDeadlock => ledger.is_nesting_bounded(),
        _ => false,
    }
}

/// Two jobs that are waited for, on the worker that waits or on others.
fn scope<S: Subject>(pool: &S, ledger: &Arc<Ledger>, what: What) {
    let Some(closures) = pool.closures() else { return };
    let jobs: Vec<Job> = [What::Return, what].map(|what| ledger.job_of(Of::Scope(true), what)).into();
    let ids: Vec<usize> = jobs.iter().map(|job| job.id).collect();
    let result = catch_unwind(AssertUnwindSafe(|| closures.scope(jobs, &mut || {}, Vec::new())));
    if result.is_err() != (what == What::Panic) {
        ledger.complain(format!("a scope in a task: {what:?}, panicked {}", result.is_err()));
    }
    if ids.iter().any(|id| ledger.ran(*id) != 1) {
        ledger.complain("a scope in a task has not run all".to_owned());
    }
}
