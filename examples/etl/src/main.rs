//! Makes a CSV of a million orders, and reads it into SQLite: parse, enrich, write in batches. Kill it at any time, and run it again: it
//! goes on where it was, and in the end every row is there once.
//!
//! `cargo run -p etl -- [--rows N] [--batch N] [--dir DIR]`. It checks the number of rows and the sum of their amounts. Without `--dir` it
//! works in the temporary directory, and removes its files when it is done.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use etl::store::Store;
use etl::{Job, data};
use formicary::Bottleneck;
use lexopt::{Arg, Parser, ValueExt};

struct Args {
    rows: i64,
    batch: usize,
    dir: Option<PathBuf>,
}

/// Parses the arguments of the process.
fn arguments() -> Result<Args, lexopt::Error> {
    let mut parser = Parser::from_env();
    let mut args = Args { rows: 1_000_000, batch: 1000, dir: None };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("rows") => args.rows = parser.value()?.parse()?,
            Arg::Long("batch") => args.batch = parser.value()?.parse()?,
            Arg::Long("dir") => args.dir = Some(parser.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    if args.rows < 1 || args.batch < 1 {
        return Err("there must be a row, and a batch has one at least".into());
    }
    Ok(args)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let Args { rows, batch, dir } = arguments()?;
    let own = std::env::temp_dir().join(format!("formicary-etl-{rows}"));
    let folder = dir.as_ref().unwrap_or(&own);
    fs::create_dir_all(folder)?;
    let csv = folder.join(format!("{rows}.csv"));
    let job = Job { csv, database: folder.join(format!("{rows}.db")), batch };

    println!("generating {rows} rows in {}", folder.display());
    data::generate(&job.csv, rows)?;
    let before = Store::open(&job.database)?.progress()?.rows;
    println!("from row {before}");

    let begun = Instant::now();
    let stats = etl::run(&job, |progress| println!("committed {}", progress.rows))?;
    let took = begun.elapsed();

    let totals = Store::open(&job.database)?.totals()?;
    assert_eq!(totals, (rows, data::expected_cents(rows)?), "the rows and their sum");
    println!("{} rows in {took:.1?}; all {rows} are there, once", rows - before);
    if let Bottleneck::Stage(stage) = stats.bottleneck() {
        println!("the others waited for the stage {:?}", stats.stages[stage].name.as_deref().unwrap_or_default());
    }
    if dir.is_none() {
        fs::remove_dir_all(own)?;
    }
    Ok(())
}
