//! Waiting for room without a thread, until a token is cancelled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{Count, Gate, on_every_dispatch};
use formicary::{CancelToken, Context, Dispatch, Pool, PoolWithFunc, StatefulPool, Stats, SubmitErrorKind, Worker};

/// The kind of the refusal, if it was refused.
type Entering<'a> = Pin<Box<dyn Future<Output = Result<(), SubmitErrorKind>> + Send + 'a>>;

/// What all tasks do: wait at the gate, then count.
#[derive(Clone, Default)]
struct Work(Gate, Count);

impl Work {
    fn run(&self) {
        self.0.wait();
        self.1.up();
    }
}

impl Worker for Work {
    type Input = u32;
    type Output = ();

    fn process(&mut self, _: u32, _: &Context<'_>) {
        self.run();
    }
}

/// One way to submit to a pool.
trait Enter {
    fn enter<'a>(&'a self, token: &'a CancelToken) -> Entering<'a>;
    fn waiting(&self) -> usize;
    fn settled(&self) -> Stats;
}

macro_rules! way_in {
    ($way:ident, $pool:ty, |$me:ident, $token:ident| $enter:expr) => {
        struct $way<D: Dispatch>($pool, Work);

        impl<D: Dispatch> Enter for $way<D> {
            fn enter<'a>(&'a self, $token: &'a CancelToken) -> Entering<'a> {
                let $me = self;
                Box::pin($enter)
            }

            fn waiting(&self) -> usize {
                self.0.waiting()
            }

            fn settled(&self) -> Stats {
                self.0.wait_idle();
                self.0.stats()
            }
        }
    };
}

way_in!(Submit, Pool<D>, |me, token| async move {
    let work = me.1.clone();
    let entered = me.0.with().token(token).submit_async(move || work.run()).await;
    entered.map_err(|refusal| refusal.kind())
});

way_in!(Spawn, Pool<D>, |me, token| async move {
    let work = me.1.clone();
    let entered = me.0.with().token(token).spawn_async(move || work.run()).await;
    entered.map(drop).map_err(|refusal| refusal.kind())
});

way_in!(Invoke, PoolWithFunc<u32, D>, |me, token| async move {
    me.0.with().token(token).submit_async(7).await.map_err(|refusal| {
        let (kind, input) = refusal.into_parts();
        assert_eq!(input, 7);
        kind
    })
});

way_in!(State, StatefulPool<Work, D>, |me, token| async move {
    me.0.with().token(token).submit_async(7).await.map(drop).map_err(|refusal| {
        let (kind, input) = refusal.into_parts();
        assert_eq!(input, 7);
        kind
    })
});

/// Runs a test for each way to submit to a pool of one worker without a queue, which is held at the gate.
fn each<D: Dispatch>(test: fn(&dyn Enter, &Work)) {
    let new = Work::default;
    let pool = || Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap();
    let (func, state) = (new(), new());
    let (funcs, states) = (func.clone(), state.clone());
    let bound = PoolWithFunc::builder(move |_| funcs.run()).workers(1).queue(0).dispatch::<D>().build().unwrap();
    let builder = StatefulPool::builder(move |_| Ok(states.clone())).workers(1).queue(0);
    let (submit, spawn) = (Submit(pool(), new()), Spawn(pool(), new()));
    let (invoke, state) = (Invoke(bound, func), State(builder.dispatch::<D>().build().unwrap(), state));
    let ways: [(&dyn Enter, &Work); 4] =
        [(&submit, &submit.1), (&spawn, &spawn.1), (&invoke, &invoke.1), (&state, &state.1)];
    for (way, work) in ways {
        block_on(way.enter(&CancelToken::new())).unwrap();
        work.0.await_arrivals(1);
        test(way, work);
        work.0.open();
        let stats = way.settled();
        assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats:?}");
        assert_eq!((stats.completed as usize, stats.panicked), (work.1.get(), 0), "{stats:?}");
    }
}

fn in_the_queue<D: Dispatch>() {
    each::<D>(|way, work| {
        let (token, waker, other) = (CancelToken::new(), CountingWaker::new(), CountingWaker::new());
        let (mut first, free) = (way.enter(&token), CancelToken::new());
        let mut second = way.enter(&free);
        assert!(poll_with(first.as_mut(), &waker).is_pending());
        assert!(poll_with(second.as_mut(), &other).is_pending());
        token.cancel();
        assert_eq!((waker.wakes(), other.wakes()), (1, 0));
        assert_eq!(block_on(&mut first), Err(SubmitErrorKind::Cancelled));
        assert_eq!(other.wakes(), 1, "the next is first now");
        assert_eq!((way.waiting(), Arc::strong_count(&waker)), (1, 1));
        work.0.open();
        block_on(second).unwrap();
        let stats = way.settled();
        assert_eq!((stats.submitted, stats.rejected), (2, 1));
    });
}

#[test]
fn a21_a_token_takes_a_future_out_of_the_wait_queue() {
    on_every_dispatch!(in_the_queue);
}

fn early_and_late<D: Dispatch>() {
    each::<D>(|way, work| {
        let cancelled = CancelToken::new();
        cancelled.cancel();
        let waker = CountingWaker::new();
        assert!(poll_with(way.enter(&cancelled).as_mut(), &waker).is_ready(), "at once");
        assert_eq!(block_on(way.enter(&cancelled)), Err(SubmitErrorKind::Cancelled));
        let timed = CancelToken::new();
        timed.cancel_after(Duration::from_millis(5));
        assert_eq!(block_on(way.enter(&timed)), Err(SubmitErrorKind::TimedOut));
        assert_eq!(way.waiting(), 0);
        // After it has been accepted, its token cancels it in the queue; there is room as soon as the first has ended.
        let token = CancelToken::new();
        let mut entering = way.enter(&token);
        assert!(poll_with(entering.as_mut(), &waker).is_pending());
        work.0.open();
        block_on(entering).unwrap();
        token.cancel();
        let stats = way.settled();
        assert_eq!((stats.submitted, stats.rejected), (2, 3), "{stats:?}");
    });
}

#[test]
fn a21_a_tokens_deadline_ends_a_wait_without_a_thread() {
    on_every_dispatch!(early_and_late);
}

/// A call that ends early says why, and whether its task had started.
fn reasons<D: Dispatch>() {
    let pool: Pool<D> = Pool::builder().workers(1).dispatch().build().unwrap();
    for is_late in [true, false] {
        let token = CancelToken::new();
        let gate = Gate::new();
        let task = || {
            let gate = gate.clone();
            move || gate.wait()
        };
        let mut runs = Box::pin(pool.with().token(&token).run_async(task()));
        let mut waits = Box::pin(pool.with().token(&token).run_async(task()));
        let waker = CountingWaker::new();
        assert!(poll_with(runs.as_mut(), &waker).is_pending());
        gate.await_arrivals(1);
        assert!(poll_with(waits.as_mut(), &waker).is_pending());
        match is_late {
            true => token.cancel_after(Duration::ZERO),
            false => token.cancel(),
        }
        let [runs, waits] = [block_on(runs), block_on(waits)].map(|result| result.unwrap_err());
        gate.open();
        assert_eq!((runs.is_timed_out(), runs.is_cancelled()), (is_late, !is_late), "{runs:?}");
        assert_eq!((waits.is_timed_out(), waits.is_cancelled()), (is_late, true), "{waits:?}");
        assert_eq!([&runs, &waits].map(|error| error.to_string().ends_with("before it started")), [false, true]);
        assert!(pool.wait_idle());
    }
}

#[test]
fn a_call_that_ends_early_says_whether_its_task_had_started() {
    on_every_dispatch!(reasons);
}
