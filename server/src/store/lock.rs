//! One process per database. The lock is a file beside the database, held as long as the store is open; the operating
//! system lets go of it when the process ends, however it ends. The file itself stays: to remove it would race with the
//! next holder.

use super::error::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use tidemark_domain::time::Timestamp;

/// The right to write a database; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(database: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let path = beside(database);
        let cannot = |source| StoreError::Open { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: database.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(cannot(source)),
        }
        file.set_len(0).map_err(cannot)?;
        file.rewind().map_err(cannot)?;
        write!(file, "process {} since {now}", std::process::id()).map_err(cannot)?;
        Ok(Self { _file: file })
    }
}

/// `fleet.db.lock` for `fleet.db`.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// What the holder wrote about itself, at most a line of it.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(100).read_to_string(&mut text);
    match text.lines().next() {
        Some(line) if read.is_ok() && !line.is_empty() => line.to_owned(),
        _ => "another process".to_owned(),
    }
}
