//! Where the fuzzers begin: a few small requests that hold every kind of data.

use std::{fs, io, path::Path};

use crate::{
    build::{self, Payload},
    json_of,
};

/// An hour into the year 2020: the same seeds at any time.
const TIME: u64 = 1_577_840_400_000_000_000;

/// Writes the seeds to a folder for each target under `directory`.
///
/// # Errors
/// When a folder or a file cannot be written.
pub fn write(directory: &Path) -> io::Result<()> {
    for (target, payload) in ["metrics", "traces", "logs"].into_iter().zip(build::varied("seed", TIME)) {
        save(directory, target, "varied", &payload.protobuf())?;
        save(directory, "json", &format!("{target}.json"), json_of::of(&payload).to_string().as_bytes())?;
        // For the second half of that target, which begins with protobuf.
        save(directory, "json", &format!("{target}.pb"), &payload.protobuf())?;
        save(directory, target, "small", &small(target).protobuf())?;
    }
    Ok(())
}

fn small(target: &str) -> Payload {
    match target {
        "metrics" => build::metrics("a", vec![build::gauge("g", vec![build::point(TIME, 1.0, &[("k", "v")])])]),
        "traces" => build::traces("a", vec![build::a_span("s", TIME, TIME + 1)]),
        _ => build::logs("a", vec![build::record(TIME, "b")]),
    }
}

fn save(directory: &Path, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = directory.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}
