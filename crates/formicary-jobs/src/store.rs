//! What a runner needs of a store.

use std::fmt;
use std::time::Duration;

use crate::error::StoreError;
use crate::job::Push;

/// What became of a pushed job.
///
/// ```
/// use formicary_jobs::{Push, Pushed, Sqlite, Store};
///
/// let pushed = Sqlite::in_memory()?.push(&[Push::raw("mail", 1, "{}")?])?;
/// assert!(matches!(&pushed[0], Pushed::New(id) if !id.is_empty()));
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is stored under this id.
    New(String),
    /// The store remembers a job with the same key, and has stored nothing.
    Duplicate,
}

/// The right to run a job, until the lease ends and the job is reserved again: then this one is void.
///
/// ```
/// use formicary_jobs::Lease;
///
/// let lease = Lease { id: "17".into(), token: "1".into() };
/// assert_ne!(lease, Lease { token: "2".into(), ..lease.clone() });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job's id, which stays the same over its attempts.
    pub id: String,
    /// What tells this reservation from any other of the job.
    pub token: String,
}

/// A job that was reserved.
///
/// ```
/// use std::time::Duration;
/// use formicary_jobs::{Push, Sqlite, Store};
///
/// let store = Sqlite::in_memory()?;
/// store.push(&[Push::raw("mail", 1, "{}")?.attempts(3)])?;
/// let jobs = store.reserve("mail", 10, Duration::from_secs(60))?;
/// assert_eq!((jobs.len(), jobs[0].attempt, jobs[0].attempts), (1, 1, 3));
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reserved {
    /// The right to run it.
    pub lease: Lease,
    /// The version of its payload.
    pub version: u32,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The key that it was pushed with.
    pub key: Option<String>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many it may have.
    pub attempts: u32,
}

/// How a reserved job ends.
///
/// ```
/// use std::time::Duration;
/// use formicary_jobs::{Push, Settle, Sqlite, Store};
///
/// let store = Sqlite::in_memory()?;
/// store.push(&[Push::raw("mail", 1, "{}")?])?;
/// let job = store.reserve("mail", 1, Duration::from_secs(60))?.remove(0);
/// let bury = Settle::Bury { error: "no such address".into() };
/// assert_eq!(store.settle(&[(job.lease, bury)])?, [true]);
/// assert_eq!(store.dead(10)?[0].error, "no such address");
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
#[derive(Clone, Debug)]
pub enum Settle {
    /// The work is done: the job is removed.
    Done,
    /// The work has not begun: the job is ready again, and this was no attempt.
    Release,
    /// The attempt failed: the job is ready again after this time.
    Retry {
        /// The time until the next attempt.
        after: Duration,
        /// Why it failed.
        error: String,
    },
    /// The job goes to the dead letters.
    Bury {
        /// Why.
        error: String,
    },
}

/// A dead letter.
///
/// ```
/// use formicary_jobs::{Sqlite, Store};
///
/// let store = Sqlite::in_memory()?;
/// let ids: Vec<String> = store.dead(100)?.into_iter().map(|dead| dead.id).collect();
/// assert_eq!(store.replay(&ids)?, 0);
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dead {
    /// What [`Store::replay`] and [`Store::discard`] take.
    pub id: String,
    /// The kind of job.
    pub kind: String,
    /// The version of its payload.
    pub version: u32,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The key that it was pushed with.
    pub key: Option<String>,
    /// How often it was started.
    pub attempt: u32,
    /// Why it is dead.
    pub error: String,
}

/// How many jobs a store has.
///
/// ```
/// use formicary_jobs::{Counts, Push, Sqlite, Store};
///
/// let store = Sqlite::in_memory()?;
/// store.push(&[Push::raw("mail", 1, "{}")?])?;
/// assert_eq!(store.counts()?, Counts { ready: 1, reserved: 0, dead: 0 });
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not reserved, also those whose next attempt is not due.
    pub ready: u64,
    /// Reserved, also those whose lease has ended and that nobody has reserved since.
    pub reserved: u64,
    /// Dead letters.
    pub dead: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ready, {} reserved, {} dead", self.ready, self.reserved, self.dead)
    }
}

/// Where jobs are kept. All methods block, for at most the time limit of the store, and may be called from any thread.
///
/// A store promises: a job that was pushed is there, until it is settled as done, or discarded. It is reserved by one at a time, until the
/// lease ends. All of a call happens, or nothing (or the error says that it is not known: [`Unavailable`]).
///
/// [`Unavailable`]: crate::StoreErrorKind::Unavailable
///
/// ```
/// use std::time::Duration;
/// use formicary_jobs::{Push, Settle, Sqlite, Store};
///
/// let store = Sqlite::in_memory()?;
/// store.push(&[Push::raw("mail", 1, "{}")?])?;
/// for job in store.reserve("mail", 10, Duration::from_secs(60))? {
///     store.settle(&[(job.lease, Settle::Done)])?; // when the work is done
/// }
/// assert_eq!(store.counts()?.to_string(), "0 ready, 0 reserved, 0 dead");
/// # Ok::<(), formicary_jobs::StoreError>(())
/// ```
pub trait Store: Send + Sync + 'static {
    /// Stores jobs, all or none of them.
    ///
    /// # Errors
    /// [`StoreError`]; after `Unavailable` push again, with keys.
    fn push(&self, jobs: &[Push]) -> Result<Vec<Pushed>, StoreError>;

    /// The kinds of jobs that may be ready.
    ///
    /// # Errors
    /// [`StoreError`].
    fn kinds(&self) -> Result<Vec<String>, StoreError>;

    /// Reserves at most `n` jobs of a kind, oldest first, which counts as an attempt of each. A job whose lease has ended is ready
    /// again, or dead if that was its last attempt.
    ///
    /// # Errors
    /// [`StoreError`]. What may have been reserved is ready again when the lease ends.
    fn reserve(&self, kind: &str, n: usize, lease: Duration) -> Result<Vec<Reserved>, StoreError>;

    /// Lets leases end this long from now. `false` for one that is void.
    ///
    /// # Errors
    /// [`StoreError`].
    fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<bool>, StoreError>;

    /// Ends reservations. `false` for a lease that is void, because it ended, or its job did. `Done` succeeds also with a void lease: the
    /// work is done, whoever has reserved the job since.
    ///
    /// # Errors
    /// [`StoreError`]. The same call may be repeated.
    fn settle(&self, ends: &[(Lease, Settle)]) -> Result<Vec<bool>, StoreError>;

    /// The oldest dead letters.
    ///
    /// # Errors
    /// [`StoreError`].
    fn dead(&self, at_most: usize) -> Result<Vec<Dead>, StoreError>;

    /// Makes dead letters ready again, with all their attempts. Returns how many of them there were.
    ///
    /// # Errors
    /// [`StoreError`].
    fn replay(&self, ids: &[String]) -> Result<usize, StoreError>;

    /// Removes dead letters for good. Returns how many of them there were.
    ///
    /// # Errors
    /// [`StoreError`].
    fn discard(&self, ids: &[String]) -> Result<usize, StoreError>;

    /// How many jobs there are.
    ///
    /// # Errors
    /// [`StoreError`].
    fn counts(&self) -> Result<Counts, StoreError>;
}
