//! What traffic adds up to: sums of requests, what they may be split by, and what may be asked of them.
//!
//! Requests are not kept; sums of them are, in four tables ([`Table`]), as one cube of everything would grow with the
//! product of all names. So a question can combine only what one table has; [`table`] says which that is, or what cannot
//! be told together.

use crate::sketch::{Sketch, put, take};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Requests and what they took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests by the first digit of their status; the first for those without one.
    pub by_class: [u64; 6],
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes that clients got.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the answer.
    pub total: Sketch,
    /// What the gateway and its plugins took of that.
    pub gateway: Sketch,
    /// What the upstream took of that, for requests that went to one.
    pub upstream: Sketch,
}

impl Sums {
    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.by_class.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Requests that the gateway or its upstream failed (5xx).
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.by_class[5]
    }

    /// Adds requests of one status.
    pub fn count(&mut self, status: u16, requests: u64) {
        let class = &mut self.by_class[class(status)];
        *class = class.saturating_add(requests);
    }

    /// Adds all of another sum.
    pub fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        self.total.merge(&other.total);
        self.gateway.merge(&other.gateway);
        self.upstream.merge(&other.upstream);
    }

    /// Adds the counts and bytes of another sum, without its latencies.
    pub fn merge_counts(&mut self, other: &Self) {
        for (mine, theirs) in self.by_class.iter_mut().zip(other.by_class) {
            *mine = mine.saturating_add(theirs);
        }
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
    }

    /// Appends the sums as bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.by_class.iter().for_each(|count| put(out, *count));
        put(out, self.bytes_in);
        put(out, self.bytes_out);
        [&self.total, &self.gateway, &self.upstream].into_iter().for_each(|sketch| sketch.write(out));
    }

    /// Reads what [`Self::write`] wrote, and leaves what follows. `None` if it is not that.
    pub fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut sums = Self::default();
        for count in &mut sums.by_class {
            *count = take(bytes)?;
        }
        sums.bytes_in = take(bytes)?;
        sums.bytes_out = take(bytes)?;
        sums.total = Sketch::read(bytes)?;
        sums.gateway = Sketch::read(bytes)?;
        sums.upstream = Sketch::read(bytes)?;
        Some(sums)
    }

    /// Passes over what [`Self::write`] wrote. `None` if it is not that.
    pub fn skip(bytes: &mut &[u8]) -> Option<()> {
        for _ in 0..8 {
            take(bytes)?;
        }
        for _ in 0..3 {
            Sketch::skip(bytes)?;
        }
        Some(())
    }
}

/// The first digit of a status that has one.
#[must_use]
pub const fn class(status: u16) -> usize {
    match status {
        100..600 => (status / 100) as usize,
        _ => 0,
    }
}

/// The tables that sums are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// By service, route and status.
    Route,
    /// By node.
    Node,
    /// By consumer and application; without latencies.
    Consumer,
    /// By service, route and the configuration version that the node ran. A node's minute in which it changed its
    /// version is in no row.
    Version,
}

impl Table {
    /// Every table, in the order of their numbers in the store.
    pub const ALL: [Self; 4] = [Self::Route, Self::Node, Self::Consumer, Self::Version];

    /// What its rows are told apart by, beside the control plane.
    #[must_use]
    pub const fn columns(self) -> &'static [By] {
        match self {
            Self::Route => &[By::Service, By::Route, By::Status],
            Self::Node => &[By::Node],
            Self::Consumer => &[By::Consumer, By::Application],
            Self::Version => &[By::Service, By::Route, By::Version],
        }
    }

    /// Whether its rows say how long requests took.
    #[must_use]
    pub const fn has_latencies(self) -> bool {
        !matches!(self, Self::Consumer)
    }

    /// Whether it can tell rows apart by this. What nodes have in common is known for each node.
    #[must_use]
    pub fn tells(self, by: By) -> bool {
        match by {
            By::ControlPlane => true,
            By::Region | By::Gateway => matches!(self, Self::Node),
            other => self.columns().contains(&other),
        }
    }
}

/// What traffic may be split by, and narrowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The control plane.
    ControlPlane,
    /// Kong's service.
    Service,
    /// Kong's route.
    Route,
    /// The status of the answer.
    Status,
    /// The node that served.
    Node,
    /// The node's label `region`, as it is now.
    Region,
    /// The node's gateway version, as it is now.
    Gateway,
    /// The configuration version that the node ran.
    Version,
    /// Kong's consumer.
    Consumer,
    /// The application.
    Application,
}

impl By {
    /// All, in the order in which pages offer them.
    pub const ALL: [Self; 10] = [
        Self::Route,
        Self::Service,
        Self::Status,
        Self::Version,
        Self::Node,
        Self::Region,
        Self::Gateway,
        Self::Consumer,
        Self::Application,
        Self::ControlPlane,
    ];

    /// The word of URLs and of REST.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ControlPlane => "cp",
            Self::Service => "service",
            Self::Route => "route",
            Self::Status => "status",
            Self::Node => "node",
            Self::Region => "region",
            Self::Gateway => "gateway",
            Self::Version => "config",
            Self::Consumer => "consumer",
            Self::Application => "application",
        }
    }

    /// The name that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ControlPlane => "Control plane",
            Self::Service => "Service",
            Self::Route => "Route",
            Self::Status => "Status",
            Self::Node => "Node",
            Self::Region => "Region",
            Self::Gateway => "Gateway version",
            Self::Version => "Configuration version",
            Self::Consumer => "Consumer",
            Self::Application => "Application",
        }
    }
}

impl By {
    /// What one row is split by, once the question is narrowed to it.
    #[must_use]
    pub const fn inside(self) -> Self {
        match self {
            Self::ControlPlane | Self::Status | Self::Service | Self::Version => Self::Route,
            Self::Route => Self::Status,
            Self::Node | Self::Region => Self::Gateway,
            Self::Gateway => Self::Node,
            Self::Consumer => Self::Application,
            Self::Application => Self::Consumer,
        }
    }
}

impl FromStr for By {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|by| by.word() == text).ok_or(())
    }
}

/// Two things that no table has together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTogether(pub By, pub By);

impl fmt::Display for NotTogether {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(left, right) = self;
        write!(out, "traffic is not kept by {} and {} together", left.word(), right.word())
    }
}

/// The table that can tell traffic apart by one thing, narrowed to others. Where several can, the one with the fewest
/// rows for the question: routes before versions, as the latter lacks minutes.
///
/// # Errors
/// Two of them that no table has together.
pub fn table(by: By, only: &[By]) -> Result<Table, NotTogether> {
    let fits = |table: &Table| table.tells(by) && only.iter().all(|one| table.tells(*one));
    Table::ALL.into_iter().find(fits).ok_or_else(|| {
        let all: Vec<By> = std::iter::once(by).chain(only.iter().copied()).collect();
        let apart = |left: By, right: By| !Table::ALL.iter().any(|table| table.tells(left) && table.tells(right));
        let pairs = all.iter().flat_map(|left| all.iter().map(move |right| (*left, *right)));
        let (left, right) =
            pairs.into_iter().find(|(left, right)| apart(*left, *right)).unwrap_or((all[0], all[all.len() - 1]));
        NotTogether(left, right)
    })
}

/// How long one row of sums is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, from midnight to midnight UTC.
    Day,
}

impl Step {
    /// All, shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// The beginning of the step that a second lies in.
    #[must_use]
    pub const fn floor(self, at_s: i64) -> i64 {
        at_s.div_euclid(self.seconds()) * self.seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_question_is_answered_by_the_first_table_that_has_all_of_it() {
        #[track_caller]
        fn check(by: By, only: &[By], expected: Result<Table, NotTogether>) {
            assert_eq!(table(by, only), expected, "{by:?} of {only:?}");
        }
        check(By::Route, &[], Ok(Table::Route));
        check(By::Status, &[By::Route, By::ControlPlane], Ok(Table::Route));
        check(By::ControlPlane, &[], Ok(Table::Route));
        check(By::ControlPlane, &[By::Node], Ok(Table::Node));
        check(By::Region, &[By::Gateway], Ok(Table::Node));
        check(By::Application, &[By::Consumer], Ok(Table::Consumer));
        check(By::Route, &[By::Version], Ok(Table::Version));
        check(By::Version, &[], Ok(Table::Version));
        check(By::Route, &[By::Consumer], Err(NotTogether(By::Route, By::Consumer)));
        check(By::Status, &[By::Version], Err(NotTogether(By::Status, By::Version)));
        check(By::Node, &[By::ControlPlane, By::Service], Err(NotTogether(By::Node, By::Service)));
    }

    #[test]
    fn every_word_is_read_as_what_it_stands_for() {
        for by in By::ALL {
            assert!(table(by.inside(), &[by]).is_ok(), "{by:?}");
            assert_eq!(by.word().parse(), Ok(by));
            assert!(Table::ALL.iter().any(|table| table.tells(by)), "{by:?} is in no table");
        }
    }

    #[test]
    fn classes_have_both_edges() {
        let classes = [0, 99, 100, 199, 200, 404, 499, 500, 599, 600, u16::MAX].map(class);
        assert_eq!(classes, [0, 0, 1, 1, 2, 4, 4, 5, 5, 0, 0]);
    }

    fn sums() -> impl Strategy<Value = Sums> {
        let values = || prop::collection::vec(0.0..10_000.0_f64, 0..20);
        (any::<[u32; 6]>(), any::<u32>(), any::<u32>(), values(), values(), values()).prop_map(
            |(by_class, bytes_in, bytes_out, total, gateway, upstream)| {
                let sketch = |values: Vec<f64>| {
                    let mut sketch = Sketch::default();
                    values.into_iter().for_each(|value| sketch.add(value, 1));
                    sketch
                };
                Sums {
                    by_class: by_class.map(u64::from),
                    bytes_in: bytes_in.into(),
                    bytes_out: bytes_out.into(),
                    total: sketch(total),
                    gateway: sketch(gateway),
                    upstream: sketch(upstream),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn sums_are_read_and_passed_over_as_they_were_written(one in sums(), other in sums()) {
            let mut bytes = Vec::new();
            one.write(&mut bytes);
            other.write(&mut bytes);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(Sums::read(&mut rest), Some(one));
            prop_assert_eq!(Sums::read(&mut rest), Some(other));
            prop_assert!(rest.is_empty());
            let mut rest = bytes.as_slice();
            prop_assert_eq!((Sums::skip(&mut rest), Sums::skip(&mut rest)), (Some(()), Some(())));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn merging_adds(one in sums(), other in sums()) {
            let mut both = one.clone();
            both.merge(&other);
            prop_assert_eq!(both.requests(), one.requests() + other.requests());
            prop_assert_eq!(both.total.count(), one.total.count() + other.total.count());
            prop_assert_eq!(both.bytes_out, one.bytes_out + other.bytes_out);
        }
    }
}
