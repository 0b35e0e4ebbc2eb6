//! Facts on their way to the server, on disk: they outlive a server that is away, and the tap itself. Bounded: where the
//! server is away for too long, the oldest go first, and what was lost is said.
//!
//! Files of JSON lines, each named by the number of its first fact: `00000000000000000042.jsonl`. Facts of a spool are
//! numbered from 0 on; [`Spool::stream`] is the spool's name, so that a server knows what it has of it.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tidemark_domain::fact::What;
use tidemark_domain::time::Timestamp;

/// A fact as a tap tells it: whose it is, the parcel says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// When it was so, by the tap's clock.
    pub at: Timestamp,
    pub what: What,
}

/// What a spool holds by default.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A file is complete at a sixteenth of the whole.
const FILES: u64 = 16;
const SUFFIX: &str = ".jsonl";
const NAME: &str = "stream";

/// The spool of one tap.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    /// Held for as long as the spool is open: two taps must not share it.
    _lock: File,
    stream: String,
    bytes_max: u64,
    /// Oldest first; facts are added to the last one.
    files: VecDeque<Part>,
    last: Option<File>,
    /// The number of the next fact.
    next: u64,
    /// Where the reader was last: a number, its file's first number, and its place in it.
    place: Option<(u64, u64, u64)>,
}

#[derive(Debug)]
struct Part {
    first: u64,
    bytes: u64,
}

/// Some facts of a spool, in their order.
#[derive(Debug, Default, PartialEq)]
pub struct Batch {
    /// The number of the first of them.
    pub first: u64,
    pub told: Vec<Told>,
}

impl Spool {
    /// Opens the spool of a folder, or makes one.
    ///
    /// # Errors
    /// If the folder cannot be used, or another tap has it.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            let why = format!("{}: another tap has this spool", folder.display());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
        }
        let name = folder.join(NAME);
        let stream = match std::fs::read_to_string(&name) {
            Ok(stream) if stream.len() == 32 && stream.bytes().all(|byte| byte.is_ascii_hexdigit()) => stream,
            // Nothing is known under this name any more, so it begins anew.
            Ok(_) => new_stream(&name)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new_stream(&name)?,
            Err(error) => return Err(error),
        };
        let mut spool = Self {
            folder: folder.to_owned(),
            _lock: lock,
            stream,
            bytes_max,
            files: VecDeque::new(),
            last: None,
            next: 0,
            place: None,
        };
        spool.find()?;
        Ok(spool)
    }

    /// Its name: 32 hexadecimal digits.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The number that the next fact will have.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|part| part.bytes).sum()
    }

    /// Finds the files that are there. A line that was not written to its end is cut off.
    fn find(&mut self) -> io::Result<()> {
        let mut firsts: Vec<u64> = std::fs::read_dir(&self.folder)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(SUFFIX)?.parse().ok())
            .collect();
        firsts.sort_unstable();
        for first in firsts {
            let path = self.path(first);
            let (lines, bytes) = whole_lines(&path)?;
            OpenOptions::new().write(true).open(&path)?.set_len(bytes)?;
            if bytes == 0 {
                std::fs::remove_file(&path)?;
                continue;
            }
            self.files.push_back(Part { first, bytes });
            self.next = first + lines;
        }
        let told = std::fs::read_to_string(self.folder.join("next")).ok().and_then(|text| text.trim().parse().ok());
        self.next = self.next.max(told.unwrap_or(0));
        Ok(())
    }

    fn path(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:020}{SUFFIX}"))
    }

    /// Adds facts. Where they do not fit, the oldest go: answers how many went.
    ///
    /// # Errors
    /// If they cannot be written; none of them is in the spool then.
    pub fn append(&mut self, told: &[Told]) -> io::Result<u64> {
        let mut lines = Vec::with_capacity(told.len() * 256);
        for told in told {
            serde_json::to_writer(&mut lines, told)?;
            lines.push(b'\n');
        }
        let is_full = self.files.back().is_none_or(|part| part.bytes >= self.bytes_max / FILES);
        if is_full || self.last.is_none() {
            let path = self.path(self.next);
            self.last = Some(OpenOptions::new().create(true).append(true).open(path)?);
            self.files.push_back(Part { first: self.next, bytes: 0 });
        }
        if let (Some(file), Some(part)) = (&mut self.last, self.files.back_mut()) {
            if let Err(error) = file.write_all(&lines) {
                // Half a line must not stand before the next one.
                let _ = file.set_len(part.bytes);
                return Err(error);
            }
            part.bytes += lines.len() as u64;
        }
        self.next += told.len() as u64;
        let mut lost = 0;
        while self.bytes() > self.bytes_max && self.files.len() > 1 {
            let oldest = self.files.pop_front().map_or(0, |part| part.first);
            let follows = self.files.front().map_or(self.next, |part| part.first);
            std::fs::remove_file(self.path(oldest))?;
            lost += follows - oldest;
        }
        Ok(lost)
    }

    /// Facts from a number on, at most `max` of them; where that one is gone, from the oldest on.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn from(&mut self, number: u64, max: usize) -> io::Result<Batch> {
        let Some(at) =
            self.files.iter().rposition(|part| part.first <= number).or((!self.files.is_empty()).then_some(0))
        else {
            return Ok(Batch { first: self.next, told: Vec::new() });
        };
        let (first, bytes) = (self.files[at].first, self.files[at].bytes);
        let number = number.max(first);
        let end = self.files.get(at + 1).map_or(self.next, |part| part.first);
        if number >= end {
            return Ok(Batch { first: self.next, told: Vec::new() });
        }
        let mut file = File::open(self.path(first))?;
        let (mut at_number, mut offset) = match self.place {
            Some((known, in_file, offset)) if in_file == first && known <= number => (known, offset),
            _ => (first, 0),
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut lines = BufReader::new(file.take(bytes - offset));
        let mut found = Batch { first: number, told: Vec::new() };
        let mut line = Vec::new();
        while found.told.len() < max && at_number < end {
            line.clear();
            let read = lines.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            offset += read as u64;
            at_number += 1;
            if at_number > number {
                found.told.push(serde_json::from_slice(&line)?);
            }
        }
        self.place = Some((at_number, first, offset));
        Ok(found)
    }

    /// The server has everything before this number: files that hold nothing else go.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn has(&mut self, number: u64) -> io::Result<()> {
        loop {
            let follows = self.files.get(1).map_or(self.next, |part| part.first);
            let Some(oldest) = self.files.front().filter(|_| follows <= number) else { return Ok(()) };
            let first = oldest.first;
            if self.files.len() == 1 {
                // Numbers go on after a start with an empty spool.
                std::fs::write(self.folder.join("next"), self.next.to_string())?;
                self.last = None;
            }
            std::fs::remove_file(self.path(first))?;
            self.files.pop_front();
        }
    }
}

fn new_stream(path: &Path) -> io::Result<String> {
    let stream = uuid::Uuid::new_v4().simple().to_string();
    std::fs::write(path, &stream)?;
    Ok(stream)
}

/// Lines that end, and the bytes up to the last end.
fn whole_lines(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut lines, mut bytes) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line)?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((lines, bytes));
        }
        lines += 1;
        bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tempfile::TempDir;

    fn told(number: u64) -> Told {
        Told { at: Timestamp::from_ms(i64::try_from(number).unwrap()), what: What::Read }
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.told.iter().map(|told| u64::try_from(told.at.ms()).unwrap()).collect()
    }

    #[test]
    fn facts_come_back_in_their_order_and_after_a_restart() {
        let folder = TempDir::new().unwrap();
        let mut spool = Spool::open(folder.path(), BYTES_MAX).unwrap();
        let stream = spool.stream().to_owned();
        spool.append(&[told(0), told(1)]).unwrap();
        spool.append(&[told(2)]).unwrap();
        assert_eq!(numbers(&spool.from(0, 2).unwrap()), [0, 1]);
        assert_eq!(numbers(&spool.from(2, 9).unwrap()), [2]);
        assert_eq!(numbers(&spool.from(1, 9).unwrap()), [1, 2], "asked for again");
        assert_eq!(spool.from(3, 9).unwrap(), Batch { first: 3, told: vec![] });
        drop(spool);
        let mut spool = Spool::open(folder.path(), BYTES_MAX).unwrap();
        assert_eq!((spool.stream(), spool.next()), (stream.as_str(), 3));
        spool.append(&[told(3)]).unwrap();
        assert_eq!(numbers(&spool.from(1, 2).unwrap()), [1, 2]);
        // All of it is there: numbers go on nevertheless.
        spool.has(4).unwrap();
        assert_eq!(spool.bytes(), 0);
        drop(spool);
        let mut spool = Spool::open(folder.path(), BYTES_MAX).unwrap();
        spool.append(&[told(4)]).unwrap();
        assert_eq!(spool.from(0, 9).unwrap(), Batch { first: 4, told: vec![told(4)] });
    }

    #[test]
    fn a_line_that_was_cut_off_is_none() {
        let folder = TempDir::new().unwrap();
        let mut spool = Spool::open(folder.path(), BYTES_MAX).unwrap();
        spool.append(&[told(0), told(1)]).unwrap();
        drop(spool);
        let file = folder.path().join("00000000000000000000.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 3]).unwrap();
        let mut spool = Spool::open(folder.path(), BYTES_MAX).unwrap();
        assert_eq!(spool.next(), 1);
        spool.append(&[told(5)]).unwrap();
        assert_eq!(numbers(&spool.from(0, 9).unwrap()), [0]);
        assert_eq!(numbers(&spool.from(1, 9).unwrap()), [5]);
    }

    #[test]
    fn a_spool_belongs_to_one_tap() {
        let folder = TempDir::new().unwrap();
        let spool = Spool::open(folder.path(), BYTES_MAX).unwrap();
        let error = Spool::open(folder.path(), BYTES_MAX).unwrap_err();
        assert!(error.to_string().contains("another tap has this spool"), "{error}");
        drop(spool);
        Spool::open(folder.path(), BYTES_MAX).unwrap();
    }

    proptest! {
        /// Whatever is added, asked for, taken and lost: no fact comes under another's number, and the bound holds.
        #[test]
        fn a_fact_keeps_its_number(steps in prop::collection::vec((0..4_u8, 0..30_u64), 1..60)) {
            const MAX: u64 = 2_000;
            let folder = TempDir::new().unwrap();
            let mut spool = Spool::open(folder.path(), MAX).unwrap();
            let (mut next, mut gone) = (0, 0);
            for (step, size) in steps {
                match step {
                    0 => {
                        let facts: Vec<Told> = (next..next + size).map(told).collect();
                        next += size;
                        gone += spool.append(&facts).unwrap();
                        let one_call = size * 60;
                        prop_assert!(spool.bytes() <= MAX + one_call, "{} bytes", spool.bytes());
                    }
                    1 => {
                        let batch = spool.from(next.saturating_sub(size), 7).unwrap();
                        let expected: Vec<u64> = (batch.first..).take(batch.told.len()).collect();
                        prop_assert_eq!(numbers(&batch), expected);
                        prop_assert!(batch.first >= next.saturating_sub(size).min(next));
                    }
                    2 => spool.has(next.saturating_sub(size)).unwrap(),
                    _ => {
                        drop(spool);
                        spool = Spool::open(folder.path(), MAX).unwrap();
                    }
                }
                prop_assert_eq!(spool.next(), next);
            }
            prop_assert!(gone <= next);
        }
    }
}
