//! The terminal page on a real pseudo-terminal, which `script` makes: it is restored whatever ends the page.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use support::eventually;

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// `script`, which is killed if the test fails.
struct Terminal(Child);

/// What is done when the page is shown.
type Act = fn(keys: &mut ChildStdin, process: &str);

impl Terminal {
    fn run(options: &str) -> Terminal {
        let program = env!("CARGO_BIN_EXE_formicary-top");
        // Where nothing tells of the end of the terminal, as with `nohup`, the page has to find out.
        let command = format!("trap '' HUP; stty rows 30 cols 100; echo process=$$; exec {program} {options}");
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"]).env("TERM", "xterm");
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        Terminal(script.spawn().expect("script is part of bsdutils"))
    }

    /// Acts when the page is shown. Returns the whole output, and whether the program succeeded.
    fn finish(mut self, act: Act) -> (String, bool) {
        let mut output = self.0.stdout.take().unwrap();
        let mut keys = self.0.stdin.take().unwrap();
        let reader = thread::spawn(move || {
            let (mut seen, mut buffer, mut has_acted) = (String::new(), [0; 4096], false);
            loop {
                match output.read(&mut buffer) {
                    Ok(length) if length > 0 => seen += &String::from_utf8_lossy(&buffer[..length]),
                    _ => return seen,
                }
                if !has_acted && seen.contains("thumbnails") {
                    has_acted = true;
                    let process = seen.split_once("process=").unwrap().1.lines().next().unwrap();
                    act(&mut keys, process);
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

#[test]
fn it_ends_with_the_time() {
    let (output, success) = Terminal::run("--seconds 1").finish(|_, _| ());
    is_restored(&output);
    assert!(success && output.contains("thumbnails"), "{output:?}");
}

#[test]
fn keys_end_it() {
    let acts: [Act; 2] = [|keys, _| keys.write_all(b"q").unwrap(), |keys, _| keys.write_all(b"\x03").unwrap()];
    for act in acts {
        let (output, success) = Terminal::run("--seconds 600").finish(act);
        is_restored(&output);
        assert!(success, "{output:?}");
    }
}

#[test]
fn a_signal_ends_it() {
    let (output, success) = Terminal::run("--seconds 600").finish(|_, process| {
        let killed = Command::new("kill").args(["-INT", process]).status().unwrap();
        assert!(killed.success());
    });
    is_restored(&output);
    assert!(success, "{output:?}");
}

/// A terminal that goes away ends the page, with an error, however it is read.
#[test]
fn it_ends_with_the_terminal() {
    let (sender, process) = std::sync::mpsc::channel();
    let mut terminal = Terminal::run("--seconds 600");
    let mut output = terminal.0.stdout.take().unwrap();
    let _keys = terminal.0.stdin.take();
    let reader = thread::spawn(move || {
        let (mut seen, mut buffer) = (String::new(), [0; 4096]);
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            seen += &String::from_utf8_lossy(&buffer[..length]);
            if seen.contains("thumbnails") {
                let process = seen.split_once("process=").unwrap().1.lines().next().unwrap().trim().to_owned();
                drop(sender.send(process));
                return;
            }
        }
    });
    let process = process.recv_timeout(support::LIMIT).unwrap();
    reader.join().unwrap();
    drop(terminal); // kills `script`, which has the other end
    eventually("the end of the program", || {
        (!std::path::Path::new(&format!("/proc/{process}")).exists()).then_some(())
    });
}
