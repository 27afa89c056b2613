//! Sends a thousand mails, or pretends to: each tenth address is wrong at first, so its mail becomes a dead letter, and is replayed.
//! The jobs are in a file, `mail.db` unless another is named. Kill the program in the middle, and start it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use formicary::Pool;
use formicary_jobs::{BoxError, Job, Push, Runner, Sqlite, Store};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Mail {
    to: u32,
}

impl Job for Mail {
    const KIND: &'static str = "mail";
}

fn main() -> Result<(), BoxError> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "mail.db".to_owned());
    let store = Arc::new(Sqlite::open(&file)?);
    let mail = |to| Ok(Push::of(&Mail { to })?.key(format!("mail-{to}")).attempts(2));
    let pushed = store.push(&(0..1000).map(mail).collect::<Result<Vec<_>, BoxError>>()?)?;
    println!("{} pushed to {file}, {}", pushed.len(), store.counts()?);

    let pool = Arc::new(Pool::new(4)?);
    let mended = Arc::new(AtomicBool::new(false));
    let knows_all = Arc::clone(&mended);
    let running = Runner::new(store.clone())
        .prefetch(100)
        .backoff(Duration::from_millis(10), Duration::from_millis(10))
        .on(&pool, move |mail: Mail, _cx| {
            // ORDERING: the flag publishes nothing but itself.
            if mail.to % 10 == 0 && !knows_all.load(Ordering::Relaxed) {
                return Err(format!("no address {}", mail.to).into());
            }
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        })
        .start()?;
    let wait = || -> Result<(), BoxError> {
        while store.counts()?.ready + store.counts()?.reserved > 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    };
    wait()?;
    let dead = store.dead(1000)?;
    if let Some(first) = dead.first() {
        println!("{} dead letters, the first: {}", dead.len(), first.error);
    }

    // ORDERING: as above.
    mended.store(true, Ordering::Relaxed);
    let ids: Vec<String> = dead.into_iter().map(|dead| dead.id).collect();
    println!("{} replayed", store.replay(&ids)?);
    wait()?;
    println!("{}", running.shutdown());
    Ok(())
}
