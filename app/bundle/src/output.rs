//! The site as files: what is served, each beside its compressed forms, and a manifest that lists them.

use std::{fs, io::Write, path::Path};

use anyhow::Context;
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Form,
    inputs::{files_below, hex},
};

/// The manifest, as the server reads it (`server/src/http/assets.rs`).
#[derive(Serialize, Deserialize)]
pub struct Site {
    /// Names this build: its files live at `pkg/<hash>/`, and may be cached for ever there.
    pub hash: String,
    /// What it was made from; the builder alone reads it.
    pub inputs: String,
    pub files: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
pub struct Listed {
    /// Below the root of the site, and the path of the URL.
    pub path: String,
    /// Digest of the contents, for the `ETag`.
    pub digest: String,
    pub bytes: usize,
    /// None where there is no compressed form, because it would not be smaller.
    pub brotli_bytes: Option<usize>,
    pub gzip_bytes: Option<usize>,
}

impl Site {
    pub const MANIFEST: &str = "manifest.json";

    /// What the folder holds; none where it holds no whole site.
    pub fn load(site_dir: &Path) -> Option<Site> {
        let manifest = fs::read(site_dir.join(Self::MANIFEST)).ok()?;
        serde_json::from_slice(&manifest).ok()
    }
}

pub struct File {
    name: String,
    contents: Vec<u8>,
    /// Whether it belongs to the build, and is served from under its hash.
    hashed: bool,
}

impl File {
    pub fn hashed(name: String, contents: Vec<u8>) -> File {
        File { name, contents, hashed: true }
    }
}

/// The files that keep their well-known names, served from the root.
pub fn public(public_dir: &Path) -> anyhow::Result<Vec<File>> {
    files_below(public_dir)?
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(public_dir)?.to_string_lossy().into_owned();
            let contents = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(File { name, contents, hashed: false })
        })
        .collect()
}

/// Replaces the site. The manifest goes first and comes last, so that a half-written site is never taken for a whole.
pub fn write(site_dir: &Path, inputs: String, files: Vec<File>, form: Form) -> anyhow::Result<Site> {
    if site_dir.exists() {
        let manifest = site_dir.join(Site::MANIFEST);
        if manifest.exists() {
            fs::remove_file(&manifest).with_context(|| format!("cannot remove {}", manifest.display()))?;
        }
        fs::remove_dir_all(site_dir).with_context(|| format!("cannot empty {}", site_dir.display()))?;
    }

    let hash = build_hash(&files);
    let mut listed = Vec::with_capacity(files.len());
    for file in files {
        let path = if file.hashed { format!("pkg/{hash}/{}", file.name) } else { file.name };
        let brotli = compressed(&file.contents, form, brotli);
        let gzip = compressed(&file.contents, form, gzip);
        put(site_dir, &path, &file.contents)?;
        if let Some(brotli) = &brotli {
            put(site_dir, &format!("{path}.br"), brotli)?;
        }
        if let Some(gzip) = &gzip {
            put(site_dir, &format!("{path}.gz"), gzip)?;
        }
        listed.push(Listed {
            path,
            digest: hex(&Sha256::digest(&file.contents)[..8]),
            bytes: file.contents.len(),
            brotli_bytes: brotli.as_ref().map(Vec::len),
            gzip_bytes: gzip.as_ref().map(Vec::len),
        });
    }

    let site = Site { hash, inputs, files: listed };
    put(site_dir, Site::MANIFEST, &serde_json::to_vec_pretty(&site)?)?;
    Ok(site)
}

/// The same contents are the same build, wherever and whenever it was made.
fn build_hash(files: &[File]) -> String {
    let mut digest = Sha256::new();
    for file in files.iter().filter(|file| file.hashed) {
        digest.update(&file.name);
        digest.update((file.contents.len() as u64).to_le_bytes());
        digest.update(&file.contents);
    }
    hex(&digest.finalize()[..8])
}

/// None where compressing is not worth it, and for the journeys, which read from the same machine.
fn compressed(contents: &[u8], form: Form, compress: fn(&[u8]) -> Vec<u8>) -> Option<Vec<u8>> {
    match form {
        Form::Release => Some(compress(contents)).filter(|packed| packed.len() < contents.len()),
        Form::DebugInfo => None,
    }
}

fn brotli(contents: &[u8]) -> Vec<u8> {
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut &contents[..], &mut packed, &parameters).expect("writing to memory does not fail");
    packed
}

fn gzip(contents: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(contents).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

fn put(site_dir: &Path, path: &str, contents: &[u8]) -> anyhow::Result<()> {
    let path = site_dir.join(path);
    let folder = path.parent().expect("a file of the site has a folder");
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))
}
