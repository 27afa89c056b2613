//! The buffers of a timeline, and its writer.
//!
//! An event goes into one of several buffers, each under a lock of its own. Whoever fills a buffer puts it into a list, and writes that list if
//! no other thread does. The writer is user code, so it is called under no lock: the thread that calls it has taken it out of its place.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::{Condvar, Mutex};

use crate::sync::user_code::catch_user_panic;

/// The buffers; the last is for events of no worker.
pub(super) const BUFFERS: usize = 33;

/// A buffer that is longer is written.
const BUFFER_BYTES: usize = 32 * 1024;

/// The most full buffers that wait for the writer.
const MAX_FULL: usize = 256;

/// A buffer of events, and what `B` is to be kept with it under the same lock.
#[derive(Default)]
pub(super) struct Buffer<B> {
    pub(super) text: String,
    pub(super) with: B,
}

pub(super) struct Sink<B> {
    buffers: [CachePadded<Mutex<Buffer<B>>>; BUFFERS],
    output: Mutex<Output>,
    writer_is_back: Condvar,
    is_open: AtomicBool,
    lost: AtomicU64,
}

struct Output {
    /// Whole events, to be written.
    full: Vec<String>,
    writer: Place,
}

/// Where the writer is.
enum Place {
    Here(Writer),
    /// A thread is writing.
    Away,
    /// It has failed.
    Failed(Failure),
    /// The file is complete.
    Finished,
}

struct Writer {
    to: Box<dyn Write + Send>,
    has_begun: bool,
}

impl Writer {
    /// Writes an array, or more of it. All texts begin with a comma, and the first one of the file has no event before it.
    fn write(&mut self, texts: &[String], is_last: bool) -> io::Result<()> {
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let begins = !std::mem::replace(&mut self.has_begun, true);
            if begins {
                self.to.write_all(b"[")?;
            }
            self.to.write_all(&text.as_bytes()[usize::from(begins)..])?;
        }
        match (is_last, self.has_begun) {
            (true, true) => self.to.write_all(b"\n]\n"),
            (true, false) => self.to.write_all(b"[]\n"),
            (false, _) => Ok(()),
        }
    }
}

/// An error that is returned more than once.
struct Failure {
    kind: io::ErrorKind,
    code: Option<i32>,
    text: String,
}

impl Failure {
    fn new(error: &io::Error) -> Self {
        Failure { kind: error.kind(), code: error.raw_os_error(), text: error.to_string() }
    }

    fn error(&self) -> io::Error {
        match self.code {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.kind, self.text.clone()),
        }
    }
}

impl<B: Default> Sink<B> {
    pub(super) fn new(writer: Box<dyn Write + Send>) -> Self {
        Sink {
            buffers: std::array::from_fn(|_| CachePadded::default()),
            output: Mutex::new(Output {
                full: Vec::new(),
                writer: Place::Here(Writer { to: writer, has_begun: false }),
            }),
            writer_is_back: Condvar::new(),
            is_open: AtomicBool::new(true),
            lost: AtomicU64::new(0),
        }
    }

    /// Whether events are still recorded.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// How many bytes of events were dropped because the writer was too slow.
    pub(super) fn lost_bytes(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lets `record` append events to a buffer. It calls no user code.
    pub(super) fn record(&self, buffer: usize, record: impl FnOnce(&mut Buffer<B>)) {
        let mut buffer = self.buffers[buffer].lock();
        record(&mut buffer);
        if buffer.text.len() >= BUFFER_BYTES {
            let full = std::mem::replace(&mut buffer.text, String::with_capacity(BUFFER_BYTES + 1024));
            drop(buffer);
            self.pass_on(full);
        }
    }

    /// A buffer is full. Writes what is there, unless another thread writes.
    fn pass_on(&self, text: String) {
        let mut output = self.output.lock();
        match std::mem::replace(&mut output.writer, Place::Away) {
            Place::Here(writer) => {
                let mut texts = std::mem::take(&mut output.full);
                drop(output);
                texts.push(text);
                _ = self.write(writer, &texts, false, false);
            }
            Place::Away if output.full.len() < MAX_FULL => output.full.push(text),
            Place::Away => _ = self.lost.fetch_add(text.len() as u64, Ordering::Relaxed),
            ended => {
                output.full.clear();
                output.writer = ended;
            }
        }
    }

    /// Writes all events that were recorded before. Waits for a thread that writes. Completes the file if `is_last`.
    pub(super) fn drain(&self, is_last: bool) -> io::Result<()> {
        if is_last {
            self.is_open.store(false, Ordering::Relaxed);
        }
        let texts: Vec<_> = self.buffers.iter().map(|buffer| std::mem::take(&mut buffer.lock().text)).collect();
        let mut output = self.output.lock();
        loop {
            match std::mem::replace(&mut output.writer, Place::Away) {
                Place::Here(writer) => {
                    let mut all = std::mem::take(&mut output.full);
                    drop(output);
                    all.extend(texts);
                    return self.write(writer, &all, true, is_last);
                }
                Place::Away => self.writer_is_back.wait(&mut output),
                Place::Finished => {
                    output.writer = Place::Finished;
                    return Ok(());
                }
                Place::Failed(failure) => {
                    let error = failure.error();
                    output.writer = Place::Failed(failure);
                    return Err(error);
                }
            }
        }
    }

    /// Writes with the writer, which was taken from its place, and puts it back.
    fn write(&self, mut writer: Writer, texts: &[String], flushes: bool, is_last: bool) -> io::Result<()> {
        let result = catch_user_panic(|| {
            writer.write(texts, is_last)?;
            if flushes { writer.to.flush() } else { Ok(()) }
        });
        let result = result.unwrap_or_else(|| Err(io::Error::other("the writer of a timeline panicked")));
        let (place, done) = match &result {
            Err(error) => (Place::Failed(Failure::new(error)), Some(writer)),
            Ok(()) if is_last => (Place::Finished, Some(writer)),
            Ok(()) => (Place::Here(writer), None),
        };
        if done.is_some() {
            self.is_open.store(false, Ordering::Relaxed);
        }
        self.output.lock().writer = place;
        self.writer_is_back.notify_all();
        catch_user_panic(|| drop(done));
        result
    }
}
