//! `ignore`: no pool, but a walk through directories on several threads, which start with the walk. So it is in that scenario only. Here it
//! ignores nothing.

use ignore::{DirEntry, WalkBuilder, WalkState};

use super::{Class, Entry};
use crate::scenarios::walk::{Found, Sum, WORKERS, walks};
use crate::scenarios::{Ask, Row};

pub fn entry() -> Entry {
    Entry {
        name: "ignore".into(),
        class: Class::Rival,
        cannot: |_| None,
        only: Some("walk"),
        closures: walk,
        bound: None,
        forks: None,
    }
}

/// The counts of one thread, which it adds to the others' when it ends.
struct Counts<'a> {
    found: Found,
    sum: &'a Sum,
}

impl Counts<'_> {
    fn visit(&mut self, entry: &DirEntry) {
        let kind = entry.file_type().expect("the entry has a type");
        if kind.is_dir() {
            self.found.dirs += 1;
        } else if kind.is_file() {
            self.found.files += 1;
            self.found.bytes += entry.metadata().expect("the file has a size").len();
        }
    }
}

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.sum.add(self.found);
    }
}

fn walk(ask: Ask) -> Row {
    let sum = Sum::default();
    walks(ask, |root, _| {
        WalkBuilder::new(root).standard_filters(false).threads(WORKERS).build_parallel().run(|| {
            let mut counts = Counts { found: Found::default(), sum: &sum };
            Box::new(move |entry| {
                counts.visit(&entry.expect("the directory can be read"));
                WalkState::Continue
            })
        });
        sum.take()
    })
}
