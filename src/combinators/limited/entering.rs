//! Submitters with a permit that wait for room in the pool: a close of their view ends the wait.

use super::view::View;
use crate::cancel::CancelToken;
use crate::engine::{Runner, SubmitOptions};
use crate::error::SubmitErrorKind;
use crate::queue::Dispatch;

/// Ends the wait of a submitter for room in the pool when its view is closed, or when its own token is cancelled.
pub(super) struct EnteringToken<'v, R: Runner, D: Dispatch> {
    view: &'v View<R, D>,
    number: u64,
    pub(super) token: CancelToken,
}

impl<'v, R: Runner, D: Dispatch> EnteringToken<'v, R, D> {
    pub(super) fn new(view: &'v View<R, D>, own: Option<&CancelToken>) -> Self {
        let token = own.map_or_else(CancelToken::new, CancelToken::child);
        let number = view.tree.number();
        let mut state = view.tree.state.lock();
        let is_closed = state.is_closed(&view.chain);
        state.each(&view.chain[..1], |node| drop(node.entering_tokens.insert(number, token.clone())));
        drop(state);
        if is_closed {
            token.cancel();
        }
        EnteringToken { view, number, token }
    }

    /// What a refusal of the pool means to the submitter.
    pub(super) fn refusal(&self, kind: SubmitErrorKind, options: &SubmitOptions<'_>) -> SubmitErrorKind {
        let is_ours = kind == SubmitErrorKind::Cancelled && options.cancelled().is_none();
        if is_ours { SubmitErrorKind::Closed } else { kind }
    }
}

impl<R: Runner, D: Dispatch> Drop for EnteringToken<'_, R, D> {
    fn drop(&mut self) {
        let mut left = None;
        let mut state = self.view.tree.state.lock();
        state.each(&self.view.chain[..1], |node| left = node.entering_tokens.remove(&self.number));
        drop(state);
        drop(left);
    }
}
