//! Pools and views as services, under the layers of `tower`.
#![cfg(feature = "tower")]

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::support::races::{quiet_panic, together};
use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{Count, Gate, RunTask, on_every_dispatch, quiet_panics};
use formicary::{CallError, Dispatch, FnService, Pool, PoolService, PoolWithFunc, StatefulPool, Task};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Service, ServiceBuilder, ServiceExt, retry};

fn pool<D: Dispatch>(workers: usize, queue: usize) -> Arc<Pool<D>> {
    Arc::new(Pool::builder().workers(workers).queue(queue).dispatch::<D>().build().unwrap())
}

fn call<S, X>(service: &mut S, x: X) -> Result<S::Response, S::Error>
where
    S: Service<X>,
{
    block_on(async { service.ready().await?.call(x).await })
}

/// Whether the service is ready now.
fn is_ready<S: Service<X> + ?Sized, X>(service: &mut S, waker: &Arc<CountingWaker>) -> bool
where
    S::Error: std::fmt::Debug,
{
    match poll_with(pin!(std::future::poll_fn(|poller| service.poll_ready(poller))), waker) {
        Poll::Ready(ready) => {
            ready.unwrap();
            true
        }
        Poll::Pending => false,
    }
}

fn each_kind<D: Dispatch>() {
    quiet_panics();
    let closures = pool::<D>(2, 1);
    assert_eq!(call(&mut closures.service(|n: u32| n + 1), 1).unwrap(), 2);
    assert_eq!(call(&mut FnService::new(Arc::new(closures.limited(1)), |n: u32| n + 2), 1).unwrap(), 3);
    assert_eq!(call(&mut PoolService::new(Arc::clone(&closures)), || 5).unwrap(), 5);
    let function = PoolWithFunc::builder(|n: u32| n + 3).workers(2).queue(1).dispatch::<D>().build().unwrap();
    let function = Arc::new(function);
    assert_eq!(call(&mut function.service(), 1).unwrap(), 4);
    assert_eq!(call(&mut PoolService::new(Arc::new(function.limited(1))), 2).unwrap(), 5);
    let stateful = StatefulPool::builder(|_| Ok(RunTask)).workers(1).queue(1).dispatch::<D>().build().unwrap();
    let ran = Count::new();
    call(&mut Arc::new(stateful).service(), ran.task()).unwrap();
    assert_eq!(ran.get(), 1);
    let mut panics = closures.service(|()| quiet_panic());
    assert!(call(&mut panics, ()).unwrap_err().is_panic());
    closures.shutdown();
    let closed = call(&mut panics, ()).unwrap_err();
    assert!(closed.is_closed());
    assert_eq!(closed.into_input(), Some(()));
}

#[test]
fn each_kind_and_view_is_a_service() {
    on_every_dispatch!(each_kind);
}

/// Ready while there is room; woken when there is some; a call whose room others took waits.
fn readiness<D: Dispatch>() {
    for in_view in [false, true] {
        let pool = pool::<D>(1, 1);
        let gate = Gate::new();
        let held = gate.clone();
        let run = move |waits: bool| {
            if waits {
                held.wait()
            }
        };
        let view = Arc::new(pool.limited(1));
        let (mut of_pool, mut of_view) = (pool.service(run.clone()), FnService::new(view, run));
        let service: &mut dyn Service<bool, Response = (), Error = CallError<()>, Future = _> =
            if in_view { &mut of_view } else { &mut of_pool };
        let waker = CountingWaker::new();
        assert!(is_ready(&mut *service, &waker));
        let first = service.call(true);
        gate.await_arrivals(1);
        assert!(is_ready(&mut *service, &waker));
        let second = service.call(true);
        assert!(!is_ready(&mut *service, &waker));
        // It is called all the same, as by one whose room others took.
        let third = service.call(false);
        assert_eq!(waker.wakes(), 0);
        gate.pass(1);
        block_on(first).unwrap();
        gate.await_arrivals(2);
        gate.open();
        block_on(second).unwrap();
        block_on(third).unwrap();
        while !is_ready(&mut *service, &waker) {
            thread::park_timeout(Duration::from_secs(1));
        }
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().completed, 3);
    }
}

#[test]
fn a_service_is_ready_when_there_is_room() {
    on_every_dispatch!(readiness);
}

/// Services that wait, also such as nobody polls again, do not hold up each other or submitters; a close wakes all.
fn many_wait<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let gate = Gate::new();
    let mut services: Vec<_> = (0..4).map(|_| pool.service(|n: u32| n)).collect();
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let wakers: Vec<_> = services
        .iter_mut()
        .map(|service| {
            let waker = CountingWaker::new();
            assert!(!is_ready(service, &waker));
            waker
        })
        .collect();
    gate.open();
    // The first is never polled again.
    assert_eq!(call(&mut services[3], 3).unwrap(), 3);
    assert_eq!(pool.run(|| 5).unwrap(), 5);
    assert_eq!(call(&mut services[2], 2).unwrap(), 2);
    let held = Gate::new();
    pool.submit(held.closure()).unwrap();
    held.await_arrivals(1);
    let late = services.pop().unwrap();
    let mut late = late.clone();
    let waker = CountingWaker::new();
    assert!(!is_ready(&mut late, &waker));
    together(2, |thread| match thread {
        0 => assert!(pool.shutdown().is_complete()),
        _ => {
            while waker.wakes() == 0 {
                thread::yield_now();
            }
            held.open();
        }
    });
    assert!(call(&mut late, 1).unwrap_err().is_closed());
    assert!(call(&mut services[0], 1).unwrap_err().is_closed());
    drop(wakers);
}

#[test]
fn services_that_wait_hold_up_nobody() {
    on_every_dispatch!(many_wait);
}

/// Many clones have seen room and do not call: nothing is reserved for them, and no other waits for them. Clones that were woken for room,
/// and are not polled again, are passed.
fn ready_without_a_call<D: Dispatch>() {
    const CLONES: usize = if cfg!(miri) { 20 } else { 1_000 };
    let (pool, gate, waker) = (pool::<D>(1, 1), Gate::new(), CountingWaker::new());
    let service = PoolService::new(Arc::clone(&pool));
    let mut ready: Vec<_> = (0..CLONES).map(|_| service.clone()).collect();
    assert!(ready.iter_mut().all(|clone| is_ready::<_, Task>(clone, &waker)));
    assert_eq!((pool.waiting(), pool.stats().queued), (0, 0));
    // The pool takes in as much as ever.
    pool.try_submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    pool.try_submit(gate.closure()).unwrap();
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    // A call of one that was ready waits for room in its future, and is served.
    let ran = Count::new();
    let late = ready[0].call(ran.task());
    let mut waits: Vec<_> = (0..CLONES).map(|_| service.clone()).collect();
    assert!(!waits.iter_mut().any(|clone| is_ready::<_, Task>(clone, &waker)));
    assert_eq!(pool.waiting(), CLONES);
    gate.open();
    block_on(late).unwrap();
    // Those that wait are never polled again. A thread and another clone pass them.
    pool.submit(|| ()).unwrap();
    call(&mut service.clone(), ran.task()).unwrap();
    assert!(pool.wait_idle());
    assert_eq!(ran.get(), 2);
    drop((waits, ready));
    assert_eq!((pool.waiting(), pool.stats().queued), (0, 0));
    assert!(is_ready::<_, Task>(&mut service.clone(), &waker));
}

#[test]
fn readiness_without_a_call_holds_up_nobody() {
    on_every_dispatch!(ready_without_a_call);
}

fn load_shed<D: Dispatch>() {
    let pool = pool::<D>(1, 1);
    let gate = Gate::new();
    let held = gate.clone();
    let mut service = ServiceBuilder::new().load_shed().service(pool.service(move |()| held.wait()));
    let accepted: Vec<_> = (0..2).map(|_| block_on(service.ready()).unwrap().call(())).collect();
    gate.await_arrivals(1);
    let shed = call(&mut service, ()).unwrap_err();
    assert!(shed.is::<tower::load_shed::error::Overloaded>(), "{shed}");
    gate.open();
    accepted.into_iter().for_each(|response| block_on(response).unwrap());
    assert!(pool.wait_idle());
    assert_eq!(pool.stats().completed, 2);
}

#[test]
fn load_is_shed_when_there_is_no_room() {
    on_every_dispatch!(load_shed);
}

/// Dropping a response cancels its task.
fn drops<D: Dispatch>() {
    let pool = pool::<D>(1, 2);
    let (gate, ran) = (Gate::new(), Count::new());
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let count = ran.clone();
    let mut service = pool.service(move |()| _ = count.up());
    let queued = block_on(service.ready()).unwrap().call(());
    let waits = {
        pool.try_submit(|| ()).unwrap();
        let mut waits = service.call(());
        let waker = CountingWaker::new();
        assert!(poll_with(Pin::new(&mut waits), &waker).is_pending());
        waits
    };
    drop((queued, waits));
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!((ran.get(), pool.stats().cancelled), (0, 1));
}

#[test]
fn dropping_a_response_cancels_its_task() {
    on_every_dispatch!(drops);
}

/// Tries again until it has worked.
#[derive(Clone)]
struct Again(Count);

impl<T, E> retry::Policy<u32, T, E> for Again {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, n: &mut u32, result: &mut Result<T, E>) -> Option<Self::Future> {
        *n += 1;
        result.is_err().then(|| {
            self.0.up();
            std::future::ready(())
        })
    }

    fn clone_request(&mut self, n: &u32) -> Option<u32> {
        Some(*n)
    }
}

fn layers<D: Dispatch>() {
    quiet_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    runtime.block_on(async {
        let pool = pool::<D>(2, 2);
        // Retry.
        let retries = Count::new();
        let fails = pool.service(|n: u32| {
            if n < 3 {
                quiet_panic()
            }
        });
        let mut service = ServiceBuilder::new().retry(Again(retries.clone())).service(fails);
        service.ready().await.unwrap().call(0).await.unwrap();
        assert_eq!(retries.get(), 3);
        // A timeout cancels what has not started.
        let (gate, ran) = (Gate::new(), Count::new());
        for _ in 0..2 {
            pool.submit(gate.closure()).unwrap();
        }
        let count = ran.clone();
        let counts = pool.service(move |()| _ = count.up());
        let mut service = ServiceBuilder::new().timeout(Duration::from_millis(2)).service(counts.clone());
        let late = service.ready().await.unwrap().call(()).await.unwrap_err();
        assert!(late.is::<tower::timeout::error::Elapsed>(), "{late}");
        gate.open();
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 0);
        // A buffer and a limit, from several tasks.
        let service = ServiceBuilder::new().buffer(8).layer(ConcurrencyLimitLayer::new(2)).service(counts);
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let mut service = service.clone();
                tokio::spawn(async move { service.ready().await.unwrap().call(()).await.unwrap() })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(ran.get(), 50);
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled, "{stats:?}");
    });
}

#[test]
fn layers_apply() {
    on_every_dispatch!(layers);
}

/// Many callers, who are all served.
fn contention<D: Dispatch>() {
    for queue in [0, 3] {
        let function = PoolWithFunc::builder(|task: Task| task.run()).workers(2).queue(queue).dispatch::<D>();
        let pool = Arc::new(function.build().unwrap());
        let ran = Count::new();
        together(4, |_| {
            let mut service = pool.service();
            (0..50).for_each(|_| call(&mut service, ran.task()).unwrap());
        });
        assert_eq!(ran.get(), 200);
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().waiting, 0);
    }
}

#[test]
fn all_callers_are_served() {
    on_every_dispatch!(contention);
}
