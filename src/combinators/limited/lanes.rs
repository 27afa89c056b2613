//! The orders of keys: for each key with unfinished tasks a view with one permit, which goes with its last task.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Instant;

use super::state::{Permitted, Unstarted};
use super::stats::TaskEnd;
use super::view::{View, ViewTree};
use crate::engine::{Discard, Engine, PoolViews, Runner};
use crate::queue::Dispatch;
use crate::sync::{Arc, Mutex};
use crate::task::liveness::Liveness;
use crate::task::state::RunOutcome;

/// So many locks share the keys.
const SHARDS: u64 = 16;

type Shard<R, D> = Mutex<BTreeMap<u64, Weak<View<R, D>>>>;

/// The views of the keys of one pool, or of one view of it, by the number of the key. A tree gives the memory of idle keys back.
pub(super) struct Lanes<R: Runner, D: Dispatch> {
    shards: [Shard<R, D>; SHARDS as usize],
}

/// Where the view of a key is found.
pub(super) struct LaneEntry<R: Runner, D: Dispatch> {
    lanes: Arc<Lanes<R, D>>,
    key: u64,
}

impl<R: Runner, D: Dispatch> Lanes<R, D> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Lanes { shards: std::array::from_fn(|_| Mutex::new(BTreeMap::new())) })
    }

    fn shard(&self, key: u64) -> &Shard<R, D> {
        // Less than `SHARDS`, so it fits.
        &self.shards[(key % SHARDS) as usize]
    }

    /// The view of a key. It exists while anyone holds it: a submitter, or a task.
    pub(super) fn view(
        self: &Arc<Self>,
        engine: &Arc<Engine<R, D>>,
        parent: Option<&View<R, D>>,
        key: u64,
    ) -> Arc<View<R, D>> {
        let mut shard = self.shard(key).lock();
        if let Some(view) = shard.get(&key).and_then(Weak::upgrade) {
            return view;
        }
        let view = View::new_lane(engine, parent, LaneEntry { lanes: Arc::clone(self), key });
        shard.insert(key, Arc::downgrade(&view));
        view
    }

    /// The keys that are there.
    fn all(&self) -> Vec<Arc<View<R, D>>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().values().filter_map(Weak::upgrade));
        }
        all
    }

    #[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl<R: Runner, D: Dispatch> LaneEntry<R, D> {
    /// The view is being dropped. Another may be in its place already.
    pub(super) fn remove(&self, view: &View<R, D>) {
        let mut shard = self.lanes.shard(self.key).lock();
        let is_it = |found: &Weak<View<R, D>>| std::ptr::eq(found.as_ptr(), view);
        let removed = shard.get(&self.key).is_some_and(is_it).then(|| shard.remove(&self.key));
        drop(shard);
        drop(removed);
    }
}

/// Those of a pool. Those of a view are found through the view.
impl<R: Runner, D: Dispatch> PoolViews<R::Item> for Lanes<R, D> {
    fn sweep(self: Arc<Self>, is_dead: &mut dyn FnMut(Liveness) -> bool) -> Option<Discard> {
        let sweep = |lane: Arc<View<R, D>>| ViewTree::sweep(Arc::clone(&lane.tree), is_dead);
        let discards: Vec<_> = self.all().into_iter().filter_map(sweep).collect();
        if discards.is_empty() { None } else { Some(Box::new(|| discards.into_iter().for_each(|discard| discard()))) }
    }

    fn pass_late_futures(&self) {
        self.all().iter().for_each(|lane| PoolViews::pass_late_futures(&*lane.tree));
    }

    fn grace_ends(&self) -> Option<Instant> {
        self.all().iter().filter_map(|lane| PoolViews::grace_ends(&*lane.tree)).min()
    }

    fn notify_all(&self) {
        self.all().iter().for_each(|lane| PoolViews::notify_all(&*lane.tree));
    }

    fn drain(self: Arc<Self>) -> Vec<R::Item> {
        self.all().iter().flat_map(|lane| lane.tree.drain_waiting()).collect()
    }
}

impl<R: Runner, D: Dispatch> ViewTree<R, D> {
    /// The pool is closed, and does not run what it has queued: a task of the order of a key waits again, and is given back with the
    /// others, unless that has happened. Returns it if it is to be dropped. Its entry stands for nothing any more.
    pub(super) fn put_back(&self, number: u64, entry: R::Item) -> Option<Unstarted<R, D>> {
        let (mut unwanted, mut waits) = (None, false);
        let mut state = self.state.lock();
        if let Some(Permitted { task, .. }) = state.permitted.remove(number) {
            state.release(&task.view.chain);
            waits = !state.is_drained;
            match waits {
                true => state.insert_waiting(number, task),
                false => unwanted = Some(task),
            }
        }
        drop(state);
        drop(entry);
        if !waits {
            self.left(1);
        }
        unwanted
    }

    /// The same for a task that is not counted as one that waits.
    pub(super) fn put_back_kept(&self, number: u64, entry: R::Item) -> Option<Unstarted<R, D>> {
        self.keep(false);
        self.put_back(number, entry)
    }

    /// Takes out what waits, for the pool, which counts how it ends. Nothing waits from here on.
    fn drain_waiting(&self) -> Vec<R::Item> {
        let mut state = self.state.lock();
        state.is_drained = true;
        let waiting = state.extract_waiting(|_| true);
        // The task that another thread is about to queue. If it still does, its entry stands for nothing.
        let sent = state.permitted.extract(|permitted| !permitted.is_queued);
        for (number, permitted) in &sent {
            state.release(&permitted.task.view.chain);
            self.void_entry(&mut state, *number, RunOutcome::Elsewhere);
            self.engine.note_taken_back();
        }
        drop(state);
        self.left(waiting.len());
        self.engine.tell_taken_back(sent.len());
        let sent = sent.into_iter().map(|(_, permitted)| permitted.task);
        let give_back = |task: Unstarted<R, D>| {
            self.engine.note_direct();
            Unstarted::count_unstarted(&task.view, TaskEnd::Returned);
            task.item
        };
        sent.chain(waiting.into_iter().map(|(_, task)| task)).map(give_back).collect()
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::Pool;
    use crate::pool::CallTask;
    use crate::queue::Stack;

    fn lanes(pool: &Pool) -> Arc<Lanes<CallTask, Stack>> {
        let Ok(lanes) = Arc::clone(pool.engine.lanes(|| unreachable!())).downcast() else { unreachable!() };
        lanes
    }

    /// A key is there as long as it has tasks, and nothing is left of it then.
    #[test]
    fn idle_keys_leave_nothing() {
        const KEYS: usize = if cfg!(miri) { 100 } else { 20_000 };
        let pool = Pool::builder().workers(2).unbounded_queue().build().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let pause = pool.pause();
            for n in 0..2 * KEYS {
                let ran = Arc::clone(&ran);
                pool.with().in_order(n % KEYS).submit(move || ran.fetch_add(1, SeqCst)).unwrap();
            }
            assert_eq!((lanes(&pool).len(), pool.queued()), (KEYS, 2 * KEYS));
            drop(pause);
            assert!(pool.wait_idle());
            assert_eq!(lanes(&pool).len(), 0);
        }
        assert_eq!(ran.load(SeqCst), 4 * KEYS);
        assert_eq!(pool.stats().submitted as usize, 4 * KEYS);
    }

    #[test]
    fn idle_keys_of_a_view_leave_nothing() {
        let pool = Pool::new(2).unwrap();
        let view = pool.limited(2);
        for n in 0..100 {
            view.with().in_order(n % 7).submit(|| ()).unwrap();
        }
        assert!(view.wait_idle() && pool.wait_idle());
        assert_eq!(view.stats().completed, 100);
        assert_eq!(view.view.lanes.get().map(|lanes| lanes.len()), Some(0));
        assert_eq!(view.view.tree.state.lock().nodes.len(), 1);
    }
}
