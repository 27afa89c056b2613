//! What becomes of tasks that are given up: dead letters, at a close of the pool too; and tasks with keys.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::tries::{fails, fails_always, on_each_kind};
use crate::support::{Gate, LIMIT, eventually, on_every_dispatch, quiet_panics, within};
use formicary::{
    CancelToken, DeadLetters, Dispatch, GaveUp, OnDrop, Pool, PoolWithFunc, Retry, RetryError, SubmitError,
    SubmitErrorKind, Task,
};

/// No test lasts as long as this.
const HOUR: Duration = Duration::from_secs(3600);

fn at_once<E>() -> Retry<E> {
    Retry::fixed(Duration::ZERO)
}

fn assert_conserved<X: Send + 'static>(letters: &DeadLetters<X>) {
    let stats = letters.stats();
    assert_eq!(stats.received, letters.len() as u64 + stats.taken + stats.handled + stats.dropped, "{stats:?}");
}

/// A close ends the delays at once, on the thread that closes, and each task is a dead letter.
#[test]
fn a_close_sends_what_is_delayed_to_the_letters() {
    fn check<D: Dispatch>() {
        macro_rules! check_end {
            ($pool:expr, $control:expr, $make:expr, $end:expr) => {
                let letters = DeadLetters::queue(9);
                let retrying = $pool.retrying(Retry::fixed(HOUR)).dead_letters(&letters).name("late");
                let handles: Vec<_> = (0..3).map(|_| retrying.spawn($make(fails_always())).unwrap()).collect();
                eventually("all wait", || retrying.stats().waiting == 3);
                #[allow(clippy::redundant_closure_call)]
                ($end)(&$control);
                assert_eq!(letters.len(), 3);
                for handle in handles {
                    assert!(handle.is_finished());
                    let error = handle.join().unwrap().unwrap_err();
                    assert_eq!((error.reason(), error.attempts()), (GaveUp::Closed, 1));
                    assert_eq!(error.error().map(String::as_str), Some("failure 0"));
                }
                for letter in letters.take_all() {
                    assert_eq!((letter.reason(), letter.attempts(), letter.name()), (GaveUp::Closed, 1, Some("late")));
                    assert_eq!(letter.error(), "failure 0");
                    // It is the task itself.
                    assert!(retrying.submit(letter.into_task()).unwrap_err().is_closed());
                }
                let stats = retrying.stats();
                assert_eq!((stats.submitted, stats.failed, stats.waiting), (3, 3, 0));
                assert_conserved(&letters);
            };
        }
        macro_rules! shutdown {
            ($pool:expr, $control:expr, $make:expr) => {
                check_end!($pool, $control, $make, |pool: &formicary::PoolControl<_>| {
                    pool.shutdown();
                });
            };
        }
        macro_rules! shutdown_now {
            ($pool:expr, $control:expr, $make:expr) => {
                check_end!($pool, $control, $make, |pool: &formicary::PoolControl<_>| assert!(
                    pool.shutdown_now().is_empty()
                ));
            };
        }
        macro_rules! detach {
            ($pool:expr, $control:expr, $make:expr) => {
                check_end!($pool, $control, $make, |pool: &formicary::PoolControl<_>| pool.detach());
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, shutdown);
        on_each_kind!(D, workers: 1, queue: 10, shutdown_now);
        on_each_kind!(D, workers: 1, queue: 10, detach);
        for on_drop in [OnDrop::Drain, OnDrop::Cancel, OnDrop::Detach] {
            let pool = Pool::builder().workers(1).on_drop(on_drop).dispatch::<D>().build().unwrap();
            let letters = DeadLetters::queue(1);
            let retrying = pool.retrying(Retry::fixed(HOUR)).dead_letters(&letters);
            let handle = retrying.spawn(|| Err::<(), _>("no")).unwrap();
            eventually("it waits", || retrying.stats().waiting == 1);
            drop(pool);
            assert_eq!((letters.len(), handle.is_finished()), (1, true));
        }
    }
    on_every_dispatch!(check);
}

/// A task that fails while the pool ends has no further attempt.
#[test]
fn what_fails_during_a_shutdown_goes_to_the_letters() {
    fn check<D: Dispatch>() {
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let letters = DeadLetters::queue(9);
                let gate = Gate::new();
                let waits = gate.clone();
                let task: Try = Arc::new(move || {
                    waits.wait();
                    Err("late".to_owned())
                });
                let retrying = $pool.retrying(at_once()).dead_letters(&letters);
                let handle = retrying.spawn($make(task)).unwrap();
                gate.await_arrivals(1);
                assert!(!$control.shutdown_timeout(Duration::ZERO).is_complete());
                gate.open();
                assert_eq!(handle.join().unwrap().unwrap_err().reason(), GaveUp::Closed);
                $control.shutdown();
                assert_eq!((letters.len(), gate.arrived()), (1, 1));
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// An attempt that a shutdown gives back is its caller's, and nobody else's.
#[test]
fn an_attempt_that_is_given_back_is_no_letter() {
    fn check<D: Dispatch>() {
        let pool = Pool::builder().workers(1).dispatch::<D>().build().unwrap();
        let letters = DeadLetters::queue(9);
        let retrying = pool.retrying(at_once::<String>()).dead_letters(&letters);
        let pause = pool.pause();
        let runs = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&runs);
        let handle = retrying.spawn(move || Ok(counts.fetch_add(1, SeqCst))).unwrap();
        let returned = pool.shutdown_now();
        drop(pause);
        assert_eq!(handle.join().unwrap().unwrap_err().reason(), GaveUp::Cancelled);
        assert_eq!((returned.len(), letters.stats().received, retrying.stats().cancelled), (1, 0, 1));
        assert_eq!((runs.load(SeqCst), Arc::strong_count(&runs)), (0, 2));
        returned.into_iter().for_each(Task::run);
        assert_eq!((runs.load(SeqCst), Arc::strong_count(&runs)), (1, 1));
    }
    on_every_dispatch!(check);
}

/// A view that is gone refuses the next attempt.
#[test]
fn a_view_may_be_dropped_during_a_delay() {
    fn check<D: Dispatch>() {
        let pool = Pool::builder().workers(1).dispatch::<D>().build().unwrap();
        let view = pool.limited(1);
        let letters = DeadLetters::queue(9);
        let gate = Gate::new();
        let waits = gate.clone();
        let retrying = view.retrying(Retry::fixed(Duration::from_millis(1))).dead_letters(&letters);
        let task = move || -> Result<(), _> {
            waits.wait();
            Err("no")
        };
        let handle = retrying.spawn(task.clone()).unwrap();
        gate.await_arrivals(1);
        drop(view);
        gate.open();
        assert_eq!(handle.join().unwrap().unwrap_err().reason(), GaveUp::Closed);
        assert_eq!(letters.len(), 1);
        assert!(retrying.submit(task).unwrap_err().is_closed());
        pool.wait_idle();
        assert_eq!(pool.run(|| 7).unwrap(), 7);
    }
    on_every_dispatch!(check);
}

/// Fills letters with the given inputs.
fn bury(
    letters: &DeadLetters<u8>,
    inputs: impl IntoIterator<Item = u8>,
) -> PoolWithFunc<u8, formicary::Stack, Result<(), String>> {
    let pool = PoolWithFunc::new(1, |n: u8| Err::<(), _>(format!("no {n}"))).unwrap();
    let retrying = pool.retrying(Retry::none()).dead_letters(letters);
    inputs.into_iter().for_each(|n| drop(retrying.run(n).unwrap().unwrap_err()));
    pool
}

fn inputs(letters: &DeadLetters<u8>) -> Vec<u8> {
    letters.take_all().into_iter().map(|letter| letter.into_task()).collect()
}

#[test]
fn a_full_queue_drops_the_oldest_or_asks_the_handler() {
    let letters = DeadLetters::queue(2);
    bury(&letters, 1..=5);
    assert_eq!(letters.stats().dropped, 3);
    assert_conserved(&letters);
    assert_eq!(inputs(&letters), [4, 5]);

    let handled = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&handled);
    let letters = DeadLetters::queue_and_handler(2, move |letter| {
        notes.lock().push(letter.error().to_owned());
        assert!(letter.into_task() != 4, "a test's panic");
    });
    quiet_panics();
    bury(&letters, 1..=5);
    assert_eq!(*handled.lock(), ["no 3", "no 4", "no 5"]);
    let stats = letters.stats();
    assert_eq!((stats.handled, stats.dropped, stats.handler_panics), (3, 0, 1));
    assert_conserved(&letters);
    assert_eq!(inputs(&letters), [1, 2]);
    assert_conserved(&letters);
}

/// A handler may use the letters.
#[test]
fn a_handler_is_called_without_a_lock() {
    let of_handler = Arc::new(Mutex::new(None::<DeadLetters<u8>>));
    let inner = Arc::clone(&of_handler);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&taken);
    let letters = DeadLetters::queue_and_handler(1, move |letter| {
        let letters = inner.lock().clone().unwrap();
        notes.lock().extend(letters.take().map(|oldest| (oldest.into_task(), letters.len())));
        drop(letter);
    });
    *of_handler.lock() = Some(letters.clone());
    let buried = letters.clone();
    within(LIMIT, "the handler", move || drop(bury(&buried, 1..=2)));
    assert_eq!(*taken.lock(), [(1, 0)]);
    assert_conserved(&letters);
    *of_handler.lock() = None;
}

#[test]
fn a_replay_stops_at_a_refusal_and_puts_the_task_back() {
    let letters = DeadLetters::queue(9);
    bury(&letters, 1..=4);
    // The process of submitting again is refused: the pool holds two.
    let pool = PoolWithFunc::builder(|n: u8| n).workers(1).queue(1).build().unwrap();
    let pause = pool.pause();
    let replayed = letters.replay(|n| pool.try_submit(n));
    assert_eq!((replayed.accepted, replayed.refused), (2, Some(SubmitErrorKind::Full)));
    assert_eq!(letters.len(), 2);
    // It is the first of the two again.
    let mut next = None;
    _ = letters.replay_one(|n| {
        next = Some(n);
        pool.try_submit(n)
    });
    assert_eq!(next, Some(3));
    assert_conserved(&letters);
    let replayed = letters.replay_one(|n| pool.try_submit(n));
    assert_eq!((replayed.accepted, replayed.refused), (0, Some(SubmitErrorKind::Full)));
    drop(pause);
    pool.wait_idle();
    let replayed = letters.replay_one(|n| pool.submit(n));
    assert_eq!((replayed.accepted, replayed.refused), (1, None));
    let letter = letters.take().unwrap();
    assert_eq!((letter.attempts(), letter.error()), (1, "no 4"));
    assert_eq!(letter.into_task(), 4);
    assert_eq!(letters.stats().taken, 4);
    pool.wait_idle();
    assert_eq!(pool.stats().completed, 3);
    pool.shutdown();
    bury(&letters, [5]);
    assert_eq!(letters.replay(|n| pool.submit(n)).refused, Some(SubmitErrorKind::Closed));
    assert_eq!(inputs(&letters), [5]);
}

/// A letter that goes back into a queue that was filled meanwhile leaves it as the oldest does.
#[test]
fn a_replay_into_a_queue_that_has_become_full() {
    let letters = DeadLetters::queue(1);
    let again = letters.clone();
    let pool = bury(&letters, [1]);
    let retrying = pool.retrying(Retry::none()).dead_letters(&letters);
    let replayed = letters.replay(|n| {
        retrying.run(2).unwrap().unwrap_err();
        pool.shutdown();
        pool.submit(n)
    });
    assert_eq!(replayed.refused, Some(SubmitErrorKind::Closed));
    assert_eq!(again.stats().dropped, 1);
    assert_conserved(&letters);
    assert_eq!(inputs(&letters), [2]);
}

/// A task that fails again while it is replayed is not replayed for ever.
#[test]
fn a_replay_ends() {
    let letters = DeadLetters::queue(9);
    let pool = bury(&letters, 1..=3);
    let retrying = pool.retrying(Retry::none()).dead_letters(&letters);
    let replayed = letters.replay(|n| {
        retrying.run(n).map(drop).map_err(|error| match error {
            formicary::CallError::Refused(refusal) => refusal,
            formicary::CallError::Failed(error) => panic!("{error}"),
        })
    });
    assert_eq!((replayed.accepted, letters.len()), (3, 3));
    // Boxes make one type of several closures, and a closure that panicked is in its letter.
    quiet_panics();
    type Boxed = Box<dyn FnMut() -> Result<(), &'static str> + Send>;
    let (pool, letters) = (Pool::new(1).unwrap(), DeadLetters::<Boxed>::queue(9));
    let retrying = pool.retrying(Retry::none()).dead_letters(&letters);
    let mut is_first = true;
    let panics_once = move || if std::mem::take(&mut is_first) { panic_any("a test's panic") } else { Ok(()) };
    retrying.run(Box::new(panics_once) as Boxed).unwrap().unwrap_err();
    retrying.run(Box::new(|| Err("no")) as Boxed).unwrap().unwrap_err();
    assert_eq!(letters.replay(|task| retrying.submit(task)).accepted, 2);
    pool.wait_idle();
    eventually("one fails again", || retrying.stats().failed == 3);
    assert_eq!((letters.len(), retrying.stats().succeeded), (1, 1));
}

/// The same key is not run twice at a time, and costs nothing when it is idle.
#[test]
fn a_key_is_run_once_at_a_time() {
    fn check<D: Dispatch>() {
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let once = $pool.retrying(at_once()).once_per_key();
                let gate = Gate::new();
                let running = Arc::new(AtomicUsize::new(0));
                let task = || -> Try {
                    let (gate, running, runs) = (gate.clone(), Arc::clone(&running), AtomicUsize::new(0));
                    Arc::new(move || {
                        assert_eq!(running.fetch_add(1, SeqCst), 0);
                        gate.wait();
                        running.fetch_sub(1, SeqCst);
                        // Each fails once, so that a key is held through a retry.
                        if runs.fetch_add(1, SeqCst) == 0 { Err("again".to_owned()) } else { Ok(1) }
                    })
                };
                let first = once.spawn("a", $make(task())).unwrap();
                gate.await_arrivals(1);
                let joined: Vec<_> = (0..5).map(|_| once.try_spawn("a", $make(task())).unwrap()).collect();
                let other = once.spawn("b", $make(fails(0))).unwrap();
                assert_eq!(other.join().unwrap().as_ref().unwrap(), &1);
                assert_eq!(once.unfinished(), 1);
                gate.open();
                for handle in joined.iter().chain([&first]) {
                    assert_eq!(handle.join().unwrap().as_ref().unwrap(), &1);
                    assert_eq!(once.unfinished(), 0);
                }
                assert_eq!(gate.arrived(), 2);
                // It is run again when it is free.
                assert_eq!(once.spawn("a", $make(fails(1))).unwrap().join().unwrap().as_ref().unwrap(), &2);
                assert_eq!(once.unfinished(), 0);
            };
        }
        on_each_kind!(D, workers: 2, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// However it ends, a key is free afterwards.
#[test]
fn a_key_is_free_after_every_end() {
    quiet_panics();
    let token = CancelToken::new();
    let pool = Pool::builder().workers(1).queue(0).build().unwrap();
    let once = pool.retrying(Retry::fixed(HOUR).when(|error: &&str| *error == "wait")).token(&token).once_per_key();
    type Outcome = Result<u8, &'static str>;
    let is_free = || eventually("the key is free", || once.unfinished() == 0);
    for task in [|| Ok(7), || Err("no"), || -> Outcome { panic_any("a test's panic") }] {
        _ = once.spawn("a", task).unwrap().join().unwrap();
        is_free();
    }
    // Refused: the second submitter may have joined the first meanwhile.
    let pause = pool.pause();
    let keeps = pool.spawn(|| ()).unwrap();
    let refusal: SubmitError<_> = once.try_spawn("a", || Ok(7)).unwrap_err();
    assert!(refusal.is_full() && once.unfinished() == 0);
    let waits = once.clone();
    let submitter = thread::spawn(move || waits.spawn("a", || Ok(7)).map(drop).map_err(|refusal| refusal.kind()));
    eventually("the first waits for room", || pool.waiting() == 1);
    let joined = once.try_spawn("a", || Ok(8)).unwrap();
    token.cancel();
    assert_eq!(submitter.join().unwrap(), Err(SubmitErrorKind::Cancelled));
    assert!(joined.join().unwrap_err().is_cancelled());
    is_free();
    drop(pause);
    keeps.join().unwrap();
    // Cancelled during a delay, by any of the handles.
    let once = pool.retrying(Retry::fixed(HOUR)).once_per_key();
    let [first, second] = [(); 2].map(|()| once.spawn("a", || Err::<u8, _>("wait")).unwrap());
    eventually("it runs", || pool.stats().completed >= 3);
    first.cancel();
    let error: &RetryError<&str> = second.join().unwrap().as_ref().unwrap_err();
    assert_eq!(error.reason(), GaveUp::Cancelled);
    assert_eq!(once.unfinished(), 0);
}
