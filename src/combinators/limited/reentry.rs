//! Tasks that were accepted before and come again: the polls of a future.

use std::convert;

use super::admission::{Entered, Newcomer};
use super::view::View;
use crate::engine::{Engine, Runner, SubmitOptions, WaitMode};
use crate::pool::Reentry;
use crate::queue::{DEFAULT_LANE, Dispatch, LazyWith};
use crate::sync::Arc;

impl<R: Runner, D: Dispatch> Reentry<R::Item> for Engine<R, D> {
    /// Behind what is queued, where there is room: a task that comes again and again does not overtake the others.
    fn enter_again(self: Arc<Self>, item: R::Item) -> Result<(), R::Item> {
        let mut item = Some(item);
        let behind = SubmitOptions::from(WaitMode::Never).bounded();
        let has_entered = self.has_room() && matches!(self.enter_now(&mut item, &behind), Ok(true));
        if has_entered { Ok(()) } else { item.map_or(Ok(()), |item| self.enter_unless_closed(item)) }
    }

    fn is_over(&self) -> bool {
        false
    }
}

impl<R: Runner, D: Dispatch> Reentry<R::Item> for View<R, D> {
    fn enter_again(self: Arc<Self>, item: R::Item) -> Result<(), R::Item> {
        let mut task = Newcomer { in_view: None, lane: DEFAULT_LANE, lazy: LazyWith::new(item, convert::identity) };
        match self.try_enter_as_is(&mut task, 0, false) {
            Ok(Entered::In) => Ok(()),
            Ok(Entered::WithPermit(_) | Entered::Full) | Err(_) => Err(task.lazy.into_input()),
        }
    }

    fn is_over(&self) -> bool {
        self.is_closed(&self.tree.state.lock())
    }
}
