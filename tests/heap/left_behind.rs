//! D11, D14, D19: a handle leaves no waker and no memory behind, and no waker is called, cloned or dropped under a lock.

use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, RawWaker, RawWakerVTable, Waker};

use crate::support::allocator::{alone, bytes};
use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::waking::{Bell, poll_with};
use crate::support::{Gate, LIMIT, eventually, on_every_dispatch};
use formicary::{Dispatch, Handle, StatefulPool};
#[cfg(feature = "stream")]
use futures_core::Stream as _;
use parking_lot::Mutex;

/// D19: a handle that was polled and is dropped keeps no waker, though its task still runs or is queued.
fn polled_and_dropped<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let (gate, held) = (Gate::new(), Gate::new());
    let at = gate.clone();
    let mut running = pool.spawn(move || at.wait()).unwrap();
    gate.await_arrivals(1);
    let mut queued = pool.spawn(move || held.open()).unwrap();
    for handle in [&mut running, &mut queued] {
        let (first, second) = (Bell::new(), Bell::new());
        assert!(poll_with(Pin::new(handle), &first).is_pending());
        assert_eq!(Arc::strong_count(&first), 2);
        assert!(poll_with(Pin::new(handle), &second).is_pending());
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2), "a replaced waker stays");
    }
    let bell = Bell::new();
    assert!(poll_with(Pin::new(&mut running), &bell).is_pending());
    assert!(poll_with(Pin::new(&mut queued), &bell).is_pending());
    drop(queued);
    assert_eq!(Arc::strong_count(&bell), 2);
    // A handle that has become shared drops it with the last of the shared ones.
    let shared = running.shared();
    drop(shared.clone());
    drop(shared);
    assert_eq!(Arc::strong_count(&bell), 1);
    gate.open();
    assert_quiet(&pool);
    assert_eq!(bell.rung(), 0);
}

#[test]
fn d19_a_dropped_handle_keeps_no_waker() {
    let _alone = alone();
    on_every_dispatch!(polled_and_dropped);
}

/// A waker that calls back when it is cloned, woken or dropped, the first time each.
struct Calling(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    clone: Option<Box<dyn FnOnce() + Send>>,
    wake: Option<Box<dyn FnOnce() + Send>>,
    drop: Option<Box<dyn FnOnce() + Send>>,
}

impl Calling {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(Self::clone, Self::wake, Self::wake_by_ref, Self::drop);

    fn waker(calls: Calls) -> Waker {
        let data = Arc::into_raw(Arc::new(Calling(Mutex::new(calls))));
        // SAFETY: the table's functions take such a pointer, and count as those of `std::task::Wake` do.
        unsafe { Waker::from_raw(RawWaker::new(data.cast(), &Self::VTABLE)) }
    }

    /// # Safety
    /// `data` is a waker's.
    unsafe fn of(data: *const ()) -> ManuallyDrop<Arc<Self>> {
        // SAFETY: as the caller promises; the count is not touched.
        ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Self>()) })
    }

    fn call(call: impl FnOnce() -> Option<Box<dyn FnOnce() + Send>>) {
        let call = call();
        call.into_iter().for_each(|call| call());
    }

    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: the table's functions are called with a waker's pointer.
        let this = unsafe { Self::of(data) };
        Self::call(|| this.0.lock().clone.take());
        RawWaker::new(Arc::into_raw(Arc::clone(&this)).cast(), &Self::VTABLE)
    }

    unsafe fn wake(data: *const ()) {
        // SAFETY: the table's functions are called with a waker's pointer, and this call consumes the waker.
        unsafe {
            Self::wake_by_ref(data);
            Self::drop(data);
        }
    }

    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: the table's functions are called with a waker's pointer.
        let this = unsafe { Self::of(data) };
        Self::call(|| this.0.lock().wake.take());
    }

    unsafe fn drop(data: *const ()) {
        // SAFETY: the table's functions are called with a waker's pointer, and this call consumes the waker.
        let this = ManuallyDrop::into_inner(unsafe { Self::of(data) });
        // Not when this is the test's own.
        if Arc::strong_count(&this) > 1 {
            Self::call(|| this.0.lock().drop.take());
        }
    }
}

/// When a waker is called.
#[derive(Clone, Copy, Debug)]
enum When {
    Clone,
    Wake,
    Replaced,
    Dropped,
}

/// D11: a waker lets the task end and waits for that: the thread that ends the task needs the lock of the task state.
fn waits_for_the_end<D: Dispatch>(when: When) {
    let pool = pool::<D>(1, 10);
    let gate = occupy(&pool);
    let handle = pool.spawn(|| 7).unwrap();
    let end = {
        let (pool, gate) = (Arc::clone(&pool), gate.clone());
        move || {
            gate.open();
            assert!(pool.wait_idle_timeout(LIMIT / 2), "the worker waits for a lock that is held meanwhile: {when:?}");
        }
    };
    let mut calls = Calls::default();
    match when {
        When::Clone => calls.clone = Some(Box::new(end)),
        // It runs inside the end of the task and cannot wait for it, but it can ask.
        When::Wake => {
            let (pool, woken) = (Arc::clone(&pool), gate.clone());
            let token = handle.token();
            calls.wake = Some(Box::new(move || {
                token.cancel();
                drop(pool.stats());
                woken.wait();
            }));
        }
        _ => calls.drop = Some(Box::new(end)),
    }
    let (waker, mut handle) = (Calling::waker(calls), handle);
    let poll = |handle: &mut Handle<i32>, waker: &Waker| Pin::new(handle).poll(&mut Poller::from_waker(waker));
    let first = poll(&mut handle, &waker);
    match when {
        When::Clone => {
            let result = if first.is_ready() { first } else { poll(&mut handle, Waker::noop()) };
            assert!(matches!(result, std::task::Poll::Ready(Ok(7))));
        }
        When::Wake => {
            gate.open();
            eventually("it was woken", || gate.arrived() == 2);
            assert_eq!(handle.join().unwrap(), 7);
        }
        When::Replaced => assert!(poll(&mut handle, Waker::noop()).is_pending()),
        When::Dropped => drop(handle),
    }
    assert_quiet(&pool);
}

fn waiting_wakers<D: Dispatch>() {
    for when in [When::Clone, When::Wake, When::Replaced, When::Dropped] {
        waits_for_the_end::<D>(when);
    }
}

#[test]
fn d11_a_waker_that_waits_for_the_pool() {
    let _alone = alone();
    on_every_dispatch!(waiting_wakers);
}

/// Of a task's captures or its result.
const LARGE: usize = 16 << 10;
const TASKS: usize = 2000;
/// What a task may leave behind while its handle is there.
const SMALL: usize = 1 << 10;

fn large(n: usize) -> [usize; LARGE / size_of::<usize>()] {
    [n; LARGE / size_of::<usize>()]
}

/// D14: handles that are kept hold no captures of their tasks, and no result that was taken.
fn kept_handles<D: Dispatch>() {
    let pool = pool::<D>(2, TASKS);
    let before = bytes();
    let spawn = |n| {
        let captured = large(n);
        pool.spawn(move || black_box(captured)[1]).unwrap()
    };
    let mut handles: Vec<_> = (0..TASKS).map(spawn).collect();
    assert!(pool.wait_idle());
    let left = bytes().saturating_sub(before) / TASKS;
    assert!(left < SMALL, "{left} bytes for each finished task");
    assert!(handles.iter_mut().enumerate().all(|(n, handle)| handle.try_join().unwrap().unwrap() == n));
    drop(handles);

    let before = bytes();
    let mut handles: Vec<_> = (0..TASKS).map(|n| pool.spawn(move || large(n)).unwrap()).collect();
    for (n, handle) in handles.iter_mut().enumerate() {
        assert_eq!(handle.join_timeout(LIMIT).unwrap().unwrap()[1], n);
    }
    let left = bytes().saturating_sub(before) / TASKS;
    assert!(left < SMALL, "{left} bytes for each result that was taken");
    drop(handles);
    assert_quiet(&pool);
}

#[test]
fn d14_a_kept_handle_keeps_nothing_of_its_task() {
    let _alone = alone();
    on_every_dispatch!(kept_handles);
}

/// D14: the same inside a worker, which runs what it waits for, while the references to these tasks are still queued.
fn inside<D: Dispatch>() {
    let pool = pool::<D>(1, TASKS);
    let own = Arc::clone(&pool);
    let left = pool.run(move || {
        let before = bytes();
        for n in 0..TASKS {
            let captured = large(n);
            let handle = own.spawn(move || black_box(captured)).unwrap();
            assert_eq!(handle.join().unwrap()[1], n);
        }
        bytes().saturating_sub(before) / TASKS
    });
    let left = left.unwrap();
    assert!(left < SMALL, "{left} bytes for each task that was joined");
    assert_quiet(&pool);
}

#[test]
fn d14_finished_work_keeps_no_memory_inside_a_worker() {
    let _alone = alone();
    on_every_dispatch!(inside);
}

/// Takes large inputs.
struct Takes;

impl formicary::Worker for Takes {
    type Input = [usize; LARGE / size_of::<usize>()];
    type Output = usize;

    fn process(&mut self, input: Self::Input, _: &formicary::Context<'_>) -> usize {
        input[1]
    }
}

/// D14: inputs of workers with state.
fn inputs<D: Dispatch>() {
    let pool = StatefulPool::builder(|_| Ok(Takes)).workers(1).queue(TASKS).dispatch::<D>().build().unwrap();
    let before = bytes();
    let handles: Vec<_> = (0..TASKS).map(|n| pool.spawn(large(n)).unwrap()).collect();
    assert!(pool.wait_idle());
    let left = bytes().saturating_sub(before) / TASKS;
    assert!(left < SMALL, "{left} bytes for each finished task");
    drop(handles);
}

#[test]
fn d14_a_kept_handle_keeps_nothing_of_its_input() {
    let _alone = alone();
    on_every_dispatch!(inputs);
}

/// D19: what a stream or a map left with a task is dropped with it.
#[cfg(feature = "stream")]
fn dropped_stream<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let gate = Gate::new();
    let held = gate.clone();
    let map = pool.map(0..3, move |n| {
        held.wait();
        n
    });
    let mut stream = Box::pin(map.into_stream());
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    let polled = futures_core::Stream::poll_next(stream.as_mut(), &mut Poller::from_waker(&waker));
    assert!(polled.is_pending());
    drop(waker);
    gate.await_arrivals(1);
    drop(stream);
    assert_eq!(Arc::strong_count(&bell), 1);
    gate.open();
    assert!(pool.wait_idle());
}

#[cfg(feature = "stream")]
#[test]
fn d19_a_dropped_stream_keeps_no_waker() {
    let _alone = alone();
    on_every_dispatch!(dropped_stream);
}

/// D07: a stream that is polled by a task of its own pool.
#[cfg(feature = "stream")]
fn stream_inside<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let own = Arc::clone(&pool);
    let sum = pool.run(move || {
        let mut stream = Box::pin(own.map(0..8, |n| n).into_stream());
        let mut sum = 0;
        crate::support::waking::block_on(async {
            while let Some(n) = std::future::poll_fn(|poller| stream.as_mut().poll_next(poller)).await {
                sum += n.unwrap();
            }
        });
        sum
    });
    assert_eq!(sum.unwrap(), 28);

    assert_quiet(&pool);
}

#[cfg(feature = "stream")]
#[test]
fn d07_a_stream_inside_its_own_pool() {
    let _alone = alone();
    on_every_dispatch!(stream_inside);
}
