//! What the pages do to a pool.

use std::fmt;

use formicary::observe::registry;

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pause,
    Resume,
    /// Sets the capacity to so many workers.
    Tune(usize),
}

/// Why it was not done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ActionError {
    /// The pool has left the registry.
    Gone,
    /// The pool's own reason.
    Refused(String),
}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActionError::Gone => f.write_str("the pool has ended"),
            ActionError::Refused(reason) => f.write_str(reason),
        }
    }
}

/// Does it to the pool with this number in the registry.
pub(crate) fn apply(pool: u64, action: Action) -> Result<(), ActionError> {
    let pools = registry().pools();
    let pool = pools.iter().find(|candidate| candidate.id() == pool).ok_or(ActionError::Gone)?;
    match action {
        Action::Pause => pool.pause(),
        Action::Resume => pool.resume(),
        Action::Tune(workers) => {
            return pool.tune(workers).map_err(|error| ActionError::Refused(error.to_string()));
        }
    }
    Ok(())
}
