//! What the verbs with options do: from the options to a task, and into the pool or the order of a key.

use super::accepts::{Accepts, AnyPool};
use super::admit::Admit;
use super::in_order::InOrder;
use super::later::Later;
use super::scheduled::{self, time_from};
use super::verbs::{self, TaskOptions};
use super::weight;
use super::with::With;
use crate::cancel::{CancelToken, earlier};
use crate::engine::{SubmitOptions, WaitMode};
use crate::error::{CallError, SubmitError, SubmitErrorKind};
use crate::queue::KeptLane;
use crate::semaphore::SemaphorePermit;
use crate::sync::Arc;
use crate::task::handle::Handle;
use crate::task::state::TaskState;

/// The state of a task that a pool makes of an `X`.
type TaskStateOf<P, X> = Arc<TaskState<X, <P as Accepts<X>>::Output>>;

/// What the options amount to at the moment of a verb.
impl<'p, P: AnyPool> With<'p, P> {
    pub(super) fn task_options(&self) -> TaskOptions {
        let due = self.due();
        let from = |limit| time_from(due, limit);
        let deadline = earlier(self.timeout.and_then(from), self.deadline);
        let start_by = self.max_queue_time.and_then(from);
        let (token, name) = (self.token.clone(), self.name.clone());
        TaskOptions { deadline, token, name, start_by, weight: self.weight, rate_key: self.rate_key, due }
    }

    /// The tenant's lane, which must be kept until the task is in. `None` for a task without a tenant.
    #[track_caller]
    pub(super) fn tenant_lane(&self) -> Option<KeptLane> {
        self.pool.engine().lane_of_tenant(self.tenant.as_ref())
    }

    pub(super) fn options<'t>(
        &self,
        tenant_lane: Option<&KeptLane>,
        token: Option<&'t CancelToken>,
        mode: WaitMode,
    ) -> SubmitOptions<'t> {
        let options = self.pool.engine().options(self.key, mode).with_token(token);
        tenant_lane.map_or(options, |lane| options.in_lane(lane.number()))
    }

    /// How long a blocking verb waits for room.
    pub(super) fn mode(&self, task_options: &TaskOptions) -> WaitMode {
        match self.room_timeout.map(|limit| time_from(task_options.due, limit)) {
            Some(room) => earlier(room, task_options.deadline).map_or(WaitMode::Forever, WaitMode::Until),
            None => task_options.deadline.map_or_else(|| verbs::mode(self.pool), WaitMode::Until),
        }
    }

    /// What the verbs submit to if the tasks of a key are ordered, instead of the pool.
    pub(crate) fn lane(&self) -> Option<InOrder<P>> {
        self.order.map(|key| InOrder::new(self.pool, key))
    }

    #[track_caller]
    pub(super) fn enter<Q, X>(
        &self,
        pool: &Q,
        task_state: &TaskStateOf<Q, X>,
        mode: WaitMode,
    ) -> Result<(), SubmitError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        let token = task_state.meta().token.as_ref();
        if let Some(weight) = self.weight {
            let taken = weight::take(self.pool.shared(), weight, mode, token);
            self.hold(task_state, taken)?;
        }
        let tenant = self.tenant_lane();
        let options = self.options(tenant.as_ref(), token, mode);
        if task_state.meta().schedule().is_some() {
            return scheduled::schedule(pool, task_state, options);
        }
        verbs::enter(pool, task_state, options)
    }

    /// The task has its weight, or is refused.
    pub(super) fn hold<X, O>(
        &self,
        task_state: &TaskState<X, O>,
        taken: Result<SemaphorePermit, SubmitErrorKind>,
    ) -> Result<(), SubmitError<X>> {
        let permit = taken.map_err(|kind| {
            self.pool.shared().note_refusal(kind);
            task_state.refused(kind)
        })?;
        if let Some(held) = task_state.meta().weight() {
            held.hold(permit);
        }
        Ok(())
    }

    #[track_caller]
    pub(super) fn submit_for<X>(&self, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        match self.lane() {
            Some(lane) => self.submit_to(&lane, x, task_options, mode),
            None => self.submit_to(self.pool, x, task_options, mode),
        }
    }

    #[inline]
    #[track_caller]
    pub(super) fn submit_to<Q, X>(
        &self,
        pool: &Q,
        x: X,
        task_options: TaskOptions,
        mode: WaitMode,
    ) -> Result<(), SubmitError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        if task_options.is_none() {
            let tenant = self.tenant_lane();
            return verbs::submit(pool, x, self.options(tenant.as_ref(), None, mode));
        }
        if let Some(due) = task_options.due {
            return self.submit_at(pool, due, x, task_options, mode);
        }
        let task_state = verbs::detached_state(pool, x, task_options.in_token());
        self.enter(pool, &task_state, mode)
    }

    #[track_caller]
    pub(super) fn spawn_for<X>(
        &self,
        x: X,
        task_options: TaskOptions,
        mode: WaitMode,
    ) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        match self.lane() {
            Some(lane) => self.spawn_to(&lane, x, task_options, mode),
            None => self.spawn_to(self.pool, x, task_options, mode),
        }
    }

    #[inline]
    pub(super) fn spawn_to<Q, X>(
        &self,
        pool: &Q,
        x: X,
        task_options: TaskOptions,
        mode: WaitMode,
    ) -> Result<Handle<Q::Output>, SubmitError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        let task_state = verbs::task_state(pool, x, task_options.in_token(), false);
        self.enter(pool, &task_state, mode)?;
        Ok(Handle::new(task_state))
    }

    #[track_caller]
    pub(super) fn run_for<X>(&self, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        match self.lane() {
            Some(lane) => self.run_on(&lane, x, task_options, mode),
            None => self.run_on(self.pool, x, task_options, mode),
        }
    }

    #[inline]
    #[track_caller]
    pub(super) fn run_on<Q, X>(
        &self,
        pool: &Q,
        x: X,
        task_options: TaskOptions,
        mode: WaitMode,
    ) -> Result<Q::Output, CallError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        if task_options.is_none() {
            let tenant = self.tenant_lane();
            return verbs::run(pool, x, self.options(tenant.as_ref(), None, mode));
        }
        // Not on the caller's stack: a caller with a deadline may return before the task has ended.
        let task_state = verbs::task_state(pool, x, task_options, true);
        self.enter(pool, &task_state, mode)?;
        task_state.call().into_result()
    }

    pub(crate) fn has_no_weight(&self) -> bool {
        self.weight.is_none()
    }

    pub(crate) fn pool(&self) -> &'p P {
        self.pool
    }

    /// A task of `pool`, which is the pool or a lane of it, that enters later.
    #[track_caller]
    pub(crate) fn later_to<Q, X>(&self, pool: &Q, x: X) -> Later<Q::Shared, X, Q::Output>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        let has_more = self.after.is_some() || self.at.is_some() || self.weight.is_some();
        assert!(!has_more, "a task that waits for others has neither a time nor a weight");
        let tenant = self.tenant_lane();
        let options = self.options(tenant.as_ref(), None, WaitMode::Forever);
        Later::new::<Q>(pool.shared().clone(), x, self.task_options().in_token(), options, tenant, self.room_timeout)
    }

    /// Submits the task of a state as a future, which waits for room for at most as long as the options allow.
    pub(super) async fn enter_async<X>(
        &self,
        lane: Option<InOrder<P>>,
        task_state: TaskStateOf<P, X>,
    ) -> Result<TaskStateOf<P, X>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        if task_state.meta().schedule().is_some() {
            let due = task_state.meta().schedule().map(|schedule| schedule.place().0);
            let room = self.room_timeout.and_then(|limit| time_from(due, limit));
            let mode = room.map_or(WaitMode::Forever, WaitMode::Until);
            let token = task_state.meta().token.as_ref();
            if let Some(weight) = self.weight {
                let taken = Box::pin(weight::take_async(self.pool.shared(), weight, token)).await;
                self.hold(&task_state, taken)?;
            }
            let tenant = self.tenant_lane();
            let options = self.options(tenant.as_ref(), token, mode);
            match &lane {
                Some(lane) => scheduled::schedule(lane, &task_state, options)?,
                None => scheduled::schedule(self.pool, &task_state, options)?,
            }
            return Ok(task_state);
        }
        // A future has no other way to give up than its token, so a limit becomes a child of it.
        let token = task_state.meta().token.clone();
        let room = self.room_timeout.map(|limit| {
            let token = token.as_ref().map_or_else(CancelToken::new, CancelToken::child);
            token.cancel_after(limit);
            token
        });
        let tenant = self.tenant_lane();
        let ends = room.as_ref().or(token.as_ref());
        if let Some(weight) = self.weight {
            // In a box, so that it adds nothing to the future of a task without a weight.
            let taken = Box::pin(weight::take_async(self.pool.shared(), weight, ends)).await;
            self.hold(&task_state, taken)?;
        }
        let options = self.options(tenant.as_ref(), ends, WaitMode::Forever);
        match lane {
            // In a box, so that it adds nothing to the future of a task without an order.
            Some(lane) => Box::pin(verbs::enter_async(&lane, task_state, options)).await,
            None => verbs::enter_async(self.pool, task_state, options).await,
        }
    }

    /// The state of a task, and what it is submitted to.
    pub(super) fn task_state<X>(&self, x: X) -> (Option<InOrder<P>>, TaskStateOf<P, X>)
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let (lane, task_options) = (self.lane(), self.task_options().in_token());
        let task_state = match &lane {
            Some(lane) => verbs::task_state(lane, x, task_options, false),
            None => verbs::task_state(self.pool, x, task_options, false),
        };
        (lane, task_state)
    }
}
