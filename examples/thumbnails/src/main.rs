//! Makes the images of a folder smaller, on all processors.
//!
//! `cargo run -p thumbnails` makes some images, makes them smaller, and looks whether it has. With a folder, it takes the PNG and JPEG
//! files in it:
//!
//! ```sh
//! cargo run --release -p thumbnails -- FOLDER [--out FOLDER] [--size PIXELS] [--workers N]
//! ```
//!
//! - The results are printed in the order of the files' names, whichever is done first. On a terminal there is a bar of the progress.
//! - It goes on where it was interrupted: what has been made and is no older than its image is left alone. A thumbnail has its name only
//!   when it is complete.
//! - Ctrl-C finishes the images that are begun and begins no more. The second one stops those, too.

mod images;

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use formicary::Pool;
use images::Made;
use indicatif::{ProgressBar, ProgressStyle};
use lexopt::{Arg, Parser, ValueExt};

type Failure = Box<dyn Error + Send + Sync>;

struct Args {
    folder: Option<PathBuf>,
    /// `thumbnails` in the folder unless given.
    out: Option<PathBuf>,
    /// The most that a side may have.
    size: u32,
    workers: Option<usize>,
}

fn arguments() -> Result<Args, lexopt::Error> {
    let mut args = Args { folder: None, out: None, size: 128, workers: None };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("out") => args.out = Some(parser.value()?.into()),
            Arg::Long("size") => args.size = parser.value()?.parse()?,
            Arg::Long("workers") => args.workers = Some(parser.value()?.parse()?),
            Arg::Value(folder) if args.folder.is_none() => args.folder = Some(folder.into()),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(args)
}

/// The images of a folder, by name.
fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<Result<Vec<_>, _>>()?;
    let is_image = |extension: &OsStr| ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    files.retain(|file| file.extension().is_some_and(is_image));
    files.sort();
    Ok(files)
}

/// What became of the images.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    made: usize,
    there: usize,
    failed: usize,
    left: usize,
}

fn main() -> Result<ExitCode, Failure> {
    let args = arguments()?;
    let Some(folder) = &args.folder else { return demonstrate(&args) };
    let counts = make_smaller(folder, &args)?;
    Ok(match counts {
        Counts { left: 1.., .. } => ExitCode::from(130),
        Counts { failed: 1.., .. } => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn make_smaller(folder: &Path, args: &Args) -> Result<Counts, Failure> {
    let files = list(folder)?;
    let out = args.out.clone().unwrap_or_else(|| folder.join("thumbnails"));
    fs::create_dir_all(&out)?;
    let builder = Pool::builder().name("thumbnails");
    let pool = if let Some(workers) = args.workers { builder.workers(workers) } else { builder }.build()?;
    // Nothing is drawn unless it is a terminal.
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {eta} left")?;
    let bar = ProgressBar::new(files.len() as u64).with_style(style);
    let ending = formicary::shutdown_on_signal()?;
    let beside = bar.clone();
    ending.add_step(move || beside.suspend(|| eprintln!("interrupted, finishing the images that are begun")));
    ending.add(&pool);

    let mut counts = Counts::default();
    let (begun, stop, size) = (ending.drain_token().clone(), ending.cancel_token().clone(), args.size);
    let names = files.iter().map(|file| file.file_name().unwrap_or_default().to_string_lossy());
    let work = files.iter().cloned().map(move |file| (file, out.clone()));
    // In order, and with no more images on the way than the pool needs.
    let results = pool.map(work, move |(file, out)| {
        // The pool runs what it has accepted; it is not begun yet.
        if begun.is_cancelled() { Ok(Made::Stopped) } else { images::make(&file, &out, size, &stop) }
    });
    for (name, result) in names.zip(results.results()) {
        let line = match result {
            Ok(Ok(Made::New { from, to })) => {
                counts.made += 1;
                format!("{name}: {}x{} to {}x{}", from.0, from.1, to.0, to.1)
            }
            Ok(Ok(Made::There)) => {
                counts.there += 1;
                format!("{name}: is there")
            }
            Ok(Ok(Made::Stopped)) => {
                counts.left += 1;
                continue;
            }
            Err(refused) if refused.is_closed() || refused.is_cancelled() => {
                counts.left += 1;
                continue;
            }
            Ok(Err(error)) => {
                counts.failed += 1;
                format!("{name}: {error}")
            }
            // A decoder that panics fails one image.
            Err(error) => {
                counts.failed += 1;
                format!("{name}: {error}")
            }
        };
        bar.suspend(|| println!("{line}"));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Counts { made, there, failed, left } = counts;
    println!("{made} made, {there} there before, {failed} failed, {left} left");
    Ok(counts)
}

/// Makes images of its own, and thumbnails of them; and once more, with nothing to do.
fn demonstrate(args: &Args) -> Result<ExitCode, Failure> {
    const IMAGES: usize = 12;
    let folder = std::env::temp_dir().join(format!("formicary-thumbnails-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    images::make_some(&folder, IMAGES)?;
    let counts = make_smaller(&folder, args);
    let sizes = list(&folder.join("thumbnails"))?.iter().map(|file| images::size(file)).collect::<Result<Vec<_>, _>>();
    fs::remove_dir_all(&folder)?;
    let is_right = counts? == Counts { made: IMAGES, ..Counts::default() } && sizes? == [(128, 96); IMAGES];
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
