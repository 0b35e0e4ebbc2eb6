//! What may be asked of traffic, and the answers that pages, REST and files share.
//!
//! A question is the whole of a URL: a range, what to split by, and what to narrow to. An answer is complete: it has its
//! sentence, its drawings, and the numbers behind them.

use crate::drawing::Figure;
use crate::time::{DAY, HOUR, Timestamp};
use crate::traffic::By;
use crate::view::AsOf;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Things that a question may be narrowed to, at most.
const ONLY_MAX: usize = 8;
/// Characters of one of them.
const NAME_MAX: usize = 300;
/// The longest range: what is kept by day.
const RANGE_MAX_MS: i64 = 400 * DAY;
/// The shortest: one minute is one row.
const RANGE_MIN_MS: i64 = crate::time::MINUTE;

/// A range that ends now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Last {
    /// One hour.
    #[default]
    Hour,
    /// Six hours.
    SixHours,
    /// A day.
    Day,
    /// Seven days.
    Week,
    /// Thirty days.
    Month,
    /// Three hundred and sixty-five days.
    Year,
}

impl Last {
    /// All, shortest first.
    pub const ALL: [Self; 6] = [Self::Hour, Self::SixHours, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The word of URLs and of links.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::SixHours => "6h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Year => "365d",
        }
    }

    /// As part of a sentence: "in the last …".
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::SixHours => "6 hours",
            Self::Day => "24 hours",
            Self::Week => "7 days",
            Self::Month => "30 days",
            Self::Year => "365 days",
        }
    }

    /// How long it is.
    #[must_use]
    pub const fn ms(self) -> i64 {
        match self {
            Self::Hour => HOUR,
            Self::SixHours => 6 * HOUR,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
            Self::Year => 365 * DAY,
        }
    }
}

/// Of which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Range {
    /// Up to the moment of the answer.
    Last(Last),
    /// Between two moments.
    Between(Timestamp, Timestamp),
}

impl Default for Range {
    fn default() -> Self {
        Self::Last(Last::default())
    }
}

/// A question about traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficQuestion {
    /// Of which time.
    pub range: Range,
    /// What to split by.
    pub by: By,
    /// What to narrow to, by name; each thing at most once. An empty name is "none".
    pub only: Vec<(By, String)>,
}

impl Default for TrafficQuestion {
    fn default() -> Self {
        Self { range: Range::default(), by: By::Route, only: Vec::new() }
    }
}

/// A parameter that is wrong, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongParameter {
    /// Which.
    pub name: String,
    /// What was expected.
    pub reason: String,
}

impl TrafficQuestion {
    /// Reads the parameters of a URL.
    ///
    /// # Errors
    /// The first that is wrong, or that is not known.
    pub fn read(parameters: &[(String, String)]) -> Result<Self, WrongParameter> {
        let mut question = Self::default();
        let (mut from, mut to, mut last) = (None, None, None);
        for (name, value) in parameters {
            let wrong = |reason: &str| WrongParameter { name: name.chars().take(80).collect(), reason: reason.into() };
            // A plus in a query is a space; people paste offsets.
            let moment = || {
                Timestamp::parse(value)
                    .or_else(|| Timestamp::parse(&value.replace(' ', "+")))
                    .ok_or_else(|| wrong("expected a time as RFC 3339, as in 2026-11-20T08:53:57Z"))
            };
            match name.as_str() {
                "range" => {
                    let found = Last::ALL.into_iter().find(|one| one.word() == value);
                    last = Some(found.ok_or_else(|| wrong("expected one of 1h, 6h, 24h, 7d, 30d, 365d"))?);
                }
                "from" => from = Some(moment()?),
                "to" => to = Some(moment()?),
                "by" => {
                    let words = || By::ALL.map(By::word).join(", ");
                    question.by = value.parse().map_err(|()| wrong(&format!("expected one of {}", words())))?;
                }
                _ => {
                    let by: By = name.parse().map_err(|()| wrong("is not a parameter that is known here"))?;
                    if question.only.iter().any(|(one, _)| *one == by) {
                        return Err(wrong("is given twice"));
                    }
                    if value.chars().count() > NAME_MAX {
                        return Err(wrong("is longer than any name that is kept"));
                    }
                    if question.only.len() == ONLY_MAX {
                        return Err(wrong("narrows down one time too many"));
                    }
                    question.only.push((by, value.clone()));
                }
            }
        }
        question.range = match (last, from, to) {
            (Some(last), None, None) => Range::Last(last),
            (None, None, None) => Range::default(),
            (None, Some(from), Some(to)) => {
                let wrong = |reason: &str| Err(WrongParameter { name: "from".into(), reason: reason.into() });
                match to.since(from) {
                    RANGE_MIN_MS..=RANGE_MAX_MS => Range::Between(from, to),
                    ..RANGE_MIN_MS => return wrong("expected at least a minute from from to to"),
                    _ => return wrong("expected at most 400 days from from to to"),
                }
            }
            (Some(_), ..) => {
                return Err(WrongParameter { name: "range".into(), reason: "goes without from and to".into() });
            }
            (None, None, Some(_)) => return Err(WrongParameter { name: "from".into(), reason: "goes with to".into() }),
            (None, Some(_), None) => return Err(WrongParameter { name: "to".into(), reason: "goes with from".into() }),
        };
        let columns: Vec<By> = question.only.iter().map(|(by, _)| *by).collect();
        crate::traffic::table(question.by, &columns)
            .map_err(|error| WrongParameter { name: error.1.word().into(), reason: error.to_string() })?;
        Ok(question)
    }

    /// The parameters of a query, decoded: pairs of names and values. What is not of that form is a name without a value.
    #[must_use]
    pub fn pairs(query: &str) -> Vec<(String, String)> {
        let parts = query.split('&').filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (decoded(name), decoded(value))
            })
            .collect()
    }

    /// The parameters that [`Self::read`] reads, as a query; empty for the default question.
    #[must_use]
    pub fn query(&self) -> String {
        written(&self.parameters())
    }

    /// The same as pairs of names and values.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        match self.range {
            Range::Last(last) if last == Last::default() => {}
            Range::Last(last) => pairs.push(("range", last.word().into())),
            Range::Between(from, to) => pairs.extend([("from", from.to_string()), ("to", to.to_string())]),
        }
        if self.by != By::Route {
            pairs.push(("by", self.by.word().into()));
        }
        pairs.extend(self.only.iter().map(|(by, name)| (by.word(), name.clone())));
        pairs
    }

    /// The same of another time.
    #[must_use]
    pub fn of(&self, last: Last) -> Self {
        Self { range: Range::Last(last), ..self.clone() }
    }

    /// The same, split by something else.
    #[must_use]
    pub fn split(&self, by: By) -> Self {
        Self { by, ..self.clone() }
    }

    /// The same, narrowed to one more thing and split by another; the thing that was split by before is not asked twice.
    #[must_use]
    pub fn narrowed(&self, by: By, name: &str, then: By) -> Self {
        let mut only: Vec<(By, String)> = self.only.iter().filter(|(one, _)| *one != by).cloned().collect();
        only.push((by, name.to_owned()));
        Self { range: self.range, by: then, only }
    }

    /// The same without one of the things that it is narrowed to.
    #[must_use]
    pub fn without(&self, by: By) -> Self {
        let only = self.only.iter().filter(|(one, _)| *one != by).cloned().collect();
        Self { range: self.range, by: self.by, only }
    }
}

/// Pairs of names and values as a query.
#[must_use]
pub fn written<N: AsRef<str>>(pairs: &[(N, String)]) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        let join = if query.is_empty() { "" } else { "&" };
        // Writing into a string does not fail.
        let _ = write!(query, "{join}{}={}", encoded(name.as_ref()), encoded(value));
    }
    query
}

/// A value of a query as it was meant. What is no text is shown as that.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next().copied() {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let ahead = rest.as_slice();
        match (byte, ahead.first().and_then(|one| hex(*one)), ahead.get(1).and_then(|one| hex(*one))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high * 16 + low);
                rest.nth(1);
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A value in a query (RFC 3986, what is not unreserved).
fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// What requests add up to. Latencies are in microseconds, and absent where none were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Those that failed on this side (5xx).
    pub errors: u64,
    /// Those that failed on the client's (4xx).
    pub client_errors: u64,
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes that clients got.
    pub bytes_out: u64,
    /// Half of the requests took no longer.
    pub p50_us: Option<u64>,
    /// 95 % took no longer.
    pub p95_us: Option<u64>,
    /// 99 % took no longer.
    pub p99_us: Option<u64>,
    /// What the gateway took of that in 95 % of the requests.
    pub gateway_p95_us: Option<u64>,
    /// What the upstream took of that in 95 % of those that went to one.
    pub upstream_p95_us: Option<u64>,
}

impl Totals {
    /// The share of requests that failed on this side, in millionths; `None` without requests.
    #[must_use]
    pub fn error_ppm(&self) -> Option<u64> {
        share_ppm(self.errors, self.requests)
    }
}

/// A part of a whole in millionths; `None` of nothing.
#[must_use]
pub fn share_ppm(part: u64, whole: u64) -> Option<u64> {
    let ppm = u128::from(part) * 1_000_000;
    ppm.checked_div(u128::from(whole)).and_then(|ppm| u64::try_from(ppm).ok())
}

/// A share as people read it: `0.42 %`, `12 %`, `<0.01 %`.
#[must_use]
pub fn percent(ppm: u64) -> String {
    match ppm {
        0 => "0 %".into(),
        1..100 => "<0.01 %".into(),
        100..10_000 => format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100),
        10_000..100_000 => format!("{}.{} %", ppm / 10_000, ppm % 10_000 / 1_000),
        _ => format!("{} %", (ppm + 5_000) / 10_000),
    }
}

/// A latency as people read it: `420 µs`, `12 ms`, `1.4 s`.
#[must_use]
pub fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        _ => crate::time::span(i64::try_from(us / 1_000).unwrap_or(i64::MAX)),
    }
}

/// A count as people read it where there is little room: `812`, `12.4k`, `3.1M`.
#[must_use]
pub fn short(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}.{}k", count / 1_000, count % 1_000 / 100),
        1_000_000..1_000_000_000 => format!("{}.{}M", count / 1_000_000, count % 1_000_000 / 100_000),
        _ => format!("{}.{}G", count / 1_000_000_000, count % 1_000_000_000 / 100_000_000),
    }
}

/// Bytes as people read them, in powers of 1,000: `812 B`, `12.4 kB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{}.{} kB", count / 1_000, count % 1_000 / 100),
        1_000_000..1_000_000_000 => format!("{}.{} MB", count / 1_000_000, count % 1_000_000 / 100_000),
        1_000_000_000..1_000_000_000_000 => {
            format!("{}.{} GB", count / 1_000_000_000, count % 1_000_000_000 / 100_000_000)
        }
        _ => format!("{}.{} TB", count / 1_000_000_000_000, count % 1_000_000_000_000 / 100_000_000_000),
    }
}

/// Traffic of a range (`/analytics`, `GET /api/v1/traffic`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// The question.
    pub question: TrafficQuestion,
    /// From when.
    pub from: Timestamp,
    /// Before when.
    pub to: Timestamp,
    /// How long each point of the series is.
    pub step_ms: i64,
    /// The answer in words.
    pub sentence: String,
    /// All of it.
    pub total: Totals,
    /// The same of the period before, as long; `None` where that is not kept any more.
    pub before: Option<Totals>,
    /// By what was asked, most requests first; at most 100.
    pub rows: Vec<TrafficRow>,
    /// Rows beyond those.
    pub left_out: u32,
    /// Over time.
    pub points: Vec<TrafficPoint>,
    /// The points as drawings: requests, failures, latencies.
    pub figures: Vec<Figure>,
    /// Whether latencies are kept for this question.
    pub has_latencies: bool,
    /// Requests of the range that belong to no control plane that is known.
    pub unattributed: u64,
    /// What may be asked about the same range, and what it may be split by.
    pub splits: Vec<By>,
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficRow {
    /// Its name; empty for requests without one.
    pub name: String,
    /// The control plane, where the name is only its own.
    pub control_plane: Option<String>,
    /// More about it: a hostname.
    pub detail: Option<String>,
    /// What its requests add up to.
    pub totals: Totals,
    /// Its share of all requests, in millionths.
    pub share_ppm: u64,
}

/// What one node does: its traffic, and what it uses, of the last day (`/nodes/{cp}/{id}`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTraffic {
    /// The question that leads to its traffic.
    pub question: TrafficQuestion,
    /// Its traffic in words.
    pub sentence: String,
    /// Its traffic and what it uses as drawings.
    pub figures: Vec<Figure>,
}

/// Usage by month (`/usage`, `GET /api/v1/usage`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// Newest first; at most 13, and none before the first that anything was told of.
    pub months: Vec<UsageMonth>,
}

/// One month, as a bill would count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageMonth {
    /// Its first moment, UTC.
    pub from: Timestamp,
    /// It is over: what is told of it will not grow.
    pub is_over: bool,
    /// Requests.
    pub requests: u64,
    /// Services that had any.
    pub services: u32,
    /// Consumers that made any.
    pub consumers: u32,
    /// Applications that made any.
    pub applications: u32,
}

/// What one node uses, over time (`GET /api/v1/nodes/{cp}/{id}/resources`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcesView {
    /// Which answer this is.
    pub as_of: AsOf,
    /// From when.
    pub from: Timestamp,
    /// Before when.
    pub to: Timestamp,
    /// How long each point is.
    pub step_ms: i64,
    /// By name.
    pub resources: Vec<ResourceSeries>,
}

/// One thing that a node uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceSeries {
    /// Its name, with its unit: `memory_workers_bytes`.
    pub name: String,
    /// One for each step; `None` where nothing was told.
    pub points: Vec<Option<ResourcePoint>>,
}

/// Samples of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcePoint {
    /// The least of them.
    pub least: u64,
    /// Their mean.
    pub mean: u64,
    /// The most of them.
    pub most: u64,
}

/// A point of a series. `None`: nothing was told of that time, which is not the same as no requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficPoint {
    /// From when.
    pub at: Timestamp,
    /// What requests of it add up to.
    pub totals: Option<Totals>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(query: &[(&str, &str)]) -> Result<TrafficQuestion, String> {
        let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TrafficQuestion::read(&pairs).map_err(|wrong| wrong.name)
    }

    #[test]
    fn a_question_that_cannot_be_answered_names_its_parameter() {
        #[track_caller]
        fn check(query: &[(&str, &str)], expected: Result<(), &str>) {
            assert_eq!(read(query).map(|_| ()), expected.map_err(str::to_owned), "{query:?}");
        }
        check(&[], Ok(()));
        check(&[("range", "24h"), ("by", "node"), ("cp", "prod")], Ok(()));
        check(&[("range", "25h")], Err("range"));
        check(&[("by", "colour")], Err("by"));
        check(&[("colour", "red")], Err("colour"));
        check(&[("route", "a"), ("route", "b")], Err("route"));
        check(&[("by", "route"), ("consumer", "alice")], Err("consumer"));
        check(&[("from", "2026-11-20T00:00:00Z")], Err("to"));
        check(&[("to", "2026-11-20T00:00:00Z")], Err("from"));
        let (from, minute) = (("from", "2026-11-20T00:00:00Z"), ("to", "2026-11-20T00:01:00Z"));
        check(&[from, minute], Ok(()));
        check(&[from, ("to", "2026-11-20T00:00:59.999Z")], Err("from"));
        check(&[("range", "1h"), from, minute], Err("range"));
        check(&[from, ("to", "2027-12-25T00:00:00Z")], Ok(()));
        check(&[from, ("to", "2027-12-25T00:00:00.001Z")], Err("from"));
        check(&[("route", &"x".repeat(301))], Err("route"));
    }

    #[test]
    fn numbers_read_well_on_both_sides_of_each_edge() {
        let percents = [0, 1, 99, 100, 4_200, 9_999, 10_000, 99_999, 100_000, 999_999, 1_000_000].map(percent);
        let expected =
            ["0 %", "<0.01 %", "<0.01 %", "0.01 %", "0.42 %", "0.99 %", "1.0 %", "9.9 %", "10 %", "100 %", "100 %"];
        assert_eq!(percents, expected);
        let latencies = [0, 999, 1_000, 9_999, 10_000, 999_999, 1_000_000, 59_999_999, 60_000_000].map(latency);
        assert_eq!(latencies, ["0 µs", "999 µs", "1.0 ms", "9.9 ms", "10 ms", "999 ms", "1.0 s", "59.9 s", "1 min"]);
        assert_eq!([9_999, 10_000, 999_999, 1_000_000].map(short), ["9999", "10.0k", "999.9k", "1.0M"]);
        assert_eq!([999, 1_000, 2_900_000].map(bytes), ["999 B", "1.0 kB", "2.9 MB"]);
        assert_eq!((share_ppm(1, 0), share_ppm(u64::MAX, u64::MAX)), (None, Some(1_000_000)));
    }

    proptest! {
        #[test]
        fn a_query_reads_as_the_question_that_it_came_from(
            last in prop::sample::select(Last::ALL.to_vec()),
            name in "\\PC{0,40}",
            by in prop::sample::select(vec![By::Route, By::Service, By::Status, By::ControlPlane]),
        ) {
            let question = TrafficQuestion {
                range: Range::Last(last),
                by,
                only: vec![(By::Service, name)],
            };
            let pairs = TrafficQuestion::pairs(&question.query());
            prop_assert_eq!(TrafficQuestion::read(&pairs), Ok(question));
        }
    }
}
