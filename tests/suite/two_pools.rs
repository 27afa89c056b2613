//! D28: two pools of one worker each whose tasks wait for each other in a circle. Neither gets a deadlock error, as each waits for
//! a pool that it is not a worker of; a time limit at any one place of the circle ends it, and both pools end as ever.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::support::{Count, Gate, LIMIT, on_every_dispatch};
use formicary::{CancelToken, Context, Dispatch, Pool, StatefulPool, Worker};

/// Longer than nothing; the circle lasts as long.
const MOMENT: Duration = Duration::from_millis(5);

fn pool<D: Dispatch>(queue: usize) -> Arc<Pool<D>> {
    Arc::new(Pool::builder().workers(1).queue(queue).dispatch::<D>().build().unwrap())
}

/// Everything that was ever accepted has ended, and so do the pools.
fn end<D: Dispatch>(pools: [&Pool<D>; 2]) {
    for pool in pools {
        assert!(pool.shutdown_timeout(LIMIT).is_complete());
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats:?}");
        assert_eq!((stats.queued, stats.running, stats.live), (0, 0, 0));
    }
}

/// The circle, with a limit at the third place: the result of `ask` there, in a task of `b` that a task of `a` waits for.
fn circle<D: Dispatch, T: Send + 'static>(queue: usize, ask: impl FnOnce(&Pool<D>) -> T + Send + 'static) -> T {
    let (a, b) = (pool::<D>(queue), pool::<D>(1));
    let (asked, other) = (a.clone(), b.clone());
    let answer = a.run(move || other.run(move || ask(&asked)).unwrap()).unwrap();
    end([&a, &b]);
    answer
}

fn at_the_last_place<D: Dispatch>() {
    let ran = Count::new();
    let task = || {
        let ran = ran.clone();
        move || _ = ran.up()
    };
    let work = task();
    assert!(circle::<D, _>(1, move |a| a.spawn(work).unwrap().join_timeout(MOMENT).is_none()));
    assert_eq!(ran.get(), 1, "the task itself goes on without its waiter");

    // Here the circle closes while the task waits for room.
    let work = task();
    let refusal =
        circle::<D, _>(0, move |a| a.with().room_timeout(MOMENT).submit(work).map_err(|refusal| refusal.kind()));
    assert!(refusal.is_err_and(|kind| kind.to_string().contains("timed out before it started")));
    let work = task();
    let token = CancelToken::new();
    token.cancel_after(MOMENT);
    assert!(circle::<D, _>(0, move |a| a.with().token(&token).submit(work).unwrap_err().is_timed_out()));
    assert_eq!(ran.get(), 1);

    let work = task();
    assert!(circle::<D, _>(1, move |a| {
        let group = a.group::<_, ()>();
        group
            .spawn(move |_| {
                work();
                Ok(())
            })
            .unwrap();
        // And what is left of it is cancelled.
        !group.wait_timeout(MOMENT)
    }));
    assert!(circle::<D, _>(1, move |a| {
        let view = a.limited(1);
        view.submit(|| ()).unwrap();
        !view.wait_idle_timeout(MOMENT)
    }));
    assert!(circle::<D, _>(1, |a| !a.wait_idle_timeout(MOMENT)));
}

/// D28
#[test]
fn d28_a_limit_at_the_last_place_of_a_circle_ends_it() {
    on_every_dispatch!(at_the_last_place);
}

/// Here the first one gives up, and the others wait for its end.
fn at_the_first_place<D: Dispatch>() {
    let (a, b, closed) = (pool::<D>(1), pool::<D>(1), Gate::new());
    let (asked, other, closes) = (a.clone(), b.clone(), closed.clone());
    let first = a.spawn(move || {
        let last = move || {
            closes.wait();
            asked.run(|| 7).unwrap()
        };
        let mut second = other.spawn(last).unwrap();
        closed.await_arrivals(1);
        assert!(second.join_timeout(MOMENT).is_none());
        closed.open();
        // It has no chance as long as this task runs.
        assert!(second.join_timeout(MOMENT).is_none());
        second
    });
    assert_eq!(first.unwrap().join().unwrap().join().unwrap(), 7);
    end([&a, &b]);
}

/// D28
#[test]
fn d28_a_limit_at_the_first_place_of_a_circle_ends_it() {
    on_every_dispatch!(at_the_first_place);
}

/// The other pool, once there is one.
type Other<D> = Arc<OnceLock<Weak<StatefulPool<Asks<D>, D>>>>;

/// Asks the other pool until the number is 0.
struct Asks<D: Dispatch>(Other<D>);

impl<D: Dispatch> Worker for Asks<D> {
    type Input = u8;
    type Output = String;

    fn process(&mut self, n: u8, _: &Context<'_>) -> String {
        let pool = self.0.get().unwrap().upgrade().unwrap();
        let token = CancelToken::new();
        token.cancel_after(MOMENT);
        match n {
            0 => String::new(),
            1 => {
                let errors = [
                    pool.with().timeout(MOMENT).run(0).unwrap_err(),
                    pool.with().token(&token).run(0).unwrap_err(),
                    pool.with().deadline(std::time::Instant::now() + MOMENT).run(0).unwrap_err(),
                ];
                let came_back = errors.map(|error| (error.is_timed_out(), error.into_input()));
                assert_eq!(came_back, [(true, Some(0)); 3]);
                "all timed out".to_owned()
            }
            n => pool.run(n - 1).unwrap(),
        }
    }
}

fn states<D: Dispatch>() {
    let others = [Arc::default(), Arc::default()];
    let pools = [0, 1].map(|n: usize| {
        let other: Other<D> = Arc::clone(&others[1 - n]);
        let builder = StatefulPool::builder(move |_| Ok(Asks(other.clone()))).workers(1).queue(1);
        Arc::new(builder.dispatch::<D>().build().unwrap())
    });
    for (other, pool) in others.iter().zip(&pools) {
        assert!(other.set(Arc::downgrade(pool)).is_ok());
    }
    assert_eq!(pools[0].run(2).unwrap(), "all timed out");
    for pool in pools {
        assert!(pool.shutdown_timeout(LIMIT).is_complete());
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats:?}");
    }
}

/// D28: a call's limit gives the input back.
#[test]
fn d28_a_calls_limit_ends_a_circle_of_states() {
    on_every_dispatch!(states);
}
