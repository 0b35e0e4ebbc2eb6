//! Databases of demos carry a mark in their header (`application_id`), so that what a demo makes up is never told into
//! the database of a real fleet.

use super::Store;
use super::error::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Connection, SqliteConnection};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use tidemark_domain::time::Timestamp;

/// "TdmD".
const DEMO: [u8; 4] = *b"TdmD";
/// The first words of every SQLite file, and where in its header the mark is (`sqlite.org/fileformat.html`, 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";
const MARK_AT: usize = 68;

impl Store {
    /// Opens the database of a demo, or makes one.
    ///
    /// # Errors
    /// [`StoreError::NotADemo`] if there is a file that no demo made; it is not touched. Else see [`Self::open`].
    pub async fn open_demo(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let cannot = |source| StoreError::Open { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => {
                if !is_demo(file).map_err(cannot)? {
                    return Err(StoreError::NotADemo { path: path.to_owned() });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).await?,
            Err(error) => return Err(cannot(error)),
        }
        Self::open(path, now).await
    }
}

fn is_demo(file: File) -> io::Result<bool> {
    let mut header = Vec::new();
    file.take(MARK_AT as u64 + 4).read_to_end(&mut header)?;
    Ok(header.starts_with(MAGIC) && header[MARK_AT.min(header.len())..] == DEMO)
}

/// An empty database with the mark. Without a WAL, so that the mark is in the file itself from the first moment.
async fn make(path: &Path) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Delete)
        .pragma("application_id", i32::from_be_bytes(DEMO).to_string());
    let connection =
        SqliteConnection::connect_with(&options).await.map_err(StoreError::on("make the database of a demo"))?;
    connection.close().await.map_err(StoreError::on("close the database"))
}
