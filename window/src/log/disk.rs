//! What the log does to the disk, as a trait, so that tests can let each step fail.

use std::{
    fmt::Debug,
    fs::{File, OpenOptions},
    io::{self, IoSlice, Write},
    path::Path,
};

/// Every change that the log makes. Reading goes to the file system directly.
pub(super) trait Disk: Debug + Send {
    /// Creates a file for writing that must not exist yet.
    fn create(&mut self, path: &Path) -> io::Result<File>;
    /// Gives a file another name.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name and opens it, to be written over from its beginning.
    fn reuse(&mut self, from: &Path, to: &Path) -> io::Result<File>;
    /// Writes some bytes behind those that were written last, at least one; says how many.
    fn write(&mut self, path: &Path, file: &mut File, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Makes the file's contents and length durable.
    fn sync(&mut self, path: &Path, file: &File) -> io::Result<()>;
    /// Cuts the file.
    fn cut(&mut self, path: &Path, file: &File, len: u64) -> io::Result<()>;
    /// Deletes the file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Makes creations, deletions and new names in the directory durable.
    fn sync_dir(&mut self, dir: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&mut self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // What was received may be confidential.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn reuse(&mut self, from: &Path, to: &Path) -> io::Result<File> {
        self.rename(from, to)?;
        OpenOptions::new().write(true).open(to)
    }

    fn write(&mut self, _: &Path, file: &mut File, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        file.write_vectored(parts)
    }

    fn sync(&mut self, _: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn cut(&mut self, _: &Path, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        // Elsewhere a directory cannot be opened, and need not be.
        if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
    }
}
