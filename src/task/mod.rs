//! A task from its submission to its result: what is queued, its state and result, and what user code sees of it.

pub(crate) mod blocked_workers;
pub(crate) mod closure;
pub(crate) mod current_worker;
pub(crate) mod deferred;
pub(crate) mod handle;
pub(crate) mod in_schedule;
pub(crate) mod in_view;
pub(crate) mod interrupter;
pub(crate) mod job;
pub(crate) mod liveness;
#[cfg(all(test, formicary_loom))]
mod models;
mod packed_job;
pub(crate) mod pending_polls;
pub(crate) mod propagated;
pub(crate) mod running_tasks;
pub(crate) mod state;
pub(crate) mod watch;
pub(crate) mod withdrawn;
pub(crate) mod worker;
