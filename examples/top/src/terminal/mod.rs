//! The terminal page.

mod app;
mod screen;
mod view;

use std::io;
use std::time::{Duration, Instant};

use formicary::CancelToken;
use formicary::observe::registry;
use ratatui::crossterm::event::{self, Event};

use self::app::{App, Command};
use self::screen::Screen;
use crate::action::apply;
use crate::sampler::Sampler;

/// The time between two snapshots.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a cancelled token may go unnoticed.
const CHECK: Duration = Duration::from_millis(50);

/// Shows the page on the terminal that stdout is, until the user quits with `q` or Ctrl-C, or the token is cancelled. Blocks the calling
/// thread.
///
/// The terminal is restored at the end, also if the calling thread panics. Messages of panics on other threads, which would write over the
/// page, are printed to stderr at the end; the last 16 are kept.
///
/// ```no_run
/// formicary_top::terminal::run(&formicary::CancelToken::new())?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The terminal's, if it cannot be read or written or is no terminal.
pub fn run(stop: &CancelToken) -> io::Result<()> {
    let mut screen = Screen::enter()?;
    let mut app = App::default();
    let mut sampler = Sampler::new();
    let mut next = Instant::now();
    while !stop.is_cancelled() {
        let now = Instant::now();
        if now >= next {
            app.update(sampler.sample(&registry().pools(), now));
            next = now + INTERVAL;
            screen.terminal().draw(|frame| view::draw(frame, &app))?;
        }
        if !event::poll(next.saturating_duration_since(Instant::now()).min(CHECK))? {
            continue;
        }
        // The release of a key and a change of size need no action: the next snapshot is drawn in the new size.
        let Event::Key(key) = event::read()? else { continue };
        match app.key(key) {
            Some(Command::Quit) => return Ok(()),
            Some(Command::Act(pool, action)) => app.show_error(apply(pool, action).err()),
            None => {}
        }
        screen.terminal().draw(|frame| view::draw(frame, &app))?;
    }
    Ok(())
}
