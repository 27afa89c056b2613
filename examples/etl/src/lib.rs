//! Reads a CSV into SQLite, through a pipeline that may be killed at any time: run again, it goes on where it was.

pub mod data;
pub mod store;

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use csv::{Position, Reader, StringRecord};
use formicary::{Pipeline, PipelineStats, Pool, StatefulPool};

use data::{Enriched, Order};
use store::{Batch, Progress, Store};

type Failure = Box<dyn Error + Send + Sync>;

/// What goes where.
pub struct Job {
    /// From here,
    pub csv: PathBuf,
    /// to here,
    pub database: PathBuf,
    /// so many rows in a transaction.
    pub batch: usize,
}

/// The records that are not in the database yet, each with the place where the next one begins.
struct Records(Reader<File>);

impl Records {
    fn after(job: &Job, progress: Progress) -> Result<Self, csv::Error> {
        let mut reader = Reader::from_path(&job.csv)?;
        if progress.rows > 0 {
            let mut begin = Position::new();
            begin.set_byte(progress.byte as u64).set_line(progress.line as u64).set_record(progress.rows as u64 + 1);
            reader.seek(begin)?;
        }
        Ok(Records(reader))
    }
}

impl Iterator for Records {
    type Item = csv::Result<(StringRecord, (i64, i64))>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = StringRecord::new();
        let read = self.0.read_record(&mut record);
        let end = self.0.position();
        read.map(|is_there| is_there.then(|| (record, (end.byte() as i64, end.line() as i64)))).transpose()
    }
}

/// The orders of a batch, and where the row after the last begins.
type Orders = (Vec<Order>, (i64, i64));

fn parse(records: Vec<csv::Result<(StringRecord, (i64, i64))>>) -> Result<Orders, Failure> {
    let mut orders = (Vec::with_capacity(records.len()), (0, 0));
    for record in records {
        let (record, end) = record?;
        let at = record.position().map_or(0, Position::line);
        orders.0.push(Order::parse(&record).map_err(|error| format!("line {at}: {error}"))?);
        orders.1 = end;
    }
    Ok(orders)
}

fn enrich((orders, end): Orders) -> Result<Batch, String> {
    let rows: Result<Vec<Enriched>, _> = orders.into_iter().map(Order::enrich).collect();
    Ok(Batch { rows: rows?, end })
}

/// Reads what is not in the database yet. Calls `committed` after each transaction.
///
/// # Errors
///
/// The first failure of a stage. What was committed stays, and the next run goes on after it.
pub fn run(job: &Job, committed: impl FnMut(Progress)) -> Result<PipelineStats, Failure> {
    let database = job.database.clone();
    let progress = Store::open(&database)?.progress()?;
    let processors = Pool::default();
    let writer = StatefulPool::builder(move |_| Ok(Store::open(&database)?)).workers(1).build()?;

    let pipeline = Pipeline::from(Records::after(job, progress)?)
        .batch(job.batch, Duration::from_secs(1))
        .name("read")
        .try_stage(&processors, parse)
        .name("parse")
        .try_stage(&processors, enrich)
        .name("enrich")
        .try_through(&writer)
        .name("write")
        .buffer(1); // one transaction after the other, in order
    let monitor = pipeline.monitor();
    pipeline.for_each(committed)?;
    Ok(monitor.stats())
}
