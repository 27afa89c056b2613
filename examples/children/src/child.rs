//! The child: answers each line of its input with a line.

use std::io::{self, BufRead, Write};
use std::str::Chars;
use std::thread;

/// What tells the program that it is a child. Not for users.
pub(crate) const ARGUMENT: &str = "child";

/// Ends with the input, and so with the parent.
pub(crate) fn run() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for document in io::stdin().lock().lines() {
        writeln!(out, "{}", depth(&mut document?.chars()))?;
        out.flush()?;
    }
    Ok(())
}

/// How deep lists are nested, up to the end of one. The work that nobody trusts: it is recursive, so a document can overflow the stack, and
/// it has a fault, so one can make it hang.
fn depth(document: &mut Chars<'_>) -> usize {
    let mut deepest = 0;
    loop {
        match document.next() {
            Some('(') => deepest = deepest.max(1 + depth(document)),
            Some(')') | None => return deepest,
            Some('@') => thread::park(), // and again, whatever wakes it
            Some(_) => continue,
        }
    }
}
