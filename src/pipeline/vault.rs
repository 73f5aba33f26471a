//! How a tenant's line stands, on disk: one state file, replaced whole at each checkpoint, and the chunk
//! files of its window.
//!
//! The state names the chunk files that belong to it, so that the renaming of one file is the moment at
//! which a checkpoint counts.
//!
//! The state file begins with 8 bytes of magic and version, then in little-endian order the number of the
//! checkpoint, the position in the log, and the length of the state, 8 bytes each, and the XXH3-64 of all
//! other bytes of the file. The rest is the state in postcard's format, compressed with zstd.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use detect::{Engine, UnixNanos};
use ingest::{Intake, IntakeState};
use serde::{Deserialize, Serialize};
use window::{Position, Tables, Window, WindowState, files::ChunkFiles};
use xxhash_rust::xxh3::Xxh3;

/// The state file, in a tenant's directory.
pub(crate) const STATE: &str = "state";
const CHUNKS: &str = "chunks";
/// The last byte is the version of everything behind it.
const MAGIC: [u8; 8] = *b"BWSTATE\x05";
const HEAD: usize = 40;
/// Nearly as fast as the disk, for a half or a third of the bytes.
const PACK_LEVEL: i32 = 1;
/// A state takes a kilobyte or two for each of a few million series at most.
const MAX_STATE: u64 = 1 << 36;

/// Why a vault cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("data_dir: {path} cannot be used: {source}")]
pub(crate) struct VaultError {
    path: PathBuf,
    source: io::Error,
}

/// What of a line is neither intake nor window nor core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Wall time of the last step.
    pub(super) last_step: Option<UnixNanos>,
    /// Wall time of the newest telemetry.
    pub(super) last_arrival: Option<UnixNanos>,
}

/// How a line stands after a step, ready to be written.
#[derive(Debug)]
pub(super) struct Checkpoint {
    position: Position,
    floor: UnixNanos,
    state: Vec<u8>,
    rows: Tables,
}

impl Checkpoint {
    /// Writes down how things stand after the step at `position`, right after a seal.
    ///
    /// # Errors
    /// When a part cannot be written, which would be a fault of ours.
    pub(super) fn new(
        position: Position,
        standing: &Standing,
        intake: &Intake,
        window: &Window,
        engine: &Engine,
    ) -> Result<Self, postcard::Error> {
        let window = window.state();
        let floor = window.floor();
        let state = postcard::to_stdvec(&(standing, intake.state(), &window, engine))?;
        Ok(Self { position, floor, state, rows: Tables::default() })
    }

    /// The same, with the rows that were sealed since the last one.
    pub(super) fn with_rows(self, rows: Tables) -> Self {
        Self { rows, ..self }
    }

    /// The last step that it knows.
    pub(super) fn position(&self) -> Position {
        self.position
    }
}

/// How a line stood when it was written down last.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) position: Position,
    pub(super) standing: Standing,
    pub(super) intake: IntakeState,
    pub(super) window: WindowState,
    pub(super) engine: Engine,
    pub(super) tables: Tables,
}

/// Where a line is written down.
#[derive(Debug)]
pub(super) struct Vault {
    directory: PathBuf,
    files: ChunkFiles,
    position: Position,
    /// Rows of checkpoints that could not be written.
    pending: Tables,
}

impl Vault {
    /// Opens the vault in `directory`, and reads what was written down there last. A state that cannot be
    /// read is set aside: detectors warm up again then.
    ///
    /// # Errors
    /// [`VaultError`] when the directory cannot be read.
    pub(super) fn open(directory: &Path) -> Result<(Self, Option<Kept>), VaultError> {
        let chunks = directory.join(CHUNKS);
        let unusable = |source| VaultError { path: chunks.clone(), source };
        let (mut files, mut damages) = ChunkFiles::open(&chunks).map_err(unusable)?;
        let path = directory.join(STATE);
        let read = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map_err(|e| e.to_string()).and_then(|bytes| decode(&bytes)).map(Some),
        };
        let state = read.unwrap_or_else(|reason| {
            tracing::error!(path = %path.display(), reason, "the state cannot be used: detectors warm up again");
            set_aside(&path);
            None
        });
        let number = state.as_ref().map_or(0, |state| state.number);
        let (tables, unread) = files.load(number).map_err(unusable)?;
        damages.extend(unread);
        for damage in damages {
            tracing::error!(%damage, "a chunk file cannot be used: its rows are lost");
        }
        let position = state.as_ref().map_or(Position(0), |state| state.position);
        let vault = Self { directory: directory.to_owned(), files, position, pending: Tables::default() };
        Ok((vault, state.map(|state| state.with(tables))))
    }

    /// The same vault, which needs nothing of the log up to `position`.
    pub(super) fn at(self, position: Position) -> Self {
        Self { position, ..self }
    }

    /// The last step that it knows.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Writes `checkpoint`; how many bytes there are on disk afterwards.
    ///
    /// # Errors
    /// When the disk refuses. Nothing has changed then; its rows go into the next checkpoint.
    pub(super) fn write(&mut self, checkpoint: Checkpoint) -> io::Result<u64> {
        let Checkpoint { position, floor, state, rows } = checkpoint;
        self.pending.extend(rows);
        self.pending.forget_until(floor);
        let number = self.files.write(&self.pending)?;
        let bytes = encode(number, position, &state)?;
        replace(&self.directory, STATE, &bytes)?;
        self.position = position;
        self.pending = Tables::default();
        self.files.commit(number, floor)?;
        while self.files.merge()? {}
        Ok(self.files.bytes() + bytes.len() as u64)
    }
}

/// A state file that was read.
struct State {
    number: u64,
    position: Position,
    standing: Standing,
    intake: IntakeState,
    window: WindowState,
    engine: Engine,
}

impl State {
    fn with(self, tables: Tables) -> Kept {
        let Self { position, standing, intake, window, engine, .. } = self;
        Kept { position, standing, intake, window, engine, tables }
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(head);
    hash.update(body);
    hash.digest()
}

fn encode(number: u64, position: Position, state: &[u8]) -> io::Result<Vec<u8>> {
    let body = zstd::bulk::compress(state, PACK_LEVEL)?;
    let mut out = Vec::with_capacity(HEAD + body.len());
    out.extend_from_slice(&MAGIC);
    for field in [number, position.0, state.len() as u64] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let sum = checksum(&out, &body);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}

fn decode(bytes: &[u8]) -> Result<State, String> {
    let (head, body) = bytes.split_at_checked(HEAD).ok_or("it ends in its head")?;
    let (magic, fields) = head.split_at(MAGIC.len());
    if magic[..MAGIC.len() - 1] != MAGIC[..MAGIC.len() - 1] {
        return Err("it is no state file".into());
    }
    if magic != MAGIC {
        return Err(format!("it has version {}; expected {}", magic[MAGIC.len() - 1], MAGIC[MAGIC.len() - 1]));
    }
    let mut numbers = fields.chunks_exact(8).map(|f| f.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)));
    let mut next = || numbers.next().unwrap_or_default();
    let (number, position, len, sum) = (next(), next(), next(), next());
    if checksum(&head[..HEAD - 8], body) != sum {
        return Err("its bytes are not those that were written".into());
    }
    let len = usize::try_from(len.min(MAX_STATE)).map_err(|e| e.to_string())?;
    let state = zstd::bulk::decompress(body, len).map_err(|e| e.to_string())?;
    let (standing, intake, window, engine) = postcard::from_bytes(&state).map_err(|e| e.to_string())?;
    Ok(State { number, position: Position(position), standing, intake, window, engine })
}

/// The window of the line in `directory` as it was written down last; `None` when it was not yet. Nothing is changed,
/// and the line may be running.
///
/// # Errors
/// What cannot be read.
#[cfg(feature = "analysis")]
pub(crate) fn peek(directory: &Path) -> anyhow::Result<Option<Window>> {
    use anyhow::{Context, bail};
    /// Checkpoints that may be made while the files of one are read.
    const ATTEMPTS: usize = 5;
    let (path, chunks) = (directory.join(STATE), directory.join(CHUNKS));
    for _ in 0..ATTEMPTS {
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let state = decode(&bytes).map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
        let (tables, damages) = match window::files::peek(&chunks, state.number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.with_context(|| format!("cannot read {}", chunks.display()))?,
        };
        if let Some(damage) = damages.first() {
            bail!("{damage}: `bellwether repair` sets it aside");
        }
        // Everything that is there, whatever the service keeps.
        let all = window::Config {
            span: std::time::Duration::from_hours(24 * 365),
            max_bytes: usize::MAX,
            max_bytes_total: usize::MAX,
            max_series: usize::MAX,
            ..window::Config::default()
        };
        return Ok(Some(Window::restore(all, state.window, tables)?));
    }
    bail!("{}: checkpoints were made faster than they could be read", directory.display())
}

/// What is wrong with the state file at `path`, if anything is.
pub(crate) fn fault_of_state(path: &Path) -> Option<String> {
    std::fs::read(path).map_err(|e| e.to_string()).and_then(|bytes| decode(&bytes)).err()
}

/// Writes `directory`/`name` whole, or leaves it as it was.
fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, unfinished) = (directory.join(name), directory.join(format!("{name}.tmp")));
    let mut file = File::create(&unfinished)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&unfinished, &path)) {
        // The error that is told is the first one.
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

/// Gives a file a name under which it is not looked at any more.
fn set_aside(path: &Path) {
    let aside = path.with_extension("damaged");
    if let Err(error) = std::fs::rename(path, &aside) {
        tracing::error!(path = %path.display(), %error, "a damaged file cannot be set aside");
    }
}

#[cfg(test)]
mod tests {
    use detect::{EngineConfig, Memory};
    use ingest::{IntakeConfig, KnownSeries};

    use super::*;

    fn checkpoint(position: u64) -> Checkpoint {
        let intake = Intake::new(IntakeConfig::default(), KnownSeries::new(9).into());
        let mut window = Window::new(window::Config::default());
        window.seal();
        let engine = Engine::new(EngineConfig::default(), Memory::default());
        let standing = Standing { last_step: Some(UnixNanos(7)), last_arrival: None };
        Checkpoint::new(Position(position), &standing, &intake, &window, &engine).expect("can be written")
    }

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("there is a temporary directory")
    }

    #[test]
    fn what_is_written_last_is_read() {
        let directory = directory();
        let open = || Vault::open(directory.path()).expect("can be opened");
        let (mut vault, kept) = open();
        assert!(kept.is_none() && vault.position() == Position(0));
        for position in [3, 9] {
            vault.write(checkpoint(position)).expect("can be written");
        }
        let (vault, kept) = open();
        let kept = kept.expect("was written");
        assert_eq!((vault.position(), kept.position), (Position(9), Position(9)));
        assert_eq!(kept.standing, Standing { last_step: Some(UnixNanos(7)), last_arrival: None });
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encode(1, Position(2), &checkpoint(2).state).expect("can be written");
        assert!(decode(&bytes).is_ok());
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << (i % 8);
            assert!(decode(&flipped).is_err(), "byte {i}");
            assert!(decode(&bytes[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_state_that_cannot_be_read_is_set_aside_and_said() {
        let directory = directory();
        let path = directory.path().join(STATE);
        let (mut vault, _) = Vault::open(directory.path()).expect("can be opened");
        vault.write(checkpoint(3)).expect("can be written");
        let mut bytes = std::fs::read(&path).expect("is there");
        assert_eq!(fault_of_state(&path), None);
        bytes[7] = 9;
        std::fs::write(&path, &bytes).expect("can be written");
        let expected = format!("it has version 9; expected {}", MAGIC[7]);
        assert_eq!(fault_of_state(&path), Some(expected));
        let (mut vault, kept) = Vault::open(directory.path()).expect("can be opened");
        assert!(kept.is_none() && !path.exists() && directory.path().join("state.damaged").exists());
        vault.write(checkpoint(4)).expect("goes on");
        assert_eq!(vault.position(), Position(4));
    }
}
