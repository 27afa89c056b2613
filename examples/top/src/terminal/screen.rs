//! The terminal while it shows the page, and as it was before.

use std::io::{self, Stdout, stdout};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

/// How many messages of panics on other threads are kept.
const MESSAGES: usize = 16;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The terminal in raw mode, on its second screen. Dropping it restores the terminal and the panic hook.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    previous_hook: Arc<Hook>,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Screen> {
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        enable_raw_mode()?;
        if let Err(error) = execute!(stdout(), EnterAlternateScreen) {
            restore();
            return Err(error);
        }
        let previous_hook = Arc::new(panic::take_hook());
        let messages = Arc::default();
        panic::set_hook(hook(&previous_hook, &messages));
        Ok(Screen { terminal, previous_hook, messages })
    }

    pub(super) fn terminal(&mut self) -> &mut Terminal<CrosstermBackend<Stdout>> {
        &mut self.terminal
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        // A panicking thread must not change the hook. The one that stays prints as the previous one.
        if !thread::panicking() {
            let previous = Arc::clone(&self.previous_hook);
            panic::set_hook(Box::new(move |info| previous(info)));
        }
        for message in self.messages.lock().drain(..) {
            eprintln!("{message}");
        }
    }
}

/// A hook that restores the terminal before it reports a panic of the thread that shows the page, and keeps the messages of others.
fn hook(previous: &Arc<Hook>, messages: &Arc<Mutex<Vec<String>>>) -> Hook {
    let (previous, messages, own) = (Arc::clone(previous), Arc::clone(messages), thread::current().id());
    Box::new(move |info| {
        if thread::current().id() == own {
            restore();
            previous(info);
        } else {
            let mut messages = messages.lock();
            if messages.len() == MESSAGES {
                messages.remove(0);
            }
            messages.push(format!("{}: {info}", thread::current().name().unwrap_or("a thread")));
        }
    })
}

/// Leaves the second screen. Errors are ignored: there is nowhere to report them.
fn restore() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_panic_is_shown_on_the_restored_terminal() {
        let own = std::env::current_exe().unwrap();
        let ignored = "--ignored --exact --nocapture terminal::screen::tests::panics";
        let command = format!("{} {ignored}", own.display());
        // `script` runs it on a terminal of its own.
        let mut script = Command::new("timeout");
        script.args(["60", "script", "--quiet", "--return", "--flush", "--command", &command, "/dev/null"]);
        let output = script.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (enter, leave) = (text.find("\x1b[?1049h").unwrap(), text.find("\x1b[?1049l").unwrap());
        assert!(!output.status.success() && enter < leave, "{text:?}");
        for message in ["on another thread", "on its own thread"] {
            assert!(text.rfind(message) > Some(leave), "{message} in {text:?}");
        }
        assert!(!text[..leave].contains("on another thread"), "{text:?}");
    }

    #[test]
    #[ignore = "panics: the other test runs it"]
    fn panics() {
        let _screen = Screen::enter().unwrap();
        assert!(thread::spawn(|| panic!("on another thread")).join().is_err());
        panic!("on its own thread");
    }
}
