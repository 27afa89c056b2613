//! The program on a folder of images: their order, what is broken, what was made before, and an end in the middle of the work.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Cursor, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use image::{ImageFormat, RgbImage};

/// Turns a hang into a failure.
const LIMIT: Duration = Duration::from_secs(60);

fn within<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = channel();
    thread::spawn(move || sender.send(body()));
    done.recv_timeout(LIMIT).expect("in time, and without a panic")
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::new(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A folder that is deleted when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("formicary-thumbnails-test-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), content).unwrap();
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thumbnails"));
        command.arg(&self.0).args(["--size=10", "--workers=1"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn run(&self) -> (Vec<String>, i32) {
        ended(self.start())
    }

    /// The names in the folder of thumbnails.
    fn made(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("thumbnails")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Starts the program, whose only worker has made `a.png` and holds `b.png`, which is a pipe; `c.png` to `j.png` are behind it.
    fn start_held(&self) -> (Child, File) {
        for name in 'a'..='j' {
            self.put(&format!("{name}.png"), png(20, 40));
        }
        let pipe = self.0.join("b.png");
        fs::remove_file(&pipe).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let program = self.start();
        // Opening a pipe waits for the other side: when this returns the worker has begun.
        (program, within(move || OpenOptions::new().write(true).open(pipe).unwrap()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ended(program: Child) -> (Vec<String>, i32) {
    let Output { status, stdout, .. } = within(move || program.wait_with_output().unwrap());
    let lines = String::from_utf8(stdout).unwrap().lines().map(str::to_owned).collect();
    (lines, status.code().unwrap_or(-1))
}

/// Sends Ctrl-C, and waits until the program says that it has been handled.
fn interrupt(program: &mut Child) {
    // SAFETY: no memory is involved, and the process has not been waited for, so the number is its own.
    assert_eq!(unsafe { libc::kill(program.id() as i32, libc::SIGINT) }, 0);
    let stderr = program.stderr.take().unwrap();
    let line = within(move || BufReader::new(stderr).lines().next().unwrap().unwrap());
    assert_eq!(line, "interrupted, finishing the images that are begun");
}

#[test]
fn the_results_are_in_order_and_a_broken_image_fails_alone() {
    let folder = Folder::new();
    folder.put("b.png", png(30, 10));
    folder.put("a.PNG", png(20, 40));
    folder.put("c.png", "no image");
    folder.put("d.png", png(5, 5));
    folder.put("text", "is left out");
    let (lines, code) = folder.run();
    assert_eq!(lines[..2], ["a.PNG: 20x40 to 5x10", "b.png: 30x10 to 10x3"]);
    assert!(lines[2].starts_with("c.png: "), "{lines:?}");
    assert_eq!(lines[4], "3 made, 0 there before, 1 failed, 0 left");
    assert_eq!((code, folder.made()), (1, ["a.PNG", "b.png", "d.png"].map(str::to_owned).to_vec()));
}

#[test]
fn what_was_made_is_left_alone_unless_its_image_is_newer() {
    let folder = Folder::new();
    folder.put("a.png", png(20, 40));
    folder.put("b.png", png(20, 40));
    assert_eq!(folder.run().0.last().unwrap(), "2 made, 0 there before, 0 failed, 0 left");
    let old = Command::new("touch").args(["-t", "200001010000"]).arg(folder.0.join("thumbnails/b.png")).status();
    assert!(old.unwrap().success());
    let (lines, code) = folder.run();
    assert_eq!(lines, ["a.png: is there", "b.png: 20x40 to 5x10", "1 made, 1 there before, 0 failed, 0 left"]);
    assert_eq!(code, 0);
}

#[test]
fn ctrl_c_finishes_what_is_begun_and_the_next_run_goes_on() {
    let folder = Folder::new();
    let (mut program, mut pipe) = folder.start_held();
    interrupt(&mut program);
    pipe.write_all(&png(20, 40)).unwrap();
    drop(pipe);
    let (lines, code) = ended(program);
    assert_eq!(lines, ["a.png: 20x40 to 5x10", "b.png: 20x40 to 5x10", "2 made, 0 there before, 0 failed, 8 left"]);
    assert_eq!((code, folder.made()), (130, vec!["a.png".to_owned(), "b.png".to_owned()]));

    let (lines, code) = folder.run();
    assert_eq!(lines.last().unwrap(), "8 made, 2 there before, 0 failed, 0 left");
    assert_eq!((code, folder.made().len()), (0, 10));
}

#[test]
fn killed_in_the_middle_it_leaves_nothing_half_made() {
    let folder = Folder::new();
    let (mut program, pipe) = folder.start_held();
    program.kill().unwrap();
    program.wait().unwrap();
    drop(pipe);
    assert_eq!(folder.made(), ["a.png"]);
    folder.put("thumbnails/c.png.part", "of another end");
    fs::remove_file(folder.0.join("b.png")).unwrap();
    folder.put("b.png", png(20, 40));
    assert_eq!(folder.run().0.last().unwrap(), "9 made, 1 there before, 0 failed, 0 left");
    assert_eq!(folder.made().len(), 10);
}
