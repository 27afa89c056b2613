//! How a plan's thread, or one that it starts, submits and calls.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use formicary::{CallError, JoinError, SubmitErrorKind};

use super::super::job::{HELD, Job, Nested, Of, What};
use super::super::subjects::{MOMENT, Subject, WaitMode, Way};
use super::Driver;

choices! {
    #[derive(Debug)]
    pub(super) enum SubmitMode {
        Block,
        Try,
        Timed,
        Token(u8),
        Handle,
        HandleToken(u8),
        Keyed(u8),
        TryKeyed(u8),
        /// In the order of one of three keys.
        InOrder(u8),
        TryInOrder(u8),
    }
}

impl<S: Subject> Driver<'_, S> {
    /// Submits a job; returns whether the pool took it.
    pub(super) fn submit(&mut self, mode: &SubmitMode, what: What) -> bool {
        let job = self.ledger.job(what);
        let (id, is_stuck) = (job.id, self.is_stuck());
        self.holds |= what.holds();
        let token = match mode {
            SubmitMode::Token(token) | SubmitMode::HandleToken(token) => Some(self.token(*token)),
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
        let way = match mode {
            SubmitMode::Try => Way::Try,
            SubmitMode::Token(_) => Way::Token(&token),
            SubmitMode::HandleToken(_) => Way::HandleToken(&token),
            SubmitMode::Handle if is_stuck => Way::HandleToken({
                self.ledger.may_be_cancelled(id);
                token.cancel_after(MOMENT);
                &token
            }),
            SubmitMode::Handle => Way::Handle,
            SubmitMode::Block if !is_stuck => Way::Block,
            SubmitMode::Block | SubmitMode::Timed => Way::Timed,
            SubmitMode::Keyed(key) if !is_stuck => Way::Keyed(*key),
            SubmitMode::Keyed(key) | SubmitMode::TryKeyed(key) => Way::TryKeyed(*key),
            SubmitMode::InOrder(key) if !is_stuck => Way::InOrder(key % 3),
            SubmitMode::InOrder(key) | SubmitMode::TryInOrder(key) => Way::TryInOrder(key % 3),
        };
        let entered = self.pool.enter(job, way);
        let is_try = matches!(way, Way::Try | Way::TryKeyed(_) | Way::TryInOrder(_));
        let is_token = matches!(way, Way::Token(_) | Way::HandleToken(_));
        match entered {
            Ok(handle) => {
                self.ledger.accepted(id);
                self.handles.extend(handle.map(|handle| (id, handle)));
                true
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
                false
            }
        }
    }

    /// A task that closes the pool closes its queue first, so a submitter may be refused before the pool gives the reason.
    pub(super) fn may_be_closed(&self) -> bool {
        self.pool.is_closed() || self.holds_closers()
    }

    /// Whether the pool may give that as a reason to any submitter.
    pub(super) fn may_refuse(&self, kind: SubmitErrorKind) -> bool {
        match kind {
            SubmitErrorKind::Full => self.plan.shape.is_nonblocking(),
            SubmitErrorKind::Overloaded => self.plan.shape.limits_blocking(),
            SubmitErrorKind::Closed => self.may_be_closed(),
            SubmitErrorKind::Spawn | SubmitErrorKind::NoState => self.is_faulty,
            _ => false,
        }
    }

    pub(super) fn submit_all(&mut self, count: usize, what: What) {
        self.resume();
        // One after the other: they may be more than there is room for.
        let what = not_held(what);
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

    pub(super) fn block(&mut self, what: What, way: Way<'static>) {
        let (pool, ledger) = (Arc::clone(&self.pool), Arc::clone(&self.ledger));
        self.on_thread(Of::Pool, what, move |job| {
            let id = job.id;
            match pool.enter(job, way) {
                Ok(_) => ledger.accepted(id),
                Err(_) => ledger.refused(id),
            }
        });
    }

    pub(super) fn block_call(&mut self, what: What) {
        let (pool, ledger) = (Arc::clone(&self.pool), Arc::clone(&self.ledger));
        self.on_thread(Of::Pool, what, move |job| {
            let id = job.id;
            match pool.call(job, WaitMode::Endless) {
                Ok(_) | Err(CallError::Failed(_)) => ledger.accepted(id),
                Err(CallError::Refused(_)) => ledger.unsure(id),
            }
        });
    }

    /// Does something that may block with a job, on a thread that is waited for at the end.
    pub(super) fn on_thread(&mut self, of: Of, what: What, f: impl FnOnce(Job) + Send + 'static) {
        if self.blocked.len() < 3 {
            let job = self.ledger.job_of(of, not_held(what));
            let thread = std::thread::spawn(move || f(job));
            // It gets the time to block; whether it does depends on the machine.
            let end = Instant::now() + MOMENT;
            while !thread.is_finished() && Instant::now() < end {
                std::thread::yield_now();
            }
            self.blocked.push(thread);
        }
    }

    /// Whether no other thread of the plan uses the pool.
    pub(super) fn is_alone(&mut self) -> bool {
        while let Some(at) = self.blocked.iter().position(JoinHandle::is_finished) {
            self.blocked.swap_remove(at).join().expect("a submitter does not panic");
        }
        self.blocked.is_empty()
    }

    pub(super) fn call(&mut self, what: What, wait: WaitMode<'_>) {
        let is_endless = !S::CALLS_WITH_LIMIT || matches!(wait, WaitMode::Endless | WaitMode::Keyed(_));
        if is_endless {
            self.resume();
        }
        let what = if is_endless { not_held(what) } else { what };
        self.holds |= what.holds();
        let job = self.ledger.job(what);
        let id = job.id;
        match self.pool.call(job, wait) {
            Ok(output) => {
                self.ledger.accepted(id);
                assert_eq!((output.id, self.ledger.ran(id)), (id, 1), "an answer to the call");
            }
            Err(CallError::Refused(refusal)) => {
                self.ledger.unsure(id);
                let kind = refusal.kind();
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
    pub(super) fn is_failure_of(&self, id: usize, what: What, error: &JoinError) -> bool {
        if error.is_panic() {
            return matches!(what, What::Panic | What::PanicInDrop) && self.ledger.ran(id) == 1;
        }
        error.is_cancelled() && self.is_faulty && self.ledger.ran(id) == 0
    }
}

/// For a job that is waited for by the thread that would open the gate.
pub(super) fn not_held(what: What) -> What {
    match what {
        What::Hold => What::Return,
        What::Nest(Nested::Tree(tree)) => What::Nest(Nested::Tree(tree % HELD)),
        what => what,
    }
}
