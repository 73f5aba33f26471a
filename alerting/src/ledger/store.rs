//! The open file: one connection that writes, a few that read, the lock, and the wake-up bell.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};
use tokio::sync::watch;

use super::{schema, silences::Silences, told::Claims};
use crate::LedgerError;

/// Questions answered at the same time; more wait for each other.
const READERS: usize = 4;
/// How long a connection waits for another one's lock. Only a foreign tool that writes to the file
/// can make it wait at all.
const BUSY: Duration = Duration::from_secs(5);
/// Statements that are kept prepared: more than one transaction has.
const STATEMENTS: usize = 64;
/// What is kept of the file in memory, negative as SQLite counts KiB: the indexes that a storm of alerts goes through
/// without order.
const CACHE_KIB: i64 = -16 * 1024;
/// The write-ahead log is cut back to this size after a burst.
const LOG_BYTES: i64 = 64 << 20;

/// Shared by all handles; the file stays locked until the last of them is gone.
pub(crate) struct Store {
    writer: Mutex<Connection>,
    /// Opened when they are needed: each takes open files, of which there are few for many ledgers.
    readers: [Mutex<Option<Connection>>; READERS],
    path: PathBuf,
    turn: AtomicUsize,
    rows_added: watch::Sender<u64>,
    /// Rung when a group may be due at another time than before.
    plans: watch::Sender<u64>,
    silences: RwLock<Silences>,
    pub(super) claims: Mutex<Claims>,
    _lock: Option<File>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let unwritable = |reason: String| LedgerError::Unwritable { path: path.to_owned(), reason };
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(|e| unwritable(e.to_string()))?;
        }
        let lock = lock(path)?;
        let writer = open_writer(path).map_err(|e| explained(e, path))?;
        let readers = [(); READERS].map(|()| Mutex::new(None));
        let silences = RwLock::new(Silences::load(&writer)?);
        let (turn, (rows_added, _), (plans, _)) = (AtomicUsize::new(0), watch::channel(0), watch::channel(0));
        let path = path.to_owned();
        Ok(Self {
            writer: Mutex::new(writer),
            readers,
            path,
            turn,
            rows_added,
            plans,
            silences,
            claims: Mutex::default(),
            _lock: Some(lock),
        })
    }

    /// In memory and empty. Its connections share nothing: what one writes the others do not read.
    pub(super) fn empty() -> Result<Self, LedgerError> {
        let connection = || {
            let mut connection = Connection::open_in_memory()?;
            schema::migrate(&mut connection, Path::new(":memory:"))?;
            Ok::<_, LedgerError>(connection)
        };
        let reader = || connection().map(|connection| Mutex::new(Some(connection)));
        let (turn, (rows_added, _), (plans, _)) = (AtomicUsize::new(0), watch::channel(0), watch::channel(0));
        Ok(Self {
            writer: Mutex::new(connection()?),
            readers: [reader()?, reader()?, reader()?, reader()?],
            path: PathBuf::from(":memory:"),
            turn,
            rows_added,
            plans,
            silences: RwLock::default(),
            claims: Mutex::default(),
            _lock: None,
        })
    }

    /// Runs `work` in one transaction: all of it is on disk afterwards, or none of it.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut connection = locked(&self.writer);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Runs `question` on a connection that cannot write, a free one if there is one.
    pub(super) fn read<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let free = self.readers.iter().find_map(|reader| reader.try_lock().ok());
        let mut reader = free.unwrap_or_else(|| {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            locked(&self.readers[turn % READERS])
        });
        let connection = match &mut *reader {
            Some(connection) => connection,
            closed => closed.insert(open_reader(&self.path).map_err(|e| explained(e.into(), &self.path))?),
        };
        question(connection)
    }

    /// Says that there are new rows in the outbox.
    pub(crate) fn ring(&self) {
        self.rows_added.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Hears of new rows in the outbox.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.rows_added.subscribe()
    }

    /// Says that a group may be due at another time than before.
    pub(crate) fn replan(&self) {
        self.plans.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Hears of groups that may be due at another time.
    pub(crate) fn plans(&self) -> watch::Receiver<u64> {
        self.plans.subscribe()
    }

    pub(super) fn silences(&self) -> RwLockReadGuard<'_, Silences> {
        self.silences.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while the silences in the file are written, so that both stay the same.
    pub(super) fn silences_mut(&self) -> RwLockWriteGuard<'_, Silences> {
        self.silences.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panic while the lock was held has rolled its transaction back, so the connection is sound.
fn locked<T>(connection: &Mutex<T>) -> MutexGuard<'_, T> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock file beside the database rather than SQLite's exclusive mode, which would shut out our own
/// readers. The operating system lets go of it when the process ends, however it ends.
pub(super) fn lock(path: &Path) -> Result<File, LedgerError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(PathBuf::from(name));
    let unwritable = |e: std::io::Error| LedgerError::Unwritable { path: path.to_owned(), reason: e.to_string() };
    let file = file.map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(e)) => Err(unwritable(e)),
    }
}

fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    set_up(&connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // An alert that was said must survive the loss of power, so each commit reaches the disk.
    connection.pragma_update(None, "synchronous", "FULL")?;
    schema::migrate(&mut connection, path)?;
    // What one transaction changes stays in memory until it is written, once: a storm of alerts is far more than
    // SQLite's cache, which would write the same pages of its indexes again and again.
    connection.pragma_update(None, "cache_spill", false)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let reason = format!("the file system does not support a write-ahead log (journal mode is {mode})");
        return Err(LedgerError::Unwritable { path: path.to_owned(), reason });
    }
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    Ok(connection)
}

pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_up(&connection)?;
    Ok(connection)
}

/// What holds for each connection.
fn set_up(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY)?;
    // Otherwise a statement is compiled anew for each value that is compared with an indexed column.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// SQLite's error on opening, as the fault that an operator can mend.
pub(super) fn explained(error: LedgerError, path: &Path) -> LedgerError {
    let LedgerError::Sqlite(cause) = &error else { return error };
    let (path, reason) = (path.to_owned(), cause.to_string());
    match cause.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => LedgerError::NotALedger { path, reason },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerError::InUse { path },
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull,
        ) => LedgerError::Unwritable { path, reason },
        _ => error,
    }
}
