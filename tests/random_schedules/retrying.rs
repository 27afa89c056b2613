//! Retries while the pool is paused, cancelled and shut down.
//!
//! The delays are zero, since no thread of the timer runs here: a delay is registered for the close and the cancel, and over at once.

use std::sync::Arc;
use std::time::Duration;

use formicary::{CancelToken, DeadLetters, Dispatch, GaveUp, Pool, Retry, Ring, Sharded, Stack, SubmitErrorKind, Task};
use shuttle::thread;

use crate::explore::{draw, explore, stumble};
use crate::handles::{on_each_dispatch, pool};

/// Each accepted task ends in one way: it succeeds, is a letter, or is cancelled. Nothing that it has captured is left.
fn every_retried_task_ends_once<D: Dispatch>() {
    let (pool, captured) = (pool::<D>(1 + draw(2), draw(3)), Arc::new(()));
    let (letters, token) = (DeadLetters::queue(9), CancelToken::new());
    let retrying = pool.retrying(Retry::fixed(Duration::ZERO).attempts(3)).dead_letters(&letters).token(&token);
    let spawn_two = {
        let (retrying, captured) = (retrying.clone(), Arc::clone(&captured));
        move || {
            let spawn = |failures: usize| {
                let (captured, mut left) = (Arc::clone(&captured), failures);
                retrying.spawn(move || match left {
                    0 => Ok(failures),
                    _ => {
                        left -= 1;
                        Err(Arc::strong_count(&captured))
                    }
                })
            };
            // The last of these is more than there are attempts.
            let handles = [draw(4), draw(4)].map(|failures| (failures, spawn(failures)));
            let mut ends = [0; 3];
            for (failures, handle) in handles {
                match handle {
                    Ok(handle) => match handle.join().unwrap() {
                        Ok(value) => {
                            assert!(value == failures && failures < 3);
                            ends[0] += 1;
                        }
                        Err(error) if error.reason() == GaveUp::Cancelled => ends[1] += 1,
                        Err(error) => {
                            let is_over = error.reason() == GaveUp::Exhausted;
                            assert!(if is_over { error.attempts() == 3 } else { error.reason() == GaveUp::Closed });
                            ends[2] += 1;
                        }
                    },
                    Err(refusal) => {
                        assert!(matches!(refusal.kind(), SubmitErrorKind::Closed | SubmitErrorKind::Cancelled));
                    }
                }
            }
            ends
        }
    };
    let submitter = thread::spawn(spawn_two);
    let pauses = draw(2) == 0;
    let pauser = pauses.then(|| {
        let pool: Arc<Pool<D>> = Arc::clone(&pool);
        thread::spawn(move || {
            let pause = pool.pause();
            stumble();
            drop(pause);
        })
    });
    stumble();
    let returned: Vec<Task> = match draw(4) {
        0 => {
            token.cancel();
            Vec::new()
        }
        1 => {
            assert!(pool.shutdown().is_complete());
            Vec::new()
        }
        2 => pool.shutdown_now(),
        _ => Vec::new(),
    };
    let [succeeded, cancelled, failed] = submitter.join().unwrap();
    pauser.into_iter().for_each(|pauser| pauser.join().unwrap());
    pool.shutdown();
    let stats = retrying.stats();
    assert_eq!((stats.succeeded, stats.cancelled, stats.failed), (succeeded, cancelled, failed), "{stats:?}");
    assert_eq!((stats.submitted, stats.waiting), (succeeded + cancelled + failed, 0), "{stats:?}");
    assert_eq!(letters.len() as u64, failed);
    let figures = pool.stats();
    let ended = figures.completed + figures.panicked + figures.cancelled + figures.returned;
    assert_eq!(figures.submitted, ended, "{figures:?}");
    assert!(returned.len() as u64 <= cancelled);
    drop((returned, letters, retrying, pool));
    assert_eq!(Arc::strong_count(&captured), 1);
}

#[test]
fn retries() {
    on_each_dispatch!(every_retried_task_ends_once);
}
