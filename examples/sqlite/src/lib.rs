//! A worker whose state is an SQLite connection, and whose query can be stopped while it runs.

use std::path::Path;

use formicary::{Context, Interrupter, Worker};
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags};

/// A query whose answer is one number.
pub struct Query {
    /// The statement, with `?1` for the parameter. A connection prepares it once.
    pub sql: &'static str,
    /// The value of `?1`.
    pub parameter: i64,
}

/// The state of one worker: a connection of its own, with the statements that it has prepared.
pub struct Database {
    connection: Connection,
}

impl Database {
    /// Opens a database, for reading only.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map(Database::from)
    }
}

impl From<Connection> for Database {
    fn from(connection: Connection) -> Self {
        Database { connection }
    }
}

impl Worker for Database {
    type Input = Query;
    /// The answer, or `None` if the query was stopped.
    type Output = rusqlite::Result<Option<i64>>;

    fn process(&mut self, query: Query, cx: &Context<'_>) -> Self::Output {
        let mut statement = self.connection.prepare_cached(query.sql)?;
        if cx.is_cancelled() {
            // SQLite ignores an interrupt while no query runs.
            return Ok(None);
        }
        match statement.query_row([query.parameter], |row| row.get(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(None),
            answered => answered.map(Some),
        }
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let handle: InterruptHandle = self.connection.get_interrupt_handle();
        Some(Interrupter::new(move || handle.interrupt()))
    }
}
