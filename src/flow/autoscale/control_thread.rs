//! The thread on which autoscalers take their turns: all of the process, one after the other.
//!
//! A turn calls controllers and handlers of the program, and a change of size may start workers, so it must not run on the timer thread. The
//! thread is started when a turn is due, and ends when none is.

use std::collections::VecDeque;
use std::sync::Weak;
use std::thread::Builder;

use parking_lot::Mutex;

use crate::sync::user_code::catch_user_panic;

/// What takes turns.
pub(super) trait Turn: Send + Sync {
    fn turn(&self);
    /// The system refused the thread.
    fn skip(&self);
}

struct Due {
    turns: VecDeque<Weak<dyn Turn>>,
    /// The process in which the thread runs: a child of `fork` does not have it.
    thread_of: Option<u32>,
}

// With a real lock in models too: loom's cannot be in a static.
static DUE: Mutex<Due> = Mutex::new(Due { turns: VecDeque::new(), thread_of: None });

/// Has the thread take this turn. Does not wait for it.
pub(super) fn take_turn(turn: Weak<dyn Turn>) {
    let process = std::process::id();
    let mut due = DUE.lock();
    due.turns.push_back(turn);
    if due.thread_of == Some(process) {
        return;
    }
    due.thread_of = Some(process);
    drop(due);
    if Builder::new().name("formicary-tuner".into()).spawn(run).is_err() {
        let mut due = DUE.lock();
        due.thread_of = None;
        let skipped = std::mem::take(&mut due.turns);
        drop(due);
        each(skipped, |turn| turn.skip());
    }
}

fn run() {
    loop {
        let mut due = DUE.lock();
        let turns = std::mem::take(&mut due.turns);
        if turns.is_empty() {
            due.thread_of = None;
            return;
        }
        drop(due);
        each(turns, |turn| turn.turn());
    }
}

fn each(turns: VecDeque<Weak<dyn Turn>>, f: impl Fn(&dyn Turn)) {
    for turn in turns.iter().filter_map(Weak::upgrade) {
        // A part that is not the program's code panics only by a fault of the crate; the others' turns must come all the same. This may also
        // be the last reference, and drop the controller and the handler.
        catch_user_panic(|| f(&*turn));
        catch_user_panic(|| drop(turn));
    }
}
