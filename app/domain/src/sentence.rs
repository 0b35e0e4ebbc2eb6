//! A verdict in words: the same text on the page, in REST, in an alert and in an export.
//!
//! A headline says state, age, cause and next step; an evidence line says what that rests on. Both hold
//! [`CHARS_MAX`] characters, and no clause is ever cut: a line is put together from whole clauses, of which some have
//! a shorter form, and some are left out where they do not fit. Names over [`NAME_MAX`] characters are cut in the
//! middle. A node that is not heard is judged by its last report, in those words, and what to do next is about why it
//! is not heard. No next step is a restart.

use crate::assess::{FullSync, Unverified};
use crate::common::{PAIR, lift};
use crate::delays::PollOnly;
use crate::fact::{ApplyFailure, ConfigRef, Keeps, Source, WithheldReason};
use crate::guard::{Damage, Subject};
use crate::id::{CpName, Ordinal};
use crate::notice::{NoticeKind, Severity};
use crate::time::{DAY, SECOND, Timestamp, span};
use crate::verdict::{
    BehindCause, ConfigState, ConfigWord, Connectivity, Counter, CurrentBy, EmptyProof, Gone, Missing, Overlay,
    Overlays, Unproven, UnrecognizedCause, Verdict,
};
use crate::view::{CommonFactor, Proof};

/// Characters of a headline, of an evidence line, and of the sentences on fleet and control plane, at most.
pub const CHARS_MAX: usize = 160;
/// Characters of a name at most; a longer one is cut in the middle.
pub const NAME_MAX: usize = 24;

/// What the sentences on a node are written from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The answer.
    pub verdict: &'a Verdict,
    /// The moment of the answer.
    pub now: Timestamp,
    /// The hostname, else the id.
    pub node: &'a str,
    /// Its control plane.
    pub control_plane: &'a CpName,
    /// What the node said that it runs.
    pub reported: Option<&'a ConfigRef>,
    /// What is expected of its cohort.
    pub expected: Option<&'a ConfigRef>,
    /// The head of its control plane's ledger.
    pub head: Option<Ordinal>,
    /// The source that decided.
    pub source: Option<Source>,
    /// The last report.
    pub last_report_at: Option<Timestamp>,
    /// That moment is an estimate.
    pub last_report_estimated: bool,
    /// Its failure to apply, where there is one.
    pub failure: Option<&'a ApplyFailure>,
    /// Why configurations are withheld, in the words of the control plane.
    pub withheld_detail: Option<&'a str>,
    /// The last report may be this much older than its time says (a poll).
    pub uncertain_ms: u32,
    /// The ledger rests on reports of nodes alone (DESIGN 5.1).
    pub inferred: bool,
    /// What a destructive change took from what it runs.
    pub damage: Option<Damage<'a>>,
    /// The proof that it learns of changes by its own poll only.
    pub poll_only: Option<PollOnly>,
    /// It asked for deltas, and gets the whole.
    pub full_sync: Option<FullSync>,
    /// A change of plugins that is not proven to be used.
    pub unverified: Option<Unverified<'a>>,
}

/// The answer in words: state, age, cause, next step; at most [`CHARS_MAX`] characters.
#[must_use]
pub fn headline(facts: &Facts<'_>) -> String {
    fit(&headline_clauses(facts)).concat()
}

/// What the answer rests on; at most [`CHARS_MAX`] characters.
#[must_use]
pub fn evidence(facts: &Facts<'_>) -> String {
    fit(&evidence_clauses(facts)).concat()
}

/// A piece of a line that is there as a whole, in one of its forms, or not at all. It brings its own punctuation.
#[derive(Clone, Debug)]
struct Clause {
    /// Best first; the last one is short.
    forms: Vec<String>,
    /// In its last form, if nothing better fits.
    must: bool,
    /// Clauses of a low rank take the room that is left before those of a higher one.
    rank: u8,
}

impl Clause {
    fn must(forms: Vec<String>) -> Self {
        Self { forms, must: true, rank: 0 }
    }

    /// What to do: a longer form of it is worth less than what [`Clause::may`] says at a rank below 3.
    fn next(forms: &[String]) -> Self {
        Self { forms: forms.iter().map(|next| format!(". {next}")).collect(), must: true, rank: 3 }
    }

    fn may(rank: u8, form: String) -> Self {
        Self::may_be(rank, vec![form])
    }

    fn may_be(rank: u8, forms: Vec<String>) -> Self {
        Self { forms, must: false, rank }
    }
}

/// The form of each clause, empty for those that are left out. The last forms of all that must be said fit by the
/// way they are written; a test holds that for every state and the longest values.
fn fit(clauses: &[Clause]) -> Vec<String> {
    let length = |text: &str| text.chars().count();
    let shortest = |clause: &Clause| if clause.must { clause.forms.last().cloned() } else { None }.unwrap_or_default();
    let mut chosen: Vec<String> = clauses.iter().map(shortest).collect();
    let mut used: usize = chosen.iter().map(|form| length(form)).sum();
    let mut by_rank: Vec<usize> = (0..clauses.len()).collect();
    by_rank.sort_by_key(|index| clauses[*index].rank);
    for index in by_rank {
        let others = used - length(&chosen[index]);
        if let Some(form) = clauses[index].forms.iter().find(|form| others + length(form) <= CHARS_MAX) {
            used = others + length(form);
            chosen[index].clone_from(form);
        }
    }
    chosen
}

/// A configuration state in words.
struct Said {
    /// With its age, at the beginning of a sentence.
    heading: String,
    /// After "by its last report".
    briefly: String,
    /// Why; longest first.
    cause: Vec<String>,
    /// What to do, in whole sentences; longest first.
    next: Vec<String>,
}

fn headline_clauses(facts: &Facts<'_>) -> Vec<Clause> {
    let said = said(facts);
    let mut clauses = match unheard(facts) {
        None => vec![
            Clause::must(vec![said.heading]),
            Clause::must(said.cause.iter().map(|cause| format!(": {cause}")).collect()),
            Clause::next(&said.next),
        ],
        Some(unheard) => {
            let mut clauses = vec![Clause::must(unheard.heading)];
            // Without a report, nothing is to be said of a configuration, unless the control plane said it.
            if facts.verdict.config != (ConfigState::Unknown { missing: Missing::Report }) {
                clauses.push(Clause::must(vec![format!("; {} {}", unheard.judged, said.briefly)]));
            }
            clauses.push(Clause::next(&unheard.next));
            clauses
        }
    };
    let next = clauses.len() - 1;
    if let Some(damage) = &facts.damage {
        let [lost, briefly] = lost(damage);
        let after = damage.last_good;
        let forms =
            vec![format!("; {lost} after {after}"), format!("; {briefly} after {after}"), format!("; {briefly}")];
        clauses.insert(next, Clause::may_be(0, forms));
    }
    if facts.verdict.overlays.has(Overlay::Cached) {
        clauses.insert(next, Clause::may(1, ", served from its cache".to_owned()));
    }
    clauses.extend(asides(facts.verdict.overlays));
    clauses
}

/// What else somebody who acts on a headline should know, if there is room; most important first.
fn asides(overlays: Overlays) -> Vec<Clause> {
    let asides = [
        (Overlay::RestartUnsafe, " Do not restart it: it may lose its configuration."),
        (Overlay::DuplicateId, " Two machines report under this id."),
        (Overlay::ServingWhileSilent, " Access logs show that it serves."),
        (Overlay::SourcesDisagree, " Two sources disagree on it."),
    ];
    let held = asides.into_iter().filter(|(overlay, _)| overlays.has(*overlay));
    held.map(|(overlay, aside)| {
        let rank = if overlay == Overlay::RestartUnsafe { 2 } else { 4 };
        Clause::may(rank, aside.to_owned())
    })
    .collect()
}

/// The words for a node that is not heard.
struct Unheard {
    heading: Vec<String>,
    /// What the words on its configuration rest on.
    judged: &'static str,
    next: Vec<String>,
}

fn unheard(facts: &Facts<'_>) -> Option<Unheard> {
    let (node, control_plane) = (name(facts.node), name(facts.control_plane.as_str()));
    let age = |since| age(since, facts.now);
    let unheard = |heading: String, next: Vec<String>| {
        Some(Unheard { heading: vec![heading], judged: "by its last report", next })
    };
    match facts.verdict.connectivity {
        Connectivity::Connected { .. } => None,
        Connectivity::Late { since } => unheard(
            format!("Late: silent for {}", age(since)),
            vec![
                "Next: wait for its next report; after three missed intervals it is disconnected.".to_owned(),
                "Next: wait for its next report.".to_owned(),
            ],
        ),
        Connectivity::Disconnected { since } => unheard(
            format!("Disconnected for {}", age(since)),
            vec![
                format!("Next: look at the network between {node} and {control_plane}, then at the node's log."),
                format!("Next: look at the network between {node} and {control_plane}."),
                "Next: look at the network to its control plane.".to_owned(),
            ],
        ),
        Connectivity::NeverSeen { since } => Some(Unheard {
            heading: vec![format!("Never seen: no report in {}", age(since))],
            judged: "held to be",
            next: vec![
                format!("Next: look at the log of {node} for its connection to {control_plane}."),
                "Next: look at the node's log for its connection.".to_owned(),
            ],
        }),
        Connectivity::Gone { since, why } => {
            let why = match why {
                Gone::Retired => "retired by a person",
                Gone::Replaced => "replaced under a new id",
                Gone::Ephemeral => "of a kind that comes and goes",
                Gone::Silent => "silent for more than a day",
            };
            unheard(
                format!("Gone: {why}, last heard {} ago", age(since)),
                vec!["Nothing to do; a report brings it back.".to_owned(), "Nothing to do.".to_owned()],
            )
        }
        Connectivity::Unobserved { since } => {
            let source = facts.source.map_or_else(String::new, |source| format!(" {}", source.label()));
            let source = format!("our source{source}");
            Some(Unheard {
                heading: vec![
                    format!("Unobserved for {}: {source} is blind", age(since)),
                    format!("Unobserved for {}: our source is blind", age(since)),
                ],
                judged: "by its last observation",
                next: vec![
                    format!("Next: look at why {source} hears nothing, not at the node."),
                    "Next: look at our source, not at the node.".to_owned(),
                    "Next: look at our source.".to_owned(),
                ],
            })
        }
    }
}

fn said(facts: &Facts<'_>) -> Said {
    let (node, control_plane) = (name(facts.node), name(facts.control_plane.as_str()));
    let age = |since| age(since, facts.now);
    let reported = facts.reported.map(called);
    let head_is = facts.head.map_or_else(|| "the head is not known".to_owned(), |head| format!("the head is {head}"));
    match facts.verdict.config {
        ConfigState::Unknown { missing } => {
            let (cause, next) = match missing {
                Missing::Report => (
                    vec!["no report says what it runs".to_owned()],
                    vec!["Next: let the node push heartbeats, or connect a tap or shadow.".to_owned()],
                ),
                Missing::Version => (
                    vec![
                        format!("it reports {}, and the ledger of {control_plane} is empty", shown(&reported)),
                        format!("the ledger of {control_plane} has no version yet"),
                    ],
                    vec!["Next: announce the version, or connect a tap or shadow.".to_owned()],
                ),
                Missing::Word => (
                    vec![
                        format!("it reports {}, which is not in the ledger of {control_plane}", shown(&reported)),
                        format!("what it reports is not in the ledger of {control_plane}"),
                    ],
                    vec!["Next: announce the version, or connect a tap or shadow.".to_owned()],
                ),
                Missing::ProofOfEmptiness => (
                    vec!["it repeats zeros, and nothing proves that it is empty".to_owned()],
                    vec![
                        format!("Next: read the Status API of {node}; a 503 is proof."),
                        "Next: read its Status API; a 503 is proof.".to_owned(),
                    ],
                ),
            };
            let heading = format!("Unknown, connected for {}", age(facts.verdict.connectivity.since()));
            Said { heading, briefly: "unknown".to_owned(), cause, next }
        }
        ConfigState::Incompatible { reason, since, running } => Said {
            heading: format!("Incompatible for {}", age(since)),
            briefly: "incompatible".to_owned(),
            cause: vec![format!("{}; {}", reason.sentence(), keeps(running)), reason.sentence().to_owned()],
            next: remedy(reason, &node),
        },
        ConfigState::Rejected { since, running, refused } => {
            let refused = refused.map_or_else(|| "the newest version".to_owned(), |refused| refused.to_string());
            let entity = facts.failure.and_then(|failure| failure.entity.as_ref()).map(|entity| name(entity.as_str()));
            let field = facts.failure.and_then(|failure| failure.field.as_ref()).map(|field| name(field.as_str()));
            let keeps = keeps(running);
            let mut cause = Vec::new();
            let mut next = Vec::new();
            if let Some(entity) = &entity {
                if let Some(field) = &field {
                    cause.push(format!("could not apply {entity}, field {field}; {keeps}"));
                }
                cause.push(format!("could not apply {entity}; {keeps}"));
                next.push(format!("Next: look at the log of {node} for {entity}, then correct it."));
                next.push(format!("Next: look at the node's log for {entity}."));
            }
            cause.push(format!("could not apply it; {keeps}"));
            next.push("Next: look at the node's log for the entity.".to_owned());
            let heading = format!("Rejected {refused}, {} ago", age(since));
            Said { heading, briefly: format!("rejected {refused}"), cause, next }
        }
        ConfigState::Empty { since, proof } => {
            let (cause, next) = match proof {
                EmptyProof::NeverConfigured => (
                    format!("compatible, but it never had a configuration; {head_is}"),
                    vec![
                        format!("Next: look at the log of {control_plane} for sends to {node}."),
                        "Next: look at the control plane's log for sends to it.".to_owned(),
                    ],
                ),
                EmptyProof::NotReady => (
                    format!("it says that it is not ready (503); {head_is}"),
                    vec![
                        format!("Next: look at the log of {node} for its last sync from {control_plane}."),
                        "Next: look at the node's log for its last sync.".to_owned(),
                    ],
                ),
            };
            let heading = format!("Empty for {}", age(since));
            Said { heading, briefly: "empty".to_owned(), cause: vec![cause], next }
        }
        ConfigState::Current { running, how, since } => {
            let nothing = match (&facts.damage, &facts.unverified) {
                (None, None) => vec!["Nothing to do.".to_owned()],
                (None, Some(unverified)) => vec![
                    format!("Next: try a request that the change of {} concerns.", keeping(unverified)),
                    "Next: try a request that its change of plugins concerns.".to_owned(),
                ],
                (Some(Damage { last_good, .. }), _) => vec![
                    format!("Next: compare it with {last_good}, the last good version."),
                    format!("Next: compare it with {last_good}."),
                ],
            };
            let (word, cause, next) = match how {
                CurrentBy::Version => ("current", format!("runs {running}, the head"), nothing),
                CurrentBy::Alias => (
                    "current by alias",
                    format!("reports another hash of {running}, the head; hash-only drift"),
                    vec!["Nothing to do; it heals at the next change.".to_owned()],
                ),
                CurrentBy::NoOp => {
                    let up_to = facts.head.map_or_else(String::new, |head| format!(" up to {head}"));
                    ("current by no-op", format!("runs {running}; what it misses{up_to} changes no behaviour"), nothing)
                }
                CurrentBy::Revert => {
                    let head = facts.head.map_or_else(|| "the head".to_owned(), |head| format!("the head, {head},"));
                    ("current by revert", format!("runs {running}, and {head} went back to it"), nothing)
                }
                CurrentBy::Empty => ("current", "the head is empty, and so is the node".to_owned(), nothing),
            };
            let at = match how {
                CurrentBy::Empty => "current and empty".to_owned(),
                CurrentBy::Version | CurrentBy::Alias | CurrentBy::NoOp | CurrentBy::Revert => {
                    format!("{word} at {running}")
                }
            };
            Said { heading: format!("{} for {}", capital(word), age(since)), briefly: at, cause: vec![cause], next }
        }
        ConfigState::Propagating { running, behind, since } => {
            let (cause, next) = match running {
                Some(running) => (
                    vec![
                        format!("runs {running}, {head_is}, and a push may take this long"),
                        format!("runs {running}, and a push may take this long"),
                    ],
                    vec!["Next: wait for its next report.".to_owned()],
                ),
                None => (
                    vec![
                        format!("it reports {}, which {control_plane} has not named yet", shown(&reported)),
                        "its control plane has not named what it reports yet".to_owned(),
                    ],
                    vec!["Next: wait for the control plane's word.".to_owned()],
                ),
            };
            let by = if behind == 0 { String::new() } else { format!(", behind by {}", changes(behind)) };
            let heading = format!("Propagating for {}{by}", age(since));
            Said { heading, briefly: format!("propagating{by}"), cause, next }
        }
        ConfigState::Behind { running, behind, since, cause } => {
            let (cause, next) = match cause {
                BehindCause::NotReached => (
                    vec![format!("still runs {running} while {head_is}"), format!("still runs {running}")],
                    vec![
                        format!(
                            "Next: look at the log of {node} after {} for an apply error.",
                            moment(since, facts.now)
                        ),
                        format!("Next: look at the log of {node} for an apply error."),
                        "Next: look at the node's log for an apply error.".to_owned(),
                    ],
                ),
                BehindCause::Away => (
                    vec![
                        format!("it was away when that was published; runs {running}, {head_is}"),
                        format!("it was away; runs {running}"),
                    ],
                    vec![
                        format!("Next: look at the log of {node} for its connection to {control_plane}."),
                        "Next: look at the node's log for its connection.".to_owned(),
                    ],
                ),
                BehindCause::Reverted => (
                    vec![
                        format!("its control plane went back to an earlier configuration; runs {running}"),
                        format!("its control plane was reverted; runs {running}"),
                    ],
                    vec![
                        format!("Next: ask whether the revert of {control_plane} was meant."),
                        "Next: ask whether the revert was meant.".to_owned(),
                    ],
                ),
            };
            let by = format!("behind by {}", changes(behind));
            Said { heading: format!("{} for {}", capital(&by), age(since)), briefly: by, cause, next }
        }
        ConfigState::Ahead { running, since } => Said {
            heading: format!("Ahead for {}", age(since)),
            briefly: format!("ahead at {running}"),
            cause: vec![match facts.head {
                Some(head) => format!("runs {running}, above the head {head} by the control plane's word"),
                None => format!("runs {running}, above the head by the control plane's word"),
            }],
            next: vec![
                format!("Next: ask whether {control_plane} was restored from a backup."),
                "Next: ask whether it was restored from a backup.".to_owned(),
            ],
        },
        ConfigState::UnprovenAlias { running, since, why } => {
            let (cause, next) = match why {
                Unproven::MovedWithoutChange => (
                    vec![
                        format!("the expected hash moved, and no change was seen; may still run {running}"),
                        "the expected hash moved, and no change was seen".to_owned(),
                    ],
                    vec![
                        "Next: connect a tap or shadow for proof, or confirm that it is the same.".to_owned(),
                        "Next: connect a tap or shadow for proof.".to_owned(),
                    ],
                ),
                Unproven::TemplateFields => (
                    vec![
                        "its content differs only by fields that every entity of a type gained or lost".to_owned(),
                        "its content differs only by template fields".to_owned(),
                    ],
                    vec![
                        "Next: compare the fields, then confirm that it is the same.".to_owned(),
                        "Next: compare the fields.".to_owned(),
                    ],
                ),
                Unproven::ReplicasDiffer => (
                    vec![
                        format!("two replicas of {control_plane} render {running} differently"),
                        "two replicas render it differently".to_owned(),
                    ],
                    vec!["Next: compare the releases of the replicas.".to_owned()],
                ),
            };
            let heading = format!("Unproven alias for {}", age(since));
            Said { heading, briefly: format!("an unproven alias of {running}"), cause, next }
        }
        ConfigState::Unrecognized { since, cause } => {
            let (cause, next) = match cause {
                UnrecognizedCause::Unknown => (
                    vec![
                        format!("{control_plane} never published {} as far as we know", shown(&reported)),
                        "never published as far as we know".to_owned(),
                    ],
                    match facts.reported {
                        Some(config) => {
                            let begins: String = config.as_str().chars().take(8).collect();
                            vec![format!("Next: search config:{begins} for who shares it.")]
                        }
                        None => vec!["Next: look at the node's log for what it loaded.".to_owned()],
                    },
                ),
                UnrecognizedCause::OwnOrFallback => (
                    vec![
                        format!("it started while {control_plane} was away; its own or a fallback configuration"),
                        "its own or a fallback configuration".to_owned(),
                    ],
                    vec![
                        format!("Next: look at the log of {node} for what it loaded at its start."),
                        "Next: look at the node's log for what it loaded.".to_owned(),
                    ],
                ),
            };
            let heading = format!("Unrecognized for {}", age(since));
            Said { heading, briefly: "unrecognized".to_owned(), cause, next }
        }
    }
}

/// What was lost: in full, and briefly.
fn lost(damage: &Damage<'_>) -> [String; 2] {
    let (lost, before) = (number(damage.lost), number(damage.loss.before));
    let words = damage.loss.subject.words();
    let what = if matches!(damage.loss.subject, Subject::Type(_)) { name(&words) } else { words };
    match damage.loss.subject {
        Subject::NamedCertificates => [format!("left {lost} more {what}"), format!("left {lost} more {what}")],
        Subject::Everything | Subject::Hosts | Subject::Type(_) if damage.lost >= damage.loss.before => {
            [format!("lost all {lost} {what}"), format!("lost all {lost} {what}")]
        }
        Subject::Everything | Subject::Hosts | Subject::Type(_) => {
            [format!("lost {lost} of {before} {what}"), format!("lost {lost} {what}")]
        }
    }
}

/// The first of the plugins that keep something, by name.
fn keeping(unverified: &Unverified<'_>) -> String {
    let keeping = unverified.plugins.iter().filter(|change| change.keeps > Keeps::Nothing);
    let mut names = keeping.map(|change| name(change.name.as_str()));
    let first = names.next().unwrap_or_else(|| "a plugin".to_owned());
    if names.next().is_some() { format!("{first} and others") } else { first }
}

fn keeps(running: Option<Ordinal>) -> String {
    running.map_or_else(|| "what it keeps is not in the ledger".to_owned(), |running| format!("keeps {running}"))
}

/// What to do about a node that its control plane holds to be incompatible.
fn remedy(reason: WithheldReason, node: &str) -> Vec<String> {
    match reason {
        WithheldReason::GatewayVersion => vec!["Next: bring both to versions that fit each other.".to_owned()],
        WithheldReason::PluginSet => vec![
            format!("Next: install the plugin on {node}, or take it out of use."),
            "Next: install the plugin on the node.".to_owned(),
        ],
        WithheldReason::PluginVersion => vec![
            format!("Next: install a version of the plugin that fits on {node}."),
            "Next: install a version that fits.".to_owned(),
        ],
        WithheldReason::FilterSet => vec![
            format!("Next: install the filter on {node}, or take it out of use."),
            "Next: install the filter on the node.".to_owned(),
        ],
        WithheldReason::Other => vec![
            format!("Next: look at the control plane's log for {node}."),
            "Next: look at the control plane's log.".to_owned(),
        ],
    }
}

fn evidence_clauses(facts: &Facts<'_>) -> Vec<Clause> {
    let reports =
        if matches!(facts.verdict.connectivity, Connectivity::Connected { .. }) { "Reports" } else { "Reported" };
    let said = match (facts.reported, facts.verdict.config.running()) {
        (None, _) if facts.last_report_at.is_none() => "No report yet".to_owned(),
        (None, _) => "No report says what it runs".to_owned(),
        (Some(config), _) if config.is_zeros() => format!("{reports} zeros, no configuration"),
        (Some(config), Some(running)) => format!("{reports} {}, held to be {running}", called(config)),
        (Some(config), None) => format!("{reports} {}, not in the ledger", called(config)),
    };
    let by = facts.source.map_or_else(String::new, |source| format!(" by {}", source.label()));
    let mut clauses = vec![Clause::must(vec![said])];
    match (facts.expected, facts.head) {
        (Some(config), _) if config.is_zeros() => clauses.push(Clause::may(1, "; expected zeros".to_owned())),
        (Some(config), _) if Some(config) == facts.reported => clauses.push(Clause::may(1, ", as expected".to_owned())),
        (Some(config), _) => clauses.push(Clause::may(1, format!("; expected {}", called(config)))),
        (None, Some(head)) => clauses.push(Clause::may(1, format!("; the head is {head}"))),
        (None, None) => {}
    }
    if let Some(at) = facts.last_report_at {
        clauses.push(Clause::must(vec![format!("; last report {}{} ago{by}", about(facts), age(at, facts.now))]));
    }
    if facts.uncertain_ms > 0 {
        clauses.push(Clause::may(3, format!(", or up to {} earlier", span(i64::from(facts.uncertain_ms)))));
    }
    if facts.inferred {
        clauses.push(Clause::may(2, "; the ledger is inferred".to_owned()));
    }
    clauses.push(Clause::must(vec![".".to_owned()]));
    if let Some(damage) = &facts.damage {
        let [in_full, briefly] = lost(damage).map(|lost| capital(&lost));
        let (after, since) = (damage.last_good, moment(damage.since, facts.now));
        let forms = vec![
            format!(" {in_full} after {after}; here since {since}."),
            format!(" {briefly} after {after}; here since {since}."),
            format!(" {briefly}; here since {since}."),
            format!(" {briefly}."),
        ];
        clauses.push(Clause::may_be(1, forms));
    }
    if let Some(unverified) = &facts.unverified {
        let (version, what) = (unverified.version, keeping(unverified));
        let kept = if unverified.counters() { "counters may reset" } else { "its state is not verified" };
        let forms = vec![
            format!(" {version} changed {what} by delta: {kept}."),
            format!(" {version} changed plugins by delta: {kept}."),
            format!(" {version} changed plugins by delta."),
        ];
        clauses.push(Clause::may_be(2, forms));
    }
    if let Some(FullSync { bytes, delta_bytes }) = facts.full_sync {
        let forms = match (bytes.map(size), delta_bytes.map(size)) {
            (Some(bytes), Some(delta)) => vec![
                format!(" Each change costs it {bytes}, others {delta} by delta."),
                format!(" Each change costs it {bytes}, a delta {delta}."),
                format!(" Each change costs it {bytes}."),
            ],
            (Some(bytes), None) => vec![format!(" Each change costs it {bytes}, as it gets the whole.")],
            (None, _) => vec![" It asked for deltas and gets the whole.".to_owned()],
        };
        clauses.push(Clause::may_be(2, forms));
    }
    if let Some(PollOnly { changes, least_ms, most_ms }) = facts.poll_only {
        let [least, most] = [least_ms, most_ms].map(|ms| ms.div_ceil(1_000));
        let forms = vec![
            format!(" Learned of the last {changes} changes after {least} to {most} s, others within 2 s."),
            format!(" Learned of {changes} changes after {least} to {most} s, others within 2 s."),
            format!(" Learns of changes after {least} to {most} s."),
        ];
        clauses.push(Clause::may_be(2, forms));
    }
    // Outside words are said as a whole or not at all.
    if let (ConfigState::Rejected { .. }, Some(failure)) = (facts.verdict.config, facts.failure) {
        clauses.push(Clause::may(4, format!(" The node says: {}.", failure.message.as_str().trim_end_matches('.'))));
    }
    if let (ConfigState::Incompatible { .. }, Some(detail)) = (facts.verdict.config, facts.withheld_detail) {
        clauses.push(Clause::may(4, format!(" The control plane says: {}.", detail.trim_end_matches('.'))));
    }
    clauses.push(Clause::may(5, format!(" Rule {}.", facts.verdict.config.rule())));
    clauses
}

/// The word before a moment that is an estimate.
const fn about(facts: &Facts<'_>) -> &'static str {
    if facts.last_report_estimated { "about " } else { "" }
}

/// What we know, infer, and cannot know, in full sentences; what cannot be known comes with the way to get it.
#[must_use]
pub fn proof(facts: &Facts<'_>) -> Proof {
    Proof { know: known(facts), infer: inferred(facts), cannot_know: not_known(facts) }
}

fn known(facts: &Facts<'_>) -> Vec<String> {
    let by = facts.source.map_or_else(String::new, |source| format!(", by {}", source.label()));
    let mut know = Vec::new();
    let last = facts.last_report_at.map(|at| format!("{}{}", about(facts), moment(at, facts.now)));
    match (facts.reported, last) {
        (Some(config), Some(last)) if config.is_zeros() => {
            know.push(format!("The node reported zeros at {last}{by}."));
        }
        (Some(config), Some(last)) => know.push(format!("The node reported {config} at {last}{by}.")),
        (Some(config), None) => know.push(format!("The node reported {config}{by}.")),
        (None, Some(last)) => know.push(format!("The node was heard at {last}{by}, and did not say what it runs.")),
        (None, None) => know.push("The node is known, and has not reported.".to_owned()),
    }
    if facts.last_report_estimated {
        know.push("Of equal reports the first and the last are kept; between them a moment is an estimate.".to_owned());
    }
    if facts.uncertain_ms > 0 {
        let earlier = span(i64::from(facts.uncertain_ms));
        know.push(format!("That came by a poll, so it may have been up to {earlier} earlier."));
    }
    let control_plane = facts.control_plane;
    if let Some(config) = facts.expected {
        know.push(match config.is_zeros() {
            true => format!("The control plane {control_plane} expects zeros of its cohort: no configuration."),
            false => format!("The control plane {control_plane} expects {config} of its cohort."),
        });
    }
    match facts.verdict.config {
        ConfigState::Incompatible { reason, since, .. } => {
            let since = moment(since, facts.now);
            let reason = reason.sentence();
            know.push(format!("The control plane has withheld configurations since {since}: {reason}."));
            if let Some(detail) = facts.withheld_detail {
                know.push(format!("In its own words: {}.", detail.trim_end_matches('.')));
            }
        }
        ConfigState::Rejected { since, .. } => {
            know.push(format!("The node refused what it was offered at {}.", moment(since, facts.now)));
            if let Some(failure) = facts.failure {
                know.push(format!("In its own words: {}.", failure.message.as_str().trim_end_matches('.')));
            }
        }
        ConfigState::Empty { proof: EmptyProof::NotReady, .. } => {
            know.push("The node says itself that it is not ready (503).".to_owned());
        }
        ConfigState::Empty { proof: EmptyProof::NeverConfigured, .. } => {
            know.push("It is compatible, and no report ever named a configuration.".to_owned());
        }
        ConfigState::UnprovenAlias { since, why: Unproven::MovedWithoutChange, .. } => {
            know.push(format!("The expected hash moved at {}, and no change was seen.", moment(since, facts.now)));
        }
        ConfigState::UnprovenAlias { why: Unproven::TemplateFields | Unproven::ReplicasDiffer, .. }
        | ConfigState::Unknown { .. }
        | ConfigState::Current { .. }
        | ConfigState::Propagating { .. }
        | ConfigState::Behind { .. }
        | ConfigState::Ahead { .. }
        | ConfigState::Unrecognized { .. } => {}
    }
    know
}

fn inferred(facts: &Facts<'_>) -> Vec<String> {
    let mut infer = Vec::new();
    let head = facts.head.map_or_else(|| "the head".to_owned(), |head| format!("the head, {head}"));
    match facts.verdict.config {
        ConfigState::Unknown { .. } => {}
        ConfigState::Incompatible { running: Some(running), .. } => {
            infer.push(format!("It keeps {running} meanwhile."))
        }
        ConfigState::Rejected { running: Some(running), .. } => {
            infer.push(format!("It keeps {running}, as a refused configuration changes nothing on the node."));
        }
        ConfigState::Incompatible { running: None, .. } | ConfigState::Rejected { running: None, .. } => {}
        ConfigState::Empty { .. } => infer.push(format!("It runs without any configuration, though there is {head}.")),
        ConfigState::Current { running, how, .. } => infer.push(match how {
            CurrentBy::Version => format!("What it reports is {running}, the head."),
            CurrentBy::Alias => {
                format!(
                    "What it reports is another rendering of {running}, the head: hash-only drift, no other content."
                )
            }
            CurrentBy::NoOp => format!("It runs {running}; nothing between that and {head} changes behaviour."),
            CurrentBy::Revert => {
                format!(
                    "It runs {running}; the control plane went back to it, so the node was there at the publication."
                )
            }
            CurrentBy::Empty => "The head is empty, and so zeros are what it should report.".to_owned(),
        }),
        ConfigState::Propagating { running: Some(running), behind, since } => infer.push(format!(
            "It runs {running} and misses {}, published {} ago: a push may take that long.",
            changes(behind),
            age(since, facts.now)
        )),
        ConfigState::Propagating { running: None, .. } => {
            infer.push("It was current and changed to something new: most likely the next version.".to_owned());
        }
        ConfigState::Behind { running, behind, since, cause } => {
            let since = moment(since, facts.now);
            infer.push(format!("It runs {running} and misses {}, the oldest from {since}.", changes(behind)));
            infer.push(match cause {
                BehindCause::NotReached => {
                    "It was connected all the while, so the change was not sent, or could not be applied.".to_owned()
                }
                BehindCause::Away => "It was not connected since, so the change could not reach it.".to_owned(),
                BehindCause::Reverted => {
                    "The control plane went back to an earlier configuration, as after a restore from backup."
                        .to_owned()
                }
            });
        }
        ConfigState::Ahead { running, .. } => infer.push(format!(
            "Its token {running} is newer than {head}: the control plane seems to have been restored from a backup."
        )),
        ConfigState::UnprovenAlias { running, why, .. } => infer.push(match why {
            Unproven::MovedWithoutChange => {
                format!("It was current at {running} before the hash moved, and reports what it reported then.")
            }
            Unproven::TemplateFields => {
                format!("It differs from {running} only by fields that every entity of a type gained or lost alike.")
            }
            Unproven::ReplicasDiffer => {
                format!("Two replicas published within seconds of each other: both seem to render {running}.")
            }
        }),
        ConfigState::Unrecognized { cause, .. } => infer.push(match cause {
            UnrecognizedCause::Unknown => "Nothing in the ledger has this hash or token.".to_owned(),
            UnrecognizedCause::OwnOrFallback => {
                "It started while its control plane was away: its own, or a fallback configuration.".to_owned()
            }
        }),
    }
    match facts.verdict.connectivity {
        Connectivity::Connected { .. } => {}
        Connectivity::Late { since } | Connectivity::Disconnected { since } | Connectivity::Gone { since, .. } => {
            infer.push(format!("This is by its last report, of {}.", moment(since, facts.now)));
        }
        Connectivity::NeverSeen { .. } => {}
        Connectivity::Unobserved { since } => infer.push(format!(
            "This is by its last observation, as our source is blind since {}.",
            moment(since, facts.now)
        )),
    }
    if let Some(unverified) = &facts.unverified {
        let (version, what) = (unverified.version, keeping(unverified));
        let since = moment(unverified.since, facts.now);
        let counters = if unverified.counters() { ", and its counters may have begun anew" } else { "" };
        infer.push(format!(
            "It took {version} by delta at {since}. That changed {what}, which keeps something in memory: a worker may \
             still use what it had{counters}."
        ));
    }
    if facts.full_sync.is_some() {
        infer.push(
            "It asked for deltas and gets the whole each time: most often because its gateway version is older than its \
             control plane's."
                .to_owned(),
        );
    }
    if facts.inferred {
        infer.push(format!(
            "Inferred: no word of {} reaches us, so its versions are read from what its nodes report.",
            facts.control_plane
        ));
    }
    infer.push(format!("Rule {}.", facts.verdict.config.rule()));
    infer
}

fn not_known(facts: &Facts<'_>) -> Vec<String> {
    let mut cannot = Vec::new();
    match facts.verdict.connectivity {
        Connectivity::Connected { .. } | Connectivity::Gone { .. } => {}
        Connectivity::Late { .. } | Connectivity::Disconnected { .. } => cannot
            .push("Whether it still runs and serves that. Its Status API or its access log would tell.".to_owned()),
        Connectivity::NeverSeen { .. } => {
            cannot.push("Whether it runs at all. Its Status API or its log would tell.".to_owned());
        }
        Connectivity::Unobserved { .. } => {
            cannot.push("What happened since. Another source that hears the node would tell.".to_owned());
        }
    }
    let more = match facts.verdict.config {
        ConfigState::Unknown { missing: Missing::Report } => {
            Some("What it runs. Let it push heartbeats, or connect a tap, a shadow or the Admin API.")
        }
        ConfigState::Unknown { missing: Missing::Version } => {
            Some("What it should run. Announce versions, or connect a tap or shadow to hear the control plane's word.")
        }
        ConfigState::Unknown { missing: Missing::Word } => Some(
            "Whether its control plane published it: that was not heard since the report. An announcement, a tap, a \
             shadow or a reading of the expected hash would tell.",
        ),
        ConfigState::Unknown { missing: Missing::ProofOfEmptiness } => Some(
            "Whether it is empty: zeros alone do not say. Missing is its Status API (503 when empty), or a status that \
             says it is compatible and never had a configuration.",
        ),
        ConfigState::Incompatible { .. } if facts.withheld_detail.is_none() => {
            Some("Which part does not fit. The control plane's log names it.")
        }
        ConfigState::Rejected { .. } if facts.failure.is_none() => {
            Some("Which entity it refused. The node's log names it, or a tap that sees its answer.")
        }
        ConfigState::Empty { .. } => {
            Some("Whether a configuration was sent to it. A tap, or the control plane's log, would tell.")
        }
        ConfigState::Behind { cause: BehindCause::NotReached, .. } => {
            Some("Whether it was sent and refused, or never sent. The node's log, or a tap, would tell.")
        }
        ConfigState::Behind { cause: BehindCause::Reverted, .. } => {
            Some("Whether the revert was meant. Who runs the control plane can tell.")
        }
        ConfigState::Ahead { .. } => {
            Some("Which changes its control plane lost. A comparison with the node's configuration would tell.")
        }
        ConfigState::UnprovenAlias { why: Unproven::MovedWithoutChange, .. } => Some(
            "Whether the configuration changed. A tap or shadow compares the content; a person may confirm that it is \
             the same.",
        ),
        ConfigState::UnprovenAlias { why: Unproven::TemplateFields, .. } => {
            Some("Whether the fields change behaviour. Compare their paths; a person may confirm that it is the same.")
        }
        ConfigState::UnprovenAlias { why: Unproven::ReplicasDiffer, .. } => {
            Some("Whether the replicas mean the same. Shadows at both would compare the content.")
        }
        ConfigState::Unrecognized { .. } => Some(
            "What it contains. The node's own Admin or Status API, or the file that it was started with, would tell.",
        ),
        ConfigState::Current { .. }
        | ConfigState::Propagating { .. }
        | ConfigState::Incompatible { .. }
        | ConfigState::Rejected { .. }
        | ConfigState::Behind { cause: BehindCause::Away, .. } => None,
    };
    cannot.extend(more.map(str::to_owned));
    if facts.verdict.overlays.has(Overlay::RestartUnsafe) {
        cannot.push(
            "Whether it would find its configuration after a restart: it is cut off from its control plane, and was not \
             seen to start from its own disk by the gateway version that it runs."
                .to_owned(),
        );
    }
    if facts.unverified.is_some() {
        cannot.push(
            "Whether each of its workers uses the changed plugins. A request that the change concerns would tell; a full \
             sync makes it drop all that it had."
                .to_owned(),
        );
    }
    if facts.inferred {
        cannot
            .push("What the control plane means to publish. Connect a tap or shadow, or announce versions.".to_owned());
    }
    cannot
}

/// The worst group of nodes of a fleet: what its sentence names first.
#[derive(Clone, Copy, Debug)]
pub struct WorstGroup<'a> {
    /// How many nodes.
    pub nodes: u32,
    /// Where: a control plane's name, or what they share, `eu-west`.
    pub place: &'a str,
    /// In which state; `current` and `propagating` are not named.
    pub state: ConfigWord,
    /// The most changesets that one of them is behind by; 0 where that is not the question.
    pub behind: u32,
    /// Since when the first of them is so.
    pub since: Option<Timestamp>,
}

/// What the sentence on a fleet is written from.
#[derive(Clone, Copy, Debug)]
pub struct FleetFacts<'a> {
    /// Nodes that count.
    pub nodes: u32,
    /// Nodes at the head, or at what behaves the same; of those not heard, by their last report.
    pub at_head: u32,
    /// The five counters, in the order of [`Counter::ALL`].
    pub counters: [u32; 5],
    /// Control planes that have nodes.
    pub control_planes: u32,
    /// The worst group, if any is not well.
    pub worst: Option<WorstGroup<'a>>,
    /// The moment of the answer.
    pub now: Timestamp,
}

/// The whole fleet in a sentence, at most [`CHARS_MAX`] characters: how many run the head, the worst group, and the
/// rest by counter.
#[must_use]
pub fn fleet_sentence(facts: &FleetFacts<'_>) -> String {
    fit(&fleet_clauses(facts)).concat()
}

fn fleet_clauses(facts: &FleetFacts<'_>) -> Vec<Clause> {
    if facts.nodes == 0 {
        return vec![Clause::must(vec![
            "No node has reported yet. Next: send heartbeats, or import a recording.".to_owned(),
        ])];
    }
    let total = facts.nodes;
    let run = match facts.at_head {
        0 if total == 1 => "The only node does not run the head".to_owned(),
        0 => format!("None of {} nodes runs the head", number(total)),
        at_head if at_head == total && total == 1 => "The only node runs the head".to_owned(),
        at_head if at_head == total => format!("All {} nodes run the head", number(total)),
        1 => format!("1 of {} nodes runs the head", number(total)),
        at_head => format!("{} of {} nodes run the head", number(at_head), number(total)),
    };
    let on = match facts.control_planes {
        0 | 1 => String::new(),
        2 => " on both control planes".to_owned(),
        many => format!(" on all {} control planes", word(many)),
    };
    let mut clauses = vec![Clause::must(vec![run])];
    let of = match (facts.control_planes, facts.at_head) {
        (0 | 1, _) => "",
        (_, 0 | 1) => " of its control plane",
        _ => " of their control plane",
    };
    clauses.push(Clause::may(3, if facts.at_head == total { on } else { of.to_owned() }));
    if let Some(group) = facts.worst {
        let [with_since, without] = group_words(&group, facts.now).map(|words| format!("; {words}"));
        clauses.push(Clause { forms: vec![with_since, without], must: false, rank: 1 });
    }
    let [not_heard, blocked, behind, rolling_out, _current] = facts.counters;
    let (word, nodes) = facts.worst.map_or((None, 0), |group| (Some(group.state.counter()), group.nodes));
    let rest = [
        (Counter::NotHeard, not_heard),
        (Counter::Blocked, blocked),
        (Counter::Behind, behind),
        (Counter::RollingOut, rolling_out),
    ];
    for ((counter, count), rank) in rest.into_iter().zip(4..) {
        let is_named = word == Some(counter) && nodes >= count;
        if count > 0 && !is_named {
            let label = counter.label().to_lowercase();
            clauses.push(Clause::may(rank, format!("; {} {label}", number(count))));
        }
    }
    clauses.push(Clause::must(vec![".".to_owned()]));
    clauses
}

/// `2 nodes in eu-west are behind by 1 change since 03:12:38 UTC`; with and without since when.
fn group_words(group: &WorstGroup<'_>, now: Timestamp) -> [String; 2] {
    let state = match (group.state, group.behind) {
        (ConfigWord::Behind | ConfigWord::Propagating, behind) if behind > 0 => {
            format!("{} by {}", group.state.label(), changes(behind))
        }
        (ConfigWord::Rejected, _) => "refusing the newest version".to_owned(),
        (ConfigWord::UnprovenAlias, _) if group.nodes == 1 => "an unproven alias".to_owned(),
        (ConfigWord::UnprovenAlias, _) => "unproven aliases".to_owned(),
        (
            ConfigWord::Incompatible
            | ConfigWord::Empty
            | ConfigWord::Behind
            | ConfigWord::Unrecognized
            | ConfigWord::Ahead
            | ConfigWord::Unknown
            | ConfigWord::Propagating
            | ConfigWord::Current,
            _,
        ) => group.state.label().to_owned(),
    };
    let are = if group.nodes == 1 { "is" } else { "are" };
    let since = group.since.map_or_else(String::new, |since| format!(" since {}", moment(since, now)));
    let words = format!("{} in {} {are} {state}", nodes_of(group.nodes), name(group.place));
    [format!("{words}{since}"), words]
}

/// What the sentence on a notice is written from.
#[derive(Clone, Copy, Debug)]
pub struct NoticeFacts<'a> {
    /// Of which control plane.
    pub control_plane: &'a CpName,
    /// What happened.
    pub kind: NoticeKind,
    /// How loudly.
    pub severity: Severity,
    /// Nodes that it concerns now.
    pub nodes: u32,
    /// From what to what, or both of what differs, where that is known.
    pub hashes: Option<(&'a ConfigRef, &'a ConfigRef)>,
    /// What a destructive change took.
    pub damage: Option<Damage<'a>>,
    /// Since when.
    pub since: Timestamp,
    /// The moment of the answer.
    pub now: Timestamp,
}

/// What is to be said of a control plane, with what to do; at most [`CHARS_MAX`] characters.
#[must_use]
pub fn notice_sentence(facts: &NoticeFacts<'_>) -> String {
    fit(&notice_clauses(facts)).concat()
}

fn notice_clauses(facts: &NoticeFacts<'_>) -> Vec<Clause> {
    let control_plane = name(facts.control_plane.as_str());
    let (since, age) = (moment(facts.since, facts.now), age(facts.since, facts.now));
    // The first form has the moment, the second the age, which is shorter.
    let (what, between, concern, next) = match facts.kind {
        NoticeKind::DestructiveChange => return destructive_clauses(facts, &control_plane, &since),
        NoticeKind::ExpectedMovedWithoutChange => {
            let (concern, next) = match facts.severity {
                Severity::Page => (
                    ["may run an old configuration", "may be behind"],
                    ["Next: connect a tap or shadow, or compare by hand.", "Next: connect a tap or shadow."],
                ),
                Severity::Ticket => (
                    ["are not proven", "are not proven"],
                    ["Next: connect a tap or shadow for proof.", "Next: connect a tap or shadow."],
                ),
                Severity::Info => (
                    ["repeat the old one", "repeat the old one"],
                    ["It heals at the next change.", "It heals at the next change."],
                ),
            };
            let what = [
                format!("The expected hash of {control_plane} moved at {since} without a change"),
                format!("{control_plane}: expected hash moved {age} ago, no change seen"),
            ];
            (what, Some("to"), concern, next)
        }
        NoticeKind::ReplicasRenderDifferently => (
            [
                format!("Replicas of {control_plane} render one version differently since {since}"),
                format!("Replicas of {control_plane} render one version differently for {age}"),
            ],
            Some("and"),
            ["are not proven", "are not proven"],
            ["Next: compare the releases of the replicas.", "Next: compare the replicas."],
        ),
        NoticeKind::ControlPlaneDown => (
            [
                format!("{control_plane} has not answered since {since}, while others do"),
                format!("{control_plane} has not answered for {age}, while others do"),
            ],
            None,
            ["serve what they have", "serve what they have"],
            ["Next: look at the control plane's own log.", "Next: look at its own log."],
        ),
        NoticeKind::DownOrCutOff => (
            [
                format!("{control_plane} is down, or we are cut off from it, since {since}"),
                format!("{control_plane} is down, or we are cut off from it, for {age}"),
            ],
            None,
            ["serve what they have", "serve what they have"],
            ["Next: look at our network first.", "Next: look at our network."],
        ),
        NoticeKind::Reverted => (
            [
                format!("{control_plane} went back to an earlier configuration at {since}"),
                format!("{control_plane} went back to an earlier configuration {age} ago"),
            ],
            Some("to"),
            ["still run the later one", "still run the later one"],
            ["Next: ask whether that was meant.", "Next: ask whether it was meant."],
        ),
        NoticeKind::OneClusterTwoNames => (
            [
                format!("The cluster of {control_plane} reports under two names since {since}"),
                format!("The cluster of {control_plane} reports under two names for {age}"),
            ],
            None,
            ["are counted under this one", "are counted under this one"],
            ["Next: declare one name for it.", "Next: declare one name."],
        ),
    };
    let mut clauses = vec![Clause::must(what.to_vec())];
    if let (Some((from, to)), Some(between)) = (facts.hashes, between) {
        clauses.push(Clause::may(4, format!(" ({} {between} {})", called(from), called(to))));
    }
    if facts.nodes > 0 {
        let words = concern.map(|concern| format!("; {} {concern}", nodes_of(facts.nodes)));
        let words = if facts.nodes == 1 { words.map(|words| singular(&words)) } else { words };
        clauses.push(Clause::must(words.to_vec()));
    }
    clauses.push(Clause::next(&next.map(str::to_owned)));
    clauses
}

/// A control plane that took its own configuration apart.
fn destructive_clauses(facts: &NoticeFacts<'_>, control_plane: &str, since: &str) -> Vec<Clause> {
    let mut clauses = Vec::new();
    let next = match &facts.damage {
        Some(damage) => {
            let [in_full, briefly] = lost(damage);
            clauses.push(Clause::must(vec![
                format!("{control_plane} {in_full} since {since}, after {}", damage.last_good),
                format!("{control_plane} {in_full} since {since}"),
                format!("{control_plane} {briefly} since {since}"),
                format!("{control_plane} {briefly}"),
            ]));
            let last_good = damage.last_good;
            vec![
                format!("Next: compare with {last_good}, the last good version, then go back."),
                format!("Next: compare with {last_good}, the last good one."),
                format!("Next: compare with {last_good}."),
            ]
        }
        None => {
            clauses.push(Clause::must(vec![format!("{control_plane} lost much of its configuration since {since}")]));
            vec!["Next: compare it with an earlier version.".to_owned()]
        }
    };
    if facts.nodes > 0 {
        let run = if facts.nodes == 1 { "runs" } else { "run" };
        clauses.push(Clause::must(vec![format!("; {} {run} it", nodes_of(facts.nodes))]));
    }
    clauses.push(Clause::next(&next));
    clauses
}

/// The verbs above, for one node.
fn singular(text: &str) -> String {
    let pairs = [
        (" are not", " is not"),
        (" are counted", " is counted"),
        (" repeat ", " repeats "),
        (" serve what they have", " serves what it has"),
        (" run the", " runs the"),
    ];
    pairs.into_iter().fold(text.to_owned(), |text, (many, one)| text.replace(many, one))
}

/// `27 of 29 have gateway 3.10.0.2 and region eu-west; 0.4 % of the rest, 233 times as often.`
#[must_use]
pub fn factor_sentence(factor: &CommonFactor) -> String {
    let one = |key: &str, value: &str| format!("{} {}", key.strip_prefix("label.").unwrap_or(key), name(value));
    let what = match (factor.key.split_once(PAIR), factor.value.split_once(PAIR)) {
        (Some((key, key2)), Some((value, value2))) => format!("{} and {}", one(key, value), one(key2, value2)),
        (Some(_), None) | (None, Some(_) | None) => one(&factor.key, &factor.value),
    };
    let per_mille = (u64::from(factor.outside) * 1_000).checked_div(u64::from(factor.outside_of)).unwrap_or(0);
    let rest = match per_mille {
        0 => "under 0.1 % of the rest".to_owned(),
        per_mille => format!("{}.{} % of the rest", per_mille / 10, per_mille % 10),
    };
    let rest = match lift(factor) {
        None => "none of the rest".to_owned(),
        Some(lift) if lift < 9.95 => format!("{rest}, {lift:.1} times as often"),
        Some(lift) => format!("{rest}, {lift:.0} times as often"),
    };
    let have = if factor.inside == 1 { "has" } else { "have" };
    format!("{} of {} {have} {what}; {rest}.", number(factor.inside), number(factor.inside_of))
}

/// A name of at most [`NAME_MAX`] characters, cut in the middle if it is longer.
#[must_use]
pub fn name(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME_MAX {
        return name.to_owned();
    }
    let head: String = name.chars().take(12).collect();
    let tail: String = name.chars().skip(length - 11).collect();
    format!("{head}…{tail}")
}

/// A hash or token as lines with little room show it.
fn called(config: &ConfigRef) -> String {
    match config {
        ConfigRef::Hash(hash) if hash.is_zeros() => "zeros".to_owned(),
        ConfigRef::Hash(hash) => hash.short(),
        ConfigRef::Token(token) => name(token.as_str()),
    }
}

fn shown(reported: &Option<String>) -> String {
    reported.clone().unwrap_or_else(|| "what is not known".to_owned())
}

fn age(since: Timestamp, now: Timestamp) -> String {
    let age_ms = now.since(since);
    if age_ms < SECOND { "under 1 s".to_owned() } else { span(age_ms) }
}

/// The time of day; with the date where that is not of the last day.
fn moment(at: Timestamp, now: Timestamp) -> String {
    if now.since(at).abs() < DAY {
        format!("{} UTC", at.clock())
    } else {
        let day: String = at.to_string().chars().take(10).collect();
        format!("{day} {} UTC", at.clock())
    }
}

fn changes(count: u32) -> String {
    if count == 1 { "1 change".to_owned() } else { format!("{} changes", number(count)) }
}

fn nodes_of(count: u32) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{} nodes", number(count)) }
}

/// `9,412`.
fn number(count: impl Into<u64>) -> String {
    let digits = count.into().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `31 MB`, `2.4 kB`: three digits at most.
fn size(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut unit, mut scale) = (0, 1_u64);
    let rounded =
        |times: u64, scale: u64| (u128::from(bytes) * u128::from(times) + u128::from(scale / 2)) / u128::from(scale);
    while rounded(1, scale) >= 1_000 && unit + 1 < units.len() {
        (unit, scale) = (unit + 1, scale * 1_000);
    }
    match rounded(10, scale) {
        tenths @ 0..100 if unit > 0 => format!("{}.{} {}", tenths / 10, tenths % 10, units[unit]),
        _ => format!("{} {}", rounded(1, scale), units[unit]),
    }
}

/// Small numbers as words, as in running text.
fn word(count: u32) -> String {
    let words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    words.get(count as usize).map_or_else(|| number(count), |word| (*word).to_owned())
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::PluginChange;
    use crate::guard::{Loss, Measure};
    use crate::id::Line;
    use crate::time::{HOUR, MINUTE};
    use proptest::prelude::*;

    /// 2026-11-20T08:53:57Z.
    const NOW: Timestamp = Timestamp::from_ms(1_795_164_837_000);

    fn ago(ms: i64) -> Timestamp {
        NOW.plus(-ms)
    }

    fn hash(text: &str) -> ConfigRef {
        ConfigRef::Hash(text.parse().expect("a hash"))
    }

    /// Every configuration state with every kind of evidence, with these values in it.
    fn config_states(one: Ordinal, other: Ordinal, behind: u32, since: Timestamp) -> Vec<ConfigState> {
        let mut states: Vec<ConfigState> =
            [Missing::Report, Missing::Version, Missing::Word, Missing::ProofOfEmptiness]
                .map(|missing| ConfigState::Unknown { missing })
                .to_vec();
        let reasons = [
            WithheldReason::GatewayVersion,
            WithheldReason::PluginSet,
            WithheldReason::PluginVersion,
            WithheldReason::FilterSet,
            WithheldReason::Other,
        ];
        states.extend(reasons.map(|reason| ConfigState::Incompatible { reason, since, running: Some(one) }));
        states.push(ConfigState::Incompatible { reason: WithheldReason::GatewayVersion, since, running: None });
        states.push(ConfigState::Rejected { since, running: Some(one), refused: Some(other) });
        states.push(ConfigState::Rejected { since, running: None, refused: None });
        states.extend(
            [EmptyProof::NeverConfigured, EmptyProof::NotReady].map(|proof| ConfigState::Empty { since, proof }),
        );
        let hows = [CurrentBy::Version, CurrentBy::Alias, CurrentBy::NoOp, CurrentBy::Revert, CurrentBy::Empty];
        states.extend(hows.map(|how| ConfigState::Current { running: one, how, since }));
        states.push(ConfigState::Propagating { running: Some(one), behind, since });
        states.push(ConfigState::Propagating { running: None, behind, since });
        states.push(ConfigState::Propagating { running: None, behind: 0, since });
        let causes = [BehindCause::NotReached, BehindCause::Away, BehindCause::Reverted];
        states.extend(causes.map(|cause| ConfigState::Behind { running: one, behind, since, cause }));
        states.push(ConfigState::Ahead { running: one, since });
        let whys = [Unproven::MovedWithoutChange, Unproven::TemplateFields, Unproven::ReplicasDiffer];
        states.extend(whys.map(|why| ConfigState::UnprovenAlias { running: one, since, why }));
        let causes = [UnrecognizedCause::Unknown, UnrecognizedCause::OwnOrFallback];
        states.extend(causes.map(|cause| ConfigState::Unrecognized { since, cause }));
        states
    }

    fn connectivities(since: Timestamp) -> Vec<Connectivity> {
        let mut all = vec![
            Connectivity::Connected { since },
            Connectivity::Late { since },
            Connectivity::Disconnected { since },
            Connectivity::NeverSeen { since },
            Connectivity::Unobserved { since },
        ];
        let whys = [Gone::Retired, Gone::Replaced, Gone::Ephemeral, Gone::Silent];
        all.extend(whys.map(|why| Connectivity::Gone { since, why }));
        all
    }

    /// The node of the examples.
    fn example<T>(verdict: Verdict, read: impl FnOnce(&Facts<'_>) -> T) -> T {
        let control_plane = "eu-prod".parse().expect("a name");
        let (reported, expected) = (hash("e64b0f1d5c0a4e6f8b7a9d3c211e4f40"), hash("b27d3e81c90a4f6db5e2147f3c68b222"));
        let line = |text: &str| Line::from_outside(text);
        let failure = ApplyFailure {
            refused: None,
            message: line("in 'protocols': expected one of http, https").expect("a line"),
            entity: line("route orders-v1"),
            field: line("protocols"),
        };
        read(&Facts {
            verdict: &verdict,
            now: NOW,
            node: "gw-eu-west-1-19",
            control_plane: &control_plane,
            reported: Some(&reported),
            expected: Some(&expected),
            head: Some(Ordinal::new(41)),
            source: Some(Source::Konnect),
            last_report_at: Some(ago(11 * SECOND)),
            last_report_estimated: false,
            failure: Some(&failure),
            withheld_detail: Some("plugin rate-limit-edge is not installed"),
            uncertain_ms: 0,
            inferred: false,
            damage: None,
            poll_only: None,
            full_sync: None,
            unverified: None,
        })
    }

    fn change(name: &str, keeps: Keeps) -> PluginChange {
        PluginChange { name: Line::from_outside(name).unwrap_or_else(|| "x".parse().expect("a line")), keeps }
    }

    /// A loss of which nothing is said but what was there.
    fn loss(subject: Subject, before: u64) -> Loss {
        Loss { subject, measure: Measure::Many, before, now: 0, most: before }
    }

    fn verdict(connectivity: Connectivity, config: ConfigState, overlays: Overlays) -> Verdict {
        Verdict { connectivity, config, overlays }
    }

    /// All of them in one place, to be proofread.
    #[test]
    fn headlines_of_nodes_that_are_heard() {
        let heard = Connectivity::Connected { since: ago(DAY) };
        let states = config_states(Ordinal::new(40), Ordinal::new(41), 1, ago(9 * MINUTE + 29 * SECOND));
        let lines = states.into_iter().map(|state| example(verdict(heard, state, Overlays::NONE), headline));
        let expected: &[&str] = &[
            "Unknown, connected for 1 d: no report says what it runs. Next: let the node push heartbeats, or connect a tap or shadow.",
            "Unknown, connected for 1 d: it reports e64b0f1d…1e4f40, and the ledger of eu-prod is empty. Next: announce the version, or connect a tap or shadow.",
            "Unknown, connected for 1 d: it reports e64b0f1d…1e4f40, which is not in the ledger of eu-prod. Next: announce the version, or connect a tap or shadow.",
            "Unknown, connected for 1 d: it repeats zeros, and nothing proves that it is empty. Next: read the Status API of gw-eu-west-1-19; a 503 is proof.",
            "Incompatible for 9 min 29 s: its gateway version does not fit the control plane's; keeps v40. Next: bring both to versions that fit each other.",
            "Incompatible for 9 min 29 s: a configured plugin is missing on the node; keeps v40. Next: install the plugin on gw-eu-west-1-19, or take it out of use.",
            "Incompatible for 9 min 29 s: a plugin's version does not fit the control plane's; keeps v40. Next: install a version of the plugin that fits on gw-eu-west-1-19.",
            "Incompatible for 9 min 29 s: a configured filter is missing on the node; keeps v40. Next: install the filter on gw-eu-west-1-19, or take it out of use.",
            "Incompatible for 9 min 29 s: the control plane says that it is incompatible; keeps v40. Next: look at the control plane's log for gw-eu-west-1-19.",
            "Incompatible for 9 min 29 s: its gateway version does not fit the control plane's. Next: bring both to versions that fit each other.",
            "Rejected v41, 9 min 29 s ago: could not apply route orders-v1, field protocols; keeps v40. Next: look at the node's log for route orders-v1.",
            "Rejected the newest version, 9 min 29 s ago: could not apply route orders-v1; what it keeps is not in the ledger. Next: look at the node's log for the entity.",
            "Empty for 9 min 29 s: compatible, but it never had a configuration; the head is v41. Next: look at the log of eu-prod for sends to gw-eu-west-1-19.",
            "Empty for 9 min 29 s: it says that it is not ready (503); the head is v41. Next: look at the log of gw-eu-west-1-19 for its last sync from eu-prod.",
            "Current for 9 min 29 s: runs v40, the head. Nothing to do.",
            "Current by alias for 9 min 29 s: reports another hash of v40, the head; hash-only drift. Nothing to do; it heals at the next change.",
            "Current by no-op for 9 min 29 s: runs v40; what it misses up to v41 changes no behaviour. Nothing to do.",
            "Current by revert for 9 min 29 s: runs v40, and the head, v41, went back to it. Nothing to do.",
            "Current for 9 min 29 s: the head is empty, and so is the node. Nothing to do.",
            "Propagating for 9 min 29 s, behind by 1 change: runs v40, the head is v41, and a push may take this long. Next: wait for its next report.",
            "Propagating for 9 min 29 s, behind by 1 change: it reports e64b0f1d…1e4f40, which eu-prod has not named yet. Next: wait for the control plane's word.",
            "Propagating for 9 min 29 s: it reports e64b0f1d…1e4f40, which eu-prod has not named yet. Next: wait for the control plane's word.",
            "Behind by 1 change for 9 min 29 s: still runs v40 while the head is v41. Next: look at the log of gw-eu-west-1-19 after 08:44:28 UTC for an apply error.",
            "Behind by 1 change for 9 min 29 s: it was away when that was published; runs v40, the head is v41. Next: look at the node's log for its connection.",
            "Behind by 1 change for 9 min 29 s: its control plane went back to an earlier configuration; runs v40. Next: ask whether the revert of eu-prod was meant.",
            "Ahead for 9 min 29 s: runs v40, above the head v41 by the control plane's word. Next: ask whether eu-prod was restored from a backup.",
            "Unproven alias for 9 min 29 s: the expected hash moved, and no change was seen; may still run v40. Next: connect a tap or shadow for proof.",
            "Unproven alias for 9 min 29 s: its content differs only by fields that every entity of a type gained or lost. Next: compare the fields.",
            "Unproven alias for 9 min 29 s: two replicas of eu-prod render v40 differently. Next: compare the releases of the replicas.",
            "Unrecognized for 9 min 29 s: eu-prod never published e64b0f1d…1e4f40 as far as we know. Next: search config:e64b0f1d for who shares it.",
            "Unrecognized for 9 min 29 s: it started while eu-prod was away; its own or a fallback configuration. Next: look at the node's log for what it loaded.",
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn headlines_of_nodes_that_are_not_heard() {
        let since = ago(3 * HOUR + 2 * MINUTE);
        let config = ConfigState::Behind { running: Ordinal::new(40), behind: 2, since, cause: BehindCause::Away };
        let lines = connectivities(since).into_iter().skip(1).map(|connectivity| {
            let config = match connectivity {
                Connectivity::NeverSeen { .. } => ConfigState::Unknown { missing: Missing::Report },
                Connectivity::Connected { .. }
                | Connectivity::Late { .. }
                | Connectivity::Disconnected { .. }
                | Connectivity::Gone { .. }
                | Connectivity::Unobserved { .. } => config,
            };
            example(verdict(connectivity, config, Overlays::NONE), headline)
        });
        let expected: &[&str] = &[
            "Late: silent for 3 h 2 min; by its last report behind by 2 changes. Next: wait for its next report; after three missed intervals it is disconnected.",
            "Disconnected for 3 h 2 min; by its last report behind by 2 changes. Next: look at the network between gw-eu-west-1-19 and eu-prod, then at the node's log.",
            "Never seen: no report in 3 h 2 min. Next: look at the log of gw-eu-west-1-19 for its connection to eu-prod.",
            "Unobserved for 3 h 2 min: our source Konnect is blind; by its last observation behind by 2 changes. Next: look at our source, not at the node.",
            "Gone: retired by a person, last heard 3 h 2 min ago; by its last report behind by 2 changes. Nothing to do; a report brings it back.",
            "Gone: replaced under a new id, last heard 3 h 2 min ago; by its last report behind by 2 changes. Nothing to do; a report brings it back.",
            "Gone: of a kind that comes and goes, last heard 3 h 2 min ago; by its last report behind by 2 changes. Nothing to do; a report brings it back.",
            "Gone: silent for more than a day, last heard 3 h 2 min ago; by its last report behind by 2 changes. Nothing to do; a report brings it back.",
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_a_state_was_by_the_last_report() {
        let away = Connectivity::Disconnected { since: ago(3 * HOUR) };
        let lines = config_states(Ordinal::new(40), Ordinal::new(41), 1, ago(DAY)).into_iter().map(|state| {
            let line = example(verdict(away, state, Overlays::NONE), headline);
            line.split(". ").next().unwrap_or_default().to_owned()
        });
        let mut lines: Vec<String> = lines.collect();
        lines.dedup();
        let expected: &[&str] = &[
            "Disconnected for 3 h",
            "Disconnected for 3 h; by its last report unknown",
            "Disconnected for 3 h; by its last report incompatible",
            "Disconnected for 3 h; by its last report rejected v41",
            "Disconnected for 3 h; by its last report rejected the newest version",
            "Disconnected for 3 h; by its last report empty",
            "Disconnected for 3 h; by its last report current at v40",
            "Disconnected for 3 h; by its last report current by alias at v40",
            "Disconnected for 3 h; by its last report current by no-op at v40",
            "Disconnected for 3 h; by its last report current by revert at v40",
            "Disconnected for 3 h; by its last report current and empty",
            "Disconnected for 3 h; by its last report propagating, behind by 1 change",
            "Disconnected for 3 h; by its last report propagating",
            "Disconnected for 3 h; by its last report behind by 1 change",
            "Disconnected for 3 h; by its last report ahead at v40",
            "Disconnected for 3 h; by its last report an unproven alias of v40",
            "Disconnected for 3 h; by its last report unrecognized",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn overlays_are_said_where_there_is_room() {
        let since = ago(3 * HOUR);
        let current = ConfigState::Current { running: Ordinal::new(41), how: CurrentBy::Version, since };
        let line = |connectivity, overlay: Overlay| {
            example(verdict(connectivity, current, Overlays::NONE.with(overlay)), headline)
        };
        let lines = [
            line(Connectivity::Disconnected { since }, Overlay::Cached),
            line(Connectivity::Disconnected { since }, Overlay::ServingWhileSilent),
            line(Connectivity::Connected { since }, Overlay::RestartUnsafe),
            line(Connectivity::Connected { since }, Overlay::DuplicateId),
            line(Connectivity::Connected { since }, Overlay::SourcesDisagree),
            line(Connectivity::Connected { since }, Overlay::PollOnly),
        ];
        let expected: &[&str] = &[
            "Disconnected for 3 h; by its last report current at v41, served from its cache. Next: look at the network between gw-eu-west-1-19 and eu-prod.",
            "Disconnected for 3 h; by its last report current at v41. Next: look at the network between gw-eu-west-1-19 and eu-prod, then at the node's log.",
            "Current for 3 h: runs v41, the head. Nothing to do. Do not restart it: it may lose its configuration.",
            "Current for 3 h: runs v41, the head. Nothing to do. Two machines report under this id.",
            "Current for 3 h: runs v41, the head. Nothing to do. Two sources disagree on it.",
            "Current for 3 h: runs v41, the head. Nothing to do.",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_destroyed_configuration_is_said_of_who_runs_it() {
        let since = ago(3 * HOUR);
        let current = ConfigState::Current { running: Ordinal::new(41), how: CurrentBy::Version, since };
        let snis = || Subject::Type("snis".to_owned());
        let lines = |connectivity, subject, lost, before| {
            example(verdict(connectivity, current, Overlays::NONE), |facts| {
                let loss = loss(subject, before);
                let (since, last_good) = (ago(4 * MINUTE), Ordinal::new(38));
                let damage = Some(Damage { loss: &loss, lost, last_good, since });
                let facts = Facts { damage, expected: facts.reported, ..*facts };
                [headline(&facts), evidence(&facts)]
            })
        };
        let heard = Connectivity::Connected { since };
        let said = [
            lines(heard, snis(), 1_400, 1_500),
            lines(heard, Subject::NamedCertificates, 40, 2),
            lines(heard, Subject::Everything, 812, 812),
            lines(Connectivity::Disconnected { since }, Subject::Hosts, 30, 40),
        ];
        let expected: &[[&str; 2]] = &[
            [
                "Current for 3 h: runs v41, the head; lost 1,400 of 1,500 SNIs after v38. Next: compare it with v38, the last good version.",
                "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by Konnect. Lost 1,400 of 1,500 SNIs after v38; here since 08:49:57 UTC.",
            ],
            [
                "Current for 3 h: runs v41, the head; left 40 more certificates without SNIs after v38. Next: compare it with v38, the last good version.",
                "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by Konnect. Left 40 more certificates without SNIs; here since 08:49:57 UTC.",
            ],
            [
                "Current for 3 h: runs v41, the head; lost all 812 entities after v38. Next: compare it with v38, the last good version.",
                "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by Konnect. Lost all 812 entities after v38; here since 08:49:57 UTC.",
            ],
            [
                "Disconnected for 3 h; by its last report current at v41; lost 30 of 40 hosts after v38. Next: look at the network between gw-eu-west-1-19 and eu-prod.",
                "Reported e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by Konnect. Lost 30 of 40 hosts after v38; here since 08:49:57 UTC.",
            ],
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_change_by_delta_that_is_not_proven_to_be_used_is_said_with_what_to_do() {
        let since = ago(3 * HOUR);
        let current = ConfigState::Current { running: Ordinal::new(41), how: CurrentBy::Version, since };
        let lines = |plugins: &[PluginChange]| {
            example(verdict(Connectivity::Connected { since }, current, Overlays::NONE), |facts| {
                let unverified = Some(Unverified { version: Ordinal::new(41), plugins, since });
                let facts = Facts { unverified, expected: facts.reported, ..*facts };
                [headline(&facts), evidence(&facts)]
            })
        };
        let limits = change("rate-limiting", Keeps::Counters);
        let said = [
            lines(std::slice::from_ref(&limits)),
            lines(&[change("cors", Keeps::Nothing), change("our-own", Keeps::State), limits.clone()]),
            lines(&[change("our-own", Keeps::State)]),
        ];
        let expected: &[[&str; 2]] = &[
            [
                "Current for 3 h: runs v41, the head. Next: try a request that the change of rate-limiting concerns.",
                "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by Konnect. v41 changed rate-limiting by delta: counters may reset.",
            ],
            [
                "Current for 3 h: runs v41, the head. Next: try a request that the change of our-own and others concerns.",
                "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by Konnect. v41 changed our-own and others by delta: counters may reset.",
            ],
            [
                "Current for 3 h: runs v41, the head. Next: try a request that the change of our-own concerns.",
                "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by Konnect. v41 changed our-own by delta: its state is not verified.",
            ],
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn evidence_of_each_kind() {
        let heard = Connectivity::Connected { since: ago(DAY) };
        let since = ago(9 * MINUTE);
        let zeros = hash("00000000000000000000000000000000");
        let token = ConfigRef::Token("release-2026-11-20-candidate-7".parse().expect("a token"));
        let line = |config, change: &dyn Fn(&mut Facts<'_>)| {
            example(verdict(heard, config, Overlays::NONE), |facts| {
                let mut facts = *facts;
                change(&mut facts);
                evidence(&facts)
            })
        };
        let behind =
            ConfigState::Behind { running: Ordinal::new(40), behind: 1, since, cause: BehindCause::NotReached };
        let alias = ConfigState::Current { running: Ordinal::new(41), how: CurrentBy::Alias, since };
        let zero = ConfigState::Unknown { missing: Missing::ProofOfEmptiness };
        let withheld =
            ConfigState::Incompatible { reason: WithheldReason::PluginSet, since, running: Some(Ordinal::new(40)) };
        let rejected =
            ConfigState::Rejected { since, running: Some(Ordinal::new(40)), refused: Some(Ordinal::new(41)) };
        let own = ConfigState::Unrecognized { since, cause: UnrecognizedCause::Unknown };
        let lines = [
            line(behind, &|_| {}),
            line(alias, &|facts| facts.expected = None),
            line(alias, &|facts| facts.expected = facts.reported),
            line(behind, &|facts| facts.inferred = true),
            line(behind, &|facts| facts.uncertain_ms = 60_000),
            line(behind, &|facts| facts.last_report_estimated = true),
            line(withheld, &|_| {}),
            line(rejected, &|_| {}),
            line(own, &|_| {}),
            line(alias, &|facts| {
                (facts.expected, facts.source) = (facts.reported, Some(Source::Tap));
                facts.full_sync = Some(FullSync { bytes: Some(3_120_000), delta_bytes: Some(2_400) });
            }),
            line(alias, &|facts| {
                (facts.expected, facts.source) = (facts.reported, Some(Source::Push));
                facts.full_sync = Some(FullSync { bytes: None, delta_bytes: None });
            }),
            line(alias, &|facts| {
                (facts.expected, facts.source) = (facts.reported, Some(Source::Tap));
                facts.poll_only = Some(PollOnly { changes: 8, least_ms: 3_900, most_ms: 29_000 });
            }),
            example(verdict(heard, zero, Overlays::NONE), |facts| {
                evidence(&Facts { reported: Some(&zeros), ..*facts })
            }),
            example(verdict(heard, behind, Overlays::NONE), |facts| {
                evidence(&Facts { reported: Some(&token), ..*facts })
            }),
            line(ConfigState::Unknown { missing: Missing::Report }, &|facts| {
                (facts.reported, facts.expected, facts.last_report_at, facts.source) = (None, None, None, None);
            }),
        ];
        let expected: &[&str] = &[
            "Reports e64b0f1d…1e4f40, held to be v40; expected b27d3e81…68b222; last report 11 s ago by Konnect. Rule 4.5 behind.",
            "Reports e64b0f1d…1e4f40, held to be v41; the head is v41; last report 11 s ago by Konnect. Rule 4.5 at the head by another hash of it.",
            "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by Konnect. Rule 4.5 at the head by another hash of it.",
            "Reports e64b0f1d…1e4f40, held to be v40; expected b27d3e81…68b222; last report 11 s ago by Konnect; the ledger is inferred. Rule 4.5 behind.",
            "Reports e64b0f1d…1e4f40, held to be v40; expected b27d3e81…68b222; last report 11 s ago by Konnect, or up to 1 min earlier. Rule 4.5 behind.",
            "Reports e64b0f1d…1e4f40, held to be v40; expected b27d3e81…68b222; last report about 11 s ago by Konnect. Rule 4.5 behind.",
            "Reports e64b0f1d…1e4f40, held to be v40; expected b27d3e81…68b222; last report 11 s ago by Konnect. Rule 4.2 the control plane withholds.",
            "Reports e64b0f1d…1e4f40, held to be v40; expected b27d3e81…68b222; last report 11 s ago by Konnect. The node says: in 'protocols': expected one of http, https.",
            "Reports e64b0f1d…1e4f40, not in the ledger; expected b27d3e81…68b222; last report 11 s ago by Konnect. Rule 4.6 not in the ledger.",
            "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by tap. Each change costs it 3.1 MB, others 2.4 kB by delta.",
            "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by push. It asked for deltas and gets the whole.",
            "Reports e64b0f1d…1e4f40, held to be v41, as expected; last report 11 s ago by tap. Learned of the last 8 changes after 4 to 29 s, others within 2 s.",
            "Reports zeros, no configuration; expected b27d3e81…68b222; last report 11 s ago by Konnect. Rule 4.4 zeros without proof of emptiness.",
            "Reports release-2026…candidate-7, held to be v40; expected b27d3e81…68b222; last report 11 s ago by Konnect. Rule 4.5 behind.",
            "No report yet; the head is v41. Rule 4.1 no facts.",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn proofs_name_what_is_missing_and_an_inferred_ledger() {
        let heard = Connectivity::Connected { since: ago(DAY) };
        let zeros = ConfigState::Unknown { missing: Missing::ProofOfEmptiness };
        let of = |config, inferred| {
            example(verdict(heard, config, Overlays::NONE), |facts| proof(&Facts { inferred, ..*facts }))
        };
        assert!(of(zeros, false).cannot_know.iter().any(|line| line.contains("Missing is its Status API")));
        let current = ConfigState::Current { running: Ordinal::new(41), how: CurrentBy::Version, since: NOW };
        assert!(of(current, true).infer.iter().any(|line| line.starts_with("Inferred: ")));
        assert!(!of(current, false).infer.iter().any(|line| line.starts_with("Inferred: ")));
        let away = verdict(Connectivity::Disconnected { since: ago(HOUR) }, current, Overlays::NONE);
        assert!(example(away, proof).infer.iter().any(|line| line == "This is by its last report, of 07:53:57 UTC."));
    }

    #[test]
    fn proofs_are_full_sentences_and_no_step_is_a_restart() {
        let since = ago(HOUR);
        for config in config_states(Ordinal::new(40), Ordinal::new(41), 3, since) {
            for connectivity in connectivities(since) {
                let verdict = verdict(connectivity, config, Overlays::NONE);
                let Proof { know, infer, cannot_know } = example(verdict, proof);
                let evidence = example(verdict, evidence);
                let headline = example(verdict, headline);
                for line in know.iter().chain(&infer).chain(&cannot_know).chain([&evidence, &headline]) {
                    assert!(line.ends_with('.') && !line.contains(".."), "{line}");
                    assert!(!line.to_lowercase().contains("restart"), "{line}");
                    assert!(!line.contains("  ") && !line.contains(" ,") && !line.contains("None"), "{line}");
                }
            }
        }
    }

    #[test]
    fn a_fleet_reads_as_a_sentence() {
        let group =
            |nodes, state, behind| WorstGroup { nodes, place: "eu-west", state, behind, since: Some(ago(9 * MINUTE)) };
        let fleet = |nodes, at_head, counters, control_planes, worst| {
            fleet_sentence(&FleetFacts { nodes, at_head, counters, control_planes, worst, now: NOW })
        };
        let lines = [
            fleet(0, 0, [0; 5], 0, None),
            fleet(1, 1, [0, 0, 0, 0, 1], 1, None),
            fleet(240, 240, [0, 0, 0, 0, 240], 1, None),
            fleet(240, 240, [0, 0, 0, 0, 240], 4, None),
            fleet(240, 240, [1, 0, 0, 0, 239], 2, None),
            fleet(240, 238, [0, 0, 2, 0, 238], 4, Some(group(2, ConfigWord::Behind, 1))),
            fleet(9_412, 9_000, [100, 12, 200, 100, 9_000], 11, Some(group(12, ConfigWord::Rejected, 0))),
            fleet(240, 1, [0, 239, 0, 0, 1], 1, Some(group(239, ConfigWord::UnprovenAlias, 0))),
            fleet(3, 0, [0, 1, 2, 0, 0], 2, Some(group(1, ConfigWord::Incompatible, 0))),
        ];
        let expected: &[&str] = &[
            "No node has reported yet. Next: send heartbeats, or import a recording.",
            "The only node runs the head.",
            "All 240 nodes run the head.",
            "All 240 nodes run the head on all four control planes.",
            "All 240 nodes run the head on both control planes; 1 not heard.",
            "238 of 240 nodes run the head of their control plane; 2 nodes in eu-west are behind by 1 change since 08:44:57 UTC.",
            "9,000 of 9,412 nodes run the head of their control plane; 12 nodes in eu-west are refusing the newest version since 08:44:57 UTC; 100 not heard; 200 behind.",
            "1 of 240 nodes runs the head; 239 nodes in eu-west are unproven aliases since 08:44:57 UTC.",
            "None of 3 nodes runs the head of its control plane; 1 node in eu-west is incompatible since 08:44:57 UTC; 2 behind.",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn notices_read_as_sentences() {
        let control_plane: CpName = "eu-prod".parse().expect("a name");
        let (from, to) = (hash("e64b0f1d5c0a4e6f8b7a9d3c211e4f40"), hash("b27d3e81c90a4f6db5e2147f3c68b222"));
        let snis = loss(Subject::Type("snis".to_owned()), 1_500);
        let notice = |kind, severity, nodes| {
            let (control_plane, hashes, since) = (&control_plane, Some((&from, &to)), ago(20 * MINUTE));
            let damage = Some(Damage { loss: &snis, lost: 1_400, last_good: Ordinal::new(40), since });
            notice_sentence(&NoticeFacts { control_plane, kind, severity, nodes, hashes, damage, since, now: NOW })
        };
        let lines = [
            notice(NoticeKind::ExpectedMovedWithoutChange, Severity::Info, 200),
            notice(NoticeKind::ExpectedMovedWithoutChange, Severity::Ticket, 1),
            notice(NoticeKind::ExpectedMovedWithoutChange, Severity::Page, 200),
            notice(NoticeKind::ReplicasRenderDifferently, Severity::Ticket, 12),
            notice(NoticeKind::ControlPlaneDown, Severity::Page, 40),
            notice(NoticeKind::DownOrCutOff, Severity::Page, 1),
            notice(NoticeKind::Reverted, Severity::Ticket, 1),
            notice(NoticeKind::Reverted, Severity::Ticket, 0),
            notice(NoticeKind::OneClusterTwoNames, Severity::Ticket, 0),
            notice(NoticeKind::DestructiveChange, Severity::Page, 200),
            notice(NoticeKind::DestructiveChange, Severity::Page, 1),
        ];
        let expected: &[&str] = &[
            "The expected hash of eu-prod moved at 08:33:57 UTC without a change; 200 nodes repeat the old one. It heals at the next change.",
            "The expected hash of eu-prod moved at 08:33:57 UTC without a change; 1 node is not proven. Next: connect a tap or shadow for proof.",
            "The expected hash of eu-prod moved at 08:33:57 UTC without a change; 200 nodes may run an old configuration. Next: connect a tap or shadow, or compare by hand.",
            "Replicas of eu-prod render one version differently since 08:33:57 UTC; 12 nodes are not proven. Next: compare the releases of the replicas.",
            "eu-prod has not answered since 08:33:57 UTC, while others do; 40 nodes serve what they have. Next: look at the control plane's own log.",
            "eu-prod is down, or we are cut off from it, since 08:33:57 UTC; 1 node serves what it has. Next: look at our network first.",
            "eu-prod went back to an earlier configuration at 08:33:57 UTC; 1 node still runs the later one. Next: ask whether that was meant.",
            "eu-prod went back to an earlier configuration at 08:33:57 UTC (e64b0f1d…1e4f40 to b27d3e81…68b222). Next: ask whether that was meant.",
            "The cluster of eu-prod reports under two names since 08:33:57 UTC. Next: declare one name for it.",
            "eu-prod lost 1,400 of 1,500 SNIs since 08:33:57 UTC, after v40; 200 nodes run it. Next: compare with v40, the last good version, then go back.",
            "eu-prod lost 1,400 of 1,500 SNIs since 08:33:57 UTC, after v40; 1 node runs it. Next: compare with v40, the last good version, then go back.",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_common_factor_reads_as_a_sentence() {
        #[track_caller]
        fn check(key: &str, value: &str, outside: u32, expected: &str) {
            let (key, value) = (key.to_owned(), value.to_owned());
            let factor = CommonFactor { key, value, inside: 27, inside_of: 29, outside, outside_of: 250 };
            assert_eq!(factor_sentence(&factor), expected);
        }
        check(
            "gateway + label.region",
            "3.10.0.2 + eu-west",
            1,
            "27 of 29 have gateway 3.10.0.2 and region eu-west; 0.4 % of the rest, 233 times as often.",
        );
        check("label.zone", "b", 0, "27 of 29 have zone b; none of the rest.");
        check("cp", "eu-prod", 25, "27 of 29 have cp eu-prod; 10.0 % of the rest, 9.3 times as often.");
    }

    #[test]
    fn sizes_have_three_digits_at_most() {
        let sizes = [0, 1, 60, 999, 1_000, 2_432, 9_949, 12_345, 999_499, 999_500, 31_000_000, u64::MAX].map(size);
        let expected = [
            "0 bytes",
            "1 bytes",
            "60 bytes",
            "999 bytes",
            "1.0 kB",
            "2.4 kB",
            "9.9 kB",
            "12 kB",
            "999 kB",
            "1.0 MB",
            "31 MB",
            "18 EB",
        ];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        assert_eq!(name("gw-eu-west-1-19"), "gw-eu-west-1-19");
        assert_eq!(name(&"n".repeat(24)).chars().count(), 24);
        assert_eq!(name("gw-eu-central-1-production-22"), "gw-eu-centra…oduction-22");
    }

    /// Every clause is there as a whole or not at all, and those that must be said are there.
    #[track_caller]
    fn check_line(clauses: &[Clause]) {
        let chosen = fit(clauses);
        let line = chosen.concat();
        assert!(line.chars().count() <= CHARS_MAX, "{} characters: {line}", line.chars().count());
        assert!(line.ends_with('.'), "{line}");
        for (clause, form) in clauses.iter().zip(&chosen) {
            assert!(clause.forms.contains(form) || form.is_empty() && !clause.must, "{form} in {line}");
        }
    }

    #[test]
    fn the_longest_values_fit() {
        let (first, last) = (Timestamp::from_ms(i64::MIN), Timestamp::from_ms(i64::MAX));
        let wide = "W".repeat(256);
        let control_plane: CpName = "c".repeat(63).parse().expect("a name");
        let token = ConfigRef::Token("t".repeat(128).parse().expect("a token"));
        let hash = hash("6de1944179b6c16febb0a724310a4d49");
        let line = || Line::from_outside(&wide);
        let all = ApplyFailure { refused: None, message: line().expect("a line"), entity: line(), field: line() };
        let none = ApplyFailure { entity: None, field: None, ..all.clone() };
        let overlays = Overlay::ALL.into_iter().fold(Overlays::NONE, Overlays::with);
        let worst = loss(Subject::Type(wide.clone()), u64::MAX);
        let plugins = [change(&wide, Keeps::Counters), change("b", Keeps::State)];
        let unverified = Unverified { version: Ordinal::new(u32::MAX), plugins: &plugins, since: NOW };
        let full_sync = Some(FullSync { bytes: Some(u64::MAX), delta_bytes: Some(u64::MAX) });
        let poll_only = Some(PollOnly { changes: u32::MAX, least_ms: u32::MAX, most_ms: u32::MAX });
        let damage = Damage { loss: &worst, lost: u64::MAX - 1, last_good: Ordinal::new(u32::MAX), since: NOW };
        for (since, now) in
            [(first, last), (last, first), (ago(DAY), NOW), (NOW, NOW), (ago(59 * MINUTE + 59 * SECOND), NOW)]
        {
            for config in config_states(Ordinal::new(u32::MAX), Ordinal::new(u32::MAX - 1), u32::MAX, since) {
                for connectivity in connectivities(since) {
                    for (config_ref, head) in
                        [(Some(&token), Some(Ordinal::new(u32::MAX))), (Some(&hash), None), (None, None)]
                    {
                        for failure in [Some(&all), Some(&none), None] {
                            for (source, at) in [(Some(Source::Shadow), Some(since)), (None, None)] {
                                let verdict = verdict(connectivity, config, overlays);
                                let facts = Facts {
                                    verdict: &verdict,
                                    now,
                                    node: &wide,
                                    control_plane: &control_plane,
                                    reported: config_ref,
                                    expected: Some(&token),
                                    head,
                                    source,
                                    last_report_at: at,
                                    last_report_estimated: true,
                                    failure,
                                    withheld_detail: Some(&wide),
                                    uncertain_ms: u32::MAX,
                                    inferred: true,
                                    damage: at.map(|since| Damage { since, ..damage }),
                                    poll_only,
                                    full_sync: at.and(full_sync),
                                    unverified: at.map(|since| Unverified { since, ..unverified }),
                                };
                                check_line(&headline_clauses(&facts));
                                check_line(&evidence_clauses(&facts));
                            }
                        }
                    }
                }
            }
            for kind in [
                NoticeKind::ExpectedMovedWithoutChange,
                NoticeKind::ReplicasRenderDifferently,
                NoticeKind::ControlPlaneDown,
                NoticeKind::DownOrCutOff,
                NoticeKind::Reverted,
                NoticeKind::OneClusterTwoNames,
                NoticeKind::DestructiveChange,
            ] {
                for severity in Severity::ALL {
                    let (control_plane, hashes) = (&control_plane, Some((&token, &hash)));
                    let nodes = u32::MAX;
                    let damage = Some(Damage { since, ..damage });
                    let facts = NoticeFacts { control_plane, kind, severity, nodes, hashes, damage, since, now };
                    check_line(&notice_clauses(&facts));
                }
            }
            for state in ConfigWord::ALL {
                let worst = WorstGroup { nodes: u32::MAX, place: &wide, state, behind: u32::MAX, since: Some(since) };
                let counters = [u32::MAX; 5];
                for at_head in [0, 1, u32::MAX - 1, u32::MAX] {
                    let (nodes, control_planes, worst) = (u32::MAX, u32::MAX, Some(worst));
                    let facts = FleetFacts { nodes, at_head, counters, control_planes, worst, now };
                    check_line(&fleet_clauses(&facts));
                    assert!(!fit(&fleet_clauses(&facts))[2].is_empty(), "the worst group is always said");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_values_no_clause_is_cut(
            (state, connection) in (0..64_usize, 0..16_usize),
            (one, other, behind) in (1..=u32::MAX, 1..=u32::MAX, 0..=u32::MAX),
            (since, now, at) in (any::<i64>(), any::<i64>(), prop::option::of(any::<i64>())),
            (node, entity, message) in ("\\PC{1,80}", "\\PC{1,80}", "\\PC{1,300}"),
            (token, control_plane) in ("[!-~]{1,128}", "[a-z0-9][a-z0-9._-]{0,62}"),
            bits in any::<u16>(),
        ) {
            let since = Timestamp::from_ms(since);
            let states = config_states(Ordinal::new(one), Ordinal::new(other), behind, since);
            let connections = connectivities(since);
            let held = Overlay::ALL.into_iter().filter(|overlay| bits >> (*overlay as u8) & 1 == 1);
            let verdict = Verdict {
                connectivity: connections[connection % connections.len()],
                config: states[state % states.len()],
                overlays: held.fold(Overlays::NONE, Overlays::with),
            };
            let token = ConfigRef::from(token.parse::<crate::id::Token>().expect("a token"));
            let control_plane = control_plane.parse().expect("a name");
            let failure = Line::from_outside(&message).map(|message| ApplyFailure {
                refused: None,
                message,
                entity: Line::from_outside(&entity),
                field: Line::from_outside(&node),
            });
            let loss = loss(Subject::Type(entity.clone()), u64::from(other));
            let plugins = [change(&entity, if bits & 512 == 0 { Keeps::State } else { Keeps::Counters })];
            let unverified = Unverified { version: Ordinal::new(one), plugins: &plugins, since };
            let damage = Damage { loss: &loss, lost: u64::from(one), last_good: Ordinal::new(one), since };
            let facts = Facts {
                verdict: &verdict,
                now: Timestamp::from_ms(now),
                node: &node,
                control_plane: &control_plane,
                reported: (bits & 1 == 0).then_some(&token),
                expected: (bits & 2 == 0).then_some(&token),
                head: (bits & 4 == 0).then_some(Ordinal::new(other)),
                source: (bits & 8 == 0).then_some(Source::AccessLog),
                last_report_at: at.map(Timestamp::from_ms),
                last_report_estimated: bits & 32 == 0,
                failure: failure.as_ref(),
                withheld_detail: Some(&message),
                uncertain_ms: one,
                inferred: bits & 16 == 0,
                damage: (bits & 32 == 0).then_some(damage),
                unverified: (bits & 256 == 0).then_some(unverified),
                full_sync: (bits & 128 == 0).then_some(FullSync { bytes: Some(behind.into()), delta_bytes: None }),
                poll_only: (bits & 64 == 0).then_some(PollOnly { changes: one, least_ms: other, most_ms: behind }),
            };
            check_line(&headline_clauses(&facts));
            check_line(&evidence_clauses(&facts));
            let Proof { know, infer, .. } = proof(&facts);
            prop_assert!(!know.is_empty() && !infer.is_empty());
        }
    }
}
