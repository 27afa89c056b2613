//! Ctrl-C while a file is being searched.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Output};

use crate::support::{LIMIT, within};
use crate::{Tree, codesearch, text};

/// A search held up by a pipe: the only worker reads it, files behind it wait, and the walk waits at the full pool.
struct HeldUp {
    tree: Tree,
    child: Child,
    pipe: fs::File,
}

const BEHIND: usize = 40;

impl HeldUp {
    fn new() -> Self {
        let tree = Tree::new();
        let pipe = tree.pipe("pipe");
        for n in 0..BEHIND {
            tree.file(format!("behind/{n}"), "TODO\n");
        }
        let mut command = codesearch();
        command.args(["--all", "--workers=1", "--queue=4", "TODO"]).arg(&pipe).arg(tree.path("behind"));
        let child = command.spawn().unwrap();
        // Opening a pipe waits for the other side: when this returns the worker has begun.
        let pipe = within(LIMIT, "open", move || OpenOptions::new().write(true).open(pipe).unwrap());
        HeldUp { tree, child, pipe }
    }

    /// Sends Ctrl-C, and waits until it has been handled.
    fn interrupt(&mut self) {
        self.kill();
        let stderr = self.child.stderr.take().unwrap();
        let (line, stderr) = within(LIMIT, "taking the interrupt in", move || {
            let mut stderr = stderr;
            let mut line = Vec::new();
            // Byte by byte, so that what follows is left for others to read.
            while !line.ends_with(b"\n") {
                let mut byte = [0];
                stderr.read_exact(&mut byte).expect("a line about the interrupt");
                line.push(byte[0]);
            }
            (text(&line), stderr)
        });
        assert!(line.contains("interrupted"), "{line}");
        self.child.stderr = Some(stderr);
    }

    fn kill(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }

    /// Lets the worker have its file, and waits for the end.
    fn release(mut self) -> (Tree, Output) {
        self.pipe.write_all(b"no\nTODO in the pipe\n").unwrap();
        drop(self.pipe);
        let child = self.child;
        (self.tree, within(LIMIT, "the end", move || child.wait_with_output().unwrap()))
    }
}

#[test]
fn reads_a_pipe_that_is_named() {
    let (tree, ended) = HeldUp::new().release();
    let lines = text(&ended.stdout);
    assert_eq!(lines.lines().next(), Some(&*format!("{}:2:TODO in the pipe", tree.path("pipe").display())));
    assert_eq!((lines.lines().count(), ended.status.code()), (1 + BEHIND, Some(0)), "{lines}");
}

#[test]
fn interrupted_it_finishes_what_is_begun_and_begins_nothing() {
    let mut held = HeldUp::new();
    held.interrupt();
    let (tree, ended) = held.release();
    let stderr = text(&ended.stderr);
    assert_eq!(text(&ended.stdout), format!("{}:2:TODO in the pipe\n", tree.path("pipe").display()), "{stderr}");
    assert_eq!(ended.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("1 files, 20 bytes, 1 matches, 0 unreadable"), "{stderr}");
    assert!(stderr.contains(": 1 completed, 0 panicked, "), "{stderr}");
}

#[test]
fn interrupted_twice_it_ends_at_once() {
    let mut held = HeldUp::new();
    held.interrupt();
    held.kill();
    let HeldUp { tree: _tree, child, pipe } = held;
    let ended = within(LIMIT, "the second interrupt", move || child.wait_with_output().unwrap());
    drop(pipe);
    assert_eq!((ended.status.code(), &*text(&ended.stdout)), (Some(130), ""));
}
