//! What jobs of other processes did: a log with a line for each run, and a table where each key is once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::Connection;

/// Of each line, so that the length of the file says how many there are.
const WIDTH: u64 = 12;

pub(crate) struct Effects {
    log: File,
    table: Mutex<Connection>,
    path: PathBuf,
}

impl Effects {
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join("effects.log");
        let table = Connection::open(folder.join("effects.db")).unwrap();
        table.busy_timeout(Duration::from_secs(30)).unwrap();
        // A kill of the process loses nothing of it.
        table.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = off; CREATE TABLE IF NOT EXISTS effects (key TEXT PRIMARY KEY, n INTEGER)").unwrap();
        let log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        Effects { log, table: Mutex::new(table), path }
    }

    /// The effect without a key happens each time, the one with a key unless it has happened. A line is written whole, or not at all.
    pub(crate) fn happen(&self, key: &str) {
        let line = format!("{key:<11}\n");
        assert_eq!(line.len() as u64, WIDTH);
        (&self.log).write_all(line.as_bytes()).unwrap();
        let insert = "INSERT INTO effects VALUES (?1, 1) ON CONFLICT DO NOTHING";
        self.table.lock().unwrap().prepare_cached(insert).unwrap().execute([key]).unwrap();
    }

    /// How many runs there were.
    pub(crate) fn runs(&self) -> u64 {
        std::fs::metadata(&self.path).unwrap().len() / WIDTH
    }

    /// How many runs of each key there were, and the sum of all effects with a key.
    pub(crate) fn by_key(&self) -> (HashMap<String, usize>, usize) {
        let mut runs = HashMap::new();
        for line in std::fs::read_to_string(&self.path).unwrap().lines() {
            *runs.entry(line.trim().to_owned()).or_default() += 1;
        }
        let sum = self
            .table
            .lock()
            .unwrap()
            .query_row("SELECT coalesce(sum(n), 0) FROM effects", [], |row| row.get(0))
            .unwrap();
        (runs, sum)
    }
}
