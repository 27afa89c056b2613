//! A pool for the tasks of one key.

use super::accepts::{Accepts, AnyPool};
use super::admit::Admit;

/// A pool or a view, for the tasks of one key. It accepts what that accepts, and admits it where the tasks of the key wait for their turn.
pub(crate) struct InOrder<P: AnyPool>(<P::Shared as Admit>::Lane);

impl<P: AnyPool> InOrder<P> {
    pub(super) fn new(pool: &P, key: u64) -> Self {
        InOrder(pool.shared().lane(key))
    }
}

impl<P: AnyPool> AnyPool for InOrder<P> {
    type Runner = P::Runner;
    type Dispatch = P::Dispatch;
    type Shared = <P::Shared as Admit>::Lane;

    fn shared(&self) -> &Self::Shared {
        &self.0
    }
}

impl<P: Accepts<X>, X: Send + 'static> Accepts<X> for InOrder<P> {
    type Output = P::Output;
}
