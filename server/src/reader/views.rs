//! A snapshot as the answers that people read. Pure: what comes from the store is given.

use crate::board::{ControlPlaneSnapshot, Snapshot};
use std::collections::HashMap;
use tidemark_domain::assess::{Assessment, SourceState, damage, full_sync, unverified};
use tidemark_domain::common::{Member, common_factor};
use tidemark_domain::delays::poll_only;
use tidemark_domain::drawing::Figure;
use tidemark_domain::fact::{ConfigRef, Scope, SyncStatus};
use tidemark_domain::fleet::Tally;
use tidemark_domain::guard::Damage;
use tidemark_domain::id::{Line, NodeId, Ordinal};
use tidemark_domain::ledger::{Alias, EnteredBy, Ledger, Version};
use tidemark_domain::node::Node;
use tidemark_domain::notice::Notice;
use tidemark_domain::query::{Candidate, FacetCounts, Key, Query, select};
use tidemark_domain::sentence::{
    Facts, FleetFacts, NoticeFacts, WorstGroup, evidence, fleet_sentence, headline, notice_sentence, proof,
};
use tidemark_domain::time::Timestamp;
use tidemark_domain::verdict::{ConfigState, ConfigWord, ConnectionWord, Counter};
use tidemark_domain::view::{
    AsOf, CohortPropagation, ControlPlaneView, Count, FleetView, HashView, NodeRow, NodeView, NodesView, Propagation,
    SourceView, VersionRow, VersionView, VersionsView,
};

/// The worst nodes on the overview.
const WORST: usize = 10;

/// Names of what is expected of each cohort, looked up once.
#[derive(Default)]
struct Expectations<'a>(HashMap<Scope, Option<&'a ConfigRef>>);

impl<'a> Expectations<'a> {
    fn of(&mut self, ledger: &'a Ledger, cohort: Scope) -> Option<&'a ConfigRef> {
        *self.0.entry(cohort).or_insert_with_key(|cohort| ledger.expected(cohort))
    }
}

/// A node in a list, with its sentences.
pub fn node_row(control_plane: &ControlPlaneSnapshot, node: &Node, assessment: &Assessment, now: Timestamp) -> NodeRow {
    let reported = reported(node, assessment);
    let cohort = node.cohort();
    let facts = sentence_facts(control_plane, node, assessment, reported, &cohort, now);
    let suspicious_since = facts.damage.map(|damage| damage.since);
    NodeRow {
        control_plane: control_plane.name.clone(),
        id: node.id.clone(),
        attributes: node.attributes.clone(),
        verdict: assessment.verdict,
        headline: headline(&facts),
        evidence: evidence(&facts),
        reported: reported.cloned(),
        last_report_at: node.last_report_at(),
        last_report_estimated: node.last_report_estimated(),
        source: assessment.source,
        suspicious_since,
    }
}

/// What the deciding source says that the node runs.
fn reported<'a>(node: &'a Node, assessment: &Assessment) -> Option<&'a ConfigRef> {
    let deciding = node.streams.iter().find(|stream| Some(stream.source) == assessment.source)?;
    deciding.run.as_ref().map(|run| &run.config)
}

fn sentence_facts<'a>(
    control_plane: &'a ControlPlaneSnapshot,
    node: &'a Node,
    assessment: &'a Assessment,
    reported: Option<&'a ConfigRef>,
    cohort: &Scope,
    now: Timestamp,
) -> Facts<'a> {
    let ledger = &control_plane.ledger;
    let deciding = node.streams.iter().find(|stream| Some(stream.source) == assessment.source);
    let detail = node.status.as_ref().and_then(|status| match &status.what {
        SyncStatus::Withheld { detail, .. } => detail.as_ref().map(Line::as_str),
        SyncStatus::Normal => None,
    });
    Facts {
        verdict: &assessment.verdict,
        now,
        node: node.name(),
        control_plane: &control_plane.name,
        reported,
        expected: ledger.expected(cohort),
        head: ledger.head().map(|head| head.ordinal),
        source: assessment.source,
        last_report_at: node.last_report_at(),
        last_report_estimated: node.last_report_estimated(),
        failure: node.failure.as_ref().map(|failure| &failure.what),
        withheld_detail: detail,
        uncertain_ms: deciding.map_or(0, |stream| stream.uncertain_ms),
        inferred: ledger.inferred(),
        damage: damage(node, assessment, ledger),
        poll_only: poll_only(&node.delays),
        full_sync: full_sync(node, ledger),
        unverified: unverified(node, assessment, ledger, now),
    }
}

fn candidate<'a>(
    control_plane: &'a ControlPlaneSnapshot,
    node: &'a Node,
    assessment: &'a Assessment,
    now: Timestamp,
) -> Candidate<'a> {
    let running = assessment.verdict.config.running();
    let version = running.and_then(|running| control_plane.ledger.version(running));
    Candidate {
        control_plane: &control_plane.name,
        id: &node.id,
        attributes: &node.attributes,
        verdict: &assessment.verdict,
        reported: reported(node, assessment),
        token: version.and_then(|version| version.token.as_ref()),
        source: assessment.source,
        last_report_at: node.last_report_at(),
        now,
    }
}

/// The whole fleet.
pub fn fleet_view(snapshot: &Snapshot, as_of: AsOf) -> FleetView {
    let now = as_of.at;
    let tally = &snapshot.tally;
    let control_planes: Vec<ControlPlaneView> =
        snapshot.control_planes.iter().map(|control_plane| control_plane_view(control_plane, now)).collect();
    let worst =
        select(snapshot.nodes().map(|(cp, node, a)| candidate(cp, node, a, now)), &Query::parse(""), None, WORST);
    let mut wanted: HashMap<usize, usize> =
        worst.page.iter().enumerate().map(|(place, index)| (*index, place)).collect();
    let mut rows: Vec<Option<NodeRow>> = vec![None; worst.page.len()];
    let mut out_of_sync_by_hash = 0;
    let mut index = 0;
    for control_plane in &snapshot.control_planes {
        let mut expectations = Expectations::default();
        for (node, assessment) in control_plane.nodes() {
            if let Some(place) = wanted.remove(&index) {
                rows[place] = Some(node_row(control_plane, node, assessment, now));
            }
            index += 1;
            if assessment.verdict.counter().is_some() {
                let expected = expectations.of(&control_plane.ledger, node.cohort());
                let differs =
                    matches!((reported(node, assessment), expected), (Some(mine), Some(theirs)) if mine != theirs);
                out_of_sync_by_hash += u32::from(differs);
            }
        }
    }
    let well = |row: &NodeRow| row.verdict.counter() == Some(Counter::Current);
    let worst: Vec<NodeRow> = rows.into_iter().flatten().filter(|row| !well(row)).collect();
    let group = worst_group(snapshot);
    let sentence = fleet_sentence(&FleetFacts {
        nodes: tally.nodes(),
        at_head: snapshot.control_planes.iter().map(|control_plane| at_head(control_plane)).sum(),
        counters: Counter::ALL.map(|counter| tally.counter(counter)),
        control_planes: u32::try_from(control_planes.iter().filter(|one| one.nodes > 0).count()).unwrap_or(u32::MAX),
        worst: group,
        now,
    });
    let mut notices: Vec<Notice> = snapshot.control_planes.iter().flat_map(|one| notices(one, now)).collect();
    notices.extend(snapshot.notices.iter().map(|notice| in_words(notice, None, None, now)));
    notices.sort_by(|one, other| {
        (one.severity, one.since, &one.control_plane).cmp(&(other.severity, other.since, &other.control_plane))
    });
    FleetView {
        as_of,
        sentence,
        nodes: tally.nodes(),
        counters: counters(tally),
        config_states: ConfigWord::ALL.map(|word| Count { of: word, nodes: tally.config(word) }).to_vec(),
        connection_states: ConnectionWord::ALL.map(|word| Count { of: word, nodes: tally.connection(word) }).to_vec(),
        current_by_alias: tally.by_alias,
        out_of_sync_by_hash,
        control_planes,
        notices,
        worst,
    }
}

/// The group that the fleet's sentence names: the control plane and state with the most nodes, of the worst state.
fn worst_group(snapshot: &Snapshot) -> Option<WorstGroup<'_>> {
    for word in ConfigWord::ALL {
        if matches!(word, ConfigWord::Current | ConfigWord::Propagating) {
            continue;
        }
        let of = |control_plane: &ControlPlaneSnapshot| control_plane.tally.config(word);
        let most = snapshot.control_planes.iter().filter(|one| of(one) > 0);
        let Some(control_plane) = most.max_by_key(|one| (of(one), std::cmp::Reverse(&one.name))) else { continue };
        let states: Vec<ConfigState> = control_plane
            .nodes()
            .map(|(_, assessment)| assessment.verdict)
            .filter(|verdict| verdict.counter().is_some() && verdict.config.word() == word)
            .map(|verdict| verdict.config)
            .collect();
        return Some(WorstGroup {
            nodes: of(control_plane),
            place: control_plane.name.as_str(),
            state: word,
            behind: states.iter().map(ConfigState::behind).max().unwrap_or(0),
            since: states.iter().filter_map(ConfigState::since).min(),
        });
    }
    None
}

fn counters(tally: &Tally) -> Vec<Count<Counter>> {
    Counter::ALL.map(|counter| Count { of: counter, nodes: tally.counter(counter) }).to_vec()
}

/// Nodes that run the head or what behaves the same; of those not heard, by their last report.
fn at_head(control_plane: &ControlPlaneSnapshot) -> u32 {
    control_plane.tally.config(ConfigWord::Current)
}

/// What is to be said of a control plane, in words.
pub fn notices(control_plane: &ControlPlaneSnapshot, now: Timestamp) -> Vec<Notice> {
    let ledger = &control_plane.ledger;
    let say = |notice: &Notice| {
        let movement = ledger.movements().iter().find(|movement| movement.at == notice.since);
        let hashes = movement.and_then(|movement| Some((movement.from_config.as_ref()?, &movement.to)));
        in_words(notice, hashes, ledger.damage(), now)
    };
    control_plane.notices.iter().map(say).collect()
}

/// A notice with its sentence.
fn in_words(
    notice: &Notice,
    hashes: Option<(&ConfigRef, &ConfigRef)>,
    damage: Option<Damage<'_>>,
    now: Timestamp,
) -> Notice {
    let sentence = notice_sentence(&NoticeFacts {
        control_plane: &notice.control_plane,
        kind: notice.kind,
        severity: notice.severity,
        nodes: notice.nodes,
        hashes,
        damage,
        since: notice.since,
        now,
    });
    Notice { sentence, ..notice.clone() }
}

/// One control plane.
pub fn control_plane_view(control_plane: &ControlPlaneSnapshot, now: Timestamp) -> ControlPlaneView {
    let ledger = &control_plane.ledger;
    let everything = Query::parse("");
    let nodes: Vec<(&Node, &Assessment)> = control_plane.nodes().collect();
    let candidates = nodes.iter().map(|(node, assessment)| candidate(control_plane, node, assessment, now));
    let worst = select(candidates, &everything, None, 1).page.first().and_then(|index| nodes.get(*index));
    let worst = worst.filter(|(_, assessment)| assessment.verdict.counter() != Some(Counter::Current));
    ControlPlaneView {
        name: control_plane.name.clone(),
        display_name: ledger.declaration.display_name.clone(),
        cluster_id: ledger.declaration.cluster_id.clone(),
        undeclared: !control_plane.declared,
        inferred: ledger.inferred(),
        head: ledger.head().map(|head| version_row(control_plane, head)),
        nodes: control_plane.tally.nodes(),
        at_head: at_head(control_plane),
        counters: counters(&control_plane.tally),
        worst: worst.map(|(node, assessment)| node_row(control_plane, node, assessment, now)),
        last_word_at: ledger.last_word_at(),
        content_not_watched: !ledger.content_is_watched(now),
        sources: control_plane.sources.iter().map(|state| source_view(state, now)).collect(),
    }
}

fn source_view(state: &SourceState, now: Timestamp) -> SourceView {
    let blind_since = state.blind_since().filter(|blind_since| *blind_since <= now);
    SourceView {
        source: state.source,
        last_fact_at: state.last_fact_at,
        blind_reason: blind_since.and(state.blind_reason.clone()),
        blind_since,
    }
}

/// A page of the list of nodes.
pub fn nodes_view(snapshot: &Snapshot, as_of: AsOf, query: &Query, after: Option<&Key>, size: usize) -> NodesView {
    let now = as_of.at;
    let nodes: Vec<_> = snapshot.nodes().collect();
    let candidates = || nodes.iter().map(|(cp, node, assessment)| candidate(cp, node, assessment, now));
    let selection = select(candidates(), query, after, size);
    let mut facets = FacetCounts::default();
    for candidate in candidates().filter(|candidate| query.matches(candidate)) {
        facets.add(&candidate);
    }
    let everything = Query::parse("");
    let counted = |candidate: &Candidate<'_>| everything.matches(candidate);
    let member = |candidate: Candidate<'_>| -> bool { query.matches(&candidate) };
    let members = |inside: bool| {
        let nodes = nodes.iter().filter(move |(cp, node, assessment)| {
            let one = candidate(cp, node, assessment, now);
            counted(&one) && member(one) == inside
        });
        nodes.map(|(cp, node, assessment)| Member {
            control_plane: &cp.name,
            attributes: &node.attributes,
            source: assessment.source,
        })
    };
    // What all nodes share is no finding: only a part of the fleet is compared with the rest.
    let common = if query.is_everything() || selection.total == 0 {
        Vec::new()
    } else {
        let inside: Vec<Member<'_>> = members(true).collect();
        common_factor(inside.iter().copied(), members(false), &query.keys())
    };
    let row = |index: &usize| nodes.get(*index).map(|(cp, node, assessment)| node_row(cp, node, assessment, now));
    NodesView {
        as_of,
        query: query.to_string(),
        problems: query.problems().to_vec(),
        total: selection.total,
        rows: selection.page.iter().filter_map(row).collect(),
        next: selection.next.map(|key| key.to_string()),
        facets: facets.facets(),
        common,
    }
}

/// One node; `None` if it is not known.
pub fn node_view(control_plane: &ControlPlaneSnapshot, id: &NodeId, as_of: AsOf) -> Option<NodeView> {
    let now = as_of.at;
    let (node, assessment) = control_plane.node(id)?;
    let ledger = &control_plane.ledger;
    let cohort = node.cohort();
    let reported = reported(node, assessment);
    let running = assessment.verdict.config.running().and_then(|running| ledger.version(running));
    let facts = sentence_facts(control_plane, node, assessment, reported, &cohort, now);
    Some(NodeView {
        row: node_row(control_plane, node, assessment, now),
        rule: assessment.verdict.config.rule().to_owned(),
        proof: proof(&facts),
        running: running.map(|version| version_row(control_plane, version)),
        head: ledger.head().map(|head| version_row(control_plane, head)),
        expected: ledger.expected(&cohort).cloned(),
        failure: node.failure.as_ref().map(|failure| failure.what.clone()),
        twins: node.twins.iter().map(|twin| twin.attributes.clone()).collect(),
        clock_skew_ms: node.clock_skew_ms,
        as_of,
    })
}

/// A version in a list.
pub fn version_row(control_plane: &ControlPlaneSnapshot, version: &Version) -> VersionRow {
    let ledger = &control_plane.ledger;
    let rank = ledger.rank_of(version.ordinal);
    let at_or_past = control_plane.by_version.iter().filter(|(running, _)| ledger.rank_of(**running) >= rank);
    VersionRow {
        control_plane: control_plane.name.clone(),
        ordinal: version.ordinal,
        token: version.token.clone(),
        published_at: version.published_at,
        recorded_at: version.recorded_at,
        cause: cause(version),
        entered_by: version.entered_by.word().to_owned(),
        changeset: version.changeset,
        no_op: version.no_op,
        reverts_to: version.reverts_to,
        is_head: ledger.head().is_some_and(|head| head.ordinal == version.ordinal),
        running: control_plane.by_version.get(&version.ordinal).copied().unwrap_or(0),
        reached: at_or_past.map(|(_, nodes)| nodes).sum(),
        nodes: control_plane.tally.nodes(),
    }
}

/// Why a version exists, in words.
fn cause(version: &Version) -> String {
    if let Some(cause) = &version.cause {
        return match &version.actor {
            Some(actor) => format!("{cause}, by {actor}"),
            None => cause.to_string(),
        };
    }
    if let Some(earlier) = version.reverts_to {
        return format!("went back to {earlier}");
    }
    match version.entered_by {
        EnteredBy::Announced => "announced without a cause",
        EnteredBy::Frame => "seen on its way to a node",
        EnteredBy::Expected => "expected by the control plane",
        EnteredBy::Notified => "notified by the control plane",
        EnteredBy::Inferred => "inferred: nodes at the head changed to it",
    }
    .to_owned()
}

/// A page of the ledger, newest first, from below `after` on.
pub fn versions_view(
    control_plane: &ControlPlaneSnapshot,
    as_of: AsOf,
    after: Option<Ordinal>,
    size: usize,
) -> VersionsView {
    let ledger = &control_plane.ledger;
    let below = |version: &&Version| after.is_none_or(|after| ledger.rank_of(version.ordinal) < ledger.rank_of(after));
    let mut page: Vec<&Version> = ledger.in_order().rev().filter(below).take(size + 1).collect();
    let more = page.len() > size;
    page.truncate(size);
    let resolved: u32 = control_plane.by_version.values().sum();
    VersionsView {
        as_of,
        control_plane: control_plane.name.clone(),
        inferred: ledger.inferred(),
        next: page.last().filter(|_| more).map(|last| last.ordinal.to_string()),
        rows: page.into_iter().map(|version| version_row(control_plane, version)).collect(),
        unresolved: control_plane.tally.nodes().saturating_sub(resolved),
    }
}

/// One version.
pub fn version_view(
    control_plane: &ControlPlaneSnapshot,
    version: &Version,
    as_of: AsOf,
    propagation: Propagation,
    curve: Option<Figure>,
    cohorts: Vec<CohortPropagation>,
) -> VersionView {
    let ledger = &control_plane.ledger;
    let mut repeated: HashMap<&ConfigRef, u32> = HashMap::new();
    for (node, assessment) in control_plane.nodes() {
        if let (Some(config), Some(_)) = (reported(node, assessment), assessment.verdict.counter()) {
            *repeated.entry(config).or_default() += 1;
        }
    }
    let hash = |alias: &Alias| HashView {
        config: alias.config.clone(),
        scope: alias.scope.clone(),
        since: alias.since,
        evidence: alias.evidence.sentence(),
        unproven: alias.unproven.is_some(),
        nodes: repeated.get(&alias.config).copied().unwrap_or(0),
    };
    VersionView {
        as_of,
        row: version_row(control_plane, version),
        hashes: ledger.aliases_of(version.ordinal).map(hash).collect(),
        shape: version.shape().cloned(),
        change: control_plane.ledger.content_change(version.ordinal),
        plugins_changed: version.plugins_changed.iter().map(|change| change.name.clone()).collect(),
        changed_since: version.entities_changed.as_ref().and_then(|(scope, changes)| {
            let meant = ledger.meaning(&changes.before, scope, version.published_at);
            meant.map(|alias| alias.ordinal).filter(|before| *before != version.ordinal)
        }),
        entities_changed: version.entities_changed.as_ref().map(|(_, changes)| changes.as_ref().clone()),
        propagation,
        curve,
        cohorts,
    }
}
