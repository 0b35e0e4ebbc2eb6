//! Scenario files: a fleet, what happens to it, and what Tidemark must conclude when. TOML, for people who run gateways.
//!
//! One file is a story and its twin: what carries `only = "story"` or `only = "twin"` is there in one of the two, all
//! else in both. So the one fact in which they differ can be read off the file.

use super::estate::{Counts, Kind, Write};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::id::{CpName, Labels};
use tidemark_domain::notice::{NoticeKind, Severity};
use tidemark_domain::query::Query;
use tidemark_domain::time::{HOUR, MINUTE, SECOND};

/// Nodes of one scenario at most.
pub const NODES_MAX: usize = 100_000;
/// Bytes of a scenario file at most.
pub const FILE_MAX: usize = 256 * 1024;

/// A story and its twin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of the story, `G1a`.
    pub id: String,
    /// The story in one line.
    pub title: String,
    /// What it is about, and what must be shown.
    pub shows: String,
    /// The one fact that the twin changes, and what must be shown then.
    pub twin: Option<String>,
    /// How long it is told.
    pub lasts: Span,
    /// After this its events happen again, and so on for ever; absent: they happen once.
    pub period: Option<Span>,
    /// The seed of all chance.
    #[serde(default = "one")]
    pub seed: u64,
    /// Who publishes.
    #[serde(default)]
    pub control_plane: Vec<ControlPlane>,
    /// Who runs what is published, in groups of alike nodes.
    #[serde(default)]
    pub nodes: Vec<Group>,
    /// What happens, in any order.
    #[serde(default)]
    pub event: Vec<Event>,
    /// What must be concluded.
    #[serde(default)]
    pub expect: Expect,
}

const fn one() -> u64 {
    1
}

/// Which of the two that a file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Telling {
    Story,
    Twin,
}

impl Telling {
    /// Whether what is in `only` this one is told now.
    #[must_use]
    pub fn tells(self, only: Option<Self>) -> bool {
        only.is_none_or(|only| only == self)
    }

    /// `story`, `twin`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Story => "story",
            Self::Twin => "twin",
        }
    }
}

/// A control plane, with one database and one or more replicas.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlane {
    pub name: CpName,
    pub display_name: Option<String>,
    /// Its own software.
    #[serde(default = "kong")]
    pub gateway_version: GatewayVersion,
    /// A preset of [`Counts::PRESETS`].
    #[serde(default, deserialize_with = "entities")]
    pub entities: Entities,
    /// By which protocol it offers configurations.
    #[serde(default)]
    pub sync: Sync,
    /// The hash is made for each gateway version by itself, as Konnect does.
    #[serde(default)]
    pub hash_by_gateway: bool,
    /// What its versions are called where they are announced or expected.
    #[serde(default)]
    pub tokens: Tokens,
    /// Who watches.
    #[serde(default)]
    pub watch: Vec<Watch>,
    /// How often it is asked, by those who ask.
    #[serde(default = "half_a_minute")]
    pub poll_every: Span,
    /// How long a change may take to reach a node.
    pub propagation: Option<Span>,
    /// Every change of it is announced.
    #[serde(default)]
    pub change_feed: bool,
}

fn kong() -> GatewayVersion {
    "3.9.1".parse().expect("a gateway version")
}

const fn half_a_minute() -> Span {
    Span(30 * SECOND)
}

/// What a control plane has in its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entities(pub Counts);

impl Default for Entities {
    fn default() -> Self {
        Self(Counts::SMALL)
    }
}

fn entities<'de, D: Deserializer<'de>>(from: D) -> Result<Entities, D::Error> {
    let word = String::deserialize(from)?;
    let preset = Counts::PRESETS.into_iter().find(|(name, _)| *name == word);
    preset.map(|(_, counts)| Entities(counts)).ok_or_else(|| {
        D::Error::custom(format!(
            "there is no preset {word:?}; there are {}",
            Counts::PRESETS.map(|(name, _)| name).join(", ")
        ))
    })
}

/// How configurations travel from a control plane (`kong-hybrid.md` 2.1, 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// Always whole, `/v1/outlet`.
    #[default]
    Full,
    /// By deltas, as Kong 3.9 with `cluster_incremental_sync`: whole from nothing, and over more than 512 changes.
    Delta,
    /// By JSON-RPC, and always whole, as the Kong master branch with `cluster_rpc_sync`.
    Rpc,
}

/// What versions are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// By nothing but their hashes.
    #[default]
    None,
    /// By names without an order, `release-7`.
    Names,
    /// By the moment of their publication, `2026-11-20.081502`: no two are alike, however often the story is begun.
    Dates,
    /// By ordered tokens, `v02_…`.
    Ordered,
}

/// A way in which Tidemark learns of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// An agent beside each node posts what it repeats.
    Push,
    /// A pipeline announces every version.
    Announcements,
    /// Somebody tells which hash is expected, whenever that moves.
    Expected,
    /// A proxy sees every frame.
    Tap,
    /// A data plane of ours hears every configuration.
    Shadow,
    /// The Admin API is polled.
    AdminApi,
    /// The Status API of each node is polled.
    Status,
}

/// Nodes that are alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Hostnames are this and a number: `edge-1`, `edge-2`, …
    pub name: String,
    /// In only one telling.
    pub only: Option<Telling>,
    pub control_plane: CpName,
    pub count: usize,
    #[serde(default = "kong")]
    pub gateway_version: GatewayVersion,
    pub region: Option<String>,
    pub zone: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When they start, without any configuration; absent: they run since before the story.
    pub joins_at: Option<Span>,
    /// Time from the arrival of a configuration to its use: the middle one, and the one in a hundred.
    #[serde(default = "apply")]
    pub apply: [Span; 2],
    /// The control plane does not tell them of changes: they learn by asking (delta sync only).
    #[serde(default)]
    pub misses_notices: bool,
    /// How far their clock is ahead; negative: behind.
    #[serde(default)]
    pub clock_ahead: Span,
    pub certificate_expires_in_days: Option<u32>,
    pub license_expires_in_days: Option<u32>,
    /// Their Status API is asked, where somebody asks it.
    #[serde(default)]
    pub status_api: bool,
    /// A plugin that the control plane has configured and these nodes do not have.
    pub lacks_plugin: Option<String>,
}

const fn apply() -> [Span; 2] {
    [Span(800), Span(4 * SECOND)]
}

/// Something that happens.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// After the beginning of the story.
    pub at: Span,
    /// In only one telling.
    pub only: Option<Telling>,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

/// What may happen.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Somebody writes, once or often, evenly over a time.
    Write {
        control_plane: CpName,
        write: Write,
        #[serde(default = "once")]
        times: u32,
        #[serde(default)]
        over: Span,
    },
    /// A release of the control plane writes entities down in another way, and does not push. What is written down in
    /// that way already is so no more: the release is taken back.
    CpReleaseChangesRendering {
        control_plane: CpName,
        /// What every route has since.
        every_route_gains: Gain,
    },
    /// The control plane stops, with all its connections.
    CpStops { control_plane: CpName },
    /// It is back.
    CpStarts { control_plane: CpName },
    /// Its database is saved.
    CpBackup { control_plane: CpName },
    /// Its database is what it was at the last backup.
    CpRestore { control_plane: CpName },
    /// A second replica of another release serves half of the nodes that connect from now on.
    CpReplicaJoins { control_plane: CpName, every_route_gains: Gain },
    /// The next configuration never arrives at these nodes, and nobody is told.
    PushIsLost { nodes: Nodes },
    /// They keep what they run, whatever comes.
    NodesStick { nodes: Nodes },
    /// They refuse what comes from now on.
    NodesReject {
        nodes: Nodes,
        message: String,
        entity: Option<String>,
        field: Option<String>,
        /// Their agent says so; else they only go on to repeat the old hash.
        #[serde(default)]
        reported: bool,
    },
    /// They accept everything again.
    NodesRecover { nodes: Nodes },
    /// Their network to the control plane is cut, for a time.
    NodesDisconnect {
        nodes: Nodes,
        #[serde(default)]
        lasts: Span,
        /// How long it takes until all of them are back.
        #[serde(default)]
        back_within: Span,
    },
    /// Their processes stop and start.
    NodesRestart {
        nodes: Nodes,
        #[serde(default = "restart")]
        takes: Span,
        /// What they had on disk is gone.
        #[serde(default)]
        cache_lost: bool,
    },
    /// They stop for good.
    NodesStop { nodes: Nodes },
    /// New nodes with new ids take their hostnames.
    NodesAreReplaced { nodes: Nodes },
    /// Tidemark's own network is cut: whoever asks and listens is blind.
    TidemarkIsCutOff,
    /// It is back.
    TidemarkIsBack,
    /// Tidemark itself restarts.
    TidemarkRestarts {
        #[serde(default)]
        takes: Span,
    },
}

const fn once() -> u32 {
    1
}

const fn restart() -> Span {
    Span(20 * SECOND)
}

/// What entities gain when a release renders them in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// A field that is null: no behaviour.
    NullField,
    /// A field with a default: not provably no behaviour.
    DefaultField,
    /// Nothing at all.
    Nothing,
}

impl Gain {
    /// As a rendering writes it.
    #[must_use]
    pub fn fields(self) -> Vec<(Kind, String, serde_json::Value)> {
        let field = |value| vec![(Kind::Routes, "response_trailers".to_owned(), value)];
        match self {
            Self::NullField => field(serde_json::Value::Null),
            Self::DefaultField => field(serde_json::Value::Bool(true)),
            Self::Nothing => Vec::new(),
        }
    }
}

/// Some nodes: a group, the first of a group, or by hostname.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Nodes {
    /// `"edge"`: the whole group.
    Group(String),
    /// `["edge-7", "edge-9"]`.
    Named(Vec<String>),
    /// `{ group = "edge", first = 23 }`.
    First { group: String, first: usize },
}

/// What must be concluded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Of nodes and control planes.
    #[serde(default)]
    pub verdicts: Vec<Verdicts>,
    /// Of charts.
    #[serde(default)]
    pub charts: Vec<Chart>,
    /// Of pages, tickets and notices to people.
    #[serde(default)]
    pub pages: Vec<Pages>,
}

/// A claim on what is shown at a moment, or all the time from one moment to another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// In only one telling.
    pub only: Option<Telling>,
    /// At this moment.
    pub at: Option<Span>,
    /// From here on,
    pub from: Option<Span>,
    /// until here.
    pub until: Option<Span>,
    /// Which nodes are looked at: a search as in the address of the Nodes page; empty: all that count.
    #[serde(default)]
    pub search: String,
    /// As many are found.
    pub nodes: Option<usize>,
    /// Of these hostnames, and no others.
    pub are: Option<Vec<String>>,
    /// The headline or the evidence of each of them has these words.
    pub says: Option<String>,
    /// These notices, and no others, are shown of control planes.
    pub notices: Option<Vec<ExpectedNotice>>,
    /// As many nodes a comparison of raw hashes would call out of sync now.
    pub by_hash: Option<u32>,
    /// What the nodes that are found share, with counts: `gateway 3.10.0.2: 27 of 29`; empty: nothing stands out.
    pub share: Option<String>,
}

/// A notice of a control plane.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedNotice {
    pub kind: NoticeKind,
    pub severity: Severity,
    pub nodes: Option<u32>,
    /// Words of its sentence.
    pub says: Option<String>,
}

/// A claim on a chart: asserted once there is telemetry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    pub only: Option<Telling>,
    pub at: Span,
    /// Which chart.
    pub chart: String,
    /// What it must show.
    pub shows: String,
}

/// A claim on what people are told: asserted once there are incidents.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    pub only: Option<Telling>,
    /// Until when it is counted; absent: the end.
    pub by: Option<Span>,
    #[serde(default)]
    pub pages: u32,
    #[serde(default)]
    pub tickets: u32,
    #[serde(default)]
    pub notices: u32,
    /// Words of one of them.
    pub says: Option<String>,
}

/// A span of time as people write it: `00:02:30`, with decimals of a second where needed; `-` before it goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(
    /// Milliseconds.
    pub i64,
);

impl Span {
    /// Reads `HH:MM:SS`, `-HH:MM:SS.mmm`; at most 9,999 hours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let mut parts = digits.split(':');
        let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
        let (seconds, decimals) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let number = |text: &str, max: i64, width: std::ops::RangeInclusive<usize>| {
            let plain = width.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|number| plain && *number <= max)
        };
        let milliseconds = number(&format!("{decimals:0<3}"), 999, 3..=3)?;
        let (hours, minutes) = (number(hours, 9_999, 1..=4)?, number(minutes, 59, 2..=2)?);
        let seconds = number(seconds, 59, 2..=2)?;
        let told =
            parts.next().is_none().then_some(hours * HOUR + minutes * MINUTE + seconds * SECOND + milliseconds)?;
        Some(Self(sign * told))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(out, "{sign}{:02}:{:02}:{:02}", ms / HOUR, ms / MINUTE % 60, ms / SECOND % 60)?;
        if ms % SECOND == 0 { Ok(()) } else { write!(out, ".{:03}", ms % SECOND) }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not a span of time as in \"00:02:30\"")))
    }
}

/// Why a scenario cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadScenario(pub String);

impl Scenario {
    /// Reads a scenario and looks whether its parts fit together.
    ///
    /// # Errors
    /// With the line or the part at fault and what was expected.
    pub fn parse(text: &str) -> Result<Self, BadScenario> {
        if text.len() > FILE_MAX {
            return Err(BadScenario(format!("a scenario has at most {FILE_MAX} bytes, this one has {}", text.len())));
        }
        let scenario: Self =
            toml::from_str(text).map_err(|error| BadScenario(error.to_string().trim_end().to_owned()))?;
        scenario.check().map_err(BadScenario)?;
        Ok(scenario)
    }

    /// How many claims are not asserted yet: those on charts and on pages.
    #[must_use]
    pub fn not_asserted(&self, telling: Telling) -> usize {
        let charts = self.expect.charts.iter().filter(|chart| telling.tells(chart.only)).count();
        charts + self.expect.pages.iter().filter(|pages| telling.tells(pages.only)).count()
    }

    fn check(&self) -> Result<(), String> {
        let twins = self.event.iter().map(|event| event.only).chain(self.nodes.iter().map(|group| group.only));
        let differ = twins.flatten().count() > 0;
        if self.twin.is_some() != differ {
            return Err("a twin is described exactly where an event or a group is in only one telling".to_owned());
        }
        if self.lasts.0 <= 0 || self.lasts.0 > 30 * 24 * HOUR {
            return Err(format!("lasts is {}, expected up to 30 days", self.lasts));
        }
        if self.control_plane.is_empty() {
            return Err("there is no [[control_plane]]".to_owned());
        }
        for (place, control_plane) in self.control_plane.iter().enumerate() {
            if self.control_plane[..place].iter().any(|before| before.name == control_plane.name) {
                return Err(format!("control_plane {} is there twice", control_plane.name));
            }
            if control_plane.poll_every.0 < SECOND {
                return Err(format!("poll_every of {} is below a second", control_plane.name));
            }
        }
        self.check_groups()?;
        if self.period.is_some_and(|period| period.0 <= 0) {
            return Err("period is not a time".to_owned());
        }
        for event in &self.event {
            self.check_event(event).map_err(|why| format!("event at {}: {why}", event.at))?;
        }
        for claim in &self.expect.verdicts {
            self.check_claim(claim)?;
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), String> {
        for (place, group) in self.nodes.iter().enumerate() {
            if self.nodes[..place].iter().any(|before| before.name == group.name && before.only == group.only) {
                return Err(format!("nodes {:?} are there twice", group.name));
            }
            self.knows(&group.control_plane)?;
            if let Some(joins_at) = group.joins_at {
                self.within(joins_at)?;
            }
            Labels::new(group.all_labels()).map_err(|error| format!("nodes {:?}: {error}", group.name))?;
            if format!("{}-{NODES_MAX}", group.name).parse::<tidemark_domain::id::Line>().is_err() {
                return Err(format!("nodes {:?}: the name is not one line", group.name));
            }
        }
        let nodes: usize = self.nodes.iter().map(|group| group.count).fold(0, usize::saturating_add);
        if nodes > NODES_MAX {
            Err(format!("there are {nodes} nodes, at most {NODES_MAX} can be told of"))
        } else {
            Ok(())
        }
    }

    fn check_event(&self, event: &Event) -> Result<(), String> {
        self.within(event.at)?;
        if let Some(period) = self.period.filter(|period| event.at >= *period) {
            return Err(format!("it is not within the period, which is {period}"));
        }
        match &event.action {
            Action::Write { control_plane, times, over, .. } => {
                if *times == 0 || *times > 1_000_000 || over.0 < 0 {
                    return Err("times is from 1 to 1000000, over is not negative".to_owned());
                }
                self.knows(control_plane)
            }
            Action::CpReleaseChangesRendering { control_plane, .. }
            | Action::CpStops { control_plane }
            | Action::CpStarts { control_plane }
            | Action::CpBackup { control_plane }
            | Action::CpRestore { control_plane }
            | Action::CpReplicaJoins { control_plane, .. } => self.knows(control_plane),
            Action::PushIsLost { nodes }
            | Action::NodesStick { nodes }
            | Action::NodesReject { nodes, .. }
            | Action::NodesRecover { nodes }
            | Action::NodesDisconnect { nodes, .. }
            | Action::NodesRestart { nodes, .. }
            | Action::NodesStop { nodes }
            | Action::NodesAreReplaced { nodes } => self.are_there(nodes),
            Action::TidemarkIsCutOff | Action::TidemarkIsBack | Action::TidemarkRestarts { .. } => Ok(()),
        }
    }

    fn check_claim(&self, claim: &Verdicts) -> Result<(), String> {
        let place = claim.at.or(claim.from).unwrap_or_default();
        let told = |why: &str| Err(format!("expect.verdicts at {place}: {why}"));
        match (claim.at, claim.from, claim.until) {
            (Some(at), None, None) => self.within(at)?,
            (None, Some(from), Some(until)) if from < until => self.within(until)?,
            _ => return told("it needs `at`, or `from` and a later `until`"),
        }
        if let Some(problem) = Query::parse(&claim.search).problems().first() {
            return told(&format!("search: {problem}"));
        }
        let of_nodes = claim.nodes.is_some() || claim.are.is_some() || claim.share.is_some();
        if !of_nodes && claim.notices.is_none() && claim.by_hash.is_none() {
            return told("it claims nothing: it needs `nodes`, `are`, `share`, `notices` or `by_hash`");
        }
        Ok(())
    }

    fn within(&self, moment: Span) -> Result<(), String> {
        if moment.0 < 0 || moment > self.lasts {
            return Err(format!("{moment} is not within the story, which lasts {}", self.lasts));
        }
        Ok(())
    }

    fn knows(&self, name: &CpName) -> Result<(), String> {
        let known = self.control_plane.iter().any(|control_plane| control_plane.name == *name);
        if known { Ok(()) } else { Err(format!("there is no control_plane {name}")) }
    }

    fn are_there(&self, nodes: &Nodes) -> Result<(), String> {
        let group = |name: &str, count: usize| match self.nodes.iter().find(|group| group.name == name) {
            Some(group) if group.count >= count => Ok(()),
            Some(group) => Err(format!("nodes {name:?} are only {}", group.count)),
            None => Err(format!("there are no nodes {name:?}")),
        };
        match nodes {
            Nodes::Group(name) => group(name, 0),
            Nodes::First { group: name, first } => group(name, *first),
            Nodes::Named(names) => names.iter().try_for_each(|name| {
                let (of, number) =
                    name.rsplit_once('-').ok_or_else(|| format!("{name:?} is no hostname of a group"))?;
                group(of, number.parse().map_err(|_| format!("{name:?} is no hostname of a group"))?)
            }),
        }
    }
}

impl Group {
    /// Its labels, with region and zone.
    pub fn all_labels(&self) -> impl Iterator<Item = (String, String)> {
        let places = [("region", &self.region), ("zone", &self.zone)];
        let places = places.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        places.chain(self.labels.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
id = "T"
title = "a test"
shows = "nothing"
lasts = "00:10:00"
[[control_plane]]
name = "eu"
watch = ["push"]
[[nodes]]
name = "edge"
control_plane = "eu"
count = 3
[[event]]
at = "00:01:00"
event = "nodes_stick"
nodes = ["edge-2"]
[[expect.verdicts]]
at = "00:02:00"
search = "state:current"
nodes = 3
"#;

    #[test]
    fn a_whole_file_is_read() {
        let scenario = Scenario::parse(WHOLE).expect("it is good");
        assert_eq!(scenario.nodes[0].count, 3);
        assert_eq!(scenario.event[0].at, Span(MINUTE));
    }

    #[test]
    fn a_bad_file_is_refused_with_the_part_at_fault() {
        let check = |from: &str, to: &str, words: &str| {
            assert!(WHOLE.contains(from), "{from}");
            let error = Scenario::parse(&WHOLE.replacen(from, to, 1)).expect_err(to).0;
            assert!(error.contains(words), "{to}: {error:?} does not say {words:?}");
        };
        check("lasts = \"00:10:00\"", "lasts = \"10 min\"", "not a span of time");
        check("lasts = \"00:10:00\"", "lasts = \"00:10:00\"\nlast = 3", "last");
        check("lasts = \"00:10:00\"", "lasts = \"00:00:00\"", "up to 30 days");
        check("name = \"eu\"", "name = \"EU\"", "name");
        check("control_plane = \"eu\"", "control_plane = \"us\"", "no control_plane us");
        check("count = 3", "count = 100001", "at most 100000");
        check("count = 3", "count = 3\nsize = 2", "size");
        check("count = 3", "count = 3\ngateway_version = \"three\"", "gateway version");
        check("at = \"00:01:00\"", "at = \"00:10:01\"", "not within the story");
        check("nodes_stick", "nodes_glue", "nodes_glue");
        check("nodes = [\"edge-2\"]", "nodes = [\"edge-2\"]\nfor = 3", "for");
        check("nodes = [\"edge-2\"]", "nodes = [\"edge-4\"]", "only 3");
        check("nodes = [\"edge-2\"]", "nodes = \"core\"", "no nodes \"core\"");
        check("nodes = [\"edge-2\"]", "nodes = { group = \"edge\", first = 4 }", "only 3");
        check("state:current", "state:fine", "search");
        check("nodes = 3", "", "claims nothing");
        check("at = \"00:02:00\"", "from = \"00:02:00\"", "needs `at`");
        check("at = \"00:02:00\"", "from = \"00:02:00\"\nuntil = \"00:02:00\"", "needs `at`");
        check("watch = [\"push\"]", "watch = [\"radio\"]", "radio");
        check("watch = [\"push\"]", "entities = \"many\"", "no preset");
        check("lasts = \"00:10:00\"", "lasts = \"00:10:00\"\nperiod = \"00:01:00\"", "not within the period");
        check("lasts = \"00:10:00\"", "lasts = \"00:10:00\"\nperiod = \"00:00:00\"", "period is not a time");
        check("title = \"a test\"", "title = \"a test\"\ntwin = \"another\"", "twin");
        check("event = \"nodes_stick\"", "event = \"nodes_stick\"\nonly = \"twin\"", "twin");
    }

    #[test]
    fn spans_are_read_and_written() {
        for (text, ms) in [("00:00:00", 0), ("01:02:03", 3_723_000), ("00:00:01.5", 1_500), ("-00:01:30", -90_000)] {
            assert_eq!(Span::parse(text), Some(Span(ms)), "{text}");
        }
        for text in ["", "1", "00:60:00", "00:00:60", "0:0:0", "00:00:00:00", "00:00:0x", "00:00:00.1234", "+1:00:00"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
        assert_eq!(Span(-90_500).to_string(), "-00:01:30.500");
    }
}
