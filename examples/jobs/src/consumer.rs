//! A consumer: reserves jobs and runs them on a pool, until its input ends. It may be killed at any time.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use formicary::Pool;
use formicary_jobs::{BoxError, Job, Runner};
use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::server::{LEASE, open};

/// What tells the program that it is a consumer. Not for users.
pub(crate) const CONSUMER: &str = "consumer";

/// The job.
#[derive(Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) order: u32,
    pub(crate) cents: u64,
}

impl Job for Charge {
    const KIND: &'static str = "charge";
}

/// Its arguments are its number, the store's address and name, and the folder of the effects.
pub(crate) fn run() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(2).collect();
    let [number, address, name, folder] = &args[..] else { return Err("not for users".into()) };
    let number: usize = number.parse()?;
    let effects = Effects::open(Path::new(folder))?;

    let pool = Arc::new(Pool::new(4)?);
    let running = Runner::new(open(address, name)?)
        .lease(LEASE)
        .poll(Duration::from_millis(50))
        // Jobs are short: some wait in the pool's queue, so that nobody waits for the store.
        .prefetch(28)
        .on(&pool, move |charge: Charge, cx| {
            sleep(Duration::from_millis(2)); // the work
            effects.happen(number, charge.order, cx.attempt(), cx.key(), charge.cents)
        })
        .start()?;

    // Whoever started it closes its input, or is gone.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let stats = running.shutdown();
    println!("consumer {number} has acknowledged {}, and ends", stats.completed);
    Ok(())
}
