//! Jobs in a SQLite file.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use crate::error::{StoreError, StoreErrorKind};
use crate::job::Push;
use crate::store::{Counts, Dead, Lease, Pushed, Reserved, Settle, Store};

/// The times are milliseconds since 1970, by the clock of the machine, which all processes with the file share.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        version INTEGER NOT NULL,
        payload BLOB NOT NULL,
        key TEXT,
        attempt INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL,
        state INTEGER NOT NULL DEFAULT 0, -- 0 ready, 1 reserved, 2 dead
        due INTEGER NOT NULL,             -- when a ready job may be reserved; when the lease of a reserved one ends
        reservation INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX IF NOT EXISTS jobs_ready ON jobs (kind, due, id) WHERE state = 0;
    CREATE INDEX IF NOT EXISTS jobs_reserved ON jobs (due) WHERE state = 1;
    CREATE INDEX IF NOT EXISTS jobs_dead ON jobs (id) WHERE state = 2;
    CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS keys_until ON keys (until);
";

/// How long a call waits for another process.
const LIMIT: Duration = Duration::from_secs(5);

/// Between two attempts to get the right to write.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

const EXPIRE: &str = "
    UPDATE jobs SET
        error = 'the lease ended in attempt ' || attempt || ': its process died or stalled',
        state = iif(attempt >= attempts, 2, 0)
    WHERE state = 1 AND due <= ?1
";

/// Jobs in a SQLite file: no server. Any number of processes on one machine share the file.
///
/// The file is in WAL mode, and each commit is on the disk before a call returns (`synchronous = FULL`), so a job that was pushed is there
/// after a crash of the machine. A call waits for other processes for at most 5 seconds ([`busy_timeout`](Self::busy_timeout)). The file
/// must not be on a network file system. Leases use the machine's clock: if that is set forward, leases end early, and jobs may run twice.
///
/// ```
/// use formicary_jobs::{Push, Sqlite, Store};
///
/// let folder = std::env::temp_dir().join(format!("jobs-{}", std::process::id()));
/// std::fs::create_dir_all(&folder)?;
/// Sqlite::open(folder.join("jobs.db"))?.push(&[Push::raw("mail", 1, "{}")?])?;
/// assert_eq!(Sqlite::open(folder.join("jobs.db"))?.counts()?.ready, 1);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), formicary_jobs::BoxError>(())
/// ```
#[derive(Debug)]
pub struct Sqlite {
    connection: Mutex<Connection>,
    keep_keys: Duration,
    /// How long a call waits for the right to write.
    limit: Duration,
}

impl Sqlite {
    /// Opens a file, and makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError`]: the file cannot be opened, or is no database.
    ///
    /// ```
    /// use formicary_jobs::Sqlite;
    ///
    /// assert!(Sqlite::open("/no/such/folder/jobs.db").is_err());
    /// ```
    pub fn open(file: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::with(Connection::open(file)?)
    }

    /// Jobs in memory, for tests: they end with the process.
    ///
    /// # Errors
    /// [`StoreError`]: there is no memory.
    ///
    /// ```
    /// use formicary_jobs::{Sqlite, Store};
    ///
    /// assert_eq!(Sqlite::in_memory()?.counts()?.ready, 0);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with(Connection::open_in_memory()?)
    }

    fn with(connection: Connection) -> Result<Self, StoreError> {
        connection.busy_timeout(LIMIT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Sqlite { connection: Mutex::new(connection), keep_keys: Duration::from_secs(24 * 60 * 60), limit: LIMIT })
    }

    /// How long a write waits while another process writes; 5 seconds unless said otherwise. Keep it below a third of the leases.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = formicary_jobs::Sqlite::in_memory()?.busy_timeout(Duration::from_secs(1));
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn busy_timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How long a key is remembered, from the push; a day unless said otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = formicary_jobs::Sqlite::in_memory()?.keep_keys(Duration::from_secs(7 * 24 * 60 * 60));
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn keep_keys(mut self, time: Duration) -> Self {
        self.keep_keys = time;
        self
    }

    /// The file grows to at most this many bytes, rounded to pages of 4 KiB; a push that finds no room is refused as
    /// [`Full`](StoreErrorKind::Full). The write-ahead log comes on top. A file that is larger stays as it is, and takes in no more.
    ///
    /// # Errors
    /// [`StoreError`]: SQLite refused.
    ///
    /// ```
    /// use formicary_jobs::{Push, Sqlite, Store, StoreErrorKind};
    ///
    /// let store = Sqlite::in_memory()?.max_size(1 << 20)?;
    /// let megabyte = Push::raw("film", 1, vec![b'x'; 1 << 20])?;
    /// assert_eq!(store.push(&[megabyte]).unwrap_err().kind(), StoreErrorKind::Full);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn max_size(self, bytes: u64) -> Result<Self, StoreError> {
        let pages = i64::try_from(bytes / 4096).unwrap_or(i64::MAX).max(1);
        self.lock().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        Ok(self)
    }

    /// A panic under the lock leaves a transaction that was rolled back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to write. SQLite's own wait sleeps for longer each time, up to 0.1 s, and so hardly ever wins against a process that
    /// writes all the time.
    fn begin<'a>(&self, connection: &'a Connection) -> rusqlite::Result<Transaction<'a>> {
        let start = Instant::now();
        connection.busy_timeout(Duration::ZERO)?;
        let begun = loop {
            match Transaction::new_unchecked(connection, TransactionBehavior::Immediate) {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < self.limit =>
                {
                    std::thread::sleep(LOCK_PAUSE);
                }
                begun => break begun,
            }
        };
        // Reads hardly ever wait: for a recovery after a crash.
        connection.busy_timeout(LIMIT)?;
        begun
    }

    /// A transaction that has the right to write from its beginning: one that would have to wait for it in the middle fails instead.
    fn write<T>(&self, f: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let connection = self.lock();
        let transaction = self.begin(&connection)?;
        let now = transaction.query_row("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)", [], |row| row.get(0))?;
        let result = f(&transaction, now)?;
        transaction.commit()?;
        Ok(result)
    }
}

impl Store for Sqlite {
    fn push(&self, jobs: &[Push]) -> Result<Vec<Pushed>, StoreError> {
        self.write(|transaction, now| {
            transaction.prepare_cached("DELETE FROM keys WHERE until <= ?1")?.execute([now])?;
            let mut remember = transaction.prepare_cached("INSERT OR IGNORE INTO keys (key, until) VALUES (?1, ?2)")?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO jobs (kind, version, payload, key, attempts, due) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let mut push = |job: &Push| {
                if let Some(key) = &job.key {
                    if remember.execute(params![key, now.saturating_add(milliseconds(self.keep_keys))])? == 0 {
                        return Ok(Pushed::Duplicate);
                    }
                }
                let id = insert.insert(params![job.kind, job.version, job.payload, job.key, job.attempts, now])?;
                Ok(Pushed::New(id.to_string()))
            };
            jobs.iter().map(&mut push).collect()
        })
    }

    fn kinds(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.lock();
        // A step of the index for each kind, and not one for each job.
        let mut select = connection.prepare_cached(
            "WITH RECURSIVE kinds (kind) AS (
                SELECT min(kind) FROM jobs WHERE state = 0
                UNION ALL
                SELECT (SELECT min(kind) FROM jobs WHERE state = 0 AND kind > kinds.kind) FROM kinds WHERE kind IS NOT NULL
            ) SELECT kind FROM kinds WHERE kind IS NOT NULL",
        )?;
        let kinds = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(kinds)
    }

    fn reserve(&self, kind: &str, n: usize, lease: Duration) -> Result<Vec<Reserved>, StoreError> {
        self.write(|transaction, now| {
            transaction.prepare_cached(EXPIRE)?.execute([now])?;
            let mut reserve = transaction.prepare_cached(
                "UPDATE jobs SET state = 1, due = ?1, attempt = attempt + 1, reservation = reservation + 1
                WHERE id IN (SELECT id FROM jobs WHERE state = 0 AND kind = ?2 AND due <= ?3 ORDER BY due, id LIMIT ?4)
                RETURNING id, reservation, version, payload, key, attempt, attempts",
            )?;
            let end = now.saturating_add(milliseconds(lease));
            let rows = reserve.query_map(params![end, kind, now, i64::try_from(n).unwrap_or(i64::MAX)], |row| {
                let id: i64 = row.get(0)?;
                let job = Reserved {
                    lease: Lease { id: id.to_string(), token: row.get::<_, i64>(1)?.to_string() },
                    version: row.get(2)?,
                    payload: row.get(3)?,
                    key: row.get(4)?,
                    attempt: row.get(5)?,
                    attempts: row.get(6)?,
                };
                Ok((id, job))
            })?;
            // `RETURNING` has no order of its own.
            let mut jobs = rows.collect::<Result<Vec<_>, _>>()?;
            jobs.sort_by_key(|(id, _)| *id);
            Ok(jobs.into_iter().map(|(_, job)| job).collect())
        })
    }

    fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<bool>, StoreError> {
        self.write(|transaction, now| {
            let end = now.saturating_add(milliseconds(lease));
            let mut extend = transaction
                .prepare_cached("UPDATE jobs SET due = ?1 WHERE id = ?2 AND reservation = ?3 AND state = 1")?;
            leases.iter().map(|lease| Ok(extend.execute(params![end, lease.id, lease.token])? > 0)).collect()
        })
    }

    fn settle(&self, ends: &[(Lease, Settle)]) -> Result<Vec<bool>, StoreError> {
        self.write(|transaction, now| {
            // Whoever has the lease by now: the work is done.
            let mut done = transaction.prepare_cached("DELETE FROM jobs WHERE id = ?1")?;
            let mut change = transaction.prepare_cached(
                "UPDATE jobs SET state = ?3, due = ?4, attempt = attempt + ?5, error = ?6
                WHERE id = ?1 AND reservation = ?2 AND state = 1",
            )?;
            let mut settle = |(Lease { id, token }, end): &(Lease, Settle)| {
                let changed = match end {
                    Settle::Done => done.execute([id])?,
                    Settle::Release => change.execute(params![id, token, 0, now, -1, ""])?,
                    Settle::Retry { after, error } => {
                        change.execute(params![id, token, 0, now.saturating_add(milliseconds(*after)), 0, error])?
                    }
                    Settle::Bury { error } => change.execute(params![id, token, 2, now, 0, error])?,
                };
                Ok(changed > 0)
            };
            ends.iter().map(&mut settle).collect()
        })
    }

    fn dead(&self, at_most: usize) -> Result<Vec<Dead>, StoreError> {
        let connection = self.lock();
        let mut select = connection.prepare_cached(
            "SELECT id, kind, version, payload, key, attempt, error FROM jobs WHERE state = 2 ORDER BY id LIMIT ?1",
        )?;
        let rows = select.query_map([i64::try_from(at_most).unwrap_or(i64::MAX)], |row| {
            Ok(Dead {
                id: row.get::<_, i64>(0)?.to_string(),
                kind: row.get(1)?,
                version: row.get(2)?,
                payload: row.get(3)?,
                key: row.get(4)?,
                attempt: row.get(5)?,
                error: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn replay(&self, ids: &[String]) -> Result<usize, StoreError> {
        self.write(|transaction, now| {
            let mut replay = transaction
                .prepare_cached("UPDATE jobs SET state = 0, attempt = 0, due = ?1 WHERE id = ?2 AND state = 2")?;
            ids.iter().map(|id| replay.execute(params![now, id])).sum()
        })
    }

    fn discard(&self, ids: &[String]) -> Result<usize, StoreError> {
        self.write(|transaction, _| {
            let mut discard = transaction.prepare_cached("DELETE FROM jobs WHERE id = ?1 AND state = 2")?;
            ids.iter().map(|id| discard.execute([id])).sum()
        })
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        let connection = self.lock();
        // Three counts, so that each uses the index of its state.
        let mut count = connection.prepare_cached(
            "SELECT (SELECT count(*) FROM jobs WHERE state = 0), (SELECT count(*) FROM jobs WHERE state = 1),
            (SELECT count(*) FROM jobs WHERE state = 2)",
        )?;
        Ok(count.query_row([], |row| Ok(Counts { ready: row.get(0)?, reserved: row.get(1)?, dead: row.get(2)? }))?)
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let (kind, text) = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => (StoreErrorKind::Full, "the file has no room"),
            Some(ErrorCode::NotADatabase | ErrorCode::CannotOpen | ErrorCode::TooBig | ErrorCode::ReadOnly) => {
                (StoreErrorKind::Invalid, "SQLite refused")
            }
            _ => (StoreErrorKind::Unavailable, "SQLite could not"),
        };
        StoreError::of(kind, text, error)
    }
}
