//! What can go wrong, and what comes back with it.

mod build;
mod call;
mod group;
mod submit;

pub use build::BuildError;
pub(crate) use call::Cause;
pub use call::{CallError, JoinError, ProcessError};
pub use group::{GroupError, TaskFailure};
pub use submit::{SubmitAllError, SubmitError, SubmitErrorKind};

use std::any::Any;
use std::error::Error;

/// Any error, as the factories of a [`StatefulPool`](crate::StatefulPool) return it.
///
/// ```
/// let error: formicary::BoxError = "no such host".into();
/// assert_eq!(error.to_string(), "no such host");
/// ```
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// The text of a panic, if it has one.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a payload that is not text"
    }
}
