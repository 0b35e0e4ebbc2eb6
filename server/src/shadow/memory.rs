//! What a shadow keeps on disk: its id, and the hash that it repeats. Nothing else, and no secret.
//!
//! A node that comes to its control plane with an empty hash may look like a change: such a node moved the expected hash of
//! a whole fleet in 2026. So a shadow repeats zeros only the first time ever. What it repeats is what is on its disk: a new
//! hash is written first, to another file that then takes the name, and repeated after. A file that cannot be read is an
//! error that somebody has to look at, and never an empty shadow.

use crate::kong::own;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tidemark_domain::hash::ConfigHash;

/// A file that is longer is none of ours.
const FILE_MAX: u64 = 4_096;
const SUFFIX: &str = ".json";

/// Why a shadow does not know what to repeat.
#[derive(Debug, Error)]
pub enum MemoryError {
    #[error("{} cannot be used", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} is damaged: {why}. A shadow that does not know its last hash would look like a new, empty node; put the file \
         back, or remove it if the shadow may begin anew",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{}: another shadow uses this folder", path.display())]
    InUse { path: PathBuf },
}

/// The file of one shadow of one gateway version.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    kept: Kept,
    /// Held for as long as the memory is: two shadows must not be one node.
    _lock: File,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    node_id: String,
    /// `None` until the first configuration was seen.
    hash: Option<ConfigHash>,
}

impl Memory {
    /// Opens the memory of a shadow of this protocol (`v1`) and gateway version, or begins one. Where the folder remembers
    /// shadows of other gateway versions, a new one begins with the hash that the last of them kept: it is another node, but
    /// need not be an empty one.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn open(folder: &Path, protocol: &str, gateway_version: &str) -> Result<Self, MemoryError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| MemoryError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let name = format!("{protocol}-{gateway_version}");
        let path = folder.join(format!("{name}{SUFFIX}"));
        let lock_path = folder.join(format!("{name}.lock"));
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(failed(&lock_path))?;
        if lock.try_lock().is_err() {
            return Err(MemoryError::InUse { path });
        }
        if let Some(kept) = read(&path)? {
            return Ok(Self { path, kept, _lock: lock });
        }
        let memory = Self { kept: Kept { node_id: own::new_id(), hash: last_of(folder, protocol) }, path, _lock: lock };
        memory.write(&memory.kept).map_err(failed(&memory.path))?;
        Ok(memory)
    }

    /// Who the shadow is to its control plane.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.kept.node_id
    }

    /// What it repeats: zeros only before its first configuration.
    #[must_use]
    pub fn hash(&self) -> ConfigHash {
        self.kept.hash.unwrap_or(ConfigHash::ZEROS)
    }

    /// Keeps a hash, on disk first.
    ///
    /// # Errors
    /// What the file system says; the hash before it stays.
    pub fn keep(&mut self, hash: ConfigHash) -> io::Result<()> {
        if self.kept.hash == Some(hash) {
            return Ok(());
        }
        let kept = Kept { hash: Some(hash), ..self.kept.clone() };
        self.write(&kept)?;
        self.kept = kept;
        Ok(())
    }

    fn write(&self, kept: &Kept) -> io::Result<()> {
        let beside = self.path.with_extension("json.new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        // The name is on disk once its folder is.
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// `None` where there is no file.
fn read(path: &Path) -> Result<Option<Kept>, MemoryError> {
    let failed = |source| MemoryError::Io { path: path.to_owned(), source };
    let damaged = |why: String| MemoryError::Damaged { path: path.to_owned(), why };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_MAX {
        return Err(damaged(format!("it has more than {FILE_MAX} bytes")));
    }
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if !own::is_own_id(&kept.node_id) {
        return Err(damaged("its node id is not one of a shadow".to_owned()));
    }
    Ok(Some(kept))
}

/// The hash of the file that was written last. Files that cannot be read are their own shadows' business.
fn last_of(folder: &Path, protocol: &str) -> Option<ConfigHash> {
    let of_protocol = |name: &str| name.starts_with(&format!("{protocol}-")) && name.ends_with(SUFFIX);
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let kept = files.filter(|file| file.file_name().to_str().is_some_and(of_protocol)).filter_map(|file| {
        let path = file.path();
        let hash = read(&path).ok()??.hash?;
        Some((path.metadata().and_then(|metadata| metadata.modified()).ok()?, hash))
    });
    kept.max_by_key(|(written, _)| *written).map(|(_, hash)| hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const HASH: &str = "c6ee22cecbb5f8a7714966db3931b7b1";

    fn hash() -> ConfigHash {
        HASH.parse().unwrap()
    }

    #[test]
    fn zeros_are_repeated_only_until_the_first_hash() {
        let folder = TempDir::new().unwrap();
        let mut memory = Memory::open(folder.path(), "v1", "3.9.1").unwrap();
        let id = memory.node_id().to_owned();
        assert_eq!(memory.hash(), ConfigHash::ZEROS);
        memory.keep(hash()).unwrap();
        drop(memory);
        let memory = Memory::open(folder.path(), "v1", "3.9.1").unwrap();
        assert_eq!((memory.node_id(), memory.hash()), (id.as_str(), hash()));
        let text = std::fs::read_to_string(folder.path().join("v1-3.9.1.json")).unwrap();
        assert_eq!(text, format!("{{\"node_id\":\"{id}\",\"hash\":\"{HASH}\"}}"), "nothing else is kept");
    }

    #[test]
    fn another_gateway_version_is_another_node_that_is_not_empty() {
        let folder = TempDir::new().unwrap();
        let mut old = Memory::open(folder.path(), "v1", "3.9.1").unwrap();
        old.keep(hash()).unwrap();
        let new = Memory::open(folder.path(), "v1", "3.9.3").unwrap();
        assert_eq!(new.hash(), hash());
        assert_ne!(new.node_id(), old.node_id());
        let other_protocol = Memory::open(folder.path(), "v2", "3.9.3").unwrap();
        assert_eq!(other_protocol.hash(), ConfigHash::ZEROS, "it has words of its own");
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_empty_shadow() {
        for text in ["", "{", "{\"node_id\":\"n1\",\"hash\":null}", "[]", "\0\0\0\0", &"x".repeat(5_000)] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("v1-3.9.1.json");
            std::fs::write(&path, text).unwrap();
            let error = Memory::open(folder.path(), "v1", "3.9.1").unwrap_err();
            assert!(matches!(error, MemoryError::Damaged { .. }), "{text:?}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), *text, "it is left as it is");
        }
    }

    #[test]
    fn two_shadows_are_not_one_node() {
        let folder = TempDir::new().unwrap();
        let _first = Memory::open(folder.path(), "v1", "3.9.1").unwrap();
        assert!(matches!(Memory::open(folder.path(), "v1", "3.9.1"), Err(MemoryError::InUse { .. })));
    }

    #[test]
    fn a_hash_that_cannot_be_written_is_not_repeated() {
        let folder = TempDir::new().unwrap();
        let mut memory = Memory::open(folder.path(), "v1", "3.9.1").unwrap();
        folder.close().unwrap();
        memory.keep(hash()).unwrap_err();
        assert_eq!(memory.hash(), ConfigHash::ZEROS);
    }
}
