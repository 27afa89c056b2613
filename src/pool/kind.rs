//! The kinds of pools that a builder can build.

use super::closures::Closures;
use super::function::Function;
use super::stateful::States;
use crate::error::BoxError;
use crate::task::closure::Task;
use crate::task::worker::Worker;

/// A kind of pool: what a [`Builder`](crate::Builder) collects settings for. The trait is sealed.
pub trait Kind: sealed::Sealed {
    /// What a task that never ran comes back as.
    type Task: 'static;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for Closures {}

impl Kind for Closures {
    type Task = Task;
}

impl<F, T, R> sealed::Sealed for Function<F, T, R> {}

impl<F, T: 'static, R> Kind for Function<F, T, R> {
    type Task = T;
}

impl<F> sealed::Sealed for States<F> {}

impl<W, F> Kind for States<F>
where
    W: Worker,
    F: Fn(usize) -> Result<W, BoxError>,
{
    type Task = W::Input;
}
