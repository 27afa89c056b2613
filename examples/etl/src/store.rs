//! The database: rows, and how far the CSV was read, changed together or not at all.

use std::error::Error;
use std::path::Path;

use formicary::{Context, Worker};
use rusqlite::Connection;

use crate::data::Enriched;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer INTEGER, country TEXT, cents INTEGER);
    CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), rows INTEGER, byte INTEGER, line INTEGER);
    INSERT OR IGNORE INTO progress VALUES (1, 0, 0, 0);
    COMMIT;";

/// How far the CSV was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The rows that are in the database.
    pub rows: i64,
    /// Where the next one begins.
    pub byte: i64,
    /// On which line.
    pub line: i64,
}

/// Rows that are written together.
pub struct Batch {
    /// In the order of the CSV.
    pub rows: Vec<Enriched>,
    /// Where the row after the last begins.
    pub end: (i64, i64),
}

/// A connection to the database, made if there is none.
pub struct Store(Connection);

impl Store {
    /// # Errors
    ///
    /// SQLite's.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Store(connection))
    }

    /// # Errors
    ///
    /// SQLite's.
    pub fn progress(&self) -> rusqlite::Result<Progress> {
        self.0.query_row("SELECT rows, byte, line FROM progress", [], |row| {
            Ok(Progress { rows: row.get(0)?, byte: row.get(1)?, line: row.get(2)? })
        })
    }

    /// How many rows there are, and the sum of their cents.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn totals(&self) -> rusqlite::Result<(i64, i64)> {
        let totals = "SELECT count(*), coalesce(sum(cents), 0) FROM orders";
        self.0.query_row(totals, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn write(&mut self, batch: &Batch) -> Result<Progress, Box<dyn Error + Send + Sync>> {
        let before = self.progress()?;
        if batch.rows.first().is_some_and(|row| row.id != before.rows) {
            return Err("a batch is not the next one".into());
        }
        let transaction = self.0.transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO orders VALUES (?1, ?2, ?3, ?4)")?;
        for row in &batch.rows {
            insert.execute((row.id, row.customer, row.country, row.cents))?;
        }
        drop(insert);
        let after = Progress { rows: before.rows + batch.rows.len() as i64, byte: batch.end.0, line: batch.end.1 };
        transaction
            .execute("UPDATE progress SET rows = ?1, byte = ?2, line = ?3", (after.rows, after.byte, after.line))?;
        transaction.commit()?;
        Ok(after)
    }
}

impl Worker for Store {
    type Input = Batch;
    type Output = Result<Progress, Box<dyn Error + Send + Sync>>;

    fn process(&mut self, batch: Batch, _: &Context<'_>) -> Self::Output {
        self.write(&batch)
    }
}
