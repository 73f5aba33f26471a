//! The files of a history: which there are, which of them are meant, and which must go.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use super::{
    Filter,
    file::{self, FileError, FileRows, UNFINISHED},
    merge::Source,
    name::{FileName, partition},
};
use crate::{Resolution, UnixNanos};

const UNKNOWN: u8 = 0;
/// Its bytes are those that were written.
const SOUND: u8 = 1;
const DAMAGED: u8 = 2;

/// A file that may be read for as long as somebody holds it, even when it is no longer wanted.
#[derive(Debug)]
pub(super) struct StoredFile {
    pub(super) name: FileName,
    pub(super) bytes: u64,
    path: PathBuf,
    is_doomed: AtomicBool,
    /// Whether it may be read only, since it is somebody else's.
    is_borrowed: bool,
    /// [`UNKNOWN`], [`SOUND`] or [`DAMAGED`].
    state: AtomicU8,
    damaged: Arc<AtomicU64>,
}

impl StoredFile {
    fn new(directory: &Path, name: FileName, bytes: u64, files: &Files) -> Self {
        Self {
            name,
            bytes,
            path: directory.join(name.text()),
            is_doomed: AtomicBool::new(false),
            is_borrowed: files.are_borrowed,
            state: AtomicU8::new(UNKNOWN),
            damaged: Arc::clone(&files.damaged),
        }
    }

    /// Its rows; `None` when it is damaged, which is reported once.
    pub(super) fn rows<'f>(self: &Arc<Self>, filter: Filter<'f>, span: (UnixNanos, UnixNanos)) -> Option<Source<'f>> {
        if self.is_damaged() {
            return None;
        }
        if self.state.load(Ordering::Acquire) == UNKNOWN {
            match file::verify(&self.path, self.name.hash) {
                Ok(()) => self.state.store(SOUND, Ordering::Release),
                Err(error) => {
                    self.report(&error);
                    return None;
                }
            }
        }
        match FileRows::open(&self.path, filter, span) {
            Ok(rows) => Some(Source::File(Arc::clone(self), Box::new(rows))),
            Err(error) => {
                self.report(&error);
                None
            }
        }
    }

    /// Says what is wrong with it, once; it is not read again.
    pub(super) fn report(&self, error: &FileError) {
        if self.state.swap(DAMAGED, Ordering::AcqRel) == DAMAGED {
            return;
        }
        self.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(path = %self.path.display(), %error, "a file of the history is damaged; it is left out");
    }

    /// Whether it was found to be damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.state.load(Ordering::Acquire) == DAMAGED
    }

    /// Deletes it as soon as nobody reads it any more, if it is ours.
    pub(super) fn doom(&self) {
        self.is_doomed.store(!self.is_borrowed, Ordering::Release);
    }
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        if self.is_doomed.load(Ordering::Acquire)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a file of the history could not be deleted");
        }
    }
}

/// What is meant, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    list: Arc<Vec<Arc<StoredFile>>>,
    /// Files that are not meant any more, and go once something stands in their place.
    left_out: Vec<Arc<StoredFile>>,
    damaged: Arc<AtomicU64>,
    are_borrowed: bool,
}

/// Files that are read together, because parts of one bucket may be in several of them.
pub(super) type Group = Vec<Arc<StoredFile>>;

impl Files {
    /// What is in `directory`. Leftovers of a run that was killed are deleted; what is not ours is left
    /// alone.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub(super) fn load(directory: &Path) -> io::Result<Self> {
        Self::list(directory, Self::default())
    }

    /// What is in `directory`, which may be in use by somebody else: nothing in it is deleted.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub(super) fn borrow(directory: &Path) -> io::Result<Self> {
        Self::list(directory, Self { are_borrowed: true, ..Self::default() })
    }

    fn list(directory: &Path, mut this: Self) -> io::Result<Self> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(this),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let text = entry.file_name();
            let Some(text) = text.to_str() else { continue };
            if text.ends_with(UNFINISHED) {
                if !this.are_borrowed {
                    fs::remove_file(entry.path())?;
                }
            } else if let Some(name) = FileName::parse(text) {
                this.add(directory, name, entry.metadata()?.len());
            }
        }
        Ok(this)
    }

    /// Adds a file that is there; those that it supersedes go.
    pub(super) fn add(&mut self, directory: &Path, name: FileName, bytes: u64) {
        let added = Arc::new(StoredFile::new(directory, name, bytes, self));
        let list = Arc::make_mut(&mut self.list);
        if list.iter().any(|file| name.is_superseded_by(&file.name) && !file.is_damaged()) {
            added.doom();
            return;
        }
        let stays = |file: &Arc<StoredFile>| {
            if file.name == name {
                // It is the file of this name that was just written.
                return false;
            }
            let is_replaced = file.is_damaged() && name.is_superseded_by(&file.name);
            let goes = is_replaced || file.name.is_superseded_by(&name);
            if goes {
                file.doom();
            }
            !goes
        };
        list.retain(stays);
        self.left_out.retain(stays);
        list.push(added);
        list.sort_by_key(|file| (file.name.to, file.name.resolution, file.name.flushes));
    }

    /// Leaves out those for which `is_meant` does not hold; they are deleted when there is a file in
    /// their place.
    pub(super) fn leave_out(&mut self, is_meant: impl Fn(&FileName) -> bool) {
        self.left_out.extend(Arc::make_mut(&mut self.list).extract_if(.., |file| !is_meant(&file.name)));
    }

    /// Deletes what ends at or before `horizon`, and then the oldest beyond `max_bytes`. Returns the end
    /// of the newest file deleted.
    pub(super) fn retain(&mut self, horizon: UnixNanos, max_bytes: u64) -> Option<UnixNanos> {
        let mut bytes = self.bytes();
        let is_over = |file: &StoredFile, bytes: u64| file.name.to <= horizon || bytes > max_bytes;
        let excess = self.list.iter().take_while(|file| {
            let goes = is_over(file, bytes);
            bytes -= if goes { file.bytes } else { 0 };
            goes
        });
        let excess = excess.count();
        if excess == 0 {
            return None;
        }
        let gone: Vec<_> = Arc::make_mut(&mut self.list).drain(..excess).collect();
        gone.iter().for_each(|file| file.doom());
        gone.last().map(|file| file.name.to)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<StoredFile>> {
        self.list.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.list.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn rows(&self) -> u64 {
        self.list.iter().map(|file| file.name.rows).sum()
    }

    /// How many times a file was found damaged.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// The files of one hour or day.
    pub(super) fn of(&self, resolution: Resolution, number: i64) -> Group {
        let is_in = |file: &&Arc<StoredFile>| file.name.resolution == resolution && file.name.partition() == number;
        self.iter().filter(is_in).cloned().collect()
    }

    /// Hours with the number of their files.
    pub(super) fn hours(&self) -> BTreeMap<i64, usize> {
        let mut hours = BTreeMap::new();
        for file in self.iter().filter(|file| file.name.resolution == Resolution::FiveMinutes) {
            *hours.entry(file.name.partition()).or_default() += 1;
        }
        hours
    }

    /// Days with files of 5 min and, if it was made from all of these, their file of 1 h.
    pub(super) fn days(&self) -> BTreeMap<i64, Option<Arc<StoredFile>>> {
        let mut newest: BTreeMap<i64, (u64, Option<&Arc<StoredFile>>)> = BTreeMap::new();
        for file in self.iter() {
            let (flush, hours) = newest.entry(file.name.day()).or_default();
            match file.name.resolution {
                Resolution::FiveMinutes => *flush = (*flush).max(file.name.flushes.1),
                Resolution::Hour => *hours = Some(file),
            }
        }
        let current = |(flush, hours): (u64, Option<&Arc<StoredFile>>)| {
            hours.filter(|file| file.name.flushes.1 >= flush && !file.is_damaged()).cloned()
        };
        newest.into_iter().map(|(day, found)| (day, current(found))).collect()
    }

    /// What must be read for buckets with `span.0 < end <= span.1`, in the order of time, by the newest
    /// bucket that may be in it. A day is read at one resolution: at the one asked for, if it is there.
    pub(super) fn plan(&self, span: (UnixNanos, UnixNanos), resolution: Resolution) -> BTreeMap<UnixNanos, Group> {
        let days = self.days();
        let fine: std::collections::BTreeSet<i64> =
            self.iter().filter(|f| f.name.resolution == Resolution::FiveMinutes).map(|f| f.name.day()).collect();
        let mut plan: BTreeMap<UnixNanos, Group> = BTreeMap::new();
        for file in self.iter().filter(|file| file.name.to > span.0 && file.name.from < span.1) {
            let day = file.name.day();
            let has_hours = days.get(&day).is_some_and(Option::is_some);
            let reads_hours = has_hours && (resolution == Resolution::Hour || !fine.contains(&day));
            if reads_hours == (file.name.resolution == Resolution::Hour) {
                let number = partition(file.name.resolution, file.name.to);
                let end = match file.name.resolution {
                    Resolution::FiveMinutes => super::name::hour_end(number),
                    Resolution::Hour => super::name::day_end(number),
                };
                plan.entry(end).or_default().push(Arc::clone(file));
            }
        }
        plan
    }
}
