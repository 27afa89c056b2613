//! The figures of both sides: the store's, the pools', and what went between them.

use std::fmt;

use crate::place::PoolFigures;
use crate::store::Counts;

/// The figures of a runner, its store and its pools. Those of the runner count from its start; `Display` is a table.
///
/// `reserved = completed + retried + buried + released + lost + in_flight`, where `lost` counts what could not be settled because the lease was void.
///
/// ```
/// use std::sync::Arc;
/// use formicary_jobs::{Runner, Sqlite};
///
/// let running = Runner::new(Arc::new(Sqlite::in_memory()?)).start()?;
/// println!("{}", running.stats());
/// # Ok::<(), formicary_jobs::BoxError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Jobs that were reserved, also again.
    pub reserved: u64,
    /// Jobs that were acknowledged.
    pub completed: u64,
    /// Attempts that failed and are followed by another.
    pub retried: u64,
    /// Jobs that became dead letters here.
    pub buried: u64,
    /// Jobs that went back before they began.
    pub released: u64,
    /// Jobs whose lease was void when their run had ended: they have run, or will run, elsewhere.
    pub lost: u64,
    /// Jobs that were reserved again while they ran, and not started again. Not among the `reserved`.
    pub adopted: u64,
    /// Calls of the store that failed.
    pub store_errors: u64,
    /// What the latest of them said.
    pub last_error: Option<String>,
    /// Jobs that are reserved now.
    pub in_flight: usize,
    /// Of these, those that run.
    pub running: usize,
    /// What is in the store; `None` if it did not say.
    pub store: Option<Counts>,
    /// Each kind, and the pool or view that it runs on.
    pub pools: Vec<(String, PoolFigures)>,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats {
            reserved,
            completed,
            retried,
            buried,
            released,
            lost,
            adopted,
            store_errors,
            in_flight,
            running,
            ..
        } = self;
        match &self.store {
            Some(counts) => writeln!(f, "store    {counts}; {store_errors} errors")?,
            None => writeln!(f, "store    away; {store_errors} errors")?,
        }
        write!(
            f,
            "jobs     {reserved} reserved: {completed} completed, {retried} retried, {buried} buried, {released} released, {lost} lost"
        )?;
        write!(f, "; {in_flight} in flight, {running} running; {adopted} adopted")?;
        for (kind, figures) in &self.pools {
            write!(f, "\npool     {kind}: {figures}")?;
        }
        if let Some(error) = &self.last_error {
            write!(f, "\nerror    {error}")?;
        }
        Ok(())
    }
}
