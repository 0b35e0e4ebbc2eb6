//! `tidemark import`: recorded sessions of Kong become facts with their recorded times.
//!
//! All inputs are merged by recorded time (ties: file, line). A recording is known by the digest of its first record: a
//! repeat goes on after the lines that were taken, so that importing twice changes nothing; a changed prefix is refused,
//! and so is what is older than the control plane's newest version. The control plane is the one that the caller names,
//! else the `cluster_id` that the configuration carries, else the folder.
//!
//! In a recording, the recorder's clock is ours: facts are recorded when they were seen. What was watched is told by
//! two more facts for each source, where its recording begins and where it ends; after the end it is blind.

pub mod recording;

pub mod remote;

use crate::board::Board;
use crate::kong::assemble::Assembler;
use crate::store::{Store, StoreError, Taken};
use recording::{DamagedLine, Lines, Origin, Step};
use remote::{Parcel, Remote, RemoteError};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::Read;
use std::path::{Path, PathBuf};
use tidemark_domain::fact::{Fact, Listening, Source, What};
use tidemark_domain::id::CpName;
use tidemark_domain::policy::Policy;
use tidemark_domain::time::Timestamp;

/// Facts in one transaction.
const BATCH: usize = 5_000;
/// Standard input is held in memory, up to this.
const INPUT_MAX: u64 = 1 << 30;
/// Files in one import.
const FILES_MAX: usize = 100_000;

/// What to import.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Directories, files, or `-`.
    pub paths: Vec<PathBuf>,
    /// The name for every control plane in it, where the caller knows better.
    pub control_plane: Option<CpName>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Files that were read.
    pub files: usize,
    /// Lines that were read.
    pub lines: u64,
    /// Facts that were stored.
    pub facts: u64,
    /// Lines that could not be read.
    pub damaged: u64,
    /// The first of them.
    pub told: Vec<DamagedLine>,
    /// Files that were refused, each with the reason.
    pub refused: Vec<String>,
    /// Files that hold nothing with a time, such as the text of `/metrics` alone.
    pub without_time: Vec<String>,
    /// Observations that name no node that can be named.
    pub left_out: u64,
    /// Control planes that facts were stored of.
    pub control_planes: Vec<CpName>,
}

/// Why nothing could be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An input cannot be read.
    #[error("{path}: cannot be read")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing at a path.
    #[error("{0}: no recording (*.jsonl) there")]
    Empty(String),
    /// More files than an import may have.
    #[error("more than {FILES_MAX} files")]
    TooMany,
    /// The database refused.
    #[error("the facts could not be stored")]
    Store(#[from] StoreError),
    /// The service refused, or could not be reached.
    #[error(transparent)]
    Service(#[from] RemoteError),
}

/// Where facts of an import go.
pub enum Target<'a> {
    /// A database that no service has open.
    Database {
        /// The store.
        store: &'a Store,
        /// The fleet of that store, which tells what follows from a fact.
        board: &'a mut Board,
    },
    /// A running service.
    Service(&'a Remote),
}

impl Target<'_> {
    async fn taken(&self, first_digest: &str) -> Result<Option<Taken>, ImportError> {
        match self {
            Self::Database { store, .. } => Ok(store.taken(first_digest).await?),
            Self::Service(remote) => Ok(remote.taken(first_digest).await?),
        }
    }

    async fn newest_word_at(&self, control_plane: &CpName) -> Result<Option<Timestamp>, ImportError> {
        match self {
            Self::Database { store, .. } => Ok(store.newest_word_at(control_plane).await?),
            Self::Service(remote) => Ok(remote.newest_word_at(control_plane).await?),
        }
    }

    /// Stores facts, with what follows from them, and how far each recording was taken.
    async fn store(&mut self, facts: Vec<Fact>, taken: Vec<Taken>) -> Result<u64, ImportError> {
        match self {
            Self::Database { store, board } => {
                let mut all = Vec::with_capacity(facts.len());
                for fact in facts {
                    all.extend(board.observe(&fact));
                    all.push(fact);
                }
                store.commit(&all, &[], &taken).await?;
                Ok(all.len() as u64)
            }
            Self::Service(remote) => {
                let count = facts.len() as u64;
                remote.send(&Parcel { facts, taken }).await?;
                Ok(count)
            }
        }
    }
}

/// A recording that takes part.
struct Input {
    origin: Origin,
    first_digest: String,
    control_plane: CpName,
    /// Lines that were taken by an earlier import.
    taken_lines: u64,
    lines: Lines,
    next: Option<Step>,
    /// Lines that are in the facts so far, and their digest.
    reached: (u64, String),
}

/// Imports recordings. `progress` is told how many bytes of how many are read.
///
/// # Errors
/// See [`ImportError`]; what was stored until then stays, and a repeat goes on from there.
pub async fn import(
    plan: &Plan,
    target: &mut Target<'_>,
    policy: &Policy,
    mut progress: impl FnMut(u64, u64),
) -> Result<Outcome, ImportError> {
    let mut outcome = Outcome::default();
    let mut inputs = open_inputs(plan, target, &mut outcome).await?;
    let bytes: u64 = inputs.iter().map(|input| input.origin.bytes()).sum();
    let mut newest = BTreeMap::new();
    for input in &inputs {
        if !newest.contains_key(&input.control_plane) {
            newest.insert(input.control_plane.clone(), target.newest_word_at(&input.control_plane).await?);
        }
    }
    let mut assemblers: BTreeMap<CpName, Assembler> = BTreeMap::new();
    let mut watched: BTreeMap<(CpName, Source), Timestamp> = BTreeMap::new();
    let mut heap = BinaryHeap::new();
    for (index, input) in inputs.iter_mut().enumerate() {
        advance(input)?;
        if let Some(step) = &input.next {
            heap.push(Reverse((step.at_ms, index, step.line)));
        }
    }
    let mut batch: Vec<Fact> = Vec::new();
    while let Some(Reverse((_, index, _))) = heap.pop() {
        let input = &mut inputs[index];
        let Some(step) = input.next.take() else { continue };
        let name = &input.control_plane;
        let assembler = assemblers.entry(name.clone()).or_insert_with(|| Assembler::new(name.clone()));
        let is_new = step.line > input.taken_lines;
        let mut too_old = false;
        for observed in &step.observed {
            for fact in assembler.take(observed) {
                if !is_new {
                    continue;
                }
                if newest.get(name).copied().flatten().is_some_and(|newest| fact.recorded_at < newest) {
                    too_old = true;
                    continue;
                }
                let source = (name.clone(), fact.source);
                if !watched.contains_key(&source) {
                    let interval_ms = u32::try_from(policy.report_interval_ms).unwrap_or(u32::MAX);
                    let began = What::Listening(Listening::Began { interval_ms });
                    batch.push(Fact { at: fact.recorded_at, what: began, ..fact.clone() });
                }
                watched.insert(source, fact.recorded_at);
                batch.push(fact);
            }
        }
        if too_old {
            outcome.refused.push(format!("{}: older than the newest version of {name}", input.origin.name()));
            input.taken_lines = u64::MAX;
        }
        input.reached = (input.lines.line(), input.lines.digest());
        advance(input)?;
        if let Some(step) = &input.next {
            heap.push(Reverse((step.at_ms, index, step.line)));
        }
        if batch.len() >= BATCH {
            outcome.facts += store(target, &mut batch, &inputs).await?;
            progress(inputs.iter().map(|input| input.lines.bytes).sum(), bytes);
        }
    }
    for ((control_plane, source), last) in watched {
        let at = last.plus(1);
        let what = What::Listening(Listening::Ended);
        if !outcome.control_planes.contains(&control_plane) {
            outcome.control_planes.push(control_plane.clone());
        }
        // Recorded with the last fact, so that the last moment that is recorded is the one before the end.
        batch.push(Fact { at, recorded_at: last, control_plane, source, what });
    }
    for input in &mut inputs {
        input.reached = (input.lines.line(), input.lines.digest());
        outcome.files += 1;
        outcome.lines += input.lines.line().saturating_sub(input.taken_lines);
        outcome.damaged += input.lines.damaged;
        outcome.told.append(&mut input.lines.told);
    }
    outcome.facts += store(target, &mut batch, &inputs).await?;
    outcome.left_out = assemblers.values().map(Assembler::left_out).sum();
    progress(bytes, bytes);
    Ok(outcome)
}

/// Stores a batch with what follows from its facts, and how far each recording was taken.
async fn store(target: &mut Target<'_>, batch: &mut Vec<Fact>, inputs: &[Input]) -> Result<u64, ImportError> {
    if batch.is_empty() {
        return Ok(0);
    }
    let at = batch.last().map_or(Timestamp::default(), |fact| fact.recorded_at);
    let taken: Vec<Taken> = inputs
        .iter()
        .filter(|input| input.taken_lines != u64::MAX && input.reached.0 > input.taken_lines)
        .map(|input| Taken {
            first_digest: input.first_digest.clone(),
            control_plane: input.control_plane.clone(),
            lines: input.reached.0,
            prefix_digest: input.reached.1.clone(),
            at,
        })
        .collect();
    target.store(std::mem::take(batch), taken).await
}

fn advance(input: &mut Input) -> Result<(), ImportError> {
    input.next = input.lines.step().map_err(|source| ImportError::Read { path: input.origin.name(), source })?;
    Ok(())
}

async fn open_inputs(plan: &Plan, target: &Target<'_>, outcome: &mut Outcome) -> Result<Vec<Input>, ImportError> {
    let mut surveyed = Vec::new();
    for origin in origins(&plan.paths)? {
        let read = |source| ImportError::Read { path: origin.name(), source };
        let text =
            matches!(&origin, Origin::File(path) if path.extension().is_some_and(|extension| extension == "txt"));
        if text {
            outcome.without_time.push(origin.name());
            continue;
        }
        let Some(first) = recording::first_digest(&origin).map_err(read)? else { continue };
        let taken = target.taken(&first).await?;
        let survey = recording::survey(&origin, taken.as_ref().map_or(0, |taken| taken.lines)).map_err(read)?;
        surveyed.push((origin.clone(), first, taken, survey));
    }
    // The cluster of a folder is that of any recording in it.
    let mut clusters: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (origin, _, _, survey) in &surveyed {
        if let (Some(folder), Some(cluster_id)) = (origin.folder(), &survey.cluster_id) {
            clusters.entry(folder.to_owned()).or_insert_with(|| cluster_id.clone());
        }
    }
    let mut inputs = Vec::new();
    for (origin, first_digest, taken, survey) in surveyed {
        let cluster_id = origin.folder().and_then(|folder| clusters.get(folder)).or(survey.cluster_id.as_ref());
        let named = || name_of(cluster_id, origin.folder());
        let control_plane = match &taken {
            Some(taken) => taken.control_plane.clone(),
            None => plan.control_plane.clone().unwrap_or_else(named),
        };
        let mut taken_lines = 0;
        if let Some(taken) = &taken {
            taken_lines = taken.lines;
            if survey.lines >= taken.lines && survey.prefix_digest.as_ref() != Some(&taken.prefix_digest) {
                outcome.refused.push(format!(
                    "{}: begins like a recording that was imported, and differs within its first {} lines",
                    origin.name(),
                    taken.lines
                ));
                continue;
            }
        }
        let lines = Lines::open(&origin).map_err(|source| ImportError::Read { path: origin.name(), source })?;
        let reached = (taken_lines, String::new());
        inputs.push(Input { origin, first_digest, control_plane, taken_lines, lines, next: None, reached });
    }
    Ok(inputs)
}

/// A control plane's name from its cluster id, else from the folder; characters that a name cannot have become `-`.
fn name_of(cluster_id: Option<&String>, folder: Option<&Path>) -> CpName {
    let folder = folder.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let text = cluster_id.cloned().or(folder).unwrap_or_else(|| "recording".to_owned());
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c) { c } else { '-' };
    let name: String = text.to_ascii_lowercase().chars().take(63).map(allowed).collect();
    let name = name.trim_start_matches(['.', '_', '-']);
    name.parse().or_else(|_| "recording".parse()).expect("a constant name is a name")
}

/// The recordings at these paths, in the order of their names.
fn origins(paths: &[PathBuf]) -> Result<Vec<Origin>, ImportError> {
    let mut origins = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().take(INPUT_MAX).read_to_end(&mut bytes);
            read.map_err(|source| ImportError::Read { path: "standard input".into(), source })?;
            origins.push(Origin::Input(bytes.into()));
            continue;
        }
        let before = origins.len();
        walk(path, &mut origins)?;
        if origins.len() == before {
            return Err(ImportError::Empty(path.display().to_string()));
        }
    }
    Ok(origins)
}

fn walk(path: &Path, origins: &mut Vec<Origin>) -> Result<(), ImportError> {
    let read = |source| ImportError::Read { path: path.display().to_string(), source };
    if path.metadata().map_err(read)?.is_file() {
        origins.push(Origin::File(path.to_owned()));
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in path.read_dir().map_err(read)? {
        entries.push(entry.map_err(read)?.path());
    }
    entries.sort();
    for entry in entries {
        let recorded = entry.extension().is_some_and(|extension| extension == "jsonl" || extension == "txt");
        let metadata = entry.symlink_metadata().map_err(read)?;
        if metadata.is_dir() {
            walk(&entry, origins)?;
        } else if metadata.is_file() && recorded {
            origins.push(Origin::File(entry));
        }
        if origins.len() > FILES_MAX {
            return Err(ImportError::TooMany);
        }
    }
    Ok(())
}
