//! Scopes on the plan's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::job::{Job, Of, What, panics};
use super::super::subjects::Subject;
use super::Driver;
use super::submits::not_held;

choices! {
    /// What the scope's closure does when it has spawned some.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(super) enum Turn {
        Nothing,
        Panic,
        /// The jobs that have not started come back to the scope, and those after it run here.
        ShutdownNow,
    }
}

impl<S: Subject> Driver<'_, S> {
    pub(super) fn scope(&mut self, first: usize, chain: usize, what: What, turn: Turn) {
        if self.pool.closures().is_none() {
            return;
        }
        self.resume();
        let what = not_held(what);
        let chain = if turn == Turn::Panic { 0 } else { chain };
        let jobs = |count: usize, is_nested: bool| -> Vec<Job> {
            (0..count).map(|_| self.ledger.job_of(Of::Scope(is_nested), what)).collect()
        };
        let (first, chain) = (jobs(first, false), jobs(chain, true));
        let ids: Vec<usize> = first.iter().chain(&chain).map(|job| job.id).collect();
        let must_panic = turn == Turn::Panic || first.iter().chain(&chain).any(Job::panics);
        let (pool, mut returned) = (&*self.pool, Vec::new());
        let mut middle = || match turn {
            Turn::Nothing => {}
            Turn::Panic => panics(),
            Turn::ShutdownNow => {
                self.ledger.closes();
                returned = pool.shutdown_now();
            }
        };
        let closures = pool.closures().expect("it had them");
        let result = catch_unwind(AssertUnwindSafe(|| closures.scope(first, &mut middle, chain)));
        assert_eq!(result.is_err(), must_panic, "a scope panics as its closure or a task of it does");
        for id in ids {
            assert_eq!(self.ledger.ran(id), 1, "job {id} of a scope that is over");
        }
        self.take_back(returned);
    }
}
