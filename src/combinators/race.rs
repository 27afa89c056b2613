//! Several closures for one result, of which the first success wins.

use crate::cancel::CancelToken;
use crate::engine::SubmitOptions;
use crate::error::TaskFailure;
use crate::pool::{Pool, answered};
use crate::queue::Dispatch;
use crate::task::handle::{Handle, as_completed};
use crate::task::state::{Cancellable, TaskMeta};

impl<D: Dispatch> Pool<D> {
    /// Runs closures side by side, blocks until the first of them succeeds, and returns its value. The others are cancelled: a closure that
    /// has not started never runs, and its captures are dropped at once, here or on a worker that has just taken it; a running one sees it in the token that each is given, and is
    /// not waited for. A value that comes later is dropped.
    ///
    /// The closures are pulled and submitted as by [`submit_all`](Self::submit_all), so this also blocks while the pool is full. A success
    /// ends that wait too, and nothing more is pulled after it. They start in order, so on one worker those behind the first success never
    /// run. A closure that cancels the token ends the race for all. On a worker of this pool, closures that have not started run on the
    /// calling thread, as with [`as_completed`].
    ///
    /// The cost is one allocation per closure, and constant time per end.
    ///
    /// ```
    /// use formicary::{CancelToken, Pool};
    ///
    /// fn ask(server: &str, token: &CancelToken) -> Result<String, String> {
    ///     match server {
    ///         "far" => {
    ///             token.wait(); // a slow answer, which stops with its token
    ///             Err("too late".into())
    ///         }
    ///         "down" => Err("no route".into()),
    ///         near => Ok(format!("hello from {near}")),
    ///     }
    /// }
    /// let pool = Pool::new(3)?;
    /// let answer = pool.race(["down", "far", "near"].map(|server| move |token: &CancelToken| ask(server, token)));
    /// assert_eq!(answer.unwrap(), "hello from near");
    ///
    /// let failures = pool.race(["down", "down"].map(|server| move |token: &CancelToken| ask(server, token))).unwrap_err();
    /// assert_eq!(failures.into_iter().filter_map(|failure| failure.into_error()).collect::<Vec<_>>(), ["no route"; 2]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// If none succeeds: the failure of each closure, in order. Besides the closures' own errors these are panics,
    /// [`Refused`](TaskFailure::Refused) if the pool did not accept a closure, [`Cancelled`](TaskFailure::Cancelled) if it gave one back
    /// or the token was cancelled, and [`WouldDeadlock`](TaskFailure::WouldDeadlock) if a worker of the pool would wait for itself. The
    /// list is empty if there were no closures.
    ///
    /// # Panics
    /// If the iterator panics. Then the closures pulled before are cancelled.
    #[doc(alias("invokeAny", "select_ok", "try_any"))]
    pub fn race<I, F, T, E>(&self, closures: I) -> Result<T, Vec<TaskFailure<E>>>
    where
        I: IntoIterator<Item = F>,
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let token = CancelToken::new();
        // Cancels the other closures on every way out.
        let _cancel = token.clone().drop_guard();
        let mut failures = Vec::new();
        let (mut handles, mut indices) = (Vec::new(), Vec::new());
        for f in closures {
            match self.enter_race(f, &token) {
                Ok(handle) => {
                    handles.push(handle);
                    indices.push(failures.len());
                    failures.push(TaskFailure::Cancelled);
                }
                Err(failure) => failures.push(failure),
            }
            if token.is_cancelled() {
                break;
            }
        }
        let mut results = as_completed(handles);
        while let Some((index, result)) = results.next() {
            match result {
                Ok(Ok(value)) => {
                    token.cancel();
                    results.cancel(|cancel| _ = self.engine.catch_user_panic(cancel));
                    // Dropping a late value runs user code, whose panic must not replace this result.
                    self.engine.catch_user_panic(|| drop(results));
                    return Ok(value);
                }
                Ok(Err(error)) => failures[indices[index]] = TaskFailure::Failed(error),
                Err(error) => failures[indices[index]] = TaskFailure::of(error),
            }
        }
        Err(failures)
    }

    fn enter_race<F, T, E>(&self, f: F, token: &CancelToken) -> Result<Handle<Result<T, E>>, TaskFailure<E>>
    where
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let meta = TaskMeta { token: Some(token.clone()), run_here: Some(run as _), ..self.engine.task_meta() };
        let (task_state, task) = answered((f, token.clone()), run, meta);
        let options = SubmitOptions::from(self.engine.default_mode()).with_token(Some(token));
        match self.engine.submit_state(&task_state, task, options) {
            Ok(()) => Ok(Handle::new(task_state)),
            Err(refusal) if refusal.is_cancelled() => Err(TaskFailure::Cancelled),
            Err(refusal) => Err(TaskFailure::Refused(refusal.kind())),
        }
    }
}

/// Runs one of the closures. A success cancels the token here, at once, which also wakes a submitter that waits for room.
fn run<F, T, E>((f, token): (F, CancelToken), _: &dyn Cancellable) -> Result<T, E>
where
    F: FnOnce(&CancelToken) -> Result<T, E>,
{
    let result = f(&token);
    if result.is_ok() {
        token.cancel();
    }
    result
}
