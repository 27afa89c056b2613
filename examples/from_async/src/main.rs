//! Computation from an asynchronous program: the hashes of many blocks of real data, computed on a pool while the runtime stays free.
//!
//! It shows a deadline for each result, back-pressure that blocks no thread of the runtime, and the cancelling of late tasks.
//!
//! `cargo run --release -p from_async [FILE]`; the default file is the program itself.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use formicary::{CancelToken, Context, Pool};
use tokio::task::JoinSet;

const BLOCK: usize = 64 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn hash(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    hasher.finish()
}

/// Hashes over and over until the token is cancelled. Returns the number of rounds.
fn hash_for_ever(data: &[u8], token: &CancelToken) -> u64 {
    let mut rounds = 0;
    while !token.is_cancelled() {
        std::hint::black_box(hash(data));
        rounds += 1;
    }
    rounds
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let file = std::env::args_os().nth(1).map_or_else(std::env::current_exe, |file| Ok(file.into()))?;
    let data: Arc<[u8]> = tokio::task::spawn_blocking(move || std::fs::read(file)).await??.into();
    let blocks = data.chunks(BLOCK).len();
    // Little room, so that submitters have to wait.
    let pool = Arc::new(Pool::builder().workers(2).queue(2).build()?);

    // A task of the runtime that runs all the time, to show that nothing blocks the runtime's two threads.
    let (ticks, is_over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let ticker = tokio::spawn({
        let (ticks, is_over) = (ticks.clone(), is_over.clone());
        async move {
            while !is_over.load(Relaxed) {
                ticks.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });

    // Back-pressure: one future for each block, of which all but four wait for room in the pool.
    let mut hashes = JoinSet::new();
    for n in 0..blocks {
        let (pool, data) = (pool.clone(), data.clone());
        hashes.spawn(async move {
            let work = move || hash(&data[n * BLOCK..data.len().min((n + 1) * BLOCK)]);
            let handle = pool.spawn_async(work).await.map_err(|refusal| refusal.kind().to_string())?;
            // A deadline for the result. If it passed, this would only drop the handle, and the task would go on.
            let result =
                tokio::time::timeout(Duration::from_secs(60), handle).await.map_err(|late| late.to_string())?;
            Ok::<_, String>((n, result.map_err(|error| error.to_string())?))
        });
    }
    let mut sums = vec![0; blocks];
    while let Some(hashed) = hashes.join_next().await {
        let (n, sum) = hashed??;
        sums[n] = sum;
    }
    let expected: Vec<u64> = data.chunks(BLOCK).map(hash).collect();
    assert_eq!(sums, expected, "what the pool computed is what one thread computes");

    // Tasks that take too long: those that run see the deadline in their token and end, and those behind them never start.
    let token = CancelToken::new();
    token.cancel_after(Duration::from_millis(50));
    let late: Vec<_> = (0..4)
        .map(|_| {
            let data = data.clone();
            pool.with().token(&token).spawn(move || {
                let token = Context::with(|cx| cx.token().cloned()).flatten();
                token.map_or(0, |token| hash_for_ever(&data[..data.len().min(BLOCK)], &token))
            })
        })
        .collect::<Result<_, _>>()
        .map_err(|refusal| refusal.kind().to_string())?;
    // The four tasks fill the pool: the next submit waits for room until the token is cancelled.
    let blocked = tokio::select! {
        // In this order, since tasks that the token stops make room at the same moment.
        biased;
        () = token.cancelled() => "late",
        _ = pool.submit_async(|| ()) => "in",
    };
    let (mut stopped, mut skipped) = (0, 0);
    for handle in late {
        match handle.await {
            Ok(rounds) => stopped += u32::from(rounds > 0),
            Err(error) if error.is_timed_out() => skipped += 1,
            Err(error) => return Err(error.into()),
        }
    }
    is_over.store(true, Relaxed);
    ticker.await?;
    assert_eq!((blocked, stopped, skipped), ("late", 2, 2), "two ran until they were stopped, two never started");
    assert!(ticks.load(Relaxed) > 1, "the runtime was free");

    pool.shutdown();
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.cancelled), (blocks as u64 + 2, 2));
    println!("{blocks} blocks hashed, {stopped} late tasks stopped, {skipped} skipped; {} ticks", ticks.load(Relaxed));
    Ok(())
}
