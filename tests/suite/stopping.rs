//! Workers with state, and time limits and tokens: a call ends with its own error wherever its task is at that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Count, Gate, LIMIT, await_waiting, eventually, on_every_dispatch};
use formicary::{
    CallError, CancelReason, CancelToken, Context, Dispatch, Interrupter, StatefulPool, SubmitErrorKind, Worker,
};

/// What a worker is to do.
#[derive(Clone)]
enum Work {
    Nothing,
    /// Wait at the gate.
    Hold(Gate),
    /// Pass the gate, and go on until told to stop; then wait so long for the interrupt. The answer says how it was told.
    UntilStopped(Gate, Duration),
}

/// What a call gives away, and gets back.
struct Job {
    number: u32,
    work: Work,
}

/// How a task was told to stop.
#[derive(Debug, Default, PartialEq)]
struct Told {
    interrupted: bool,
    context: bool,
    token: bool,
}

struct Stoppable {
    stop: Arc<AtomicBool>,
    interrupts: Count,
    began: Count,
    ready: Gate,
}

impl Worker for Stoppable {
    type Input = Job;
    type Output = Told;

    fn process(&mut self, job: Job, cx: &Context<'_>) -> Told {
        self.began.up();
        self.stop.store(false, SeqCst);
        // Asked for before anything happens to it.
        let token = cx.token();
        match job.work {
            Work::Nothing => {}
            Work::Hold(gate) => gate.wait(),
            Work::UntilStopped(gate, patience) => {
                gate.wait();
                while !cx.is_cancelled() {
                    std::thread::yield_now();
                }
                // The other two follow at once, if they are to come.
                if let Some(token) = token {
                    assert!(token.wait_timeout(LIMIT));
                }
                let end = Instant::now() + patience;
                while !self.stop.load(SeqCst) && Instant::now() < end {
                    std::thread::yield_now();
                }
            }
        }
        Told {
            interrupted: self.stop.load(SeqCst),
            context: cx.is_cancelled(),
            token: token.is_some_and(CancelToken::is_cancelled),
        }
    }

    fn ready(&mut self) {
        self.ready.wait();
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let (stop, interrupts) = (Arc::clone(&self.stop), self.interrupts.clone());
        Some(Interrupter::new(move || {
            interrupts.up();
            stop.store(true, SeqCst);
        }))
    }
}

/// A pool of one such worker, and what it notes.
struct Bench<D: Dispatch> {
    pool: StatefulPool<Stoppable, D>,
    interrupts: Count,
    began: Count,
    ready: Gate,
}

impl<D: Dispatch> Bench<D> {
    fn new(queue: usize) -> Self {
        let (interrupts, began, ready) = (Count::new(), Count::new(), Gate::new());
        ready.open();
        Self::with(queue, interrupts, began, ready)
    }

    fn with(queue: usize, interrupts: Count, began: Count, ready: Gate) -> Self {
        let parts = (interrupts.clone(), began.clone(), ready.clone());
        let builder = StatefulPool::builder(move |_| {
            let (interrupts, began, ready) = parts.clone();
            Ok(Stoppable { stop: Arc::default(), interrupts, began, ready })
        });
        let pool = builder.workers(1).queue(queue).dispatch::<D>().build().unwrap();
        Bench { pool, interrupts, began, ready }
    }

    /// Calls with `number` and `work`, and has the call stopped when `reached` returns.
    fn call(&self, how: How, job: Job, reached: impl Fn() + Send) -> Result<Told, CallError<Job>> {
        // Long enough to be under way by then.
        let limit = Duration::from_millis(30);
        let token = CancelToken::new();
        match how {
            How::Limit => self.pool.with().timeout(limit).run(job),
            How::Deadline => self.pool.with().deadline(Instant::now() + limit).run(job),
            How::TokensLimit => {
                token.cancel_after(limit);
                self.pool.with().token(&token).run(job)
            }
            How::ParentsLimit => {
                token.cancel_after(limit);
                self.pool.with().token(&token.child()).run(job)
            }
            How::Token | How::Parent => std::thread::scope(|scope| {
                let given = if how == How::Token { token.clone() } else { token.child() };
                scope.spawn(move || {
                    reached();
                    token.cancel();
                });
                self.pool.with().token(&given).run(job)
            }),
        }
    }
}

/// What stops a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Limit,
    Deadline,
    TokensLimit,
    ParentsLimit,
    Token,
    Parent,
}

const ALL: [How; 6] = [How::Limit, How::Deadline, How::TokensLimit, How::ParentsLimit, How::Token, How::Parent];

impl How {
    fn kind(self) -> SubmitErrorKind {
        match self {
            How::Token | How::Parent => SubmitErrorKind::Cancelled,
            _ => SubmitErrorKind::TimedOut,
        }
    }
}

/// The call was refused for the right reason, and the input is back.
fn assert_back(how: How, number: u32, result: Result<Told, CallError<Job>>) {
    match result {
        Err(CallError::Refused(refused)) => {
            assert_eq!(refused.kind(), how.kind(), "{how:?}");
            assert_eq!(refused.into_task().number, number);
        }
        Err(failed) => panic!("{how:?}: {failed}"),
        Ok(told) => panic!("{how:?}: {told:?}"),
    }
}

fn before<D: Dispatch>() {
    let bench = Bench::<D>::new(4);
    let token = CancelToken::new();
    token.cancel();
    assert_back(How::Token, 1, bench.pool.with().token(&token).run(Job { number: 1, work: Work::Nothing }));
    assert_back(How::Parent, 2, bench.pool.with().token(&token.child()).run(Job { number: 2, work: Work::Nothing }));
    let late = CancelToken::new();
    late.cancel_at(Instant::now());
    assert_back(How::TokensLimit, 3, bench.pool.with().token(&late).run(Job { number: 3, work: Work::Nothing }));
    let refused = bench.pool.with().token(&token).submit(Job { number: 4, work: Work::Nothing }).unwrap_err();
    assert_eq!((refused.kind(), refused.into_task().number), (SubmitErrorKind::Cancelled, 4));
    let refused = bench.pool.with().token(&late).submit(Job { number: 5, work: Work::Nothing }).unwrap_err();
    assert_eq!((refused.kind(), refused.into_task().number), (SubmitErrorKind::TimedOut, 5));
    bench.pool.wait_idle();
    let stats = bench.pool.stats();
    assert_eq!((bench.began.get(), stats.completed, stats.submitted, stats.rejected), (0, 0, 0, 5));
    // A past deadline is up before a worker can have started the task.
    let pause = bench.pool.pause();
    assert_back(How::Limit, 6, bench.pool.with().timeout(Duration::ZERO).run(Job { number: 6, work: Work::Nothing }));
    assert_back(
        How::Deadline,
        7,
        bench.pool.with().deadline(Instant::now()).run(Job { number: 7, work: Work::Nothing }),
    );
    drop(pause);
    assert!(bench.pool.wait_idle());
    assert_eq!((bench.began.get(), bench.pool.stats().cancelled), (0, 2));
}

#[test]
fn a16_what_is_over_before_the_call_never_starts() {
    on_every_dispatch!(before);
}

fn on_a_full_pool<D: Dispatch>() {
    let bench = Bench::<D>::new(0);
    let gate = Gate::new();
    let held = bench.pool.spawn(Job { number: 0, work: Work::Hold(gate.clone()) }).unwrap();
    gate.await_arrivals(1);
    for (how, number) in ALL.into_iter().zip(1..) {
        let result = bench.call(how, Job { number, work: Work::Nothing }, || await_waiting(&bench.pool, 1));
        assert_back(how, number, result);
        assert_eq!(bench.pool.waiting(), 0);
    }
    gate.open();
    held.join().unwrap();
    let stats = bench.pool.stats();
    assert_eq!((bench.began.get(), stats.submitted, stats.rejected, stats.cancelled), (1, 1, 6, 0));
}

#[test]
fn a16_a_call_to_a_full_pool_ends_with_its_input() {
    on_every_dispatch!(on_a_full_pool);
}

fn in_the_queue<D: Dispatch>() {
    let bench = Bench::<D>::new(8);
    let gate = Gate::new();
    let held = bench.pool.spawn(Job { number: 0, work: Work::Hold(gate.clone()) }).unwrap();
    gate.await_arrivals(1);
    for (how, number) in ALL.into_iter().zip(1..) {
        // D18: those before it are not.
        let reached = || eventually("it is queued", || bench.pool.queued() == 1);
        assert_back(how, number, bench.call(how, Job { number, work: Work::Nothing }, reached));
    }
    gate.open();
    held.join().unwrap();
    assert!(bench.pool.wait_idle());
    let stats = bench.pool.stats();
    assert_eq!((bench.began.get(), stats.submitted, stats.completed, stats.cancelled), (1, 7, 1, 6));
    assert_eq!(bench.interrupts.get(), 0);
}

#[test]
fn a16_a_queued_call_ends_with_its_input_and_never_starts() {
    on_every_dispatch!(in_the_queue);
}

fn running<D: Dispatch>() {
    for how in ALL {
        let bench = Bench::<D>::new(8);
        let mut tries = 0;
        let error = loop {
            let gate = Gate::new();
            gate.open();
            tries += 1;
            let reached = || gate.await_arrivals(1);
            match bench
                .call(how, Job { number: 1, work: Work::UntilStopped(gate.clone(), LIMIT) }, reached)
                .unwrap_err()
            {
                // A busy machine: the time was up before the task had begun.
                CallError::Refused(refused) => assert_eq!(refused.kind(), SubmitErrorKind::TimedOut),
                CallError::Failed(failed) => break failed,
            }
        };
        let timed = how.kind() == SubmitErrorKind::TimedOut;
        assert_eq!((error.is_timed_out(), error.is_cancelled(), error.is_panic()), (timed, !timed, false), "{how:?}");
        assert!(bench.pool.wait_idle(), "it was told to stop");
        assert_eq!(bench.interrupts.get(), 1, "{how:?}");
        // The next task is not affected.
        let told = bench.pool.run(Job { number: 2, work: Work::Nothing }).unwrap();
        assert_eq!(told, Told::default());
        let stats = bench.pool.stats();
        assert_eq!((bench.began.get(), stats.completed), (2, 2));
        assert_eq!(stats.submitted, stats.completed + stats.cancelled);
        assert_eq!(stats.cancelled + stats.rejected, tries - 1);
    }
}

#[test]
fn a16_a18_a_running_call_ends_and_the_worker_is_interrupted_and_usable() {
    on_every_dispatch!(running);
}

/// A token that is cancelled when the work is done changes nothing.
fn too_late<D: Dispatch>() {
    let bench = Bench::<D>::new(8);
    let token = CancelToken::new();
    assert_eq!(bench.pool.with().token(&token).run(Job { number: 1, work: Work::Nothing }).unwrap(), Told::default());
    let handle = bench.pool.with().token(&token).spawn(Job { number: 2, work: Work::Nothing }).unwrap();
    assert!(bench.pool.wait_idle());
    token.cancel();
    assert_eq!(handle.join().unwrap(), Told::default());
    assert_eq!((bench.interrupts.get(), bench.pool.stats().completed), (0, 2));
    assert_eq!(token.reason(), Some(CancelReason::Asked));
}

#[test]
fn a16_a_token_that_comes_too_late_changes_nothing() {
    on_every_dispatch!(too_late);
}

/// Handles: the task is told in every way, and its answer can be joined all the same.
fn handles<D: Dispatch>() {
    let bench = Bench::<D>::new(8);
    let gate = Gate::new();
    gate.open();
    let all = Told { interrupted: true, context: true, token: true };
    let patient = |number, patience| Job { number, work: Work::UntilStopped(gate.clone(), patience) };
    // A token alone interrupts no task.
    let job = |number| patient(number, Duration::from_millis(20));
    let handle = bench.pool.spawn(patient(1, LIMIT)).unwrap();
    gate.await_arrivals(1);
    assert!(!handle.cancel() && !handle.cancel());
    assert!(handle.token().is_cancelled());
    assert_eq!(handle.join().unwrap(), all);
    let seen = Told { interrupted: false, ..all };
    let token = CancelToken::new();
    let handle = bench.pool.with().token(&token).spawn(job(2)).unwrap();
    gate.await_arrivals(2);
    token.cancel();
    assert_eq!(handle.join().unwrap(), seen);
    let handle = bench.pool.spawn(job(3)).unwrap();
    gate.await_arrivals(3);
    handle.token().cancel();
    assert_eq!(handle.join().unwrap(), seen);
    assert!(bench.interrupts.get() <= 2);
    // Queued, by each of the three.
    let pause = bench.pool.pause();
    let token = CancelToken::new();
    let queued = [
        bench.pool.spawn(job(4)).unwrap(),
        bench.pool.with().token(&token).spawn(job(5)).unwrap(),
        bench.pool.spawn(job(6)).unwrap(),
    ];
    assert!(queued[0].cancel() && !queued[0].cancel());
    token.cancel();
    queued[2].token().cancel();
    assert!(queued.iter().all(|handle| handle.token().is_cancelled()));
    drop(pause);
    queued.into_iter().for_each(|handle| assert!(handle.join().unwrap_err().is_cancelled()));
    assert!(bench.pool.wait_idle());
    assert_eq!((bench.began.get(), bench.pool.stats().cancelled), (3, 3));
}

#[test]
fn a18_handles_and_their_tokens_stop_a_task() {
    on_every_dispatch!(handles);
}

/// A worker that is not ready has not begun: a call that is stopped meanwhile has its input back.
fn not_ready<D: Dispatch>() {
    for how in ALL {
        let bench = Bench::<D>::with(8, Count::new(), Count::new(), Gate::new());
        bench.ready.await_arrivals(1);
        let reached = || eventually("it is queued", || bench.pool.queued() == 1);
        assert_back(how, 1, bench.call(how, Job { number: 1, work: Work::Nothing }, reached));
        bench.ready.open();
        assert_eq!(
            bench.pool.with().timeout(LIMIT).run(Job { number: 2, work: Work::Nothing }).unwrap(),
            Told::default()
        );
        assert!(bench.pool.wait_idle());
        assert_eq!((bench.began.get(), bench.interrupts.get(), bench.pool.stats().cancelled), (1, 0, 1));
    }
}

#[test]
fn a18_a_worker_that_is_not_ready_is_given_no_cancelled_task() {
    on_every_dispatch!(not_ready);
}
