//! Races: the first success wins.

use std::sync::Arc;
use std::thread;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::races::quiet_panic;
use crate::support::{Count, Gate, eventually, on_every_dispatch};
use formicary::{CancelToken, Dispatch, Pool, SubmitErrorKind, TaskFailure};

type Entrant = Box<dyn FnOnce(&CancelToken) -> Result<usize, usize> + Send>;

fn entrant(f: impl FnOnce(&CancelToken) -> Result<usize, usize> + Send + 'static) -> Entrant {
    Box::new(f)
}

/// Reports that it runs, waits until it is cancelled, and reports that it has seen that.
fn heeds(running: &Gate, seen: &Gate) -> Entrant {
    let (running, seen) = (running.clone(), seen.clone());
    entrant(move |token| {
        running.wait();
        token.wait();
        seen.wait();
        Err(0)
    })
}

/// The winner wins; running entrants are cancelled and not waited for; queued ones never run and hold nothing.
fn first_success<D: Dispatch>() {
    let pool = pool::<D>(3, 10);
    let (running, seen, witness) = (Gate::new(), Gate::new(), Arc::new(()));
    running.open();
    let all = running.clone();
    let wins = entrant(move |_| {
        all.await_arrivals(2);
        Ok(7)
    });
    let held = Arc::clone(&witness);
    let never = entrant(move |_| {
        drop(held);
        unreachable!("it was cancelled")
    });
    let occupied = [heeds(&running, &seen), heeds(&running, &seen), wins, never];
    assert_eq!(pool.race(occupied).unwrap(), 7);
    // Both still run, without a waiter.
    eventually("a worker may be dropping it", || Arc::strong_count(&witness) == 1);
    seen.await_arrivals(2);
    assert_eq!(pool.stats().completed, 1);
    seen.open();
    assert_quiet(&pool);
}

#[test]
fn the_first_success_wins_and_the_others_are_cancelled() {
    on_every_dispatch!(first_success);
}

fn all_fail<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let gate = Gate::new();
    let (late, first) = (gate.clone(), gate.clone());
    let failures = pool.race([
        entrant(move |_| {
            late.wait();
            Err(1)
        }),
        entrant(move |_| {
            first.open();
            Err(2)
        }),
        entrant(|_| {
            quiet_panic();
            Err(3)
        }),
        entrant(|_| Err(4)),
    ]);
    let failures = failures.unwrap_err();
    assert!(failures[2].is_panic());
    let errors: Vec<_> = failures.into_iter().map(TaskFailure::into_error).collect();
    assert_eq!(errors, [Some(1), Some(2), None, Some(4)]);
    assert!(pool.race(Vec::<Entrant>::new()).unwrap_err().is_empty());
    // One that cancels the race ends it, for itself as well; a success counts all the same.
    let cancels = |result| {
        entrant(move |token: &CancelToken| {
            token.cancel();
            result
        })
    };
    assert!(!pool.race([cancels(Err(1))]).unwrap_err().is_empty());
    assert_eq!(pool.race([cancels(Ok(1))]).unwrap(), 1);
    assert_quiet(&pool);
}

#[test]
fn the_failures_come_in_the_order_of_the_closures() {
    on_every_dispatch!(all_fail);
}

/// A success ends the wait for room, and nothing more is pulled.
fn while_submitting<D: Dispatch>() {
    let pool = pool::<D>(2, 0);
    let (gate, pulled) = (occupy(&pool), Count::new());
    let go = Gate::new();
    thread::scope(|scope| {
        let (at, pulls) = (go.clone(), pulled.clone());
        let racing = scope.spawn(|| {
            pool.race((0..).map(move |n| {
                pulls.up();
                let at = at.clone();
                entrant(move |_| {
                    at.wait();
                    Ok(n)
                })
            }))
        });
        // The first runs, and the second waits for room.
        crate::support::await_waiting(&*pool, 1);
        go.open();
        assert_eq!(racing.join().unwrap().unwrap(), 0);
    });
    assert_eq!(pulled.get(), 2);
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn a_success_ends_the_wait_for_room() {
    on_every_dispatch!(while_submitting);
}

fn refused<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(0).nonblocking(true).dispatch::<D>().build().unwrap();
    let gate = Gate::new();
    let held = gate.clone();
    let opens = std::iter::once_with(move || {
        entrant(move |_| {
            held.wait();
            Err(1)
        })
    });
    let rest = (0..2).map(|_| entrant(|_| Ok(2)));
    let failures = std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            crate::support::eventually("both are refused", || pool.stats().rejected == 2);
            gate.open();
        });
        let failures = pool.race(opens.chain(rest)).unwrap_err();
        opener.join().unwrap();
        failures
    });
    assert!(matches!(failures[1], TaskFailure::Refused(SubmitErrorKind::Full)), "{failures:?}");
    pool.shutdown();
    let failures = pool.race([entrant(|_| Ok(1)), entrant(|_| Ok(2))]).unwrap_err();
    assert!(failures.iter().all(|f| matches!(f, TaskFailure::Refused(SubmitErrorKind::Closed)) && f.is_cancelled()));
    let failure = failures.into_iter().next().unwrap().map_error();
    assert_eq!(crate::support::chain(&failure), ["the task was refused", &SubmitErrorKind::Closed.to_string()]);
}

/// The same failure with an error that is one.
trait MapError {
    fn map_error(self) -> TaskFailure<std::io::Error>;
}

impl MapError for TaskFailure<usize> {
    fn map_error(self) -> TaskFailure<std::io::Error> {
        match self {
            TaskFailure::Refused(kind) => TaskFailure::Refused(kind),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_refusal_is_a_failure() {
    on_every_dispatch!(refused);
}

/// On a pool's only worker the race runs right there, and the entrants behind the winner do not run.
fn inside<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let (own, ran) = (Arc::clone(&pool), Count::new());
    let runs = ran.clone();
    let won = pool.run(move || {
        let entrants = (0..5).map(move |n| {
            let runs = runs.clone();
            entrant(move |_| {
                runs.up();
                if n < 2 { Err(n) } else { Ok(n) }
            })
        });
        own.race(entrants).map_err(|failures| failures.len())
    });
    assert_eq!((won.unwrap(), ran.get()), (Ok(2), 3));
    assert_quiet(&pool);
}

#[test]
fn a_worker_races_on_the_spot() {
    on_every_dispatch!(inside);
}

/// An iterator that panics leaves nothing behind.
fn panicking_input<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let gate = occupy(&pool);
    let ran = Count::new();
    let runs = ran.clone();
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let input = (0..3).map(|n| {
            if n == 2 {
                quiet_panic();
            }
            let runs = runs.clone();
            entrant(move |_| Ok(runs.up()))
        });
        pool.race(input)
    }));
    assert!(panics.is_err());
    gate.open();
    assert_quiet(&pool);
    assert_eq!(ran.get(), 0);
}

#[test]
fn an_input_that_panics_cancels_the_race() {
    on_every_dispatch!(panicking_input);
}

/// However the entrants' ends fall, there is one value, and nothing is lost.
fn simultaneous_successes<D: Dispatch>() {
    let pool = pool::<D>(3, 10);
    let living = Arc::new(());
    for _ in 0..300 {
        let entrants = (0..4).map(|n| {
            let living = Arc::clone(&living);
            move |_: &CancelToken| if n == 0 { Err(living) } else { Ok(living) }
        });
        assert!(pool.race(entrants).is_ok());
    }
    assert_quiet(&pool);
    assert_eq!(Arc::strong_count(&living), 1);
}

#[test]
fn simultaneous_successes_have_one_winner() {
    on_every_dispatch!(simultaneous_successes);
}
