//! The target `timer`: tasks with a time, on a pool and on a view of it, that are cancelled, paused, and ended in each way. Times are over,
//! soon, or never, and each task must end in exactly one way: it runs, it is cancelled, it comes back, or the handler gets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use arbitrary::Arbitrary;
use formicary::{
    Accepts, Dispatch, Every, Handle, Limited, OnClose, OnDrop, PauseGuard, Pool, Ring, Series, Sharded, Stack, Task,
    With,
};

use super::{Sequence, await_no_threads, eventually, thread_name};

/// Longer than a plan takes.
const NEVER: Duration = Duration::from_secs(3600);

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    shape: Shape,
    end: End,
    operations: Sequence<Operation>,
}

choices! {
    #[derive(Debug)]
    enum Shape {
        /// The dispatch, the workers, the queue, what a close does, and whether the pool blocks.
        Of(u8, u8, u8, u8, bool),
    }
}

choices! {
    #[derive(Debug)]
    enum End {
        Shutdown,
        ShutdownNow,
        Graceful,
        /// The pool is dropped, and drains, cancels or detaches.
        Drop(u8),
        /// It is closed twice.
        ShutdownThenNow,
    }
}

choices! {
    #[derive(Debug)]
    enum Operation {
        /// When, and whether on the view.
        Submit(u8, bool),
        Spawn(u8, bool),
        TrySpawn(u8, bool),
        /// The task of a handle.
        Cancel(u8),
        /// The handle.
        Drop(u8),
        Series(u8, bool),
        CancelSeries(u8),
        Pause,
        Resume,
        /// Until no task is in the schedule whose time has come.
        Settle,
        CloseView,
        DropView,
    }
}

/// What became of the tasks.
#[derive(Default)]
struct Ledger {
    ran: AtomicUsize,
    /// Those that should never run, but did.
    early: AtomicUsize,
    missed: AtomicUsize,
    /// From here on a task whose time is never may run.
    is_closing: AtomicBool,
}

struct Scheduled {
    handle: Handle<()>,
    is_cancelled: bool,
}

struct State<D: Dispatch> {
    pool: Pool<D>,
    view: Option<Limited<Pool<D>>>,
    pause: Option<PauseGuard>,
    handles: Vec<Scheduled>,
    series: Vec<Series>,
    ledger: Arc<Ledger>,
    captured: Arc<()>,
    /// Tasks that were accepted, without those of series.
    accepted: usize,
    returned: usize,
    refused: usize,
    /// Tasks whose time is never.
    never: usize,
    /// Tasks of a view may end there, and series have runs of their own: then less is known of the pool's figures.
    is_simple: bool,
}

pub(crate) fn drive(plan: &Plan) {
    let Shape::Of(dispatch, ..) = plan.shape;
    match dispatch % 3 {
        0 => run::<Stack>(plan),
        1 => run::<Ring>(plan),
        _ => run::<Sharded>(plan),
    }
}

fn run<D: Dispatch>(plan: &Plan) {
    let Shape::Of(_, workers, queue, on_close, nonblocking) = plan.shape;
    let (name, ledger) = (thread_name(), Arc::<Ledger>::default());
    let on_close = [OnClose::Return, OnClose::RunNow, OnClose::Drop][usize::from(on_close % 3)];
    let on_drop = match plan.end {
        End::Drop(way) => [OnDrop::Drain, OnDrop::Cancel, OnDrop::Detach][usize::from(way % 3)],
        _ => OnDrop::Drain,
    };
    let missed = Arc::clone(&ledger);
    let pool = Pool::builder()
        .workers(1 + usize::from(workers % 3))
        .queue(1 + usize::from(queue % 8))
        .nonblocking(nonblocking)
        .on_close(on_close)
        .on_drop(on_drop)
        .thread_name(&*name)
        .dropped_handler(move |dropped| {
            missed.missed.fetch_add(1, SeqCst);
            drop(dropped);
        })
        .dispatch::<D>()
        .build()
        .expect("the shape is good");
    let mut state = State {
        view: Some(pool.limited(1)),
        pool,
        pause: None,
        handles: Vec::new(),
        series: Vec::new(),
        ledger,
        captured: Arc::default(),
        accepted: 0,
        returned: 0,
        refused: 0,
        never: 0,
        is_simple: true,
    };
    plan.operations.0.iter().for_each(|operation| state.carry_out(operation));
    state.end(&plan.end);
    await_no_threads(&name);
}

/// When: over, soon, or never.
fn delay(when: u8) -> (Duration, bool) {
    match when % 4 {
        0 => (Duration::ZERO, false),
        1 => (Duration::from_micros(u64::from(when) * 4), false),
        _ => (NEVER, true),
    }
}

impl<D: Dispatch> State<D> {
    fn carry_out(&mut self, operation: &Operation) {
        match *operation {
            Operation::Submit(when, on_view) => self.schedule(when, on_view, Verb::Submit),
            Operation::Spawn(when, on_view) => self.schedule(when, on_view, Verb::Spawn),
            Operation::TrySpawn(when, on_view) => self.schedule(when, on_view, Verb::TrySpawn),
            Operation::Cancel(of) => {
                if let Some(scheduled) = index(of, self.handles.len()).map(|at| &mut self.handles[at]) {
                    scheduled.is_cancelled |= scheduled.handle.cancel();
                }
            }
            Operation::Drop(of) => {
                if let Some(at) = index(of, self.handles.len()) {
                    // What became of a cancelled one is only known by its handle.
                    if !self.handles[at].is_cancelled {
                        drop(self.handles.swap_remove(at));
                    }
                }
            }
            Operation::Series(when, on_view) => {
                self.is_simple = false;
                let captured = Arc::clone(&self.captured);
                let f = move || drop(Arc::clone(&captured));
                let every = Every::delay(delay(when).0.max(Duration::from_micros(100)));
                let series = match (&self.view, on_view) {
                    (Some(view), true) => view.submit_every(every, f),
                    _ => self.pool.submit_every(every, f),
                };
                self.series.extend(series.ok());
            }
            Operation::CancelSeries(of) => {
                if let Some(at) = index(of, self.series.len()) {
                    let series = self.series.swap_remove(at);
                    series.cancel();
                    assert!(series.is_over() && series.next_run().is_none());
                }
            }
            Operation::Pause => self.pause = Some(self.pool.pause()),
            Operation::Resume => self.pause = None,
            Operation::Settle => self.settle(),
            Operation::CloseView => {
                if let Some(view) = &self.view {
                    self.returned += view.close().len();
                    self.refused += 1;
                    assert!(view.with().after(NEVER).spawn(|| ()).is_err_and(|refusal| refusal.is_closed()));
                    self.view = None;
                }
            }
            Operation::DropView => self.view = None,
        }
    }

    fn schedule(&mut self, when: u8, on_view: bool, verb: Verb) {
        let (delay, is_never) = delay(when);
        let (ledger, captured) = (Arc::clone(&self.ledger), Arc::clone(&self.captured));
        let task = Task::new(move || {
            let _ = &captured;
            ledger.ran.fetch_add(1, SeqCst);
            if is_never && !ledger.is_closing.load(SeqCst) {
                ledger.early.fetch_add(1, SeqCst);
            }
        });
        let scheduled = match (&self.view, on_view) {
            (Some(view), true) => {
                self.is_simple = false;
                submit(&view.with().after(delay), verb, task)
            }
            _ => submit(&self.pool.with().after(delay), verb, task),
        };
        self.accepted += 1;
        self.never += usize::from(is_never);
        self.handles.extend(scheduled.map(|handle| Scheduled { handle, is_cancelled: false }));
    }

    /// No task is early, and those whose time has come are in the pool, or wait for room.
    fn settle(&mut self) {
        assert_eq!(self.ledger.early.load(SeqCst), 0, "a task ran before its time");
        if self.pause.is_none() && self.series.is_empty() {
            eventually(|| self.pool.stats().scheduled <= self.never);
            assert!(self.pool.wait_idle());
        }
    }

    fn end(mut self, end: &End) {
        self.settle();
        self.ledger.is_closing.store(true, SeqCst);
        let series = std::mem::take(&mut self.series);
        let shutdown = |pool: &Pool<D>| assert!(pool.shutdown().is_complete());
        match end {
            End::Shutdown => shutdown(&self.pool),
            End::ShutdownNow => self.returned += self.pool.shutdown_now().len(),
            End::Graceful => self.returned += self.pool.shutdown_graceful(NEVER).0.len(),
            End::ShutdownThenNow => {
                shutdown(&self.pool);
                self.returned += self.pool.shutdown_now().len();
            }
            End::Drop(_) => {}
        }
        let stats = (!matches!(end, End::Drop(_))).then(|| {
            // The timer thread may be about to find the pool closed.
            eventually(|| self.pool.stats().scheduled == 0);
            self.pool.stats()
        });
        let State { pool, view, pause, handles, ledger, captured, accepted, returned, refused, is_simple, .. } = self;
        drop(view);
        drop(pool);
        drop(pause);
        for Scheduled { handle, is_cancelled } in handles {
            let result = handle.join();
            assert!(result.is_ok() || result.as_ref().is_err_and(|error| error.is_cancelled() || error.is_dropped()));
            let refusal = result.err().and_then(|error| error.refusal());
            assert!(!is_cancelled || refusal.is_none(), "a cancelled task was refused as {refusal:?}");
        }
        if let Some(stats) = stats {
            let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned + stats.dropped;
            assert_eq!(stats.submitted, ended, "{stats:?}");
            if is_simple {
                assert_eq!(stats.submitted + stats.rejected, (accepted + refused) as u64, "{stats:?}");
                assert_eq!((stats.completed, stats.returned), (ledger.ran.load(SeqCst) as u64, returned as u64));
                assert_eq!(stats.rejected, refused as u64, "{stats:?}");
                // The handler is told of the last ones on a thread of its own.
                eventually(|| ledger.missed.load(SeqCst) as u64 == stats.dropped);
            }
        }
        eventually(|| Arc::strong_count(&captured) == 1);
        assert!(series.iter().all(Series::is_over), "a series goes on without its pool");
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Submit,
    Spawn,
    TrySpawn,
}

fn submit<P: Accepts<Task, Output = ()>>(with: &With<'_, P>, verb: Verb, task: Task) -> Option<Handle<()>> {
    let spawned = match verb {
        Verb::Submit => with.submit(task).map(|()| None),
        Verb::Spawn => with.spawn(task).map(Some),
        Verb::TrySpawn => with.try_spawn(task).map(Some),
    };
    spawned.expect("an open pool takes what has a time")
}

fn index(of: u8, count: usize) -> Option<usize> {
    (count > 0).then(|| usize::from(of) % count.max(1))
}
