//! loom models of the slot, of waiting for tokens, and of a future at the door.
//!
//! Run by `ci/loom.sh`. A wake-up that is lost is a deadlock, which loom reports; a value that is dropped twice or not at all is
//! an assertion.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Mutex as StdMutex;
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError, SubmitErrorKind};
use crate::sync::explore::explore;
use crate::sync::notifier::Notifier;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicUsize, Ordering, Thread, current, park};
use crate::task::slot::{AwaitedEnd, Cancellable, Outcome, Recalled, Reply, Slot, Terms, Ticket, Verdict};

/// Unparks a thread of the model.
struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Waker::from(std::sync::Arc::new(Unparks(current())))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let (mut future, waker) = (pin!(future), waker());
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => park(None),
        }
    }
}

/// Counts how many of it are alive.
struct Marked(Arc<AtomicUsize>);

impl Marked {
    fn new(living: &Arc<AtomicUsize>) -> Self {
        living.fetch_add(1, Ordering::SeqCst);
        Marked(Arc::clone(living))
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type MarkedSlot = Slot<Marked, Marked>;

fn slot(living: &Arc<AtomicUsize>, token: Option<&CancelToken>) -> Arc<MarkedSlot> {
    let terms = Terms { token: token.cloned(), ..Terms::of_no_pool() };
    Slot::new(Marked::new(living), terms)
}

/// The worker's way with a ticket: run, account, answer.
fn work(ticket: Ticket<Marked, Marked>, living: &Arc<AtomicUsize>) -> Verdict {
    let mut reply = Reply::default();
    let verdict = ticket.run(&mut reply, None, |input, _| {
        drop(input);
        Marked::new(living)
    });
    drop(reply.send(None));
    verdict
}

/// A worker beside `waiter`; all that was made is dropped in the end. Says what the worker did.
fn with_a_worker(
    preemptions: usize,
    waiter: impl Fn(Arc<MarkedSlot>, Arc<AtomicUsize>) -> Option<Verdict> + Sync + Send + 'static,
) {
    explore(preemptions, move || {
        let living = Arc::new(AtomicUsize::new(0));
        let slot = slot(&living, None);
        let ticket = Ticket::new(&slot);
        let worker = {
            let living = Arc::clone(&living);
            thread::spawn(move || work(ticket, &living))
        };
        let expected = waiter(Arc::clone(&slot), Arc::clone(&living));
        let verdict = worker.join().expect("no panic");
        if let Some(expected) = expected {
            assert_eq!(verdict, expected);
        }
        drop(slot);
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

fn is_done(outcome: &Outcome<Marked, Marked>) -> bool {
    matches!(outcome, Outcome::Done(Ok(_)))
}

#[test]
fn a_result_is_joined() {
    with_a_worker(4, |slot, _| {
        assert!(is_done(&slot.wait(None, None, false)));
        assert!(matches!(slot.poll(None), Some(Outcome::Done(Err(_)))), "taken");
        Some(Verdict::Ran)
    });
}

#[test]
fn a_result_that_nobody_wants_is_dropped_once() {
    with_a_worker(4, |slot, _| {
        slot.detach();
        Some(Verdict::Ran)
    });
}

/// As a timed wait ends: polled, left, asked again, let go of.
#[test]
fn a_result_is_asked_for_and_let_go_of() {
    with_a_worker(4, |slot, _| {
        let waiter = Waiter::Thread(current());
        let found = slot.poll(Some(waiter.clone())).or_else(|| slot.poll(Some(waiter)));
        assert!(found.as_ref().is_none_or(is_done));
        slot.detach();
        Some(Verdict::Ran)
    });
}

/// A call gives up: the input comes back, or the output does, or the worker drops it.
#[test]
fn a_caller_gives_up_while_its_task_ends() {
    with_a_worker(4, |slot, _| match slot.give_up(SubmitErrorKind::TimedOut) {
        Outcome::Returned(refusal) if refusal.is_timed_out() => Some(Verdict::Cancelled),
        Outcome::TimedOut => Some(Verdict::Ran),
        done => {
            assert!(is_done(&done));
            Some(Verdict::Ran)
        }
    });
}

/// Cancelled while it starts, runs, or ends; joined after that.
#[test]
fn a_task_is_cancelled_by_its_handle() {
    with_a_worker(4, |slot, _| {
        let was_queued = slot.cancel();
        match slot.wait(None, None, false) {
            Outcome::Done(Ok(_)) => assert!(!was_queued),
            Outcome::Done(Err(error)) => assert!(was_queued && error.is_cancelled()),
            _ => unreachable!("a wait without an end"),
        }
        Some(if was_queued { Verdict::Cancelled } else { Verdict::Ran })
    });
}

/// One polls with its waker and leaves; the result reaches whoever polls after it.
#[test]
fn the_waker_of_the_last_poll_is_woken() {
    struct Awaits(Arc<MarkedSlot>);
    impl Future for Awaits {
        type Output = bool;
        fn poll(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<bool> {
            match self.0.poll(Some(Waiter::Task(poller.waker().clone()))) {
                Some(outcome) => Poll::Ready(is_done(&outcome)),
                None => Poll::Pending,
            }
        }
    }
    with_a_worker(3, |slot, _| {
        let mut awaits = Awaits(slot);
        match Pin::new(&mut awaits).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(is_done) => assert!(is_done),
            Poll::Pending => assert!(block_on(awaits)),
        }
        Some(Verdict::Ran)
    });
}

/// Two wait for the end of one task, and one of them cancels it.
#[test]
fn several_wait_for_one_end() {
    with_a_worker(2, |slot, _| {
        let other = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || assert!(matches!(slot.await_end(None, None, false, false), AwaitedEnd::Over)))
        };
        assert!(matches!(slot.await_end(None, None, false, false), AwaitedEnd::Over));
        other.join().expect("no panic");
        assert!(is_done(&slot.poll(None).expect("it is over")));
        Some(Verdict::Ran)
    });
}

/// One waits for whichever of two tasks ends first, and then for the other.
#[test]
fn one_waits_for_any_of_two_ends() {
    explore(3, || {
        let living = Arc::new(AtomicUsize::new(0));
        let notifier = Notifier::new(true);
        let slots = [slot(&living, None), slot(&living, None)];
        let tickets = [Ticket::new(&slots[0]), Ticket::new(&slots[1])];
        let worker = {
            let living = Arc::clone(&living);
            thread::spawn(move || {
                tickets.into_iter().for_each(|ticket| assert_eq!(work(ticket, &living), Verdict::Ran))
            })
        };
        for (number, slot) in (0..).zip(&slots) {
            if slot.listen(Waiter::Listed(Arc::clone(&notifier), number)).is_none() {
                notifier.note(number);
            }
        }
        for expected in 0..2 {
            let number = loop {
                notifier.listen(Waiter::Thread(current()), None);
                match notifier.next_ended() {
                    Some(number) => break number,
                    None => park(None),
                }
            };
            assert_eq!(number, expected);
        }
        notifier.stop_listening();
        worker.join().expect("no panic");
        drop(slots);
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

/// One of several who await a task leaves; the other is woken, and the one that left is not kept.
#[test]
fn one_who_listens_leaves() {
    with_a_worker(3, |slot, _| {
        let notifier = Notifier::new(true);
        let leaves = slot.listen(Waiter::Listed(Arc::clone(&notifier), 7));
        let stays = slot.listen(Waiter::Thread(current()));
        leaves.into_iter().for_each(|place| slot.stop_listening(place));
        while stays.is_some() && !slot.is_finished() {
            park(None);
        }
        assert!(stays.is_none() || is_done(&slot.wait(None, None, false)));
        Some(Verdict::Ran)
    });
}

/// The task is taken out of the queue, and its handle waits for it.
#[test]
fn a_task_that_is_given_back_is_joined() {
    explore(4, || {
        let living = Arc::new(AtomicUsize::new(0));
        let slot = slot(&living, None);
        let ticket = Ticket::new(&slot);
        let taker = thread::spawn(move || {
            assert!(matches!(ticket.recall(SubmitErrorKind::Closed, Cause::Cancelled), Recalled::Here(_)));
        });
        assert!(matches!(slot.wait(None, None, false), Outcome::Done(Err(error)) if error.is_cancelled()));
        taker.join().expect("no panic");
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

/// A running task asks for its token while its handle cancels it: the token hears of it.
#[test]
fn a_token_made_during_the_cancel_is_cancelled() {
    explore(4, || {
        let living = Arc::new(AtomicUsize::new(0));
        let slot = slot(&living, None);
        let (ticket, made) = (Ticket::new(&slot), Arc::new(StdMutex::new(None)));
        let worker = {
            let made = Arc::clone(&made);
            thread::spawn(move || {
                let mut reply = Reply::default();
                let verdict = ticket.run(&mut reply, None, |input, slot| {
                    *made.lock().expect("no panic") = Some(slot.token().clone());
                    input
                });
                drop(reply.send(None));
                verdict
            })
        };
        let was_queued = slot.cancel();
        let verdict = worker.join().expect("no panic");
        let token = made.lock().expect("no panic").take();
        match verdict {
            Verdict::Ran => {
                // It was made before the end, and the cancel may have come after it.
                let ended = matches!(slot.poll(None), Some(Outcome::Done(Ok(_))));
                assert!(!was_queued && ended);
                let token = token.expect("the task has asked for it");
                let has_given_up = slot.is_cancelled();
                assert!(token.is_cancelled() || !has_given_up, "the cancel did not reach the token");
            }
            _ => assert!(was_queued && token.is_none()),
        }
    });
}

/// A task whose token is cancelled as its turn comes: it runs, or it does not and is counted.
#[test]
fn a_token_is_cancelled_as_its_task_starts() {
    explore(3, || {
        let living = Arc::new(AtomicUsize::new(0));
        let token = CancelToken::new();
        let slot = slot(&living, Some(&token));
        let ticket = Ticket::new(&slot);
        let worker = {
            let living = Arc::clone(&living);
            thread::spawn(move || work(ticket, &living))
        };
        token.cancel();
        let outcome = slot.wait(None, None, false);
        match worker.join().expect("no panic") {
            Verdict::Ran => assert!(is_done(&outcome)),
            Verdict::Cancelled => assert!(matches!(&outcome, Outcome::Done(Err(error)) if is_cancelled(error))),
            Verdict::Elsewhere => unreachable!("nobody else has it"),
        }
        drop((slot, outcome));
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

fn is_cancelled(error: &JoinError) -> bool {
    error.is_cancelled()
}

/// Whoever waits for a token, or for one below it, is woken; and sees what the canceller did before.
#[test]
fn a_cancel_wakes_who_waits_below() {
    explore(3, || {
        let root = CancelToken::new();
        let (child, done) = (root.child(), Arc::new(AtomicUsize::new(0)));
        let waiter = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                child.wait();
                assert_eq!(done.load(Ordering::Relaxed), 1);
            })
        };
        done.store(1, Ordering::Relaxed);
        root.cancel();
        waiter.join().expect("no panic");
    });
}

/// The same for a future; one that is dropped leaves nothing in the list.
#[test]
fn a_cancel_wakes_who_awaits_it() {
    explore(3, || {
        let root = CancelToken::new();
        let child = root.child();
        let waiter = thread::spawn(move || {
            let mut dropped = Box::pin(child.cancelled());
            let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            drop(dropped);
            block_on(child.cancelled());
        });
        root.cancel();
        waiter.join().expect("no panic");
    });
}

/// Two cancel a child and its parent, a third looks: the first reason that it saw stays, and the waiter wakes.
#[test]
fn two_cancel_and_one_waits() {
    explore(2, || {
        let root = CancelToken::new();
        let child = root.child();
        let canceller = {
            let child = child.clone();
            thread::spawn(move || child.cancel())
        };
        let waiter = {
            let child = child.clone();
            thread::spawn(move || {
                child.wait();
                child.reason()
            })
        };
        root.cancel();
        let seen = waiter.join().expect("no panic");
        canceller.join().expect("no panic");
        assert!(seen.is_some() && seen == child.reason());
    });
}
