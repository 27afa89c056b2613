//! The terminal page on a real pseudo-terminal, which `script` makes: it is restored whatever ends the page.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use support::eventually;

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// `script`, which is killed if the test fails.
struct Terminal(Child);

impl Terminal {
    fn run(command: &str) -> Terminal {
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", command, "/dev/null"]).env("TERM", "xterm");
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        Terminal(script.spawn().expect("script is part of bsdutils"))
    }

    /// Sends the keys when the page is shown, and returns the whole output and whether the program succeeded.
    fn finish(mut self, keys: &str) -> (String, bool) {
        let mut output = self.0.stdout.take().unwrap();
        let mut input = self.0.stdin.take().unwrap();
        let keys = keys.to_owned();
        let reader = thread::spawn(move || {
            let (mut seen, mut buffer, mut is_sent) = (Vec::new(), [0; 4096], false);
            loop {
                match output.read(&mut buffer) {
                    Ok(length) if length > 0 => seen.extend_from_slice(&buffer[..length]),
                    _ => return String::from_utf8_lossy(&seen).into_owned(),
                }
                if !is_sent && String::from_utf8_lossy(&seen).contains("formicary-top") {
                    is_sent = true;
                    input.write_all(keys.as_bytes()).unwrap();
                }
            }
        });
        let status = eventually("the end of the program", || self.0.try_wait().unwrap());
        (reader.join().unwrap(), status.success())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn is_restored(output: &str) {
    let (enter, leave) = (output.find(ENTER), output.rfind(LEAVE));
    assert!(enter.is_some() && leave > enter, "{output:?}");
}

fn program(options: &str) -> String {
    format!("{} {options}", env!("CARGO_BIN_EXE_formicary-top"))
}

#[test]
fn it_ends_with_the_time() {
    let (output, success) = Terminal::run(&program("--seconds 1")).finish("");
    is_restored(&output);
    assert!(success && output.contains("thumbnails"), "{output:?}");
}

#[test]
fn keys_end_it() {
    for key in ["q", "\x03"] {
        let (output, success) = Terminal::run(&program("--seconds 600")).finish(key);
        is_restored(&output);
        assert!(success, "{output:?}");
    }
}

#[test]
fn a_signal_ends_it() {
    // The shell waits for its child and ends as that one does.
    let command = format!("{} & p=$!; sleep 1; kill -INT $p; wait $p", program("--seconds 600 <&1"));
    let (output, _) = Terminal::run(&format!("bash -c '{command}'")).finish("");
    is_restored(&output);
}
