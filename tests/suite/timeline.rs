//! The file of a timeline says what the workers did.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use crate::support::{Gate, LIMIT, on_every_dispatch, quiet_panics, within};
use parking_lot::Mutex;
use serde_json::Value;

use formicary::observe::Timeline;
use formicary::{Builder, Closures, Dispatch, Pool};

/// What was written.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    /// The events. The file has to be complete.
    fn events(&self) -> Vec<Value> {
        serde_json::from_slice(&self.0.lock()).unwrap()
    }
}

/// The events of a phase.
fn of<'e>(events: &'e [Value], phase: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["ph"] == phase).collect()
}

/// Those of a name, too.
fn named<'e>(events: &'e [Value], phase: &str, name: &str) -> Vec<&'e Value> {
    of(events, phase).into_iter().filter(|event| event["name"] == name).collect()
}

/// In whole nanoseconds.
fn nanos(event: &Value, key: &str) -> u64 {
    (event[key].as_f64().unwrap() * 1000.0).round() as u64
}

fn span(event: &Value) -> (u64, u64) {
    (nanos(event, "ts"), nanos(event, "ts") + nanos(event, "dur"))
}

fn observed<D: Dispatch>(timeline: &Timeline, name: &str) -> Builder<Closures, D> {
    Pool::builder().observer(timeline.pool(name)).dispatch::<D>()
}

/// Names that JSON has to escape, and others.
const NAMES: [&str; 6] = ["resize", "a \"b\" \\c\\", "line\nline\u{1}", "größe 蟻", "", "</script>"];

fn every_task<D: Dispatch>() {
    quiet_panics();
    const TASKS: usize = 2_000;
    let memory = Memory::default();
    let timeline = Timeline::new(memory.clone());
    let pool = observed::<D>(&timeline, "mill \"1\"").workers(3).build().unwrap();
    for n in 0..TASKS {
        let name = NAMES[n % NAMES.len()];
        match n % 10 {
            0 => pool.submit(move || assert!(n % 10 != 0, "on purpose")).unwrap(),
            1 => pool.submit(|| ()).unwrap(),
            _ => pool.with().name(name).submit(|| ()).unwrap(),
        }
    }
    assert!(pool.wait_idle());
    timeline.finish().unwrap();
    assert_eq!(timeline.lost_bytes(), 0);
    pool.shutdown();
    let events = memory.events();

    let tasks = of(&events, "X");
    assert_eq!(tasks.len(), TASKS);
    let panicked = tasks.iter().filter(|task| task["args"]["outcome"] == "panicked").count();
    let completed = tasks.iter().filter(|task| task["args"]["outcome"] == "completed").count();
    assert_eq!((completed, panicked), (TASKS - TASKS / 10, TASKS / 10));
    for name in NAMES {
        let expected = (0..TASKS).filter(|n| n % 10 > 1 && NAMES[n % NAMES.len()] == name).count();
        assert_eq!(named(&events, "X", name).len(), expected, "{name}");
    }
    assert_eq!(named(&events, "X", "task").len(), TASKS / 5);

    let mut workers: Vec<_> = tasks.iter().map(|task| task["tid"].as_u64().unwrap()).collect();
    workers.sort_unstable();
    workers.dedup();
    assert!((1..=3).contains(&workers.len()), "{workers:?}");
    for worker in workers {
        let mut spans: Vec<_> = tasks.iter().filter(|task| task["tid"] == worker).map(|task| span(task)).collect();
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "tasks of one worker overlap: {spans:?}");
        assert_eq!(named(&events, "M", "thread_name").iter().filter(|name| name["tid"] == worker).count(), 1);
    }
    assert_eq!(named(&events, "M", "process_name")[0]["args"]["name"], "mill \"1\"");

    // Each wait ends where a task begins.
    let (begins, ends) = (of(&events, "b"), of(&events, "e"));
    assert_eq!((begins.len(), ends.len()), (TASKS, TASKS));
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    let begins: HashMap<_, _> = begins.into_iter().map(|begin| (id(begin), nanos(begin, "ts"))).collect();
    let mut starts: Vec<_> = tasks.iter().map(|task| span(task).0).collect();
    let mut wait_ends: Vec<_> = ends.iter().map(|end| nanos(end, "ts")).collect();
    assert_eq!(begins.len(), TASKS);
    assert!(ends.iter().all(|end| begins[&id(end)] <= nanos(end, "ts")));
    starts.sort_unstable();
    wait_ends.sort_unstable();
    assert_eq!(starts, wait_ends);
}

#[test]
fn every_task_is_in_the_file_once() {
    on_every_dispatch!(every_task);
}

fn nested<D: Dispatch>() {
    let memory = Memory::default();
    let timeline = Timeline::new(memory.clone());
    let pool = Arc::new(observed::<D>(&timeline, "mill").workers(1).build().unwrap());
    let inner = Arc::clone(&pool);
    let outer = move || {
        for _ in 0..3 {
            let innermost = Arc::clone(&inner);
            let middle = move || innermost.with().name("innermost").run(|| ()).unwrap();
            inner.with().name("middle").run(middle).unwrap();
        }
    };
    pool.with().name("outer").run(outer).unwrap();
    timeline.finish().unwrap();
    let events = memory.events();
    let spans = |name| named(&events, "X", name).into_iter().map(span).collect::<Vec<_>>();
    let (outer, middle, innermost) = (spans("outer"), spans("middle"), spans("innermost"));
    assert_eq!((outer.len(), middle.len(), innermost.len()), (1, 3, 3));
    let is_within = |inner: (u64, u64), outer: (u64, u64)| outer.0 <= inner.0 && inner.1 <= outer.1;
    assert!(middle.iter().all(|middle| is_within(*middle, outer[0])), "{outer:?} {middle:?}");
    let pairs = middle.iter().zip(&innermost);
    assert!(pairs.clone().all(|(middle, inner)| is_within(*inner, *middle)), "{middle:?} {innermost:?}");
}

#[test]
fn nested_tasks_are_within_their_outer_ones() {
    on_every_dispatch!(nested);
}

fn marks<D: Dispatch>() {
    let memory = Memory::default();
    let timeline = Timeline::new(memory.clone());
    let pool = observed::<D>(&timeline, "mill").workers(1).queue(1).build().unwrap();
    let other = observed::<D>(&timeline, "other").workers(1).build().unwrap();
    pool.tune(2).unwrap();
    pool.tune(1).unwrap();
    let pause = pool.pause();
    let handles = [pool.spawn(|| ()).unwrap(), pool.spawn(|| ()).unwrap()];
    assert!(pool.try_submit(|| ()).is_err());
    _ = handles[0].cancel();
    drop(pause);
    assert!(pool.wait_idle());
    other.run(|| ()).unwrap();
    pool.shutdown();
    other.shutdown();
    timeline.finish().unwrap();
    let events = memory.events();

    let marks = |name| named(&events, "i", name);
    assert_eq!(marks("tuned").iter().map(|mark| &mark["args"]["workers"]).collect::<Vec<_>>(), [2, 1]);
    assert_eq!([marks("paused").len(), marks("resumed").len(), marks("cancelled").len()], [1, 1, 1]);
    assert_eq!(marks("refused").iter().map(|mark| &mark["args"]["reason"]).collect::<Vec<_>>(), ["full"]);
    assert_eq!(marks("worker started").len(), marks("worker stopped").len());
    assert!(marks("worker started").len() >= 2);
    let pools = named(&events, "M", "process_name");
    let pools: Vec<_> = pools.iter().map(|pool| (pool["pid"].as_u64().unwrap(), &pool["args"]["name"])).collect();
    assert_eq!(pools, [(1, &Value::from("mill")), (2, &Value::from("other"))]);
    assert_eq!(of(&events, "X").iter().filter(|task| task["pid"] == 1).count(), 1);
    assert_eq!(of(&events, "X").iter().filter(|task| task["pid"] == 2).count(), 1);
}

#[test]
fn what_happens_to_a_pool_is_marked() {
    on_every_dispatch!(marks);
}

fn counter<D: Dispatch>() {
    let memory = Memory::default();
    let timeline = Timeline::new(memory.clone());
    let pool = observed::<D>(&timeline, "mill").workers(2).build().unwrap();
    for _ in 0..20 {
        let pause = pool.pause();
        (0..50).for_each(|_| pool.submit(|| ()).unwrap());
        drop(pause);
        assert!(pool.wait_idle());
        timeline.flush().unwrap();
        let text = String::from_utf8(memory.0.lock().clone()).unwrap();
        // What is there before the end lacks only the bracket.
        let events: Vec<Value> = serde_json::from_str(&format!("{text}]")).unwrap();
        let mut values = named(&events, "C", "queued tasks");
        values.sort_by_key(|value| nanos(value, "ts"));
        assert_eq!(values.last().unwrap()["args"]["tasks"], 0);
        assert!(values.iter().any(|value| value["args"]["tasks"].as_u64().unwrap() > 1));
    }
}

#[test]
fn the_count_of_queued_tasks_returns_to_0() {
    on_every_dispatch!(counter);
}

#[test]
fn the_file_is_complete_when_all_have_dropped_it() {
    let path = std::env::temp_dir().join(format!("formicary-timeline-{}.json", std::process::id()));
    let timeline = Timeline::to_file(&path).unwrap();
    let pool = Pool::builder().workers(1).observer(timeline.pool("mill")).build().unwrap();
    drop(timeline);
    pool.run(|| ()).unwrap();
    drop(pool);
    let events: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(named(&events, "X", "task").len(), 1);
    assert_eq!(named(&events, "i", "worker stopped").len(), 1);
}

#[test]
fn nothing_is_recorded_after_the_end() {
    let memory = Memory::default();
    let timeline = Timeline::new(memory.clone());
    let pool = Pool::builder().workers(1).observer(timeline.pool("mill")).build().unwrap();
    pool.run(|| ()).unwrap();
    timeline.finish().unwrap();
    let before = memory.0.lock().len();
    (0..1000).for_each(|_| pool.run(|| ()).unwrap());
    drop(pool);
    timeline.finish().unwrap();
    timeline.flush().unwrap();
    drop(timeline);
    assert_eq!(memory.0.lock().len(), before);
    assert_eq!(of(&memory.events(), "X").len(), 1);

    // Without an event.
    let memory = Memory::default();
    drop(Timeline::new(memory.clone()));
    assert!(memory.events().is_empty());
}

/// Fails, or panics, after so many bytes.
struct Faulty {
    room: usize,
    panics: bool,
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = bytes.len().min(self.room);
        self.room -= written;
        assert!(written > 0 || !self.panics, "on purpose");
        if written > 0 { Ok(written) } else { Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_error_of_the_writer_is_kept_and_reported() {
    quiet_panics();
    for panics in [false, true] {
        let timeline = Timeline::new(Faulty { room: 40_000, panics });
        let pool = Pool::builder().workers(1).observer(timeline.pool("mill")).build().unwrap();
        // More than a buffer, so a worker meets the error.
        (0..2_000).for_each(|_| pool.submit(|| ()).unwrap());
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().handler_panics, 0);
        pool.run(|| ()).unwrap();
        for result in [timeline.flush(), timeline.finish(), timeline.finish()] {
            let error = result.unwrap_err();
            let expected = if panics { io::ErrorKind::Other } else { io::ErrorKind::StorageFull };
            assert_eq!(error.kind(), expected, "{error}");
        }
    }
}

/// A writer that waits at a gate.
struct Slow(Gate, Memory);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.wait();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_writer_holds_up_one_thread_and_a_bounded_amount_of_memory() {
    within(LIMIT, "a slow writer", || {
        let (gate, memory) = (Gate::new(), Memory::default());
        let timeline = Timeline::new(Slow(gate.clone(), memory.clone()));
        let pool = Pool::builder().workers(2).observer(timeline.pool("mill")).build().unwrap();
        let long = "x".repeat(20_000);
        // It fills a buffer, and its worker writes.
        pool.with().name(long.clone()).submit(|| ()).unwrap();
        gate.await_arrivals(1);
        // The other worker runs all these.
        const TASKS: usize = 1_000;
        (0..TASKS).for_each(|_| pool.with().name(long.clone()).run(|| ()).unwrap());
        let lost = timeline.lost_bytes();
        assert!(lost > 20_000_000, "{lost} bytes are lost");
        gate.open();
        assert!(pool.wait_idle());
        (0..10).for_each(|_| pool.with().name(long.clone()).run(|| ()).unwrap());
        assert_eq!(timeline.lost_bytes(), lost, "it records again");
        timeline.finish().unwrap();
        let written = memory.0.lock().len();
        assert!(written < 16_000_000, "{written} bytes were kept");
        let events = memory.events();
        assert!((1..TASKS).contains(&of(&events, "X").len()));
    });
}

/// A writer that uses the pool whose timeline it writes.
struct Curious(Arc<Mutex<Option<Weak<Pool>>>>, Arc<AtomicBool>, Memory);

impl Write for Curious {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let pool = self.0.lock().as_ref().and_then(Weak::upgrade);
        if let (Some(pool), false) = (pool, self.1.swap(true, SeqCst)) {
            (0..300).for_each(|_| drop(pool.try_submit(|| ())));
        }
        self.2.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_may_use_the_pool() {
    within(LIMIT, "a curious writer", || {
        let (place, has_asked, memory) = (Arc::default(), Arc::new(AtomicBool::new(false)), Memory::default());
        let timeline = Timeline::new(Curious(Arc::clone(&place), Arc::clone(&has_asked), memory.clone()));
        let pool = Pool::builder().workers(1).unbounded_queue().observer(timeline.pool("mill")).build().unwrap();
        let pool = Arc::new(pool);
        *place.lock() = Some(Arc::downgrade(&pool));
        (0..3_000).for_each(|_| pool.submit(|| ()).unwrap());
        while !has_asked.load(SeqCst) {
            pool.run(|| ()).unwrap();
        }
        *place.lock() = None;
        assert!(pool.wait_idle());
        timeline.finish().unwrap();
        assert_eq!(of(&memory.events(), "X").len() as u64, pool.stats().completed);
    });
}
