//! Views and scopes, which only pools of closures have, for plans that do not know the pool's dispatch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use formicary::{CallError, Dispatch, Limited, LimitedStats, Pool, Scope};

use super::account::Account;
use super::job::{Job, Nest, Nested, Output};
use super::keys::Keyed;
use super::ledger::{Back, Ledger};
use super::nested::nest_in_view;
use super::subjects::{Entered, Way, fail, refuse, without_handle};

/// A pool of closures.
pub(crate) trait Closures {
    fn view(&self, limit: usize) -> Arc<dyn View>;

    /// Runs jobs that borrow, does something in between, and runs more of which each is spawned by the one before.
    fn scope(&self, first: Vec<Job>, middle: &mut dyn FnMut(), chain: Vec<Job>);
}

/// A view, with its account.
pub(crate) trait View: Nest {
    fn account(&self) -> &Arc<Account>;

    /// Submits a job: with a handle, as a try, or else blocking.
    fn enter(&self, job: Job, way: Way<'_>) -> Entered;

    fn run(&self, job: Job) -> Result<Output, CallError<()>>;

    /// Closes it, and records what comes back.
    fn close(&self);

    fn stats(&self) -> LimitedStats;

    fn wait_idle(&self) -> bool;

    fn wait_idle_timeout(&self, limit: Duration) -> bool;
}

impl<D: Keyed> Closures for Pool<D> {
    fn view(&self, limit: usize) -> Arc<dyn View> {
        let (limited, account) = (self.limited(limit), Account::new(limit));
        let view = Arc::new(Viewing { limited, account });
        let nest: Arc<dyn Nest> = Arc::clone(&view) as _;
        assert!(view.account.nest.set(Arc::downgrade(&nest)).is_ok());
        view
    }

    fn scope(&self, first: Vec<Job>, middle: &mut dyn FnMut(), chain: Vec<Job>) {
        let seen: Vec<AtomicU8> = (0..first.len()).map(|_| AtomicU8::new(0)).collect();
        let last = AtomicU8::new(0);
        let count = chain.len();
        // However it ends, by a panic or not, nothing borrows after it.
        let _checked = Checked { seen: &seen, last: &last, count };
        self.scope(|s| {
            for (job, seen) in first.into_iter().zip(&seen) {
                s.spawn(move || {
                    seen.fetch_add(1, SeqCst);
                    job.run()
                });
            }
            middle();
            spawn_chain(s, chain.into_iter(), &last);
        });
    }
}

/// What the jobs of a scope have written where they borrowed.
struct Checked<'a> {
    seen: &'a [AtomicU8],
    last: &'a AtomicU8,
    count: usize,
}

impl Drop for Checked<'_> {
    fn drop(&mut self) {
        let is_right = self.seen.iter().all(|seen| seen.load(SeqCst) == 1);
        if !is_right || ![0, self.count].contains(&self.last.load(SeqCst).into()) {
            eprintln!("a scope has ended, and its tasks have not: {:?}", self.seen);
            std::process::abort();
        }
    }
}

fn spawn_chain<'scope, D: Dispatch>(
    s: &'scope Scope<'scope, '_, D>,
    mut jobs: std::vec::IntoIter<Job>,
    last: &'scope AtomicU8,
) {
    let Some(job) = jobs.next() else { return };
    s.spawn(move || {
        last.fetch_add(1, SeqCst);
        spawn_chain(s, jobs, last);
        job.run()
    });
}

struct Viewing<D: Dispatch> {
    limited: Limited<Pool<D>>,
    account: Arc<Account>,
}

impl<D: Dispatch> View for Viewing<D> {
    fn account(&self) -> &Arc<Account> {
        &self.account
    }

    fn enter(&self, job: Job, way: Way<'_>) -> Entered {
        match way {
            Way::Try => without_handle(self.limited.try_submit(move || drop(job.run()))),
            Way::Handle => {
                let entered = self.limited.spawn(move || job.run());
                entered.map(Some).map_err(|refusal| refuse(refusal, |f| Ledger::identify(Back::Refused, || drop(f()))))
            }
            _ => without_handle(self.limited.submit(move || drop(job.run()))),
        }
    }

    fn run(&self, job: Job) -> Result<Output, CallError<()>> {
        let result = self.limited.run(move || job.run());
        result.map_err(|error| fail(error, |f| Ledger::identify(Back::Refused, || drop(f()))))
    }

    fn close(&self) {
        self.account.closes();
        let returned = self.limited.close();
        returned.into_iter().for_each(|task| Ledger::identify(Back::FromView, || task.run()));
    }

    fn stats(&self) -> LimitedStats {
        self.limited.stats()
    }

    fn wait_idle(&self) -> bool {
        self.limited.wait_idle()
    }

    fn wait_idle_timeout(&self, limit: Duration) -> bool {
        self.limited.wait_idle_timeout(limit)
    }
}

impl<D: Dispatch> Nest for Viewing<D> {
    fn nest(&self, how: Nested, ledger: &Arc<Ledger>) {
        nest_in_view(self, how, ledger);
    }
}

impl<D: Dispatch> Drop for Viewing<D> {
    fn drop(&mut self) {
        // The view is dropped after this.
        self.account.closes();
    }
}
