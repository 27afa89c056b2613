//! Which submitters find room. A key may take its shard's share, all of it and no more, and always of the same shard; and nothing
//! takes room that does not use it.

use std::ops::RangeInclusive;

use formicary::CancelToken;

use super::super::job::What;
use super::super::subjects::{Subject, Way};
use super::Driver;
use super::submits::{SubmitMode, not_held};

impl<S: Subject> Driver<'_, S> {
    /// Fills the shard of a key, on a pool without other activity.
    pub(super) fn fill(&mut self, key: u8) {
        self.resume();
        if !self.is_alone() || self.is_trailing || self.is_faulty {
            return;
        }
        self.wait_idle();
        let before = self.submitted_to_shards();
        let room = self.plan.shape.queue().map(|tasks| tasks + self.pool.capacity());
        // With less room than shards several keys share one.
        if before.is_empty() || room.is_some_and(|room| room < before.len()) {
            return;
        }
        self.pauses.push(self.pool.pause());
        let most = room.map_or(3, |room| room + 1);
        let accepted = (0..most).take_while(|_| self.submit(&SubmitMode::TryKeyed(key), What::Return)).count();
        if self.pool.is_closed() {
            return;
        }
        let after = self.submitted_to_shards();
        let grown: Vec<usize> = (0..after.len()).filter(|index| after[*index] != before[*index]).collect();
        let [shard] = grown[..] else { panic!("a key in several shards: {before:?} {after:?}") };
        assert_eq!(after[shard] - before[shard], accepted as u64, "{before:?} {after:?}");
        let usual = *self.shards.entry(key).or_insert(shard);
        assert_eq!(usual, shard, "the shard of key {key}");
        let Some(room) = room else {
            assert_eq!(accepted, most, "an unbounded shard");
            return;
        };
        let share = room / after.len() + usize::from(shard < room % after.len());
        assert_eq!(accepted, share, "the share of shard {shard} of {} in {room}", after.len());
        // A submitter that waits for this shard holds up none without a key.
        self.block(What::Return, Way::Keyed(key));
        let others = (share..=room).take_while(|_| self.submit(&SubmitMode::Try, What::Return)).count();
        assert_eq!(others, room - share, "room beside a full shard");
    }

    /// The kept futures, woken or not, are not polled here: submitters get in all the same.
    pub(super) fn pass(&mut self) {
        self.open();
        self.pauses.clear();
        if self.is_trailing || self.is_faulty {
            return;
        }
        self.await_quiet();
        if self.pool.is_closed() {
            return;
        }
        assert!(self.submit(&SubmitMode::Try, What::Return), "an idle pool is full");
        self.await_quiet();
        let job = self.ledger.job(What::Return);
        let id = job.id;
        let entered = self.pool.enter(job, Way::Block);
        assert!(entered.is_ok(), "an idle pool refuses: {:?}", entered.err());
        self.ledger.accepted(id);
        self.await_quiet();
        // From behind them.
        let pause = self.pool.pause();
        let room = self.room().unwrap_or(1..=1);
        let accepted = (0..*room.end()).take_while(|_| self.submit(&SubmitMode::Try, What::Return)).count();
        assert!(room.contains(&accepted), "{accepted} instead of {room:?} in an idle pool");
        self.block(What::Return, Way::Block);
        drop(pause);
        self.await_quiet();
    }

    /// Fills a paused pool with tasks of which most are then cancelled: these have no room any more.
    pub(super) fn bury(&mut self, how: u8, what: What) {
        self.resume();
        if self.is_trailing || self.is_faulty {
            return;
        }
        self.await_quiet();
        if self.pool.is_closed() {
            return;
        }
        self.pauses.push(self.pool.pause());
        let room = self.room().unwrap_or(5..=5);
        let parent = CancelToken::new();
        let (mut withdrawn, mut cancelled) = (Vec::new(), Vec::new());
        for at in 0..*room.start() {
            let kind = how >> (at % 4 * 2) & 3;
            let job = self.ledger.job(if kind == 3 { What::Return } else { not_held(what) });
            let (id, token) = (job.id, if kind == 2 { parent.child() } else { CancelToken::new() });
            let way = if matches!(kind, 0 | 2) { Way::Token(&token) } else { Way::Handle };
            // There is room, so it does not block.
            let entered = self.pool.enter(job, way);
            let handle =
                entered.unwrap_or_else(|kind| panic!("a pool with room for {room:?} has none for {at}: {kind:?}"));
            self.ledger.accepted(id);
            withdrawn.extend((kind == 1 && handle.is_some()).then_some(self.handles.len()));
            if matches!(kind, 0 | 2) {
                self.ledger.has_token(id, &token);
                cancelled.push(token);
            }
            self.handles.extend(handle.map(|handle| (id, handle)));
        }
        let dead = withdrawn.len() + cancelled.len();
        withdrawn.iter().for_each(|at| self.cancel_handle_at(*at));
        assert_eq!(
            self.pool.stats().queued,
            room.start() - withdrawn.len(),
            "a queue with {} cancelled",
            withdrawn.len()
        );
        parent.cancel();
        cancelled.iter().for_each(CancelToken::cancel);
        let accepted = (0..=*room.end()).take_while(|_| self.submit(&SubmitMode::Try, What::Return)).count();
        if self.room().is_some() {
            let expected = dead..=room.end() - (room.start() - dead);
            assert!(expected.contains(&accepted), "{accepted} instead of {expected:?} for {dead} dead in {room:?}");
            assert_eq!(self.pool.stats().queued, room.start() - dead + accepted, "queued when {dead} are dead");
        }
    }

    /// Waits until nothing is queued or running and no thread of the plan is about to submit. Futures are not waited for.
    pub(super) fn await_quiet(&mut self) {
        while !self.is_alone() {
            std::thread::yield_now();
        }
        assert!(self.views.iter().flatten().all(|view| view.wait_idle()));
        assert!(self.pool.wait_idle());
    }

    /// How many tasks a paused pool takes, if it has a bound.
    pub(super) fn room(&self) -> Option<RangeInclusive<usize>> {
        self.plan.shape.room_on(S::DISPATCH, self.pool.capacity())
    }

    fn submitted_to_shards(&self) -> Vec<u64> {
        self.pool.stats().shards.iter().map(|shard| shard.submitted).collect()
    }
}
