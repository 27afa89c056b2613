//! Compresses a file on all processors: a pool compresses chunks, which are written in order as members of one `.gz`.
//!
//! `cargo run --release -p ordered -- [INPUT] [--out OUTPUT] [--workers N]`. Without an input it makes one of some MB from the sources of
//! `formicary`. The output is read back and compared.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use formicary::Pool;
use lexopt::{Arg, Parser, ValueExt};

/// Large enough that the compression loses little at the borders.
const CHUNK: usize = 256 * 1024;

#[derive(Default)]
struct Args {
    /// What to compress; some MB of sources unless given.
    input: Option<PathBuf>,
    /// Where to; a file in the temporary directory unless given.
    out: Option<PathBuf>,
    /// How many threads compress; one for each processor unless given.
    workers: Option<usize>,
}

/// Parses the arguments of the process.
fn arguments() -> Result<Args, lexopt::Error> {
    let mut parser = Parser::from_env();
    let mut args = Args::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("out") => args.out = Some(parser.value()?.into()),
            Arg::Long("workers") => args.workers = Some(parser.value()?.parse()?),
            Arg::Value(input) if args.input.is_none() => args.input = Some(input.into()),
            other => return Err(other.unexpected()),
        }
    }
    Ok(args)
}

/// The chunks of a reader, each of the full size but the last.
fn chunks(mut input: impl Read) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    std::iter::from_fn(move || {
        let mut chunk = Vec::with_capacity(CHUNK);
        match input.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
            Ok(0) => None,
            Ok(_) => Some(Ok(chunk)),
            Err(error) => Some(Err(error)),
        }
    })
}

/// One gzip member. Members one after the other are a gzip file.
fn compress(chunk: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(chunk.len() / 2), Compression::default());
    encoder.write_all(chunk)?;
    encoder.finish()
}

/// Reads and writes on the calling thread, and compresses on the workers. At most a window of chunks is in memory.
fn compress_file(pool: &Pool, input: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let mut output = BufWriter::new(File::create(output)?);
    for member in pool.map(chunks(File::open(input)?), |chunk| compress(&chunk?)) {
        output.write_all(&member?)?;
    }
    output.flush()?;
    Ok(())
}

/// Whether the compressed file holds exactly the input.
fn verify(input: &Path, output: &Path) -> Result<bool, Box<dyn Error>> {
    let original = chunks(File::open(input)?);
    let unpacked = chunks(MultiGzDecoder::new(BufReader::new(File::open(output)?)));
    let (original, unpacked) = (original.collect::<io::Result<Vec<_>>>()?, unpacked.collect::<io::Result<Vec<_>>>()?);
    Ok(original == unpacked)
}

/// The sources of `formicary`, over and over.
fn make_input(path: &Path) -> io::Result<()> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../src"))? {
        let path = entry?.path();
        if path.is_file() {
            sources.extend(std::fs::read(path)?);
        }
    }
    let mut file = BufWriter::new(File::create(path)?);
    for _ in 0..16_000_000 / sources.len().max(1) {
        file.write_all(&sources)?;
    }
    file.flush()
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = arguments()?;
    let scratch = std::env::temp_dir().join(format!("formicary-ordered-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let made = scratch.join("input");
    if args.input.is_none() {
        make_input(&made)?;
    }
    let input = args.input.as_deref().unwrap_or(&made);
    let output = args.out.clone().unwrap_or_else(|| scratch.join("output.gz"));

    let builder = Pool::builder().thread_name("gzip");
    let pool = match args.workers {
        Some(workers) => builder.workers(workers).build()?,
        None => builder.build()?,
    };
    let start = Instant::now();
    compress_file(&pool, input, &output)?;
    let elapsed = start.elapsed();
    let (before, after) = (std::fs::metadata(input)?.len(), std::fs::metadata(&output)?.len());
    println!("{before} bytes to {after} in {elapsed:.2?} on {} workers", pool.capacity());

    let is_same = verify(input, &output)?;
    std::fs::remove_dir_all(&scratch)?;
    if !is_same {
        return Err("the output does not decompress to the input".into());
    }
    println!("decompressed to the same bytes");
    Ok(())
}
