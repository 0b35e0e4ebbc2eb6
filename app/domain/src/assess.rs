//! The verdict: one pure function of what is known about a node, the ledger of its control plane, policy and a moment.
//!
//! The precedence is that of DESIGN.md section 4 as it stands there; each step below carries its number. Every
//! comparison with time goes through [`Horizon`], which remembers the next moment at which the answer could change by
//! time alone: who keeps answers in memory looks again then, and not before.

use crate::delays::poll_only;
use crate::fact::{ConfigRef, Keeps, PluginChange, Scope, Source, SyncMode, SyncStatus};
use crate::guard::Damage;
use crate::id::Ordinal;
use crate::ledger::{Ledger, Version};
use crate::node::{Node, Run, Stream, Twin};
use crate::policy::{Policy, disconnected_after, late_after, never_seen_after};
use crate::time::{HOUR, MINUTE, Timestamp};
use crate::verdict::{
    BehindCause, ConfigState, ConfigWord, ConnectionWord, Connectivity, CurrentBy, EmptyProof, Gone, Missing, Overlay,
    Overlays, Unproven, UnrecognizedCause, Verdict,
};
use serde::{Deserialize, Serialize};

/// Spans of blindness that are remembered of a source; older ones are forgotten first.
const BLIND_SPANS_MAX: usize = 64;

/// A source of one control plane: its pace, and when it was blind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// Which.
    pub source: Source,
    /// Milliseconds between two reports of one node.
    pub interval_ms: i64,
    /// When it began to listen; `None` if it was never said.
    pub began_at: Option<Timestamp>,
    /// Spans in which it was blind, oldest first; the last one may be open.
    pub blind: Vec<(Timestamp, Option<Timestamp>)>,
    /// Why it is blind.
    pub blind_reason: Option<crate::id::Line>,
    /// The last fact that it brought.
    pub last_fact_at: Option<Timestamp>,
    /// It ended, and is not expected to be heard again: its silence is no alarm.
    pub ended: bool,
}

impl SourceState {
    /// A source that was not heard of before.
    #[must_use]
    pub const fn new(source: Source, interval_ms: i64) -> Self {
        Self {
            source,
            interval_ms,
            began_at: None,
            blind: Vec::new(),
            blind_reason: None,
            last_fact_at: None,
            ended: false,
        }
    }

    /// It listens from here on. If nobody said that it stopped before, it may have been deaf since its last fact: so it
    /// is after a crash of ours.
    pub fn begin(&mut self, at: Timestamp, interval_ms: i64) {
        self.interval_ms = interval_ms;
        self.blind_reason = None;
        self.ended = false;
        let last_heard_at = self.last_fact_at.max(self.began_at).filter(|last| *last < at);
        if let (Some(last_heard_at), None) = (last_heard_at, self.blind_since()) {
            self.blind_from(last_heard_at);
        }
        if let Some((from, until @ None)) = self.blind.last_mut() {
            *until = Some(at.max(*from));
        }
        self.began_at = Some(at);
    }

    /// It is blind from here on.
    pub fn stop(&mut self, at: Timestamp, why: crate::id::Line) {
        self.blind_reason = Some(why);
        if self.blind_since().is_none() {
            self.blind_from(at);
        }
    }

    /// It ended: blind from here on, and not expected back.
    pub fn end(&mut self, at: Timestamp) {
        if self.blind_reason.is_none() {
            self.blind_reason = crate::id::Line::from_outside("its recording ended, or it is not set any more");
        }
        self.ended = true;
        if self.blind_since().is_none() {
            self.blind_from(at);
        }
    }

    fn blind_from(&mut self, at: Timestamp) {
        self.blind.push((at, None));
        if self.blind.len() > BLIND_SPANS_MAX {
            self.blind.remove(0);
        }
    }

    /// Since when it is blind, by what was said of it last; that may be a moment still to come.
    #[must_use]
    pub fn blind_since(&self) -> Option<Timestamp> {
        self.blind.last().filter(|(_, until)| until.is_none()).map(|(from, _)| *from)
    }

    /// Milliseconds between `from` and `until` in which it was blind.
    #[must_use]
    pub fn blind_between(&self, from: Timestamp, until: Timestamp) -> i64 {
        let overlap = |(begin, end): &(Timestamp, Option<Timestamp>)| {
            end.unwrap_or(until).min(until).since((*begin).max(from)).max(0)
        };
        self.blind.iter().map(overlap).sum()
    }
}

/// What is asked of time: is it past this moment, and if not, when will it be?
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    now: Timestamp,
    next: Option<Timestamp>,
}

impl Horizon {
    /// A horizon that nothing was asked of.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { now, next: None }
    }

    /// The first moment at which an answer may change by time alone.
    #[must_use]
    pub const fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Whether `now` is after `moment`; if not, the first millisecond at which it is gets remembered.
    pub fn past(&mut self, moment: Timestamp) -> bool {
        let past = self.now > moment;
        if !past {
            let then = moment.plus(1);
            self.next = Some(self.next.map_or(then, |next| next.min(then)));
        }
        past
    }
}

/// A verdict, what decided, and when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The answer.
    pub verdict: Verdict,
    /// The source that decided.
    pub source: Option<Source>,
    /// The first moment at which time alone may change the answer.
    pub recheck_at: Option<Timestamp>,
}

/// What a verdict is made of, beside the node itself.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The ledger of the node's control plane.
    pub ledger: &'a Ledger,
    /// The sources that watch it.
    pub sources: &'a [SourceState],
    /// Since when the control plane does not answer, though another target does.
    pub down_since: Option<Timestamp>,
    /// The thresholds.
    pub policy: &'a Policy,
}

impl Known<'_> {
    fn source(&self, source: Source) -> Option<&SourceState> {
        self.sources.iter().find(|state| state.source == source)
    }

    fn interval_ms(&self, source: Source) -> i64 {
        self.source(source).map_or(self.policy.report_interval_ms, |state| state.interval_ms)
    }
}

/// The verdict for one node at one moment. It cannot fail, cannot wait, cannot look anything up.
#[must_use]
pub fn assess(node: &Node, known: &Known<'_>, now: Timestamp) -> Assessment {
    let mut horizon = Horizon::new(now);
    let deciding = deciding_stream(node, known, &mut horizon);
    let connectivity = connectivity(node, deciding, known, &mut horizon);
    // A node that is not observed keeps the verdict of the last observation (DESIGN 5.9): time stands still for it.
    let config = match connectivity {
        Connectivity::Unobserved { since } => {
            let last_at = deciding.map_or(since, |stream| stream.last_at.max(since));
            worst_config_state(node, deciding, known, &mut Horizon::new(now.min(last_at)))
        }
        Connectivity::Connected { .. }
        | Connectivity::Late { .. }
        | Connectivity::Disconnected { .. }
        | Connectivity::NeverSeen { .. }
        | Connectivity::Gone { .. } => worst_config_state(node, deciding, known, &mut horizon),
    };
    let overlays = overlays(node, deciding, connectivity, config, known, &mut horizon);
    let verdict = Verdict { connectivity, config, overlays };
    Assessment { verdict, source: deciding.map(|stream| stream.source), recheck_at: horizon.next() }
}

/// The moment until which a stream may be silent for `allowed_ms` of the time in which its source listened
/// (DESIGN 5.9): blindness since the last report does not count.
fn silent_until(stream: &Stream, allowed_ms: i64, known: &Known<'_>, now: Timestamp) -> Timestamp {
    let state = known.source(stream.source).filter(|_| !known.policy.breaks(9));
    let blind_ms = state.map_or(0, |state| state.blind_between(stream.last_at, now));
    stream.last_at.plus(allowed_ms).plus(blind_ms)
}

/// Whether a source cannot tell silence from deafness: it is blind, or began to listen less than an interval ago and
/// has not heard the node since.
fn deaf_since(stream: &Stream, known: &Known<'_>, horizon: &mut Horizon) -> Option<Timestamp> {
    let state = known.source(stream.source).filter(|_| !known.policy.breaks(9))?;
    // A recording says of its source that it ends right after its last moment.
    if let Some(blind_since) = state.blind_since().filter(|blind_since| horizon.past(blind_since.plus(-1))) {
        return Some(blind_since);
    }
    let began_at = state.began_at.filter(|began_at| *began_at > stream.last_at)?;
    let blind_from = state.blind.last().map_or(began_at, |(from, _)| *from);
    (!horizon.past(began_at.plus(state.interval_ms))).then_some(blind_from)
}

/// The stream that decides: the best source that is not past `late`; where all are, the one heard last (DESIGN 5.8).
fn deciding_stream<'a>(node: &'a Node, known: &Known<'_>, horizon: &mut Horizon) -> Option<&'a Stream> {
    let telling = |stream: &&Stream| stream.source != Source::AccessLog;
    let fresh = node.streams.iter().filter(telling).find(|stream| {
        let late_at = silent_until(stream, late_after(known.interval_ms(stream.source)), known, horizon.now);
        deaf_since(stream, known, horizon).is_none() && !horizon.past(late_at)
    });
    fresh.or_else(|| {
        node.streams.iter().filter(telling).max_by_key(|stream| (stream.last_at, 255 - stream.source.rank()))
    })
}

/// First axis (DESIGN 4).
fn connectivity(node: &Node, deciding: Option<&Stream>, known: &Known<'_>, horizon: &mut Horizon) -> Connectivity {
    let Some(stream) = deciding else {
        return unreported(node, known, horizon);
    };
    let since = stream.last_at;
    if node.retired_at.is_some_and(|retired_at| retired_at >= since) {
        return Connectivity::Gone { since, why: Gone::Retired };
    }
    if let Some(since) = deaf_since(stream, known, horizon) {
        // Who was gone when the source became blind stays gone: only a report brings a node back (DESIGN 5.10).
        let seen_last = silence(node, stream, known, &mut Horizon::new(horizon.now.min(since)));
        return if seen_last.word() == ConnectionWord::Gone { seen_last } else { Connectivity::Unobserved { since } };
    }
    silence(node, stream, known, horizon)
}

/// How long a node was silent while its source listened, and what follows from that.
fn silence(node: &Node, stream: &Stream, known: &Known<'_>, horizon: &mut Horizon) -> Connectivity {
    let since = stream.last_at;
    let interval_ms = known.interval_ms(stream.source);
    let now = horizon.now;
    let policy = known.policy;
    let closed_at = node.link.as_ref().and_then(|link| link.closed_at).filter(|closed_at| *closed_at >= since);
    let lost = closed_at.is_some_and(|closed_at| horizon.past(closed_at.plus(policy.reconnect_ms)));
    if !lost && !horizon.past(silent_until(stream, disconnected_after(interval_ms), known, now)) {
        let late = closed_at.is_some() || horizon.past(silent_until(stream, late_after(interval_ms), known, now));
        return if late {
            Connectivity::Late { since }
        } else {
            Connectivity::Connected { since: stream.unbroken_since }
        };
    }
    if node.replaced_at > node.last_report_at() && !policy.breaks(10) {
        return Connectivity::Gone { since, why: Gone::Replaced };
    }
    let ephemeral = policy.ephemeral_label.as_ref().is_some_and(|(key, value)| {
        node.attributes.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value.as_str())
    });
    if ephemeral && horizon.past(silent_until(stream, policy.gone_ephemeral_ms, known, now)) {
        return Connectivity::Gone { since, why: Gone::Ephemeral };
    }
    if horizon.past(silent_until(stream, policy.gone_ms, known, now)) {
        return Connectivity::Gone { since, why: Gone::Silent };
    }
    Connectivity::Disconnected { since }
}

/// First axis of a node that said hello, or that an inventory names, and never reported.
fn unreported(node: &Node, known: &Known<'_>, horizon: &mut Horizon) -> Connectivity {
    let since = node.first_seen_at;
    if node.retired_at.is_some_and(|retired_at| retired_at >= since) {
        return Connectivity::Gone { since, why: Gone::Retired };
    }
    // Which source would have heard it is not known: while any of them listens, silence is silence.
    let mut blind_by_now = |state: &SourceState| state.blind_since().filter(|since| horizon.past(since.plus(-1)));
    let blind = known.sources.iter().map(&mut blind_by_now).max_by_key(|blind| (blind.is_none(), *blind));
    if let Some(Some(since)) = blind {
        return Connectivity::Unobserved { since };
    }
    let blind_ms = known.sources.iter().map(|state| state.blind_between(since, horizon.now)).min().unwrap_or(0);
    if horizon.past(since.plus(known.policy.gone_ms).plus(blind_ms)) {
        return Connectivity::Gone { since, why: Gone::Silent };
    }
    if horizon.past(since.plus(never_seen_after(known.policy.report_interval_ms)).plus(blind_ms)) {
        return Connectivity::NeverSeen { since };
    }
    let link = node.link.as_ref();
    match link.is_some_and(|link| link.opened_at.is_some() && link.closed_at.is_none()) {
        true => Connectivity::Connected { since },
        false => Connectivity::Late { since },
    }
}

/// Second axis of all machines that report under one id now: the worst of them (DESIGN 5.10).
fn worst_config_state(node: &Node, deciding: Option<&Stream>, known: &Known<'_>, horizon: &mut Horizon) -> ConfigState {
    let run = deciding.and_then(|stream| stream.run.as_ref());
    let own = config_state(node, deciding, run, known, horizon);
    let mut others = Vec::new();
    for twin in live_twins(node, horizon).iter().filter(|twin| twin.run.is_some()) {
        others.push(config_state(node, deciding, twin.run.as_ref(), known, horizon));
    }
    let place = |state: &ConfigState| ConfigWord::ALL.iter().position(|word| *word == state.word());
    let badness = |state: &ConfigState| (place(state), std::cmp::Reverse(state.behind()));
    others.into_iter().fold(own, |worst, other| if badness(&other) < badness(&worst) { other } else { worst })
}

/// Second axis (DESIGN 4), where `run` is what the node, or one of the machines under its id, runs.
fn config_state(
    node: &Node,
    deciding: Option<&Stream>,
    run: Option<&Run>,
    known: &Known<'_>,
    horizon: &mut Horizon,
) -> ConfigState {
    let ledger = known.ledger;
    let cohort = node.cohort();
    let meant = run.and_then(|run| ledger.meaning(&run.config, &cohort, horizon.now));
    let running = meant.map(|alias| alias.ordinal);
    let head = ledger.head_at(horizon.now);
    let at_head = running.is_some() && running == head.map(|head| head.ordinal);

    // 2. Withheld, unless at the head.
    if let Some(said) = &node.status
        && let (SyncStatus::Withheld { reason, .. }, false) = (&said.what, at_head)
    {
        return ConfigState::Incompatible { reason: *reason, since: said.since, running };
    }
    // 3. Refused, and nothing applied since.
    if let Some(rejected) = rejected(node, run, running, head, ledger, horizon.now) {
        return rejected;
    }
    // 1. Nothing to judge by.
    let (Some(stream), Some(run)) = (deciding, run) else {
        return ConfigState::Unknown { missing: Missing::Report };
    };
    // 4. Zeros.
    if run.config.is_zeros() {
        return zeros(node, run.since, running, at_head, ledger);
    }
    // 5.4, before the ledger: it was current when the expected hash moved, and repeats what it repeated then.
    let movement = ledger.unproven_since(&run.config, &cohort, run.since);
    if let Some(movement) = movement.filter(|movement| movement.at <= horizon.now) {
        return ConfigState::UnprovenAlias { running: movement.from, since: movement.at, why: movement.why };
    }
    match meant {
        // 5. Resolved.
        Some(alias) if alias.unproven == Some(Unproven::ReplicasDiffer) && at_head => {
            ConfigState::UnprovenAlias { running: alias.ordinal, since: alias.since, why: Unproven::ReplicasDiffer }
        }
        Some(alias) => resolved(node, stream, run, alias.ordinal, known, horizon),
        // 6. Not resolved.
        None => unresolved(node, run, known, horizon),
    }
}

/// Step 3: the node refused the newest version that it was offered, and applied none since.
fn rejected(
    node: &Node,
    run: Option<&Run>,
    running: Option<Ordinal>,
    head: Option<&Version>,
    ledger: &Ledger,
    now: Timestamp,
) -> Option<ConfigState> {
    let failure = node.failure.as_ref()?;
    let applied_since = run.is_some_and(|run| run.since > failure.last_at);
    if applied_since {
        return None;
    }
    let head_at = head.map(|head| head.ordinal);
    let refused_config = failure.what.refused.as_ref();
    let refused = refused_config.and_then(|config| ledger.meaning(config, &node.cohort(), now));
    let refused = refused.map(|alias| alias.ordinal);
    let newest = match (refused_config, refused) {
        (Some(_), Some(refused)) => Some(refused) == head_at,
        // What it refused is not in the ledger, or not said: it was the newest one then.
        (Some(_) | None, _) => head.is_none_or(|head| head.published_at <= failure.last_at),
    };
    // It runs what it once refused, or the head all the same: so it applied it.
    let applied = match refused_config {
        Some(config) => run.is_some_and(|run| run.config == *config),
        None => running.is_some() && running == head_at,
    };
    let refused = if refused_config.is_none() { head_at } else { refused };
    (newest && !applied).then_some(ConfigState::Rejected { since: failure.since, running, refused })
}

fn zeros(node: &Node, since: Timestamp, running: Option<Ordinal>, at_head: bool, ledger: &Ledger) -> ConfigState {
    if let (Some(running), true) = (running, at_head) {
        let published_at = ledger.version(running).map_or(since, |version| version.published_at);
        return ConfigState::Current { running, how: CurrentBy::Empty, since: since.max(published_at) };
    }
    // It was empty before there was anything else: it is without a configuration since there is one.
    let missed_since = running.and_then(|running| ledger.standing(running)).and_then(|standing| standing.since);
    let since = missed_since.map_or(since, |missed_since| since.max(missed_since));
    let not_ready = node.ready.as_ref().filter(|ready| !ready.what);
    if let Some(not_ready) = not_ready {
        return ConfigState::Empty { since: since.min(not_ready.since), proof: EmptyProof::NotReady };
    }
    let compatible = node.status.as_ref().is_some_and(|status| status.what == SyncStatus::Normal);
    if compatible && !node.ever_configured {
        return ConfigState::Empty { since, proof: EmptyProof::NeverConfigured };
    }
    ConfigState::Unknown { missing: Missing::ProofOfEmptiness }
}

fn resolved(
    node: &Node,
    stream: &Stream,
    run: &Run,
    running: Ordinal,
    known: &Known<'_>,
    horizon: &mut Horizon,
) -> ConfigState {
    let ledger = known.ledger;
    let Some(head) = ledger.head_at(horizon.now) else {
        return ConfigState::Unknown { missing: Missing::Version };
    };
    let Some(standing) = ledger.standing_from(running, head.ordinal) else {
        return ConfigState::Unknown { missing: Missing::Version };
    };
    if standing.ahead {
        // Above the head by a word that is newer than the report (DESIGN 5.7); until then it is on its way.
        let told = ledger.heard_at().is_some_and(|heard_at| heard_at > run.since);
        if told {
            let since = ledger.head_since().map_or(run.since, |moved_at| moved_at.max(run.since));
            return ConfigState::Ahead { running, since };
        }
        return ConfigState::Propagating { running: Some(running), behind: 0, since: run.since };
    }
    let Some(missed_since) = standing.since else {
        let expected = ledger.expected_as(head.ordinal, &node.cohort());
        let how = if running != head.ordinal {
            CurrentBy::NoOp
        } else if head.reverts_to.is_some() && run.since < head.published_at {
            CurrentBy::Revert
        } else if expected.is_none_or(|expected| *expected == run.config) || same_version_token(&run.config, head) {
            CurrentBy::Version
        } else {
            CurrentBy::Alias
        };
        let reached_since = match how {
            CurrentBy::NoOp => ledger.version(running).map_or(run.since, |version| version.published_at),
            CurrentBy::Version | CurrentBy::Alias | CurrentBy::Revert | CurrentBy::Empty => head.published_at,
        };
        return ConfigState::Current { running, how, since: run.since.max(reached_since) };
    };
    let (behind, since) = (standing.behind, missed_since);
    if !horizon.past(since.plus(ledger.propagation_ms(known.policy))) {
        return ConfigState::Propagating { running: Some(running), behind, since };
    }
    let cause = if standing.reverted {
        BehindCause::Reverted
    } else if stream.last_at < since {
        BehindCause::Away
    } else {
        BehindCause::NotReached
    };
    ConfigState::Behind { running, behind, since, cause }
}

/// A node that repeats the version's own token runs the version itself, whatever hash is expected beside it.
fn same_version_token(config: &ConfigRef, version: &Version) -> bool {
    version.token.as_ref().is_some_and(|token| token.as_str() == config.as_str())
}

/// Step 6: what it runs is not in the ledger (DESIGN 5.7).
fn unresolved(node: &Node, run: &Run, known: &Known<'_>, horizon: &mut Horizon) -> ConfigState {
    let ledger = known.ledger;
    let since = run.since;
    if ledger.head().is_none() {
        return ConfigState::Unknown { missing: Missing::Version };
    }
    // An inferred ledger has no word to wait for; being read proves nothing of it.
    let heard_since = |heard_at: Timestamp| heard_at > since && heard_at <= horizon.now;
    let told = !ledger.inferred() && ledger.heard_at().is_some_and(heard_since);
    let waiting = !told && !horizon.past(since.plus(known.policy.word_wait_ms));
    if run.from_current && waiting && !known.policy.breaks(7) {
        return ConfigState::Propagating { running: None, behind: 0, since };
    }
    if told || (ledger.inferred() && !waiting) || known.policy.breaks(7) {
        let cause = match node.started_without_control_plane {
            true => UnrecognizedCause::OwnOrFallback,
            false => UnrecognizedCause::Unknown,
        };
        return ConfigState::Unrecognized { since, cause };
    }
    ConfigState::Unknown { missing: Missing::Word }
}

fn overlays(
    node: &Node,
    deciding: Option<&Stream>,
    connectivity: Connectivity,
    config: ConfigState,
    known: &Known<'_>,
    horizon: &mut Horizon,
) -> Overlays {
    let policy = known.policy;
    let running = config.running().map(|running| (running, node.cohort()));
    let destroyed = running.is_some_and(|(running, cohort)| known.ledger.destroyed_in(running, &cohort).is_some());
    let away = connectivity.word() == ConnectionWord::Disconnected;
    let serves = deciding.and_then(|stream| stream.run.as_ref()).is_some_and(|run| !run.config.is_zeros());
    let cached = away && serves;
    let attributes = &node.attributes;
    let mut ends_soon = |at: Option<Timestamp>| at.is_some_and(|at| horizon.past(at.plus(-policy.expiring_ms)));
    let cert_expiring = ends_soon(attributes.certificate_expires_at);
    let license_expiring = ends_soon(attributes.license_expires_at);
    let license_ended = attributes.license_expires_at.is_some_and(|at| horizon.past(at));
    let alone = is_alone(node, deciding, known, cached);
    let restart_unsafe = serves && (alone && !node.cache_survives() || (alone || cached) && license_ended);
    let unverified = deciding.and_then(|stream| unverified_change(node, stream, known.ledger, horizon.now));
    let served_at = node.streams.iter().find(|stream| stream.source == Source::AccessLog).map(|stream| stream.last_at);
    let heard = connectivity.word() == ConnectionWord::Connected;
    let serving =
        !heard && served_at.is_some_and(|at| !horizon.past(at.plus(late_after(known.interval_ms(Source::AccessLog)))));
    Overlays::NONE
        .with_if(cached, Overlay::Cached)
        .with_if(restart_unsafe, Overlay::RestartUnsafe)
        .with_if(destroyed, Overlay::SuspiciousContent)
        .with_if(unverified.is_some(), Overlay::PluginStateUnverified)
        .with_if(unverified.is_some_and(|change| change.counters()), Overlay::CountersMayReset)
        .with_if(poll_only(&node.delays).is_some(), Overlay::PollOnly)
        .with_if(full_sync(node, known.ledger).is_some(), Overlay::FellBackToFullSync)
        .with_if(cert_expiring, Overlay::CertExpiring)
        .with_if(license_expiring, Overlay::LicenseExpiring)
        .with_if(node.clock_skew_ms.is_some_and(|skew| skew.abs() > policy.clock_skew_ms), Overlay::ClockSkew)
        .with_if(flapping(node, policy, horizon), Overlay::Flapping)
        .with_if(!live_twins(node, horizon).is_empty(), Overlay::DuplicateId)
        .with_if(sources_disagree(node, known, horizon), Overlay::SourcesDisagree)
        .with_if(serving, Overlay::ServingWhileSilent)
}

/// Whether a node is cut off from its control plane: its connection was seen to end, or the control plane does not answer
/// and the node is not seen to be connected to it all the same. That we do not hear a node says nothing of this.
fn is_alone(node: &Node, deciding: Option<&Stream>, known: &Known<'_>, cached: bool) -> bool {
    let link = node.link.as_ref().filter(|link| link.opened_at.is_some());
    let ended = link.is_some_and(|link| link.closed_at.is_some());
    let seen = link.is_some() && deciding.is_some_and(|stream| stream.source == Source::Tap);
    ended || (known.down_since.is_some() && (cached || !seen))
}

/// A change of plugins that a node took by delta, and that nothing proves to be used by all of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unverified<'a> {
    /// The version.
    pub version: Ordinal,
    /// The plugins that it changed.
    pub plugins: &'a [PluginChange],
    /// Since when the node has it.
    pub since: Timestamp,
}

impl Unverified<'_> {
    /// Whether one of the plugins counts in the node's memory.
    #[must_use]
    pub fn counters(&self) -> bool {
        self.plugins.iter().any(|change| change.keeps == Keeps::Counters)
    }
}

/// The change of plugins of a node that is not proven to be used, as the deciding source tells it.
#[must_use]
pub fn unverified<'a>(
    node: &Node,
    assessment: &Assessment,
    ledger: &'a Ledger,
    now: Timestamp,
) -> Option<Unverified<'a>> {
    let deciding = node.streams.iter().find(|stream| Some(stream.source) == assessment.source)?;
    unverified_change(node, deciding, ledger, now)
}

fn unverified_change<'a>(node: &Node, stream: &Stream, ledger: &'a Ledger, now: Timestamp) -> Option<Unverified<'a>> {
    let (version, since) = node.unverified(stream, ledger, now)?;
    Some(Unverified { version: version.ordinal, plugins: &version.plugins_changed, since })
}

/// Answers in a row that are the whole configuration, after which a node is held to have fallen back: one comes after
/// a long absence too (`kong-hybrid.md` 2.5).
const WHOLE_IN_A_ROW: u8 = 2;

/// That a node gets all of its configuration each time, though it asked for deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullSync {
    /// Bytes of a change to it, where that was seen.
    pub bytes: Option<u64>,
    /// Bytes of a change to others, as a delta.
    pub delta_bytes: Option<u64>,
}

/// Whether a node asked for deltas and gets the whole: it says so, the control plane does not let it ask, or answers it
/// with the whole again and again while others get deltas. A control plane that never sends deltas lets nobody fall back.
#[must_use]
pub fn full_sync(node: &Node, ledger: &Ledger) -> Option<FullSync> {
    let (bytes, delta_bytes) = (node.synced.cost.of_each(), ledger.delta_bytes());
    let answered = node.synced.whole_in_a_row >= WHOLE_IN_A_ROW;
    let fell_back = node.attributes.sync_mode == Some(SyncMode::FellBack) || answered;
    fell_back.then_some(FullSync { bytes, delta_bytes })
}

/// What is missing of what a node should run, as the deciding source tells it, and since when.
#[must_use]
pub fn damage<'a>(node: &Node, assessment: &Assessment, ledger: &'a Ledger) -> Option<Damage<'a>> {
    let running = assessment.verdict.config.running()?;
    let deciding = node.streams.iter().find(|stream| Some(stream.source) == assessment.source)?;
    let run = deciding.run.as_ref()?;
    ledger.damage_in(running, &node.cohort(), run.destroyed_since.unwrap_or(run.since))
}

/// The node's connection opened again and again within an hour.
fn flapping(node: &Node, policy: &Policy, horizon: &mut Horizon) -> bool {
    let openings = node.link.iter().flat_map(|link| &link.openings);
    let recent = openings.filter(|opening| !horizon.past(opening.plus(HOUR))).count();
    u32::try_from(recent).unwrap_or(u32::MAX) >= policy.flapping_reconnects
}

/// Other machines that take turns with the node under its id: both reported within ten minutes (DESIGN 5.10).
fn live_twins<'a>(node: &'a Node, horizon: &mut Horizon) -> Vec<&'a Twin> {
    let mut live = |twin: &&Twin| twin.alternations > 1 && !horizon.past(twin.last_at.plus(10 * MINUTE));
    node.twins.iter().filter(|twin| live(twin)).collect()
}

/// Two sources that are both heard name different versions, and have done so for a while (DESIGN 5.8).
fn sources_disagree(node: &Node, known: &Known<'_>, horizon: &mut Horizon) -> bool {
    let cohort: Scope = node.cohort();
    let now = horizon.now;
    let mut first: Option<(Option<Ordinal>, &Stream)> = None;
    for stream in node.streams.iter().filter(|stream| stream.run.is_some()) {
        let late_at = silent_until(stream, late_after(known.interval_ms(stream.source)), known, now);
        if horizon.past(late_at) {
            continue;
        }
        let version = stream.version(&cohort, known.ledger, now);
        match first {
            None => first = Some((version, stream)),
            Some((before, other)) if before != version => {
                let since = |stream: &Stream| stream.run.as_ref().map_or(stream.last_at, |run| run.since);
                let both_since = since(stream).max(since(other));
                if horizon.past(both_since.plus(known.policy.sources_disagree_ms)) {
                    return true;
                }
            }
            Some(_) => {}
        }
    }
    false
}
