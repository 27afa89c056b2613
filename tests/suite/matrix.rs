//! Every way to wait, every place for a panic, every moment for a cancel and every end of a pool, in all combinations: each ends
//! in time, all that was captured or returned is dropped exactly once, and the figures add up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::races::quiet_panic;
use crate::support::waking::block_on;
use crate::support::{Gate, LIMIT, each_dispatch, within};
use formicary::{
    CallError, CancelToken, Context, Dispatch, Handle, JoinError, Map, Pool, PoolControl, PoolWithFunc, StatefulPool,
    Stats, Worker,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    Join,
    JoinTimeout,
    TryJoin,
    Await,
    Shared,
    DropAtOnce,
    Call,
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Panics {
    Nowhere,
    InTask,
    InDropOfCaptures,
    InDropOfOutput,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cancel {
    Never,
    BeforeStart,
    WhileRunning,
    AfterEnd,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    After,
    DropWhileQueued,
    NowWhileQueued,
    NowWhileRunning,
}

const WAITS: [Wait; 8] =
    [Wait::Join, Wait::JoinTimeout, Wait::TryJoin, Wait::Await, Wait::Shared, Wait::DropAtOnce, Wait::Call, Wait::Map];
/// Those of a kind that gives no handles.
const WAITS_WITHOUT_HANDLE: [Wait; 3] = [Wait::DropAtOnce, Wait::Call, Wait::Map];
const PANICS: [Panics; 4] = [Panics::Nowhere, Panics::InTask, Panics::InDropOfCaptures, Panics::InDropOfOutput];
const CANCELS: [Cancel; 4] = [Cancel::Never, Cancel::BeforeStart, Cancel::WhileRunning, Cancel::AfterEnd];
const ENDS: [End; 4] = [End::After, End::DropWhileQueued, End::NowWhileQueued, End::NowWhileRunning];

#[derive(Clone, Copy, Debug)]
struct Case {
    wait: Wait,
    panics: Panics,
    cancel: Cancel,
    end: End,
}

impl Case {
    /// Whether the task starts.
    fn runs(&self) -> bool {
        self.cancel != Cancel::BeforeStart && self.end != End::NowWhileQueued
    }

    /// Whether the task, if it runs, ends with a panic that its waiter sees.
    fn is_panic_seen(&self) -> bool {
        matches!(self.panics, Panics::InTask | Panics::InDropOfCaptures)
    }
}

/// How many were made, and how many were dropped.
#[derive(Clone, Default)]
struct Ledger(Arc<(AtomicUsize, AtomicUsize)>);

impl Ledger {
    fn figures(&self) -> (usize, usize) {
        (self.0.0.load(SeqCst), self.0.1.load(SeqCst))
    }
}

/// Tells of its drop, and panics in it, if it is to.
struct Marked {
    ledger: Ledger,
    drops: usize,
    is_bomb: bool,
}

impl Marked {
    fn new(ledger: &Ledger, is_bomb: bool) -> Self {
        ledger.0.0.fetch_add(1, SeqCst);
        Marked { ledger: ledger.clone(), drops: 0, is_bomb }
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.drops += 1;
        assert_eq!(self.drops, 1);
        self.ledger.0.1.fetch_add(1, SeqCst);
        if self.is_bomb && !thread::panicking() {
            quiet_panic();
        }
    }
}

/// Drops something that may panic.
fn dispose<T>(it: T) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(it))));
}

/// The work of a task: comes to a gate, waits there, and ends as it was told.
struct Load {
    captured: Marked,
    gate: Gate,
    panics: Panics,
    /// If the pool takes no token, the task asks for one itself.
    heeds: Option<CancelToken>,
}

/// The output of a task, or the task itself if it was cancelled before it began.
type Worked = Result<Marked, Load>;

impl Load {
    fn new(ledger: &Ledger, gate: &Gate, panics: Panics) -> Self {
        let captured = Marked::new(ledger, panics == Panics::InDropOfCaptures);
        Load { captured, gate: gate.clone(), panics, heeds: None }
    }

    fn heeding(self, token: &CancelToken) -> Self {
        Load { heeds: Some(token.clone()), ..self }
    }

    fn work(self) -> Worked {
        if self.heeds.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(self);
        }
        let Load { captured, gate, panics, heeds: _ } = self;
        gate.wait();
        if panics == Panics::InTask {
            quiet_panic();
        }
        let ledger = captured.ledger.clone();
        // Here and not at the end: the compiler does not drop a return value when a later drop panics.
        drop(captured);
        Ok(Marked::new(&ledger, panics == Panics::InDropOfOutput))
    }
}

struct Works;

impl Worker for Works {
    type Input = Load;
    type Output = Worked;

    fn process(&mut self, load: Load, _: &Context<'_>) -> Worked {
        load.work()
    }
}

/// `Err(None)`: the task came back.
type Called = Result<Worked, Option<JoinError>>;

/// What this test needs of a pool.
trait Nest: Send + Sync + 'static {
    /// A handle, if the kind gives any.
    fn enter(&self, token: &CancelToken, load: Load) -> Option<Handle<Worked>>;
    fn call(&self, token: &CancelToken, load: Load) -> Called;
    /// Maps one item.
    fn map(&self, load: Load) -> Called;
    fn end_now(&self);
    fn end(&self);
    fn stats(&self) -> Stats;
    fn is_closed(&self) -> bool;
}

fn failure<I>(error: CallError<I>) -> Option<JoinError> {
    match error {
        CallError::Refused(refusal) => {
            dispose(refusal);
            None
        }
        CallError::Failed(failed) => Some(failed),
    }
}

fn only<I: Iterator>(map: Map<'_, I, Worked>) -> Called {
    map.results().next().unwrap().map_err(failure)
}

/// How a kind of pool is ended and inspected, which is the same for all, and its own ways to submit.
macro_rules! nest {
    ($pool:ty, $($ways_in:item)*) => {
        impl<D: Dispatch> Nest for $pool {
            $($ways_in)*

            fn end_now(&self) {
                self.shutdown_now().into_iter().for_each(dispose);
            }

            fn end(&self) {
                assert!(self.shutdown().is_complete());
            }

            fn stats(&self) -> Stats {
                PoolControl::stats(self)
            }

            fn is_closed(&self) -> bool {
                PoolControl::is_closed(self)
            }
        }
    };
}

nest! {
    Pool<D>,

    fn enter(&self, token: &CancelToken, load: Load) -> Option<Handle<Worked>> {
        Some(self.with().token(token).spawn(move || load.work()).unwrap())
    }

    fn call(&self, token: &CancelToken, load: Load) -> Called {
        let load = load.heeding(token);
        self.run(move || load.work()).map_err(failure)
    }

    fn map(&self, load: Load) -> Called {
        only(Pool::map(self, [load], Load::work))
    }
}

nest! {
    PoolWithFunc<Load, D, Worked>,

    fn enter(&self, token: &CancelToken, load: Load) -> Option<Handle<Worked>> {
        self.with().token(token).submit(load).unwrap();
        None
    }

    fn call(&self, token: &CancelToken, load: Load) -> Called {
        PoolWithFunc::run(self, load.heeding(token)).map_err(failure)
    }

    fn map(&self, load: Load) -> Called {
        only(PoolWithFunc::map(self, [load]))
    }
}

nest! {
    StatefulPool<Works, D>,

    fn enter(&self, token: &CancelToken, load: Load) -> Option<Handle<Worked>> {
        Some(self.with().token(token).spawn(load).unwrap())
    }

    fn call(&self, token: &CancelToken, load: Load) -> Called {
        self.with().token(token).run(load).map_err(failure)
    }

    fn map(&self, load: Load) -> Called {
        only(StatefulPool::map(self, [load]))
    }
}

/// What a waiter found out.
#[derive(Debug, PartialEq)]
enum Answer {
    Value,
    Panic,
    Cancelled,
    /// No caller asked.
    None,
}

fn answer(result: Result<Worked, JoinError>) -> Answer {
    let answer = match &result {
        Ok(Ok(_)) => Answer::Value,
        // By itself.
        Ok(Err(_)) => Answer::Cancelled,
        Err(error) if error.is_panic() => Answer::Panic,
        Err(error) => {
            assert!(error.is_cancelled(), "{error}");
            Answer::Cancelled
        }
    };
    dispose(result);
    answer
}

fn wait_for(mut handle: Handle<Worked>, wait: Wait) -> Answer {
    match wait {
        Wait::Join => answer(handle.join()),
        Wait::JoinTimeout => loop {
            if let Some(result) = handle.join_timeout(Duration::from_micros(200)) {
                break answer(result);
            }
        },
        Wait::TryJoin => loop {
            match handle.try_join() {
                Some(result) => break answer(result),
                None => thread::yield_now(),
            }
        },
        Wait::Await => answer(block_on(handle)),
        Wait::Shared => {
            // A value that may only be inspected here; the last clone drops it.
            let shared = share(handle);
            let other = shared.clone();
            let found = shared.0.join();
            assert_eq!(found, other.0.join());
            found
        }
        Wait::DropAtOnce | Wait::Call | Wait::Map => unreachable!("has no handle to wait with"),
    }
}

/// A shared handle that is dropped without a panic.
#[derive(Clone)]
struct Shared(Arc<SharedInner>);

struct SharedInner(Option<formicary::SharedHandle<Worked>>);

fn share(handle: Handle<Worked>) -> Shared {
    Shared(Arc::new(SharedInner(Some(handle.shared()))))
}

impl SharedInner {
    fn join(&self) -> Answer {
        match self.0.as_ref().unwrap().clone().join() {
            Ok(_) => Answer::Value,
            Err(error) if error.is_panic() => Answer::Panic,
            Err(_) => Answer::Cancelled,
        }
    }
}

impl Drop for SharedInner {
    fn drop(&mut self) {
        dispose(self.0.take());
    }
}

fn spin_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// One combination, on a pool of one worker.
fn run(case: Case, pool: Arc<dyn Nest>) {
    let (ledger, token) = (Ledger::default(), CancelToken::new());
    let (first, gate) = (Gate::new(), Gate::new());
    // It holds the worker, so that what comes next is queued.
    drop(pool.enter(&CancelToken::new(), Load::new(&ledger, &first, Panics::Nowhere)));
    first.await_arrivals(1);
    let load = Load::new(&ledger, &gate, case.panics);
    let waiter = match case.wait {
        Wait::Call | Wait::Map => {
            let (pool, token) = (Arc::downgrade(&pool), token.clone());
            // The call itself must not keep the pool from being dropped, but the queue holds a call until it has ended.
            let calls = pool.upgrade().unwrap();
            let waiter = thread::spawn(move || {
                let called = match case.wait {
                    Wait::Map => calls.map(load.heeding(&token)),
                    _ => calls.call(&token, load),
                };
                match called {
                    Ok(worked) => answer(Ok(worked)),
                    Err(Some(error)) => answer(Err(error)),
                    Err(None) => Answer::Cancelled,
                }
            });
            spin_until(|| pool.upgrade().is_some_and(|pool| pool.stats().queued == 1));
            Some(waiter)
        }
        Wait::DropAtOnce => {
            drop(pool.enter(&token, load));
            None
        }
        wait => {
            let handle = pool.enter(&token, load).unwrap();
            Some(thread::spawn(move || wait_for(handle, wait)))
        }
    };
    if case.cancel == Cancel::BeforeStart {
        token.cancel();
    }
    let now = |pool: &Arc<dyn Nest>| {
        let ends = Arc::clone(pool);
        let ending = thread::spawn(move || ends.end_now());
        spin_until(|| pool.is_closed());
        ending
    };
    let (mut ending, mut pool) = (None, Some(pool));
    match case.end {
        End::NowWhileQueued => ending = pool.as_ref().map(now),
        End::DropWhileQueued => {
            let pool = pool.take();
            ending = Some(thread::spawn(move || drop(pool)));
        }
        _ => {}
    }
    first.open();
    if case.runs() {
        gate.await_arrivals(1);
        if case.cancel == Cancel::WhileRunning {
            token.cancel();
        }
        if case.end == End::NowWhileRunning {
            ending = pool.as_ref().map(now);
        }
    }
    gate.open();
    let answer = waiter.map_or(Answer::None, |waiter| waiter.join().unwrap());
    if case.cancel == Cancel::AfterEnd {
        token.cancel();
    }
    if let Some(ending) = ending {
        ending.join().unwrap();
    }
    if let Some(pool) = pool {
        pool.end();
        let stats = pool.stats();
        let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned;
        assert_eq!((stats.submitted, ended), (2, 2), "{stats:?}");
        assert_eq!((stats.queued, stats.running, stats.live), (0, 0, 0), "{stats:?}");
    }
    let (made, dropped) = ledger.figures();
    assert_eq!(made, dropped);
    let expected: &[Answer] = match () {
        () if case.wait == Wait::DropAtOnce => &[Answer::None],
        () if !case.runs() => &[Answer::Cancelled],
        // The call gets no answer any more, or only just.
        () if case.wait == Wait::Call && case.cancel == Cancel::WhileRunning => {
            &[Answer::Cancelled, Answer::Value, Answer::Panic]
        }
        () if case.is_panic_seen() => &[Answer::Panic],
        () => &[Answer::Value],
    };
    assert!(expected.contains(&answer), "{answer:?}, not {expected:?}");
}

fn matrix<D: Dispatch>() {
    type Build = fn() -> Arc<dyn Nest>;
    let builds: [(&str, &[Wait], Build); 3] = [
        ("Pool", &WAITS, || Arc::new(Pool::builder().workers(1).queue(4).dispatch::<D>().build().unwrap())),
        ("PoolWithFunc", &WAITS_WITHOUT_HANDLE, || {
            Arc::new(PoolWithFunc::builder(Load::work).workers(1).queue(4).dispatch::<D>().build().unwrap())
        }),
        ("StatefulPool", &WAITS, || {
            let builder = StatefulPool::builder(|_| Ok(Works)).workers(1).queue(4);
            Arc::new(builder.dispatch::<D>().build().unwrap())
        }),
    ];
    for (kind, waits, build) in builds {
        for &wait in waits {
            for panics in PANICS {
                for cancel in CANCELS {
                    for end in ENDS {
                        let case = Case { wait, panics, cancel, end };
                        within(LIMIT, &format!("{}/{kind}: {case:?}", D::NAME), move || run(case, build()));
                    }
                }
            }
        }
    }
}

/// 3,648 combinations.
#[test]
fn every_combination_ends_with_all_dropped_once_and_all_counted() {
    let mut threads = Vec::new();
    macro_rules! start {
        ($dispatch:ty, $name:literal) => {
            threads.push(thread::spawn(matrix::<$dispatch>));
        };
    }
    each_dispatch!(start);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
