//! Submitters that wait for one room in different lanes.

use loom::thread;

use super::model_pool::{ModelPool, with_workers};
use crate::queue::{Dispatch, Fair, KeptLane, Priority, Queue, Tenant};
use crate::sync::Arc;
use crate::sync::explore::explore;
use crate::sync::waiter::Waiter;

type Levels = <Priority as Dispatch>::Queue<usize>;
type Tenants = <Fair as Dispatch>::Queue<usize>;

/// Two lanes of the queue, which stay what they are.
fn lanes<Q: Queue<usize>>(pool: &ModelPool<Q>) -> [KeptLane; 2] {
    [0, 2].map(|n| match pool.queue.tenant_lanes() {
        Some(lanes) => lanes.of(&Tenant::from(n), |_| 1),
        None => pool.queue.keep_lane(pool.queue.lane(n)),
    })
}

/// Two submitters wait in two lanes for the room of one task: both are admitted, one after the other.
fn both_lanes_are_admitted<Q: Queue<usize>>() {
    explore(1, || {
        let pool = ModelPool::<Q>::new(1, 0, 3);
        let [first, second] = lanes(&pool);
        assert!(pool.try_enter(1).is_ok());
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.submit_by(8, first.number())))
        };
        with_workers(&pool, 1, || assert!(pool.submit_by(9, second.number())));
        other.join().expect("a submitter does not panic");
    });
}

/// The submitter of one lane gives up, before or after it is offered the room: that of the other lane gets it.
fn one_that_gives_up_leaves_the_room_to_another_lane<Q: Queue<usize>>() {
    explore(2, || {
        let pool = ModelPool::<Q>::new(1, 0, 2);
        let [first, second] = lanes(&pool);
        assert!(pool.try_enter(1).is_ok());
        let waiter = Waiter::Thread(crate::sync::current());
        let node = pool.wait_queue.join(first.number(), usize::MAX, waiter).expect("there is no limit");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.submit_by(9, second.number())))
        };
        with_workers(&pool, 1, || pool.leave(node));
        other.join().expect("a submitter does not panic");
    });
}

/// A future at the head of one lane is not polled: the thread in the other lane is admitted all the same.
fn a_future_holds_up_no_other_lane<Q: Queue<usize>>() {
    explore(2, || {
        let pool = ModelPool::<Q>::new(1, 0, 2);
        let [first, second] = lanes(&pool);
        assert!(pool.try_enter(1).is_ok());
        let noop = Waiter::Task(std::task::Waker::noop().clone());
        let node = pool.wait_queue.join(first.number(), usize::MAX, noop).expect("there is no limit");
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.submit_by(9, second.number())))
        };
        with_workers(&pool, 1, || ());
        other.join().expect("a submitter does not panic");
        drop(node);
    });
}

#[test]
fn both_levels_are_admitted() {
    both_lanes_are_admitted::<Levels>();
}

#[test]
fn both_tenants_are_admitted() {
    both_lanes_are_admitted::<Tenants>();
}

#[test]
fn giving_up_leaves_the_room_to_another_level() {
    one_that_gives_up_leaves_the_room_to_another_lane::<Levels>();
}

#[test]
fn giving_up_leaves_the_room_to_another_tenant() {
    one_that_gives_up_leaves_the_room_to_another_lane::<Tenants>();
}

#[test]
fn a_future_holds_up_no_other_level() {
    a_future_holds_up_no_other_lane::<Levels>();
}

#[test]
fn a_future_holds_up_no_other_tenant() {
    a_future_holds_up_no_other_lane::<Tenants>();
}
