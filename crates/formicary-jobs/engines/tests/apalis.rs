//! What `apalis` 1.0 does in the cases that the stores are tested for. Each test states what a user expects, and is ignored because it fails:
//! `cargo test -- --ignored`. `docs/engines.md` of the package has what was seen.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use tokio::time::{sleep, timeout};

type Outcome = Result<(), BoxDynError>;

/// A folder that is removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("formicary-engines-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn open(file: &str) -> SqlitePool {
    let options =
        SqliteConnectOptions::new().filename(file).create_if_missing(true).busy_timeout(Duration::from_secs(1));
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    SqliteStorage::setup(&pool).await.unwrap();
    pool
}

fn config() -> Config {
    Config::default().queue("test").heartbeat_interval(Duration::from_secs(1)).missed_heartbeats(2)
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited for: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Another process holds the file for longer than the busy timeout, as a backup does. The worker is expected to be there afterwards.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "apalis-sqlite 1.0.0: the first error of a fetch, a heartbeat or an acknowledgement ends the worker"]
async fn a_short_stall_of_the_server_does_not_end_the_worker() {
    let folder = Folder::new("stall");
    let pool = open(&folder.file("jobs.db")).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let backend = SqliteStorage::<u32>::new(&pool).with_config(config());
    let mut pusher = backend.clone();
    let worker = WorkerBuilder::new("worker").backend(backend).build(move |_: u32| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Outcome::Ok(()))
    });
    let worker = tokio::spawn(worker.run());
    pusher.push(1).await.unwrap();
    eventually("the first job", || ran.load(Ordering::SeqCst) == 1).await;

    let other = open(&folder.file("jobs.db")).await;
    let held = other.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    sleep(Duration::from_secs(4)).await;
    held.rollback().await.unwrap();
    assert!(!worker.is_finished(), "the worker is gone: {:?}", worker.await);
}

/// A worker fetches ten, runs one at a time, and is busy with the first. Another worker must not take what it runs, since it lives.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "apalis-sqlite 1.0.0: no heartbeat and no acknowledgement while fetched jobs wait for the service"]
async fn a_long_job_is_not_taken_twice() {
    let folder = Folder::new("twice");
    let pool = open(&folder.file("jobs.db")).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let mut pusher = SqliteStorage::<u32>::new(&pool).with_config(config());
    for job in 0..3 {
        pusher.push(job).await.unwrap();
    }
    let worker = |name: &str| {
        let counter = Arc::clone(&runs);
        let backend = SqliteStorage::<u32>::new(&pool).with_config(config());
        WorkerBuilder::new(name).backend(backend).concurrency(1).build(move |job: u32| {
            let counter = Arc::clone(&counter);
            async move {
                if job == 0 {
                    counter.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_secs(12)).await;
                }
                Outcome::Ok(())
            }
        })
    };
    let first = tokio::spawn(worker("first").run());
    eventually("the long job", || runs.load(Ordering::SeqCst) > 0).await;
    let second = tokio::spawn(worker("second").run());
    sleep(Duration::from_secs(9)).await;
    first.abort();
    second.abort();
    assert_eq!(runs.load(Ordering::SeqCst), 1, "times that the long job was started, in 9 of its 12 seconds");
}

/// The same binary as the program that runs jobs: `kills_its_process` starts it with the path of the database.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "is no test: the program that another test starts"]
async fn child_that_dies_of_its_job() {
    let Ok(file) = std::env::var("ENGINES_FILE") else { return };
    let pool = open(&file).await;
    let backend = SqliteStorage::<u32>::new(&pool).with_config(config());
    let worker = WorkerBuilder::new(format!("worker-{}", std::process::id())).backend(backend).build(|_: u32| async {
        std::process::abort();
        #[allow(unreachable_code)]
        Outcome::Ok(())
    });
    worker.run().await.unwrap();
}

fn start_child(file: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child_that_dies_of_its_job", "--exact", "--ignored"])
        .env("ENGINES_FILE", file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A job that kills its process is attempted at most `max_attempts` times, and then is dead.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "apalis-sqlite 1.0.0: an orphaned job is queued again whatever its number of attempts"]
async fn a_job_that_kills_its_process_is_given_up() {
    let folder = Folder::new("poison");
    let file = folder.file("jobs.db");
    let pool = open(&file).await;
    let mut pusher = SqliteStorage::<u32>::new(&pool).with_config(config());
    pusher.push_task(TaskBuilder::new(7).max_attempts(2).build()).await.unwrap();
    let mut deaths = 0;
    for _ in 0..5 {
        let mut child = start_child(&file);
        let died = timeout(Duration::from_secs(12), async {
            while child.try_wait().unwrap().is_none() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        match died.await {
            Ok(()) => deaths += 1,
            Err(_) => {
                child.kill().unwrap();
                child.wait().unwrap();
                break;
            }
        }
    }
    assert!(deaths <= 2, "a job of at most 2 attempts killed {deaths} processes");
}
