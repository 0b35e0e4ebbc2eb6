//! What the facts about one node add up to: per source the runs of equal reports, its connection, and what was said of
//! it. Folding is insensitive to repeats: only the first and the last of a run of equal reports matter, where the last
//! one is marked as going on from the first ([`Report::continues`]).

use crate::delays::Delay;
use crate::fact::{
    ApplyFailure, Attributes, ConfigRef, Connection, ConnectionEvent, Frame, Protocol, Report, Scope, Source, SyncMode,
    SyncStatus,
};
use crate::gateway::GatewayVersion;
use crate::id::{Line, NodeId, Ordinal};
use crate::ledger::{Ledger, Version};
use crate::policy::late_after;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Openings of a connection that are remembered: enough to see that a node comes and goes.
const OPENINGS_MAX: usize = 8;
/// Machines under one id that are remembered.
const TWINS_MAX: usize = 4;

/// An unbroken stay at one configuration, as one source tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What the node said that it runs.
    pub config: ConfigRef,
    /// First report of it.
    pub since: Timestamp,
    /// The node was heard without a gap before, and was current when it changed to this.
    pub from_current: bool,
    /// It ran what a destructive change left before it came to this: since then ([`crate::guard`]).
    pub destroyed_since: Option<Timestamp>,
    /// It came to this by a delta on top of what it ran before.
    pub by_delta: bool,
    /// A version that it took by delta before, which changed a plugin that keeps something in memory; and since when.
    pub unverified: Option<(Ordinal, Timestamp)>,
}

/// One source's view of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Which source.
    pub source: Source,
    /// First report of the present unbroken series.
    pub unbroken_since: Timestamp,
    /// Last report.
    pub last_at: Timestamp,
    /// What it runs.
    pub run: Option<Run>,
    /// What it ran before, with its last report.
    pub before: Option<(ConfigRef, Timestamp)>,
    /// The last report may be this much older than it says.
    pub uncertain_ms: u32,
    /// The time of the last report is an estimate ([`Report::estimated`]).
    #[serde(skip)]
    pub last_estimated: bool,
}

/// A node's connection, where it is seen itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The last opening.
    pub opened_at: Option<Timestamp>,
    /// The last end, where it was not opened since.
    pub closed_at: Option<Timestamp>,
    /// The last openings, newest last.
    pub openings: Vec<Timestamp>,
}

/// Another machine under the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    /// Its hostname and address, and what else it said.
    pub attributes: Attributes,
    /// What it runs, as the source tells it that told of both machines.
    pub run: Option<Run>,
    /// Its last report.
    pub last_at: Timestamp,
    /// How often reports changed over to it.
    pub alternations: u32,
}

/// What changes cost that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    changes: u32,
    bytes: u64,
}

impl Cost {
    /// After so many changes the older ones count half.
    const CHANGES_MAX: u32 = 64;

    /// Counts a change.
    pub fn add(&mut self, bytes: u64) {
        if self.changes >= Self::CHANGES_MAX {
            (self.changes, self.bytes) = (self.changes / 2, self.bytes / 2);
        }
        (self.changes, self.bytes) = (self.changes + 1, self.bytes.saturating_add(bytes));
    }

    /// Bytes for each change; `None` if there was none.
    #[must_use]
    pub fn of_each(self) -> Option<u64> {
        self.bytes.checked_div(u64::from(self.changes))
    }
}

/// How changes came to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// What they cost on the wire.
    pub cost: Cost,
    /// Answers to it by v2 that were the whole configuration though it had one, while others got deltas.
    pub whole_in_a_row: u8,
    /// The last of them.
    pub whole_at: Option<Timestamp>,
}

/// Something that was said of a node, and when it was first said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidSince<T> {
    /// What.
    pub what: T,
    /// Since when, unbroken.
    pub since: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// When we first heard of it.
    pub first_seen_at: Timestamp,
    /// It was there within the first interval in which the source that named it listened: new to us, and to nobody else.
    pub was_there: bool,
    /// What seldom changes.
    pub attributes: Attributes,
    /// What each source tells; at most one a source.
    pub streams: Vec<Stream>,
    /// Its connection, where that is seen.
    pub link: Option<Link>,
    /// What the control plane says of it.
    pub status: Option<SaidSince<SyncStatus>>,
    /// Its last refusal.
    pub failure: Option<SaidSince<ApplyFailure>>,
    /// Whether it says that it can serve.
    pub ready: Option<SaidSince<bool>>,
    /// Its clock minus ours at its last report.
    pub clock_skew_ms: Option<i64>,
    /// It had a configuration at some time.
    pub ever_configured: bool,
    /// It was first heard, or came back, while its control plane was away.
    pub started_without_control_plane: bool,
    /// It was not ready, and then ready with a configuration, while it had no connection: so it had that on its disk. By
    /// which gateway version: another one may not read what it finds (`kong-hybrid.md` 7.1).
    pub cache_proven: Option<GatewayVersion>,
    /// How soon it learned of the last changes, where that says something ([`crate::delays`]).
    pub delays: Vec<Delay>,
    /// What the changes that it was sent have cost.
    pub synced: Synced,
    /// Other machines under this id.
    pub twins: Vec<Twin>,
    /// A person took it out of the counts.
    pub retired_at: Option<Timestamp>,
    /// Another node came up with its hostname or address.
    pub replaced_at: Option<Timestamp>,
}

impl Node {
    /// A node that was just heard of.
    #[must_use]
    pub fn new(id: NodeId, at: Timestamp) -> Self {
        Self {
            id,
            first_seen_at: at,
            was_there: false,
            attributes: Attributes::default(),
            streams: Vec::new(),
            link: None,
            status: None,
            failure: None,
            ready: None,
            clock_skew_ms: None,
            ever_configured: false,
            started_without_control_plane: false,
            cache_proven: None,
            delays: Vec::new(),
            synced: Synced::default(),
            twins: Vec::new(),
            retired_at: None,
            replaced_at: None,
        }
    }

    /// The last report of any source.
    #[must_use]
    pub fn last_report_at(&self) -> Option<Timestamp> {
        self.streams.iter().map(|stream| stream.last_at).max()
    }

    /// The time of the last report is an estimate: of equal reports only the first and the last are kept.
    #[must_use]
    pub fn last_report_estimated(&self) -> bool {
        let last = self.streams.iter().max_by_key(|stream| (stream.last_at, stream.last_estimated));
        last.is_some_and(|stream| stream.last_estimated)
    }

    /// The cohort that it belongs to.
    #[must_use]
    pub fn cohort(&self) -> Scope {
        self.attributes.cohort()
    }

    /// A name for people: its hostname, else its id.
    #[must_use]
    pub fn name(&self) -> &str {
        self.attributes.hostname.as_ref().map_or(self.id.as_str(), Line::as_str)
    }

    /// Takes in a report. One that is not newer than the last changes nothing but what was never said, so that a report
    /// that is told again changes nothing at all.
    pub fn report(&mut self, at: Timestamp, source: Source, interval_ms: i64, report: &Report, ledger: &Ledger) {
        self.first_seen_at = self.first_seen_at.min(at);
        let newest = self.last_report_at().is_none_or(|last| at > last);
        if newest {
            self.meet_twin(source, report);
            self.attributes.update(&report.attributes, &self.id);
            if let Some(clock) = report.node_clock {
                self.clock_skew_ms = Some(clock.since(at));
            }
        } else {
            let mut older = report.attributes.clone();
            older.update(&self.attributes, &self.id);
            self.attributes = older;
        }
        say(&mut self.status, report.status.as_ref(), at);
        if self.starts_alone(at, report) {
            self.cache_proven.clone_from(&self.attributes.gateway_version);
        }
        say(&mut self.ready, report.ready.as_ref(), at);
        say(&mut self.failure, report.failure.as_ref(), at);
        self.ever_configured |= report.running.as_ref().is_some_and(|config| !config.is_zeros());
        let cohort = self.cohort();
        let place = match self.streams.iter().position(|stream| stream.source == source) {
            Some(place) => place,
            None => {
                let stream = Stream {
                    source,
                    unbroken_since: at,
                    last_at: at,
                    run: None,
                    before: None,
                    uncertain_ms: report.uncertain_ms,
                    last_estimated: false,
                };
                self.streams.push(stream);
                self.streams.sort_by_key(|stream| stream.source.rank());
                self.streams.iter().position(|stream| stream.source == source).unwrap_or(0)
            }
        };
        let by_delta = self.attributes.sync_mode == Some(SyncMode::Delta);
        self.streams[place].report(at, interval_ms, report, (&cohort, by_delta), ledger);
    }

    /// Whether it becomes ready with a configuration, and was not ready for the first time since its connection ended. A
    /// node without its control plane is not ready only while it starts or stops; what it is ready with is from its disk.
    fn starts_alone(&self, at: Timestamp, report: &Report) -> bool {
        let Some(alone_since) = self.link.as_ref().and_then(|link| link.closed_at) else { return false };
        let ready = self.ready.as_ref().filter(|ready| at > ready.last_at);
        let began = ready.is_some_and(|ready| !ready.what && ready.since > alone_since);
        let running = report.running.as_ref().or_else(|| {
            let runs = self.streams.iter().filter_map(|stream| Some((stream.last_at, &stream.run.as_ref()?.config)));
            runs.max_by_key(|(last_at, _)| *last_at).map(|(_, config)| config)
        });
        report.ready == Some(true) && began && running.is_some_and(|config| !config.is_zeros())
    }

    /// Whether it was seen to start from its own disk, by the software that it runs now.
    #[must_use]
    pub fn cache_survives(&self) -> bool {
        self.cache_proven.is_some() && self.cache_proven == self.attributes.gateway_version
    }

    /// A version that it took by delta, and since when, that changed a plugin which keeps something in its memory; since
    /// then it neither came back nor took the whole. What is not by delta makes a node drop all that it has.
    #[must_use]
    pub fn unverified<'a>(
        &self,
        stream: &Stream,
        ledger: &'a Ledger,
        at: Timestamp,
    ) -> Option<(&'a Version, Timestamp)> {
        let (ordinal, since) = stream.unverified(&self.cohort(), ledger, at)?;
        let reconnected = self.link.as_ref().and_then(|link| link.opened_at).is_some_and(|opened_at| opened_at > since);
        (!reconnected).then_some((ledger.version(ordinal)?, since))
    }

    /// Two machines that take turns under one id: neither replaces the other (DESIGN 5.10).
    fn meet_twin(&mut self, source: Source, report: &Report) {
        let address = |attributes: &Attributes| (attributes.hostname.clone(), attributes.ip.clone());
        let (mine, theirs) = (address(&self.attributes), address(&report.attributes));
        let said_both = theirs.0.is_some() && theirs.1.is_some() && mine.0.is_some() && mine.1.is_some();
        let repeats_id = report.attributes.hostname.as_ref().is_some_and(|name| name.as_str() == self.id.as_str());
        if !said_both || mine == theirs || repeats_id {
            return;
        }
        let mut stream = self.streams.iter_mut().find(|stream| stream.source == source);
        let back = self.twins.iter().position(|twin| address(&twin.attributes) == theirs);
        let back = back.map(|place| self.twins.remove(place));
        if self.twins.len() >= TWINS_MAX {
            self.twins.remove(0);
        }
        let alternations = back.as_ref().map_or(0, |twin| twin.alternations).saturating_add(1);
        let run = stream.as_ref().and_then(|stream| stream.run.clone());
        let last_at = stream.as_ref().map_or(self.first_seen_at, |stream| stream.last_at);
        // Each machine goes on with its own run.
        if let (Some(stream), Some(Twin { run: theirs @ Some(_), .. })) = (&mut stream, back) {
            stream.run = theirs;
        }
        self.twins.push(Twin { attributes: self.attributes.clone(), run, last_at, alternations });
    }

    /// A configuration was sent to it. Only what replaces another one is a change: the first one is whole for everybody.
    pub fn was_sent(&mut self, at: Timestamp, source: Source, scope: &Scope, frame: &Frame, ledger: &Ledger) {
        let stream = self.streams.iter().find(|stream| stream.source == source);
        let Some(run) = stream.and_then(|stream| stream.run.as_ref()) else { return };
        let same = run.config == frame.config;
        let had_none = run.config.is_zeros() || ledger.meaning(&run.config, &self.cohort(), at).is_none();
        if same || had_none {
            return;
        }
        self.synced.cost.add(frame.bytes);
        let row = self.synced.whole_in_a_row;
        (self.synced.whole_in_a_row, self.synced.whole_at) = match frame.mode {
            SyncMode::Delta => (0, None),
            SyncMode::Full | SyncMode::FellBack if scope.protocol == Some(Protocol::V2) => {
                // After many writes at once everybody gets the whole.
                let others = self.synced.whole_at.is_some_and(|before| ledger.delta_at() >= Some(before));
                (if others { row.saturating_add(1) } else { 1 }, Some(at))
            }
            SyncMode::Full | SyncMode::FellBack => (row, self.synced.whole_at),
        };
    }

    /// Since when it misses what it is offered now, if it was connected all that time: the changeset, and its publication.
    #[must_use]
    pub fn learns(&self, at: Timestamp, source: Source, ledger: &Ledger) -> Option<(Ordinal, Timestamp)> {
        let link = self.link.as_ref().filter(|link| link.closed_at.is_none())?;
        let stream = self.streams.iter().find(|stream| stream.source == source)?;
        let running = stream.version(&self.cohort(), ledger, at)?;
        let missed = ledger.first_missed(running)?;
        let connected = link.opened_at.is_some_and(|opened_at| opened_at <= missed.published_at);
        let is_new = self.delays.last().is_none_or(|delay| delay.changeset != missed.changeset);
        (connected && is_new).then_some((missed.changeset, missed.published_at))
    }

    /// What tells that another id is the same machine: its hostname, else its address (DESIGN 5.10).
    #[must_use]
    pub fn machine(&self) -> Option<&Line> {
        let hostname = self.attributes.hostname.as_ref().filter(|hostname| hostname.as_str() != self.id.as_str());
        hostname.or(self.attributes.ip.as_ref())
    }

    /// Takes in what happened to its connection.
    pub fn connect(&mut self, at: Timestamp, connection: &Connection) {
        self.first_seen_at = self.first_seen_at.min(at);
        self.attributes.update(&connection.attributes, &self.id);
        let link = self.link.get_or_insert(Link { opened_at: None, closed_at: None, openings: Vec::new() });
        match &connection.event {
            ConnectionEvent::Opened => {
                if link.opened_at.is_none_or(|opened_at| at > opened_at) {
                    link.opened_at = Some(at);
                    link.openings.push(at);
                    if link.openings.len() > OPENINGS_MAX {
                        link.openings.remove(0);
                    }
                }
                if link.closed_at.is_some_and(|closed_at| at >= closed_at) {
                    link.closed_at = None;
                }
            }
            ConnectionEvent::Closed(_) => {
                if link.opened_at.is_none_or(|opened_at| at >= opened_at) {
                    link.closed_at = Some(link.closed_at.map_or(at, |closed_at| closed_at.max(at)));
                }
            }
            ConnectionEvent::Refused(_) | ConnectionEvent::Unreachable => {}
        }
    }
}

/// Keeps what is said, and since when it is said. Older words change nothing: what was said between them and now is not
/// known any more.
fn say<T: Clone + PartialEq>(slot: &mut Option<SaidSince<T>>, said: Option<&T>, at: Timestamp) {
    let Some(what) = said else { return };
    match slot {
        Some(said) if at <= said.last_at => {}
        Some(said) if said.what == *what => said.last_at = at,
        _ => *slot = Some(SaidSince { what: what.clone(), since: at, last_at: at }),
    }
}

impl Stream {
    fn report(
        &mut self,
        at: Timestamp,
        interval_ms: i64,
        report: &Report,
        (cohort, by_delta): (&Scope, bool),
        ledger: &Ledger,
    ) {
        if at < self.last_at {
            // There were more reports, and nobody knows any more when the last of them came.
            self.last_estimated |= report.estimated;
            return;
        }
        self.last_estimated = report.estimated;
        let unbroken = report.continues || at.since(self.last_at) <= late_after(interval_ms);
        if !unbroken {
            self.unbroken_since = at;
        }
        let same_moment = at == self.last_at && self.run.as_ref().is_some_and(|run| run.since == at);
        let last_at = std::mem::replace(&mut self.last_at, at);
        self.uncertain_ms = report.uncertain_ms;
        let unverified = self.unverified(cohort, ledger, at);
        let Some(config) = &report.running else { return };
        // Two configurations in one moment: the order of arrival must not decide, so the text does.
        if at == last_at && self.run.as_ref().is_some_and(|run| *config < run.config) {
            return;
        }
        match &mut self.run {
            Some(run) if run.config == *config => {}
            Some(run) if same_moment => run.config = config.clone(),
            Some(run) => {
                let was_current = ledger
                    .meaning(&run.config, cohort, last_at)
                    .is_some_and(|alias| ledger.was_current(alias.ordinal, last_at));
                let ran = ledger.meaning(&run.config, cohort, at).map(|alias| alias.ordinal);
                let destroyed = ran.is_some_and(|ran| ledger.destroyed_in(ran, cohort).is_some());
                let destroyed_since = destroyed.then(|| run.destroyed_since.unwrap_or(run.since));
                let from_current = unbroken && was_current;
                let by_delta = by_delta && unbroken && !run.config.is_zeros();
                let unverified = unverified.filter(|_| by_delta);
                let (config, since) = (config.clone(), at);
                let came = Run { config, since, from_current, destroyed_since, by_delta, unverified };
                let before = std::mem::replace(run, came);
                self.before = Some((before.config, last_at));
            }
            None => {
                let (config, since) = (config.clone(), at);
                let (destroyed_since, unverified) = (None, None);
                self.run =
                    Some(Run { config, since, from_current: false, destroyed_since, by_delta: false, unverified });
            }
        }
    }

    /// The version that the run came over by delta, or came over before without a gap since, that changed a plugin which
    /// keeps something in memory; and since when.
    fn unverified(&self, cohort: &Scope, ledger: &Ledger, at: Timestamp) -> Option<(Ordinal, Timestamp)> {
        let run = self.run.as_ref()?;
        let meant = |config| ledger.meaning(config, cohort, at).map(|alias| alias.ordinal);
        let came_over = || {
            let (before, _) = self.before.as_ref().filter(|_| run.by_delta)?;
            let version = ledger.keeping_between(meant(before)?, meant(&run.config)?)?;
            Some((version.ordinal, run.since))
        };
        came_over().or(run.unverified).filter(|(_, since)| *since >= self.unbroken_since)
    }

    /// The version that the run means at a moment.
    #[must_use]
    pub fn version(&self, cohort: &Scope, ledger: &Ledger, at: Timestamp) -> Option<Ordinal> {
        let run = self.run.as_ref()?;
        ledger.meaning(&run.config, cohort, at).map(|alias| alias.ordinal)
    }
}
