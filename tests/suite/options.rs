//! Options before the verb, on every kind of pool: each alone, some together, and what a task can ask about itself.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::refusals::assert_each_verb_refuses;
use crate::support::waking::{Bell, block_on, poll_with};
use crate::support::{Count, Gate, RunTask, eventually, on_every_dispatch, within};
use formicary::{
    Accepts, Builder, CallError, CancelToken, Context, Dispatch, Nested, Pool, PoolControl, PoolWithFunc, Sharded,
    StatefulPool, SubmitErrorKind, Task, With,
};

const LONG: Duration = Duration::from_secs(30);

/// A pool made to run tasks, of one worker and no queue, and its options.
struct Subject<'p, P> {
    with: With<'p, P>,
    control: &'p PoolControl<Task>,
}

/// Runs a check on each kind of pool on a dispatch.
macro_rules! on_kinds {
    ($dispatch:ty, $change:expr, $check:ident) => {{
        let closures = change(Pool::builder(), $change).dispatch::<$dispatch>().build().unwrap();
        $check(&Subject { with: closures.with(), control: &closures });
        let function = change(PoolWithFunc::builder(Task::run), $change).dispatch::<$dispatch>().build().unwrap();
        $check(&Subject { with: function.with(), control: &function });
        let states = change(StatefulPool::builder(|_| Ok(RunTask)), $change).dispatch::<$dispatch>().build().unwrap();
        $check(&Subject { with: states.with(), control: &states });
    }};
}

#[derive(Clone, Copy, PartialEq)]
enum Setup {
    Plain,
    Nonblocking,
}

fn change<K>(builder: Builder<K>, setup: Setup) -> Builder<K> {
    builder.workers(1).queue(0).nonblocking(setup == Setup::Nonblocking)
}

impl<P: Accepts<Task, Output = ()>> Subject<'_, P> {
    /// Fills the pool until the gate opens.
    fn fill(&self) -> Gate {
        let gate = Gate::new();
        self.with.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        gate
    }

    fn empty(&self, gate: &Gate) {
        gate.open();
        assert!(self.control.wait_idle());
    }
}

/// A task that tells what it learns of itself.
fn telling<T: Send + 'static>(
    ask: impl FnOnce(&Context<'_>) -> T + Send + 'static,
) -> (Task, impl FnOnce() -> Option<T>) {
    let (tell, told) = channel();
    (Task::new(move || tell.send(Context::with(ask)).unwrap()), move || told.recv().unwrap())
}

/// Every refusal hands the task back with the reason, by each verb.
fn refusals<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let Subject { with, control } = subject;
    let (never, cancelled) = (Count::new(), CancelToken::new());
    cancelled.cancel();
    let checks = [
        (with.clone().token(&cancelled), SubmitErrorKind::Cancelled),
        (with.clone().deadline(Instant::now()), SubmitErrorKind::TimedOut),
        (with.clone().timeout(Duration::ZERO), SubmitErrorKind::TimedOut),
        (with.clone().token(&cancelled).timeout(LONG).name("both"), SubmitErrorKind::Cancelled),
    ];
    let gate = subject.fill();
    for (options, kind) in checks {
        assert_each_verb_refuses(&options, kind, &never);
    }
    assert_eq!(never.get(), 4, "what was given back can be run");
    let short = with.clone().room_timeout(Duration::from_millis(2));
    assert_eq!(short.submit(never.task()).unwrap_err().kind(), SubmitErrorKind::TimedOut);
    assert_eq!(short.try_submit(never.task()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert_eq!(block_on(short.submit_async(never.task())).unwrap_err().kind(), SubmitErrorKind::TimedOut);
    let patient = with.clone().room_timeout(LONG).token(&CancelToken::new()).name("patient");
    assert_eq!(patient.try_submit(never.task()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert_eq!(patient.try_spawn(never.task()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert!(patient.try_run(never.task()).unwrap_err().is_full());
    subject.empty(&gate);
    assert_eq!(never.get(), 4, "no other has run");
    assert_eq!(control.stats().submitted, 1);
}

fn refused<D: Dispatch>() {
    on_kinds!(D, Setup::Plain, refusals);
}

#[test]
fn every_option_that_refuses_hands_the_task_back() {
    on_every_dispatch!(refused);
}

/// A time for room makes a pool wait that does not otherwise, and bounds nothing but that.
fn waits_for_room<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let gate = subject.fill();
    assert!(subject.with.submit(Task::new(|| ())).unwrap_err().is_full());
    thread::scope(|scope| {
        let patient = subject.with.clone().room_timeout(LONG);
        let waits = scope.spawn(move || patient.submit(Task::new(|| ())));
        eventually("it waits", || subject.control.waiting() == 1);
        gate.open();
        waits.join().unwrap().unwrap();
    });
    assert!(subject.control.wait_idle());
    let (task, told) = telling(|cx| (cx.deadline(), cx.is_cancelled()));
    subject.with.clone().room_timeout(LONG).run(task).unwrap();
    assert_eq!(told(), Some((None, false)));
}

fn waiting<D: Dispatch>() {
    on_kinds!(D, Setup::Nonblocking, waits_for_room);
}

#[test]
fn a_time_for_room_is_for_room_only() {
    on_every_dispatch!(waiting);
}

/// What a task asks is what it was given, by each verb; and what has no options has none.
fn answers<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let Subject { with, control } = subject;
    let token = CancelToken::new();
    let latest = Instant::now() + 2 * LONG;
    let all = with.clone().token(&token).timeout(LONG).name("resize");
    let ask = |cx: &Context<'_>| (cx.worker(), cx.name().map(str::to_owned), cx.deadline(), cx.is_cancelled());
    let check = |told: Option<(usize, Option<String>, Option<Instant>, bool)>| {
        let (worker, name, deadline, is_cancelled) = told.unwrap();
        assert_eq!((worker, name.as_deref(), is_cancelled), (0, Some("resize"), false));
        assert!(deadline.is_some_and(|d| d > Instant::now() && d < latest));
    };
    let (task, told) = telling(ask);
    all.submit(task).unwrap();
    check(told());
    let (task, told) = telling(ask);
    all.spawn(task).unwrap().join().unwrap();
    check(told());
    let (task, told) = telling(ask);
    all.run(task).unwrap();
    check(told());
    let (task, told) = telling(ask);
    block_on(all.run_async(task)).unwrap();
    check(told());
    let (task, told) = telling(ask);
    with.submit(task).unwrap();
    assert_eq!(told(), Some((0, None, None, false)), "the name of the last one has gone with it");
    assert!(Context::with(|_| ()).is_none(), "this is no worker");
    // The token reaches the task by whichever verb.
    let (task, told) = telling(|cx| cx.token().map(CancelToken::is_cancelled));
    let asks = token.clone();
    let both = Task::new(move || {
        asks.cancel();
        task.run();
    });
    all.submit(both).unwrap();
    assert_eq!(told(), Some(Some(true)));
    assert!(control.wait_idle());
}

fn answered<D: Dispatch>() {
    on_kinds!(D, Setup::Plain, answers);
}

#[test]
fn a_task_can_ask_what_it_was_given() {
    on_every_dispatch!(answered);
}

/// A deadline ends each wait: in the queue, where the task never starts, and during the run, for a caller.
fn ends<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let Subject { with, control } = subject;
    let (never, soon) = (Count::new(), Duration::from_millis(2));
    let pause = control.pause();
    let queued = with.clone().timeout(soon).spawn(never.task()).unwrap();
    thread::sleep(soon);
    drop(pause);
    let error = queued.join().unwrap_err();
    assert!(error.is_timed_out() && error.is_cancelled(), "{error}");
    // Until the caller has left while the task runs; a busy machine may have him leave earlier.
    for is_async in [false, true] {
        loop {
            let gate = Gate::new();
            let options = with.clone().timeout(Duration::from_millis(5));
            let result = match is_async {
                false => options.run(gate.task()),
                true => block_on(options.run_async(gate.task())),
            };
            gate.open();
            assert!(control.wait_idle());
            let error = result.unwrap_err();
            assert!(error.is_timed_out(), "{error}");
            if gate.arrived() == 1 {
                break;
            }
        }
    }
    assert_eq!(never.get(), 0);
}

fn ended<D: Dispatch>() {
    on_kinds!(D, Setup::Plain, ends);
}

#[test]
fn a_deadline_bounds_the_queue_and_the_run() {
    on_every_dispatch!(ended);
}

/// A future that waits for room and is dropped takes its task back; one whose task is in lets it go on.
fn dropped<D: Dispatch>() {
    let pool: Pool<D> = Pool::builder().workers(1).queue(0).dispatch().build().unwrap();
    let (gate, ran) = (Gate::new(), Count::new());
    pool.with().submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    let bell = Bell::new();
    let token = CancelToken::new();
    let mut waits = Box::pin(pool.with().token(&token).name("waits").run_async(ran.task()));
    assert!(poll_with(waits.as_mut(), &bell).is_pending());
    assert_eq!(pool.waiting(), 1);
    drop(waits);
    assert_eq!(pool.waiting(), 0);
    gate.open();
    assert!(pool.wait_idle());
    let (held, second) = (Gate::new(), ran.clone());
    let at = held.clone();
    let work = move || {
        at.wait();
        second.up();
    };
    let mut runs = Box::pin(pool.with().token(&token).run_async(work));
    assert!(poll_with(runs.as_mut(), &bell).is_pending());
    held.await_arrivals(1);
    drop(runs);
    held.open();
    assert!(pool.wait_idle());
    assert_eq!(ran.get(), 1);
}

#[test]
fn a_future_that_is_dropped_takes_back_what_is_not_in() {
    on_every_dispatch!(dropped);
}

/// A task in the middle of another is the current one meanwhile, with options or without.
fn nested<D: Dispatch>() {
    let pool: Arc<Pool<D>> = Arc::new(Pool::builder().workers(1).dispatch().build().unwrap());
    let own = Arc::downgrade(&pool);
    let name = || Context::with(|cx| cx.name().map(str::to_owned)).unwrap();
    let names = pool.with().name("outer").run(move || {
        let pool = own.upgrade().unwrap();
        let first = name();
        let plain = pool.run(name).unwrap();
        let inner = pool.with().name("inner").run(name).unwrap();
        let unwound = pool
            .with()
            .name("unwound")
            .run(|| std::panic::resume_unwind(Box::new(())))
            .is_err_and(|e: CallError<_>| e.is_panic());
        (first, plain, inner, unwound, name())
    });
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(names.unwrap(), (some("outer"), None, some("inner"), true, some("outer")));
    assert_eq!(pool.run(name).unwrap(), None);
}

/// The same where the inner one has no slot: the only worker at its own full door runs what it brings.
fn in_hand<D: Dispatch>() {
    let builder = Pool::builder().workers(1).queue(0).nested(Nested::Bounded);
    let pool: Arc<Pool<D>> = Arc::new(builder.dispatch().build().unwrap());
    let own = Arc::downgrade(&pool);
    let names = pool.with().name("outer").run(move || {
        let (tell, told) = channel();
        let name = || Context::with(|cx| cx.name().map(str::to_owned)).unwrap();
        own.upgrade().unwrap().submit(move || tell.send(name()).unwrap()).unwrap();
        (told.recv().unwrap(), name())
    });
    assert_eq!(names.unwrap(), (None, Some("outer".to_owned())));
}

#[test]
fn the_current_task_is_the_innermost() {
    on_every_dispatch!(nested);
    on_every_dispatch!(in_hand);
}

/// A graceful shutdown tells what runs to stop, with a token of its own or without.
fn told_to_stop<P: Accepts<Task, Output = ()>>(subject: &Subject<'_, P>) {
    let (begun, token) = (Gate::new(), CancelToken::new());
    let at = begun.clone();
    let until_told = Task::new(move || {
        at.open();
        at.wait();
        while Context::with(|cx| cx.is_cancelled()) == Some(false) {
            thread::yield_now();
        }
    });
    subject.with.clone().token(&token).submit(until_told).unwrap();
    begun.await_arrivals(1);
    drop(subject.control.shutdown_graceful(Duration::from_millis(1)));
    assert!(subject.control.shutdown_timeout(LONG).is_complete());
    assert!(!token.is_cancelled(), "the user's token is the user's");
}

fn stopped<D: Dispatch>() {
    on_kinds!(D, Setup::Plain, told_to_stop);
}

#[test]
fn a_graceful_shutdown_is_heard_by_what_asks() {
    on_every_dispatch!(stopped);
}

/// One value of options serves many submissions, from several threads, with a key too.
#[test]
fn options_are_reused() {
    within(crate::support::LIMIT, "options", || {
        let pool = Pool::builder().workers(2).dispatch::<Sharded>().shards(2).build().unwrap();
        let (acme, ran) = (pool.with().key("acme").name("acme").timeout(LONG), Count::new());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..50).for_each(|_| acme.submit(ran.task()).unwrap()));
            }
        });
        assert_eq!(acme.submit_all((0..10).map(|_| ran.task())).unwrap(), 10);
        assert_eq!(acme.run(|| 7).unwrap(), 7);
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 110);
        let submitted: Vec<_> = pool.stats().shards.iter().map(|shard| shard.submitted).collect();
        assert_eq!(submitted[pool.shard_of("acme")], 111);
        assert_eq!(submitted.iter().sum::<u64>(), 111);
    });
}
