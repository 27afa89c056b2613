//! An exporter that keeps the spans, and prints each trace as a tree.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

/// The spans that have ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().extend(batch);
        Ok(())
    }
}

impl Kept {
    /// The traces, in the order in which they began.
    pub(crate) fn traces(&self) -> Vec<Trace> {
        let mut by_id = HashMap::<_, Vec<SpanData>>::new();
        for span in self.0.lock().iter() {
            by_id.entry(span.span_context.trace_id()).or_default().push(span.clone());
        }
        let mut traces: Vec<_> = by_id.into_values().map(Trace::new).collect();
        traces.sort_by_key(|trace| trace.0.first().map(|span| span.start_time));
        traces
    }
}

/// The spans of one trace, in the order in which they began.
pub(crate) struct Trace(Vec<SpanData>);

impl Trace {
    fn new(mut spans: Vec<SpanData>) -> Self {
        spans.sort_by_key(|span| span.start_time);
        Trace(spans)
    }

    /// The tasks with this name that are below the request.
    pub(crate) fn tasks(&self, name: &str) -> usize {
        let requests: Vec<_> = self.0.iter().filter(|span| span.name == "request").map(id).collect();
        let is_task = |span: &&SpanData| span.name == "task" && attribute(span, "task").as_deref() == Some(name);
        self.0.iter().filter(is_task).filter(|span| requests.contains(&span.parent_span_id)).count()
    }

    /// The tasks that panicked.
    pub(crate) fn failed(&self) -> usize {
        self.0.iter().filter(|span| span.name == "task" && is_error(span)).count()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, parent: SpanId, depth: usize) -> fmt::Result {
        for span in self.0.iter().filter(|span| span.parent_span_id == parent) {
            let label = |key| attribute(span, key).map(|value| format!(" {key}={value}")).unwrap_or_default();
            let labels: String = ["page", "pool", "task", "worker"].map(label).concat();
            let failed = if is_error(span) { " failed" } else { "" };
            let time = span.end_time.duration_since(span.start_time).unwrap_or_default();
            writeln!(f, "{:depth$}{}{labels}{failed}, {time:.0?}", "", span.name)?;
            self.write(f, id(span), depth + 2)?;
        }
        Ok(())
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, SpanId::INVALID, 0)
    }
}

fn id(span: &SpanData) -> SpanId {
    span.span_context.span_id()
}

fn is_error(span: &SpanData) -> bool {
    matches!(span.status, Status::Error { .. })
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|it| it.key.as_str() == key).map(|it| it.value.as_str().into_owned())
}
