//! The store: all SQL of the product, and the rows it fills. Domain values go in and come out; nothing above this module
//! knows that there is SQLite below.
//!
//! **What is kept.** Facts, as they were told; never what follows from them (DESIGN 3). Each fact has a number of its own,
//! its sequence, dense and in the order of arrival. Words of control planes and events are a row each. Reports of nodes
//! are kept as runs ([`run`]): equal reports without a gap are one row with a beginning and an end.
//!
//! **What is promised.** When [`Store::append`] returns, its facts are on the disk (WAL, `synchronous = full`), all of them
//! or none. Facts that are told again ([`Store::facts_after`]) come in the order in which they were told, and are the same
//! but for reports inside a run, of which only the first and the last are told: the domain's fold makes of these what it
//! made of all.
//!
//! **How it is fast.** One writer, which knows the open run of each node ([`state`]) and gives all numbers itself: a report
//! that says nothing new is the update of one row by its key, and hundreds of them are one statement ([`bulk`]). Readers
//! have connections of their own and never wait for the writer.
//!
//! **How the past is told.** A keyframe ([`keyframe`]) holds the state of the fleet as the board packs it, and beside it the
//! runs that were open. The state at `t` is the last keyframe before it, and the facts after that; the runs that were
//! closed since are the rows up to the next keyframe, and those that were still open are in that keyframe: an hour of rows
//! at most, however long ago it was. What reads the rows of a whole fleet reads them as lists ([`lists`]), and keeps the
//! names that it looked up for the next look ([`vocabulary`]).
//!
//! Queries with a fixed text are checked against the migrations when they are compiled, from `.sqlx`; after a change of
//! either, `make sqlx` (which is `cargo schema write`) writes it anew.

mod append;

mod run;

mod replay;

mod vocabulary;

mod keyframe;

mod history;

mod reached;

mod remembered;

mod import_stream;

mod purge;

mod progress;

mod propagation;

mod telemetry;

mod state;

mod names;

mod attribute_set;

mod mark;

mod bulk;

mod lists;

mod lock;

mod demo;

mod error;

pub use error::StoreError;
pub use history::{Interval, IntervalKey, IntervalPage};
pub use import_stream::Taken;
pub use keyframe::Keyframe;
pub use progress::{Progress, Sizes};
pub use propagation::KeptPropagation;
pub use purge::{Purged, Retention};
pub use reached::{Reached, gives_way};
pub use replay::Replay;
pub use telemetry::{
    SumsKept, SumsProgress, SumsRange, SumsRow, SyncCost, TelemetryCommit, TelemetrySizes, TelemetryState,
};

use lock::Lock;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqliteConnection};
use state::State;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidemark_domain::time::Timestamp;
use tokio::sync::{Mutex, MutexGuard};
use vocabulary::Known;

/// Embedded, so that the binary needs no file beside it.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Older libraries may corrupt a database in WAL mode when a checkpoint races with a commit.
const LIBRARY_MIN: &str = "3.51.3";

/// Connections that read. Each may hold back the WAL, so there are few.
const READERS_MAX: u32 = 4;

/// How long a statement waits for another process that reads (`tidemark explain`) to let go of the file.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// The WAL is cut back to this after a checkpoint: a long reader may have let it grow.
const WAL_KEPT_BYTES: &str = "67108864";

/// Pages that the writer keeps, in KiB (SQLite counts these as negative): the open runs of 100,000 nodes are 10 MB.
const WRITER_CACHE_KIB: &str = "-65536";

/// The store. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    readers: SqlitePool,
    /// What replays looked up.
    known: Known,
    /// `None` if the store was opened only to be read; in it, `None` after it was closed.
    writer: Option<Mutex<Option<Writer>>>,
}

/// The one connection that writes, and what it knows.
#[derive(Debug)]
struct Writer {
    connection: SqliteConnection,
    /// `None` before the first write and after a failure: it is read before the next write.
    state: Option<State>,
    /// Last, so that it is let go of after the connection.
    lock: Lock,
}

impl Writer {
    fn parts(&mut self) -> (&mut SqliteConnection, &mut Option<State>) {
        (&mut self.connection, &mut self.state)
    }
}

impl Store {
    /// Opens the database, makes it where there is none, and brings its schema up to ours. `now` is what another process
    /// is told about us.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it open for writing; else see [`StoreError`].
    pub async fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let path = resolved(path)?;
        let lock = Lock::take(&path, now)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_WAIT)
            .pragma("journal_size_limit", WAL_KEPT_BYTES)
            .pragma("cache_size", WRITER_CACHE_KIB)
            .pragma("temp_store", "memory");
        let mut connection =
            SqliteConnection::connect_with(&options).await.map_err(StoreError::on("open the database"))?;
        library_is_new_enough(&mut connection).await?;
        MIGRATIONS.run(&mut connection).await.map_err(|source| StoreError::Schema { path: path.clone(), source })?;
        let writer = Writer { connection, state: None, lock };
        Ok(Self::of(&path, Some(writer)))
    }

    fn of(path: &Path, writer: Option<Writer>) -> Self {
        let writer = writer.map(|writer| Mutex::new(Some(writer)));
        Self { inner: Arc::new(Inner { readers: readers(path), known: Known::default(), writer }) }
    }

    /// Reads what the writer has to know before it writes, so that the first write need not. May be done beside whatever
    /// only reads.
    ///
    /// # Errors
    /// See [`StoreError`]; the next write tries again.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let (connection, kept) = writer.parts();
        if kept.is_none() {
            *kept = Some(State::read(connection).await?);
        }
        Ok(())
    }

    /// Opens a database only to read it, beside the process that writes it or without one.
    ///
    /// # Errors
    /// [`StoreError::Pending`] if its schema is older than ours; else see [`StoreError`].
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let path = std::fs::canonicalize(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        let store = Self::of(&path, None);
        let mut connection = store.reader().await?;
        library_is_new_enough(&mut connection).await?;
        schema_is_ours(&mut connection, &path).await?;
        drop(connection);
        Ok(store)
    }

    /// Closes all connections, so that the WAL is merged into the database and removed, and lets go of the lock. To drop
    /// the store is safe too, and leaves the WAL to the next one.
    ///
    /// # Errors
    /// Nothing is lost then: what was committed is in the WAL.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.readers.close().await;
        let Some(writer) = &self.inner.writer else {
            return Ok(());
        };
        let Some(Writer { connection, state: _, lock }) = writer.lock().await.take() else {
            return Ok(());
        };
        let closed = connection.close().await.map_err(StoreError::on("close the database"));
        drop(lock);
        closed
    }

    /// Whether the store was opened only to be read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.inner.writer.is_none()
    }

    /// The right to write; waits for who has it.
    async fn writer(&self) -> Result<tokio::sync::MappedMutexGuard<'_, Writer>, StoreError> {
        let writer = self.inner.writer.as_ref().ok_or(StoreError::ReadOnly)?;
        MutexGuard::try_map(writer.lock().await, Option::as_mut).map_err(|_| closed())
    }

    /// A connection that reads.
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.inner.readers.acquire().await.map_err(StoreError::on("open the database to read it"))
    }
}

/// What is asked of a store after [`Store::close`].
fn closed() -> StoreError {
    StoreError::Sqlite { what: "write", source: sqlx::Error::PoolClosed }
}

/// Connections are made when they are needed.
fn readers(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).foreign_keys(true).busy_timeout(BUSY_WAIT);
    SqlitePoolOptions::new().max_connections(READERS_MAX).connect_lazy_with(options)
}

/// The path without links, so that one database has one lock however it is named; the file need not exist yet.
fn resolved(path: &Path) -> Result<PathBuf, StoreError> {
    let cannot = |source| StoreError::Open { path: path.to_owned(), source };
    match std::fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| cannot(error))?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = std::fs::canonicalize(folder.unwrap_or_else(|| Path::new("."))).map_err(cannot)?;
            Ok(folder.join(name))
        }
        Err(error) => Err(cannot(error)),
    }
}

async fn library_is_new_enough(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found = sqlx::query_scalar!(r#"select sqlite_version() as "version!: String""#)
        .fetch_one(connection)
        .await
        .map_err(StoreError::on("ask for the version of SQLite"))?;
    if numbers(&found) >= numbers(LIBRARY_MIN) {
        Ok(())
    } else {
        Err(StoreError::Library { found, wanted: LIBRARY_MIN })
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

/// Compares the migrations that were applied with ours, and changes nothing.
async fn schema_is_ours(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let applied = connection.list_applied_migrations(&MIGRATIONS.table_name).await;
    let applied = applied.map_err(|source| StoreError::Schema { path: path.to_owned(), source })?;
    let not_ours = |source| StoreError::Schema { path: path.to_owned(), source };
    for migration in &applied {
        match MIGRATIONS.iter().find(|ours| ours.version == migration.version) {
            None => return Err(not_ours(MigrateError::VersionMissing(migration.version))),
            Some(ours) if ours.checksum != migration.checksum => {
                return Err(not_ours(MigrateError::VersionMismatch(migration.version)));
            }
            Some(_) => {}
        }
    }
    match MIGRATIONS.iter().count() - applied.len() {
        0 => Ok(()),
        pending => Err(StoreError::Pending { path: path.to_owned(), pending }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_library_are_compared_as_numbers() {
        assert!(numbers("3.51.3") >= numbers(LIBRARY_MIN));
        assert!(numbers("3.100.0") >= numbers(LIBRARY_MIN));
        assert!(numbers("3.51.2") < numbers(LIBRARY_MIN));
        assert!(numbers("3.9.9") < numbers(LIBRARY_MIN));
    }
}
