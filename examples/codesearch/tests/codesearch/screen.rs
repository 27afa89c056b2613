//! What it prints beside the matches, and how much of these.

use std::fs;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::ptr::null_mut;

use crate::matches::grep;
use crate::support::{LIMIT, within};
use crate::{Tree, codesearch, output, text};

#[test]
fn exit_code_and_summary() {
    let tree = Tree::new();
    let file = tree.file("file", "TODO and TODO\nnothing\nTODO\n");
    tree.file("binary", b"TODO\0");
    tree.file("other", "12345");

    let found = output(codesearch().arg("TODO").arg(&tree.0));
    assert_eq!(found.status.code(), Some(0));
    let stderr = text(&found.stderr);
    assert!(stderr.contains("2 files, 32 bytes, 2 matches, 0 unreadable, 1 binary skipped"), "{stderr}");
    assert!(stderr.contains("3 submitted: 3 completed, 0 panicked"), "{stderr}");
    assert!(stderr.contains(" MB/s"), "{stderr}");
    assert!(!stderr.contains("/binary"), "only named if asked to: {stderr}");

    let found = output(codesearch().args(["-v", "TODO"]).arg(&tree.0));
    assert!(text(&found.stderr).contains("/binary: binary, skipped"), "{}", text(&found.stderr));

    let found = output(codesearch().args(["--count", "TODO"]).arg(&file));
    assert_eq!((found.status.code(), &*text(&found.stdout)), (Some(0), ""));
    assert!(text(&found.stderr).contains("1 files, 27 bytes, 2 matches"), "{}", text(&found.stderr));

    let found = output(codesearch().arg("FIXME").arg(&tree.0));
    assert_eq!((found.status.code(), &*text(&found.stdout)), (Some(1), ""));
}

/// Without `--all` the output fits a screen: the first lines, each cut, and how many more there are.
#[test]
fn prints_the_first_lines_and_counts_the_rest() {
    let tree = Tree::new();
    let long = format!("TODO \u{e9}{}", "y".repeat(300_000));
    let first = tree.file("first", format!("TODO\n{long}\n").repeat(8));
    let second = tree.file("second", "TODO\n".repeat(100));
    let paths = [&first, &second];

    let found = output(codesearch().arg("TODO").args(paths));
    let (stdout, stderr) = (text(&found.stdout), text(&found.stderr));
    let all = text(&output(codesearch().args(["--all", "TODO"]).args(paths)).stdout);
    assert_eq!((all.lines().count(), stdout.lines().count()), (116, 20), "{stdout}");
    for (line, whole) in stdout.lines().zip(all.lines()) {
        match line.strip_suffix("...") {
            Some(start) => assert!(start.chars().count() == 100 && whole.starts_with(start), "{line}"),
            None => assert_eq!(line, whole),
        }
    }
    assert_eq!(stdout.lines().filter(|line| line.ends_with("...")).count(), 8, "{stdout}");
    assert!(stderr.contains("... and 96 more; --all prints every line, whole\n"), "{stderr}");
    assert!(stderr.contains("2 files, "), "{stderr}");
    assert!(stderr.contains(" 116 matches, "), "{stderr}");
    assert!(stdout.lines().chain(stderr.lines()).count() <= 40, "{stdout}{stderr}");

    // Nothing is left out of few short lines.
    let few = tree.file("few", "TODO\n".repeat(20));
    let found = output(codesearch().arg("TODO").arg(&few));
    assert_eq!(text(&found.stdout), text(&grep("TODO", &[few]).stdout));
    assert!(!text(&found.stderr).contains("more"), "{}", text(&found.stderr));
}

/// A terminal shows how many files have been searched, and a file or a pipe does not.
#[test]
fn progress_is_for_a_terminal() {
    let tree = Tree::new();
    let file = tree.file("file", "TODO\n");
    let found = output(codesearch().arg("TODO").arg(&file));
    assert!(!text(&found.stderr).contains('\r'), "{}", text(&found.stderr));

    let (mut ours, theirs) = terminal();
    // The command has a copy of the other side, which must be gone for the end to be read.
    let found = output(codesearch().arg("TODO").arg(&file).stderr(theirs));
    assert_eq!(text(&found.stdout), format!("{}:1:TODO\n", file.display()));
    let shown = within(LIMIT, "reading the terminal", move || {
        let mut shown = Vec::new();
        // Linux ends with an error when the other side is closed.
        let _ = ours.read_to_end(&mut shown);
        text(&shown)
    });
    assert!(shown.starts_with("1 files, 1 matches "), "{shown:?}");
    // The summary is written over it.
    let (progress, summary) = shown.split_once("\r1 files, 5 bytes").expect("a summary at the start of a line");
    assert!(progress.ends_with(&" ".repeat(40)), "{shown:?}");
    assert!(summary.contains("1 matches"), "{shown:?}");
}

/// The two sides of a pseudo-terminal; what a program writes to the second is read from the first.
fn terminal() -> (fs::File, fs::File) {
    let (mut ours, mut theirs) = (0, 0);
    // SAFETY: the call writes two descriptors, which nothing else owns, and reads nothing through the null pointers.
    unsafe {
        assert_eq!(libc::openpty(&mut ours, &mut theirs, null_mut(), null_mut(), null_mut()), 0);
        (fs::File::from_raw_fd(ours), fs::File::from_raw_fd(theirs))
    }
}

/// Without paths it searches the dependencies' sources, or says that there are none and searches where it is.
#[test]
fn without_paths() {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
    let (_, entry) = lock.split_once("name = \"walkdir\"\nversion = \"").unwrap();
    let (version, _) = entry.split_once('"').unwrap();
    let tree = Tree::new();
    let run = |options: &[&str]| {
        let found = output(codesearch().args(options).env("CARGO_HOME", tree.path("home")).current_dir(&tree.0));
        (text(&found.stdout), text(&found.stderr))
    };

    tree.file("here.rs", "unsafe impl Send for Here {}\n");
    let (stdout, stderr) = run(&[]);
    assert_eq!(stdout, "./here.rs:1:unsafe impl Send for Here {}\n", "{stderr}");
    assert!(stderr.contains("no sources of dependencies"), "{stderr}");

    let source =
        tree.file(format!("home/registry/src/any/walkdir-{version}/lib.rs"), "unsafe impl Send for There {}\n");
    tree.file("home/registry/src/any/walkdir-0.0.0/lib.rs", "unsafe impl Send for Old {}\n");
    let (stdout, stderr) = run(&[]);
    assert_eq!(stdout, format!("walkdir-{version}/lib.rs:1:unsafe impl Send for There {{}}\n"), "{stderr}");
    assert!(stderr.contains("the sources of 1 dependencies"), "{stderr}");
    let (stdout, _) = run(&["--all"]);
    assert_eq!(stdout, format!("{}:1:unsafe impl Send for There {{}}\n", source.display()), "with the whole path");
}
