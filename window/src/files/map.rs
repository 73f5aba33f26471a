//! Files as memory, and their checksum.

use std::{fs::File, io, path::Path};

use memmap2::Mmap;

/// The bytes of a chunk file.
#[expect(unsafe_code, reason = "mapping a file is unsafe where others may change it; see the comment inside")]
pub(super) fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: a chunk file is written under another name and renamed when it is whole; nobody writes to
    // it or cuts it afterwards, it is only removed, which leaves the mapping as it is. The data
    // directory belongs to one process, which holds its lock.
    unsafe { Mmap::map(&file) }
}

/// What a file's name says of its bytes.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
