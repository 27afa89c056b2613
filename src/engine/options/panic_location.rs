//! Where in the source a panic began, and by which calls. Only a panic hook learns that, and the hook is the process's, so a pool installs one only if it is
//! asked to ([`Builder::panic_locations`](crate::Builder::panic_locations)).

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// Of the last panic on this thread, until it is taken.
    static LAST: RefCell<Option<PanicPlace>> = const { RefCell::new(None) };
}

/// Where a panic began.
pub(crate) struct PanicPlace {
    /// As `file:line:column`.
    pub(crate) location: Option<String>,
    /// If the environment asks for backtraces.
    pub(crate) backtrace: Option<Backtrace>,
}

/// Installs, once for the process, a panic hook that notes the place and then calls the hook that was there before.
pub(crate) fn note_locations() {
    static INSTALLED: Once = Once::new();
    // A thread that panics must not change the hook.
    if std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let location = info.location().map(ToString::to_string);
            let backtrace = Some(Backtrace::capture()).filter(|trace| trace.status() == BacktraceStatus::Captured);
            // Fails at the thread's end only.
            let _ = LAST.try_with(|last| *last.borrow_mut() = Some(PanicPlace { location, backtrace }));
            before(info);
        }));
    });
}

/// The place of the last panic on this thread, if a hook has noted one since the last call.
pub(crate) fn take_place() -> Option<PanicPlace> {
    LAST.try_with(RefCell::take).ok().flatten()
}
