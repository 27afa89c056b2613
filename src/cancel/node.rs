//! The tree of tokens.
//!
//! Each node stores whether it is cancelled and when it will be: cancelling and setting a deadline walk down the tree and write
//! every node that they reach. So a check is one load at any depth.
//!
//! Each tree has one lock, in its root. A thread holds it to change links, to cancel, or to set a deadline. States and deadlines
//! are written from the leaves upwards: a thread that sees a token cancelled sees every token below it cancelled too.
//!
//! The links are reference-counted and form cycles. The count of handles breaks them: a node without handles can be neither
//! cancelled nor given children any more, and leaves the tree. If it has one child, the child takes its place; with several
//! children it stays until only one is left. So a tree has fewer than twice as many nodes as tokens in use, and a chain without
//! handles in the middle is short. A node outside the tree has no links, so dropping a node never drops another one, except for
//! the root.

use std::iter::successors;
use std::time::Instant;

use super::CancelReason;
use super::due::{Due, Moment};
use super::epoch::note_cancellation;
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::{Registration, SharedWaiterList, wake_in_order};
use crate::sync::{Arc, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};

const LIVE: u8 = 0;
const ASKED: u8 = 1;
const OVERDUE: u8 = 2;

pub(super) struct Node {
    root: Root,
    /// The number of `CancelToken`s for this node. Not counted for a root, which never leaves its tree.
    handles: AtomicUsize,
    state: AtomicU8,
    /// The earliest deadline of this node and those above it.
    due: Due,
    /// TreeGuard only by the holder of the tree's lock, so without contention.
    links: Mutex<Links>,
    waiters: SharedWaiterList,
}

/// How a node reaches the root of its tree.
enum Root {
    This(Shared),
    Other(Arc<Node>),
}

/// The state that all nodes of a tree share.
#[derive(Default)]
struct Shared {
    tree: Mutex<()>,
    next_waiter: AtomicU64,
}

/// Proof that the tree's lock is held.
type TreeGuard<'a> = MutexGuard<'a, ()>;

/// A node's place in the tree. The children of a node form a doubly linked list.
#[derive(Default)]
struct Links {
    parent: Option<Arc<Node>>,
    child: Option<Arc<Node>>,
    previous: Option<Arc<Node>>,
    next: Option<Arc<Node>>,
}

impl Node {
    pub(super) fn root() -> Arc<Self> {
        Self::new(Root::This(Shared::default()))
    }

    fn new(root: Root) -> Arc<Self> {
        Arc::new(Node {
            root,
            handles: AtomicUsize::new(1),
            state: AtomicU8::new(LIVE),
            due: Due::never(),
            links: Mutex::default(),
            waiters: SharedWaiterList::default(),
        })
    }

    /// Creates a child with one handle. The caller holds a handle of this node.
    pub(super) fn child(self: &Arc<Self>) -> Arc<Self> {
        let root = match &self.root {
            Root::This(_) => self,
            Root::Other(root) => root,
        };
        let child = Self::new(Root::Other(Arc::clone(root)));
        let _tree = self.lock_tree();
        // ORDERING: Relaxed. What a cancelling thread did is seen through the tree's lock, which it held. Other threads get the
        // child from this one.
        child.state.store(self.state.load(Ordering::Relaxed), Ordering::Relaxed);
        child.due.set(self.due.get());
        let next = self.links.lock().child.replace(Arc::clone(&child));
        if let Some(next) = &next {
            next.links.lock().previous = Some(Arc::clone(&child));
        }
        *child.links.lock() = Links { parent: Some(Arc::clone(self)), next, ..Links::default() };
        child
    }

    fn shared(&self) -> &Shared {
        match &self.root {
            Root::This(shared) => shared,
            Root::Other(root) => root.shared(),
        }
    }

    fn lock_tree(&self) -> TreeGuard<'_> {
        self.shared().tree.lock()
    }

    fn is_root(&self) -> bool {
        matches!(self.root, Root::This(_))
    }

    /// Counts one more handle.
    pub(super) fn add_handle(&self) {
        if !self.is_root() {
            // ORDERING: Relaxed, as for an `Arc`: the caller has a handle, so the count cannot become zero meanwhile.
            self.handles.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one handle less. The last one removes the node from the tree.
    pub(super) fn remove_handle(self: &Arc<Self>) {
        // ORDERING: Relaxed. The count is acted on under the tree's lock: a thread that takes the lock later sees the zero.
        if !self.is_root() && self.handles.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.remove_unheld();
        }
    }

    /// Removes this node, which has no handles, and the ancestors that only stayed because of it.
    fn remove_unheld(self: &Arc<Self>) {
        // A future that was forgotten leaves its waiter behind. Drop it here, where no lock is held: the last owner of the node
        // may hold one.
        self.waiters.take_all().into_values().for_each(Waiter::discard);
        let tree = self.lock_tree();
        let mut next = Some(Arc::clone(self));
        while let Some(node) = next {
            // ORDERING: Relaxed, see `remove_handle`.
            let is_held = node.handles.load(Ordering::Relaxed) > 0;
            next = if is_held { None } else { node.unlink(&tree) };
        }
    }

    /// Unlinks a node without handles, unless it has several children. Returns the parent if the parent has lost a child.
    fn unlink(&self, _tree: &TreeGuard<'_>) -> Option<Arc<Node>> {
        let mut links = self.links.lock();
        let only_child = links.child.clone();
        if only_child.as_ref().is_some_and(|only_child| only_child.links.lock().next.is_some()) {
            return None;
        }
        // Fails for the root, which stays, and for a node that was unlinked before.
        let parent = links.parent.take()?;
        let Links { previous, next, .. } = std::mem::take(&mut *links);
        drop(links);
        let here = only_child.as_ref().or(next.as_ref());
        match &previous {
            Some(previous) => previous.links.lock().next = here.cloned(),
            None => parent.links.lock().child = here.cloned(),
        }
        let before = only_child.as_ref().or(previous.as_ref());
        if let Some(next) = &next {
            next.links.lock().previous = before.cloned();
        }
        let Some(only_child) = only_child else { return Some(parent) };
        let mut links = only_child.links.lock();
        (links.parent, links.previous, links.next) = (Some(parent), previous, next);
        None
    }

    /// The nodes below this one for which `is_reached` holds. Skips the subtree of a node for which it does not. Parents come
    /// first.
    fn below(&self, _tree: &TreeGuard<'_>, is_reached: impl Fn(&Node) -> bool) -> Vec<Arc<Node>> {
        let mut found: Vec<Arc<Node>> = Vec::new();
        let mut visited = 0;
        let mut first = self.links.lock().child.clone();
        loop {
            let children = successors(first, |child| child.links.lock().next.clone());
            found.extend(children.filter(|child| is_reached(child)));
            let Some(node) = found.get(visited) else { return found };
            first = node.links.lock().child.clone();
            visited += 1;
        }
    }

    /// Why the token is cancelled; `None` while it is not. The first reason stays.
    pub(super) fn reason(&self) -> Option<CancelReason> {
        // ORDERING: Acquire pairs with the Release in `cancel`: it makes visible what the cancelling thread did before, and that
        // every token below is cancelled. An expired deadline has no cancelling thread.
        let state = match self.state.load(Ordering::Acquire) {
            // ORDERING: Acquire on failure for the same reason; Relaxed on success, which publishes nothing.
            LIVE if self.due.has_passed() => self
                .state
                .compare_exchange(LIVE, OVERDUE, Ordering::Relaxed, Ordering::Acquire)
                .map_or_else(|state| state, |_| OVERDUE),
            state => state,
        };
        match state {
            LIVE => None,
            OVERDUE => Some(CancelReason::Deadline),
            _ => Some(CancelReason::Asked),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.instant()
    }

    pub(super) fn cancel(&self) {
        // If the deadline has passed, or a token above was cancelled, that stays the reason, and its cause has woken the
        // waiters.
        if self.reason().is_some() {
            return;
        }
        let tree = self.lock_tree();
        // ORDERING: Relaxed. States set under this lock are seen; one that a deadline sets may as well be seen later.
        let is_live = |node: &Node| node.state.load(Ordering::Relaxed) == LIVE;
        if !is_live(self) {
            return;
        }
        // Below a cancelled node all nodes are cancelled: those subtrees are skipped.
        let below = self.below(&tree, is_live);
        let mut woken = Vec::new();
        for node in below.iter().rev().map(|node| &**node).chain([self]) {
            // A deadline that has passed unnoticed came first.
            let state = if node.due.has_passed() { OVERDUE } else { ASKED };
            // ORDERING: Release, see `reason`. Fails if another thread has just noticed that the deadline passed.
            let _ = node.state.compare_exchange(LIVE, state, Ordering::Release, Ordering::Relaxed);
            woken.extend(node.waiters.take_all());
        }
        drop(tree);
        note_cancellation();
        wake_in_order(woken);
    }

    pub(super) fn cancel_at(&self, due: Moment) {
        let tree = self.lock_tree();
        // Below a node with an earlier deadline all deadlines are as early: those subtrees are skipped.
        let is_later = |node: &Node| node.due.get() > due;
        if !is_later(self) {
            return;
        }
        let below = self.below(&tree, is_later);
        let mut woken = Vec::new();
        for node in below.iter().rev().map(|node| &**node).chain([self]) {
            node.due.set(due);
            node.waiters.take_to_recheck(&mut woken);
        }
        drop(tree);
        note_cancellation();
        wake_in_order(woken);
    }

    /// Adds a waiter to this node, with a number higher than those of all earlier waiters in the tree.
    pub(super) fn register(&self, waiter: Waiter) -> Registration<'_> {
        // ORDERING: Relaxed. Only uniqueness and order matter.
        let number = self.shared().next_waiter.fetch_add(1, Ordering::Relaxed);
        self.waiters.register_as(number, waiter)
    }

    /// Whether the tree has no other nodes.
    #[cfg(all(test, formicary_loom))]
    pub(super) fn is_childless(&self) -> bool {
        self.links.lock().child.is_none()
    }
}
