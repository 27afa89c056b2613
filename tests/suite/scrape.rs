//! What Prometheus reads of a pool (feature `metrics`) agrees with the pool's own figures.
#![cfg(feature = "metrics")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::support::{
    Gate, LIMIT, Setup, Variant, eventually, for_each, on_every_dispatch, quiet_panics, start_thread,
};
use formicary::observe::Metrics;
use formicary::{Dispatch, Pool, PoolControl, Task};

/// The exporter of this process.
fn exporter() -> PrometheusHandle {
    static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let builder = PrometheusBuilder::new().set_buckets(&Metrics::BUCKETS).unwrap();
        let exporter = builder.install_recorder().unwrap();
        Metrics::describe();
        exporter
    };
    EXPORTER.get_or_init(install).clone()
}

/// Answers one request with the figures, as the exporter's own listener would.
fn serve(listener: &TcpListener, exporter: &PrometheusHandle) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("GET /metrics HTTP/1.1"));
    assert!(lines.any(|line| line.is_empty()));
    let body = exporter.render();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length";
    write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).unwrap();
}

/// A line of a scrape: name and labels, in the order of the labels.
type Series = (String, Vec<(String, String)>);

struct Scrape(BTreeMap<Series, f64>);

impl Scrape {
    /// Scrapes this process over HTTP.
    fn take() -> Scrape {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || serve(&listener, &exporter()));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        server.join().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Scrape::parse(body)
    }

    fn parse(text: &str) -> Scrape {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.strip_suffix('}').and_then(|it| it.split_once('{')).unwrap_or((series, ""));
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            let mut labels: Vec<_> =
                labels.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect();
            labels.sort();
            ((name.to_owned(), labels), value.parse().unwrap())
        });
        let count = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        let all: BTreeMap<_, _> = series.collect();
        assert_eq!(all.len(), count, "no series occurs twice");
        Scrape(all)
    }

    fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut labels: Vec<_> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        labels.sort();
        let series = (name.to_owned(), labels);
        *self.0.get(&series).unwrap_or_else(|| panic!("{series:?} is not among {:#?}", self.0.keys()))
    }

    fn of(&self, pool: &str, name: &str) -> u64 {
        whole(self.get(name, &[("pool", pool)]))
    }

    fn ended(&self, pool: &str, outcome: &str) -> u64 {
        whole(self.get("formicary_tasks_ended_total", &[("pool", pool), ("outcome", outcome)]))
    }

    fn refused(&self, pool: &str, reason: &str) -> u64 {
        whole(self.get("formicary_submissions_refused_total", &[("pool", pool), ("reason", reason)]))
    }

    /// Compares all with the figures of a pool at rest, or one whose tasks wait at gates. No task has a name.
    fn check<X>(&self, name: &str, pool: &PoolControl<X>) {
        let stats = pool.stats();
        let of = |metric: &str| self.of(name, metric);
        let taken_back = self.ended(name, "taken_back");
        assert_eq!(of("formicary_tasks_accepted_total") - taken_back, stats.submitted, "{stats}");
        let ended = ["completed", "panicked", "cancelled", "returned"].map(|outcome| self.ended(name, outcome));
        assert_eq!(ended, [stats.completed, stats.panicked, stats.cancelled, stats.returned], "{stats}");
        let gauges = ["queued", "running"].map(|what| of(&format!("formicary_tasks_{what}")));
        assert_eq!(gauges, [stats.queued as u64, stats.running as u64], "{stats}");
        assert_eq!((of("formicary_workers"), of("formicary_capacity")), (stats.live as u64, stats.capacity as u64));
        assert_eq!(of("formicary_workers_started_total"), stats.spawned);
        let reasons =
            ["full", "overloaded", "timed_out", "cancelled", "closed", "spawn", "would_deadlock", "too_large"];
        let refusals = stats.refusals;
        let by_reason = [
            refusals.full,
            refusals.overloaded,
            refusals.timed_out,
            refusals.cancelled,
            refusals.closed,
            refusals.spawn,
            refusals.would_deadlock,
            refusals.too_large,
        ];
        assert_eq!(reasons.map(|reason| self.refused(name, reason)), by_reason, "{stats}");
        let has_run = stats.completed + stats.panicked;
        assert_eq!(of("formicary_task_run_seconds_count"), has_run);
        assert_eq!(of("formicary_task_queue_wait_seconds_count"), has_run + stats.running as u64);
    }
}

fn whole(value: f64) -> u64 {
    assert_eq!((value.fract(), value.is_sign_negative() && value != 0.0), (0.0, false), "{value}");
    value as u64
}

fn load<D: Dispatch>() {
    quiet_panics();
    exporter();
    let name = std::any::type_name::<D>().rsplit("::").next().unwrap();
    let builder = Pool::builder().workers(2).min_workers(2).queue(3).dispatch::<D>();
    let pool = Arc::new(builder.observer(Metrics::new(name)).build().unwrap());
    let started = Scrape::take();
    assert_eq!((started.refused(name, "full"), started.of(name, "formicary_capacity")), (0, 2));

    // Two run, three wait, one of them will be cancelled.
    let gate = Gate::new();
    for _ in 0..2 {
        pool.submit({
            let gate = gate.clone();
            move || gate.wait()
        })
        .unwrap();
    }
    gate.await_arrivals(2);
    pool.submit(|| panic!("broken")).unwrap();
    let cancelled = pool.spawn(|| ()).unwrap();
    pool.submit(|| ()).unwrap();
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    assert!(pool.with().room_timeout(Duration::from_millis(1)).submit(|| ()).unwrap_err().is_timed_out());
    let scrape = Scrape::take();
    scrape.check(name, &pool);
    assert_eq!((scrape.of(name, "formicary_tasks_running"), scrape.of(name, "formicary_tasks_queued")), (2, 3));
    let pauses = [pool.pause(), pool.pause()];
    assert_eq!(Scrape::take().of(name, "formicary_pauses"), 2);
    drop(pauses);
    assert!(cancelled.cancel());
    gate.open();
    assert!(pool.wait_idle());

    (0..200).for_each(|_| pool.submit(|| ()).unwrap());
    // A view with a lower limit takes tasks back.
    let view = pool.limited(3);
    let gate = Gate::new();
    let wait = || {
        let gate = gate.clone();
        move || gate.wait()
    };
    (0..3).for_each(|_| view.submit(wait()).unwrap());
    gate.await_arrivals(2);
    view.set_limit(1);
    gate.open();
    assert!(view.wait_idle() && pool.wait_idle());
    let scrape = Scrape::take();
    scrape.check(name, &pool);
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.panicked, stats.cancelled), (206, 1, 1), "{stats}");
    let run = scrape.get("formicary_task_run_seconds_sum", &[("pool", name)]);
    assert!(run > 0.0, "{run}");
    let below = |bound: &str| scrape.get("formicary_task_run_seconds_bucket", &[("pool", name), ("le", bound)]);
    assert!(below("0.00001") <= below("10") && below("+Inf") == 207.0);

    pool.tune(1).unwrap();
    let pause = pool.pause();
    (0..3).for_each(|_| pool.submit(|| ()).unwrap());
    assert_eq!(pool.shutdown_now().len(), 3);
    drop(pause);
    pool.shutdown();
    assert!(pool.submit(|| ()).unwrap_err().is_closed());
    let scrape = Scrape::take();
    scrape.check(name, &pool);
    assert_eq!((scrape.ended(name, "returned"), scrape.refused(name, "closed")), (3, 1));
    let ends = ["workers", "capacity", "pauses"].map(|gauge| scrape.of(name, &format!("formicary_{gauge}")));
    assert_eq!(ends, [0, 1, 0]);
}
#[test]
fn a_scrape_agrees_with_the_figures() {
    on_every_dispatch!(load);
}

/// Also where the pool is of another kind.
#[test]
fn a_scrape_agrees_with_every_kind_of_pool() {
    quiet_panics();
    exporter();
    for_each(|variant: Variant| {
        let setup = Setup { observer: Some(Arc::new(Metrics::new(variant.name))), ..Setup::new(2, 100) };
        let pool = variant.build(setup);
        (0..50).for_each(|_| pool.submit(Task::new(|| ())).unwrap());
        pool.submit(Task::new(|| panic!("broken"))).unwrap();
        assert!(pool.wait_idle());
        let scrape = Scrape::take();
        assert_eq!((scrape.ended(variant.name, "completed"), scrape.ended(variant.name, "panicked")), (50, 1));
        assert_eq!(scrape.of(variant.name, "formicary_tasks_accepted_total"), 51);
    });
}

#[test]
fn names_of_tasks_are_a_label_if_asked_for() {
    quiet_panics();
    exporter();
    for (pool_name, has_names) in [("with names", true), ("without names", false)] {
        let metrics = Metrics::new(pool_name);
        let metrics = if has_names { metrics.with_task_names() } else { metrics };
        let pool = Pool::builder().workers(2).observer(metrics).build().unwrap();
        (0..20).for_each(|_| pool.with().name("resize").run(|| ()).unwrap());
        assert!(pool.with().name("resize").run(|| panic!("broken")).is_err());
        pool.with().name("rotate").run(|| ()).unwrap();
        pool.submit(|| ()).unwrap();
        pool.shutdown();
        let scrape = Scrape::take();
        let of = |task: &str, outcome: &str| {
            let labels = [("pool", pool_name), ("task", task), ("outcome", outcome)];
            scrape.get("formicary_tasks_ended_total", &labels)
        };
        if has_names {
            let counts = (of("resize", "completed"), of("resize", "panicked"), of("rotate", "completed"));
            assert_eq!((counts, scrape.ended(pool_name, "completed")), ((20.0, 1.0, 1.0), 1));
            let labels = [("pool", pool_name), ("task", "resize")];
            assert_eq!(scrape.get("formicary_task_run_seconds_count", &labels), 21.0);
            assert_eq!(scrape.get("formicary_task_queue_wait_seconds_count", &labels), 21.0);
        } else {
            assert_eq!((scrape.ended(pool_name, "completed"), scrape.ended(pool_name, "panicked")), (22, 1));
            let is_named = |labels: &[(String, String)]| {
                let has = |label: (&str, &str)| labels.iter().any(|(key, value)| (&**key, &**value) == label);
                has(("pool", pool_name)) && labels.iter().any(|(key, _)| key == "task")
            };
            assert!(!scrape.0.keys().any(|(_, labels)| is_named(labels)));
        }
    }
}

/// A worker that was given up, and its task, count until they end.
#[test]
fn a_worker_that_is_given_up_counts_until_it_ends() {
    exporter();
    let builder = Pool::builder().workers(1).running_tasks().observer(Metrics::new("replaced"));
    let (pool, gate) = (builder.build().unwrap(), Gate::new());
    let waits = gate.clone();
    pool.submit(move || waits.wait()).unwrap();
    gate.await_arrivals(1);
    assert!(pool.replace(&pool.running_tasks().unwrap()[0]));
    assert_eq!(pool.run(|| 7).unwrap(), 7);
    assert!(pool.wait_idle());
    let gauges = ["formicary_workers", "formicary_tasks_running", "formicary_tasks_queued"];
    let read = || gauges.map(|gauge| Scrape::take().of("replaced", gauge));
    assert_eq!(((pool.stats().live, pool.stats().running), read()), ((1, 0), [2, 1, 0]));
    gate.open();
    eventually("the worker has ended", || pool.stats().given_up == 0);
    assert_eq!(read(), [1, 0, 0]);
}

/// What no event changes is as the pool says when it is sampled.
#[test]
fn a_sample_has_what_no_event_changes() {
    exporter();
    let was_asked = AtomicBool::new(false);
    let builder = Pool::builder().workers(1).min_workers(0).queue(0).running_tasks();
    let builder = builder.spawn_handler(move |thread| start_thread(was_asked.swap(true, SeqCst), thread));
    let (pool, gate) = (builder.build().unwrap(), Gate::new());
    assert!(pool.try_submit(|| ()).unwrap_err().is_spawn());
    let hangs = gate.clone();
    pool.submit(move || hangs.wait()).unwrap();
    gate.await_arrivals(1);
    let names = ["submitters_waiting", "tasks_scheduled", "workers_given_up", "failed_starts_total"];
    let read = || {
        Metrics::sample("sampled", &pool.stats());
        names.map(|name| Scrape::take().of("sampled", &format!("formicary_{name}")))
    };
    assert_eq!(read(), [0, 0, 0, 1]);
    pool.with().after(LIMIT * 60).submit(|| ()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| pool.submit(|| ()).unwrap());
        eventually("it waits", || pool.waiting() == 1);
        assert_eq!(read(), [1, 1, 0, 1]);
        assert!(pool.replace(&pool.running_tasks().unwrap()[0]));
        eventually("there is room", || pool.waiting() == 0);
        assert_eq!(read(), [0, 1, 1, 1]);
    });
    gate.open();
    eventually("its thread ends", || pool.stats().given_up == 0);
    assert_eq!(read(), [0, 1, 0, 1]);
}

/// Each series that a pool has is described, with the right type.
#[test]
fn each_metric_has_a_help_text() {
    let exporter = exporter();
    let _metrics = Metrics::new("described");
    Metrics::sample("described", &Pool::new(1).unwrap().stats());
    let text = exporter.render();
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE formicary_")).collect();
    assert_eq!(names.len(), 16, "{names:#?}");
    for line in names {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(text.contains(&format!("# HELP formicary_{name} ")), "{name} has no help text");
        let expected = match name {
            _ if name.ends_with("_total") => "counter",
            _ if name.ends_with("_seconds") => "histogram",
            _ => "gauge",
        };
        assert_eq!(kind, expected, "{name}");
    }
}
