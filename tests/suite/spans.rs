//! The span of each task (feature `tracing`): its parent, its fields, its end, and the events of the pool.
#![cfg(feature = "tracing")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::support::verbs::each_verb;
use crate::support::{Gate, RunTask, on_every_dispatch, quiet_panics};
use formicary::{Accepts, CancelToken, Closures, Dispatch, Pool, PoolControl, PoolWithFunc, StatefulPool, Task, With};

type Fields = BTreeMap<&'static str, String>;

#[derive(Clone, Debug)]
struct SpanRecord {
    name: &'static str,
    fields: Fields,
    /// Its place in [`Records::spans`].
    parent: Option<usize>,
    is_closed: bool,
}

#[derive(Clone, Debug)]
struct EventRecord {
    fields: Fields,
    level: tracing::Level,
    span: Option<usize>,
}

impl EventRecord {
    fn message(&self) -> &str {
        &self.fields["message"]
    }
}

/// What a subscriber was told.
#[derive(Clone, Debug, Default)]
struct Records {
    spans: Vec<SpanRecord>,
    events: Vec<EventRecord>,
}

impl Records {
    fn tasks(&self) -> impl Iterator<Item = &SpanRecord> {
        self.spans.iter().filter(|span| span.name == "task")
    }

    fn parent(&self, span: &SpanRecord) -> Option<&SpanRecord> {
        span.parent.map(|parent| &self.spans[parent])
    }

    fn events_of<'r>(&'r self, message: &str) -> impl Iterator<Item = &'r EventRecord> {
        self.events.iter().filter(move |event| event.message() == message)
    }
}

/// A subscriber's layer that writes down the spans and the events of the pools.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Records>>);

/// The place of a span in the records. The registry uses ids again.
struct Place(usize);

struct Visitor(Fields);

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

fn place<'a, S: Subscriber + LookupSpan<'a>>(
    span: Option<tracing_subscriber::registry::SpanRef<'a, S>>,
) -> Option<usize> {
    span.and_then(|span| span.extensions().get::<Place>().map(|place| place.0))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: LayerContext<'_, S>) {
        let span = cx.span(id).unwrap();
        let mut visitor = Visitor(Fields::new());
        attributes.record(&mut visitor);
        let parent = place(span.parent());
        let mut records = self.0.lock();
        span.extensions_mut().insert(Place(records.spans.len()));
        records.spans.push(SpanRecord { name: span.name(), fields: visitor.0, parent, is_closed: false });
    }

    fn on_event(&self, event: &Event<'_>, cx: LayerContext<'_, S>) {
        if event.metadata().target() == "formicary" {
            let mut visitor = Visitor(Fields::new());
            event.record(&mut visitor);
            let (level, span) = (*event.metadata().level(), place(cx.event_span(event)));
            self.0.lock().events.push(EventRecord { fields: visitor.0, level, span });
        }
    }

    fn on_close(&self, id: Id, cx: LayerContext<'_, S>) {
        let closed = place(cx.span(&id)).unwrap();
        self.0.lock().spans[closed].is_closed = true;
    }
}

/// What is recorded while the calling thread runs `body`.
fn recorded(body: impl FnOnce()) -> Records {
    let recorder = Recorder::default();
    tracing::subscriber::with_default(Registry::default().with(recorder.clone()), body);
    recorder.0.lock().clone()
}

fn traced<D: Dispatch>() -> formicary::Builder<Closures, D> {
    Pool::builder().workers(2).queue(10).dispatch::<D>().name("mill").tracing()
}

/// In a span of its own.
fn in_request(verb: &'static str, body: impl FnOnce()) {
    tracing::info_span!("request", verb).in_scope(body);
}

/// Each task's span has ended, and its parent is the request with this verb, or another task.
fn assert_parents(records: &Records, verb: &str, count: usize) {
    let of_verb: Vec<_> = records
        .tasks()
        .filter(|span| {
            records.parent(span).is_some_and(|parent| parent.fields.get("verb").is_some_and(|it| it == verb))
        })
        .collect();
    assert_eq!(of_verb.len(), count, "{verb}: {records:#?}");
    for span in of_verb {
        assert!(span.is_closed && span.fields["pool"] == "mill" && span.fields.contains_key("worker"), "{span:?}");
    }
}

fn by_each_verb<P: Accepts<Task, Output = ()>>(with: &With<'_, P>, control: &PoolControl<impl Sized>) {
    let records = recorded(|| {
        in_request("each", || each_verb(with, || Task::new(|| ()), || control.wait_idle()));
    });
    assert_parents(&records, "each", 11);
    assert_eq!(records.tasks().count(), 11);
}

fn every_verb<D: Dispatch>() {
    let pool = traced::<D>().build().unwrap();
    by_each_verb(&pool.with(), &pool);
    by_each_verb(&pool.limited(1).with(), &pool);
    let builder = PoolWithFunc::builder(Task::run).workers(2).queue(10).dispatch::<D>();
    let pool = builder.tracing().name("mill").build().unwrap();
    by_each_verb(&pool.with(), &pool);
    let builder = StatefulPool::builder(|_| Ok(RunTask)).workers(2).queue(10).dispatch::<D>();
    let pool = builder.tracing().name("mill").build().unwrap();
    by_each_verb(&pool.with(), &pool);
    by_each_verb(&pool.limited(1).with(), &pool);
}
#[test]
fn the_parent_of_a_task_is_the_submitters_span() {
    on_every_dispatch!(every_verb);
}

fn combinators<D: Dispatch>() {
    let pool = traced::<D>().build().unwrap();
    let records = recorded(|| {
        in_request("map", || assert_eq!(pool.map(0..3, |n| n).count(), 3));
        in_request("race", || pool.race([|_: &CancelToken| Ok::<_, ()>(1)]).map(drop).unwrap());
        in_request("group", || {
            let group = pool.group::<(), ()>();
            group.spawn(|_| Ok(())).unwrap();
            group.wait().unwrap();
        });
        in_request("scope", || pool.scope(|scope| (0..3).for_each(|_| scope.spawn(|| ()))));
        assert!(pool.wait_idle());
    });
    for (verb, count) in [("map", 3), ("race", 1), ("group", 1), ("scope", 3)] {
        assert_parents(&records, verb, count);
    }
    assert_eq!(records.tasks().count(), 8);
}
#[test]
fn combinators_take_the_span_along() {
    on_every_dispatch!(combinators);
}

fn inside<D: Dispatch>() {
    let pool = Arc::new(traced::<D>().build().unwrap());
    let records = recorded(|| {
        let inner = Arc::clone(&pool);
        in_request("outer", || {
            let child = move || inner.with().name("child").run(|| ()).unwrap();
            pool.with().name("parent").run(child).unwrap();
        });
        // Nobody's span: that of a task which has ended is not left behind.
        pool.with().name("alone").run(|| ()).unwrap();
        assert!(pool.wait_idle());
    });
    let named = |name: &str| records.tasks().find(|span| span.fields["task"] == name).unwrap();
    assert_eq!(records.tasks().count(), 3);
    assert_eq!(records.parent(named("child")).unwrap().fields["task"], "parent");
    assert_eq!(records.parent(named("parent")).unwrap().fields["verb"], "outer");
    assert_eq!(named("alone").parent, None);
    assert!(records.spans.iter().all(|span| span.is_closed), "{records:#?}");
}
#[test]
fn a_task_is_the_parent_of_what_it_submits() {
    on_every_dispatch!(inside);
}

/// Not stolen, since there is no other worker: then it has the name of the task that it is part of.
fn forked<D: Dispatch>() {
    let pool = Arc::new(traced::<D>().workers(1).build().unwrap());
    let records = recorded(|| {
        let inner = Arc::clone(&pool);
        pool.with().name("whole").run(move || inner.join(|| (), || ())).unwrap();
    });
    let names: Vec<_> = records.tasks().map(|span| (&*span.fields["task"], span.parent)).collect();
    assert_eq!(names, [("whole", None), ("whole", Some(0))]);
}
#[test]
fn the_second_closure_of_a_join_has_a_span() {
    on_every_dispatch!(forked);
}

/// A task that another one runs while it waits belongs to its own submitter.
fn on_the_spot<D: Dispatch>() {
    let pool = Arc::new(traced::<D>().workers(1).build().unwrap());
    let records = recorded(|| {
        let (gate, inner) = (Gate::new(), Arc::clone(&pool));
        let (waits, (sender, receiver)) = (gate.clone(), channel::<formicary::Handle<()>>());
        let body = move || {
            waits.wait();
            receiver.recv().unwrap().join().unwrap();
            inner.with().name("later").submit(|| ()).unwrap();
        };
        let mut outer = None;
        in_request("first", || outer = Some(pool.with().name("outer").spawn(body).unwrap()));
        gate.await_arrivals(1);
        in_request("second", || sender.send(pool.with().name("other").spawn(|| ()).unwrap()).unwrap());
        gate.open();
        outer.unwrap().join().unwrap();
        assert!(pool.wait_idle());
    });
    let parent = |name: &str| {
        let span = records.tasks().find(|span| span.fields["task"] == name).unwrap();
        records.parent(span).unwrap().fields.values().next_back().cloned().unwrap()
    };
    assert_eq!((parent("outer"), parent("other")), ("first".to_owned(), "second".to_owned()));
    let later = records.tasks().find(|span| span.fields["task"] == "later").unwrap();
    assert_eq!(records.parent(later).unwrap().fields["task"], "outer");
}
#[test]
fn a_task_that_is_run_by_its_waiter_has_its_submitters_span() {
    on_every_dispatch!(on_the_spot);
}

fn panics<D: Dispatch>() {
    quiet_panics();
    let pool = traced::<D>().build().unwrap();
    let records = recorded(|| {
        assert!(pool.with().name("bad").run(|| panic!("broken")).is_err());
        pool.with().name("bad").submit(|| panic!("broken")).unwrap();
        assert!(pool.limited(1).with().name("bad").run(|| panic!("broken")).is_err());
        pool.with().name("good").run(|| drop(std::panic::catch_unwind(|| panic!("caught")))).unwrap();
        assert!(pool.wait_idle());
    });
    let panicked: Vec<_> = records.events_of("task panicked").collect();
    assert_eq!(panicked.len(), 3, "{records:#?}");
    for event in panicked {
        let span = &records.spans[event.span.unwrap()];
        assert_eq!((&*span.fields["task"], event.level), ("bad", tracing::Level::ERROR));
    }
    assert_eq!(records.tasks().filter(|span| span.is_closed).count(), 4);
    assert_eq!(pool.stats().handler_panics, 0);
}
#[test]
fn a_panic_is_an_event_in_the_tasks_span_and_ends_it() {
    on_every_dispatch!(panics);
}

fn refusals<D: Dispatch>() {
    let pool = traced::<D>().workers(1).queue(1).build().unwrap();
    let records = recorded(|| {
        let pause = pool.pause();
        pool.submit(|| ()).unwrap();
        pool.submit(|| ()).unwrap();
        in_request("full", || assert!(pool.try_submit(|| ()).unwrap_err().is_full()));
        let token = CancelToken::new();
        token.cancel();
        in_request("cancelled", || assert!(pool.with().token(&token).submit(|| ()).is_err()));
        drop(pause);
        pool.tune(2).unwrap();
        pool.shutdown();
        in_request("closed", || assert!(pool.spawn(|| ()).is_err()));
    });
    let refused: Vec<_> = records.events_of("submission refused").collect();
    let reasons: Vec<_> = refused.iter().map(|event| &*event.fields["reason"]).collect();
    assert_eq!(reasons, ["full", "cancelled", "closed"], "{records:#?}");
    for event in refused {
        assert_eq!((event.level, &*event.fields["pool"]), (tracing::Level::WARN, "mill"));
        assert_eq!(records.spans[event.span.unwrap()].fields["verb"], event.fields["reason"]);
    }
    assert_eq!((records.tasks().count(), records.events_of("pool paused").count()), (2, 1));
    assert_eq!(records.events_of("pool resumed").count(), 1);
    let tuned: Vec<_> = records.events_of("pool tuned").map(|event| &*event.fields["workers"]).collect();
    assert_eq!(tuned, ["2"]);
}
#[test]
fn refusals_and_changes_are_events() {
    on_every_dispatch!(refusals);
}

/// A pool of several programs' parts, each with a subscriber of its own: a task and what it records go to that of its submitter.
fn subscribers<D: Dispatch>() {
    let pool = Arc::new(traced::<D>().workers(1).build().unwrap());
    let submit = |verb: &'static str, pool: &Arc<Pool<D>>| {
        let pool = Arc::clone(pool);
        let body = move || (0..20).for_each(|_| pool.run(|| tracing::info_span!("work").in_scope(|| ())).unwrap());
        thread::spawn(move || recorded(|| in_request(verb, body)))
    };
    let threads = ["one", "two"].map(|verb| (verb, submit(verb, &pool)));
    for (verb, thread) in threads {
        let records = thread.join().unwrap();
        assert_parents(&records, verb, 20);
        let works: Vec<_> = records.spans.iter().filter(|span| span.name == "work").collect();
        assert_eq!((records.spans.len(), works.len()), (41, 20));
        assert!(works.iter().all(|span| records.parent(span).unwrap().name == "task"));
    }
    assert_eq!(pool.stats().handler_panics, 0);
}
#[test]
fn a_task_is_recorded_by_its_submitters_subscriber() {
    on_every_dispatch!(subscribers);
}

/// Without threads, so that the worker's own events go to the test's subscriber.
#[cfg(feature = "test-util")]
#[test]
fn workers_are_events() {
    let records = recorded(|| {
        let pool = Pool::builder().inline().name("mill").tracing().build().unwrap();
        in_request("inline", || pool.run(|| ()).unwrap());
        pool.shutdown();
    });
    assert_parents(&records, "inline", 1);
    let count = |message| records.events_of(message).count();
    assert!(count("worker started") > 0, "{records:#?}");
    assert_eq!(count("worker started"), count("worker stopped"));
    let levels: Vec<_> = records.events.iter().map(|event| event.level).collect();
    assert!(levels.iter().all(|level| *level == tracing::Level::TRACE), "{levels:?}");
}
