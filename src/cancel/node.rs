//! The tree of tokens.
//!
//! A node knows by itself whether it is cancelled and when it will be: cancelling and setting a deadline go down the tree and write
//! to every node that they reach. So a look is one load, however deep the token is.
//!
//! One lock for each tree, kept in its root, is held by whoever changes links, cancels, or sets a deadline. Marks and deadlines are
//! written from the leaves upwards: whoever sees a token cancelled finds every token below it cancelled too.
//!
//! Nodes own each other along the links, in circles. What breaks these is the count of handles: a node that has none left, and so
//! can be neither cancelled nor given children any more, leaves the tree. With one child, the child takes its place; with several it
//! stays until they are fewer. So a tree has fewer than twice as many nodes as there are tokens in use, and a chain whose middle
//! nobody holds is short. A node outside the tree has no links, so no drop of a node drops another one, but for the root.

use std::iter::successors;
use std::time::Instant;

use super::CancelReason;
use super::due::{Due, Moment};
use super::epoch::note_cancellation;
use super::listeners::{Listeners, wake};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};

const LIVE: u8 = 0;
const ASKED: u8 = 1;
const OVERDUE: u8 = 2;

pub(super) struct Node {
    top: Top,
    /// How many tokens are this node. Not counted for a root, which never leaves its tree.
    handles: AtomicUsize,
    state: AtomicU8,
    /// The earliest deadline of this node and those above it.
    due: Due,
    /// Locked only while the tree is, so nobody waits for it.
    links: Mutex<Links>,
    pub(super) listeners: Listeners,
}

/// The root of a node's tree.
enum Top {
    Here(Shared),
    Above(Arc<Node>),
}

/// What the nodes of a tree share.
#[derive(Default)]
struct Shared {
    tree: Mutex<()>,
    next_listener: AtomicU64,
}

/// The lock of a tree, held.
type Locked<'a> = MutexGuard<'a, ()>;

/// Where a node is: its parent, the first of its children, and its neighbours among the parent's.
#[derive(Default)]
struct Links {
    parent: Option<Arc<Node>>,
    child: Option<Arc<Node>>,
    previous: Option<Arc<Node>>,
    next: Option<Arc<Node>>,
}

impl Node {
    pub(super) fn root() -> Arc<Self> {
        Self::new(Top::Here(Shared::default()))
    }

    fn new(top: Top) -> Arc<Self> {
        Arc::new(Node {
            top,
            handles: AtomicUsize::new(1),
            state: AtomicU8::new(LIVE),
            due: Due::never(),
            links: Mutex::default(),
            listeners: Listeners::default(),
        })
    }

    /// A new node below this one, for one handle. To be called through a handle.
    pub(super) fn child(self: &Arc<Self>) -> Arc<Self> {
        let root = match &self.top {
            Top::Here(_) => self,
            Top::Above(root) => root,
        };
        let child = Self::new(Top::Above(Arc::clone(root)));
        let _tree = self.lock_tree();
        // ORDERING: Relaxed. What a canceller did is seen through the lock, which it held. Whoever gets the child got it from here.
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
        match &self.top {
            Top::Here(shared) => shared,
            Top::Above(root) => root.shared(),
        }
    }

    fn lock_tree(&self) -> Locked<'_> {
        self.shared().tree.lock()
    }

    fn is_root(&self) -> bool {
        matches!(self.top, Top::Here(_))
    }

    /// One more token is this node.
    pub(super) fn add_handle(&self) {
        if !self.is_root() {
            // ORDERING: Relaxed, as for an `Arc`: the caller has a handle, so it cannot become zero meanwhile.
            self.handles.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One token is not this node any more.
    pub(super) fn remove_handle(self: &Arc<Self>) {
        // ORDERING: Relaxed. The count is acted on under the tree's lock: whoever takes that later sees the zero.
        if !self.is_root() && self.handles.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.leave();
        }
    }

    /// The last handle is gone: this node leaves the tree, and so do those above that only waited for it to leave.
    fn leave(self: &Arc<Self>) {
        // There are some if a future was forgotten. They go before anybody else may be the last owner, who may hold a lock.
        self.listeners.take().into_values().for_each(Waiter::discard);
        let tree = self.lock_tree();
        let mut next = Some(Arc::clone(self));
        while let Some(node) = next {
            // ORDERING: Relaxed, see `remove_handle`.
            let is_held = node.handles.load(Ordering::Relaxed) > 0;
            next = if is_held { None } else { node.unlink(&tree) };
        }
    }

    /// Takes a node without handles out of the tree, unless it has several children. Returns the parent if that has lost a child.
    fn unlink(&self, _tree: &Locked<'_>) -> Option<Arc<Node>> {
        let mut links = self.links.lock();
        let heir = links.child.clone();
        if heir.as_ref().is_some_and(|heir| heir.links.lock().next.is_some()) {
            return None;
        }
        // The root stays, and so does who has left before.
        let parent = links.parent.take()?;
        let Links { previous, next, .. } = std::mem::take(&mut *links);
        drop(links);
        let here = heir.as_ref().or(next.as_ref());
        match &previous {
            Some(previous) => previous.links.lock().next = here.cloned(),
            None => parent.links.lock().child = here.cloned(),
        }
        let before = heir.as_ref().or(previous.as_ref());
        if let Some(next) = &next {
            next.links.lock().previous = before.cloned();
        }
        let Some(heir) = heir else { return Some(parent) };
        let mut links = heir.links.lock();
        (links.parent, links.previous, links.next) = (Some(parent), previous, next);
        None
    }

    /// The nodes below this one that `is_reached`; what is below one that is not is left out. Parents come first.
    fn below(&self, _tree: &Locked<'_>, is_reached: impl Fn(&Node) -> bool) -> Vec<Arc<Node>> {
        let mut found: Vec<Arc<Node>> = Vec::new();
        let mut looked_at = 0;
        let mut first = self.links.lock().child.clone();
        loop {
            let children = successors(first, |child| child.links.lock().next.clone());
            found.extend(children.filter(|child| is_reached(child)));
            let Some(node) = found.get(looked_at) else { return found };
            first = node.links.lock().child.clone();
            looked_at += 1;
        }
    }

    /// Why the token is cancelled, if it is. The first reason stays.
    pub(super) fn reason(&self) -> Option<CancelReason> {
        // ORDERING: Acquire pairs with the Release in `cancel`: what the canceller did before is seen, and so is that every token
        // below is cancelled. A deadline has nobody who did anything.
        let state = match self.state.load(Ordering::Acquire) {
            // ORDERING: the same; on success there is nothing to pass on.
            LIVE if self.due.is_over() => self
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
        // By its own time, or from above: that stays the reason, and whoever waits is woken from there.
        if self.reason().is_some() {
            return;
        }
        let tree = self.lock_tree();
        // ORDERING: Relaxed. A mark that was set under this lock is seen; one that a deadline sets is as good as seen later.
        let is_live = |node: &Node| node.state.load(Ordering::Relaxed) == LIVE;
        if !is_live(self) {
            return;
        }
        // Below one that is cancelled all are.
        let below = self.below(&tree, is_live);
        let mut woken = Vec::new();
        for node in below.iter().rev().map(|node| &**node).chain([self]) {
            // The time was up first, though nobody has looked.
            let state = if node.due.is_over() { OVERDUE } else { ASKED };
            // ORDERING: Release, see `reason`. It fails if somebody saw just now that the time is up.
            let _ = node.state.compare_exchange(LIVE, state, Ordering::Release, Ordering::Relaxed);
            woken.extend(node.listeners.take());
        }
        drop(tree);
        note_cancellation();
        wake(woken);
    }

    pub(super) fn cancel_at(&self, due: Moment) {
        let tree = self.lock_tree();
        // Below one that is due earlier all are.
        let is_later = |node: &Node| node.due.get() > due;
        if !is_later(self) {
            return;
        }
        let below = self.below(&tree, is_later);
        let mut woken = Vec::new();
        for node in below.iter().rev().map(|node| &**node).chain([self]) {
            node.due.set(due);
            node.listeners.take_for_a_change(&mut woken);
        }
        drop(tree);
        note_cancellation();
        wake(woken);
    }

    /// A number for a listener, higher than those of all who came before in this tree.
    pub(super) fn number(&self) -> u64 {
        // ORDERING: Relaxed. It is only to be another one.
        self.shared().next_listener.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the tree has no other nodes.
    #[cfg(all(test, formicary_loom))]
    pub(super) fn is_childless(&self) -> bool {
        self.links.lock().child.is_none()
    }
}
