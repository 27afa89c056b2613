//! The worker: the state that one thread keeps from file to file, and the search in a file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use formicary::{Context, Worker};
use regex::bytes::{Regex, RegexBuilder};

/// A buffer that a large file has enlarged is shrunk to this size.
const KEPT: usize = 8 << 20;

/// What all searchers share.
pub(crate) struct Plan {
    pub(crate) pattern: String,
    /// How many lines of a file are kept, at most. All are counted.
    pub(crate) limit: Option<usize>,
    /// Directories that are left out of the printed paths of the files in them.
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) compile_per_file: bool,
}

/// The state of one worker. It has a regex of its own: threads that share one also share the pool of scratch space that every search takes
/// from.
pub(crate) struct Searcher {
    regex: Regex,
    buffer: Vec<u8>,
    plan: Arc<Plan>,
}

/// A file that was searched.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) content: io::Result<Content>,
}

/// The content of a file. `lines` is ready to be printed.
pub(crate) enum Content {
    Binary,
    Text { bytes: usize, matches: u64, lines: Vec<u8> },
}

impl Worker for Searcher {
    type Input = PathBuf;
    type Output = Found;

    fn process(&mut self, path: PathBuf, _cx: &Context<'_>) -> Found {
        let content = self.search(&path);
        Found { path, content }
    }

    fn ready(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
    }
}

impl Searcher {
    /// Compiles the pattern. `^` and `$` mean the ends of a line, as they do for grep.
    pub(crate) fn new(plan: Arc<Plan>) -> Result<Self, regex::Error> {
        let regex = RegexBuilder::new(&plan.pattern).multi_line(true).build()?;
        Ok(Searcher { regex, buffer: Vec::new(), plan })
    }

    fn search(&mut self, path: &Path) -> io::Result<Content> {
        if self.plan.compile_per_file {
            *self = Searcher::new(Arc::clone(&self.plan)).map_err(io::Error::other)?;
        }
        File::open(path)?.read_to_end(&mut self.buffer)?;
        if self.buffer.contains(&0) {
            return Ok(Content::Binary);
        }
        let (mut matches, mut lines) = (0, Vec::new());
        let shown = self.plan.hidden.iter().find_map(|directory| path.strip_prefix(directory).ok()).unwrap_or(path);
        for_each_match(&self.regex, &self.buffer, |number, line| {
            if self.plan.limit.is_none_or(|limit| matches < limit) {
                print(&mut lines, shown, number, line);
            }
            matches += 1;
        });
        Ok(Content::Text { bytes: self.buffer.len(), matches: matches as u64, lines })
    }
}

/// Appends `path:number:line` as bytes: neither names nor lines need be UTF-8.
fn print(lines: &mut Vec<u8>, path: &Path, number: usize, line: &[u8]) {
    lines.extend_from_slice(path.as_os_str().as_encoded_bytes());
    // Writing to memory does not fail.
    let _ = write!(lines, ":{number}:");
    lines.extend_from_slice(line);
    lines.push(b'\n');
}

/// Calls `hit` with the number and the text of each line in which `regex` is found.
///
/// One search over the whole text is much faster than one for each line. It finds the same lines, except that a pattern like `a\s+b` can
/// match across the end of a line, which says nothing about either line. From there on, each line is searched alone.
fn for_each_match(regex: &Regex, text: &[u8], mut hit: impl FnMut(usize, &[u8])) {
    let (mut from, mut number) = (0, 1); // where a line begins, and which
    while from < text.len() {
        let Some(found) = regex.find_at(text, from) else { return };
        let before = &text[from..found.start()];
        let start = before.iter().rposition(is_newline).map_or(from, |at| from + at + 1);
        let length = text[start..].iter().position(is_newline).unwrap_or(text.len() - start);
        number += text[from..start].iter().filter(|byte| is_newline(byte)).count();
        if start + length < found.end() {
            return for_each_line(regex, &text[start..], number, hit);
        }
        // An empty match can be behind the last newline, where there is no line.
        if start < text.len() {
            hit(number, &text[start..start + length]);
        }
        from = start + length + 1;
        number += 1;
    }
}

fn for_each_line(regex: &Regex, text: &[u8], first: usize, mut hit: impl FnMut(usize, &[u8])) {
    for (number, line) in (first..).zip(text.split_inclusive(is_newline)) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if regex.is_match(line) {
            hit(number, line);
        }
    }
}

fn is_newline(byte: &u8) -> bool {
    *byte == b'\n'
}
