//! A34: what finished and cancelled tasks held is released, however they ended and whatever handles and tokens are left.

use std::sync::Arc;
use std::time::Duration;

use crate::support::allocator::{alone, bytes};
use crate::support::races::quiet_panic;
use crate::support::{Gate, LIMIT, eventually, on_every_dispatch};
use formicary::{CancelToken, Context, Dispatch, StatefulPool, Worker};

/// Holds what it is given until it has ended; gives it back, or panics.
struct Holds;

enum Work {
    GiveBack,
    Panic,
    Hold(Gate),
    AskForToken,
}

impl Worker for Holds {
    type Input = (Arc<()>, Work);
    type Output = Arc<()>;

    fn process(&mut self, (value, work): (Arc<()>, Work), cx: &Context<'_>) -> Arc<()> {
        match work {
            Work::GiveBack => {}
            Work::Panic => quiet_panic(),
            Work::Hold(gate) => gate.wait(),
            Work::AskForToken => assert!(cx.token().is_some_and(|token| !token.is_cancelled())),
        }
        value
    }
}

fn pool<D: Dispatch>(queue: usize) -> StatefulPool<Holds, D> {
    StatefulPool::builder(|_| Ok(Holds)).workers(1).queue(queue).dispatch::<D>().build().unwrap()
}

fn each_end<D: Dispatch>() {
    let (pool, value, gate) = (pool::<D>(16), Arc::new(()), Gate::new());
    let give = |work| (Arc::clone(&value), work);
    let held = || Arc::strong_count(&value) - 1;

    // Finished: only the handle holds the result, until it is joined or dropped.
    let handles = [pool.spawn(give(Work::GiveBack)).unwrap(), pool.spawn(give(Work::GiveBack)).unwrap()];
    assert!(pool.wait_idle());
    assert_eq!(held(), 2);
    let [joined, dropped] = handles;
    drop(joined.join().unwrap());
    assert_eq!(held(), 1);
    drop(dropped);
    assert_eq!(held(), 0);

    // Panicked: the handle has only the panic.
    let handle = pool.spawn(give(Work::Panic)).unwrap();
    assert!(pool.wait_idle());
    assert_eq!(held(), 0);
    assert!(handle.join().unwrap_err().is_panic());

    // Cancelled in the queue by its handle: at once, while the handle and the pool's queued reference are still there.
    let busy = pool.spawn(give(Work::Hold(gate.clone()))).unwrap();
    gate.await_arrivals(1);
    let cancelled: Vec<_> = (0..8).map(|_| pool.spawn(give(Work::GiveBack)).unwrap()).collect();
    assert_eq!(held(), 9);
    cancelled.iter().for_each(|handle| assert!(handle.cancel()));
    assert_eq!(held(), 1);

    // By a token: when its turn comes. A call gets it back at once.
    let token = CancelToken::new();
    let by_token = pool.with().token(&token).spawn(give(Work::GiveBack)).unwrap();
    token.cancel();
    drop(pool.with().token(&token).run(give(Work::GiveBack)).unwrap_err());
    drop(pool.with().timeout(Duration::ZERO).run(give(Work::GiveBack)).unwrap_err());
    assert_eq!(held(), 2);
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!(held(), 1);
    assert!(by_token.join().unwrap_err().is_cancelled());
    drop(busy.join().unwrap());
    drop(cancelled);

    // Given up while it ran: when it has ended.
    let gate = Gate::new();
    let limited = loop {
        let error = pool.with().timeout(Duration::from_millis(5)).run(give(Work::Hold(gate.clone()))).unwrap_err();
        assert!(error.is_timed_out());
        if gate.arrived() > 0 {
            break error;
        }
    };
    assert_eq!(held(), 1);
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!(held(), 0);
    drop(limited);
}

#[test]
fn a34_a_task_holds_nothing_after_its_end() {
    let _alone = alone();
    on_every_dispatch!(each_end);
}

/// What a pool and a token may keep for good.
const REST: usize = 32 * 1024;

const TASKS: usize = 10_000;

/// Runs `step` often enough for its memory to show, after it has taken what it keeps.
fn keeps_nothing(what: &str, mut step: impl FnMut(usize)) {
    (0..TASKS / 10).for_each(&mut step);
    let before = bytes();
    (0..TASKS).for_each(step);
    eventually(what, || bytes() < before + REST);
}

/// A token that lives as long as the program, and with it thousands of tasks that have ended.
fn a_long_lived_token<D: Dispatch>() {
    let (pool, value, token) = (pool::<D>(16), Arc::new(()), CancelToken::new());
    token.cancel_after(2 * LIMIT);
    keeps_nothing("calls leave nothing at their token", |n| {
        let work = if n % 2 == 0 { Work::GiveBack } else { Work::AskForToken };
        drop(pool.with().token(&token).run((Arc::clone(&value), work)).unwrap());
    });
    keeps_nothing("handles leave nothing at their token", |n| {
        let handle = pool.with().token(&token).spawn((Arc::clone(&value), Work::GiveBack)).unwrap();
        match n % 4 {
            0 => drop(handle),
            1 => drop(handle.join()),
            2 => drop((handle.token(), handle.join())),
            _ => drop((handle.cancel(), handle.token(), handle)),
        }
        if n % 16 == 0 {
            assert!(pool.wait_idle());
        }
    });
    // Children that were cancelled themselves.
    keeps_nothing("a token keeps no children", |_| {
        let child = token.child();
        child.cancel_after(Duration::from_micros(20));
        drop(pool.with().token(&child).run((Arc::clone(&value), Work::GiveBack)));
    });
    assert!(pool.wait_idle());
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a34_a_long_lived_token_keeps_nothing_of_its_tasks() {
    let _alone = alone();
    on_every_dispatch!(a_long_lived_token);
}

/// A long task, and a caller that joins it with a limit again and again.
fn asked_again_and_again<D: Dispatch>() {
    let (pool, value, gate) = (pool::<D>(16), Arc::new(()), Gate::new());
    let handle = pool.spawn((Arc::clone(&value), Work::Hold(gate.clone()))).unwrap();
    let shared = handle.shared();
    let mut other = pool.spawn((value, Work::GiveBack)).unwrap();
    keeps_nothing("a timed join leaves nothing", |_| {
        assert!(other.join_timeout(Duration::ZERO).is_none());
        assert!(shared.join_timeout(Duration::ZERO).is_none());
    });
    gate.open();
    assert!(shared.join().is_ok() && other.join().is_ok());
}

#[test]
fn a34_a_timed_join_leaves_nothing_behind() {
    let _alone = alone();
    on_every_dispatch!(asked_again_and_again);
}

/// Broadcasts, remembered and not, under the same few keys.
fn broadcasts<D: Dispatch>() {
    let pool = pool::<D>(16);
    let value = Arc::new([0_u8; 64]);
    keeps_nothing("broadcasts leave nothing", |n| {
        let held = Arc::clone(&value);
        let f = move |_: &mut Holds| Arc::clone(&held);
        let answers = match n % 3 {
            0 => pool.broadcast(f),
            1 => pool.broadcast_and_remember("one", f),
            _ => pool.broadcast_and_remember("other", f),
        };
        drop(answers.unwrap());
    });
    assert_eq!(Arc::strong_count(&value), 3);
    assert!(pool.forget("one") && pool.forget("other"));
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a34_broadcasts_leave_nothing_behind() {
    let _alone = alone();
    on_every_dispatch!(broadcasts);
}
