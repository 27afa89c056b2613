//! The words that exporters use, in labels and fields.

use crate::error::SubmitErrorKind;

/// The kinds of refusals that [`Refusals`](crate::Refusals) counts.
#[cfg(feature = "metrics")]
pub(super) const REFUSALS: [SubmitErrorKind; 7] = [
    SubmitErrorKind::Full,
    SubmitErrorKind::Overloaded,
    SubmitErrorKind::TimedOut,
    SubmitErrorKind::Cancelled,
    SubmitErrorKind::Closed,
    SubmitErrorKind::Spawn,
    SubmitErrorKind::WouldDeadlock,
];

pub(super) fn reason(kind: SubmitErrorKind) -> &'static str {
    match kind {
        SubmitErrorKind::Full => "full",
        SubmitErrorKind::Overloaded => "overloaded",
        SubmitErrorKind::TimedOut => "timed_out",
        SubmitErrorKind::Cancelled => "cancelled",
        SubmitErrorKind::Closed => "closed",
        SubmitErrorKind::Spawn => "spawn",
        SubmitErrorKind::NoState => "no_state",
        SubmitErrorKind::WouldDeadlock => "would_deadlock",
        SubmitErrorKind::Dropped => "dropped",
    }
}
