//! What a bundle is made from, as one digest: the same digest is the same bundle, and nothing needs to be done.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::Form;

/// Everything that can change a byte of the bundle.
const INPUTS: [&str; 11] = [
    ".cargo/config.toml",
    "Cargo.lock",
    "Cargo.toml",
    "app/Cargo.toml",
    "app/bundle",
    "app/domain/Cargo.toml",
    "app/domain/src",
    "app/src",
    "end2end/package-lock.json",
    "public",
    "style",
];

pub fn digest(root: &Path, form: Form) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    digest.update(form.site_dir());
    for input in INPUTS {
        for file in files_below(&root.join(input))? {
            let contents = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            digest.update(file.strip_prefix(root).unwrap_or(&file).to_string_lossy().as_bytes());
            digest.update((contents.len() as u64).to_le_bytes());
            digest.update(&contents);
        }
    }
    Ok(hex(&digest.finalize()))
}

/// The files below a folder (or the file itself) in order of their paths; none where there is nothing.
pub fn files_below(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let mut entries = fs::read_dir(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot list {}", path.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        // A dot-file keeps an empty folder in git; it is not a part of the site.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            files.extend(files_below(&entry.path())?);
        }
    }
    Ok(files)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
