//! What can go wrong with the store, by what its reader can do about it.

use std::path::PathBuf;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the database. Stop it, or name another file.
    #[error("the database {} is in use by {holder}", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// Who has it, in its own words.
        holder: String,
    },
    /// The database cannot be opened at all.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A demo was to be told in a database that no demo made. Name another file.
    #[error("{} was not made by `tidemark demo`, and a demo writes only into databases of its own", path.display())]
    NotADemo {
        /// The file.
        path: PathBuf,
    },
    /// The SQLite library is older than what we trust.
    #[error(
        "the SQLite library is {found}, and {wanted} or newer is needed: older ones may corrupt a database in WAL mode"
    )]
    Library {
        /// The version that was found.
        found: String,
        /// The version that is needed.
        wanted: &'static str,
    },
    /// The database was last written by an older version, and may not be changed now.
    #[error("the database {} lacks {pending} migrations: start `tidemark serve` on it once, without --at", path.display())]
    Pending {
        /// The database.
        path: PathBuf,
        /// How many.
        pending: usize,
    },
    /// The schema of the database cannot be brought up to ours: it is newer, or another one altogether.
    #[error("the schema of the database {} does not fit this version of tidemark", path.display())]
    Schema {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The store was opened only to be read.
    #[error("the database was opened only to be read")]
    ReadOnly,
    /// A row does not say what its table promises. The rest of the store can be read.
    #[error("row {row} of {table} cannot be read: {reason}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Its key.
        row: String,
        /// What is wrong.
        reason: String,
    },
    /// A keyframe cannot be packed.
    #[error("cannot pack a keyframe")]
    Pack {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refused: the disk is full, the file is gone, or we have a mistake.
    #[error("cannot {what}")]
    Sqlite {
        /// What was to be done.
        what: &'static str,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Says of an error of SQLite what was being done.
    pub(super) fn on(what: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| Self::Sqlite { what, source }
    }

    /// A row that does not say what its table promises.
    pub(super) fn corrupt(table: &'static str, row: impl ToString, reason: impl ToString) -> Self {
        Self::Corrupt { table, row: row.to_string(), reason: reason.to_string() }
    }
}
