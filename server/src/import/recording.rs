//! Recorded sessions as files: which lines they have, what was seen in each, and how far they were taken before. Reads
//! line by line; a file is never held in memory whole.

use crate::kong::facts::{Fact as Seen, Observed};
use crate::kong::recognize::{self, Damage, LINE_MAX, Line};
use crate::kong::recording::Recording;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// Damaged lines that are told one by one; all are counted.
pub const TOLD_MAX: usize = 100;

/// Where lines come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// Standard input, read whole: it cannot be read twice.
    Input(std::sync::Arc<[u8]>),
}

impl Origin {
    /// The name that people know it by.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Input(_) => "standard input".to_owned(),
        }
    }

    /// The folder that groups it with others of one session.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::File(path) => path.parent(),
            Self::Input(_) => None,
        }
    }

    /// Bytes to read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File(path) => path.metadata().map_or(0, |metadata| metadata.len()),
            Self::Input(bytes) => bytes.len() as u64,
        }
    }

    fn open(&self) -> std::io::Result<Box<dyn BufRead + Send>> {
        Ok(match self {
            Self::File(path) => Box::new(BufReader::with_capacity(1 << 16, File::open(path)?)),
            Self::Input(bytes) => Box::new(Cursor::new(std::sync::Arc::clone(bytes))),
        })
    }
}

/// A line that could not be read.
#[derive(Clone, Debug)]
pub struct DamagedLine {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub damage: String,
}

/// One line's worth of observations.
#[derive(Debug)]
pub struct Step {
    /// When: the time of the first observation, never earlier than the line before.
    pub at_ms: i64,
    /// What was seen.
    pub observed: Vec<Observed>,
    /// The line, from 1.
    pub line: u64,
}

/// A file that is being read.
pub struct Lines {
    origin: Origin,
    reader: Box<dyn BufRead + Send>,
    recording: Option<Recording>,
    line: u64,
    last_ms: i64,
    digest: Sha256,
    finished: bool,
    /// Lines that could not be read.
    pub damaged: u64,
    /// The first of them.
    pub told: Vec<DamagedLine>,
    /// Bytes read so far.
    pub bytes: u64,
}

impl Lines {
    /// Opens a recording.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(origin: &Origin) -> std::io::Result<Self> {
        Ok(Self {
            reader: origin.open()?,
            origin: origin.clone(),
            recording: None,
            line: 0,
            last_ms: i64::MIN,
            digest: Sha256::new(),
            finished: false,
            damaged: 0,
            told: Vec::new(),
            bytes: 0,
        })
    }

    /// The digest of all lines so far.
    #[must_use]
    pub fn digest(&self) -> String {
        hex(&self.digest.clone().finalize())
    }

    /// Lines so far.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// The next line that says something; `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read; a line that makes no sense is counted, and passed over.
    pub fn step(&mut self) -> std::io::Result<Option<Step>> {
        let mut text = Vec::new();
        while !self.finished {
            text.clear();
            let limit = LINE_MAX as u64 + 1;
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut text)?;
            self.bytes += read as u64;
            if read == 0 {
                self.finished = true;
                let rest = self.recording.take().map(Recording::finish).unwrap_or_default();
                return Ok(self.step_of(rest));
            }
            self.line += 1;
            self.digest.update(&text);
            if text.last() != Some(&b'\n') && text.len() > LINE_MAX {
                self.skip_line()?;
                self.damage(&Damage::TooLong);
                continue;
            }
            let Ok(text) = std::str::from_utf8(&text) else {
                self.damage(&Damage::NotJson("not UTF-8".into()));
                continue;
            };
            if text.trim().is_empty() {
                continue;
            }
            match self.seen(text) {
                Ok(observed) => {
                    if let Some(step) = self.step_of(observed) {
                        return Ok(Some(step));
                    }
                }
                Err(damage) => self.damage(&damage),
            }
        }
        Ok(None)
    }

    fn seen(&mut self, text: &str) -> Result<Vec<Observed>, Damage> {
        match recognize::line(text)? {
            Line::Transcript(line) => {
                let name = self.origin.name();
                self.recording.get_or_insert_with(|| Recording::new(&name)).take(line)
            }
            Line::Exchange(exchange) => Ok(exchange.facts()),
            Line::Mark { .. } | Line::LogPost { .. } => Ok(Vec::new()),
        }
    }

    fn step_of(&mut self, observed: Vec<Observed>) -> Option<Step> {
        let at_ms = observed.first()?.at_ms.max(self.last_ms);
        self.last_ms = at_ms;
        Some(Step { at_ms, observed, line: self.line })
    }

    fn damage(&mut self, damage: &Damage) {
        self.damaged += 1;
        if self.told.len() < TOLD_MAX {
            let damage = damage.to_string();
            self.told.push(DamagedLine { file: self.origin.name(), line: self.line, damage });
        }
    }

    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.digest.update(&buffer[..used]);
            self.bytes += used as u64;
            self.reader.consume(used);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

/// What is to be known of a recording before it is merged with others.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The digest of its first record: its name.
    pub first_digest: Option<String>,
    /// The cluster that it is about, where it says so.
    pub cluster_id: Option<String>,
    /// Lines.
    pub lines: u64,
    /// The digest of its first lines, as many as were asked for; `None` if it is shorter.
    pub prefix_digest: Option<String>,
}

/// The digest of the first record of a recording: its name.
///
/// # Errors
/// If it cannot be read.
pub fn first_digest(origin: &Origin) -> std::io::Result<Option<String>> {
    let mut text = Vec::new();
    let mut reader = origin.open()?;
    loop {
        text.clear();
        if reader.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        if !text.trim_ascii().is_empty() {
            return Ok(Some(hex(&Sha256::digest(text.trim_ascii()))));
        }
    }
}

/// Reads a recording once, to know it.
///
/// # Errors
/// If it cannot be read.
pub fn survey(origin: &Origin, prefix_lines: u64) -> std::io::Result<Survey> {
    let mut lines = Lines::open(origin)?;
    let mut survey = Survey { first_digest: first_digest(origin)?, ..Survey::default() };
    let mut reader = origin.open()?;
    let mut digest = Sha256::new();
    let mut text = Vec::new();
    for _ in 0..prefix_lines {
        text.clear();
        if reader.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        survey.lines += 1;
        digest.update(&text);
    }
    if survey.lines == prefix_lines && prefix_lines > 0 {
        survey.prefix_digest = Some(hex(&digest.finalize()));
    }
    while let Some(step) = lines.step()? {
        for observed in &step.observed {
            let named = match &observed.fact {
                Seen::Offered(offer) => offer.cluster_id.clone(),
                Seen::Answered(answer) => answer.cluster_id.clone(),
                _ => None,
            };
            if survey.cluster_id.is_none() {
                survey.cluster_id = named;
            }
        }
    }
    survey.lines = lines.line();
    Ok(survey)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
