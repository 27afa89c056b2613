//! A reference to a pool or view that does not keep it open, for what may submit after its caller has returned.

use super::accepts::{Accepts, AnyPool};

/// A pool or view as [`Retrying`](crate::Retrying) and [`Guarded`](crate::Guarded) hold it. It does not keep the pool open: after the pool
/// or view was dropped, what is submitted is refused as closed. It appears in their types only.
pub struct Linked<P: AnyPool>(P::Shared);

impl<P: AnyPool> Linked<P> {
    pub(crate) fn to(pool: &P) -> Self {
        Linked(pool.shared().clone())
    }
}

impl<P: AnyPool> Clone for Linked<P> {
    fn clone(&self) -> Self {
        Linked(self.0.clone())
    }
}

impl<P: AnyPool> AnyPool for Linked<P> {
    type Runner = P::Runner;
    type Dispatch = P::Dispatch;
    type Shared = P::Shared;

    fn shared(&self) -> &P::Shared {
        &self.0
    }
}

impl<P: Accepts<X>, X: Send + 'static> Accepts<X> for Linked<P> {
    type Output = P::Output;
}
