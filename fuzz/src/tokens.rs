//! The target `tokens`: a tree of tokens against a tree of plain values, with threads and futures that wait for them and
//! tasks that have them. Tokens are dropped, and chains of them are long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use arbitrary::Arbitrary;
use formicary::{CancelReason, CancelToken, Handle, PauseGuard, Pool, SubmitErrorKind};

use super::{Sequence, await_no_threads, thread_name};

/// Longer than a plan takes.
const NEVER: Duration = Duration::from_secs(3600);

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    operations: Sequence<Operation>,
}

choices! {
    #[derive(Debug)]
    enum Operation {
        Root,
        Child(u8),
        Cancel(u8),
        /// A time that is over, or that never comes.
        CancelAfter(u8, bool),
        Look(u8),
        Reason(u8),
        Deadline(u8),
        WaitNoTime(u8),
        /// A thread waits for it.
        Listen(u8),
        /// A future does.
        Poll(u8),
        PollAgain(u8),
        DropFuture(u8),
        /// A task of a paused pool has it.
        Spawn(u8),
        /// The task's own token is as if it were a child.
        CancelTask(u8),
        Resume,
        /// A child of a child of a child, so many times; those between are held, or are not.
        Chain(u8, u8, bool),
        /// The token is dropped; those above and below stay.
        Drop(u8),
        /// A clone of it is made and dropped.
        Clone(u8),
    }
}

/// What a token should be.
#[derive(Default)]
struct Node {
    parent: Option<usize>,
    /// Why it is cancelled, as far as it was checked. The first reason stays, seen or not.
    seen: Option<CancelReason>,
    is_due: bool,
    is_timed: bool,
    /// A thread has waited for it, so it stays to be cancelled in the end.
    is_awaited: bool,
}

/// The most tokens of a plan.
const TOKENS: usize = 512;

struct Waking(AtomicUsize);

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A future on a token, polled with a waker that counts.
struct Polled {
    node: usize,
    future: Pin<Box<dyn Future<Output = ()>>>,
    waking: Arc<Waking>,
    is_ready: bool,
}

struct Spawned {
    node: usize,
    handle: Handle<bool>,
}

struct Forest {
    /// Dropped ones still are above those below them.
    nodes: Vec<(Option<CancelToken>, Node)>,
    threads: Vec<JoinHandle<()>>,
    futures: Vec<Polled>,
    tasks: Vec<Spawned>,
    pool: Pool,
    pause: Option<PauseGuard>,
    captured: Arc<()>,
}

pub(crate) fn drive(plan: &Plan) {
    let name = thread_name();
    let pool = Pool::builder().workers(1).thread_name(&*name).build().expect("the shape is good");
    let pause = Some(pool.pause());
    let nodes = vec![(Some(CancelToken::new()), Node::default())];
    let (threads, futures, tasks) = (Vec::new(), Vec::new(), Vec::new());
    let mut forest = Forest { nodes, threads, futures, tasks, pool, pause, captured: Arc::default() };
    for operation in &plan.operations.0 {
        forest.carry_out(operation);
    }
    forest.end();
    await_no_threads(&name);
}

impl Forest {
    fn carry_out(&mut self, operation: &Operation) {
        match *operation {
            Operation::Root => self.nodes.push((Some(CancelToken::new()), Node::default())),
            Operation::Child(of) => {
                let parent = self.index(of);
                self.child(parent);
            }
            Operation::Cancel(of) => {
                let index = self.index(of);
                self.token(index).cancel();
                self.asked(index);
            }
            Operation::CancelAfter(of, is_due) => {
                let index = self.index(of);
                self.token(index).cancel_after(if is_due { Duration::ZERO } else { NEVER });
                // If it is cancelled already, that stays the reason, though it was not checked.
                self.reason(index);
                let node = &mut self.nodes[index].1;
                node.is_due |= is_due;
                node.is_timed = true;
            }
            Operation::Look(of) => {
                let index = self.index(of);
                let is_cancelled = self.token(index).is_cancelled();
                assert_eq!(is_cancelled, self.reason(index).is_some());
            }
            Operation::Reason(of) => {
                let index = self.index(of);
                let reason = self.token(index).reason();
                assert_eq!(reason, self.reason(index));
            }
            Operation::Deadline(of) => {
                let index = self.index(of);
                let is_timed = self.line(index).any(|index| self.nodes[index].1.is_timed);
                assert_eq!(self.token(index).deadline().is_some(), is_timed);
            }
            Operation::WaitNoTime(of) => {
                let index = self.index(of);
                let is_over = self.token(index).wait_timeout(Duration::ZERO);
                assert_eq!(is_over, self.reason(index).is_some());
            }
            Operation::Listen(of) => {
                let index = self.index(of);
                // Each is a thread.
                if self.threads.len() < 4 {
                    self.nodes[index].1.is_awaited = true;
                    let token = self.token(index).clone();
                    self.threads.push(std::thread::spawn(move || {
                        token.wait();
                        assert!(token.is_cancelled());
                    }));
                }
            }
            Operation::Poll(of) => self.poll(of),
            Operation::PollAgain(of) => self.poll_again(of),
            Operation::DropFuture(of) => {
                if !self.futures.is_empty() {
                    let index = usize::from(of) % self.futures.len();
                    drop(self.futures.swap_remove(index));
                }
            }
            Operation::Spawn(of) => self.spawn(of),
            Operation::CancelTask(of) => {
                if !self.tasks.is_empty() {
                    let index = usize::from(of) % self.tasks.len();
                    let Spawned { node, handle } = &self.tasks[index];
                    handle.token().cancel();
                    let node = *node;
                    self.asked(node);
                }
            }
            Operation::Resume => self.resume(),
            Operation::Chain(of, links, are_held) => {
                let mut last = self.index(of);
                for _ in 0..links {
                    if self.nodes.len() == TOKENS {
                        break;
                    }
                    let above = std::mem::replace(&mut last, self.nodes.len());
                    self.child(above);
                    if !are_held {
                        self.forget(above);
                    }
                }
            }
            Operation::Drop(of) => {
                let index = self.index(of);
                self.forget(index);
            }
            Operation::Clone(of) => {
                let index = self.index(of);
                let copy = self.token(index).clone();
                assert_eq!(copy.is_cancelled(), self.reason(index).is_some());
            }
        }
    }

    fn child(&mut self, parent: usize) {
        let child = self.token(parent).child();
        self.nodes.push((Some(child), Node { parent: Some(parent), ..Node::default() }));
    }

    /// Drops a token, unless it is awaited or the only one that is left.
    fn forget(&mut self, index: usize) {
        if !self.nodes[index].1.is_awaited && self.nodes.iter().filter(|(token, _)| token.is_some()).nth(1).is_some() {
            self.nodes[index].0 = None;
        }
    }

    fn token(&self, index: usize) -> &CancelToken {
        self.nodes[index].0.as_ref().expect("it is held")
    }

    /// One of those that are held: an input has 256 names, and there may be more tokens.
    fn index(&self, of: u8) -> usize {
        let count = self.nodes.len();
        let first = usize::from(of) * count.div_ceil(256).max(1) % count;
        let mut from_there = (first..count).chain(0..first);
        from_there.find(|index| self.nodes[*index].0.is_some()).expect("one is held")
    }

    /// A token and those above it.
    fn line(&self, index: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(index), |index| self.nodes[*index].1.parent)
    }

    /// Why a token is cancelled. The first reason stays.
    fn reason(&mut self, index: usize) -> Option<CancelReason> {
        for above in self.line(index).collect::<Vec<_>>() {
            let node = &mut self.nodes[above].1;
            if node.is_due {
                node.seen.get_or_insert(CancelReason::Deadline);
            }
            if let Some(reason) = node.seen {
                return Some(*self.nodes[index].1.seen.get_or_insert(reason));
            }
        }
        None
    }

    fn asked(&mut self, index: usize) {
        if self.reason(index).is_none() {
            self.nodes[index].1.seen = Some(CancelReason::Asked);
        }
        self.check_wakers();
    }

    /// Waiters of a cancelled token have been woken.
    fn check_wakers(&mut self) {
        for at in 0..self.futures.len() {
            let Polled { node, ref waking, is_ready, .. } = self.futures[at];
            let woken = waking.0.load(SeqCst);
            // An earlier deadline wakes when the timer thread gets to it.
            let is_asked = self.line(node).any(|above| self.nodes[above].1.seen == Some(CancelReason::Asked));
            assert!(is_ready || !is_asked || woken > 0, "a future on token {node} is not woken");
        }
    }

    fn poll(&mut self, of: u8) {
        let node = self.index(of);
        self.nodes[node].1.is_awaited = true;
        let token = self.token(node).clone();
        let future = Box::pin(async move { token.cancelled().await });
        let polled = Polled { node, future, waking: Arc::new(Waking(AtomicUsize::new(0))), is_ready: false };
        self.futures.push(polled);
        self.poll_at(self.futures.len() - 1);
    }

    fn poll_again(&mut self, of: u8) {
        if !self.futures.is_empty() {
            self.poll_at(usize::from(of) % self.futures.len());
        }
    }

    fn poll_at(&mut self, at: usize) {
        let polled = &mut self.futures[at];
        if polled.is_ready {
            return;
        }
        polled.waking.0.store(0, SeqCst);
        let waker = Waker::from(Arc::clone(&polled.waking));
        let is_ready = polled.future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(());
        polled.is_ready = is_ready;
        let node = polled.node;
        assert_eq!(is_ready, self.reason(node).is_some(), "a future on token {node}");
    }

    fn spawn(&mut self, of: u8) {
        let node = self.index(of);
        let (token, captured) = (self.token(node).clone(), Arc::clone(&self.captured));
        let result = self.pool.with().token(&token).spawn(move || {
            let _ = &captured;
            formicary::Context::with(|cx| cx.token().is_some_and(CancelToken::is_cancelled)) == Some(true)
        });
        let reason = self.reason(node);
        match result {
            Ok(handle) => {
                assert_eq!(reason, None, "a task with a token that is cancelled is refused");
                self.nodes.push((Some(handle.token()), Node { parent: Some(node), ..Node::default() }));
                self.tasks.push(Spawned { node: self.nodes.len() - 1, handle });
                if self.pause.is_none() {
                    self.resume();
                }
            }
            Err(refusal) => {
                let is_right = match refusal.kind() {
                    SubmitErrorKind::Cancelled => reason == Some(CancelReason::Asked),
                    SubmitErrorKind::TimedOut => reason == Some(CancelReason::Deadline),
                    _ => false,
                };
                assert!(is_right, "refused as {:?}, {reason:?}", refusal.kind());
            }
        }
    }

    /// Tasks that are not cancelled start, and no others.
    fn resume(&mut self) {
        self.pause = None;
        assert!(self.pool.wait_idle());
        for Spawned { node, handle } in std::mem::take(&mut self.tasks) {
            let reason = self.reason(node);
            match handle.join() {
                Ok(is_cancelled) => assert!(reason.is_none() && !is_cancelled, "task of token {node} ran, {reason:?}"),
                Err(error) => assert!(error.is_cancelled() && reason.is_some(), "task of token {node}: {error}"),
            }
        }
        assert_eq!(Arc::strong_count(&self.captured), 1, "a capture is left");
    }

    fn end(mut self) {
        self.resume();
        for index in 0..self.nodes.len() {
            if self.nodes[index].0.is_none() {
                continue;
            }
            self.token(index).cancel();
            self.asked(index);
            let reason = self.token(index).reason();
            assert_eq!(reason, self.reason(index));
        }
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok(), "a thread waited for something else");
        }
        for at in 0..self.futures.len() {
            self.poll_at(at);
            assert!(self.futures[at].is_ready);
        }
        let stats = self.pool.stats();
        assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats:?}");
    }
}
