//! Sealed chunks on disk: Arrow IPC files, written at checkpoints by the pipeline's keeper thread and
//! read at start.
//!
//! A checkpoint writes one file a table, with all rows sealed since the checkpoint before. It counts
//! only when the caller has written its number into its own state: files of a checkpoint that does
//! not count are removed, since the log still has their rows. Small files are merged, eight to one.
//! File names say which checkpoints a file covers, so that a merged file and its parts can lie side
//! by side after a crash; there is no list of files that could contradict the directory.
//!
//! Names, columns and sizes: `window/README.md`.

mod check;
mod ipc;
mod map;
mod name;
mod numbers;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

pub use self::check::{check, peek};
use self::{
    ipc::PartSize,
    name::{EXTENSION, FileName, Table},
};
use crate::{Tables, UnixNanos};

/// How many neighbouring files of like size become one.
const FAN_IN: usize = 8;
/// Files with more rows, or more bytes, than these together are not merged.
const MERGE_ROWS: u64 = 1 << 22;
const MERGE_BYTES: u64 = 32 << 20;
/// One file of a checkpoint. A service that takes more between two checkpoints has no time to merge it, and most of
/// it is let go soon. A full head of spans or logs is a file of its own.
const PART: PartSize = PartSize { rows: 1 << 20, bytes: 8 << 20 };
/// A file that others are merged to.
const WHOLE: PartSize = PartSize { rows: usize::MAX, bytes: usize::MAX };
/// Two neighbours with fewer rows than these together are merged at once: what a file takes beside its
/// rows would be most of it.
const SMALL_ROWS: u64 = 1 << 13;
/// Extension of files that are being written.
const UNFINISHED: &str = "tmp";
/// What [`Damage::set_aside`] appends to a name.
const DAMAGED: &str = "damaged";

/// The chunk files of one window: a directory that nobody else writes to.
#[derive(Debug)]
pub struct ChunkFiles {
    dir: PathBuf,
    files: Vec<ChunkFile>,
    /// The greatest checkpoint that counts.
    counted: u64,
    /// The greatest checkpoint of which there was a file at the start.
    last: u64,
    /// The checkpoint that is written and does not count yet.
    pending: Option<u64>,
    /// Rows at or before this time are not merged further.
    floor: UnixNanos,
}

#[derive(Clone, Copy, Debug)]
struct ChunkFile {
    name: FileName,
    bytes: u64,
}

/// A file that is not what its name says. It stays where it is and is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Damage {
    fn new(path: PathBuf, reason: impl Into<String>) -> Self {
        Self { path, reason: reason.into() }
    }

    /// Gives the file a name under which it is not looked at any more, and returns that name.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".");
        aside.push(DAMAGED);
        fs::rename(&self.path, &aside)?;
        Ok(aside.into())
    }
}

impl ChunkFiles {
    /// The files in `dir`, which is made when it is not there. Remains of interrupted writes are
    /// removed. Files are only listed; [`Self::load`] reads them.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<(Self, Vec<Damage>)> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        let (mut files, mut damages) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let path = entry.path();
            let extension = path.extension().and_then(|e| e.to_str());
            match (extension, entry.file_name().to_str().and_then(FileName::parse)) {
                (Some(UNFINISHED), _) => fs::remove_file(&path)?,
                (_, Some(name)) => files.push(ChunkFile { name, bytes: entry.metadata()?.len() }),
                (Some(EXTENSION), None) => damages.push(Damage::new(path, "not the name of a chunk file")),
                _ => {}
            }
        }
        let last = files.iter().map(|f| f.name.last).max().unwrap_or(0);
        Ok((Self { dir, files, counted: 0, last, pending: None, floor: UnixNanos::MIN }, damages))
    }

    /// Reads the rows of all checkpoints up to `checkpoint`, the one that the caller's state names; 0
    /// when it names none. A file of the checkpoint after it is removed, since its checkpoint was not
    /// finished. Damaged files are reported and left out.
    ///
    /// # Errors
    /// When a file cannot be removed. A file that cannot be read is a [`Damage`].
    pub fn load(&mut self, checkpoint: u64) -> io::Result<(Tables, Vec<Damage>)> {
        self.counted = checkpoint;
        self.last = self.last.max(checkpoint);
        self.remove(|f| f.first == checkpoint + 1)?;
        let (mut tables, mut damages) = (Tables::default(), Vec::new());
        // Those that cover most come first, so that parts of a whole merged file are not read.
        self.files.sort_by_key(|f| (f.name.table, f.name.first, std::cmp::Reverse(f.name.last), f.name.part));
        let mut whole: Vec<FileName> = Vec::new();
        let mut merged: Vec<FileName> = Vec::new();
        for file in &self.files {
            let path = self.dir.join(file.name.to_string());
            if file.name.last > checkpoint {
                damages.push(Damage::new(path, format!("newer than the state, which is of checkpoint {checkpoint}")));
            } else if whole.iter().any(|w| w.replaces(&file.name)) {
                merged.push(file.name);
            } else {
                match read(&path, file.name, &mut tables) {
                    Ok(()) => whole.push(file.name),
                    Err(reason) => damages.push(Damage::new(path, reason)),
                }
            }
        }
        self.remove(|f| merged.contains(f))?;
        self.files.retain(|f| whole.contains(&f.name));
        Ok((tables, damages))
    }

    /// Writes all rows of `tables` as the next checkpoint and returns its number, which is never 0. It
    /// counts after [`Self::commit`]; until then, writing again replaces it.
    ///
    /// # Errors
    /// When the disk refuses. Nothing has changed then, and the same rows may be written again.
    pub fn write(&mut self, tables: &Tables) -> io::Result<u64> {
        if let Some(pending) = self.pending {
            self.remove(|f| f.first == pending)?;
        }
        let checkpoint = self.last.max(self.counted) + 1;
        self.pending = Some(checkpoint);
        for table in Table::ALL {
            let mut part = 0;
            let written = ipc::encode(table, tables, PART, &mut |file| {
                part += 1;
                self.put(table, (checkpoint, checkpoint), part - 1, &file)
            });
            if let Err(error) = written {
                // What is left is removed by the next write, or at the next start.
                let _ = self.remove(|f| f.first == checkpoint);
                return Err(error);
            }
        }
        sync_dir(&self.dir)?;
        Ok(checkpoint)
    }

    /// Says that the caller's state names `checkpoint` and is on disk. Files without a row after
    /// `floor`, that state's [`crate::WindowState::floor`], are removed.
    ///
    /// # Errors
    /// When a file cannot be removed; it will be tried again.
    pub fn commit(&mut self, checkpoint: u64, floor: UnixNanos) -> io::Result<()> {
        self.counted = checkpoint;
        self.pending = None;
        self.floor = self.floor.max(floor);
        // Exemplars are counted from the newest on, so that they leave from the oldest on only.
        let kept = |f: &&ChunkFile| f.name.table == Table::Exemplars && f.name.newest > floor;
        let exemplars = self.files.iter().filter(kept).map(|f| f.name.first).min().unwrap_or(u64::MAX);
        self.remove(|f| f.newest <= floor && (f.table != Table::Exemplars || f.last < exemplars))
    }

    /// Merges one run of small files into one, where there is one; `false` when there is none left.
    /// To be called after [`Self::commit`] until there is none.
    ///
    /// # Errors
    /// When a file cannot be read, or the disk refuses. All rows are still there then.
    pub fn merge(&mut self) -> io::Result<bool> {
        for table in Table::ALL {
            let Some(run) = self.run_of(table) else { continue };
            let mut rows = Tables::default();
            for file in &run {
                let path = self.dir.join(file.name.to_string());
                read(&path, file.name, &mut rows).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))?;
            }
            rows.cut(self.floor);
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let mut parts = Vec::new();
            ipc::encode(table, &rows, WHOLE, &mut |part| {
                parts.push(part);
                Ok(())
            })?;
            let [merged] = &parts[..] else { continue };
            self.put(table, (first.name.first, last.name.last), 0, merged)?;
            sync_dir(&self.dir)?;
            self.remove(|f| run.iter().any(|part| part.name == *f))?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }

    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Neighbouring files that count and should be one: [`FAN_IN`] of them, none of a greater size class
    /// than the last, or two small ones.
    fn run_of(&self, table: Table) -> Option<Vec<ChunkFile>> {
        let class = |f: &ChunkFile| f.name.rows.max(1).ilog(FAN_IN as u64);
        let mut files: Vec<ChunkFile> =
            self.files.iter().filter(|f| f.name.table == table && f.name.last <= self.counted).copied().collect();
        files.sort_by_key(|f| (f.name.first, f.name.part));
        // The parts of one checkpoint stay what they are: a merged file has no parts.
        let whole = |f: &ChunkFile| files.iter().filter(|other| other.name.first == f.name.first).count() == 1;
        let rows = |run: &[ChunkFile]| run.iter().map(|f| f.name.rows).sum::<u64>();
        let bytes = |run: &[ChunkFile]| run.iter().map(|f| f.bytes).sum::<u64>();
        let alike = |run: &&[ChunkFile]| {
            let greatest = run.last().map_or(0, class);
            rows(run) <= MERGE_ROWS && bytes(run) <= MERGE_BYTES && run.iter().all(|f| whole(f) && class(f) <= greatest)
        };
        let small = |run: &&[ChunkFile]| rows(run) <= SMALL_ROWS && bytes(run) <= MERGE_BYTES && run.iter().all(whole);
        let run = files.windows(2).rfind(small).or_else(|| files.windows(FAN_IN).rfind(alike));
        run.map(<[_]>::to_vec)
    }

    /// Writes a file under its final name. The directory is not synced.
    fn put(&mut self, table: Table, checkpoints: (u64, u64), part: u64, file: &ipc::Encoded) -> io::Result<()> {
        let name = FileName {
            table,
            first: checkpoints.0,
            last: checkpoints.1,
            part,
            newest: file.newest,
            rows: file.rows as u64,
            checksum: map::checksum(&file.bytes),
        };
        let path = self.dir.join(name.to_string());
        let unfinished = path.with_extension(UNFINISHED);
        let written = write_synced(&unfinished, &file.bytes).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            // The error that is told is the first one.
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        self.files.push(ChunkFile { name, bytes: file.bytes.len() as u64 });
        Ok(())
    }

    /// Removes the files for which `gone` holds.
    fn remove(&mut self, gone: impl Fn(&FileName) -> bool) -> io::Result<()> {
        let mut left = Vec::with_capacity(self.files.len());
        let mut failed = None;
        for file in std::mem::take(&mut self.files) {
            let removed = gone(&file.name).then(|| fs::remove_file(self.dir.join(file.name.to_string())));
            match removed {
                None => left.push(file),
                Some(Ok(())) => {}
                Some(Err(e)) if e.kind() == io::ErrorKind::NotFound => {}
                Some(Err(e)) => {
                    left.push(file);
                    failed = Some(e);
                }
            }
        }
        self.files = left;
        failed.map_or(Ok(()), Err)
    }
}

/// Appends the rows of a file to `tables`, or says what is wrong with it.
fn read(path: &Path, name: FileName, tables: &mut Tables) -> Result<(), String> {
    let bytes = map::map(path).map_err(|e| e.to_string())?;
    // Only bytes that were written here are given to Arrow.
    if map::checksum(&bytes) != name.checksum {
        return Err("the bytes are not those that were written".to_owned());
    }
    ipc::decode(name.table, &bytes, tables)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[path = "files/tests.rs"]
mod tests;
