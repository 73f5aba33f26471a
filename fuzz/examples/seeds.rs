//! Writes the seeds of the fuzz targets anew: `cargo run --example seeds` in this folder.

use std::{io, path::Path};

fn main() -> io::Result<()> {
    bellwether_fuzz::seeds::write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"))
}
