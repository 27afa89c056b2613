//! loom models of a task's state, and of waiting for tokens.
//!
//! Run by `ci/loom.sh`. A lost wake-up is a deadlock, which loom reports. A value that is dropped twice or not at all fails an assertion.

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

/// Counts how many instances are alive.
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

type MarkedState = TaskState<Marked, Marked>;

fn task_state(living: &Arc<AtomicUsize>, token: Option<&CancelToken>) -> Arc<MarkedState> {
    let meta = TaskMeta { token: token.cloned(), ..TaskMeta::of_no_pool() };
    TaskState::new(Marked::new(living), meta)
}

/// What a worker does with a queue entry: run, count, announce.
fn work(task_ref: TaskRef<Marked, Marked>, living: &Arc<AtomicUsize>) -> RunOutcome {
    let mut completion = Completion::default();
    let outcome = task_ref.run(&mut completion, None, |input, _| {
        drop(input);
        Marked::new(living)
    });
    drop(completion.send(None));
    outcome
}

/// Runs a worker beside `waiter`, and checks that all values are dropped in the end and that the worker did what `waiter` expects.
fn with_a_worker(
    preemptions: usize,
    waiter: impl Fn(Arc<MarkedState>, Arc<AtomicUsize>) -> Option<RunOutcome> + Sync + Send + 'static,
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
fn an_unwanted_result_is_dropped_once() {
    with_a_worker(4, |task_state, _| {
        task_state.detach();
        Some(RunOutcome::Ran)
    });
}

/// Polls twice with a waiter and then detaches, as a wait with a deadline does.
#[test]
fn a_result_is_polled_and_detached() {
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

/// A task is cancelled while it starts, runs, or ends, and joined after that.
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

/// A first poll leaves a waker; the result wakes that of the last poll.
#[test]
fn the_waker_of_the_last_poll_is_woken() {
    struct Awaits(Arc<MarkedState>);
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

/// Two threads wait for the end of one task.
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

/// A thread waits for whichever of two tasks ends first, and then for the other.
#[test]
fn one_waits_for_any_of_two_ends() {
    explore(3, || {
        let living = Arc::new(AtomicUsize::new(0));
        let notifier = Notifier::new(true);
        let task_states = [task_state(&living, None), task_state(&living, None)];
        let task_refs = [TaskRef::new(&task_states[0]), TaskRef::new(&task_states[1])];
        let worker = {
            let living = Arc::clone(&living);
            thread::spawn(move || {
                task_refs.into_iter().for_each(|task_ref| assert_eq!(work(task_ref, &living), RunOutcome::Ran))
            })
        };
        for (number, task_state) in (0..).zip(&task_states) {
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
        drop(task_states);
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

/// One of several waiters of a task leaves. The other one is woken, and the one that left is not kept.
#[test]
fn a_waiter_leaves() {
    with_a_worker(3, |task_state, _| {
        let notifier = Notifier::new(true);
        let leaves = task_state.listen(Waiter::Listed(Arc::clone(&notifier), 7));
        let stays = task_state.listen(Waiter::Thread(current()));
        leaves.into_iter().for_each(|entry| task_state.stop_listening(entry));
        while stays.is_some() && !task_state.is_finished() {
            park(None);
        }
        assert!(stays.is_none() || is_done(&task_state.wait(None, None, false)));
        Some(RunOutcome::Ran)
    });
}

/// A task is taken back from the queue while its handle waits for it.
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

/// A running task asks for its token while its handle cancels it: the token is cancelled.
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
                // The token was made before the end, and the cancel may have come after it.
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

/// A token is cancelled as its task starts: the task runs, or it does not and is counted as cancelled.
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
            RunOutcome::Elsewhere | RunOutcome::CancelledBefore => unreachable!("no other thread takes it"),
            RunOutcome::Dropped => unreachable!("it may wait for any time"),
        }
        drop((task_state, outcome));
        assert_eq!(living.load(Ordering::SeqCst), 0);
    });
}

fn is_cancelled(error: &JoinError) -> bool {
    error.is_cancelled()
}

/// A cancel wakes a thread that waits for the token, or for one below it, and that thread sees what the canceller did before.
#[test]
fn a_cancel_wakes_a_waiter_below() {
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

/// The same for a future. A dropped future leaves nothing in the list.
#[test]
fn a_cancel_wakes_a_future() {
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

/// Two threads cancel a child and its parent while a third waits: the first reason that it sees stays, and it wakes.
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
