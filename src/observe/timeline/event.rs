//! Events in the Trace Event Format.

use std::fmt::Write;
use std::time::Duration;

/// An event that is being written. Each begins with the comma that separates it from the one before, so
/// a file ends with a whole event.
pub(super) struct Event<'t> {
    text: &'t mut String,
    has_args: bool,
}

impl<'t> Event<'t> {
    /// Begins an event of this phase of a process.
    pub(super) fn new(text: &'t mut String, phase: &str, name: &str, process: u32) -> Self {
        text.push_str(",\n{\"ph\":\"");
        text.push_str(phase);
        text.push_str("\",\"name\":");
        quote(text, name);
        let mut event = Event { text, has_args: false };
        event.number("pid", process.into());
        event
    }

    pub(super) fn thread(mut self, thread: u64) -> Self {
        self.number("tid", thread);
        self
    }

    /// When, since the beginning of the timeline.
    pub(super) fn at(mut self, time: Duration) -> Self {
        self.micros("ts", time);
        self
    }

    pub(super) fn lasts(mut self, time: Duration) -> Self {
        self.micros("dur", time);
        self
    }

    /// A member of the event itself.
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        quote(self.text, value);
        self
    }

    /// An event of the same name, category and id is the other end of this one.
    pub(super) fn pair(mut self, category: &str, id: u64) -> Self {
        self.key("cat");
        quote(self.text, category);
        self.key("id");
        _ = write!(self.text, "\"{id:x}\"");
        self
    }

    pub(super) fn arg(mut self, key: &str, value: &str) -> Self {
        self.begin_arg(key);
        quote(self.text, value);
        self
    }

    pub(super) fn arg_number(mut self, key: &str, value: u64) -> Self {
        self.begin_arg(key);
        _ = write!(self.text, "{value}");
        self
    }

    /// In microseconds.
    pub(super) fn arg_time(mut self, key: &str, value: Duration) -> Self {
        self.begin_arg(key);
        self.push_micros(value);
        self
    }

    pub(super) fn end(self) {
        self.text.push_str(if self.has_args { "}}" } else { "}" });
    }

    fn key(&mut self, key: &str) {
        self.text.push_str(",\"");
        self.text.push_str(key);
        self.text.push_str("\":");
    }

    fn begin_arg(&mut self, key: &str) {
        if self.has_args {
            self.key(key);
        } else {
            self.text.push_str(",\"args\":{\"");
            self.text.push_str(key);
            self.text.push_str("\":");
            self.has_args = true;
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        _ = write!(self.text, "{value}");
    }

    fn micros(&mut self, key: &str, time: Duration) {
        self.key(key);
        self.push_micros(time);
    }

    /// With the nanoseconds as a fraction.
    fn push_micros(&mut self, time: Duration) {
        let nanos = time.as_nanos();
        _ = write!(self.text, "{}.{:03}", nanos / 1000, nanos % 1000);
    }
}

/// A string of JSON.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    let mut rest = value;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        text.push_str(&rest[..at]);
        // All of these are one byte long.
        _ = write!(text, "\\u{:04x}", rest.as_bytes()[at]);
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
    text.push('"');
}
