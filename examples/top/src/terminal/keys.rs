//! The keys that the user presses, read on a thread of their own.
//!
//! Where the terminal is gone, crossterm 0.28 reads its end for ever, and does not return. So the page does not read by itself: its next
//! attempt to draw fails, and it ends.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use formicary::{CancelToken, DropGuard};
use ratatui::crossterm::event::{self, Event, KeyEvent};

/// How long the thread reads on when its keys are no longer wanted.
const CHECK: Duration = Duration::from_millis(50);

/// The keys from now on. The thread that reads them ends when this is dropped.
pub(super) struct Keys {
    keys: Receiver<io::Result<KeyEvent>>,
    _stop: DropGuard,
}

impl Keys {
    pub(super) fn read() -> io::Result<Keys> {
        let (sender, keys) = sync_channel(16);
        let stop = CancelToken::new();
        let is_wanted = stop.clone();
        thread::Builder::new().name("keys".into()).spawn(move || {
            while !is_wanted.is_cancelled() {
                let key = match next() {
                    Ok(None) => continue,
                    Ok(Some(key)) => Ok(key),
                    Err(error) => Err(error),
                };
                let is_last = key.is_err();
                if sender.send(key).is_err() || is_last {
                    return;
                }
            }
        })?;
        Ok(Keys { keys, _stop: stop.drop_guard() })
    }

    /// The next key, if there is one within `limit`.
    pub(super) fn next(&self, limit: Duration) -> io::Result<Option<KeyEvent>> {
        match self.keys.recv_timeout(limit) {
            Ok(key) => key.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the keys can no longer be read")),
        }
    }
}

/// Waits for a key for a moment. The release of a key, and a change of size, need no action: the next snapshot is drawn in the new size.
fn next() -> io::Result<Option<KeyEvent>> {
    if !event::poll(CHECK)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) => Some(key),
        _ => None,
    })
}
