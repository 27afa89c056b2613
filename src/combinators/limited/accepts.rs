//! A view accepts whatever its pool accepts.

use super::Limited;
use super::view::View;
use crate::pool::{Accepts, AnyPool};
use crate::sync::Arc;

impl<P: AnyPool> AnyPool for Limited<P> {
    type Runner = P::Runner;
    type Dispatch = P::Dispatch;
    type Shared = Arc<View<P::Runner, P::Dispatch>>;

    fn shared(&self) -> &Self::Shared {
        &self.view
    }
}

impl<P: Accepts<X>, X: Send + 'static> Accepts<X> for Limited<P> {
    type Output = P::Output;
}
