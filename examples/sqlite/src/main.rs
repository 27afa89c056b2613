//! Queries a database from several threads: each worker of a `StatefulPool` has a connection of its own. A query that takes too long is
//! interrupted, and its connection answers the next one.
//!
//! `cargo run --release -p sqlite`. It makes a database in the temporary directory, and checks each answer.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formicary::StatefulPool;
use rusqlite::Connection;
use sqlite::{Database, Query};

/// How many rows the table has: the numbers from 1.
const ROWS: i64 = 200_000;
const FILL: &str = "CREATE TABLE numbers AS
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT i FROM n";
const MULTIPLES: &str = "SELECT count(*) FROM numbers WHERE i % ?1 = 0";
/// Counts to the parameter.
const COUNT: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT max(i) FROM n";

/// A directory of this process's own, removed on drop.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make_database(path: &Path) -> rusqlite::Result<()> {
    Connection::open(path)?.execute(FILL, [ROWS]).map(drop)
}

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = Scratch(std::env::temp_dir().join(format!("formicary-sqlite-{}", std::process::id())));
    fs::create_dir_all(&scratch.0)?;
    let path = scratch.0.join("numbers.db");
    make_database(&path)?;

    // A connection is opened on the thread that uses it.
    let pool = StatefulPool::builder(move |_worker| Ok(Database::open(&path)?)).workers(2).queue(16).build()?;

    let divisors = 2..=9;
    let queries = divisors.clone().map(|parameter| Query { sql: MULTIPLES, parameter });
    for (divisor, answer) in divisors.zip(pool.map(queries)) {
        let multiples = answer?.ok_or("nothing stops this query")?;
        println!("{multiples} of the numbers to {ROWS} are multiples of {divisor}");
        assert_eq!(multiples, ROWS / divisor);
    }

    let endless = Query { sql: COUNT, parameter: i64::MAX };
    let late = pool.with().timeout(Duration::from_millis(100)).run(endless).err().ok_or("it cannot have ended")?;
    assert!(late.is_timed_out());
    println!("a query without an end: {late}");
    // Its connection was interrupted and is free, and so are all others.
    pool.wait_idle();
    assert_eq!(pool.run(Query { sql: COUNT, parameter: 1000 })??, Some(1000));

    pool.shutdown();
    println!("{}", pool.stats());
    Ok(())
}
