//! One image: read, made smaller, written.

use std::fs;
use std::io;
use std::path::Path;

use formicary::CancelToken;
use image::{ImageError, ImageReader, RgbImage};

pub(crate) type Size = (u32, u32);

/// What became of an image that is not broken.
pub(crate) enum Made {
    New {
        from: Size,
        to: Size,
    },
    /// It was made before.
    There,
    /// The program is to end.
    Stopped,
}

/// Makes a thumbnail in `out`, with the name of the image. Neither side has more than `size` pixels, and the proportions stay.
///
/// A step cannot be interrupted. Between two of them the token is looked at.
pub(crate) fn make(file: &Path, out: &Path, size: u32, stop: &CancelToken) -> Result<Made, ImageError> {
    let name = file.file_name().unwrap_or_default();
    let target = out.join(name);
    if is_there(file, &target)? {
        return Ok(Made::There);
    }
    let read = fs::read(file)?;
    if stop.is_cancelled() {
        return Ok(Made::Stopped);
    }
    // By what it is and not by its name.
    let reader = ImageReader::new(io::Cursor::new(read)).with_guessed_format()?;
    let format = reader.format();
    let large = reader.decode()?;
    if stop.is_cancelled() {
        return Ok(Made::Stopped);
    }
    let small = large.thumbnail(size, size);
    // It has its name only when it is complete, whatever ends the program meanwhile. Each image has a file of its own.
    let mut part = name.to_owned();
    part.push(".part");
    let part = out.join(part);
    let mut written = Vec::new();
    small.write_to(&mut io::Cursor::new(&mut written), format.unwrap_or(image::ImageFormat::Png))?;
    fs::write(&part, written)?;
    fs::rename(&part, &target)?;
    let size = |image: &image::DynamicImage| (image.width(), image.height());
    Ok(Made::New { from: size(&large), to: size(&small) })
}

/// Whether the thumbnail is no older than the image.
fn is_there(file: &Path, target: &Path) -> io::Result<bool> {
    let changed = fs::metadata(file)?.modified()?;
    match fs::metadata(target) {
        Ok(made) => Ok(made.modified()? >= changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The size of an image, without decoding it.
pub(crate) fn size(file: &Path) -> Result<Size, ImageError> {
    ImageReader::open(file)?.with_guessed_format()?.into_dimensions()
}

/// Makes images to try this with: waves of 320 x 240 pixels, as PNG and JPEG in turn.
pub(crate) fn make_some(folder: &Path, count: usize) -> Result<(), ImageError> {
    for n in 0..count {
        let wave = |x: u32, phase: usize| (x as usize * (n + 1) / 4 + phase) as u8;
        let image = RgbImage::from_fn(320, 240, |x, y| image::Rgb([wave(x, 0), wave(y, 85), wave(x + y, 170)]));
        image.save(folder.join(format!("{n:03}.{}", if n % 2 == 0 { "png" } else { "jpg" })))?;
    }
    Ok(())
}
