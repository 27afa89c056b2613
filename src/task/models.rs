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
use crate::task::state::{
    AwaitedEnd, Cancellable, Completion, Outcome, Retracted, RunOutcome, TaskMeta, TaskRef, TaskState,
};

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

type MarkedSlot = TaskState<Marked, Marked>;

fn task_state(living: &Arc<AtomicUsize>, token: Option<&CancelToken>) -> Arc<MarkedSlot> {
    let meta = TaskMeta { token: token.cloned(), ..TaskMeta::of_no_pool() };
    TaskState::new(Marked::new(living), meta)
}

/// The worker's way with a ticket: run, account, answer.
fn work(task_ref: TaskRef<Marked, Marked>, living: &Arc<AtomicUsize>) -> RunOutcome {
    let mut completion = Completion::default();
    let outcome = task_ref.run(&mut completion, None, |input, _| {
        drop(input);
        Marked::new(living)
    });
    drop(completion.send(None));
    outcome
}

/// A worker beside `waiter`; all that was made is dropped in the end. Says what the worker did.
fn with_a_worker(
    preemptions: usize,
    waiter: impl Fn(Arc<MarkedSlot>, Arc<AtomicUsize>) -> Option<RunOutcome> + Sync + Send + 'static,
) {
    explore(preemptions, move || {
        let living = Arc::new(AtomicUsize::new(0));
        let task_state = task_state(&living, None);
        let task_ref = TaskRef::new(&task_state);
        let worker = {
            let living = Arc::clone(&living);
            thread::spawn(move || work(task_ref, &living))
        };
        let expected = waiter(Arc::clone(&task_state), Arc::clone(&living));
        let outcome = worker.join().expect("no panic");
        if let Some(expected) = expected {
            assert_eq!(outcome, expected);
        }
        drop(task_state);
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

fn is_done(outcome: &Outcome<Marked, Marked>) -> bool {
    matches!(outcome, Outcome::Done(Ok(_)))
}

#[test]
fn a_result_is_joined() {
    with_a_worker(4, |task_state, _| {
        assert!(is_done(&task_state.wait(None, None, false)));
        assert!(matches!(task_state.poll(None), Some(Outcome::Done(Err(_)))), "taken");
        Some(RunOutcome::Ran)
    });
}

#[test]
fn a_result_that_nobody_wants_is_dropped_once() {
    with_a_worker(4, |task_state, _| {
        task_state.detach();
        Some(RunOutcome::Ran)
    });
}

/// As a timed wait ends: polled, left, asked again, let go of.
#[test]
fn a_result_is_asked_for_and_let_go_of() {
    with_a_worker(4, |task_state, _| {
        let waiter = Waiter::Thread(current());
        let found = task_state.poll(Some(waiter.clone())).or_else(|| task_state.poll(Some(waiter)));
        assert!(found.as_ref().is_none_or(is_done));
        task_state.detach();
        Some(RunOutcome::Ran)
    });
}

/// A call gives up: the input comes back, or the output does, or the worker drops it.
#[test]
fn a_caller_gives_up_while_its_task_ends() {
    with_a_worker(4, |task_state, _| match task_state.give_up(SubmitErrorKind::TimedOut) {
        Outcome::Returned(refusal) if refusal.is_timed_out() => Some(RunOutcome::Cancelled),
        Outcome::TimedOut => Some(RunOutcome::Ran),
        done => {
            assert!(is_done(&done));
            Some(RunOutcome::Ran)
        }
    });
}

/// Cancelled while it starts, runs, or ends; joined after that.
#[test]
fn a_task_is_cancelled_by_its_handle() {
    with_a_worker(4, |task_state, _| {
        let was_queued = task_state.cancel();
        match task_state.wait(None, None, false) {
            Outcome::Done(Ok(_)) => assert!(!was_queued),
            Outcome::Done(Err(error)) => assert!(was_queued && error.is_cancelled()),
            _ => unreachable!("a wait without an end"),
        }
        Some(if was_queued { RunOutcome::Cancelled } else { RunOutcome::Ran })
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
    with_a_worker(3, |task_state, _| {
        let mut awaits = Awaits(task_state);
        match Pin::new(&mut awaits).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(is_done) => assert!(is_done),
            Poll::Pending => assert!(block_on(awaits)),
        }
        Some(RunOutcome::Ran)
    });
}

/// Two wait for the end of one task, and one of them cancels it.
#[test]
fn several_wait_for_one_end() {
    with_a_worker(2, |task_state, _| {
        let other = {
            let task_state = Arc::clone(&task_state);
            thread::spawn(move || assert!(matches!(task_state.await_end(None, None, false, false), AwaitedEnd::Over)))
        };
        assert!(matches!(task_state.await_end(None, None, false, false), AwaitedEnd::Over));
        other.join().expect("no panic");
        assert!(is_done(&task_state.poll(None).expect("it is over")));
        Some(RunOutcome::Ran)
    });
}

/// One waits for whichever of two tasks ends first, and then for the other.
#[test]
fn one_waits_for_any_of_two_ends() {
    explore(3, || {
        let living = Arc::new(AtomicUsize::new(0));
        let notifier = Notifier::new(true);
        let slots = [task_state(&living, None), task_state(&living, None)];
        let tickets = [TaskRef::new(&slots[0]), TaskRef::new(&slots[1])];
        let worker = {
            let living = Arc::clone(&living);
            thread::spawn(move || {
                tickets.into_iter().for_each(|task_ref| assert_eq!(work(task_ref, &living), RunOutcome::Ran))
            })
        };
        for (number, task_state) in (0..).zip(&slots) {
            if task_state.listen(Waiter::Listed(Arc::clone(&notifier), number)).is_none() {
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
    with_a_worker(3, |task_state, _| {
        let notifier = Notifier::new(true);
        let leaves = task_state.listen(Waiter::Listed(Arc::clone(&notifier), 7));
        let stays = task_state.listen(Waiter::Thread(current()));
        leaves.into_iter().for_each(|place| task_state.stop_listening(place));
        while stays.is_some() && !task_state.is_finished() {
            park(None);
        }
        assert!(stays.is_none() || is_done(&task_state.wait(None, None, false)));
        Some(RunOutcome::Ran)
    });
}

/// The task is taken out of the queue, and its handle waits for it.
#[test]
fn a_task_that_is_given_back_is_joined() {
    explore(4, || {
        let living = Arc::new(AtomicUsize::new(0));
        let task_state = task_state(&living, None);
        let task_ref = TaskRef::new(&task_state);
        let taker = thread::spawn(move || {
            assert!(matches!(task_ref.retract(SubmitErrorKind::Closed, Cause::Cancelled), Retracted::Here(_)));
        });
        assert!(matches!(task_state.wait(None, None, false), Outcome::Done(Err(error)) if error.is_cancelled()));
        taker.join().expect("no panic");
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

/// A running task asks for its token while its handle cancels it: the token hears of it.
#[test]
fn a_token_made_during_the_cancel_is_cancelled() {
    explore(4, || {
        let living = Arc::new(AtomicUsize::new(0));
        let task_state = task_state(&living, None);
        let (task_ref, made) = (TaskRef::new(&task_state), Arc::new(StdMutex::new(None)));
        let worker = {
            let made = Arc::clone(&made);
            thread::spawn(move || {
                let mut completion = Completion::default();
                let outcome = task_ref.run(&mut completion, None, |input, task_state| {
                    *made.lock().expect("no panic") = Some(task_state.token().clone());
                    input
                });
                drop(completion.send(None));
                outcome
            })
        };
        let was_queued = task_state.cancel();
        let outcome = worker.join().expect("no panic");
        let token = made.lock().expect("no panic").take();
        match outcome {
            RunOutcome::Ran => {
                // It was made before the end, and the cancel may have come after it.
                let ended = matches!(task_state.poll(None), Some(Outcome::Done(Ok(_))));
                assert!(!was_queued && ended);
                let token = token.expect("the task has asked for it");
                let has_given_up = task_state.is_cancelled();
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
        let task_state = task_state(&living, Some(&token));
        let task_ref = TaskRef::new(&task_state);
        let worker = {
            let living = Arc::clone(&living);
            thread::spawn(move || work(task_ref, &living))
        };
        token.cancel();
        let outcome = task_state.wait(None, None, false);
        match worker.join().expect("no panic") {
            RunOutcome::Ran => assert!(is_done(&outcome)),
            RunOutcome::Cancelled => assert!(matches!(&outcome, Outcome::Done(Err(error)) if is_cancelled(error))),
            RunOutcome::Elsewhere => unreachable!("nobody else has it"),
        }
        drop((task_state, outcome));
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
