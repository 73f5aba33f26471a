//! Room on the disk that is kept for what must be written when there is none left.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Enough for thousands of transitions and notifications in the ledger.
const BYTES: usize = 8 << 20;
/// Written at a time.
const STEP: usize = 64 << 10;

/// A file of zeros that is deleted when the disk is full.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    is_full: bool,
}

impl Reserve {
    /// The reserve in `directory`, not filled yet.
    pub(super) fn at(directory: &Path) -> Self {
        Self { path: directory.join("reserve"), is_full: false }
    }

    /// Takes its room, and proves thereby that the disk can be written.
    ///
    /// # Errors
    /// When there is not enough, or the disk fails; it is empty then.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.is_full {
            return Ok(());
        }
        let filled = self.write();
        match &filled {
            Ok(()) => self.is_full = true,
            Err(_) => self.release(),
        }
        filled
    }

    fn write(&self) -> io::Result<()> {
        if std::fs::metadata(&self.path).is_ok_and(|found| found.len() == BYTES as u64) {
            return Ok(());
        }
        let mut file = File::create(&self.path)?;
        let zeros = [0; STEP];
        for _ in 0..BYTES / STEP {
            file.write_all(&zeros)?;
        }
        file.sync_all()
    }

    /// Gives its room back.
    pub(super) fn release(&mut self) {
        self.is_full = false;
        // It may be gone already; otherwise the next failure tries again.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_room_gives_it_back_and_takes_it_again() {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let path = directory.path().join("reserve");
        let mut reserve = Reserve::at(directory.path());
        for _ in 0..2 {
            reserve.fill().expect("there is room");
            assert_eq!(std::fs::metadata(&path).expect("is there").len(), BYTES as u64);
            reserve.release();
            assert!(!path.exists());
        }
        let mut nowhere = Reserve::at(&directory.path().join("missing"));
        assert!(nowhere.fill().is_err());
    }
}
