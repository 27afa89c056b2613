//! How a task enters whose time has come.

use std::future::Future;
use std::pin::Pin;
use std::task::Wake;

use super::Scheduled;
use crate::cancel::CancelToken;
use crate::engine::submit_options::{SubmitOptions, WaitMode};
use crate::engine::{Engine, Runner};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{Dispatch, LazyWith};
use crate::sync::Arc;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::waking;
use crate::task::in_schedule::ScheduledTask;
use crate::task::in_view::InView;

pub(super) type Refusal<R> = SubmitError<Scheduled<R>>;
type Entering<R> = Pin<Box<dyn Future<Output = Result<(), Refusal<R>>> + Send>>;

/// A pool or a view that scheduled tasks enter. A refusal is not counted.
pub(crate) trait Entrance<R: Runner>: Send + Sync {
    /// Takes a task in if there is room now.
    fn enter(self: Arc<Self>, task: Scheduled<R>, options: SubmitOptions<'_>) -> Result<(), Refusal<R>>;
    /// The same when there is room. Where the task is accepted, the caller has to ensure that there are workers.
    fn enter_async(self: Arc<Self>, task: Scheduled<R>, token: CancelToken) -> Entering<R>;
    /// Whether it lets nothing in any more. A pool is asked elsewhere.
    fn is_closed(&self) -> bool {
        false
    }
    /// What the state of a new task keeps of the view.
    fn in_view(self: Arc<Self>) -> Option<InView> {
        None
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Has a task enter whose time has come: now, or when there is room.
    pub(super) fn enter_scheduled(self: &Arc<Self>, task: Scheduled<R>) {
        let Some(entrance) = self.entrance(&task) else { return self.not_entered(task, SubmitErrorKind::Closed) };
        if let Some(kind) = task.task.as_ref().and_then(|task| task.end()) {
            return self.not_entered(task, kind);
        }
        let state = task.task.clone();
        let options = task.options(WaitMode::Never);
        match Arc::clone(&entrance).enter(task, options).map_err(SubmitError::into_parts) {
            Ok(()) => self.has_entered(state.as_deref()),
            Err((SubmitErrorKind::Full, task)) if !matches!(task.mode, WaitMode::Never) => {
                self.wait_for_room_to_enter(entrance, task);
            }
            Err((kind, task)) => self.not_entered(task, kind),
        }
    }

    /// Where the task enters. `None` if its view is gone.
    fn entrance(self: &Arc<Self>, task: &Scheduled<R>) -> Option<Arc<dyn Entrance<R>>> {
        match &task.view {
            Some(view) => view.entrance(),
            None => Some(Arc::clone(self) as Arc<dyn Entrance<R>>),
        }
    }

    /// The queue entry of a task that enters, under the queue's locks.
    pub(crate) fn entered(&self, task: Scheduled<R>) -> R::Item {
        self.schedule.note_entered();
        task.into_entered()
    }

    fn has_entered(&self, task: Option<&dyn ScheduledTask>) {
        if let Some(task) = task {
            self.note_cancellable(task.given_token());
        }
        self.repeat_polls();
    }

    /// Workers that poll a task which has entered may have to run it.
    pub(super) fn repeat_polls(&self) {
        self.schedule.polls.notify_unless(|| false);
    }

    fn wait_for_room_to_enter(self: &Arc<Self>, entrance: Arc<dyn Entrance<R>>, task: Scheduled<R>) {
        let engine = Arc::clone(self);
        let waiting = DetachedFuture::new(async move {
            let (token, state) = (task.wait_token(), task.task.clone());
            let entered = entrance.enter_async(task, token).await;
            // What follows may start a thread, or run user code.
            waking::defer(move || match entered.map_err(SubmitError::into_parts) {
                Ok(()) => {
                    engine.has_entered(state.as_deref());
                    engine.ensure_workers();
                }
                Err((kind, task)) => engine.not_entered(task, kind),
            });
        });
        waiting.wake();
    }

    /// The pool has refused a task at its time.
    fn not_entered(&self, task: Scheduled<R>, kind: SubmitErrorKind) {
        self.schedule.note_entered();
        let mut state = self.schedule.state.lock();
        if let (SubmitErrorKind::Closed, Some(turned_away)) = (kind, &mut state.turned_away) {
            return turned_away.push(task);
        }
        drop(state);
        self.drop_unentered(task, kind);
    }
}

impl<R: Runner, D: Dispatch> Entrance<R> for Engine<R, D> {
    fn enter(self: Arc<Self>, task: Scheduled<R>, options: SubmitOptions<'_>) -> Result<(), Refusal<R>> {
        self.submit(task, |task| self.entered(task), options)
    }

    fn enter_async(self: Arc<Self>, task: Scheduled<R>, token: CancelToken) -> Entering<R> {
        Box::pin(async move {
            let options = task.patient(&token);
            let lazy = LazyWith::new(task, |task| self.entered(task));
            let entered = self.submit_lazy_async(lazy, options).await;
            entered.map_err(|refusal| refusal.map(LazyWith::into_input))
        })
    }
}
