//! A directory for what is needed only while a command runs.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A directory that goes away with this.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new directory for `command`, for nobody but the user.
    ///
    /// # Errors
    /// When the system's directory of temporary files cannot be written.
    pub(crate) fn new(command: &str) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut number = 0_u32;
        loop {
            let name = format!("bellwether-{command}-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a process of the same number, or planted.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1_000 => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
