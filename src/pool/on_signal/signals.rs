//! The signals that tell a process to end, by the system's means.

use std::io;

/// What becomes of the process after a signal.
pub(super) enum Next {
    GoOn,
    Exit,
}

/// Calls `f` for each `SIGINT` and `SIGTERM`, on a thread of its own. Signals that come while it runs count as one each.
#[cfg(unix)]
pub(super) fn on_each(mut f: impl FnMut() -> Next + Send + 'static) -> io::Result<()> {
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::exit;

    let (tell, told) = sync_channel(1);
    // The thread comes before the handlers: a signal that is handled must have somebody who hears of it.
    thread::Builder::new().name("formicary-signal".into()).spawn(move || {
        let mut signals = match Signals::new([SIGINT, SIGTERM]) {
            Ok(signals) => signals,
            Err(refused) => return drop(tell.send(Err(refused))),
        };
        drop(tell.send(Ok(())));
        for signal in signals.forever() {
            if matches!(f(), Next::Exit) {
                // Not `std::process::exit`: handlers of the C library's `exit` may wait for a task that hangs.
                exit(128 + signal);
            }
        }
    })?;
    told.recv().unwrap_or_else(|ended| Err(io::Error::other(ended)))
}

/// Calls `f` for each Ctrl-C and Ctrl-Break, on a thread of its own.
#[cfg(windows)]
pub(super) fn on_each(mut f: impl FnMut() -> Next + Send + 'static) -> io::Result<()> {
    let handler = move || {
        if matches!(f(), Next::Exit) {
            std::process::exit(128 + 2);
        }
    };
    ctrlc::try_set_handler(handler).map_err(|refused| match refused {
        ctrlc::Error::System(refused) => refused,
        other => io::Error::other(other),
    })
}

/// Where a process gets no signal.
#[cfg(not(any(unix, windows)))]
pub(super) fn on_each(_: impl FnMut() -> Next + Send + 'static) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
