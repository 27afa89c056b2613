//! A small service seen through OpenTelemetry and Prometheus: each request is a trace that contains the tasks which ran for it, and the
//! pool's figures are what a scrape reads.
//!
//! `cargo run -p telemetry`. Nothing leaves the process: the spans go to an exporter that keeps them, and the scrape is printed. The program
//! checks both.

mod spans;

use std::error::Error;
use std::io::{self, Write};

use formicary::observe::Metrics;
use formicary::{Handle, Pool};
use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use spans::Kept;
use tracing_subscriber::layer::SubscriberExt;

/// How many images a request has.
const IMAGES: u32 = 3;

type Failure = Box<dyn Error + Send + Sync>;

/// Fetches a page of images, and makes each smaller. The second of page 13 is broken.
fn request(pool: &Pool, page: u32) -> Result<u32, Failure> {
    let _span = tracing::info_span!("request", page).entered();
    let images: Vec<u32> =
        pool.with().name("fetch").run(move || (0..IMAGES).map(|image| 640 + 10 * image).collect())?;
    let shrink = |(image, width)| {
        pool.with().name("shrink").spawn(move || {
            assert!((page, image) != (13, 1), "image {image} of page {page} is broken");
            width / 2
        })
    };
    let shrunk: Vec<_> = images.into_iter().enumerate().map(shrink).collect::<Result<_, _>>()?;
    // All of them, also if one fails: the request's span ends last.
    let widths: Vec<_> = shrunk.into_iter().map(Handle::join).collect();
    let widths: Vec<u32> = widths.into_iter().collect::<Result<_, _>>()?;
    Ok(widths.into_iter().sum())
}

fn run(out: &mut impl Write) -> Result<(), Failure> {
    // Prometheus. A service would call `.with_http_listener(…)` and `.install()`.
    let prometheus = PrometheusBuilder::new().set_buckets(&Metrics::BUCKETS)?.install_recorder()?;
    Metrics::describe();

    // OpenTelemetry. A service would have a batch exporter of `opentelemetry-otlp` here.
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("telemetry"));
    tracing::subscriber::set_global_default(tracing_subscriber::Registry::default().with(layer))?;

    let pool = Pool::builder().workers(2).name("images").tracing().observer(Metrics::new("images")).build()?;
    for page in [7, 13] {
        match request(&pool, page) {
            Ok(pixels) => writeln!(out, "page {page}: {pixels} pixels wide in all")?,
            Err(error) => writeln!(out, "page {page}: {error}")?,
        }
    }
    pool.shutdown();
    provider.shutdown()?;

    let traces = kept.traces();
    for trace in &traces {
        write!(out, "\n{trace}")?;
    }
    let scrape = prometheus.render();
    writeln!(out)?;
    let shown = ["formicary_tasks_ended_total", "formicary_task_run_seconds_count", "formicary_workers_started_total"];
    for line in scrape.lines().filter(|line| shown.iter().any(|name| line.starts_with(name))) {
        writeln!(out, "{line}")?;
    }

    // The result checks itself.
    let counts: Vec<_> =
        traces.iter().map(|trace| (trace.tasks("fetch"), trace.tasks("shrink"), trace.failed())).collect();
    let stats = pool.stats();
    let tasks: usize = counts.iter().map(|(fetched, shrunk, _)| fetched + shrunk).sum();
    if counts != [(1, 3, 0), (1, 3, 1)] || tasks as u64 != stats.completed + stats.panicked {
        return Err(format!("the traces have other tasks: {counts:?}\n{stats}").into());
    }
    for (outcome, count) in [("completed", stats.completed), ("panicked", stats.panicked)] {
        let line = format!("formicary_tasks_ended_total{{pool=\"images\",outcome=\"{outcome}\"}} {count}");
        if !scrape.lines().any(|it| it == line) {
            return Err(format!("the scrape lacks {line}").into());
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    run(&mut io::stdout().lock())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_traces_and_the_scrape_are_complete() -> Result<(), super::Failure> {
        super::run(&mut std::io::sink())
    }
}
