//! The example `codesearch`, run as its users run it: its matches against those of grep, every kind of bad input, a
//! closed pipe, Ctrl-C.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers, too

mod support;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use support::{LIMIT, within};

/// The example's binary: next to the directory of this test's own. Cargo builds it with the tests, except where it was
/// asked for this one test only.
fn binary() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let binary = profile.join("examples").join("codesearch");
    if !binary.exists() {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["build", "--example", "codesearch"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
    }
    binary
}

fn codesearch() -> Command {
    let mut command = Command::new(binary());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(command: &mut Command) -> Output {
    let child = command.spawn().unwrap();
    within(LIMIT, "codesearch", move || child.wait_with_output().unwrap())
}

fn search<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    output(codesearch().args(arguments))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory that is deleted when the test is over.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("formicary-codesearch-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Tree(path)
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tree with everything in it that could make two searchers disagree.
fn crooked_tree() -> Tree {
    let tree = Tree::new();
    tree.file("plain.rs", "fn a() {}\nunsafe impl Send for A {}\n\n// TODO: TODO twice\nlast x");
    tree.file("crossing.rs", "unsafe\nimpl A {}\nx unsafe\timpl B {}\nunsafe\n\n  impl\nunsafe impl C {}\n");
    tree.file("deep/er/file.txt", "TODO\r\nunsafe  impl\r\nx\r\n\r\n");
    tree.file("latin1.txt", b"caf\xe9 unsafe impl \xff\nTODO \xe9\n\xe9");
    tree.file("empty", "");
    tree.file("newlines", "\n\n\n");
    tree.file("no newline", "TODO: x");
    tree.file("ignored/.gitignore", "*\n");
    tree.file("ignored/.ignore", "*\n");
    tree.file("ignored/file", "TODO: ignored by git\n");
    tree.file(".git/HEAD", "TODO: hidden\n");
    tree.file(".hidden/.file", "unsafe impl Hidden\nTODO\n");
    tree.file("binary", b"TODO\0unsafe impl\nTODO\n");
    tree.file("long", [b"y".repeat(300_000), b"TODO\nx\n".to_vec()].concat());
    tree.file("-dash", "TODO: dash\n");
    tree.pipe("a pipe without a writer");
    symlink("plain.rs", tree.path("link to a file")).unwrap();
    symlink("deep", tree.path("link to a directory")).unwrap();
    symlink("nowhere", tree.path("link to nothing")).unwrap();
    symlink("..", tree.path("deep/loop")).unwrap();
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        tree.file(std::ffi::OsStr::from_bytes(b"caf\xe9.rs"), "TODO: a name that is not UTF-8\n");
    }
    tree
}

fn sorted_lines(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<_> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(|line| line.escape_ascii().to_string()).collect();
    lines.sort();
    lines
}

/// The output of `grep` for `paths`. In the C locale it takes every file without a NUL for text.
fn grep(pattern: &str, paths: &[PathBuf]) -> Output {
    let mut grep = Command::new("grep");
    grep.args(["-rnEHI", "-e", pattern]).args(paths).env("LC_ALL", "C").stdin(Stdio::null());
    output(grep.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

#[test]
fn finds_what_grep_finds() {
    let tree = crooked_tree();
    let patterns = [
        r"\bunsafe\s+impl\b",
        "unsafe[^;]impl",
        "TODO|FIXME",
        "^TODO",
        "x$",
        "^$",
        "^x?$",
        "y*",
        "[[:space:]]+",
        "(T|F)O{1,2}DO?",
    ];
    let setups: [&[&str]; 4] =
        [&[], &["--workers=1", "--queue=0"], &["--workers=4", "--queue=1"], &["--workers=2", "--compile-per-file"]];
    let named = ["link to a file", "link to a directory", "plain.rs", "binary"].map(|name| tree.path(name));
    for paths in [&[tree.0.clone()][..], &named] {
        for pattern in patterns {
            let expected = grep(pattern, paths);
            assert_eq!(expected.status.code(), Some(0), "grep finds {pattern}: {}", text(&expected.stderr));
            for setup in setups {
                let found = output(codesearch().args(setup).arg(pattern).args(paths));
                assert_eq!(sorted_lines(&found.stdout), sorted_lines(&expected.stdout), "{pattern} {setup:?}");
                assert_eq!(found.status.code(), Some(0), "{pattern} {setup:?}: {}", text(&found.stderr));
            }
        }
    }
}

/// The comparison above means something only if the tree's traps have lines to be found or missed.
#[test]
fn the_tree_has_its_traps() {
    let tree = crooked_tree();
    let found = text(&grep("TODO|unsafe.*impl", std::slice::from_ref(&tree.0)).stdout);
    for trap in ["/.git/HEAD:1", "/.hidden/.file:2", "/ignored/file:1", "/latin1.txt:1", "/crossing.rs:3", "/long:1"] {
        assert!(found.contains(trap), "{trap} is not in\n{found}");
    }
    for skipped in ["link to", "/loop/", "/binary:"] {
        assert!(!found.contains(skipped), "{skipped} is in\n{found}");
    }
}

#[test]
fn matches_of_a_file_stay_together_and_files_in_the_order_given() {
    let tree = Tree::new();
    let files: Vec<_> = (0..50).map(|n| tree.file(format!("{n}"), "TODO one\nno\nTODO two\n".repeat(50 - n))).collect();
    let found = output(codesearch().args(["--workers=4", "TODO"]).args(&files));
    assert_eq!(text(&found.stdout), text(&grep("TODO", &files).stdout));
}

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
    assert!(stderr.contains("submitted 3 completed 3 panicked 0"), "{stderr}");
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

#[test]
fn refuses_bad_arguments() {
    let tree = Tree::new();
    let here = tree.0.to_str().unwrap();
    let missing = format!("{here}/missing");
    let cases: [(&[&str], &[&str]); 6] = [
        (&["TODO", here, &missing], &["/missing: no such file or directory"]),
        (&["a(b", here], &["a(b\n     ^", "unclosed group"]),
        (&["--workers=0", "TODO", here], &["workers is 0"]),
        (&["--workers=99999999999", "TODO", here], &["workers is 99999999999"]),
        (&["--queue=-1", "TODO", here], &["--queue"]),
        (&["--unheard-of"], &["--unheard-of"]),
    ];
    for (arguments, messages) in cases {
        let refused = search(arguments);
        let stderr = text(&refused.stderr);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{arguments:?}: {stderr}");
        for message in messages {
            assert!(stderr.contains(message), "{arguments:?}: {message:?} is not in {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

/// A socket cannot be opened as a file, not even by the superuser.
#[test]
fn goes_on_after_what_it_cannot_read() {
    let tree = Tree::new();
    let socket = tree.path("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let file = tree.file("file", "TODO\n");
    for verbose in [false, true] {
        let found = output(codesearch().args(verbose.then_some("-v")).arg("TODO").args([&socket, &file]));
        let stderr = text(&found.stderr);
        assert_eq!(found.status.code(), Some(2), "as grep: {stderr}");
        assert_eq!(text(&found.stdout), format!("{}:1:TODO\n", file.display()));
        assert!(stderr.contains("1 files, 5 bytes, 1 matches, 1 unreadable"), "{stderr}");
        assert_eq!(stderr.contains("/socket: "), verbose, "{stderr}");
    }
}

#[test]
fn ends_quietly_when_its_output_is_closed() {
    let tree = Tree::new();
    // Much more than a pipe holds, so that writing cannot have ended before the reader has gone.
    for n in 0..20 {
        tree.file(format!("{n}"), "TODO\n".repeat(10_000));
    }
    let mut child = codesearch().args(["--workers=2", "--queue=1", "TODO"]).arg(&tree.0).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with(":1:TODO\n"), "{line}");
    // Its reader was dropped in the line above.
    let ended = within(LIMIT, "codesearch with a closed output", move || child.wait_with_output().unwrap());
    assert_eq!((ended.status.code(), &*text(&ended.stderr)), (Some(0), ""));
}

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
        command.args(["--workers=1", "--queue=4", "TODO"]).arg(&pipe).arg(tree.path("behind"));
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
    assert!(stderr.contains(" completed 1 panicked 0 "), "{stderr}");
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

/// Without paths it searches the dependencies' sources, or says that there are none and searches where it is.
#[test]
fn without_paths() {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let (_, entry) = lock.split_once("name = \"num_cpus\"\nversion = \"").unwrap();
    let (version, _) = entry.split_once('"').unwrap();
    let tree = Tree::new();
    let run = || {
        let found = output(codesearch().env("CARGO_HOME", tree.path("home")).current_dir(&tree.0));
        (text(&found.stdout), text(&found.stderr))
    };

    tree.file("here.rs", "unsafe impl Send for Here {}\n");
    let (stdout, stderr) = run();
    assert_eq!(stdout, "./here.rs:1:unsafe impl Send for Here {}\n", "{stderr}");
    assert!(stderr.contains("no sources of dependencies"), "{stderr}");

    let source =
        tree.file(format!("home/registry/src/any/num_cpus-{version}/lib.rs"), "unsafe impl Send for There {}\n");
    tree.file("home/registry/src/any/num_cpus-0.0.0/lib.rs", "unsafe impl Send for Old {}\n");
    let (stdout, stderr) = run();
    assert_eq!(stdout, format!("{}:1:unsafe impl Send for There {{}}\n", source.display()), "{stderr}");
    assert!(stderr.contains("the sources of 1 dependencies"), "{stderr}");
}
