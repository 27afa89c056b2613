//! How workers search, sleep and are woken: `src/engine/parking/`.

use std::cell::{Cell, RefCell};

use crate::lock::Lock;
use crate::machine::{Core, Line, Machine, Nanos};

/// `AdaptiveSpin` and `spin.rs`: the limit of a long search, the rounds of a short one, and the polls of a round.
const SPIN: Nanos = 60_000;
const ROUNDS: u32 = 4;
const FIRST_ROUND: u32 = 32;
const FIRST_ROUND_UNEXPECTED: u32 = 4;
const LATER_ROUNDS: u32 = 16;

/// What an idle worker asks of its pool.
pub trait Source {
    type Item;
    async fn pop(&self, core: Core<'_>) -> Option<Self::Item>;
    async fn peek(&self, core: Core<'_>) -> bool;
    async fn has_work(&self, core: Core<'_>) -> bool;
    async fn has_more(&self, core: Core<'_>) -> bool;
}

#[derive(Clone, Copy, PartialEq)]
enum Search {
    None,
    Uncounted,
    Counted,
}

struct Parker {
    is_parked: Cell<bool>,
    is_claimed: Cell<bool>,
    /// Whether its last idle time was short.
    is_long: Cell<bool>,
}

pub struct Parking {
    counts: Line,
    searchers: Cell<usize>,
    waking_line: Line,
    waking: Cell<usize>,
    idle: Lock,
    sleepers: RefCell<Vec<usize>>,
    parkers: Vec<Parker>,
}

impl Parking {
    pub fn new(machine: &Machine, cores: usize) -> Self {
        let parker = || Parker { is_parked: Cell::new(false), is_claimed: Cell::new(false), is_long: Cell::new(true) };
        Parking {
            counts: machine.line("counts"),
            searchers: Cell::new(0),
            waking_line: machine.line("waking"),
            waking: Cell::new(0),
            idle: Lock::new(machine, "idle list"),
            sleepers: RefCell::new(Vec::new()),
            parkers: (0..cores).map(|_| parker()).collect(),
        }
    }

    fn sleeping(&self) -> usize {
        self.sleepers.borrow().len()
    }

    fn add_searchers(&self, change: isize) {
        self.searchers.set(self.searchers.get().wrapping_add_signed(change));
    }

    pub async fn claim(&self, core: Core<'_>) -> Option<usize> {
        core.read(self.counts).await;
        if self.sleeping() == 0 || self.searchers.get() > 0 { None } else { self.claim_beside(core, 0).await }
    }

    async fn claim_beside(&self, core: Core<'_>, most: usize) -> Option<usize> {
        self.idle.lock(core).await;
        let mut claimed = None;
        if self.searchers.get() <= most && self.sleeping() > 0 {
            core.modify(self.waking_line).await;
            core.modify(self.counts).await;
            claimed = self.sleepers.borrow_mut().pop();
            self.waking.set(self.waking.get() + 1);
            self.add_searchers(1);
        }
        self.idle.unlock(core).await;
        claimed
    }

    /// Drops the `PendingUnpark`.
    pub async fn unpark(&self, core: Core<'_>, worker: usize) {
        let parker = &self.parkers[worker];
        parker.is_claimed.set(true);
        if parker.is_parked.replace(false) {
            core.wake(worker).await;
        }
    }

    pub async fn notify<S: Source>(&self, core: Core<'_>, source: &S) {
        core.read(self.counts).await;
        if self.sleeping() > 0 && self.searchers.get() == 1 && self.waking.get() == 1 {
            core.read(self.waking_line).await;
            if source.has_more(core).await
                && let Some(worker) = self.claim_beside(core, 1).await
            {
                self.unpark(core, worker).await;
            }
        } else {
            self.wake_for(core, source).await;
        }
    }

    pub async fn wake_for<S: Source>(&self, core: Core<'_>, source: &S) {
        core.read(self.counts).await;
        if self.sleeping() > 0
            && self.searchers.get() == 0
            && source.has_work(core).await
            && let Some(worker) = self.claim(core).await
        {
            self.unpark(core, worker).await;
        }
    }

    async fn found<S: Source>(&self, core: Core<'_>, source: &S) {
        core.modify(self.counts).await;
        self.add_searchers(-1);
        if self.searchers.get() == 0 {
            self.wake_for(core, source).await;
        }
    }

    async fn start_search(&self, core: Core<'_>) -> Search {
        core.read(self.counts).await;
        if self.sleeping() == 0 && self.searchers.get() == 0 {
            return Search::Uncounted;
        }
        if self.searchers.get() > 0 {
            return Search::None;
        }
        core.modify(self.counts).await;
        if self.searchers.get() > 0 {
            return Search::None;
        }
        self.add_searchers(1);
        Search::Counted
    }

    /// `AdaptiveSpin::spin`.
    async fn spin<S: Source>(&self, core: Core<'_>, since: Nanos, source: &S) -> Option<S::Item> {
        let costs = &core.machine.costs;
        let is_long = self.parkers[core.id].is_long.get();
        let (mut round, mut polls) = (0, if is_long { FIRST_ROUND } else { FIRST_ROUND_UNEXPECTED });
        loop {
            for _ in 0..polls {
                if source.peek(core).await {
                    let item = source.pop(core).await;
                    if item.is_some() {
                        return item;
                    }
                }
                core.wait("search", costs.pause).await;
            }
            round += 1;
            if round >= ROUNDS && !(is_long && core.machine.now() - since < SPIN) {
                return None;
            }
            core.wait("search", costs.sched_yield).await;
            polls = LATER_ROUNDS;
        }
    }

    pub async fn wait_for_work<S: Source>(&self, core: Core<'_>, source: &S) -> S::Item {
        let mut search = self.start_search(core).await;
        let since = core.machine.now();
        loop {
            if search != Search::None
                && let Some(item) = self.spin(core, since, source).await
            {
                if search == Search::Counted {
                    self.found(core, source).await;
                }
                return item;
            }
            self.sleep(core, search == Search::Counted, source).await;
            search = Search::Counted;
            if let Some(item) = source.pop(core).await {
                self.parkers[core.id].is_long.set(core.machine.now() - since <= SPIN);
                self.found(core, source).await;
                return item;
            }
            core.wait("search", core.machine.costs.pause).await;
        }
    }

    async fn sleep<S: Source>(&self, core: Core<'_>, is_searching: bool, source: &S) {
        let me = &self.parkers[core.id];
        self.idle.lock(core).await;
        core.modify(self.counts).await;
        self.sleepers.borrow_mut().push(core.id);
        if is_searching {
            self.add_searchers(-1);
        }
        self.idle.unlock(core).await;
        if source.has_work(core).await && self.leave_list_to_search(core).await {
            return;
        }
        if !me.is_claimed.get() {
            me.is_parked.set(true);
            core.park("sleep").await;
        }
        me.is_claimed.set(false);
        core.modify(self.waking_line).await;
        self.waking.set(self.waking.get() - 1);
    }

    async fn leave_list_to_search(&self, core: Core<'_>) -> bool {
        self.idle.lock(core).await;
        let is_listed = self.sleepers.borrow().contains(&core.id);
        let leaves = self.searchers.get() == 0 && is_listed;
        if leaves {
            core.modify(self.counts).await;
            self.sleepers.borrow_mut().retain(|worker| *worker != core.id);
            self.add_searchers(1);
        }
        self.idle.unlock(core).await;
        leaves
    }
}
