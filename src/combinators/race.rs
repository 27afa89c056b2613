//! Several ways to one result, of which the first that succeeds is taken.

use crate::cancel::CancelToken;
use crate::engine::SubmitOptions;
use crate::error::TaskFailure;
use crate::pool::{Pool, answered};
use crate::queue::Dispatch;
use crate::task::handle::{Handle, as_completed};
use crate::task::state::{Cancellable, TaskMeta};

impl<D: Dispatch> Pool<D> {
    /// Runs closures side by side, blocks until the first of them succeeds, and returns its value. The others are cancelled: those that
    /// have not started never run, and what they captured is dropped at once; those that run can see it in the token that all are
    /// given, and are not waited for. A value that comes too late is dropped.
    ///
    /// The closures are pulled and submitted as [`submit_all`](Self::submit_all) does it, so this also blocks while the pool is full;
    /// a success ends that wait too, and nothing more is pulled after it. They start in their order, so on one worker those behind the
    /// first that succeeds never run. Cancelling the token from a closure ends the race for all of them. On a worker of this pool
    /// the closures that have not started run on the spot, as with [`as_completed`].
    ///
    /// Costs one allocation for each closure, and constant time for each end.
    ///
    /// ```
    /// use formicary::{CancelToken, Pool};
    ///
    /// fn ask(server: &str, token: &CancelToken) -> Result<String, String> {
    ///     match server {
    ///         "far" => {
    ///             token.wait(); // a slow answer, which heeds its token
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
    /// If none succeeds: why not, for each closure in its order. Besides the closures' own errors these are panics,
    /// [`Refused`](TaskFailure::Refused) where the pool did not accept one, [`Cancelled`](TaskFailure::Cancelled) where it gave one back
    /// or the token was cancelled, and [`WouldDeadlock`](TaskFailure::WouldDeadlock) where a worker of the pool would wait for itself.
    /// Without closures there is no success, and no reason: the list is empty.
    ///
    /// # Panics
    /// If the iterator does. Then the closures that it gave before are cancelled.
    pub fn race<I, F, T, E>(&self, closures: I) -> Result<T, Vec<TaskFailure<E>>>
    where
        I: IntoIterator<Item = F>,
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let token = CancelToken::new();
        // However this ends.
        let _end = token.clone().drop_guard();
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
                    // A value that came too late is somebody else's to drop.
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
        let meta = TaskMeta { token: Some(token.clone()), run_here: Some(run as _), ..TaskMeta::new(self.engine.id()) };
        let (task_state, task) = answered((f, token.clone()), run, meta);
        let options = SubmitOptions::from(self.engine.default_mode()).with_token(Some(token));
        match self.engine.submit_state(&task_state, task, options) {
            Ok(()) => Ok(Handle::new(task_state)),
            Err(refusal) if refusal.is_cancelled() => Err(TaskFailure::Cancelled),
            Err(refusal) => Err(TaskFailure::Refused(refusal.kind())),
        }
    }
}

/// Runs one of the closures. Who succeeds tells the others at once, and a submitter that waits for room.
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
