//! Faults: a panic in every place where a pool runs user code, once and every time. Each place goes through the same routine, which
//! checks conservation, the pool's use afterwards, and that nothing is left.

#[path = "../support/traps.rs"]
mod traps;

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Poller, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::support::{Gate, LIMIT, eventually, on_every_dispatch, start_thread, threads_named};
use formicary::{
    Builder, CallError, CancelToken, Context, Dispatch, Handle, Interrupter, Pool, PoolWithFunc, StatefulPool, Task,
    Worker, WorkerPool,
};
use traps::{COMMON, OF_HANDLES, OF_STATES, Place, Place::*, Trap, Value};

/// An input, and what to do with it.
struct Input(Value, Work);

impl Input {
    fn new(trap: &Trap, work: Work) -> Self {
        Input(trap.value(DropInput), work)
    }
}

enum Work {
    Answer,
    /// Panics whatever the place, so that there is something for the panic handler, and a state to rebuild.
    Panic,
    /// Waits until the caller has given up.
    Outlast,
    Wait(Gate),
}

fn process(Input(value, work): Input, given_up: impl Fn() -> bool) -> Value {
    let trap = value.trap.clone();
    trap.pass(Process);
    match work {
        Work::Answer => {}
        Work::Panic => resume_unwind(Box::new("a test's panic")),
        Work::Outlast => {
            while !given_up() {
                thread::yield_now();
            }
        }
        Work::Wait(gate) => gate.wait(),
    }
    drop(value);
    trap.value(DropOutput)
}

struct State(Value);

impl Worker for State {
    type Input = Input;
    type Output = Value;

    fn process(&mut self, input: Input, cx: &Context<'_>) -> Value {
        process(input, || cx.is_cancelled())
    }

    fn ready(&mut self) {
        self.0.trap.pass(Ready);
    }

    fn interrupter(&self) -> Option<Interrupter> {
        self.0.trap.pass(AskInterrupter);
        let trap = self.0.trap.clone();
        Some(Interrupter::new(move || trap.pass(Interrupt)))
    }

    fn terminate(self) {
        self.0.trap.pass(Terminate);
    }
}

struct Alarm(Trap);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.pass(WakeUp);
    }
}

/// A kind of pool, as the routine uses it.
trait Kind: WorkerPool<Self::Item> {
    type Item;
    const GIVES_HANDLES: bool = true;
    fn item(input: Input) -> Self::Item;
    /// Waits for the answer; drops it, or what came instead, and returns whether it was an answer.
    fn call(&self, input: Input) -> bool;
    /// Submits a task without a receiver, whose token is cancelled already.
    fn submit_cancelled(&self, input: Input);
    fn spawn(&self, _input: Input) -> Handle<Value> {
        unreachable!("it gives none")
    }
    /// Calls, and gives up while the task runs.
    fn leave(&self, _trap: &Trap) {}
}

/// Returns whether it is an answer. An error may hold a bomb, which does not belong to the pool any more.
fn is_answer(trap: &Trap, result: Result<Value, CallError<Input>>) -> bool {
    let is_answer = result.is_ok();
    match result {
        Ok(output) => trap.outside(|| drop(output)),
        Err(CallError::Refused(refusal)) => trap.outside(|| drop(refusal.into_task())),
        Err(CallError::Failed(error)) => std::mem::forget(error),
    }
    is_answer
}

fn cancelled() -> CancelToken {
    let token = CancelToken::new();
    token.cancel();
    token
}

impl<D: Dispatch> Kind for Pool<D> {
    type Item = Task;

    fn item(input: Input) -> Task {
        Task::new(move || drop(process(input, || true)))
    }
    fn call(&self, input: Input) -> bool {
        let trap = input.0.trap.clone();
        match self.run(move || process(input, || true)) {
            Ok(output) => is_answer(&trap, Ok(output)),
            Err(CallError::Failed(error)) => is_answer(&trap, Err(CallError::Failed(error))),
            Err(CallError::Refused(_)) => unreachable!("there is room"),
        }
    }
    fn submit_cancelled(&self, input: Input) {
        let trap = input.0.trap.clone();
        trap.outside(|| drop(self.with().token(&cancelled()).submit(move || drop(process(input, || true)))));
    }
    fn spawn(&self, input: Input) -> Handle<Value> {
        Pool::spawn(self, move || process(input, || true)).ok().unwrap()
    }
}

impl<D: Dispatch> Kind for PoolWithFunc<Input, D, Value> {
    type Item = Input;
    const GIVES_HANDLES: bool = false;

    fn item(input: Input) -> Input {
        input
    }
    fn call(&self, input: Input) -> bool {
        is_answer(&input.0.trap.clone(), self.run(input))
    }
    fn submit_cancelled(&self, input: Input) {
        let trap = input.0.trap.clone();
        trap.outside(|| drop(self.with().token(&cancelled()).submit(input)));
    }
}

impl<D: Dispatch> Kind for StatefulPool<State, D> {
    type Item = Input;

    fn item(input: Input) -> Input {
        input
    }
    fn call(&self, input: Input) -> bool {
        is_answer(&input.0.trap.clone(), self.run(input))
    }
    fn submit_cancelled(&self, input: Input) {
        let trap = input.0.trap.clone();
        trap.outside(|| drop(self.with().token(&cancelled()).submit(input)));
    }
    fn spawn(&self, input: Input) -> Handle<Value> {
        StatefulPool::spawn(self, input).ok().unwrap()
    }
    fn leave(&self, trap: &Trap) {
        loop {
            match self.with().timeout(Duration::from_millis(10)).run(Input::new(trap, Work::Outlast)) {
                // A busy machine: the time was up before the task had begun.
                Err(CallError::Refused(refusal)) if refusal.is_timed_out() => {
                    trap.outside(|| drop(refusal.into_task()))
                }
                other => {
                    is_answer(trap, other);
                    return;
                }
            }
        }
    }
}

/// Uses everything that a pool has while the trap is armed.
fn traffic<K: Kind>(pool: &K, trap: &Trap) {
    let gate = Gate::new();
    assert!(pool.submit(K::item(Input::new(trap, Work::Wait(gate.clone())))).is_ok());
    gate.await_arrivals(1);
    trap.arm(true);
    let pause = pool.pause();
    let number = if K::GIVES_HANDLES { 8 } else { 0 };
    let mut handles: Vec<_> = (0..number).map(|_| pool.spawn(Input::new(trap, Work::Answer))).collect();
    for _ in 0..8 {
        assert!(pool.submit(K::item(Input::new(trap, Work::Answer))).is_ok());
    }
    pool.submit_cancelled(Input::new(trap, Work::Answer));
    if let Some(handle) = handles.first_mut() {
        let waker = Waker::from(Arc::new(Alarm(trap.clone())));
        assert!(Pin::new(handle).poll(&mut Poller::from_waker(&waker)).is_pending());
    }
    drop(handles.pop());
    // The only worker is held, and others are started.
    drop(pause);
    gate.open();
    // The joining thread takes the waker's place, and the waker is woken.
    eventually("the first is done", || handles.first().is_none_or(Handle::is_finished));
    for handle in handles {
        is_answer(trap, handle.join().map_err(CallError::Failed));
    }
    pool.call(Input::new(trap, Work::Panic));
    trap.outside(|| {
        let inputs = (0..4).map(|_| {
            trap.pass(Iterate);
            K::item(Input::new(trap, Work::Answer))
        });
        assert!(pool.submit_all(&mut { inputs }).is_ok());
    });
    pool.leave(trap);
    assert!(pool.wait_idle());
}

/// No task is missing, and every worker can be had.
fn assert_works<K: Kind>(pool: &K, trap: &Trap) {
    let gate = Gate::new();
    // A worker whose state could not be made may still be exiting; the next submit finds it gone.
    eventually("every worker can be had", || {
        drop(pool.try_submit(K::item(Input::new(trap, Work::Wait(gate.clone())))));
        gate.arrived() >= pool.capacity()
    });
    gate.open();
    for _ in 0..8 {
        assert!(pool.call(Input::new(trap, Work::Answer)));
    }
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled + stats.returned, "{stats:?}");
    assert_eq!((stats.queued, stats.running, stats.waiting), (0, 0, 0), "{stats:?}");
}

fn check<K: Kind>(name: &str, trap: &Trap, pool: K) {
    let place = trap.place();
    traffic(&pool, trap);
    trap.arm(false);
    assert_works(&pool, trap);
    trap.arm(true);
    assert!(pool.shutdown_timeout(LIMIT).is_complete());
    // A thread that was started in time may have begun too late. This one is waited for.
    trap.arm(place == ThreadStart);
    pool.restart().unwrap();
    trap.arm(false);
    assert_ne!(trap.sprung(), 0, "the trap was not reached");
    assert_works(&pool, trap);
    drop(pool);
    // The threads are the spawn handler's, so the pool does not join them.
    eventually("no thread is left", || threads_named(name) == 0);
    eventually("nothing is left", || trap.values() == 0);
}

/// Three workers, one of them at the beginning, with a trap in every hook.
fn rigged<K, D: Dispatch>(builder: Builder<K>, name: &str, trap: &Trap) -> Builder<K, D> {
    let at = |place| {
        let value = trap.value(DropOutput);
        move || value.trap.pass(place)
    };
    let (start, stop, spawn, handle) = (at(ThreadStart), at(ThreadStop), at(Spawn), at(Handler));
    let builder = builder.dispatch::<D>().workers(3).min_workers(1).queue(64).thread_name(name);
    builder
        .on_thread_start(move |_| start())
        .on_thread_stop(move |_| stop())
        .panic_handler(move |_| handle())
        .spawn_handler(move |thread| {
            spawn();
            start_thread(true, thread)
        })
}

/// Lets `test` have a trap for each of `places`, and a name for the pool's threads.
fn each_trap(places: &[&[Place]], test: impl Fn(&str, &Trap)) {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    for place in places.concat() {
        for always in [false, true] {
            let name = format!("pan{}x", NAMES.fetch_add(1, SeqCst));
            eprintln!("{place:?}, always: {always}"); // seen when it fails
            test(&name, &Trap::new(place, always));
        }
    }
}

fn closures<D: Dispatch>() {
    each_trap(&[&COMMON, &OF_HANDLES], |name, trap| {
        check(name, trap, rigged::<_, D>(Pool::builder(), name, trap).build().unwrap());
    });
}

#[test]
fn closures_may_panic_anywhere() {
    on_every_dispatch!(closures);
}

fn functions<D: Dispatch>() {
    each_trap(&[&COMMON], |name, trap| {
        let value = trap.value(DropState);
        let function = move |input: Input| {
            let _captured = &value;
            process(input, || true)
        };
        check(name, trap, rigged::<_, D>(PoolWithFunc::builder(function), name, trap).build().unwrap());
    });
}

#[test]
fn functions_may_panic_anywhere() {
    on_every_dispatch!(functions);
}

fn states<D: Dispatch>() {
    each_trap(&[&COMMON, &OF_HANDLES, &OF_STATES], |name, trap| {
        let value = trap.value(DropOutput);
        let factory = move |_| {
            value.trap.pass(Factory);
            Ok(State(value.trap.value(DropState)))
        };
        check(name, trap, rigged::<_, D>(StatefulPool::builder(factory), name, trap).build().unwrap());
    });
}

#[test]
fn states_may_panic_anywhere() {
    on_every_dispatch!(states);
}
