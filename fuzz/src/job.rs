//! What the pools are given to do.

use std::panic::resume_unwind;
use std::sync::Arc;

use super::account::Account;
use super::ledger::Ledger;

choices! {
    /// What a job does when it runs.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) enum What {
        Return,
        Panic,
        /// Returns, and then what it captured panics in its drop; also if it never runs.
        PanicInDrop,
        /// Waits until the gate is opened.
        Hold,
        /// Uses its own pool, or its own view.
        Nest(Nested),
    }
}

choices! {
    /// How a job uses its own pool.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) enum Nested {
        Try,
        Submit,
        Call,
        CallPanicking,
        /// Shuts it down, and does not wait: a task cannot.
        Close,
        /// Jobs that it waits for; not in a view.
        Scope,
        ScopePanicking,
        /// Submits jobs that do the same, down to the leaves: a [`Tree`](super::nested::Tree).
        Tree(u8),
    }
}

/// From this number of a tree on, its root holds its worker when it has submitted. A multiple of what the rest of the number says.
pub(crate) const HELD: u8 = 216;

impl What {
    /// Whether it waits for the gate.
    pub(crate) fn holds(self) -> bool {
        match self {
            What::Hold => true,
            What::Nest(Nested::Tree(tree)) => tree >= HELD,
            _ => false,
        }
    }
}

/// The pool, or the view, as its own tasks see it.
pub(crate) trait Nest: Send + Sync {
    fn nest(&self, how: Nested, ledger: &Arc<Ledger>);
}

/// Where a job belongs.
#[derive(Clone)]
pub(crate) enum Of {
    Pool,
    View(Arc<Account>),
    /// A scope, and whether it was spawned by a task.
    Scope(bool),
}

/// A planned panic. Not a `panic!`: the fuzzer's hook would end the process.
pub(crate) fn panics() -> ! {
    struct Planned;
    resume_unwind(Box::new(Planned))
}

/// A task of a plan, and all that it captured.
pub(crate) struct Job {
    pub(crate) id: usize,
    what: What,
    of: Of,
    born: u64,
    ledger: Arc<Ledger>,
}

/// What a job that has run leaves.
pub(crate) struct Output {
    pub(crate) id: usize,
    _ledger: Arc<Ledger>,
}

impl Job {
    pub(crate) fn new(id: usize, what: What, of: Of, born: u64, ledger: Arc<Ledger>) -> Self {
        Job { id, what, of, born, ledger }
    }

    pub(crate) fn run(mut self) -> Output {
        if !self.ledger.starts(self.id, &self.of) {
            self.what = What::Return;
            return self.output();
        }
        let held = self.account().map(|account| account.hold(&self.ledger));
        match self.what {
            What::Hold => self.ledger.gate().wait(self.born),
            What::Nest(how) => self.nest(how),
            What::Return | What::Panic | What::PanicInDrop => {}
        }
        drop(held);
        self.ledger.ends(self.id, &self.of, self.panics());
        if self.what == What::Panic {
            panics();
        }
        self.output()
    }

    fn nest(&self, how: Nested) {
        let is_for_pool = matches!(how, Nested::Scope | Nested::ScopePanicking);
        let nest = match self.account() {
            Some(account) if !is_for_pool => &account.nest,
            _ => &self.ledger.nest,
        };
        if let Some(nest) = nest.get().and_then(|nest| nest.upgrade()) {
            nest.nest(how, &self.ledger);
        }
        if self.what.holds() {
            self.ledger.gate().wait(self.born);
        }
    }

    fn account(&self) -> Option<&Account> {
        if let Of::View(account) = &self.of { Some(account) } else { None }
    }

    /// Drops the captures first: a value that a function returns is leaked if a drop at its end panics.
    fn output(self) -> Output {
        let (id, ledger) = (self.id, Arc::clone(&self.ledger));
        drop(self);
        Output { id, _ledger: ledger }
    }

    /// Whether it counts as panicked when it has run.
    pub(crate) fn panics(&self) -> bool {
        matches!(self.what, What::Panic | What::PanicInDrop)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // A second panic would abort the process.
        if self.what == What::PanicInDrop && !std::thread::panicking() {
            panics();
        }
    }
}
