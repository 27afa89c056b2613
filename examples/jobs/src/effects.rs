//! The world that jobs change, in a database of its own: it knows nothing of the store, as a payment service would not.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formicary_jobs::BoxError;
use rusqlite::{Connection, params};

/// The effect without a key, a row for each run, and the one with a key.
const TABLES: &str = "
    PRAGMA journal_mode = wal;
    PRAGMA synchronous = off; -- a kill of the process loses nothing of it
    CREATE TABLE IF NOT EXISTS runs (consumer INTEGER, number INTEGER, attempt INTEGER);
    CREATE TABLE IF NOT EXISTS charges (key TEXT PRIMARY KEY, cents INTEGER);";

pub(crate) struct Effects(Mutex<Connection>);

impl Effects {
    pub(crate) fn open(folder: &Path) -> Result<Self, BoxError> {
        let connection = Connection::open(folder.join("effects.db"))?;
        connection.busy_timeout(Duration::from_secs(30))?;
        connection.execute_batch(TABLES)?;
        Ok(Effects(Mutex::new(connection)))
    }

    /// What a run does. An order that is charged already is not charged again: its key is there.
    pub(crate) fn happen(
        &self,
        consumer: usize,
        order: u32,
        attempt: u32,
        key: &str,
        cents: u64,
    ) -> Result<(), BoxError> {
        let mut connection = self.lock();
        let change = connection.transaction()?;
        change.execute("INSERT INTO runs VALUES (?1, ?2, ?3)", params![consumer, order, attempt])?;
        change.execute("INSERT INTO charges VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![key, cents as i64])?;
        Ok(change.commit()?)
    }

    pub(crate) fn runs(&self) -> Result<u64, BoxError> {
        self.count("SELECT count(*) FROM runs")
    }

    pub(crate) fn runs_of(&self, consumer: usize) -> Result<u64, BoxError> {
        self.count(&format!("SELECT count(*) FROM runs WHERE consumer = {consumer}"))
    }

    /// Runs of jobs that were reserved before, by a consumer that died with them.
    pub(crate) fn second_attempts(&self) -> Result<u64, BoxError> {
        self.count("SELECT count(*) FROM runs WHERE attempt > 1")
    }

    pub(crate) fn orders_that_ran(&self) -> Result<u64, BoxError> {
        self.count("SELECT count(DISTINCT number) FROM runs")
    }

    /// How many orders are charged, and the sum.
    pub(crate) fn charged(&self) -> Result<(u64, u64), BoxError> {
        Ok((self.count("SELECT count(*) FROM charges")?, self.count("SELECT coalesce(sum(cents), 0) FROM charges")?))
    }

    fn count(&self, select: &str) -> Result<u64, BoxError> {
        let count: i64 = self.lock().query_row(select, [], |row| row.get(0))?;
        Ok(count.try_into()?)
    }

    /// A panic under the lock leaves a transaction that was rolled back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
