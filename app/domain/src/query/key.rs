//! The key of a page: where in an order the next one begins.

use super::Query;
use super::order::{Position, Sort, Value};
use crate::id::{CpName, NodeId};
use std::fmt;

/// The place in a list after which the next page begins. Its text is safe in a URL and means nothing to others. It
/// names a position, not a node: nodes that come and go between two pages do not shift it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) position: Position<String>,
}

/// Why a text is not a key of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKey;

impl fmt::Display for NotAKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the key of a page is what an answer gave as `next`, with the same order of the list")
    }
}

impl std::error::Error for NotAKey {}

impl Key {
    /// Characters of a key at most: a hostname of 256 characters, a control plane's name and an id, encoded.
    const CHARS_MAX: usize = 2_400;

    /// Reads what [`Key`] printed, for a question in the same order.
    pub fn parse(text: &str, query: &Query) -> Result<Self, NotAKey> {
        if text.len() > Self::CHARS_MAX {
            return Err(NotAKey);
        }
        let bytes = from_base64url(text).ok_or(NotAKey)?;
        let (plain, sum) = bytes.split_last_chunk::<4>().ok_or(NotAKey).map(|(plain, sum)| (plain, *sum))?;
        if checksum(plain) != sum {
            return Err(NotAKey);
        }
        let plain = std::str::from_utf8(plain).map_err(|_| NotAKey)?;
        let key = Self::from_plain(plain).ok_or(NotAKey)?;
        let fits = key.sort == query.sort && key.reversed == query.reversed;
        if fits && key.to_string() == text { Ok(key) } else { Err(NotAKey) }
    }

    /// Fields with line feeds between them: none of them can have one.
    fn plain(&self) -> String {
        let order = format!("{}{}", if self.reversed { "-" } else { "" }, self.sort.word());
        let value = match &self.position.value {
            Value::Worst(rank, behind, since) => format!("{rank} {behind} {since}"),
            Value::Name(name) => name.clone(),
            Value::Number(number) => number.to_string(),
            Value::Gateway([major, minor, patch, fourth], text) => format!("{major} {minor} {patch} {fourth} {text}"),
        };
        format!("{order}\n{}\n{}\n{value}", self.position.control_plane, self.position.id)
    }

    fn from_plain(plain: &str) -> Option<Self> {
        let fields: Vec<&str> = plain.split('\n').collect();
        let [order, control_plane, id, value] = fields.as_slice() else { return None };
        let (reversed, word) = order.strip_prefix('-').map_or((false, *order), |word| (true, word));
        let sort = Sort::ALL.into_iter().find(|sort| sort.word() == word)?;
        let parts: Vec<&str> = value.split(' ').collect();
        let value = match sort {
            Sort::Worst => match parts.as_slice() {
                [rank, behind, since] => Value::Worst(rank.parse().ok()?, behind.parse().ok()?, since.parse().ok()?),
                _ => return None,
            },
            Sort::Name => Value::Name((*value).to_owned()),
            Sort::Since | Sort::Behind | Sort::Last => Value::Number(value.parse().ok()?),
            Sort::Gateway => match parts.as_slice() {
                [major, minor, patch, fourth, text] => {
                    let numbers = [major.parse().ok()?, minor.parse().ok()?, patch.parse().ok()?, fourth.parse().ok()?];
                    Value::Gateway(numbers, (*text).to_owned())
                }
                _ => return None,
            },
        };
        let control_plane = control_plane.parse::<CpName>().ok()?.to_string();
        let id = id.parse::<NodeId>().ok()?.to_string();
        Some(Self { sort, reversed, position: Position { value, control_plane, id } })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.plain().into_bytes();
        bytes.extend(checksum(&bytes));
        out.write_str(&to_base64url(&bytes))
    }
}

/// FNV-1a: finds a key that was cut or mistyped. It keeps nobody out, and need not: a key opens no door.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let sum = bytes.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    sum.to_be_bytes()
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn to_base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(BASE64URL[(group >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for character in chunk {
            let digit = BASE64URL.iter().position(|known| known == character)?;
            group = group << 6 | u32::try_from(digit).ok()?;
        }
        group <<= 6 * (4 - chunk.len());
        bytes.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}
