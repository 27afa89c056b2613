//! The verbs for tasks that enter the pool at a time.

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::accepts::{Accepts, AnyPool, Takes};
use super::admit::Admit;
use super::verbs::{self, TaskOptions};
use super::with::With;
use crate::cancel::earlier;
use crate::engine::{Engine, Scheduled, SubmitOptions, ThroughView, WaitMode};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::Tenant;
use crate::sync::Arc;
use crate::sync::clock;
use crate::task::in_schedule::ScheduledTask;
use crate::task::state::TaskState;

/// The time `limit` from `start`, or else from now; `None`, which means never, if the clock cannot represent it.
pub(super) fn time_from(start: Option<Instant>, limit: Duration) -> Option<Instant> {
    start.unwrap_or_else(clock::now).checked_add(limit)
}

/// The time `delay` from `start`, or the latest of half, a quarter and so on of it that the clock can represent, which is never.
pub(crate) fn time_after(start: Instant, delay: Duration) -> Instant {
    let mut delays = std::iter::successors(Some(delay), |delay| Some(*delay / 2));
    delays.find_map(|delay| start.checked_add(delay)).unwrap_or(start)
}

/// The time.
impl<P> With<'_, P> {
    /// Has the task enter the pool when `delay` is over, counted from the verb. As [`at`](Self::at); if both are set, the later time applies.
    /// A delay beyond the range of the clock is for ever: the task waits until it is cancelled or the pool is closed.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let begun = Instant::now();
    /// let handle = pool.with().after(Duration::from_millis(5)).spawn(Instant::now)?;
    /// assert!(handle.join()? - begun >= Duration::from_millis(5));
    ///
    /// let handle = pool.with().after(Duration::from_secs(3600)).spawn(|| ())?;
    /// assert_eq!(pool.stats().scheduled, 1);
    /// handle.cancel();
    /// assert_eq!(pool.stats().scheduled, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("schedule", "submit_after", "execute_after", "delay"))]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = Some(delay);
        self
    }

    /// Has the task enter the pool at `time`, or at once if that is over. A verb that returns a handle, or nothing, does not wait: it
    /// returns when the task is scheduled. `run` waits for the result.
    ///
    /// Until then the task takes no room and no thread, and is in no figure but [`Stats::scheduled`](crate::Stats::scheduled). Scheduling
    /// and cancelling take time in proportion to the logarithm of the number of scheduled tasks. [`Handle::cancel`](crate::Handle::cancel)
    /// drops it at once; a token is looked at when the time has come. Tasks enter in the order of their times, and those of one time in
    /// the order of the verbs. They enter as tasks from outside, also if a task of the pool has submitted them, and never before their
    /// times: where a thread of the pool would run a task that it joins, it waits for this one, or is refused with `WouldDeadlock` if no other
    /// worker is left.
    ///
    /// If the pool is full then, the task waits for room as any submitter does, without a thread and whatever
    /// [`max_blocking`](crate::Builder::max_blocking) is; a `try_` verb, or a
    /// [`nonblocking`](crate::Builder::nonblocking) pool, refuses it. [`timeout`](Self::timeout),
    /// [`room_timeout`](Self::room_timeout) and [`max_queue_time`](Self::max_queue_time) count from `time`. A task that is refused at its time is dropped: it is counted
    /// ([`Drops::refused`](crate::Drops::refused)), goes to the pool's [`dropped_handler`](crate::Builder::dropped_handler), and its handle has the reason
    /// ([`JoinError::refusal`](crate::JoinError::refusal)). [`Builder::on_close`](crate::Builder::on_close) says what becomes of tasks whose
    /// time has not come when the pool is closed.
    ///
    /// The one timer thread of the process submits them, so that is where a [`spawn_handler`](crate::Builder::spawn_handler) and observers
    /// may be called. The verb is refused as `Spawn` if the system gives no such thread, and as `TimedOut` if the deadline of the task is
    /// before its time.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let time = Instant::now() + Duration::from_millis(5);
    /// assert!(pool.with().at(time).run(Instant::now)? >= time);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn at(mut self, time: Instant) -> Self {
        self.at = Some(time);
        self
    }

    /// When the task is to enter the pool.
    pub(crate) fn due(&self) -> Option<Instant> {
        let after = self.after.map(|delay| time_after(clock::now(), delay));
        after.max(self.at)
    }
}

impl<P: AnyPool> With<'_, P> {
    /// Schedules a task whose result is discarded.
    #[cold]
    pub(super) fn submit_at<Q, X>(
        &self,
        pool: &Q,
        due: Instant,
        x: X,
        task_options: TaskOptions,
        mode: WaitMode,
    ) -> Result<(), SubmitError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        let engine = pool.engine();
        let needs_state = engine.propagates() || !TaskOptions { due: None, ..task_options.clone() }.is_none();
        if needs_state {
            let task_state = verbs::detached_state(pool, x, task_options.in_token());
            return self.enter(pool, &task_state, mode);
        }
        let tenant = self.tenant_lane();
        let options = self.options(tenant.as_ref(), None, mode);
        let lane = engine.keep_lane(options.lane());
        let task = Scheduled::new(Q::Runner::plain(x), None, lane, mode).through(pool.shared().through_view());
        let scheduled = engine.schedule(engine.next_place(due), task, &options);
        scheduled.map_err(|refusal| refusal.map(|task| Q::Runner::into_input(task.into_item())))
    }
}

/// Schedules the task of a state.
pub(super) fn schedule<P, X>(
    pool: &P,
    task_state: &Arc<TaskState<X, P::Output>>,
    options: SubmitOptions<'_>,
) -> Result<(), SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    schedule_in::<P, X>(pool.engine(), pool.shared().through_view(), task_state, options)
}

/// The same for a pool of which only the engine is at hand, and the view if it is one.
fn schedule_in<P, X>(
    engine: &Arc<Engine<P::Runner, P::Dispatch>>,
    view: Option<ThroughView<P::Runner>>,
    task_state: &Arc<TaskState<X, P::Output>>,
    options: SubmitOptions<'_>,
) -> Result<(), SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let Some(place) = task_state.meta().schedule() else { unreachable!("a scheduled task has a place") };
    let state = Arc::clone(task_state) as Arc<dyn ScheduledTask>;
    let lane = engine.keep_lane(options.lane());
    let task = Scheduled::new(P::Runner::answered(task_state), Some(state), lane, options.mode()).through(view);
    let scheduled = engine.schedule(place.place(), task, &options);
    scheduled.map_err(|refusal| task_state.refused(refusal.kind()))
}

/// A pool or a view, with options, that this does not keep. For tasks that are scheduled one after the other.
pub(crate) struct WeakWith<P: AnyPool> {
    engine: Weak<Engine<P::Runner, P::Dispatch>>,
    /// The view, if it is one.
    view: Option<ThroughView<P::Runner>>,
    key: Option<u64>,
    tenant: Option<Tenant>,
    room_timeout: Option<Duration>,
    timeout: Option<Duration>,
    max_queue_time: Option<Duration>,
    task_options: TaskOptions,
}

impl<P: AnyPool> WeakWith<P> {
    pub(crate) fn new(with: &With<'_, P>) -> Self {
        let (token, name) = (with.token.clone(), with.name.clone());
        WeakWith {
            engine: Arc::downgrade(with.pool.engine()),
            view: with.lane().map_or_else(|| with.pool.shared().through_view(), |lane| lane.shared().through_view()),
            key: with.key,
            tenant: with.tenant.clone(),
            room_timeout: with.room_timeout,
            timeout: with.timeout,
            max_queue_time: with.max_queue_time,
            task_options: TaskOptions {
                deadline: with.deadline,
                token,
                name,
                rate_key: with.rate_key,
                ..TaskOptions::default()
            },
        }
    }

    /// Runs user code whose panic is counted by the pool. `None`: it panicked, or the pool is gone.
    pub(crate) fn catch_user_panic<O>(&self, f: impl FnOnce() -> O) -> Option<O> {
        self.engine.upgrade()?.catch_user_panic(f)
    }

    /// Schedules a task, and returns its state.
    pub(crate) fn schedule<X>(&self, due: Instant, x: X) -> Result<Arc<TaskState<X, P::Output>>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let closed = SubmitErrorKind::Closed;
        let Some(engine) = self.engine.upgrade() else { return Err(SubmitError::new(closed, x)) };
        let entrance = self.view.as_ref().map(ThroughView::entrance);
        let Some(entrance) = entrance.map_or(Some(None), |entrance| entrance.map(Some)) else {
            return Err(SubmitError::new(closed, x));
        };
        let options = self.task_options.clone();
        let deadline = earlier(self.timeout.and_then(|limit| due.checked_add(limit)), options.deadline);
        let room = self.room_timeout.map(|limit| due.checked_add(limit));
        let mode = match room {
            Some(room) => earlier(room, deadline).map_or(WaitMode::Forever, WaitMode::Until),
            None => deadline.map_or_else(|| engine.default_mode(), WaitMode::Until),
        };
        let start_by = self.max_queue_time.and_then(|limit| due.checked_add(limit));
        let options = TaskOptions { deadline, start_by, due: Some(due), ..options }.in_token();
        let in_view = entrance.and_then(|entrance| entrance.in_view());
        let task_state = verbs::task_state_in(&engine, in_view, x, options, false, <P::Runner as Takes<X>>::RUN_HERE);
        let options = engine.options(self.key, mode).with_token(task_state.meta().token.as_ref());
        let tenant = engine.lane_of_tenant(self.tenant.as_ref());
        let options = tenant.as_ref().map_or(options, |lane| options.in_lane(lane.number()));
        schedule_in::<P, X>(&engine, self.view.clone(), &task_state, options)?;
        Ok(task_state)
    }
}
