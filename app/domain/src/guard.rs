//! The guard: whether a control plane takes its own configuration apart while every node follows it in perfect sync.
//!
//! A version's [`Shape`] is compared with those before it in the same cohort: v1 leaves out what v2 has, so shapes of
//! two cohorts say nothing about each other. What a version lost is seen against the most that there was within the last
//! [`WINDOW_MS`], so that a loss in many small steps is found as one in a single step is. It is **destructive** where,
//! of one kind of thing ([`Subject`]),
//!
//! - *all* are gone, where there were at least [`ALL_MIN`] (services, routes, hosts and the like, without which nothing
//!   is served) or [`ALL_MIN_OTHER`] (all else);
//! - *half* are gone, at least [`HALF_MIN`];
//! - *many* are gone: at least [`MANY_MIN`], and one of ten;
//! - many are gone *fast*: within [`FAST_MS`] at least [`MANY_MIN`], and one of fifty;
//! - at least [`UNCOVERED_MIN`] certificates, and one of a hundred, are newly *left without SNIs*: whoever takes a
//!   customer away takes the certificate too, and whoever forgets a list leaves it behind.
//!
//! Targets come and go with what they stand for: only the loss of all of them counts. Tokens and sessions expire: their
//! loss is nothing. What is lost and not destructive is **notable**, all else **harmless**.
//!
//! A finding is open until all but one of a hundred of what was lost is back, or until a person says that it was meant
//! ([`Sample::intended`]); what was meant is notable, and the measure for what comes after it. Time is the moment at
//! which we learned of a version: it is never corrected afterwards, so that a replay finds what was found.

use crate::fact::Shape;
use crate::id::Ordinal;
use crate::time::{MINUTE, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How far back a loss is looked for.
pub const WINDOW_MS: i64 = 10 * MINUTE;
/// Within this, many are fast.
pub const FAST_MS: i64 = MINUTE;
/// All are gone, of what nothing is served without.
pub const ALL_MIN: u64 = 5;
/// All are gone, of anything else.
pub const ALL_MIN_OTHER: u64 = 10;
/// Half are gone.
pub const HALF_MIN: u64 = 10;
/// Many are gone.
pub const MANY_MIN: u64 = 100;
/// Certificates are left without SNIs.
pub const UNCOVERED_MIN: u64 = 10;
/// How long after its publication a version's content may reach us: so long the version before it speaks for it.
pub const SHAPE_MAY_TAKE_MS: i64 = MINUTE;

/// Findings that are remembered of a cohort; those that ended first are forgotten first.
const FINDINGS_MAX: usize = 64;
/// Versions within the window that are remembered of one subject; the highest is kept.
const PEAKS_MAX: usize = 1_024;

/// What may be lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// All entities but those that are always there.
    Everything,
    /// Hosts that routes serve.
    Hosts,
    /// Certificates that SNIs name; counted by those that none names.
    NamedCertificates,
    /// Entities of a type.
    Type(String),
}

/// How easily entities of a kind are missed.
enum Kind {
    /// Nothing is served without it.
    Serving,
    /// Comes and goes with what it stands for.
    Scaling,
    /// Expires by itself.
    Fleeting,
    /// Any other.
    Other,
}

impl Subject {
    fn kind(&self) -> Kind {
        let Self::Type(name) = self else {
            return match self {
                Self::Hosts => Kind::Serving,
                Self::Everything | Self::NamedCertificates | Self::Type(_) => Kind::Other,
            };
        };
        match name.as_str() {
            "services" | "routes" | "snis" | "certificates" | "upstreams" => Kind::Serving,
            "targets" => Kind::Scaling,
            "oauth2_tokens"
            | "oauth2_authorization_codes"
            | "acme_storage"
            | "sessions"
            | "session_metadatas"
            | "ratelimiting_metrics" => Kind::Fleeting,
            _ => Kind::Other,
        }
    }

    /// How many a configuration has. Of [`Self::NamedCertificates`]: how many it has not.
    #[must_use]
    pub fn count(&self, shape: &Shape) -> u64 {
        match self {
            Self::Everything => {
                let lasting = |name: &str| !matches!(name, "workspaces" | "parameters");
                let counted = shape.entities.iter().filter(|(name, _)| lasting(name));
                let counted = counted.filter(|(name, _)| !matches!(Self::Type((*name).clone()).kind(), Kind::Fleeting));
                counted.fold(0, |sum, (_, count)| sum.saturating_add(*count))
            }
            Self::Hosts => shape.hosts_served,
            Self::NamedCertificates => shape.certificates_without_snis,
            Self::Type(name) => shape.entities.get(name).copied().unwrap_or(0),
        }
    }

    /// What a configuration has more of, the better: so that a fall of it is a loss.
    fn height(&self, shape: &Shape) -> i64 {
        let count = i64::try_from(self.count(shape)).unwrap_or(i64::MAX);
        if *self == Self::NamedCertificates { -count } else { count }
    }

    /// The name of JSON.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Everything => "everything",
            Self::Hosts => "hosts_served",
            Self::NamedCertificates => "certificates_without_snis",
            Self::Type(name) => name,
        }
    }

    /// The words that people read, for more than one.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Everything => "entities".to_owned(),
            Self::Hosts => "hosts".to_owned(),
            Self::NamedCertificates => "certificates without SNIs".to_owned(),
            Self::Type(name) if name == "snis" => "SNIs".to_owned(),
            Self::Type(name) => name.replace('_', " "),
        }
    }
}

/// By which measure a loss is destructive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// None is left.
    All,
    /// Half or more are gone.
    Half,
    /// A hundred or more, and one of ten.
    Many,
    /// A hundred or more within a minute, and one of fifty.
    Fast,
    /// Certificates are left without SNIs.
    Uncovered,
}

/// What was lost of one kind of thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Of what.
    pub subject: Subject,
    /// By which measure it was found.
    pub measure: Measure,
    /// How many the last good version has.
    pub before: u64,
    /// How many the newest version has.
    pub now: u64,
    /// The most that were gone.
    pub most: u64,
}

impl Loss {
    /// How many are gone of what there was, as a configuration has it.
    #[must_use]
    pub fn lost(&self, count: u64) -> u64 {
        match self.subject {
            Subject::NamedCertificates => count.saturating_sub(self.before),
            Subject::Everything | Subject::Hosts | Subject::Type(_) => self.before.saturating_sub(count),
        }
    }

    /// All but one of a hundred are back.
    fn is_undone(&self) -> bool {
        self.lost(self.now).saturating_mul(100) <= self.most
    }
}

/// How a finding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// What was lost is back.
    Undone,
    /// A person says that it was meant.
    Meant,
}

/// A destructive change: one or many versions that lost something together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The last version before the loss.
    pub last_good: Ordinal,
    /// The first version that lost something.
    pub began: Ordinal,
    /// The first version by which it is destructive: who runs it, or one after it, runs what is left.
    pub found: Ordinal,
    /// Which version ended it, and how.
    pub ended: Option<(Ordinal, End)>,
    /// What was lost; never empty.
    pub losses: Vec<Loss>,
}

impl Finding {
    /// The loss that says most: of the greatest share, then of the greatest number.
    #[must_use]
    pub fn worst(&self) -> Option<&Loss> {
        let share = |loss: &Loss| loss.most.saturating_mul(1_000).checked_div(loss.before).unwrap_or(0);
        let named = |loss: &Loss| loss.subject == Subject::Everything;
        self.losses.iter().max_by_key(|loss| (named(loss), share(loss), loss.most, std::cmp::Reverse(&loss.subject)))
    }
}

/// What a destructive change took from a node or a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage<'a> {
    /// The loss that says most.
    pub loss: &'a Loss,
    /// How many are gone.
    pub lost: u64,
    /// The last version before it.
    pub last_good: Ordinal,
    /// Since when: of a node, since it runs what is left.
    pub since: Timestamp,
}

/// A version whose content was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Which.
    pub ordinal: Ordinal,
    /// When we learned of it.
    pub at: Timestamp,
    /// What it is made of.
    pub shape: &'a Shape,
    /// A person says that what it lost is meant.
    pub intended: bool,
}

/// How many there were, at a version that no later one within the window reaches up to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Peak {
    height: i64,
    ordinal: Ordinal,
    /// Its place in the order of what was seen.
    place: u64,
    /// The version after it, and when that came: until then it was so.
    then: Option<(Ordinal, Timestamp)>,
}

/// Watches the versions of one cohort, in the order of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// By subject: falling heights, oldest first. The last one is that of the newest version.
    peaks: BTreeMap<Subject, VecDeque<Peak>>,
    seen: u64,
    last_at: Option<Timestamp>,
    findings: Vec<Finding>,
}

impl Watch {
    /// What was found, oldest first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// A person says that what this version lost is meant: it is the measure from here on, once its content is seen.
    pub fn mean(&mut self, ordinal: Ordinal) {
        self.peaks.clear();
        for finding in self.findings.iter_mut().filter(|finding| finding.ended.is_none()) {
            finding.ended = Some((ordinal, End::Meant));
        }
    }

    /// Takes in the next version.
    pub fn see(&mut self, sample: Sample<'_>) {
        if sample.intended {
            self.mean(sample.ordinal);
        }
        let at = self.last_at.map_or(sample.at, |last_at| last_at.max(sample.at));
        self.last_at = Some(at);
        self.seen += 1;
        let types = sample.shape.entities.keys().map(|name| Subject::Type(name.clone()));
        let always = [Subject::Everything, Subject::Hosts, Subject::NamedCertificates];
        for subject in always.into_iter().chain(types) {
            self.peaks.entry(subject).or_default();
        }
        let mut lost = Vec::new();
        for (subject, peaks) in &mut self.peaks {
            let height = subject.height(sample.shape);
            step(peaks, height, sample.ordinal, self.seen, at);
            let (Some(highest), Some(fast)) = (peaks.front(), peaks.iter().find(|peak| peak.lasted_to(at, FAST_MS)))
            else {
                continue;
            };
            if let Some(measure) = destructive(subject, highest, fast, height, sample.shape) {
                lost.push((subject.clone(), measure, highest.clone()));
            }
        }
        self.find(sample, lost);
    }

    /// Opens a finding, adds to the open one, or ends it.
    fn find(&mut self, sample: Sample<'_>, lost: Vec<(Subject, Measure, Peak)>) {
        let first = lost.iter().map(|(_, _, peak)| peak).min_by_key(|peak| peak.place);
        let began = first.and_then(|peak| Some((peak.ordinal, peak.then?.0)));
        if self.findings.last().is_none_or(|finding| finding.ended.is_some()) {
            let Some((last_good, began)) = began else { return };
            if self.findings.len() >= FINDINGS_MAX {
                self.findings.remove(0);
            }
            let found = sample.ordinal;
            self.findings.push(Finding { last_good, began, found, ended: None, losses: Vec::new() });
        }
        let Some(finding) = self.findings.last_mut() else { return };
        for (subject, measure, peak) in lost {
            if !finding.losses.iter().any(|loss| loss.subject == subject) {
                let before = peak.height.unsigned_abs();
                finding.losses.push(Loss { subject, measure, before, now: before, most: 0 });
            }
        }
        for loss in &mut finding.losses {
            loss.now = loss.subject.count(sample.shape);
            loss.most = loss.most.max(loss.lost(loss.now));
        }
        if finding.losses.iter().all(Loss::is_undone) {
            finding.ended = Some((sample.ordinal, End::Undone));
        }
    }
}

impl Peak {
    /// Whether it was so at some time within the last `span_ms`.
    fn lasted_to(&self, at: Timestamp, span_ms: i64) -> bool {
        self.then.is_none_or(|(_, until)| at.since(until) < span_ms)
    }
}

/// Takes the next height in: what no longer lies within the window goes, and what is not higher gives way.
fn step(peaks: &mut VecDeque<Peak>, height: i64, ordinal: Ordinal, place: u64, at: Timestamp) {
    if let Some(last) = peaks.back_mut() {
        last.then = Some((ordinal, at));
    }
    while peaks.front().is_some_and(|peak| !peak.lasted_to(at, WINDOW_MS)) {
        peaks.pop_front();
    }
    while peaks.back().is_some_and(|peak| peak.height <= height) {
        peaks.pop_back();
    }
    if peaks.len() >= PEAKS_MAX {
        peaks.remove(1);
    }
    peaks.push_back(Peak { height, ordinal, place, then: None });
}

/// By which measure the fall from the highest peak, or from the highest of the last minute, is destructive.
fn destructive(subject: &Subject, highest: &Peak, fast: &Peak, height: i64, shape: &Shape) -> Option<Measure> {
    let fallen = |peak: &Peak| u64::try_from(peak.height.saturating_sub(height)).unwrap_or(0);
    let of = |peak: &Peak| u64::try_from(peak.height).unwrap_or(0);
    let is = |lost: u64, min: u64, one_of: u64, before: u64| lost >= min && lost.saturating_mul(one_of) >= before;
    let lost = fallen(highest);
    if *subject == Subject::NamedCertificates {
        let certificates = Subject::Type("certificates".to_owned()).count(shape);
        return is(lost, UNCOVERED_MIN, 100, certificates).then_some(Measure::Uncovered);
    }
    let (all_min, only_all) = match subject.kind() {
        Kind::Fleeting => return None,
        Kind::Serving => (ALL_MIN, false),
        Kind::Scaling => (ALL_MIN, true),
        Kind::Other => (ALL_MIN_OTHER, *subject == Subject::Everything),
    };
    if height == 0 && lost >= all_min {
        Some(Measure::All)
    } else if only_all {
        None
    } else if is(lost, HALF_MIN, 2, of(highest)) {
        Some(Measure::Half)
    } else if is(lost, MANY_MIN, 10, of(highest)) {
        Some(Measure::Many)
    } else {
        is(fallen(fast), MANY_MIN, 50, of(fast)).then_some(Measure::Fast)
    }
}

/// How a version's content changed, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Nothing is fewer.
    Harmless,
    /// Something was removed.
    Notable,
    /// It is part of a destructive change.
    Destructive,
}

impl Grade {
    /// The word of pages and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Harmless => "harmless",
            Self::Notable => "notable",
            Self::Destructive => "destructive",
        }
    }
}

/// A count that differs between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountChange {
    /// Of what.
    pub subject: Subject,
    /// In the version before.
    pub before: u64,
    /// In this one.
    pub after: u64,
}

/// What differs between the shapes of two versions, type by type.
#[must_use]
pub fn difference(before: &Shape, after: &Shape) -> Vec<CountChange> {
    let mut types: Vec<&String> = before.entities.keys().chain(after.entities.keys()).collect();
    types.sort_unstable();
    types.dedup();
    let types = types.into_iter().map(|name| Subject::Type(name.clone()));
    let all = types.chain([Subject::NamedCertificates, Subject::Hosts]);
    all.map(|subject| CountChange { before: subject.count(before), after: subject.count(after), subject })
        .filter(|change| change.before != change.after)
        .collect()
}

/// Whether something that does not expire by itself is fewer than before.
#[must_use]
pub fn is_notable(changes: &[CountChange]) -> bool {
    changes.iter().any(|change| match change.subject {
        Subject::NamedCertificates => change.after > change.before,
        Subject::Everything | Subject::Hosts | Subject::Type(_) => {
            change.after < change.before && !matches!(change.subject.kind(), Kind::Fleeting)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    fn t(ms: i64) -> Timestamp {
        Timestamp::from_ms(1_795_000_000_000 + ms)
    }

    /// `hosts`, `uncovered` and types with their counts.
    fn shape(counts: &[(&str, u64)]) -> Shape {
        let mut shape = Shape::default();
        for (name, count) in counts {
            match *name {
                "hosts" => shape.hosts_served = *count,
                "uncovered" => shape.certificates_without_snis = *count,
                name => _ = shape.entities.insert(name.to_owned(), *count),
            }
        }
        shape
    }

    /// Versions a given time after each other, and what is found in them.
    fn watched(versions: &[(i64, Shape)]) -> Watch {
        let mut watch = Watch::default();
        let mut now = 0;
        for (number, (after_ms, shape)) in (1..).zip(versions) {
            now += after_ms;
            let (ordinal, at) = (Ordinal::new(number), t(now));
            watch.see(Sample { ordinal, at, shape, intended: false });
        }
        watch
    }

    /// `last good, began, found` of what is open, or was.
    fn findings(watch: &Watch) -> Vec<(u32, u32, u32)> {
        let numbers = |finding: &Finding| (finding.last_good.number(), finding.began.number(), finding.found.number());
        watch.findings().iter().map(numbers).collect()
    }

    /// By which measure the step from one count to another is destructive, an hour after it had been so.
    #[track_caller]
    fn check(name: &str, before: u64, after: u64, expected: Option<Measure>) {
        let versions = [(0, shape(&[(name, before)])), (HOUR, shape(&[(name, after)]))];
        let watch = watched(&versions);
        let found = watch.findings().first().and_then(|finding| finding.losses.first()).map(|loss| loss.measure);
        assert_eq!(found, expected, "{name} from {before} to {after}");
    }

    const HOUR: i64 = 60 * MINUTE;

    #[test]
    fn each_measure_has_two_sides() {
        use Measure::{All, Fast, Half, Many, Uncovered};
        // All, of what nothing is served without.
        for name in ["services", "routes", "snis", "certificates", "upstreams", "targets", "hosts"] {
            check(name, 5, 0, Some(All));
            check(name, 4, 0, None);
            check(name, 5, 1, None);
        }
        // All, of anything else.
        check("plugins", 10, 0, Some(All));
        check("plugins", 9, 0, None);
        // Half.
        check("consumers", 20, 10, Some(Half));
        check("consumers", 20, 11, None);
        check("consumers", 19, 9, Some(Half));
        check("consumers", 18, 9, None);
        check("hosts", 300, 150, Some(Half));
        check("targets", 400, 1, None);
        // Many at once are fast too; where they are one of ten, they are many.
        check("routes", 1_000, 900, Some(Many));
        check("routes", 1_000, 901, None);
        check("routes", 1_010, 909, Some(Many));
        check("routes", 1_010, 910, Some(Fast));
        // Fast.
        check("routes", 5_000, 4_900, Some(Fast));
        check("routes", 5_000, 4_901, None);
        check("routes", 10_000, 9_800, Some(Fast));
        check("routes", 10_000, 9_801, None);
        // Certificates without SNIs.
        check("uncovered", 0, 10, Some(Uncovered));
        check("uncovered", 3, 12, None);
        check("uncovered", 10, 0, None);
        // What expires by itself.
        check("oauth2_tokens", 90_000, 0, None);
        // More is never a loss.
        check("routes", 0, 90_000, None);
    }

    #[test]
    fn certificates_without_snis_are_seen_against_all_certificates() {
        for (certificates, expected) in [(1_000, 1), (1_001, 0)] {
            let of = |uncovered| shape(&[("certificates", certificates), ("uncovered", uncovered)]);
            assert_eq!(watched(&[(0, of(0)), (HOUR, of(10))]).findings().len(), expected, "{certificates}");
        }
    }

    #[test]
    fn everything_gone_is_said_as_one() {
        let full = shape(&[("routes", 4), ("services", 4), ("plugins", 2), ("parameters", 1), ("workspaces", 1)]);
        let empty = shape(&[("parameters", 1), ("workspaces", 1)]);
        let watch = watched(&[(0, full), (HOUR, empty.clone())]);
        let worst = watch.findings()[0].worst().expect("a loss");
        assert_eq!((&worst.subject, worst.before, worst.now), (&Subject::Everything, 10, 0));
        // Twin: there was next to nothing before.
        let little = shape(&[("routes", 4), ("services", 4), ("plugins", 1), ("parameters", 1)]);
        assert_eq!(watched(&[(0, little), (HOUR, empty)]).findings(), []);
    }

    /// 1,400 of `total` SNIs go in 6 minutes, a version each 5 s; found so long after the first of them.
    fn bleeding(total: u64) -> (Vec<(i64, Shape)>, Option<i64>) {
        let snis = |lost: u64| shape(&[("snis", total - lost), ("certificates", 1), ("routes", 800)]);
        let mut versions = vec![(0, snis(0))];
        versions.extend(
            (1..=72_u64).map(|number| (if number == 1 { HOUR } else { 5 * SECOND }, snis(number * 1_400 / 72))),
        );
        let found = findings(&watched(&versions)).first().map(|(_, _, found)| i64::from(found - 2) * 5 * SECOND);
        (versions, found)
    }

    /// G3: what goes in small steps is found long before it is over, and within a minute.
    #[test]
    fn a_loss_in_small_steps_is_found_within_a_minute() {
        for (total, expected) in [(1_400, 25), (1_500, 25), (4_000, 25), (8_000, 40), (11_000, 55)] {
            let (versions, found) = bleeding(total);
            assert_eq!(found, Some(expected * SECOND), "of {total}");
            let watch = watched(&versions);
            let finding = &watch.findings()[0];
            assert_eq!((finding.last_good.number(), finding.began.number(), finding.ended), (1, 2, None), "of {total}");
            let worst = finding.worst().expect("a loss");
            assert_eq!((worst.before, worst.now, worst.most), (total, total - 1_400, 1_400));
        }
        // Where it is a small part of them, it takes longer; of very many, it is none.
        assert_eq!(bleeding(12_000).1, Some(145 * SECOND));
        assert_eq!(bleeding(13_000).1, Some(330 * SECOND));
        assert_eq!(bleeding(90_000).1, None);
    }

    /// G4, and deliberate work at a person's pace.
    #[test]
    fn one_sni_removed_on_purpose_is_notable_and_no_more() {
        let (before, after) = (shape(&[("snis", 1_400)]), shape(&[("snis", 1_399), ("uncovered", 1)]));
        assert_eq!(watched(&[(0, before.clone()), (HOUR, after.clone())]).findings(), []);
        let changes = difference(&before, &after);
        assert!(is_notable(&changes));
        let words: Vec<_> = changes.iter().map(|it| (it.subject.words(), it.before, it.after)).collect();
        assert_eq!(words, [("SNIs".into(), 1_400, 1_399), ("certificates without SNIs".into(), 0, 1)]);
        assert!(!is_notable(&difference(&after, &before)), "more of it is harmless");
        assert!(!is_notable(&difference(&shape(&[("sessions", 9)]), &shape(&[]))), "sessions end by themselves");
    }

    #[test]
    fn a_loss_is_looked_for_within_ten_minutes() {
        // 60, 50, 41 of 80: half within the window, or not any more.
        let steps = |last: i64| {
            [(0, 80), (HOUR, 60), (5 * MINUTE, 50), (last, 40)]
                .map(|(after, count)| (after, shape(&[("routes", count)])))
        };
        assert_eq!(findings(&watched(&steps(5 * MINUTE - 1))), [(1, 2, 4)]);
        assert_eq!(findings(&watched(&steps(5 * MINUTE))), []);
        // However long it had been so: the version before counts until the next one.
        let jump = [(0, shape(&[("routes", 80)])), (1_000 * HOUR, shape(&[("routes", 40)]))];
        assert_eq!(findings(&watched(&jump)), [(1, 2, 2)]);
    }

    #[test]
    fn what_came_and_went_again_within_the_window_is_measured_from_its_top() {
        let counts = [10, 40, 12];
        let watch = watched(&counts.map(|count| (MINUTE, shape(&[("routes", count)]))));
        assert_eq!(findings(&watch), [(2, 3, 3)]);
    }

    /// `routes` after a loss of 400 of 800, and how the finding stands.
    #[track_caller]
    fn then(routes: u64, expected: Option<End>) {
        let counts = [800, 400, routes];
        let watch = watched(&counts.map(|count| (HOUR, shape(&[("routes", count), ("snis", 7)]))));
        assert_eq!(watch.findings()[0].ended.map(|(_, end)| end), expected, "{routes}");
    }

    #[test]
    fn it_ends_when_all_but_one_of_a_hundred_is_back() {
        then(800, Some(End::Undone));
        then(796, Some(End::Undone));
        then(795, None);
        then(400, None);
        then(900, Some(End::Undone));
    }

    #[test]
    fn every_loss_has_to_be_undone() {
        let of = |routes, snis| shape(&[("routes", routes), ("snis", snis)]);
        let mut versions = vec![(0, of(100, 50)), (HOUR, of(10, 50)), (HOUR, of(10, 5)), (HOUR, of(100, 5))];
        let watch = watched(&versions);
        assert_eq!((watch.findings().len(), watch.findings()[0].ended), (1, None), "the SNIs are still gone");
        versions.push((HOUR, of(100, 50)));
        let watch = watched(&versions);
        assert_eq!(watch.findings()[0].ended, Some((Ordinal::new(5), End::Undone)));
        // It may happen again.
        versions.push((HOUR, of(10, 50)));
        assert_eq!(findings(&watched(&versions)), [(1, 2, 2), (5, 6, 6)]);
    }

    #[test]
    fn what_is_meant_is_the_measure_from_there_on() {
        let of = |count| shape(&[("routes", count)]);
        let see = |watch: &mut Watch, number: u32, count, intended| {
            let at = t(i64::from(number) * MINUTE);
            watch.see(Sample { ordinal: Ordinal::new(number), at, shape: &of(count), intended });
        };
        // Said with the version.
        let mut watch = Watch::default();
        see(&mut watch, 1, 800, false);
        see(&mut watch, 2, 40, true);
        assert_eq!(watch.findings(), []);
        see(&mut watch, 3, 21, false);
        assert_eq!(watch.findings(), []);
        see(&mut watch, 4, 20, false);
        assert_eq!(findings(&watch), [(2, 3, 4)], "measured from what was meant");
        // Said later: of a version whose content is not known, and then of one that is.
        watch.mean(Ordinal::new(5));
        assert_eq!(watch.findings()[0].ended, Some((Ordinal::new(5), End::Meant)));
        see(&mut watch, 6, 0, false);
        assert_eq!(watch.findings().len(), 1, "the first that is seen after it is the measure");
    }

    #[test]
    fn many_versions_within_the_window_cost_no_more_than_is_kept() {
        let versions: Vec<_> = (0..3_000).map(|gone| (SECOND / 10, shape(&[("routes", 100_000 - gone)]))).collect();
        let watch = watched(&versions);
        let routes = &watch.peaks[&Subject::Type("routes".to_owned())];
        assert_eq!(routes.len(), PEAKS_MAX);
        assert_eq!(routes.front().map(|peak| peak.height), Some(100_000), "the highest is kept");
    }
}
