//! Its matches against those of grep.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::{Tree, codesearch, output, text};

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
pub(crate) fn grep(pattern: &str, paths: &[PathBuf]) -> Output {
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
                let found = output(codesearch().arg("--all").args(setup).arg(pattern).args(paths));
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
    let found = output(codesearch().args(["--all", "--workers=4", "TODO"]).args(&files));
    assert_eq!(text(&found.stdout), text(&grep("TODO", &files).stdout));
}
