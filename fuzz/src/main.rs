//! The place of the fuzz targets. There are none yet: this only shows that the crate builds from here.

fn main() -> Result<(), formicary::BuildError> {
    let pool = formicary::Pool::new(1)?;
    assert!(pool.shutdown().is_complete());
    Ok(())
}
