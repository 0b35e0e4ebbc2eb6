//! What one control plane has published, by its own word: versions, the hashes that name them, and the head.
//!
//! # How the word of a control plane is read
//! Every word ([`Said`]) is read against what is known, by the rules of DESIGN.md section 5:
//!
//! - A **token** (an announced one, or the ordered `v02_…` of delta sync) is an identity: the same token is the same
//!   version, a new one is a new version. A lower ordered token by the control plane's word moves the head back, and
//!   what lies above is `ahead` (5.2).
//! - A **hash** is an alias. A known hash of the head says nothing new. A known hash of an earlier version, told to a
//!   cohort that was told another one since, is a revert, and appends a version (5.2). A new hash is compared by
//!   behaviour digest inside its cohort (5.3); where there is nothing to compare, the cohort's first word since another
//!   cohort's or replica's head is a rendering of that head (5.5), and every other frame is a new version.
//! - An **expected hash** alone proves no change. One that moved is a [`Movement`]: the head stays, and who was
//!   current then is not proven until somebody says what the new hash means (5.4).
//!
//! Aliases are kept with their evidence. An alias that a movement made is unproven; refutation moves it to the new
//! version, proof makes it good, and the next change leaves it, unproven, with the version before.

use crate::fact::{
    Announcement, ConfigRef, Content, Declaration, EntityChanges, Frame, Keeps, PluginChange, Said, Scope, Shape,
    Source, SyncMode, Word,
};
use crate::guard::{
    CountChange, Damage, End, Finding, Grade, SHAPE_MAY_TAKE_MS, Sample, Watch, difference, is_notable,
};
use crate::hash::ConfigHash;
use crate::id::{Digest, Line, Ordinal, Token};
use crate::node::Cost;
use crate::policy::Policy;
use crate::time::{SECOND, Timestamp};
use crate::verdict::Unproven;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Movements that are remembered; older ones are forgotten first.
const MOVEMENTS_MAX: usize = 64;
/// Versions in one delta at most (`kong-hybrid.md` 2.5); one that spans more is no delta.
const KEEPING_LOOK_BACK: usize = 512;
/// Cohorts whose shapes are kept of one version; a shape of any further one is not looked at.
const SHAPES_MAX: usize = 16;
/// A push reaches all nodes within this: it is one loop of the control plane (`kong-hybrid.md` 1.6).
const PUSH_TAKES_MS: i64 = SECOND;
/// Pairs of replica and scope whose last word is remembered; the longest silent is forgotten first.
const EXPECTED_MAX: usize = 512;
/// Versions of which is kept what they changed, entity by entity.
pub const CHANGES_KEPT: usize = 500;

/// How a version entered the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnteredBy {
    /// Announced over the API.
    Announced,
    /// A frame seen by tap or shadow.
    Frame,
    /// The control plane's expected hash or token.
    Expected,
    /// A notification of delta sync.
    Notified,
    /// Read from what nodes did (DESIGN 5.1).
    Inferred,
}

impl EnteredBy {
    /// The word of tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Frame => "frame",
            Self::Expected => "expected",
            Self::Notified => "notified",
            Self::Inferred => "inferred",
        }
    }
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its name: dense, in the order of entry.
    pub ordinal: Ordinal,
    /// The source's token.
    pub token: Option<Token>,
    /// The sender's key, where it was announced without a token.
    pub key: Option<Line>,
    /// The earlier of the control plane's word and the first report of it (DESIGN 5.7).
    pub published_at: Timestamp,
    /// When we learned of it.
    pub recorded_at: Timestamp,
    /// How it entered.
    pub entered_by: EnteredBy,
    /// Why it was made, in the sender's words.
    pub cause: Option<Line>,
    /// Who made it.
    pub actor: Option<Line>,
    /// The first version of its changeset.
    pub changeset: Ordinal,
    /// What the sender calls the changeset.
    pub changeset_key: Option<Line>,
    /// Its token or announcement moved, its behaviour digest did not.
    pub no_op: bool,
    /// The control plane went back to this version.
    pub reverts_to: Option<Ordinal>,
    /// Behaviour digests by cohort; they compare inside a cohort only.
    pub digests: Vec<(Scope, Digest)>,
    /// What it is made of, by cohort: they compare inside a cohort only.
    pub shapes: Vec<(Scope, Shape)>,
    /// Somebody said that what it takes away is meant.
    pub intended: bool,
    /// Plugins that it made or changed, as far as that was told.
    pub plugins_changed: Vec<PluginChange>,
    /// What it changed in a cohort, entity by entity, as it was told first; of the newest [`CHANGES_KEPT`] versions.
    pub entities_changed: Option<(Scope, Arc<EntityChanges>)>,
}

impl Version {
    /// What it is made of, as it was seen first.
    #[must_use]
    pub fn shape(&self) -> Option<&Shape> {
        self.shapes.first().map(|(_, shape)| shape)
    }

    fn shape_in(&self, scope: &Scope) -> Option<&Shape> {
        self.shapes.iter().find(|(of, _)| of == scope).map(|(_, shape)| shape)
    }

    fn digest(&self, scope: &Scope) -> Option<&Digest> {
        self.digests.iter().find(|(of, _)| of == scope).map(|(_, digest)| digest)
    }
}

/// Why a hash is held to name a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The sender of the version said so.
    Announced,
    /// It was on the frame that brought the version.
    Frame,
    /// Its frame behaves as the version's frame in the same cohort.
    Digest,
    /// First word of this cohort, or of this replica, after the version was published.
    SameMoment,
    /// The control plane expected it, and named the version.
    Expected,
    /// The control plane expected it, and named no version.
    ExpectedMoved,
    /// The characters are the version's own token.
    Token,
    /// Nodes moved to it.
    Inferred,
    /// A person says so.
    Person(Line),
}

impl Evidence {
    /// As part of a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Announced => "named by the announcement of the version".into(),
            Self::Frame => "stated by the frame that brought the version".into(),
            Self::Digest => "its frame behaves like the version's frame in the same cohort".into(),
            Self::SameMoment => "first word of this cohort or replica after the version was published".into(),
            Self::Expected => "the control plane expects it and names the version".into(),
            Self::ExpectedMoved => "the control plane expects it; no change was seen".into(),
            Self::Token => "it is the version's own token".into(),
            Self::Inferred => "inferred: nodes at the head changed to it".into(),
            Self::Person(who) => format!("{who} says that it is the same"),
        }
    }
}

/// A name of a version (DESIGN 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The characters.
    pub config: ConfigRef,
    /// For which cohorts.
    pub scope: Scope,
    /// Which version.
    pub ordinal: Ordinal,
    /// Since when we hold it.
    pub since: Timestamp,
    /// Why.
    pub evidence: Evidence,
    /// What is not proven of it.
    pub unproven: Option<Unproven>,
}

/// How a movement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementEnd {
    /// The new hash renders the old version.
    Proven,
    /// The new hash is another version.
    Refuted,
    /// The expected hash went back.
    MovedBack,
    /// A change came; what the hash meant is not asked any more.
    NextChange,
}

/// The expected hash moved, and no change was seen (DESIGN 5.4); or a frame came that differs in template fields only
/// (5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// When.
    pub at: Timestamp,
    /// For which cohorts.
    pub scope: Scope,
    /// The head at that moment.
    pub from: Ordinal,
    /// What was expected before.
    pub from_config: Option<ConfigRef>,
    /// What is expected since.
    pub to: ConfigRef,
    /// What is not proven.
    pub why: Unproven,
    /// Fields that every entity of a type gained or lost alike.
    pub paths: Vec<Line>,
    /// When and how it ended.
    pub ended: Option<(Timestamp, MovementEnd)>,
}

/// Where a version stands, seen from the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Changesets with behaviour-changing versions between it and the head.
    pub behind: u32,
    /// Publication of the oldest of those versions.
    pub since: Option<Timestamp>,
    /// One of them went back to a version before it.
    pub reverted: bool,
    /// It lies above the head.
    pub ahead: bool,
}

/// How a version's content differs from the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentChange {
    /// The version before it whose content was seen.
    pub before: Ordinal,
    /// What that means.
    pub grade: Grade,
    /// The counts that differ.
    pub counts: Vec<CountChange>,
}

/// What a control plane expects now, as one replica told one scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Expected {
    replica: Option<Line>,
    scope: Scope,
    config: ConfigRef,
    at: Timestamp,
}

/// What it means that a hash of a version before the head is said again.
enum Again {
    /// Nothing: it was said last, or a replica is late.
    NothingNew,
    /// It renders this head too.
    OfHead(Ordinal),
    /// It is the first hash of this head, which therefore went back.
    Reverted(Ordinal),
    /// The control plane went back, just now.
    WentBack,
}

/// A version that is about to enter.
struct Entry {
    at: Timestamp,
    recorded_at: Timestamp,
    entered_by: EnteredBy,
}

/// A version that changes behaviour, and sums up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Changing {
    rank: u32,
    changesets: u32,
    reverts: u32,
}

/// The guard of one cohort.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Guarded {
    watch: Watch,
    /// The rank after that of the last version that it saw.
    next_rank: u32,
}

/// The ledger of one control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    versions: Vec<Version>,
    /// Oldest first: the token's order where it has one, else the order of entry.
    order: Vec<Ordinal>,
    head: Option<Ordinal>,
    /// When the control plane's word last moved the head.
    head_since: Option<Timestamp>,
    aliases: Vec<Alias>,
    movements: Vec<Movement>,
    expected: Vec<Expected>,
    /// What people said of the control plane.
    pub declaration: Declaration,
    /// The control plane's own word reached us at least once.
    has_word: bool,
    /// Frames, notifications or announcements reached us: changes do not pass unseen.
    sees_changes: bool,
    last_word_at: Option<Timestamp>,
    last_read_at: Option<Timestamp>,
    /// What its deltas cost.
    deltas: Cost,
    delta_at: Option<Timestamp>,
    #[serde(skip)]
    index: HashMap<ConfigRef, Vec<u32>>,
    /// Places in `aliases`, by the version that they name.
    #[serde(skip)]
    names: Vec<Vec<u32>>,
    #[serde(skip)]
    keys: HashMap<Line, Ordinal>,
    /// Versions that have a digest in some cohort, by the digest.
    #[serde(skip)]
    behaving: HashMap<Digest, Vec<Ordinal>>,
    #[serde(skip)]
    rank: Vec<u32>,
    /// Versions that change behaviour, oldest first, with what lies at or before each.
    #[serde(skip)]
    changing: Vec<Changing>,
    /// The lowest rank from which `changing` is out of date.
    #[serde(skip)]
    changed_from: Option<u32>,
    /// What the versions of each cohort lost; it follows from them.
    #[serde(skip)]
    guards: BTreeMap<Scope, Guarded>,
}

impl Ledger {
    /// All versions by ordinal.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// All versions, oldest first.
    pub fn in_order(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.order.iter().filter_map(|ordinal| self.version(*ordinal))
    }

    /// The version of this name.
    #[must_use]
    pub fn version(&self, ordinal: Ordinal) -> Option<&Version> {
        self.versions.get(index_of(ordinal)?)
    }

    /// The version that the control plane publishes.
    #[must_use]
    pub fn head(&self) -> Option<&Version> {
        self.version(self.head?)
    }

    /// When the control plane's word last moved the head.
    #[must_use]
    pub const fn head_since(&self) -> Option<Timestamp> {
        self.head_since
    }

    /// Everything that names a version.
    pub fn aliases_of(&self, ordinal: Ordinal) -> impl Iterator<Item = &Alias> {
        let places = index_of(ordinal).and_then(|index| self.names.get(index)).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|place| self.aliases.get(*place as usize))
    }

    /// Movements, oldest first.
    #[must_use]
    pub fn movements(&self) -> &[Movement] {
        &self.movements
    }

    /// Whether the ledger rests on reports of nodes alone (DESIGN 5.1).
    #[must_use]
    pub const fn inferred(&self) -> bool {
        !self.has_word
    }

    /// Whether every change of this control plane reaches us (DESIGN 5.4).
    #[must_use]
    pub const fn sees_changes(&self) -> bool {
        self.sees_changes || self.declaration.change_feed
    }

    /// The last word of the control plane.
    #[must_use]
    pub const fn last_word_at(&self) -> Option<Timestamp> {
        self.last_word_at
    }

    /// The last moment at which the control plane is known to have been heard: a word, or a successful read.
    #[must_use]
    pub fn heard_at(&self) -> Option<Timestamp> {
        self.last_word_at.max(self.last_read_at)
    }

    /// Bytes of a change that is sent as a delta; `None` where it sends none, as a control plane may that calls its sync
    /// incremental (`kong-hybrid.md` 2.5).
    #[must_use]
    pub fn delta_bytes(&self) -> Option<u64> {
        self.deltas.of_each()
    }

    /// When it last sent a delta.
    #[must_use]
    pub const fn delta_at(&self) -> Option<Timestamp> {
        self.delta_at
    }

    /// How long a change may take to reach a node of this control plane.
    #[must_use]
    pub fn propagation_ms(&self, policy: &Policy) -> i64 {
        self.declaration.propagation_ms.map_or(policy.propagation_ms, i64::from)
    }

    /// What the control plane expects of a cohort now: the newest word that names the head there.
    #[must_use]
    pub fn expected(&self, cohort: &Scope) -> Option<&ConfigRef> {
        self.expected_as(self.head?, cohort)
    }

    /// What the control plane expects of a cohort while a version is the head: the newest word that names it there, else
    /// the newest of its names.
    #[must_use]
    pub fn expected_as(&self, head: Ordinal, cohort: &Scope) -> Option<&ConfigRef> {
        let told = self.expected.iter().filter(|expected| expected.scope.holds(cohort));
        let told = told.filter(|expected| self.named(&expected.config).any(|alias| alias.ordinal == head));
        told.max_by_key(|expected| expected.at).map(|expected| &expected.config).or_else(|| {
            let named = self.aliases_of(head).filter(|alias| alias.scope.holds(cohort));
            named.max_by_key(|alias| alias.since).map(|alias| &alias.config)
        })
    }

    fn names_head(&self, config: &ConfigRef) -> bool {
        self.named(config).any(|alias| Some(alias.ordinal) == self.head)
    }

    /// What a hash or token meant to a cohort at a moment: the newest version, published at or before it, that carries
    /// it (DESIGN 5.2). An alias of the cohort wins; the same characters told to another cohort of the same control
    /// plane mean the same.
    #[must_use]
    pub fn meaning(&self, config: &ConfigRef, cohort: &Scope, at: Timestamp) -> Option<&Alias> {
        let newest = |own: bool| {
            self.named(config)
                .filter(|alias| !own || alias.scope.holds(cohort))
                .filter(|alias| self.version(alias.ordinal).is_some_and(|version| version.published_at <= at))
                .max_by_key(|alias| (self.rank_of(alias.ordinal), alias.since))
        };
        newest(true).or_else(|| newest(false))
    }

    /// Whether a hash or token is in the ledger at all.
    #[must_use]
    pub fn knows(&self, config: &ConfigRef) -> bool {
        self.index.contains_key(config)
    }

    fn named(&self, config: &ConfigRef) -> impl Iterator<Item = &Alias> {
        let places = self.index.get(config).map(Vec::as_slice).unwrap_or_default();
        places.iter().filter_map(|place| self.aliases.get(*place as usize))
    }

    /// The head as of a moment at or before now, as far as that can be told without what moved it since.
    #[must_use]
    pub fn head_at(&self, at: Timestamp) -> Option<&Version> {
        if self.head_since.is_none_or(|since| since <= at) {
            return self.head();
        }
        let head_rank = self.head.map(|head| self.rank_of(head))?;
        let before = self.order.get(..=head_rank as usize).unwrap_or_default().iter().rev();
        before.filter_map(|ordinal| self.version(*ordinal)).find(|version| version.published_at <= at)
    }

    /// Where a version stands, seen from the head now.
    #[must_use]
    pub fn standing(&self, ordinal: Ordinal) -> Option<Standing> {
        self.standing_from(ordinal, self.head?)
    }

    /// Where a version stands, seen from a head.
    #[must_use]
    pub fn standing_from(&self, ordinal: Ordinal, head: Ordinal) -> Option<Standing> {
        self.version(ordinal)?;
        let (rank, head_rank) = (self.rank_of(ordinal), self.rank_of(head));
        let next = self.changing.partition_point(|change| change.rank <= rank);
        let end = self.changing.partition_point(|change| change.rank <= head_rank);
        let nothing = Standing { behind: 0, since: None, reverted: false, ahead: rank > head_rank };
        let missed = self.changing.get(next..end).unwrap_or_default();
        let (Some(first), Some(last)) = (missed.first(), missed.last()) else { return Some(nothing) };
        let reverts_before = next.checked_sub(1).map_or(0, |before| self.changing[before].reverts);
        Some(Standing {
            behind: last.changesets - first.changesets + 1,
            since: self.at_rank(first.rank).map(|version| version.published_at),
            reverted: (reverts_before..last.reverts).any(|nth| self.goes_below(nth, rank)),
            ahead: false,
        })
    }

    /// The oldest behaviour-changing version that a node with this one misses.
    #[must_use]
    pub fn first_missed(&self, ordinal: Ordinal) -> Option<&Version> {
        let (rank, head_rank) = (self.rank_of(ordinal), self.rank_of(self.head?));
        let next = self.changing.partition_point(|change| change.rank <= rank);
        let missed = self.changing.get(next).filter(|change| change.rank <= head_rank)?;
        self.at_rank(missed.rank)
    }

    /// Whether the revert of this number went back to a version before `rank`.
    fn goes_below(&self, nth: u32, rank: u32) -> bool {
        let place = self.changing.partition_point(|change| change.reverts <= nth);
        let revert = self.changing.get(place).and_then(|change| self.at_rank(change.rank));
        revert.and_then(|version| version.reverts_to).is_some_and(|earlier| self.rank_of(earlier) < rank)
    }

    fn at_rank(&self, rank: u32) -> Option<&Version> {
        self.version(*self.order.get(usize::try_from(rank).ok()?)?)
    }

    /// Whether a node that ran `ordinal` missed nothing that changes behaviour at `at`.
    #[must_use]
    pub fn was_current(&self, ordinal: Ordinal, at: Timestamp) -> bool {
        let rank = self.rank_of(ordinal);
        let next = self.changing.partition_point(|change| change.rank <= rank);
        let mut later = self.changing[next..].iter().filter_map(|change| self.at_rank(change.rank));
        !later.any(|version| version.published_at <= at)
    }

    /// Position in the order of the ledger, oldest first.
    #[must_use]
    pub fn rank_of(&self, ordinal: Ordinal) -> u32 {
        index_of(ordinal).and_then(|index| self.rank.get(index)).copied().unwrap_or(0)
    }

    /// The open movement that makes a node with this run unproven: it was current when the expected hash moved, and
    /// repeats still what it repeated then.
    #[must_use]
    pub fn unproven_since(&self, config: &ConfigRef, cohort: &Scope, run_since: Timestamp) -> Option<&Movement> {
        self.movements.iter().filter(|movement| movement.ended.is_none()).find(|movement| {
            movement.scope.holds(cohort)
                && movement.to != *config
                && run_since <= movement.at
                && self.meaning(config, cohort, movement.at).is_some_and(|alias| {
                    self.was_current(alias.ordinal, movement.at)
                        && self.rank_of(alias.ordinal) <= self.rank_of(movement.from)
                })
        })
    }

    /// Takes in a word of the control plane.
    pub fn hear(&mut self, at: Timestamp, recorded_at: Timestamp, source: Source, word: &Word, policy: &Policy) {
        let inferred = matches!(word.said, Said::Inferred(_));
        if !inferred && !matches!(word.said, Said::Same { .. }) {
            self.has_word = true;
            self.last_word_at = self.last_word_at.max(Some(at));
        }
        let sees_frames = matches!(source, Source::Tap | Source::Shadow);
        match &word.said {
            Said::Announced(announcement) => {
                self.sees_changes = true;
                self.hear_announced(at, recorded_at, word, announcement, policy);
            }
            Said::Frame(frame) => {
                self.sees_changes |= sees_frames;
                if frame.mode == SyncMode::Delta {
                    self.deltas.add(frame.bytes);
                    self.delta_at = self.delta_at.max(Some(at));
                }
                self.hear_frame(at, recorded_at, word, frame, policy);
            }
            Said::Expected { config, token } => {
                self.hear_expected(at, recorded_at, word, config, token.as_ref(), policy);
            }
            Said::Notified(token) => {
                self.sees_changes = true;
                self.hear_ordered(at, recorded_at, word, *token, EnteredBy::Notified, policy);
            }
            Said::Inferred(config) => self.hear_inferred(at, recorded_at, config, policy),
            Said::Same { hash, who } => self.hear_same(at, *hash, who),
        }
        self.settle();
    }

    /// The control plane was asked, and answered.
    pub fn was_read(&mut self, at: Timestamp) {
        self.last_read_at = self.last_read_at.max(Some(at));
    }

    /// A version was reported before the control plane's word of it: the publication is the earlier of both
    /// (DESIGN 5.7).
    pub fn was_reported(&mut self, ordinal: Ordinal, at: Timestamp) {
        if let Some(version) = self.version_mut(ordinal) {
            version.published_at = version.published_at.min(at);
        }
        self.settle();
    }

    fn hear_announced(
        &mut self,
        at: Timestamp,
        recorded_at: Timestamp,
        word: &Word,
        said: &Announcement,
        policy: &Policy,
    ) {
        let entry = Entry { at, recorded_at, entered_by: EnteredBy::Announced };
        let known = self.by_token(said.token.as_ref()).or_else(|| self.by_key(said.key.as_ref()));
        let ordinal = match known.or_else(|| self.unnamed_head_of(said, at, policy)) {
            Some(ordinal) => ordinal,
            None => self.append_announced(entry, word, said, policy),
        };
        let named_head = Some(ordinal) == self.head;
        // A key that is another version's stays there: the token says which one this is.
        let key = said.key.as_ref().filter(|key| !self.keys.contains_key(*key)).cloned();
        if let Some(version) = self.version_mut(ordinal) {
            version.token = version.token.take().or_else(|| said.token.clone());
            version.key = version.key.take().or(key);
            version.cause = version.cause.take().or_else(|| said.cause.clone());
            version.actor = version.actor.take().or_else(|| said.actor.clone());
            version.intended |= said.intended;
        }
        if said.intended {
            self.guard_again(ordinal);
        }
        self.learn_plugins(ordinal, &said.plugins_changed);
        if let Some(shape) = &said.shape {
            self.learn_shape(ordinal, &word.scope, shape);
        }
        if let Some(key) = self.version(ordinal).and_then(|version| version.key.clone()) {
            self.keys.insert(key, ordinal);
        }
        if let Some(digest) = &said.digest {
            self.learn_digest(ordinal, &word.scope, digest);
        }
        if let Some(token) = &said.token {
            self.name(ConfigRef::from(token.clone()), &Scope::ANY, ordinal, at, Evidence::Token, None);
        }
        for (scope, hash) in &said.hashes {
            let config = ConfigRef::Hash(*hash);
            if named_head && !self.movements.iter().any(|movement| movement.to == config) {
                self.note_proven_move(at, scope, &config, ordinal);
            }
            self.name(config.clone(), scope, ordinal, at, Evidence::Announced, None);
            self.end_movements_to(&config, ordinal, at);
            if Some(ordinal) == self.head {
                self.expect(word.replica.as_ref(), scope, &config, at);
            }
        }
    }

    /// The head, if it entered by a hash and this announcement is about that very change.
    fn unnamed_head_of(&self, said: &Announcement, at: Timestamp, policy: &Policy) -> Option<Ordinal> {
        let head = self.head().filter(|head| head.token.is_none() && head.key.is_none())?;
        if head.entered_by == EnteredBy::Announced {
            return None;
        }
        let by_hash = said.hashes.iter().any(|(_, hash)| {
            self.named(&ConfigRef::Hash(*hash)).any(|alias| alias.ordinal == head.ordinal && alias.unproven.is_none())
        });
        let by_moment = said.hashes.is_empty() && at.since(head.published_at) < policy.replica_window_ms;
        (by_hash || by_moment).then_some(head.ordinal)
    }

    fn append_announced(&mut self, mut entry: Entry, word: &Word, said: &Announcement, policy: &Policy) -> Ordinal {
        let hashes: Vec<ConfigRef> = said.hashes.iter().map(|(_, hash)| ConfigRef::Hash(*hash)).collect();
        // The expected hash moved shortly before its change was announced: both are one, and the earlier counts.
        let moved = self.movements.iter().rev().find(|movement| {
            let soon = hashes.is_empty() && entry.at.since(movement.at) <= policy.word_wait_ms;
            movement.ended.is_none() && (hashes.contains(&movement.to) || soon)
        });
        let moved = moved.map(|movement| (movement.at, movement.to.clone(), movement.scope.clone()));
        if let Some((moved_at, _, _)) = &moved {
            entry.at = entry.at.min(*moved_at);
        }
        let reverts_to = hashes.iter().find_map(|config| {
            let alias = self.meaning(config, &word.scope, entry.at)?;
            (Some(alias.ordinal) != self.head && alias.unproven.is_none()).then_some(alias.ordinal)
        });
        let reverts_to = reverts_to.or_else(|| {
            let same = self.behaves_like(said.digest.as_ref()?, &word.scope)?;
            (Some(same) != self.head).then_some(same)
        });
        let (key, at) = (said.changeset.clone(), entry.at);
        let ordinal = self.append(entry, said.token.clone(), key, policy);
        self.went_back(ordinal, reverts_to);
        self.name_what_it_went_back_to(ordinal, &word.scope, said.digest.as_ref(), at);
        if let Some((moved_at, to, scope)) = moved {
            self.refute(&to, &scope, ordinal, moved_at);
        }
        ordinal
    }

    fn hear_frame(&mut self, at: Timestamp, recorded_at: Timestamp, word: &Word, frame: &Frame, policy: &Policy) {
        let entry = Entry { at, recorded_at, entered_by: EnteredBy::Frame };
        if let ConfigRef::Hash(hash) = &frame.config
            && hash.is_token()
        {
            self.hear_ordered(at, recorded_at, word, *hash, EnteredBy::Frame, policy);
            self.learn_content(&frame.config, word, frame);
            return;
        }
        let told = self.told(word);
        let latest = Timestamp::from_ms(i64::MAX);
        let known = self.meaning(&frame.config, &word.scope, latest);
        let known = known.map(|alias| (alias.ordinal, alias.unproven));
        match known {
            Some((ordinal, unproven)) if Some(ordinal) == self.head => {
                if unproven.is_some() {
                    self.compare_unproven(at, recorded_at, word, frame, policy);
                } else if !self.named(&frame.config).any(|alias| alias.scope == word.scope) {
                    self.name(frame.config.clone(), &word.scope, ordinal, at, Evidence::Frame, None);
                }
            }
            Some((ordinal, _)) => {
                self.hear_earlier(entry, word, &frame.config, told.as_ref(), ordinal, Evidence::Frame, policy);
            }
            None => self.hear_new_frame(entry, word, frame, told, policy),
        }
        self.learn_content(&frame.config, word, frame);
        self.expect(word.replica.as_ref(), &word.scope, &frame.config, at);
    }

    fn hear_new_frame(&mut self, entry: Entry, word: &Word, frame: &Frame, told: Option<ConfigRef>, policy: &Policy) {
        let (at, config) = (entry.at, frame.config.clone());
        let Some(head) = self.head() else {
            let first = self.append(entry, None, None, policy);
            return self.name(config, &word.scope, first, at, Evidence::Frame, None);
        };
        let (head, head_at) = (head.ordinal, head.published_at);
        let head_by_token = self.head().and_then(|head| head.token.as_ref()).is_some_and(is_ordered);
        let cohort_spoke = self.aliases_of(head).any(|alias| alias.scope == word.scope || policy.breaks(5));
        let replica_spoke = told.as_ref().is_some_and(|told| self.named(told).any(|alias| alias.ordinal == head));
        let in_window = at.since(head_at) < policy.replica_window_ms;

        let digest = match &frame.content {
            Content::Unknown => None,
            Content::Digest(digest) | Content::Template { digest, .. } => Some(digest),
        };
        let head_digest = self.head_digest(&word.scope).cloned();
        if let (Some(digest), Some(head_digest)) = (digest, &head_digest) {
            if digest == head_digest && !policy.breaks(3) {
                if !in_window {
                    self.note_proven_move(at, &word.scope, &config, head);
                }
                return self.name(config, &word.scope, head, at, Evidence::Digest, None);
            }
            if let Content::Template { paths, .. } = &frame.content {
                return self.moved(at, &word.scope, told, config, Unproven::TemplateFields, paths.clone());
            }
        }
        if !cohort_spoke && head_digest.is_none() {
            self.name(config, &word.scope, head, at, Evidence::SameMoment, None);
            return self.name_what_it_went_back_to(head, &word.scope, digest, at);
        }
        if cohort_spoke && !replica_spoke && in_window && word.replica.is_some() {
            let unproven = Some(Unproven::ReplicasDiffer);
            return self.name(config, &word.scope, head, at, Evidence::SameMoment, unproven);
        }
        // Another protocol announced the head a moment ago, and this one has sent more than one rendering since.
        let by_other = head_by_token && !self.aliases_of(head).any(|alias| alias.evidence == Evidence::Frame);
        if by_other && in_window && head_digest.is_none() {
            return self.name(config, &word.scope, head, at, Evidence::SameMoment, None);
        }
        let came_back = digest.and_then(|digest| self.behaves_like(digest, &word.scope));
        let appended = self.append(entry, None, None, policy);
        self.went_back(appended, came_back);
        self.name(config, &word.scope, appended, at, Evidence::Frame, None);
        self.name_what_it_went_back_to(appended, &word.scope, digest, at);
        self.take_along(head, appended, &word.scope, at);
    }

    /// The newest version that behaves so in a cohort.
    fn behaves_like(&self, digest: &Digest, scope: &Scope) -> Option<Ordinal> {
        let of_cohort =
            |ordinal: &&Ordinal| self.version(**ordinal).is_some_and(|version| version.digest(scope) == Some(digest));
        let same = self.behaving.get(digest)?.iter().filter(of_cohort);
        same.max_by_key(|ordinal| self.rank_of(**ordinal)).copied()
    }

    /// A version that behaves like the one that it goes back to has the hashes of that one too: who runs them has
    /// reached it (DESIGN 5.2, 5.3).
    fn name_what_it_went_back_to(&mut self, ordinal: Ordinal, scope: &Scope, digest: Option<&Digest>, at: Timestamp) {
        let reverts = self.version(ordinal).is_some_and(|version| version.reverts_to.is_some());
        let Some(same) = digest.filter(|_| reverts).and_then(|digest| self.behaving.get(digest)) else { return };
        let of_cohort = |earlier: &&Ordinal| {
            **earlier != ordinal && self.version(**earlier).is_some_and(|version| version.digest(scope) == digest)
        };
        let proven =
            |alias: &&Alias| scope.holds(&alias.scope) && alias.unproven.is_none() && alias.evidence != Evidence::Token;
        let same = same.iter().filter(of_cohort).flat_map(|earlier| self.aliases_of(*earlier)).filter(proven);
        let same: Vec<_> = same.map(|alias| (alias.config.clone(), alias.scope.clone())).collect();
        for (config, scope) in same {
            self.name(config, &scope, ordinal, at, Evidence::Digest, None);
        }
    }

    /// A push goes to all cohorts at once, and one that had not spoken since the version before may be the first to be
    /// heard: what was taken for a rendering of that version is one of this (DESIGN 5.5).
    fn take_along(&mut self, before: Ordinal, ordinal: Ordinal, scope: &Scope, at: Timestamp) {
        let before_at = self.version(before).map_or(at, |before| before.published_at);
        let just_now = |alias: &&Alias| {
            let same_push = alias.evidence == Evidence::SameMoment && at.since(alias.since) <= PUSH_TAKES_MS;
            same_push && alias.scope != *scope && alias.since.since(before_at) > PUSH_TAKES_MS
        };
        let renderings = self.aliases_of(before).filter(just_now);
        let renderings: Vec<_> = renderings.map(|alias| (alias.config.clone(), alias.scope.clone())).collect();
        for (config, scope) in renderings {
            for place in self.index.get(&config).cloned().unwrap_or_default() {
                let same = |alias: &&mut Alias| alias.ordinal == before && alias.scope == scope;
                if let Some(alias) = self.aliases.get_mut(place as usize).filter(same) {
                    alias.ordinal = ordinal;
                    self.rename(place, before, ordinal);
                }
            }
            let Some(version) = self.version_mut(before) else { continue };
            let learned = version.digests.iter().position(|(of, _)| *of == scope);
            if let Some(digest) = learned.map(|learned| version.digests.remove(learned).1) {
                if let Some(behaving) = self.behaving.get_mut(&digest) {
                    behaving.retain(|other| *other != before);
                }
                self.learn_digest(ordinal, &scope, &digest);
            }
        }
    }

    /// An alias names another version now.
    fn rename(&mut self, place: u32, before: Ordinal, ordinal: Ordinal) {
        if let Some(names) = index_of(before).and_then(|index| self.names.get_mut(index)) {
            names.retain(|other| *other != place);
        }
        if let Some(names) = index_of(ordinal).and_then(|index| self.names.get_mut(index)) {
            names.push(place);
            names.sort_unstable();
        }
    }

    /// A hash of a version before the head is said (again).
    fn hear_earlier(
        &mut self,
        entry: Entry,
        word: &Word,
        config: &ConfigRef,
        told: Option<&ConfigRef>,
        earlier: Ordinal,
        evidence: Evidence,
        policy: &Policy,
    ) {
        let at = entry.at;
        match self.again(at, word, config, told, earlier, policy) {
            Again::NothingNew => {}
            Again::OfHead(head) => self.name(config.clone(), &word.scope, head, at, Evidence::SameMoment, None),
            Again::Reverted(head) => {
                self.went_back(head, Some(earlier));
                if let Some(version) = self.version_mut(head) {
                    version.no_op = false;
                }
                self.name(config.clone(), &word.scope, head, at, Evidence::SameMoment, None);
            }
            Again::WentBack if policy.breaks(2) => {}
            Again::WentBack => {
                let appended = self.append(entry, None, None, policy);
                self.went_back(appended, Some(earlier));
                self.name(config.clone(), &word.scope, appended, at, evidence, None);
            }
        }
    }

    fn again(
        &self,
        at: Timestamp,
        word: &Word,
        config: &ConfigRef,
        told: Option<&ConfigRef>,
        earlier: Ordinal,
        policy: &Policy,
    ) -> Again {
        let Some(head) = self.head() else { return Again::WentBack };
        // The same step back, told to another cohort or by another replica, or under another hash; a cohort that was
        // spared what lay in between is told what it was told last.
        if head.reverts_to == Some(earlier) {
            return Again::OfHead(head.ordinal);
        }
        // What this cohort was told last is told again, as at every reconnect.
        if told == Some(config) {
            return Again::NothingNew;
        }
        // The head has no hash yet, and what this cohort is told moved: so this is how the head is rendered.
        let hashed = self.aliases_of(head.ordinal).any(|alias| alias.evidence != Evidence::Token);
        if told.is_some() && !hashed {
            return Again::Reverted(head.ordinal);
        }
        if told.is_some_and(|told| self.names_head(told)) {
            return Again::WentBack;
        }
        let of_replica = |expected: &&Expected| expected.replica == word.replica;
        let replica_spoke = self.expected.iter().filter(of_replica).any(|expected| self.names_head(&expected.config));
        if at.since(head.published_at) < policy.replica_window_ms {
            // A rendering that is the same for this cohort as one before, or a replica that is not there yet.
            let of_head = replica_spoke && at >= head.published_at;
            return if of_head { Again::OfHead(head.ordinal) } else { Again::NothingNew };
        }
        let latest = Timestamp::from_ms(i64::MAX);
        let told = told.and_then(|told| self.meaning(told, &word.scope, latest)).map(|alias| alias.ordinal);
        let forward = told.is_some_and(|told| self.rank_of(told) < self.rank_of(earlier));
        if forward && word.replica.is_some() && !replica_spoke { Again::NothingNew } else { Again::WentBack }
    }

    /// A hash of the head is expected. Going back ends a movement; coming to a hash that was never proven is one.
    fn hear_head_expected(&mut self, at: Timestamp, word: &Word, config: &ConfigRef, told: Option<ConfigRef>) {
        self.end_movements_back_to(config, at);
        let unproven = self.named(config).filter(|alias| Some(alias.ordinal) == self.head);
        let unproven = unproven.filter_map(|alias| alias.unproven).next();
        let open = self.movements.iter().any(|movement| movement.ended.is_none() && movement.to == *config);
        if let Some(why @ (Unproven::MovedWithoutChange | Unproven::TemplateFields)) = unproven
            && told.as_ref() != Some(config)
            && !open
        {
            self.moved(at, &word.scope, told, config.clone(), why, Vec::new());
        }
    }

    /// A frame carries a hash that a movement had left open: its content decides.
    fn compare_unproven(&mut self, at: Timestamp, recorded_at: Timestamp, word: &Word, frame: &Frame, policy: &Policy) {
        let Content::Digest(digest) = &frame.content else { return };
        let Some(head) = self.head() else { return };
        let head = head.ordinal;
        match self.head_digest(&word.scope) {
            Some(known) if known == digest => self.prove(&frame.config, head, at, Evidence::Digest),
            Some(_) => self.append_refuting(&frame.config, at, recorded_at, EnteredBy::Frame, policy),
            None => {}
        }
    }

    /// The open movement to `config` was a change: the version that it is takes its place at the moment of the move.
    fn append_refuting(
        &mut self,
        config: &ConfigRef,
        at: Timestamp,
        recorded_at: Timestamp,
        entered_by: EnteredBy,
        policy: &Policy,
    ) {
        let open = self.movements.iter().find(|movement| movement.ended.is_none() && movement.to == *config);
        let Some((moved_at, scope)) = open.map(|movement| (movement.at, movement.scope.clone())) else { return };
        let entry = Entry { at: at.min(moved_at), recorded_at, entered_by };
        // What was expected later than this is asked of this version, and not of the one before.
        let is_later =
            |movement: &&mut Movement| movement.ended.is_none() && movement.at >= moved_at && movement.to != *config;
        let later: Vec<_> = self.movements.iter_mut().filter(is_later).map(|movement| movement.to.clone()).collect();
        let before = self.head;
        let ordinal = self.append(entry, None, None, policy);
        self.refute(config, &scope, ordinal, at);
        for to in later {
            self.ask_of(&to, before, ordinal);
        }
    }

    /// An open movement is from another version than it seemed.
    fn ask_of(&mut self, to: &ConfigRef, before: Option<Ordinal>, ordinal: Ordinal) {
        for place in self.index.get(to).cloned().unwrap_or_default() {
            let unproven = |alias: &&mut Alias| alias.unproven.is_some() && Some(alias.ordinal) == before;
            if let Some(alias) = self.aliases.get_mut(place as usize).filter(unproven) {
                let before = std::mem::replace(&mut alias.ordinal, ordinal);
                self.rename(place, before, ordinal);
            }
        }
        for movement in self.movements.iter_mut().filter(|movement| movement.to == *to && Some(movement.from) == before)
        {
            movement.from = ordinal;
            movement.ended = None;
        }
    }

    fn learn_content(&mut self, config: &ConfigRef, word: &Word, frame: &Frame) {
        let latest = Timestamp::from_ms(i64::MAX);
        let Some(ordinal) = self.meaning(config, &word.scope, latest).map(|alias| alias.ordinal) else { return };
        self.learn_plugins(ordinal, &frame.plugins_changed);
        if let Some(changes) = &frame.entities_changed {
            self.learn_changes(ordinal, &word.scope, changes);
        }
        if let Some(shape) = &frame.shape {
            self.learn_shape(ordinal, &word.scope, shape);
        }
        if let Content::Digest(digest) | Content::Template { digest, .. } = &frame.content {
            self.learn_digest(ordinal, &word.scope, digest);
        }
    }

    /// The control plane went back to an earlier version: what that was made of, this is made of.
    fn went_back(&mut self, ordinal: Ordinal, earlier: Option<Ordinal>) {
        let shapes = earlier.and_then(|earlier| self.version(earlier)).map(|earlier| earlier.shapes.clone());
        if let Some(version) = self.version_mut(ordinal) {
            version.reverts_to = earlier;
        }
        for (scope, shape) in shapes.unwrap_or_default() {
            self.learn_shape(ordinal, &scope, &shape);
        }
    }

    /// Keeps what a version changed. Of old ones it is kept no more: a list takes up to 20 KB.
    fn learn_changes(&mut self, ordinal: Ordinal, scope: &Scope, changes: &Arc<EntityChanges>) {
        let Some(version) = self.version_mut(ordinal).filter(|version| version.entities_changed.is_none()) else {
            return;
        };
        version.entities_changed = Some((scope.clone(), Arc::clone(changes)));
        let old = self.versions.len().saturating_sub(CHANGES_KEPT);
        self.versions.iter_mut().take(old).for_each(|version| version.entities_changed = None);
    }

    /// Keeps which plugins a version changed: of each the most that it is said to keep.
    fn learn_plugins(&mut self, ordinal: Ordinal, changes: &[PluginChange]) {
        let Some(version) = index_of(ordinal).and_then(|index| self.versions.get_mut(index)) else { return };
        for change in changes {
            let known = version.plugins_changed.iter().position(|known| known.name == change.name);
            if let Some(known) = known.and_then(|place| version.plugins_changed.get_mut(place)) {
                known.keeps = known.keeps.max(change.keeps);
            } else if version.plugins_changed.len() < PluginChange::MAX {
                version.plugins_changed.push(change.clone());
            }
        }
    }

    /// The newest version after one, up to another, that changed a plugin which keeps something in memory.
    #[must_use]
    pub fn keeping_between(&self, after: Ordinal, upto: Ordinal) -> Option<&Version> {
        let (from, to) = (self.rank_of(after) as usize + 1, self.rank_of(upto) as usize + 1);
        let between = self.order.get(from..to).unwrap_or_default().iter().rev().take(KEEPING_LOOK_BACK);
        let keeps = |version: &&Version| version.plugins_changed.iter().any(|change| change.keeps > Keeps::Nothing);
        between.filter_map(|ordinal| self.version(*ordinal)).find(keeps)
    }

    /// Keeps what a version is made of in a cohort; the first word on it counts.
    fn learn_shape(&mut self, ordinal: Ordinal, scope: &Scope, shape: &Shape) {
        let Some(version) = index_of(ordinal).and_then(|index| self.versions.get_mut(index)) else { return };
        if version.shapes.len() >= SHAPES_MAX || version.shape_in(scope).is_some() {
            return;
        }
        version.shapes.push((scope.clone(), shape.clone()));
        let rank = self.rank_of(ordinal);
        let guarded = self.guards.entry(scope.clone()).or_default();
        if rank < guarded.next_rank {
            *guarded = Guarded::default();
        }
        self.guard(scope);
    }

    /// Something was said of a version that may have been looked at before, or one took a place before others.
    fn guard_again(&mut self, ordinal: Ordinal) {
        let rank = self.rank_of(ordinal);
        let scopes: Vec<Scope> = self.guards.keys().cloned().collect();
        for scope in scopes {
            if let Some(guarded) = self.guards.get_mut(&scope).filter(|guarded| rank < guarded.next_rank) {
                *guarded = Guarded::default();
            }
            self.guard(&scope);
        }
    }

    /// Looks at all versions of a cohort that were not looked at, up to the newest.
    fn guard(&mut self, scope: &Scope) {
        let Some(mut guarded) = self.guards.remove(scope) else { return };
        let from = guarded.next_rank;
        for (rank, ordinal) in (from..).zip(self.order.iter().skip(from as usize)) {
            let Some(version) = self.version(*ordinal) else { continue };
            let (ordinal, at, intended) = (version.ordinal, version.recorded_at, version.intended);
            match version.shape_in(scope) {
                Some(shape) => guarded.watch.see(Sample { ordinal, at, shape, intended }),
                None if intended => guarded.watch.mean(ordinal),
                None => continue,
            }
            guarded.next_rank = rank + 1;
        }
        self.guards.insert(scope.clone(), guarded);
    }

    /// The destructive change that is open now: the one that began first, where several cohorts show it.
    #[must_use]
    pub fn destroyed(&self) -> Option<&Finding> {
        let head_rank = self.rank_of(self.head?);
        let findings = self.guards.values().flat_map(|guarded| guarded.watch.findings());
        let open = findings.filter(|finding| finding.ended.is_none() && self.rank_of(finding.found) <= head_rank);
        open.min_by_key(|finding| (self.rank_of(finding.began), self.rank_of(finding.found)))
    }

    /// The destructive change that has hold of a version, as a cohort gets it: who runs it runs what is left. That it
    /// was undone later changes nothing for who still runs it; that it was meant does.
    #[must_use]
    pub fn destroyed_in(&self, ordinal: Ordinal, cohort: &Scope) -> Option<&Finding> {
        if self.guards.is_empty() {
            return None;
        }
        let rank = self.rank_of(ordinal);
        let holds = |finding: &&Finding| {
            let ended = finding.ended.is_some_and(|(at, end)| end == End::Meant || self.rank_of(at) <= rank);
            self.rank_of(finding.found) <= rank && !ended
        };
        let watched = self.guards.keys().any(|scope| scope.holds(cohort));
        let guards = self.guards.iter().filter(|(scope, _)| !watched || scope.holds(cohort));
        let findings = guards.flat_map(|(_, guarded)| guarded.watch.findings());
        findings.filter(holds).max_by_key(|finding| self.rank_of(finding.found))
    }

    /// What the open destructive change took so far.
    #[must_use]
    pub fn damage(&self) -> Option<Damage<'_>> {
        let finding = self.destroyed()?;
        let loss = finding.worst()?;
        let since = self.version(finding.began)?.published_at;
        Some(Damage { loss, lost: loss.lost(loss.now), last_good: finding.last_good, since })
    }

    /// What is missing where a node of a cohort runs a version since a moment.
    #[must_use]
    pub fn damage_in(&self, running: Ordinal, cohort: &Scope, since: Timestamp) -> Option<Damage<'_>> {
        let finding = self.destroyed_in(running, cohort)?;
        let loss = finding.worst()?;
        let found_at = self.version(finding.found)?.published_at;
        let shape = self.version(running).and_then(|version| {
            let of_cohort = version.shapes.iter().find(|(scope, _)| scope.holds(cohort));
            of_cohort.map(|(_, shape)| shape).or_else(|| version.shape())
        });
        let lost = loss.lost(shape.map_or(loss.now, |shape| loss.subject.count(shape)));
        Some(Damage { loss, lost, last_good: finding.last_good, since: since.max(found_at) })
    }

    /// How a version's content differs from the one before it in the same cohort, and how that is graded.
    #[must_use]
    pub fn content_change(&self, ordinal: Ordinal) -> Option<ContentChange> {
        let version = self.version(ordinal)?;
        let order = self.order.get(..self.rank_of(ordinal) as usize)?;
        let mut earlier = order.iter().rev().filter_map(|earlier| self.version(*earlier));
        let (scope, shape) = version.shapes.first()?;
        let (before, shape_before) = earlier.find_map(|earlier| Some((earlier.ordinal, earlier.shape_in(scope)?)))?;
        let counts = difference(shape_before, shape);
        let grade = match (is_notable(&counts), self.destroyed_in(ordinal, scope)) {
            (true, Some(_)) => Grade::Destructive,
            (true, None) => Grade::Notable,
            (false, _) => Grade::Harmless,
        };
        Some(ContentChange { before, grade, counts })
    }

    /// Whether somebody sees what nodes get: the content of the head was seen, or of the version before it while that of
    /// the head may still come.
    #[must_use]
    pub fn content_is_watched(&self, now: Timestamp) -> bool {
        let Some(head) = self.head() else { return false };
        let young = now.since(head.published_at) <= SHAPE_MAY_TAKE_MS;
        let before = self.rank_of(head.ordinal).checked_sub(1).and_then(|rank| self.at_rank(rank));
        !head.shapes.is_empty() || (young && before.is_some_and(|before| !before.shapes.is_empty()))
    }

    /// Keeps the digest of a version in a cohort, and sees whether the version, and the one after it, changed anything.
    fn learn_digest(&mut self, ordinal: Ordinal, scope: &Scope, digest: &Digest) {
        let Some(version) = self.version_mut(ordinal).filter(|version| version.digest(scope).is_none()) else { return };
        version.digests.push((scope.clone(), digest.clone()));
        let behaving = self.behaving.entry(digest.clone()).or_default();
        behaving.push(ordinal);
        behaving.sort_unstable();
        let next = self.order.get(self.rank_of(ordinal) as usize + 1).copied();
        self.judge_no_op(ordinal);
        next.into_iter().for_each(|next| self.judge_no_op(next));
    }

    /// A token or an announcement that moved over the same behaviour is a no-op version (DESIGN 2): in each cohort where
    /// its digest is known, the version just before it has the same one.
    fn judge_no_op(&mut self, ordinal: Ordinal) {
        let before = self.rank_of(ordinal).checked_sub(1).and_then(|rank| self.at_rank(rank));
        let (Some(before), Some(version)) = (before, self.version(ordinal)) else { return };
        let moved = version.token.is_some() || version.key.is_some() || version.entered_by == EnteredBy::Announced;
        let mut digests = version.digests.iter();
        let same = digests.all(|(scope, digest)| before.digest(scope) == Some(digest)) && !version.digests.is_empty();
        let no_op = moved && same && version.reverts_to.is_none();
        if version.no_op != no_op
            && let Some(version) = self.version_mut(ordinal)
        {
            version.no_op = no_op;
        }
    }

    fn hear_expected(
        &mut self,
        at: Timestamp,
        recorded_at: Timestamp,
        word: &Word,
        config: &ConfigRef,
        token: Option<&Token>,
        policy: &Policy,
    ) {
        let entry = Entry { at, recorded_at, entered_by: EnteredBy::Expected };
        if let Some(token) = token {
            let ordinal = self.head_by_token(entry, token, policy);
            self.name(ConfigRef::from(token.clone()), &Scope::ANY, ordinal, at, Evidence::Token, None);
            self.note_proven_move(at, &word.scope, config, ordinal);
            self.name(config.clone(), &word.scope, ordinal, at, Evidence::Expected, None);
            self.end_movements_to(config, ordinal, at);
            return self.expect(word.replica.as_ref(), &word.scope, config, at);
        }
        if let ConfigRef::Hash(hash) = config
            && hash.is_token()
        {
            return self.hear_ordered(at, recorded_at, word, *hash, EnteredBy::Expected, policy);
        }
        if let ConfigRef::Token(token) = config {
            return self.hear_expected_token(entry, word, token, policy);
        }
        let told = self.told(word);
        let latest = Timestamp::from_ms(i64::MAX);
        let known = self.meaning(config, &word.scope, latest).map(|alias| alias.ordinal);
        match (known, self.head) {
            (_, None) => {
                let first = self.append(entry, None, None, policy);
                self.name(config.clone(), &word.scope, first, at, Evidence::Expected, None);
            }
            (Some(ordinal), Some(head)) if ordinal == head => self.hear_head_expected(at, word, config, told),
            (Some(ordinal), Some(_)) => {
                self.hear_earlier(entry, word, config, told.as_ref(), ordinal, Evidence::Expected, policy);
            }
            (None, Some(head)) => self.hear_unknown_expected(at, word, config, told, head, policy),
        }
        self.expect(word.replica.as_ref(), &word.scope, config, at);
    }

    fn hear_unknown_expected(
        &mut self,
        at: Timestamp,
        word: &Word,
        config: &ConfigRef,
        told: Option<ConfigRef>,
        head: Ordinal,
        policy: &Policy,
    ) {
        let own = |alias: &&Alias| alias.scope.holds(&word.scope);
        let has_hash = self.aliases_of(head).filter(own).any(|alias| alias.evidence != Evidence::Token);
        let published_at = self.head().map_or(at, |head| head.published_at);
        let in_window = at.since(published_at) < policy.replica_window_ms;
        if !has_hash {
            // The head was announced without a hash, or told to other cohorts: this is how it is rendered here.
            self.name(config.clone(), &word.scope, head, at, Evidence::SameMoment, None);
        } else if in_window && word.replica.is_some() && told.is_none() {
            let unproven = Some(Unproven::ReplicasDiffer);
            self.name(config.clone(), &word.scope, head, at, Evidence::SameMoment, unproven);
        } else {
            self.moved(at, &word.scope, told, config.clone(), Unproven::MovedWithoutChange, Vec::new());
            if policy.breaks(4) {
                self.append_refuting(config, at, at, EnteredBy::Expected, policy);
            }
        }
    }

    fn hear_expected_token(&mut self, entry: Entry, word: &Word, token: &Token, policy: &Policy) {
        let at = entry.at;
        let ordinal = self.head_by_token(entry, token, policy);
        let config = ConfigRef::Token(token.clone());
        self.name(config.clone(), &Scope::ANY, ordinal, at, Evidence::Token, None);
        self.expect(word.replica.as_ref(), &word.scope, &config, at);
    }

    /// An ordered token by the control plane's word: it is the head now, higher or lower than before (DESIGN 5.2).
    fn hear_ordered(
        &mut self,
        at: Timestamp,
        recorded_at: Timestamp,
        word: &Word,
        hash: ConfigHash,
        entered_by: EnteredBy,
        policy: &Policy,
    ) {
        let (token, config) = (Token::from(hash), ConfigRef::Hash(hash));
        // Another protocol's frame brought this change a moment ago; the token gives it its name.
        let nameless = |ordinal: &Ordinal| {
            let version = self.version(*ordinal)?;
            let by_frame = version.token.is_none() && version.entered_by == EnteredBy::Frame;
            let soon = at.since(version.published_at) < policy.replica_window_ms;
            (by_frame && soon).then_some(version.ordinal)
        };
        let nameless = self.order.iter().rev().map_while(nameless).last();
        let ordinal = match (self.by_token(Some(&token)), nameless) {
            (None, Some(ordinal)) => {
                if let Some(version) = self.version_mut(ordinal) {
                    version.token = Some(token.clone());
                }
                ordinal
            }
            _ => self.head_by_token(Entry { at, recorded_at, entered_by }, &token, policy),
        };
        if !self.named(&config).any(|alias| alias.ordinal == ordinal) {
            self.name(config.clone(), &word.scope, ordinal, at, Evidence::Token, None);
        }
        self.expect(word.replica.as_ref(), &word.scope, &config, at);
    }

    /// The version that a token by the control plane's word makes the head: an ordered one may lie below others, which
    /// are `ahead` then; any other token that is told again is a step back (DESIGN 5.2).
    fn head_by_token(&mut self, entry: Entry, token: &Token, policy: &Policy) -> Ordinal {
        let at = entry.at;
        let known = self.by_token(Some(token));
        let ordinal = match known {
            Some(ordinal) if is_ordered(token) || Some(ordinal) == self.head => ordinal,
            Some(earlier) => {
                let appended = self.append(entry, Some(token.clone()), None, policy);
                self.went_back(appended, Some(earlier));
                appended
            }
            None => self.append(entry, Some(token.clone()), None, policy),
        };
        self.point_at(ordinal, at);
        ordinal
    }

    fn hear_inferred(&mut self, at: Timestamp, recorded_at: Timestamp, config: &ConfigRef, policy: &Policy) {
        if self.movements.iter().any(|movement| movement.ended.is_none() && movement.to == *config) {
            return self.append_refuting(config, at, recorded_at, EnteredBy::Inferred, policy);
        }
        if self.has_word && !policy.breaks(1) || self.names_head(config) {
            return;
        }
        let before = self.named(config).max_by_key(|alias| self.rank_of(alias.ordinal)).map(|alias| alias.ordinal);
        let ordinal = self.append(Entry { at, recorded_at, entered_by: EnteredBy::Inferred }, None, None, policy);
        self.went_back(ordinal, before);
        self.name(config.clone(), &Scope::ANY, ordinal, at, Evidence::Inferred, None);
    }

    fn hear_same(&mut self, at: Timestamp, hash: ConfigHash, who: &Line) {
        let config = ConfigRef::Hash(hash);
        let unproven = self.named(&config).filter(|alias| alias.unproven.is_some());
        let unproven = unproven.map(|alias| alias.ordinal).max_by_key(|ordinal| self.rank_of(*ordinal));
        if let Some(ordinal) = unproven {
            self.prove(&config, ordinal, at, Evidence::Person(who.clone()));
        }
    }

    fn moved(
        &mut self,
        at: Timestamp,
        scope: &Scope,
        from_config: Option<ConfigRef>,
        to: ConfigRef,
        why: Unproven,
        paths: Vec<Line>,
    ) {
        let Some(from) = self.head else { return };
        self.name(to.clone(), scope, from, at, Evidence::ExpectedMoved, Some(why));
        let scope = scope.clone();
        self.movements.push(Movement { at, scope, from, from_config, to, why, paths, ended: None });
        if self.movements.len() > MOVEMENTS_MAX {
            self.movements.remove(0);
        }
    }

    /// The expected hash moved, and it was said at once that the version did not: worth a notice, not a doubt.
    fn note_proven_move(&mut self, at: Timestamp, scope: &Scope, to: &ConfigRef, ordinal: Ordinal) {
        let before =
            self.expected.iter().filter(|expected| expected.scope == *scope).max_by_key(|expected| expected.at);
        let before = before.map(|expected| expected.config.clone());
        let moved = before.as_ref().is_some_and(|config| {
            config != to
                && self.named(config).any(|alias| alias.ordinal == ordinal && alias.evidence != Evidence::Token)
        });
        if moved && !self.knows(to) {
            let ended = Some((at, MovementEnd::Proven));
            let (scope, to) = (scope.clone(), to.clone());
            let why = Unproven::MovedWithoutChange;
            let movement =
                Movement { at, scope, from: ordinal, from_config: before, to, why, paths: Vec::new(), ended };
            self.movements.push(movement);
            if self.movements.len() > MOVEMENTS_MAX {
                self.movements.remove(0);
            }
        }
    }

    fn prove(&mut self, config: &ConfigRef, ordinal: Ordinal, at: Timestamp, evidence: Evidence) {
        for place in self.index.get(config).into_iter().flatten() {
            if let Some(alias) = self.aliases.get_mut(*place as usize).filter(|alias| alias.ordinal == ordinal) {
                alias.unproven = None;
                alias.evidence = evidence.clone();
            }
        }
        self.end_movements_to(config, ordinal, at);
    }

    fn refute(&mut self, config: &ConfigRef, scope: &Scope, ordinal: Ordinal, at: Timestamp) {
        for place in self.index.get(config).cloned().unwrap_or_default() {
            let unproven = self.aliases.get_mut(place as usize).filter(|alias| alias.unproven.is_some());
            let Some(alias) = unproven else { continue };
            let before = std::mem::replace(&mut alias.ordinal, ordinal);
            alias.unproven = None;
            alias.evidence = Evidence::Expected;
            self.rename(place, before, ordinal);
        }
        if !self.named(config).any(|alias| alias.ordinal == ordinal) {
            self.name(config.clone(), scope, ordinal, at, Evidence::Expected, None);
        }
        self.end_movements_to(config, ordinal, at);
    }

    fn end_movements_to(&mut self, config: &ConfigRef, ordinal: Ordinal, at: Timestamp) {
        for movement in &mut self.movements {
            if movement.to == *config
                && !matches!(movement.ended, Some((_, MovementEnd::Proven | MovementEnd::Refuted)))
            {
                let end = if movement.from == ordinal { MovementEnd::Proven } else { MovementEnd::Refuted };
                movement.ended = Some((at, end));
            }
        }
    }

    fn end_movements_back_to(&mut self, config: &ConfigRef, at: Timestamp) {
        for movement in &mut self.movements {
            if movement.ended.is_none() && movement.from_config.as_ref() == Some(config) {
                movement.ended = Some((at, MovementEnd::MovedBack));
            }
        }
    }

    /// What the speaker of this word told this scope last.
    fn told(&self, word: &Word) -> Option<ConfigRef> {
        let same = |expected: &&Expected| expected.replica == word.replica && expected.scope == word.scope;
        self.expected.iter().find(same).map(|expected| expected.config.clone())
    }

    fn expect(&mut self, replica: Option<&Line>, scope: &Scope, config: &ConfigRef, at: Timestamp) {
        let place = self.expected.iter().position(|told| told.replica.as_ref() == replica && told.scope == *scope);
        let told = Expected { replica: replica.cloned(), scope: scope.clone(), config: config.clone(), at };
        match place {
            Some(place) => self.expected[place] = told,
            None => {
                if self.expected.len() >= EXPECTED_MAX {
                    let oldest = (0..self.expected.len()).min_by_key(|place| self.expected[*place].at);
                    oldest.map(|place| self.expected.swap_remove(place));
                }
                self.expected.push(told);
            }
        }
    }

    fn name(
        &mut self,
        config: ConfigRef,
        scope: &Scope,
        ordinal: Ordinal,
        since: Timestamp,
        evidence: Evidence,
        unproven: Option<Unproven>,
    ) {
        let same = |alias: &&Alias| alias.scope == *scope && alias.ordinal == ordinal;
        let places = self.index.get(&config).map(Vec::as_slice).unwrap_or_default();
        let place = places.iter().copied().find(|place| self.aliases.get(*place as usize).as_ref().is_some_and(same));
        if let Some(alias) = place.and_then(|place| self.aliases.get_mut(place as usize)) {
            if alias.unproven.is_some() && unproven.is_none() {
                alias.unproven = None;
                alias.evidence = evidence;
            }
            return;
        }
        let place = u32::try_from(self.aliases.len()).unwrap_or(u32::MAX);
        self.index.entry(config.clone()).or_default().push(place);
        if let Some(names) = index_of(ordinal).and_then(|index| self.names.get_mut(index)) {
            names.push(place);
        }
        self.aliases.push(Alias { config, scope: scope.clone(), ordinal, since, evidence, unproven });
    }

    fn by_token(&self, token: Option<&Token>) -> Option<Ordinal> {
        let config = ConfigRef::from(token?.clone());
        let named = self.named(&config).filter(|alias| alias.evidence == Evidence::Token);
        named.map(|alias| alias.ordinal).max_by_key(|ordinal| self.rank_of(*ordinal))
    }

    fn by_key(&self, key: Option<&Line>) -> Option<Ordinal> {
        self.keys.get(key?).copied()
    }

    fn head_digest(&self, scope: &Scope) -> Option<&Digest> {
        self.head()?.digest(scope)
    }

    /// A version that is about to change; what stands on it is recomputed by [`Self::settle`].
    fn version_mut(&mut self, ordinal: Ordinal) -> Option<&mut Version> {
        self.changed(ordinal);
        self.versions.get_mut(index_of(ordinal)?)
    }

    /// Enters a version. An ordered token takes its place among its kind; all else goes to the end. What is at the end
    /// is the head; open movements end, as a change has come.
    fn append(&mut self, entry: Entry, token: Option<Token>, changeset_key: Option<Line>, policy: &Policy) -> Ordinal {
        let ordinal = Ordinal::new(u32::try_from(self.versions.len() + 1).unwrap_or(u32::MAX));
        let place = self.place_of(token.as_ref());
        let before = place.checked_sub(1).and_then(|place| self.version(self.order[place]));
        let changeset = before.filter(|before| self.joins(before, &entry, changeset_key.as_ref(), policy));
        let changeset = changeset.map_or(ordinal, |before| before.changeset);
        self.versions.push(Version {
            ordinal,
            token,
            key: None,
            published_at: entry.at,
            recorded_at: entry.recorded_at,
            entered_by: entry.entered_by,
            cause: None,
            actor: None,
            changeset,
            changeset_key,
            no_op: false,
            reverts_to: None,
            digests: Vec::new(),
            shapes: Vec::new(),
            intended: false,
            plugins_changed: Vec::new(),
            entities_changed: None,
        });
        self.names.push(Vec::new());
        let between = place < self.order.len();
        self.order.insert(place, ordinal);
        self.rerank(place);
        if between {
            self.guard_again(ordinal);
        }
        self.changed(ordinal);
        let head_rank = self.head.map(|head| self.rank_of(head));
        if head_rank.is_none_or(|rank| self.rank_of(ordinal) > rank) {
            self.point_at(ordinal, entry.at);
        }
        ordinal
    }

    /// Where a version enters the order: an ordered token below the lowest that is higher, all else at the end. Looks
    /// from the end, as what comes is nearly always the newest.
    fn place_of(&self, token: Option<&Token>) -> usize {
        let mut place = self.order.len();
        let Some(token) = token.filter(|token| is_ordered(token)) else { return place };
        for (index, later) in self.order.iter().enumerate().rev() {
            let later = self.version(*later).and_then(|version| version.token.as_ref());
            match later.and_then(|later| token.order(later)) {
                Some(Ordering::Less) => place = index,
                Some(Ordering::Equal | Ordering::Greater) => break,
                None => {}
            }
        }
        place
    }

    /// Whether a version belongs to the changeset of the one before it (DESIGN 5.6).
    fn joins(&self, before: &Version, entry: &Entry, key: Option<&Line>, policy: &Policy) -> bool {
        if key.is_some() || before.changeset_key.is_some() {
            return key == before.changeset_key.as_ref();
        }
        let first = self.version(before.changeset).map_or(before.published_at, |first| first.published_at);
        !policy.breaks(6)
            && entry.at.since(before.published_at) < policy.changeset_gap_ms
            && entry.at.since(first) < policy.changeset_max_ms
    }

    /// Moves the head. That is a change: what an open movement meant is not asked any more.
    fn point_at(&mut self, ordinal: Ordinal, at: Timestamp) {
        if self.head == Some(ordinal) {
            return;
        }
        self.head = Some(ordinal);
        self.head_since = Some(at);
        for movement in self.movements.iter_mut().filter(|movement| movement.ended.is_none()) {
            movement.ended = Some((at.max(movement.at), MovementEnd::NextChange));
        }
    }

    fn rerank(&mut self, from: usize) {
        self.rank.resize(self.versions.len(), 0);
        for place in from..self.order.len() {
            if let Some(index) = index_of(self.order[place]) {
                self.rank[index] = u32::try_from(place).unwrap_or(u32::MAX);
            }
        }
    }

    /// Brings the sums over behaviour-changing versions up to date, from the lowest rank that changed.
    fn settle(&mut self) {
        let Some(from) = self.changed_from.take() else { return };
        let kept = self.changing.partition_point(|change| change.rank < from);
        self.changing.truncate(kept);
        let mut last_changeset =
            self.changing.last().and_then(|change| self.at_rank(change.rank)).map(|last| last.changeset);
        let (mut changesets, mut reverts) = self.changing.last().map_or((0, 0), |last| (last.changesets, last.reverts));
        let mut later = Vec::new();
        for (place, ordinal) in self.order.iter().enumerate().skip(from as usize) {
            let Some(version) = self.version(*ordinal).filter(|version| !version.no_op) else { continue };
            changesets += u32::from(last_changeset != Some(version.changeset));
            reverts += u32::from(version.reverts_to.is_some());
            last_changeset = Some(version.changeset);
            later.push(Changing { rank: u32::try_from(place).unwrap_or(u32::MAX), changesets, reverts });
        }
        self.changing.extend(later);
    }

    /// Notes that a version, or what follows it, stands differently now.
    fn changed(&mut self, ordinal: Ordinal) {
        let rank = self.rank_of(ordinal);
        self.changed_from = Some(self.changed_from.map_or(rank, |from| from.min(rank)));
    }

    /// Rebuilds what is not stored: to be called once after reading a ledger back.
    pub fn reindex(&mut self) {
        self.index.clear();
        for (place, alias) in self.aliases.iter().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            self.index.entry(alias.config.clone()).or_default().push(place);
        }
        self.names = vec![Vec::new(); self.versions.len()];
        for (place, alias) in self.aliases.iter().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            if let Some(names) = index_of(alias.ordinal).and_then(|index| self.names.get_mut(index)) {
                names.push(place);
            }
        }
        self.keys.clear();
        self.behaving.clear();
        for version in &self.versions {
            self.keys.extend(version.key.iter().map(|key| (key.clone(), version.ordinal)));
            for (_, digest) in &version.digests {
                self.behaving.entry(digest.clone()).or_default().push(version.ordinal);
            }
        }
        self.rank.clear();
        self.rerank(0);
        self.changing.clear();
        self.changed_from = Some(0);
        self.settle();
        let scopes = self.versions.iter().flat_map(|version| version.shapes.iter().map(|(scope, _)| scope));
        self.guards = scopes.map(|scope| (scope.clone(), Guarded::default())).collect();
        let scopes: Vec<Scope> = self.guards.keys().cloned().collect();
        scopes.iter().for_each(|scope| self.guard(scope));
    }
}

/// Whether a token can be compared with others of its kind.
fn is_ordered(token: &Token) -> bool {
    token.order(token).is_some()
}

fn index_of(ordinal: Ordinal) -> Option<usize> {
    usize::try_from(ordinal.number()).ok()?.checked_sub(1)
}
