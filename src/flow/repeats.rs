//! How a task is kept between attempts: a closure is called again, an input is cloned.

use std::ops::{Deref, DerefMut};

use crate::combinators::limited::Limited;
use crate::pool::{Accepts, Pool, PoolWithFunc, StatefulPool};
use crate::queue::Dispatch;
use crate::sync::{Arc, Mutex};
use crate::task::worker::Worker;

/// A pool or view on which a task of type `X` can be attempted more than once. Sealed. It appears in bounds only.
///
/// On a [`Pool`] these are closures `FnMut() -> Result<T, E> + Send`, which need not be `Clone`: the next attempt calls the same closure
/// again. On the other kinds they are inputs that are `Clone`, if the output is a `Result`: each attempt processes a clone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot attempt `{X}` more than once",
    note = "a `Pool` retries `FnMut() -> Result<T, E> + Send + 'static`; a `PoolWithFunc` or `StatefulPool` retries inputs that are `Clone`, if its output is a `Result`"
)]
pub trait Repeats<X: Send + 'static>:
    Accepts<<Self as Repeats<X>>::Attempt, Output = Result<<Self as Repeats<X>>::Value, <Self as Repeats<X>>::Error>>
{
    /// The value of a success.
    type Value: Send + 'static;
    /// The error of a failed attempt.
    type Error: Send + 'static;
    /// What the pool is given for one attempt.
    #[doc(hidden)]
    type Attempt: Send + 'static;
    /// The task as it is kept.
    #[doc(hidden)]
    type Kept: Send + 'static;

    #[doc(hidden)]
    fn keep(x: X) -> Self::Kept;

    /// May run user code.
    #[doc(hidden)]
    fn attempt(kept: &Self::Kept) -> Self::Attempt;

    /// The task, when no attempt can run any more.
    #[doc(hidden)]
    fn give_back(kept: Self::Kept) -> Option<X>;
}

/// A closure, except while an attempt calls it.
pub struct Slot<F>(Mutex<Option<F>>);

/// A closure that is called. It goes back into its slot even if it panics.
struct Called<'s, F> {
    slot: &'s Slot<F>,
    /// Always there.
    f: Option<F>,
}

impl<F> Slot<F> {
    fn take(&self) -> Option<F> {
        self.0.lock().take()
    }

    fn call<O>(&self) -> O
    where
        F: FnMut() -> O,
    {
        // An attempt begins only after the one before it has ended.
        let mut called = Called { slot: self, f: self.take() };
        called()
    }
}

impl<F> Deref for Called<'_, F> {
    type Target = F;

    fn deref(&self) -> &F {
        match &self.f {
            Some(f) => f,
            None => unreachable!("no other attempt has the closure"),
        }
    }
}

impl<F> DerefMut for Called<'_, F> {
    fn deref_mut(&mut self) -> &mut F {
        match &mut self.f {
            Some(f) => f,
            None => unreachable!("no other attempt has the closure"),
        }
    }
}

impl<F> Drop for Called<'_, F> {
    fn drop(&mut self) {
        *self.slot.0.lock() = self.f.take();
    }
}

impl<D, F, T, E> Repeats<F> for Pool<D>
where
    D: Dispatch,
    F: FnMut() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    type Value = T;
    type Error = E;
    type Attempt = Box<dyn FnOnce() -> Result<T, E> + Send>;
    type Kept = Arc<Slot<F>>;

    fn keep(f: F) -> Self::Kept {
        Arc::new(Slot(Mutex::new(Some(f))))
    }

    fn attempt(kept: &Self::Kept) -> Self::Attempt {
        let slot = Arc::clone(kept);
        Box::new(move || slot.call())
    }

    fn give_back(kept: Self::Kept) -> Option<F> {
        kept.take()
    }
}

impl<T, D, V, E> Repeats<T> for PoolWithFunc<T, D, Result<V, E>>
where
    T: Clone + Send + 'static,
    D: Dispatch,
    V: Send + 'static,
    E: Send + 'static,
{
    type Value = V;
    type Error = E;
    type Attempt = T;
    type Kept = T;

    fn keep(input: T) -> T {
        input
    }

    fn attempt(kept: &T) -> T {
        kept.clone()
    }

    fn give_back(kept: T) -> Option<T> {
        Some(kept)
    }
}

impl<W, D, V, E> Repeats<W::Input> for StatefulPool<W, D>
where
    W: Worker<Output = Result<V, E>>,
    W::Input: Clone,
    D: Dispatch,
    V: Send + 'static,
    E: Send + 'static,
{
    type Value = V;
    type Error = E;
    type Attempt = W::Input;
    type Kept = W::Input;

    fn keep(input: W::Input) -> W::Input {
        input
    }

    fn attempt(kept: &W::Input) -> W::Input {
        kept.clone()
    }

    fn give_back(kept: W::Input) -> Option<W::Input> {
        Some(kept)
    }
}

impl<P: Repeats<X>, X: Send + 'static> Repeats<X> for Limited<P> {
    type Value = P::Value;
    type Error = P::Error;
    type Attempt = P::Attempt;
    type Kept = P::Kept;

    fn keep(x: X) -> P::Kept {
        P::keep(x)
    }

    fn attempt(kept: &P::Kept) -> P::Attempt {
        P::attempt(kept)
    }

    fn give_back(kept: P::Kept) -> Option<X> {
        P::give_back(kept)
    }
}
