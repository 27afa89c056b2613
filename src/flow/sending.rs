//! Tasks that are sent to a pool without a thread that waits for room, and are awaited in the same way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::error::JoinError;
use crate::pool::{Accepts, Later};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, Ordering};
use crate::task::handle::{Awaited, Handle, Link};

/// A task on its way to a pool.
pub(super) struct Sent<R: Send + 'static> {
    handle: Handle<R>,
    entering: Entering,
}

/// Waits for room, and enters.
pub(super) type Entering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes tasks for one pool or view, whatever its type.
pub(super) type Sender<X, R> = Box<dyn Fn(X) -> Sent<R> + Send + Sync>;

pub(super) fn sender<P, X>(pool: &P) -> Sender<X, P::Output>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let entrance = pool.shared().clone();
    Box::new(move |x| {
        let later = Later::at::<P>(entrance.clone(), x);
        let link = Arc::new(HasEntered(AtomicBool::new(false)));
        let handle = Handle::linked(Arc::clone(&later.task_state), Arc::clone(&link) as _);
        let entering = async move {
            let has_entered = later.enter().await;
            // ORDERING: Release, see `has_entered`.
            link.0.store(has_entered, Ordering::Release);
        };
        Sent { handle, entering: Box::pin(entering) }
    })
}

impl<R: Send + 'static> Sent<R> {
    pub(super) fn awaited(&self) -> Arc<dyn Awaited> {
        self.handle.dependency().awaited
    }

    /// Waits for room, as `enter` polls that, and then for the end. For a
    /// [`DetachedFuture`](crate::sync::detached_future::DetachedFuture).
    pub(super) async fn ended<E: Future<Output = ()>>(self, enter: impl FnOnce(Entering) -> E) -> Result<R, JoinError> {
        enter(self.entering).await;
        // Not by a poll of the handle, which might run the task.
        poll_fn(|poller| {
            let waiter = Waiter::Inline(poller.waker().clone());
            self.handle.take_or_listen(waiter).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// A task that has nothing to wait for but room.
struct HasEntered(AtomicBool);

impl Link for HasEntered {
    fn next(&self) -> Option<Arc<dyn Awaited>> {
        None
    }

    fn has_entered(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `sender`: the entry is in the queue.
        self.0.load(Ordering::Acquire)
    }

    fn cancelled(&self) {}
}
