//! How workers search, sleep and are woken: `src/engine/parking/`.

use std::cell::{Cell, RefCell};

use crate::lock::Lock;
use crate::machine::{Core, Line, Machine, Nanos};

/// `AdaptiveSpin` and `spin.rs`: the limit of a long search, the rounds of a short one, and the polls of a round.
const SPIN: Nanos = 10_000;
const ROUNDS: u32 = 2;
/// A yield, with the polls after it, that takes longer counts as a switch of threads.
const SWITCH: Nanos = 2_000;
const FIRST_ROUND: u32 = 32;
const FIRST_ROUND_UNEXPECTED: u32 = 4;
const LATER_ROUNDS: u32 = 16;

/// So many workers may search at once.
const MOST_SEARCHERS: usize = 8;

/// What an idle worker asks of its pool.
pub trait Source {
    type Item;
    async fn pop(&self, core: Core<'_>) -> Option<Self::Item>;
    async fn peek(&self, core: Core<'_>) -> bool;
    async fn has_work(&self, core: Core<'_>) -> bool;
    async fn has_more(&self, core: Core<'_>, searching: usize) -> bool;
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
    /// Whether the last yield before it found work took as long as a switch of threads.
    has_switched: Cell<bool>,
}

pub struct Parking {
    counts: Line,
    searchers: Cell<usize>,
    idle: Lock,
    sleepers: RefCell<Vec<usize>>,
    parkers: Vec<Parker>,
}

impl Parking {
    pub fn new(machine: &Machine, cores: usize) -> Self {
        let parker = || Parker {
            is_parked: Cell::new(false),
            is_claimed: Cell::new(false),
            is_long: Cell::new(true),
            has_switched: Cell::new(false),
        };
        Parking {
            counts: machine.line("counts"),
            searchers: Cell::new(0),
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
            core.modify(self.counts).await;
            claimed = self.sleepers.borrow_mut().pop();
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
        if self.sleeping() == 0 {
            return;
        }
        let claimed = match self.searchers.get() {
            0 if source.has_work(core).await => self.claim(core).await,
            0 | MOST_SEARCHERS.. => None,
            searching if source.has_more(core, searching).await => self.claim_beside(core, searching).await,
            _ => None,
        };
        if let Some(worker) = claimed {
            self.unpark(core, worker).await;
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

    /// `AdaptiveSpin::spin`. Sets `since` after the first round.
    async fn spin<S: Source>(&self, core: Core<'_>, since: &mut Option<Nanos>, source: &S) -> Option<S::Item> {
        let Core { machine, id } = core;
        let (costs, me) = (&machine.costs, &self.parkers[id]);
        let is_soon = me.is_long.get() && !me.has_switched.get();
        let (mut round, mut polls) = (0, if is_soon { FIRST_ROUND } else { FIRST_ROUND_UNEXPECTED });
        let mut yielded = None;
        loop {
            for _ in 0..polls {
                if source.peek(core).await {
                    let item = source.pop(core).await;
                    if item.is_some() {
                        me.has_switched.set(yielded.is_some_and(|at| machine.now() - at >= SWITCH));
                        return item;
                    }
                }
                core.wait("search", costs.pause).await;
            }
            round += 1;
            let (now, idle_since) = (machine.now(), *since.get_or_insert(machine.now()));
            yielded = Some(now);
            if round >= ROUNDS && !(me.is_long.get() && now - idle_since < SPIN) {
                return None;
            }
            core.wait("search", costs.sched_yield).await;
            polls = LATER_ROUNDS;
        }
    }

    pub async fn wait_for_work<S: Source>(&self, core: Core<'_>, source: &S) -> S::Item {
        let mut search = self.start_search(core).await;
        let mut idle_since = None;
        loop {
            if search != Search::None
                && let Some(item) = self.spin(core, &mut idle_since, source).await
            {
                if search == Search::Counted {
                    self.found(core, source).await;
                }
                return item;
            }
            let since = *idle_since.get_or_insert(core.machine.now());
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
