//! Bad arguments, files that cannot be read, and an output that is closed.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;

use crate::support::{LIMIT, within};
use crate::{Tree, codesearch, output, search, text};

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
    let mut child = codesearch().args(["--all", "--workers=2", "--queue=1", "TODO"]).arg(&tree.0).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with(":1:TODO\n"), "{line}");
    // Its reader was dropped in the line above.
    let ended = within(LIMIT, "codesearch with a closed output", move || child.wait_with_output().unwrap());
    assert_eq!((ended.status.code(), &*text(&ended.stderr)), (Some(0), ""));
}
