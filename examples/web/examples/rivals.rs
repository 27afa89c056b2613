//! The same work for HTTP clients without this crate, on rayon or on tokio's blocking threads, as most services do it: `compare.py` starts
//! it. Two threads compute, as many as `web` has there. Neither has a bound for what waits, a deadline, or a way to stop
//! the work of a client that has left. At SIGTERM both answer what they have.
//!
//! `cargo run --release -p web --example rivals -- rayon|blocking`

#[path = "../src/primes.rs"]
mod primes;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

async fn on_rayon(Path(below): Path<u64>) -> Result<String, StatusCode> {
    let (sender, count) = tokio::sync::oneshot::channel();
    rayon::spawn(move || {
        // An error is a client that has left.
        let _ = sender.send(primes::count(below));
    });
    answer(count.await.ok().flatten())
}

async fn on_blocking(Path(below): Path<u64>) -> Result<String, StatusCode> {
    answer(tokio::task::spawn_blocking(move || primes::count(below)).await.ok().flatten())
}

fn answer(count: Option<u64>) -> Result<String, StatusCode> {
    count.map(|count| format!("{count}\n")).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const THREADS: usize = 2;
    let routes = match std::env::args().nth(1).as_deref() {
        Some("rayon") => Router::new().route("/primes/{below}", get(on_rayon)),
        Some("blocking") => Router::new().route("/primes/{below}", get(on_blocking)),
        _ => return Err("rayon or blocking, please".into()),
    };
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_io().max_blocking_threads(THREADS).build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        axum::serve(listener, routes).with_graceful_shutdown(end()).await?;
        Ok(())
    })
}

/// SIGTERM, or Ctrl-C where there is none.
async fn end() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        terminate.recv().await;
        return;
    }
    _ = tokio::signal::ctrl_c().await;
}
