//! Passes results of a stage on to the next.
//!
//! Whichever thread ends a task or makes room runs [`forward`], one at a time for a stage; others leave a note that it is to look again.

use std::time::Duration;

use super::stage::{End, Position};
use super::stats::Waited;
use crate::sync::Mutex;
use crate::sync::user_code::catch_user_panic;

/// What a stage has for the next one.
pub(super) trait Results {
    type Output;
    /// Says which of them is being passed on.
    type Place: Copy;

    fn turn(&mut self) -> &mut Turn;
    /// The result that is to go on next, or the end.
    fn step(&mut self) -> Step<Self::Place, Self::Output>;
    /// The next stage has taken it.
    fn passed(&mut self, place: Self::Place);
    /// The next stage has no room for it.
    fn put_back(&mut self, place: Self::Place, output: Self::Output);
}

/// What to do next for the results.
pub(super) enum Step<P, U> {
    Put(P, U),
    End(End),
    Nothing,
}

/// Whose turn it is to pass results on, and until when.
#[derive(Default)]
pub(super) struct Turn {
    /// Nothing is passed on any more.
    pub(super) is_over: bool,
    is_taken: bool,
    looks_again: bool,
    blocked: Waited,
}

impl Turn {
    /// Whether nobody passes results on, and the next stage is not to say when it has room.
    pub(super) fn is_free(&self) -> bool {
        !self.is_over && !self.is_taken && !self.blocked.is_waiting()
    }

    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.blocked.end();
    }

    /// How long results have waited for room.
    pub(super) fn blocked(&self) -> Duration {
        self.blocked.total()
    }
}

/// Passes on what is to go on, while the next stage has room.
pub(super) fn forward<S: Results>(state: &Mutex<S>, position: &Position<S::Output>) {
    let mut held = state.lock();
    held.turn().looks_again = true;
    if held.turn().is_taken {
        return;
    }
    held.turn().is_taken = true;
    while std::mem::take(&mut held.turn().looks_again) {
        let step = if held.turn().is_over { Step::Nothing } else { held.step() };
        match step {
            Step::Nothing => {}
            Step::End(end) => {
                held.turn().end();
                drop(held);
                position.next.end(end);
                held = state.lock();
            }
            Step::Put(place, output) => {
                drop(held);
                let put = position.next.put(output);
                held = state.lock();
                match put {
                    Ok(()) => {
                        held.turn().blocked.end();
                        held.turn().looks_again = true;
                        held.passed(place);
                        drop(held);
                        if let Some(before) = position.before() {
                            before.forward();
                        }
                        held = state.lock();
                    }
                    // The next stage calls this again when it has room.
                    Err(output) if !held.turn().is_over => {
                        held.turn().blocked.begin();
                        held.put_back(place, output);
                    }
                    Err(output) => {
                        drop(held);
                        catch_user_panic(|| drop(output));
                        held = state.lock();
                    }
                }
            }
        }
    }
    held.turn().is_taken = false;
}
