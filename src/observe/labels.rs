//! The words that exporters use, in labels and fields.

use crate::error::SubmitErrorKind;

/// The kinds of refusals that [`Refusals`](crate::Refusals) counts.
#[cfg(feature = "metrics")]
pub(super) const REFUSALS: [SubmitErrorKind; 8] = [
    SubmitErrorKind::Full,
    SubmitErrorKind::Overloaded,
    SubmitErrorKind::TimedOut,
    SubmitErrorKind::Cancelled,
    SubmitErrorKind::Closed,
    SubmitErrorKind::Spawn,
    SubmitErrorKind::WouldDeadlock,
    SubmitErrorKind::TooLarge,
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
        SubmitErrorKind::TooLarge => "too_large",
        SubmitErrorKind::Dropped => "dropped",
        SubmitErrorKind::Open => "open",
    }
}
