//! An HTTP service that computes. The runtime's one thread serves all connections, and a pool does the work.
//!
//! `cargo run --release -p web`, and then:
//!
//! ```sh
//! curl -i localhost:8080/primes/1000000   # how many primes are below that
//! curl localhost:8080/metrics             # the pool's figures, for Prometheus
//! curl -i localhost:8080/ready            # whether a load balancer may send requests
//! ```
//!
//! - Work that takes too long is stopped (`--deadline`), and so is that of a client that has left. What has waited for half of that time
//!   does not begin.
//! - What finds no room is refused with `Retry-After`: 429 if it is the client's own requests that wait (`--per-client`, by the header
//!   `x-client`), 503 if it is those of all (`--queue`).
//! - `SIGTERM` or Ctrl-C: `/ready` says 503, and the service goes on until the load balancer has noticed (`--lag`). Then it accepts no
//!   more and answers what it has. What is not done in time (`--drain`) is stopped, and the last line says what it was.
//!
//! `tests/load.rs` holds it to that. `README.md` compares it with the same work on rayon and on tokio's blocking threads.

mod primes;
mod service;

use std::error::Error;
use std::future::IntoFuture;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use formicary::observe::Metrics;
use formicary::{CancelToken, Fair, Pool, SignalShutdown};
use lexopt::{Arg, Parser, ValueExt};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use service::Service;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

/// How long the answers to stopped requests may take.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

struct Args {
    port: u16,
    workers: Option<usize>,
    queue: usize,
    per_client: usize,
    deadline: Duration,
    lag: Duration,
    drain: Duration,
}

fn arguments() -> Result<Args, lexopt::Error> {
    let mut args = Args {
        port: 8080,
        workers: None,
        queue: 256,
        per_client: 32,
        deadline: Duration::from_secs(2),
        lag: Duration::from_secs(1),
        drain: Duration::from_secs(5),
    };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        let Arg::Long(name) = arg else { return Err(arg.unexpected()) };
        match name {
            "port" => args.port = parser.value()?.parse()?,
            "workers" => args.workers = Some(parser.value()?.parse()?),
            "queue" => args.queue = parser.value()?.parse()?,
            "per-client" => args.per_client = parser.value()?.parse()?,
            "deadline" => args.deadline = Duration::from_millis(parser.value()?.parse()?),
            "lag" => args.lag = Duration::from_millis(parser.value()?.parse()?),
            "drain" => args.drain = Duration::from_millis(parser.value()?.parse()?),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(args)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = arguments()?;
    let prometheus = PrometheusBuilder::new().set_buckets(&Metrics::BUCKETS)?.install_recorder()?;
    Metrics::describe();
    // Tasks of each client take turns, so one that sends many holds up no other.
    let builder = Pool::builder().queue(args.queue).dispatch::<Fair>().tenant_queue(args.per_client);
    let builder = if let Some(workers) = args.workers { builder.workers(workers) } else { builder };
    let pool = Arc::new(builder.name("web").observer(Metrics::new("web")).build()?);

    // First the connections end, then the pool that does their work.
    let ending = formicary::shutdown_on_signal()?;
    ending.cancel_after(args.lag + args.drain);
    let served = ending.cancel_token().child();
    let until = served.clone();
    ending.add_step(move || until.wait());
    ending.add(&*pool);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(serve(&args, &pool, prometheus, &ending, &served))?;

    let (stats, in_time) = (pool.stats(), !ending.cancel_token().is_cancelled());
    let how = if in_time { "ended" } else { "out of time" };
    println!("{how}: {} ran, {} never started, {} still run", stats.completed, stats.returned, stats.running);
    // A task that looks at no token would hold up the end of this function.
    pool.detach();
    Ok(if in_time { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Serves until a signal has come and the connections have ended, or the time for that has.
async fn serve(
    args: &Args,
    pool: &Arc<Pool<Fair>>,
    prometheus: PrometheusHandle,
    ending: &SignalShutdown,
    served: &CancelToken,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("listening on {}", listener.local_addr()?);
    tokio::spawn(keep_up(prometheus.clone()));
    let service = Service {
        pool: Arc::clone(pool),
        deadline: args.deadline,
        per_client: args.per_client,
        draining: ending.drain_token().clone(),
        prometheus,
    };
    let (draining, lag, counted) = (ending.drain_token().clone(), args.lag, Arc::clone(pool));
    let server = axum::serve(listener, service.routes()).with_graceful_shutdown(async move {
        draining.cancelled().await;
        println!("draining: {} in flight", counted.running() + counted.queued());
        sleep(lag).await;
    });
    let out_of_time = async {
        ending.cancel_token().cancelled().await;
        sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        ended = server.into_future() => ended?,
        () = out_of_time => {}
    }
    served.cancel();
    // The work of clients that have left ends here, too. An error is what still runs, and `main` counts it.
    let _ = timeout(LAST_ANSWERS, ending.end_token().cancelled()).await;
    Ok(())
}

/// Histograms keep what was measured since the last scrape. Without one they would grow.
async fn keep_up(prometheus: PrometheusHandle) {
    loop {
        sleep(Duration::from_secs(5)).await;
        prometheus.run_upkeep();
    }
}
