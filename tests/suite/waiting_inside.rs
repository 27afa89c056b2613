//! D07, D08: tasks that wait for tasks of their own pool: with a limit, as futures, and in one another.

use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context as Poller, Poll, Wake, Waker};
use std::thread::{self, yield_now};
use std::time::Duration;

use crate::support::closures::{assert_quiet, deep_pool, pool};
use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{Count, Gate, LIMIT, eventually, on_every_dispatch, orders_nested, within};
use formicary::{Context, Dispatch, Handle, Pool, PoolWithFunc, SharedHandle, StatefulPool, Worker};

/// Beyond the limit of any test: a wait that lasts so long fails it.
const LONG: Duration = Duration::from_secs(600);

fn poll_once<T: Send>(handle: &mut Handle<T>) -> Poll<Result<T, formicary::JoinError>> {
    Pin::new(handle).poll(&mut Poller::from_waker(Waker::noop()))
}

/// D07: a task that awaits another of its pool, which has no other worker for it.
fn awaiting<D: Dispatch>() {
    for queue in [1, 10] {
        let pool = pool::<D>(1, queue);
        let own = Arc::clone(&pool);
        let sum = pool.run(move || {
            let one = block_on(own.spawn(|| 1).unwrap()).unwrap();
            let inner = Arc::clone(&own);
            let ten = block_on(own.spawn(move || block_on(inner.spawn(|| 10).unwrap()).unwrap()).unwrap()).unwrap();
            let panicked = block_on(own.spawn(crate::support::races::quiet_panic).unwrap()).unwrap_err().is_panic();
            one + ten + i32::from(panicked)
        });
        assert_eq!(sum.unwrap(), 12);
        assert_quiet(&pool);
    }
}

#[test]
fn d07_awaiting_a_task_of_ones_own_pool() {
    on_every_dispatch!(awaiting);
}

/// D07: the other worker is there, but the pool is paused: it may not start anything.
fn awaiting_in_a_paused_pool<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let own = Arc::clone(&pool);
    let result = pool.run(move || {
        let pause = own.pause();
        let result = block_on(own.spawn(|| 7).unwrap()).unwrap();
        drop(pause);
        result
    });
    assert_eq!(result.unwrap(), 7);
    assert_quiet(&pool);
}

#[test]
fn d07_awaiting_in_a_paused_pool() {
    on_every_dispatch!(awaiting_in_a_paused_pool);
}

/// D07: both workers await, and each has to run its own.
fn all_await<D: Dispatch>() {
    let pool = pool::<D>(2, 100);
    let both = Gate::new();
    let handles = [1, 2].map(|n| {
        let (own, both) = (Arc::clone(&pool), both.clone());
        pool.spawn(move || {
            both.wait();
            let handles: Vec<_> = (0..10).map(|m| own.spawn(move || n * m).unwrap()).collect();
            handles.into_iter().map(|handle| block_on(handle).unwrap()).sum::<i32>()
        })
        .unwrap()
    });
    both.await_arrivals(2);
    both.open();
    assert_eq!(handles.map(|handle| handle.join().unwrap()), [45, 90]);
    assert_quiet(&pool);
}

#[test]
fn d07_all_workers_await() {
    on_every_dispatch!(all_await);
}

/// D07: a poll runs neither a task that another worker is free to run, nor another caller's task.
fn polls_run_nothing_else<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let own = Arc::clone(&pool);
    pool.run(move || {
        let me = thread::current().id();
        assert_ne!(block_on(own.spawn(|| thread::current().id()).unwrap()).unwrap(), me, "another was free");
    })
    .unwrap();

    let pool = crate::support::closures::pool::<D>(1, 10);
    let own = Arc::clone(&pool);
    let others = Count::new();
    let count = others.clone();
    pool.run(move || {
        let other = own.spawn(move || count.up()).unwrap();
        let mut handle = own.spawn(|| 7).unwrap();
        assert!(handle.try_join().is_none());
        assert_eq!(block_on(&mut handle).unwrap(), 7);
        drop(other);
        assert!(own.stats().completed <= 1, "a poll ran what was queued before");
    })
    .unwrap();
    assert_quiet(&pool);
    assert_eq!(others.get(), 1);
}

#[test]
fn d07_a_poll_runs_nothing_else() {
    on_every_dispatch!(polls_run_nothing_else);
}

/// A pool whose workers all exist from the start.
fn started_pool<D: Dispatch>(workers: usize) -> Arc<Pool<D>> {
    Arc::new(Pool::builder().workers(workers).min_workers(workers).queue(100).dispatch::<D>().build().unwrap())
}

/// Keeps workers busy that count as free, since what they run is no task of the pool: until the gate is opened.
fn busy_with_a_broadcast<D: Dispatch>(pool: &Arc<Pool<D>>, workers: usize) -> (Gate, thread::JoinHandle<()>) {
    let (gate, own) = (Gate::new(), Arc::clone(pool));
    let held = gate.clone();
    let broadcast = thread::spawn(move || drop(own.broadcast(move || held.wait()).ok().unwrap()));
    gate.await_arrivals(workers);
    (gate, broadcast)
}

/// A way in which a task waits for one that runs.
type Waits = fn(SharedHandle<u32>) -> u32;

const WAITS: [(&str, Waits); 4] = [
    ("join", |awaited| *awaited.join().unwrap()),
    ("join with a limit", |awaited| *awaited.join_timeout(LONG).unwrap().unwrap()),
    ("await", |awaited| block_on(awaited).unwrap()),
    ("poll again and again", |awaited| {
        let waker = CountingWaker::new();
        eventually("it has ended", || poll_with(Pin::new(&mut awaited.clone()), &waker).is_ready());
        *awaited.join().unwrap()
    }),
];

/// D07: a poll leaves its task to a free worker, which takes another task first, and waits there for the one that polls.
fn left_to_a_waiting_worker<D: Dispatch>() {
    if orders_nested::<D>() {
        // The other worker takes the task that came first.
        return;
    }
    for (what, waits) in WAITS {
        let pool = started_pool::<D>(2);
        let (starts, polled) = (Gate::new(), Gate::new());
        let (own, here, has_polled) = (Arc::clone(&pool), starts.clone(), polled.clone());
        let first = pool.spawn(move || {
            here.wait();
            let (mut handle, waker) = (own.spawn(|| thread::current().id()).unwrap(), CountingWaker::new());
            assert!(poll_with(Pin::new(&mut handle), &waker).is_pending(), "the other worker counts as free");
            has_polled.wait();
            eventually("it is woken", || waker.wakes() > 0);
            let Poll::Ready(ran_on) = poll_with(Pin::new(&mut handle), &waker) else {
                panic!("{what}: it was not run")
            };
            assert_eq!(ran_on.unwrap(), thread::current().id(), "{what}");
            assert!(waker.wakes() <= 3, "{what}: {}", waker.wakes());
            7
        });
        let first = first.unwrap().shared();
        starts.await_arrivals(1);
        let (busy, broadcast) = busy_with_a_broadcast(&pool, 1);
        starts.open();
        polled.await_arrivals(1);
        // A worker that was idle takes it before the other one, which came from inside.
        let awaited = first.clone();
        let second = pool.spawn(move || waits(awaited)).unwrap();
        polled.open();
        busy.open();
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (&7, 7), "{what}");
        broadcast.join().unwrap();
        assert_quiet(&pool);
    }
}

#[test]
fn d07_a_poll_is_repeated_when_the_free_worker_waits() {
    on_every_dispatch!(left_to_a_waiting_worker);
}

/// D07: a poll leaves its task to a free worker, which then must exit, or may start nothing.
fn left_to_a_leaving_worker<D: Dispatch>() {
    for pauses in [false, true] {
        let pool = started_pool::<D>(2);
        let (starts, polled, (send, polls)) = (Gate::new(), Gate::new(), channel::<Handle<u32>>());
        let (here, has_polled) = (starts.clone(), polled.clone());
        let first = pool.spawn(move || {
            here.wait();
            let (mut handle, waker) = (polls.recv().unwrap(), CountingWaker::new());
            assert!(poll_with(Pin::new(&mut handle), &waker).is_pending(), "the other worker counts as free");
            has_polled.wait();
            eventually("it is woken", || waker.wakes() > 0);
            poll_with(Pin::new(&mut handle), &waker).is_ready()
        });
        starts.await_arrivals(1);
        let (busy, broadcast) = busy_with_a_broadcast(&pool, 1);
        send.send(pool.spawn(|| 7).unwrap()).unwrap();
        starts.open();
        polled.await_arrivals(1);
        let pause = pauses.then(|| pool.pause());
        if !pauses {
            pool.tune(1).unwrap();
        }
        polled.open();
        assert!(first.unwrap().join().unwrap(), "{pauses}");
        busy.open();
        drop(pause);
        broadcast.join().unwrap();
        assert_quiet(&pool);
    }
}

#[test]
fn d07_a_poll_is_repeated_when_the_free_worker_leaves() {
    on_every_dispatch!(left_to_a_leaving_worker);
}

/// Awaits both, counts how often it polls, and sends its waker to the test.
fn await_both(
    mut one: Handle<u32>,
    mut other: SharedHandle<u32>,
    wakers: &Sender<Arc<CountingWaker>>,
    polls: &Count,
) -> u32 {
    let waker = CountingWaker::new();
    let (mut results, mut polled_at) = ((None, None), usize::MAX);
    wakers.send(Arc::clone(&waker)).unwrap();
    loop {
        let wakes = waker.wakes();
        if wakes == polled_at {
            thread::park_timeout(LONG);
            continue;
        }
        polled_at = wakes;
        polls.up();
        if let (None, Poll::Ready(result)) = (results.0, poll_with(Pin::new(&mut one), &waker)) {
            results.0 = Some(result.unwrap());
        }
        if let (None, Poll::Ready(result)) = (results.1, poll_with(Pin::new(&mut other), &waker)) {
            results.1 = Some(result.unwrap());
        }
        if let (Some(one), Some(other)) = results {
            return one + other;
        }
    }
}

/// D07: workers that poll wake each other once, not again and again.
fn polls_do_not_repeat<D: Dispatch>() {
    const POLLERS: usize = 3;
    let pool = started_pool::<D>(2 * POLLERS + 2);
    let (runs, starts, busy_too, polls) = (Gate::new(), Gate::new(), Gate::new(), Count::new());
    let held = runs.clone();
    let runs_long = pool.spawn(move || (held.wait(), 10).1).unwrap().shared();
    runs.await_arrivals(1);
    let (wakers, all_wakers) = channel();
    let pollers: Vec<_> = (0..POLLERS)
        .map(|_| {
            let (send, handles) = channel::<Handle<u32>>();
            let (here, count, wakers, other) = (starts.clone(), polls.clone(), wakers.clone(), runs_long.clone());
            let task = move || (here.wait(), await_both(handles.recv().unwrap(), other, &wakers, &count)).1;
            (pool.spawn(task).unwrap(), send)
        })
        .collect();
    starts.await_arrivals(POLLERS);
    let (busy, broadcast) = busy_with_a_broadcast(&pool, POLLERS + 1);
    let pollers: Vec<_> = pollers
        .into_iter()
        .map(|(poller, send)| {
            send.send(pool.spawn(|| 1).unwrap()).unwrap();
            poller
        })
        .collect();
    starts.open();
    let all_wakers: Vec<_> = (0..POLLERS).map(|_| all_wakers.recv().unwrap()).collect();
    eventually("all have polled", || polls.get() == POLLERS);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(polls.get(), POLLERS, "nothing has changed");
    // Woken by others while workers are free, they change nothing for each other.
    all_wakers.iter().for_each(|waker| Arc::clone(waker).wake());
    eventually("all have polled", || polls.get() == 2 * POLLERS);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(polls.get(), 2 * POLLERS, "nothing has changed");
    // Now there are more tasks than workers. One that polls is enough for all to run theirs; each wakes its own poll by that.
    let more: Vec<_> = (0..2)
        .map(|_| {
            let held = busy_too.clone();
            pool.spawn(move || held.wait()).unwrap()
        })
        .collect();
    Arc::clone(&all_wakers[0]).wake();
    eventually("all have run theirs", || pool.stats().completed == POLLERS as u64);
    thread::sleep(Duration::from_millis(20));
    assert!(polls.get() <= 5 * POLLERS, "{} polls", polls.get());
    busy_too.open();
    runs.open();
    busy.open();
    pollers.into_iter().for_each(|poller| assert_eq!(poller.join().unwrap(), 11));
    more.into_iter().for_each(|handle| handle.join().unwrap());
    broadcast.join().unwrap();
    assert_quiet(&pool);
}

#[test]
fn d07_polls_do_not_wake_each_other_for_ever() {
    on_every_dispatch!(polls_do_not_repeat);
}

type Own<D> = Weak<StatefulPool<Polls<D>, D>>;

/// Polls a task of its own pool.
struct Polls<D: Dispatch>(Arc<OnceLock<Own<D>>>);

impl<D: Dispatch> Worker for Polls<D> {
    type Input = bool;
    type Output = bool;

    fn process(&mut self, polls: bool, _: &Context<'_>) -> bool {
        let own = self.0.get().unwrap().upgrade().unwrap();
        polls && poll_once(&mut own.spawn(false).unwrap()).is_pending()
    }
}

/// D07: a worker whose state is in use runs nothing, and does not wait in a poll.
fn states_are_in_use<D: Dispatch>() {
    let own = Arc::new(OnceLock::new());
    let of_worker = Arc::clone(&own);
    let builder = StatefulPool::builder(move |_| Ok(Polls(Arc::clone(&of_worker)))).workers(1).queue(10);
    let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
    own.set(Arc::downgrade(&pool)).ok().unwrap();
    assert!(pool.run(true).unwrap());
    assert!(pool.wait_idle());
    assert_eq!(pool.stats().completed, 2);
}

#[test]
fn d07_a_state_in_use_is_not_used() {
    on_every_dispatch!(states_are_in_use);
}

/// D07: joins with a limit, where no other thread can run the task.
fn timed_joins<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let own = Arc::clone(&pool);
    let sum = pool.run(move || {
        let timed = own.spawn(|| 1).unwrap().join_timeout(LONG).unwrap().unwrap();
        let shared = *own.spawn(|| 10).unwrap().shared().join_timeout(LONG).unwrap().unwrap();
        let group = own.group::<_, ()>();
        (0..3).for_each(|_| group.spawn(|_| Ok(100)).unwrap());
        assert!(group.wait_timeout(LONG));
        timed + shared + group.wait().unwrap().into_iter().sum::<i32>()
    });
    assert_eq!(sum.unwrap(), 311);
    assert_quiet(&pool);
}

#[test]
fn d07_a_timed_join_on_the_last_worker() {
    on_every_dispatch!(timed_joins);
}

/// D07: every worker waits for its own with a limit: the last of them runs its task, and goes on to those of the others.
fn all_join_with_a_limit<D: Dispatch>() {
    let pool = pool::<D>(3, 100);
    let all = Gate::new();
    let handles: Vec<_> = (0..3)
        .map(|n| {
            let (own, all) = (Arc::clone(&pool), all.clone());
            pool.spawn(move || {
                all.wait();
                own.spawn(move || n).unwrap().join_timeout(LONG).unwrap().unwrap()
            })
            .unwrap()
        })
        .collect();
    all.await_arrivals(3);
    all.open();
    assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<i32>(), 3);
    assert_quiet(&pool);
}

#[test]
fn d07_all_workers_join_with_a_limit() {
    on_every_dispatch!(all_join_with_a_limit);
}

/// D07: a worker that joins with a limit is evicted by the last one that could make progress.
fn woken_by_the_last<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (waits, own) = (Gate::new(), Arc::clone(&pool));
    let here = waits.clone();
    let first = pool
        .spawn(move || {
            here.wait();
            own.spawn(|| 7).unwrap().join_timeout(LONG).unwrap().unwrap()
        })
        .unwrap()
        .shared();
    waits.await_arrivals(1);
    let (busy, awaited) = (Gate::new(), first.clone());
    let here = busy.clone();
    let second = pool
        .spawn(move || {
            here.wait();
            *awaited.join().unwrap()
        })
        .unwrap();
    busy.await_arrivals(1);
    waits.open();
    // Its task is queued, and it waits, or is about to.
    eventually("the first one's task is queued", || pool.stats().submitted == 3);
    busy.open();
    assert_eq!(second.join().unwrap(), 7);
    assert_eq!(first.join().unwrap(), &7);
    assert_quiet(&pool);
}

#[test]
fn d07_a_timed_join_is_evicted_for_the_last_worker() {
    on_every_dispatch!(woken_by_the_last);
}

/// D07: a limit is kept where another worker is free.
fn limits_are_kept<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (gate, own) = (Gate::new(), Arc::clone(&pool));
    let held = gate.clone();
    pool.run(move || {
        let mut handle = own.spawn(move || held.wait()).unwrap();
        assert!(handle.join_timeout(Duration::from_millis(5)).is_none());
        gate.open();
        handle.join().unwrap();
    })
    .unwrap();
    assert_quiet(&pool);
}

#[test]
fn d07_limits_are_kept_where_another_is_free() {
    on_every_dispatch!(limits_are_kept);
}

/// How deep: far beyond the limit for tasks that have nothing to do with each other.
const DEEP: usize = 3000;

/// A way in which one task waits for the next.
type Deeper<D> = fn(&Arc<Pool<D>>, usize) -> usize;

fn ways<D: Dispatch>() -> [(&'static str, Deeper<D>); 4] {
    fn next<D: Dispatch>(pool: &Arc<Pool<D>>, depth: usize, way: Deeper<D>) -> impl FnOnce() -> usize + Send + 'static {
        let pool = Arc::clone(pool);
        move || if depth == 0 { 0 } else { way(&pool, depth - 1) + 1 }
    }
    fn join<D: Dispatch>(pool: &Arc<Pool<D>>, depth: usize) -> usize {
        pool.spawn(next(pool, depth, join)).unwrap().join().unwrap()
    }
    fn run<D: Dispatch>(pool: &Arc<Pool<D>>, depth: usize) -> usize {
        pool.run(next(pool, depth, run)).unwrap()
    }
    fn shared<D: Dispatch>(pool: &Arc<Pool<D>>, depth: usize) -> usize {
        *pool.spawn(next(pool, depth, shared)).unwrap().shared().join().unwrap()
    }
    fn await_it<D: Dispatch>(pool: &Arc<Pool<D>>, depth: usize) -> usize {
        block_on(pool.spawn(next(pool, depth, await_it)).unwrap()).unwrap()
    }
    [("join", join), ("run", run), ("shared", shared), ("await", await_it)]
}

/// D08: as deep as the stack, on one worker and on many.
fn nests<D: Dispatch>() {
    for workers in [1, 8] {
        for (what, way) in ways::<D>() {
            let pool = deep_pool::<D>(workers, 2 * DEEP);
            let own = Arc::clone(&pool);
            let depth = pool.run(move || way(&own, DEEP)).unwrap();
            assert_eq!(depth, DEEP, "{what}, {workers}");
            assert_quiet(&pool);
        }
    }
}

#[test]
fn d08_waits_nest_as_deep_as_the_stack() {
    on_every_dispatch!(nests);
}

/// D08: many trees of them at once.
fn trees<D: Dispatch>() {
    fn tree<D: Dispatch>(pool: &Arc<Pool<D>>, depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        // One side is a hundred times as deep as the other.
        let (one, other) = (Arc::clone(pool), Arc::clone(pool));
        let deep = pool.spawn(move || tree(&one, depth - 1)).unwrap();
        let flat = pool.spawn(move || tree(&other, depth / 100)).unwrap();
        deep.join().unwrap() + flat.join().unwrap()
    }
    let pool = deep_pool::<D>(4, 20_000);
    let own = Arc::clone(&pool);
    let leaves = pool.run(move || tree(&own, 500)).unwrap();
    assert_eq!(leaves, {
        fn count(depth: usize) -> usize {
            if depth == 0 { 1 } else { count(depth - 1) + count(depth / 100) }
        }
        count(500)
    });
    assert_quiet(&pool);
}

#[test]
fn d08_trees_of_waits() {
    on_every_dispatch!(trees);
}

/// D08: a function that calls its own pool.
fn calls<D: Dispatch>() {
    let own: Arc<OnceLock<Weak<PoolWithFunc<usize, D, usize>>>> = Arc::default();
    let of_function = Arc::clone(&own);
    let call = move |n: usize| match n {
        0 => 0,
        n => of_function.get().unwrap().upgrade().unwrap().run(n - 1).unwrap() + 1,
    };
    let builder = PoolWithFunc::builder(call).workers(1).stack_size(512 << 20);
    let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
    own.set(Arc::downgrade(&pool)).ok().unwrap();
    assert_eq!(pool.run(DEEP).unwrap(), DEEP);
    assert!(pool.wait_idle());
}

#[test]
fn d08_calls_nest_as_deep_as_the_stack() {
    on_every_dispatch!(calls);
}

type Part = Box<dyn FnOnce() + Send>;

/// A task waits for a part of it, on the other worker, and the part joins the task: the join is refused, whichever of the waits begins first.
/// So often, since that depends on the system.
fn joining_ones_own_owner<D: Dispatch>(wait: fn(&Pool<D>, Part, &(dyn Fn() + Sync))) {
    for round in 0..40 {
        let (first, second) = if round % 2 == 0 { (0, 300) } else { (300, 0) };
        within(LIMIT, "the join", move || {
            let pool = pool::<D>(2, 10);
            let (gate, own, owner) = (Gate::new(), Arc::clone(&pool), Arc::new(OnceLock::<SharedHandle<()>>::new()));
            let (here, joined, (sender, result)) = (gate.clone(), Arc::clone(&owner), channel());
            let part = Box::new(move || {
                here.wait();
                (0..first).for_each(|_| yield_now());
                let refused = joined.get().unwrap().join().is_err_and(|error| error.is_would_deadlock());
                sender.send(refused).unwrap();
            });
            let begins = gate.clone();
            let task = move || {
                wait(&own, part, &|| {
                    begins.await_arrivals(1);
                    (0..second).for_each(|_| yield_now());
                });
            };
            let task = pool.spawn(task).unwrap().shared();
            gate.await_arrivals(1);
            assert!(owner.set(task.clone()).is_ok());
            gate.open();
            assert!(result.recv().unwrap(), "not refused");
            task.join().unwrap();
            assert_quiet(&pool);
        });
    }
}

fn joining_the_owner_of_a_scope<D: Dispatch>() {
    joining_ones_own_owner::<D>(|pool, part, until_it_runs| {
        pool.scope(|s| {
            s.spawn(part);
            until_it_runs();
        });
    });
}

#[test]
fn a_task_of_a_scope_that_joins_the_owner_is_refused() {
    on_every_dispatch!(joining_the_owner_of_a_scope);
}

fn joining_the_owner_of_a_fork<D: Dispatch>() {
    joining_ones_own_owner::<D>(|pool, part, until_it_runs| {
        pool.join(until_it_runs, part);
    });
}

#[test]
fn a_half_of_a_fork_that_joins_the_owner_is_refused() {
    on_every_dispatch!(joining_the_owner_of_a_fork);
}

fn joining_the_owner_of_a_group<D: Dispatch>() {
    joining_ones_own_owner::<D>(|pool, part, until_it_runs| {
        let group = pool.group::<(), ()>();
        group
            .spawn(|_token| {
                part();
                Ok(())
            })
            .unwrap();
        until_it_runs();
        group.wait().unwrap();
    });
}

#[test]
fn a_task_of_a_group_that_joins_the_owner_is_refused() {
    on_every_dispatch!(joining_the_owner_of_a_group);
}
