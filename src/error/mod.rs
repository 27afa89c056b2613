//! The crate's errors.
//!
//! An error's text leaves its cause to `source`, so a printed chain says each thing once.

mod acquire;
mod build;
mod call;
mod exclusive;
mod group;
mod join;
mod submit;
mod submit_all;

pub use acquire::AcquireError;
pub use build::BuildError;
pub use call::CallError;
pub use group::{GroupError, TaskFailure};
pub(crate) use join::Cause;
pub use join::JoinError;
pub use submit::{SubmitError, SubmitErrorKind};
pub use submit_all::SubmitAllError;

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A boxed error, as the factories of a [`StatefulPool`](crate::StatefulPool) return it.
///
/// ```
/// let error: formicary::BoxError = "no such host".into();
/// assert_eq!(error.to_string(), "no such host");
/// ```
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// The text of every error for a task that the pool has dropped.
const DROPPED: &str = "the pool dropped the task before it started";

/// The text of every error for a wait that could not end.
const WOULD_DEADLOCK: &str = "waiting would deadlock: the caller is a worker of the pool";

/// A cause that several errors share.
pub(crate) type SharedError = Arc<dyn Error + Send + Sync + 'static>;

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// Displays an error followed by its causes, for output that shows only the text.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut error = self.0;
        write!(f, "{error}")?;
        while let Some(source) = error.source() {
            error = source;
            write!(f, ": {error}")?;
        }
        Ok(())
    }
}

/// The text of a panic's payload, or a placeholder for a payload of another type.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a payload that is not text"
    }
}
