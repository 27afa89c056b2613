//! A disk without room: SQLite.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formicary::Pool;
use formicary_jobs::{Counts, Push, Pushed, Runner, Sqlite, Store, StoreErrorKind};

use crate::support::{Count, Folder, eventually};

#[test]
fn what_a_full_disk_took_in_is_run_and_what_it_refused_is_not_there() {
    let folder = Folder::new();
    let store = Arc::new(Sqlite::open(folder.path().join("jobs.db")).unwrap().max_size(256 << 10).unwrap());
    // Numbers with many leading blanks, so that some hundreds fill the file.
    let job = |n: u32| Push::raw("count", 1, format!("{n:1000}")).unwrap().key(n.to_string());
    let mut accepted = HashSet::new();
    let mut next = 0;
    let refusal = loop {
        match store.push(&[job(next), job(next + 1)]) {
            Ok(pushed) => {
                assert!(pushed.iter().all(|pushed| matches!(pushed, Pushed::New(_))));
                accepted.extend([next, next + 1]);
                next += 2;
            }
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.kind(), StoreErrorKind::Full, "{refusal:?}");
    assert!(accepted.len() > 50, "{} fit", accepted.len());
    assert_eq!(store.counts().unwrap().ready, accepted.len() as u64, "all or none of a push");

    let (pool, ran) = (Arc::new(Pool::new(2).unwrap()), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&ran);
    let running = Runner::new(store.clone())
        .poll(Duration::from_millis(10))
        .prefetch(16)
        .on(&pool, move |Count(n), _| {
            log.lock().unwrap().push(n);
            Ok(())
        })
        .start()
        .unwrap();
    eventually("all are acknowledged, which makes room", || running.stats().completed == accepted.len() as u64);
    assert!(matches!(store.push(&[job(next)]).unwrap()[..], [Pushed::New(_)]), "the refused push left no key");
    eventually("the refused one runs when it is accepted", || running.stats().completed == accepted.len() as u64 + 1);
    assert_eq!(running.shutdown().store, Some(Counts::default()));
    accepted.insert(next);
    let ran = ran.lock().unwrap();
    assert_eq!((ran.len(), ran.iter().copied().collect::<HashSet<_>>()), (accepted.len(), accepted), "each once");
}
