//! What an idle worker does until there is something to do for it: it spins, parks, and checks from time to time whether it may exit.

use std::time::{Duration, Instant};

use super::{AdaptiveSpin, Parker, Parking, SEARCHER, searchers, sleepers};
use crate::sync::clock;
use crate::sync::{Arc, Backoff, Ordering};

/// What an idle worker asks of its pool.
pub(crate) trait Source {
    type Item;
    /// Takes a task.
    fn pop(&self) -> Option<Self::Item>;
    /// The worker was woken. The next task that it pops may have been handed to it alone.
    fn woken(&self);
    /// Whether any worker's `pop` would find a task. Never wrongly false after a fence on both sides.
    fn has_work(&self) -> bool;
    /// The same without that guarantee, for polling.
    fn peek(&self) -> bool;
    /// Whether this worker has mail. Never wrongly false after a fence on both sides.
    fn has_mail(&self) -> bool;
    /// Whether the worker should exit.
    fn must_exit(&self) -> bool;
    /// If the worker has a reason to exit and may, unregisters it and returns `true`: then it must exit.
    fn exit(&self) -> bool;
    /// Whether there is anything to handle besides tasks. For polling; ends a search.
    fn must_stop_searching(&self) -> bool;
    /// How long the worker may be idle before it calls `expire`.
    fn expiry(&self) -> Option<Duration>;
    /// The same after the expiry: [`Expiry::Exits`] if it must exit.
    fn expire(&self) -> Expiry;
    /// Whether there are more workers than the minimum.
    fn is_above_minimum(&self) -> bool;
    /// When the worker has to look at the pool again in any case.
    fn alarm(&self) -> Option<Instant>;
}

/// What a worker does after its expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Exits,
    /// It stays as one of the minimum.
    IsKept,
    /// It stays because it may be needed soon.
    Postponed,
}

/// What an idle worker is to do.
pub(crate) enum NextAction<T> {
    /// Run this task.
    Task(T),
    /// Handle its mail.
    Mail,
    /// Exit: that is decided.
    Exit,
}

/// The least time between two checks of a worker whether it may exit: an expiry can be zero.
const LEAST_BETWEEN_CHECKS: Duration = Duration::from_secs(1);

/// When an idle worker checks whether it may exit.
#[derive(Clone, Copy, PartialEq)]
enum ExpiryCheck {
    /// When it has been idle for the expiry.
    AfterExpiry,
    At(Instant),
    /// It is kept as one of the minimum: not before another thread wakes it.
    Never,
}

impl ExpiryCheck {
    /// For a worker that has been idle since `since`.
    fn time(self, since: Instant, source: &impl Source) -> Option<Instant> {
        match self {
            ExpiryCheck::AfterExpiry => source.expiry().and_then(|expiry| since.checked_add(expiry)),
            ExpiryCheck::At(time) => Some(time),
            ExpiryCheck::Never => None,
        }
    }

    /// Checks now. Returns when to check again, or `None` if the worker exits.
    #[cold]
    #[inline(never)]
    fn run(source: &impl Source) -> Option<ExpiryCheck> {
        match source.expire() {
            Expiry::Exits => None,
            Expiry::IsKept => Some(ExpiryCheck::Never),
            Expiry::Postponed => {
                let least = source.expiry().unwrap_or_default().max(LEAST_BETWEEN_CHECKS);
                Some(clock::now().checked_add(least).map_or(ExpiryCheck::Never, ExpiryCheck::At))
            }
        }
    }
}

/// Whether an idle worker searches for work before it parks.
#[derive(Clone, Copy, PartialEq)]
enum Search {
    None,
    /// Uncounted: no submitter relies on it.
    Uncounted,
    /// As the searcher that submitters rely on.
    Counted,
}

/// How a sleep ended.
pub(super) enum Wakeup {
    /// There may be work. The worker is a searcher, and must report the result by [`Parking::found`] or by sleeping again.
    Search,
    /// The deadline passed. The worker is neither a searcher nor a sleeper.
    Expired,
    /// [`Parking::dismiss`] chose this worker. It is neither a searcher nor a sleeper.
    Dismissed,
}

impl Parking {
    /// Blocks until there is something for the calling worker to do, and returns that. The worker has just found neither a task nor mail.
    #[inline(never)]
    pub(crate) fn wait_for_work<S: Source>(
        &self,
        me: &Arc<Parker>,
        adaptive_spin: &AdaptiveSpin,
        source: &S,
    ) -> NextAction<S::Item> {
        let mut search = self.start_search();
        let mut idle_since = None;
        let mut check = ExpiryCheck::AfterExpiry;
        let backoff = Backoff::new();
        loop {
            if search != Search::None {
                let expiry = if check == ExpiryCheck::AfterExpiry { source.expiry() } else { None };
                if let Some(item) = adaptive_spin.spin(source, &mut idle_since, expiry) {
                    self.end_search(search, source);
                    return NextAction::Task(item);
                }
            }
            let has_mail = source.has_mail();
            if has_mail || source.exit() {
                self.end_search(search, source);
                return if has_mail { NextAction::Mail } else { NextAction::Exit };
            }
            let since = *idle_since.get_or_insert_with(clock::now);
            let expires = check.time(since, source);
            let is_kept = check == ExpiryCheck::Never;
            match self.sleep(me, search == Search::Counted, is_kept, expires, source.alarm(), source) {
                Wakeup::Search => {
                    search = Search::Counted;
                    source.woken();
                    if let Some(item) = source.pop() {
                        adaptive_spin.record_idle(idle_since);
                        self.found(|| source.has_work());
                        return NextAction::Task(item);
                    }
                    // Another worker took it, or its submitter is just pushing it.
                    backoff.snooze();
                    if is_kept {
                        check = ExpiryCheck::AfterExpiry;
                    }
                }
                Wakeup::Dismissed => return NextAction::Exit,
                Wakeup::Expired if expires.is_some_and(|at| at <= clock::now()) => match ExpiryCheck::run(source) {
                    Some(next) => {
                        check = next;
                        // A kept worker has no expiry that would cut its search short.
                        search = if check == ExpiryCheck::Never { self.start_search() } else { Search::None };
                    }
                    None => return NextAction::Exit,
                },
                Wakeup::Expired => search = Search::None,
            }
        }
    }

    /// Step **search**: whether the calling worker may search for work for a while before it parks. Only one does at a time; more would
    /// contend for the queue's cache lines for nothing.
    fn start_search(&self) -> Search {
        // ORDERING: Relaxed. Two searchers at once are a waste and no error, and a searcher takes nothing from this word but the number.
        let counts = self.counts.load(Ordering::Relaxed);
        if sleepers(counts) == 0 && searchers(counts) == 0 {
            // Without a sleeper a submitter has nothing to decide, so it need not know of this searcher.
            return Search::Uncounted;
        }
        let is_counted = searchers(counts) == 0
            && self.counts.compare_exchange(counts, counts + SEARCHER, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_counted { Search::Counted } else { Search::None }
    }

    fn end_search(&self, search: Search, source: &impl Source) {
        if search == Search::Counted {
            self.found(|| source.has_work());
        }
    }
}
