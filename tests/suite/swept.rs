//! D18: a task that was cancelled, or that its waiter ran, takes no room in the queue.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::races::quiet_panic;
use crate::support::waking::block_on;
use crate::support::{Count, Gate, LIMIT, assert_conserved, await_waiting, eventually, on_every_dispatch, within};
use formicary::{
    CancelToken, Context, Dispatch, Handle, Limited, Nested, Pool, PoolWithFunc, Sharded, StatefulPool, Worker,
};
use parking_lot::Mutex;

/// Counts when it is dropped.
struct Captured(Count);

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.up();
    }
}

/// Fills a queue of ten with tasks that are cancelled then, in any of the ways; says how many of them there are.
type Fill<D> = fn(&Pool<D>, &Count);

fn by_token<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let token = CancelToken::new();
    for _ in 0..10 {
        let captured = Captured(dropped.clone());
        pool.with().token(&token.child()).submit(move || drop(captured)).unwrap();
    }
    token.cancel();
}

fn by_the_token_of_a_spawn<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let token = CancelToken::new();
    for _ in 0..10 {
        let captured = Captured(dropped.clone());
        drop(block_on(pool.with().token(&token).spawn_async(move || drop(captured))).unwrap());
    }
    token.cancel();
}

fn by_deadline<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let token = CancelToken::new();
    token.cancel_after(Duration::from_millis(20));
    for _ in 0..10 {
        let captured = Captured(dropped.clone());
        // Too late on a machine that is busy.
        _ = pool.with().token(&token).submit(move || drop(captured));
    }
    // Another submitter has swept meanwhile.
    _ = pool.try_submit(|| ());
    token.wait();
}

fn by_handle<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let spawn = || {
        let captured = Captured(dropped.clone());
        pool.spawn(move || drop(captured)).unwrap()
    };
    let handles: Vec<_> = std::iter::repeat_with(spawn).take(10).collect();
    assert_eq!(pool.queued(), 10);
    assert!(handles.iter().all(Handle::cancel));
    // At once, and not when their turn comes.
    assert_eq!((pool.queued(), pool.stats().cancelled, dropped.get()), (0, 10, 10));
}

fn by_the_handles_token<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    for _ in 0..10 {
        let captured = Captured(dropped.clone());
        pool.spawn(move || drop(captured)).unwrap().token().cancel();
    }
}

fn by_their_group<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let (parent, group) = (CancelToken::new(), pool.group::<(), ()>());
    let other = pool.group_with::<(), ()>(&parent);
    for _ in 0..5 {
        let captured = [(); 2].map(|()| Captured(dropped.clone()));
        let [one, two] = captured;
        group
            .spawn(move |_| {
                drop(one);
                Ok(())
            })
            .unwrap();
        other
            .spawn(move |_| {
                drop(two);
                Ok(())
            })
            .unwrap();
    }
    // One is dropped. The other is only cancelled.
    drop(group);
    parent.cancel();
    std::mem::forget(other);
}

fn by_their_view<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let view = pool.limited(10);
    let spawn = || {
        let captured = Captured(dropped.clone());
        view.spawn(move || drop(captured)).unwrap()
    };
    let handles: Vec<_> = std::iter::repeat_with(spawn).take(10).collect();
    assert!(handles.iter().all(Handle::cancel));
}

/// D18: ten cancelled tasks never keep a queue of ten full, whatever the verb; and they are counted and dropped once.
fn cancelled<D: Dispatch>() {
    let ways: [Fill<D>; 7] = [
        by_token,
        by_the_token_of_a_spawn,
        by_deadline,
        by_handle,
        by_the_handles_token,
        by_their_group,
        by_their_view,
    ];
    for (number, fill) in ways.into_iter().enumerate() {
        for is_paused in [false, true] {
            let (pool, dropped, ran) = (pool::<D>(1, 10), Count::new(), Count::new());
            let gate = occupy(&pool);
            let pause = is_paused.then(|| pool.pause());
            fill(&pool, &dropped);
            let submit = |verb: usize| {
                let ran = ran.clone();
                let f = move || _ = ran.up();
                match verb {
                    0 => pool.try_submit(f).map_err(|refusal| refusal.kind()),
                    1 => pool.submit(f).map_err(|refusal| refusal.kind()),
                    2 => pool.with().room_timeout(Duration::ZERO).submit(f).map_err(|refusal| refusal.kind()),
                    3 => pool.spawn(f).map(drop).map_err(|refusal| refusal.kind()),
                    _ => block_on(pool.submit_async(f)).map_err(|refusal| refusal.kind()),
                }
            };
            // `by_deadline` has submitted a task of its own.
            let others = pool.stats().submitted as usize - 11;
            for verb in 0..10 - others.min(1) {
                assert_eq!(submit((verb + number) % 5), Ok(()), "way {number}, {verb}");
            }
            assert!(pool.try_submit(|| ()).unwrap_err().is_full());
            assert_eq!((pool.queued(), dropped.get()), (10, 10), "way {number}");
            assert_eq!(pool.stats().cancelled, 10, "way {number}");
            drop(pause);
            gate.open();
            assert_quiet(&pool);
            assert_eq!(ran.get() + others.min(1), 10);
        }
    }
}

#[test]
fn d18_cancelled_tasks_never_keep_a_queue_full() {
    on_every_dispatch!(cancelled);
}

struct WaitsAtGate;

impl Worker for WaitsAtGate {
    type Input = Option<Gate>;
    type Output = ();

    fn process(&mut self, gate: Option<Gate>, _: &Context<'_>) {
        gate.inspect(Gate::wait);
    }
}

/// D18: the same on the other kinds of pool: payloads with a token, and inputs with a handle.
fn payloads<D: Dispatch>() {
    let (token, gate) = (CancelToken::new(), Gate::new());
    let func = |gate: Option<Gate>| _ = gate.inspect(Gate::wait);
    let pool = PoolWithFunc::builder(func).workers(1).queue(10).dispatch::<D>().build().unwrap();
    pool.submit(Some(gate.clone())).unwrap();
    gate.await_arrivals(1);
    (0..10).for_each(|_| pool.with().token(&token).submit(None).unwrap());
    assert!(pool.try_submit(None).unwrap_err().is_full());
    token.cancel();
    (0..10).for_each(|_| pool.try_submit(None).unwrap());
    assert!(pool.try_submit(None).unwrap_err().is_full());
    gate.open();
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled), (21, 11, 10));

    let gate = Gate::new();
    let pool = StatefulPool::builder(|_| Ok(WaitsAtGate)).workers(1).queue(10).dispatch::<D>().build().unwrap();
    let first = pool.spawn(Some(gate.clone())).unwrap();
    gate.await_arrivals(1);
    let handles: Vec<_> = (0..10).map(|_| pool.spawn(None).unwrap()).collect();
    assert!(pool.try_spawn(None).unwrap_err().is_full());
    assert!(handles.iter().all(Handle::cancel));
    assert_eq!((pool.queued(), pool.stats().cancelled), (0, 10));
    let handles: Vec<_> = (0..10).map(|_| pool.try_spawn(None).unwrap()).collect();
    // Callers that have given up take no room either.
    drop(handles.iter().map(Handle::cancel).collect::<Vec<_>>());
    for _ in 0..30 {
        assert!(pool.with().timeout(Duration::ZERO).run(None).unwrap_err().is_timed_out());
    }
    assert_eq!(pool.queued(), 0);
    gate.open();
    first.join().unwrap();
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.cancelled);
}

#[test]
fn d18_cancelled_payloads_never_keep_a_queue_full() {
    on_every_dispatch!(payloads);
}

/// D18: the live tasks keep their order and are not lost, however often the others are swept out from among them.
fn order<D: Dispatch>() {
    for is_drained in [false, true] {
        // One worker, so one shard and one order.
        let pool = pool::<D>(1, 31);
        let (pause, log) = (pool.pause(), Arc::new(Mutex::new(Vec::new())));
        let note = |number: usize| {
            let log = Arc::clone(&log);
            move || log.lock().push(number)
        };
        let (mut number, mut live, mut cancelled) = (0, Vec::new(), 0);
        for _ in 0..4 {
            // Every second task that finds room is cancelled later.
            let token = CancelToken::new();
            while pool.try_submit(note(number)).is_ok() {
                live.push(number);
                if pool.queued() < 32 {
                    pool.with().token(&token).submit(note(number + 1)).unwrap();
                    cancelled += 1;
                }
                number += 2;
            }
            token.cancel();
        }
        if is_drained {
            pool.shutdown_now().into_iter().for_each(formicary::Task::run);
            drop(pause);
        } else {
            drop(pause);
            assert!(pool.wait_idle());
            pool.submit(note(number)).unwrap();
            live.push(number);
            assert!(pool.wait_idle());
        }
        assert_eq!(*log.lock(), live);
        // All but those of the last round had to make room.
        assert!(pool.stats().cancelled >= cancelled - 4, "{:?}", pool.stats());
        assert_conserved(&*pool);
    }
}

#[test]
fn d18_the_tasks_that_remain_keep_their_order() {
    on_every_dispatch!(order);
}

/// D18: a submitter that was in the wait queue when the tasks were cancelled enters, at the latest when its time is up.
fn waiting<D: Dispatch>() {
    let (pool, token) = (pool::<D>(1, 2), CancelToken::new());
    let gate = occupy(&pool);
    (0..2).for_each(|_| pool.with().token(&token).submit(|| ()).unwrap());
    thread::scope(|scope| {
        let waiter =
            scope.spawn(|| pool.with().room_timeout(Duration::from_millis(200)).submit(|| ()).map_err(|e| e.kind()));
        await_waiting(&*pool, 1);
        token.cancel();
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn d18_a_submitter_in_the_wait_queue_enters() {
    on_every_dispatch!(waiting);
}

/// D18: a task that a submitter sweeps out says why it never ran: by then its deadline had passed, or its token was cancelled.
fn reasons<D: Dispatch>() {
    let pool = pool::<D>(1, 2);
    let gate = occupy(&pool);
    let (late, cancelled) = (CancelToken::new(), CancelToken::new());
    late.cancel_after(LIMIT);
    let handles = [&late, &cancelled].map(|token| pool.with().token(&token.child()).spawn(|| ()).unwrap());
    late.cancel_after(Duration::ZERO);
    cancelled.cancel();
    (0..2).for_each(|_| pool.try_submit(|| ()).unwrap());
    assert_eq!(pool.stats().cancelled, 2);
    let [late, cancelled] = handles.map(|handle| handle.join().unwrap_err());
    gate.open();
    assert!(late.is_timed_out() && late.is_cancelled(), "{late:?}");
    assert!(!cancelled.is_timed_out() && cancelled.is_cancelled(), "{cancelled:?}");
    assert_quiet(&pool);
}

#[test]
fn d18_a_swept_task_says_whether_it_was_late() {
    on_every_dispatch!(reasons);
}

/// D18: the drop of a cancelled task's captures panics: the panic does not reach the submitter that sweeps the task out.
fn captures_that_panic<D: Dispatch>() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            quiet_panic();
        }
    }
    let (pool, token) = (pool::<D>(1, 2), CancelToken::new());
    let gate = occupy(&pool);
    for _ in 0..2 {
        let captured = PanicsOnDrop;
        pool.with().token(&token).submit(move || std::mem::forget(captured)).unwrap();
    }
    token.cancel();
    (0..2).for_each(|_| pool.try_submit(|| ()).unwrap());
    assert_eq!((pool.stats().handler_panics, pool.stats().cancelled), (2, 2));
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn d18_a_capture_that_panics_when_dropped_does_not_reach_the_submitter() {
    on_every_dispatch!(captures_that_panic);
}

/// D18: a task that joins what it spawns, or waits for its scopes and groups, needs no room for finished tasks, and leaves it to
/// outsiders.
fn joined_inside<D: Dispatch>() {
    for nested in [Nested::Any, Nested::AtMost(3), Nested::Bounded] {
        let builder = Pool::builder().workers(1).queue(10).nonblocking(true).nested(nested);
        let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
        let (gate, inner) = (Gate::new(), Arc::downgrade(&pool));
        let wait = gate.clone();
        let parent = pool.spawn(move || {
            let pool = inner.upgrade().unwrap();
            for n in 0..50 {
                assert_eq!(pool.spawn(move || n).unwrap().join().unwrap(), n);
                assert_eq!((pool.queued(), pool.stats().overcommitted), (0, 0));
            }
            for _ in 0..5 {
                let group = pool.group::<_, ()>();
                (0..5).for_each(|n| group.spawn(move |_| Ok(n)).unwrap());
                assert_eq!(group.wait().unwrap(), [0, 1, 2, 3, 4]);
                let count = Count::new();
                pool.scope(|s| (0..5).for_each(|_| s.spawn(|| count.up())));
                assert_eq!((count.get(), pool.queued(), pool.stats().overcommitted), (5, 0, 0));
            }
            wait.wait();
        });
        gate.await_arrivals(1);
        // One task is there, and it runs.
        assert_eq!((pool.queued(), pool.stats().running), (0, 1));
        for _ in 0..10 {
            pool.submit(|| ()).unwrap();
        }
        assert!(pool.submit(|| ()).unwrap_err().is_full());
        gate.open();
        parent.unwrap().join().unwrap();
        assert_quiet(&pool);
        assert_eq!((pool.stats().completed, pool.stats().rejected), (111, 1));
    }
}

#[test]
fn d18_a_task_that_its_waiter_ran_takes_no_room() {
    on_every_dispatch!(joined_inside);
}

/// D18: cancelled tasks with a key do not keep their shard full.
#[test]
fn d18_a_shard_is_swept_for_its_key() {
    within(LIMIT, "Sharded", || {
        let pool = Pool::builder().workers(1).queue(3).dispatch::<Sharded>().shards(2).build().unwrap();
        let pause = pool.pause();
        let fill = || {
            let (mut count, token) = (0, CancelToken::new());
            // Only those of the key's shard count against it.
            while pool.with().key(7).try_submit(|| ()).is_ok() {
                count += 1;
            }
            drop(token);
            count
        };
        assert_eq!(fill(), 2);
        let handles: Vec<_> = (0..2).map(|_| pool.spawn(|| ()).unwrap()).collect();
        assert!(pool.try_submit(|| ()).unwrap_err().is_full());
        assert!(handles.iter().all(Handle::cancel));
        assert!(pool.with().key(7).try_submit(|| ()).unwrap_err().is_full());
        (0..2).for_each(|_| pool.try_submit(|| ()).unwrap());
        drop(pause);
        assert!(pool.wait_idle());
        assert_conserved(&pool);
        eventually("it is quiet", || pool.stats().running == 0);
    });
}

/// Cancels all of them, in any of the ways.
type Cancel = fn(&[Handle<()>]);

fn by_handles(handles: &[Handle<()>]) {
    assert!(handles.iter().all(Handle::cancel));
}

fn by_tokens(handles: &[Handle<()>]) {
    handles.iter().for_each(|handle| handle.token().cancel());
}

fn by_deadlines(handles: &[Handle<()>]) {
    handles.iter().for_each(|handle| handle.token().cancel_after(Duration::from_millis(5)));
    handles.iter().for_each(|handle| handle.token().wait());
}

fn assert_view_conserved<D: Dispatch>(view: &Limited<Pool<D>>) {
    let stats = view.stats();
    assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled, "{stats:?}");
}

/// D18: ten cancelled tasks that wait in a view take no room there, nor in another view of the pool. Their captures are dropped when the
/// room is needed, at the latest.
fn cancelled_in_a_view<D: Dispatch>() {
    for cancel in [by_handles as Cancel, by_tokens, by_deadlines] {
        for elsewhere in [false, true] {
            let (pool, dropped, ran) = (pool::<D>(2, 9), Count::new(), Count::new());
            let (one, other, gate) = (pool.limited(1), pool.limited(1), Gate::new());
            for view in [&one, &other] {
                let held = gate.clone();
                view.submit(move || held.wait()).unwrap();
            }
            gate.await_arrivals(2);
            let handles: Vec<_> = (0..9)
                .map(|_| {
                    let captured = Captured(dropped.clone());
                    one.spawn(move || drop(captured)).unwrap()
                })
                .collect();
            let enters = if elsewhere { &other } else { &one };
            assert!(enters.try_submit(|| ()).unwrap_err().is_full());
            cancel(&handles);
            for n in 0..9 {
                let ran = ran.clone();
                let submitted = enters.try_submit(move || _ = ran.up());
                assert!(submitted.is_ok(), "{n} of 9 have found room, elsewhere: {elsewhere}");
            }
            assert!(enters.try_submit(|| ()).unwrap_err().is_full());
            assert_eq!((dropped.get(), one.stats().cancelled), (9, 9));
            assert_eq!((one.stats().queued + other.stats().queued, pool.queued()), (9, 0));
            assert!(handles.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
            gate.open();
            assert!(one.wait_idle() && other.wait_idle());
            assert_quiet(&pool);
            assert_eq!((ran.get(), pool.stats().submitted), (9, 11));
            [&one, &other].into_iter().for_each(assert_view_conserved);
        }
    }
}

#[test]
fn d18_cancelled_tasks_never_keep_a_view_full() {
    on_every_dispatch!(cancelled_in_a_view);
}

/// D18: a submitter that waits for room in a view gets that of a cancelled task.
fn waiting_at_a_view<D: Dispatch>() {
    let pool = pool::<D>(1, 2);
    let (view, gate) = (pool.limited(1), Gate::new());
    let held = gate.clone();
    view.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    let handles: Vec<_> = (0..2).map(|_| view.spawn(|| ()).unwrap()).collect();
    assert!(view.try_submit(|| ()).unwrap_err().is_full());
    let (arrives, done) = (Gate::new(), Count::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                arrives.pass(1);
                arrives.wait();
                view.submit(|| ()).unwrap();
                done.up();
            });
        }
        arrives.await_arrivals(2);
        // Both wait, or are about to.
        assert!(handles.iter().all(Handle::cancel));
        eventually("both are in", || done.get() == 2);
        assert_eq!(view.stats().queued, 2);
        gate.open();
    });
    assert!(view.wait_idle());
    assert_quiet(&pool);
    assert_view_conserved(&view);
}

#[test]
fn d18_a_submitter_that_waits_at_a_view_enters() {
    on_every_dispatch!(waiting_at_a_view);
}

/// D18: a task with a permit of its view releases it when it is cancelled, and leaves the pool's queue or wait queue.
fn cancelled_with_a_permit<D: Dispatch>() {
    for in_wait_queue in [false, true] {
        let (pool, dropped, go) = (pool::<D>(1, 10), Count::new(), Gate::new());
        let view = Arc::new(pool.limited(1));
        let (inner, own, counts, begins) = (Arc::downgrade(&pool), Arc::clone(&view), dropped.clone(), go.clone());
        let parent = pool.spawn(move || {
            begins.wait();
            let pool = inner.upgrade().unwrap();
            let spawn = || {
                let captured = Captured(counts.clone());
                own.spawn(move || drop(captured)).unwrap()
            };
            let figures = || (pool.waiting(), pool.queued(), own.stats().queued);
            let (before, first) = (figures(), spawn());
            let one_more = if in_wait_queue { (1, 10, 1) } else { (0, 1, 1) };
            assert_eq!(figures(), one_more);
            let others = [spawn(), spawn()];
            assert!(first.cancel());
            assert_eq!((figures().0 + figures().1, own.stats().queued), (one_more.0 + one_more.1, 2));
            by_handles(&others);
            assert_eq!((figures(), counts.get()), (before, 3));
            let last = spawn();
            assert_eq!(figures(), one_more);
            last.join().unwrap();
            assert_eq!((figures(), own.stats().running), (before, 0));
        });
        go.await_arrivals(1);
        if in_wait_queue {
            (0..10).for_each(|_| pool.submit(|| ()).unwrap());
        }
        go.open();
        parent.unwrap().join().unwrap();
        assert!(view.wait_idle());
        assert_quiet(&pool);
        assert_view_conserved(&view);
        assert_eq!((view.stats().completed, view.stats().cancelled, dropped.get()), (1, 3, 4));
    }
}

#[test]
fn d18_a_cancelled_task_releases_its_permit_of_a_view() {
    on_every_dispatch!(cancelled_with_a_permit);
}

/// D18: a task, of a view or not, that joins what it spawns in the view needs no room for finished tasks, and leaves it to outsiders.
fn joined_in_a_view<D: Dispatch>() {
    for nested in [Nested::Any, Nested::AtMost(3), Nested::Bounded] {
        for (limit, in_view) in [(1, false), (1, true), (3, false), (3, true), (1000, false), (1000, true)] {
            let builder = Pool::builder().workers(1).queue(10).nonblocking(true).nested(nested);
            let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
            let (view, gate, inner) = (Arc::new(pool.limited(limit)), Gate::new(), Arc::downgrade(&pool));
            let (wait, own) = (gate.clone(), Arc::clone(&view));
            let parent = move || {
                let pool = inner.upgrade().unwrap();
                for n in 0..50 {
                    assert_eq!(own.spawn(move || n).unwrap().join().unwrap(), n);
                    assert_eq!((own.stats().queued, pool.queued(), pool.stats().overcommitted), (0, 0, 0));
                }
                wait.wait();
            };
            let parent = if in_view { view.spawn(parent) } else { pool.spawn(parent) };
            let parent = parent.map_err(|refusal| refusal.kind()).unwrap();
            gate.await_arrivals(1);
            assert_eq!((pool.queued(), pool.waiting(), pool.stats().running), (0, 0, 1));
            assert_eq!(view.stats().running, usize::from(in_view));
            for n in 0..10 {
                let submitted = view.submit(|| ()).map_err(|refusal| refusal.kind());
                assert_eq!(submitted, Ok(()), "{n} of 10, limit {limit}, {in_view}");
            }
            assert!(view.submit(|| ()).unwrap_err().is_full());
            gate.open();
            parent.join().unwrap();
            assert!(view.wait_idle());
            assert_quiet(&pool);
            assert_view_conserved(&view);
            assert_eq!((pool.stats().completed, pool.stats().submitted), (61, 61));
        }
    }
}

#[test]
fn d18_a_task_of_a_view_that_its_waiter_ran_takes_no_room() {
    on_every_dispatch!(joined_in_a_view);
}

/// D18: the drop of the captures of a view's cancelled task panics: the panic does not reach the submitter that sweeps the task out.
fn captures_that_panic_in_a_view<D: Dispatch>() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            quiet_panic();
        }
    }
    let pool = pool::<D>(1, 2);
    let (view, gate) = (pool.limited(1), Gate::new());
    let held = gate.clone();
    view.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    for _ in 0..2 {
        let captured = PanicsOnDrop;
        view.spawn(move || std::mem::forget(captured)).unwrap().token().cancel();
    }
    (0..2).for_each(|_| view.try_submit(|| ()).unwrap());
    assert_eq!((pool.stats().handler_panics, view.stats().cancelled), (2, 2));
    gate.open();
    assert!(view.wait_idle());
    assert_quiet(&pool);
    assert_view_conserved(&view);
}

#[test]
fn d18_a_capture_in_a_view_that_panics_when_dropped_does_not_reach_the_submitter() {
    on_every_dispatch!(captures_that_panic_in_a_view);
}
