//! One version: how far it has come, what names it and why we hold that, what it is made of, and who is missing.

use super::page;
use crate::api;
use crate::links::Links;
use crate::parts::answer::Page;
use crate::parts::figure::figure;
use crate::parts::layout::{column, columns, crumbs, disclosure, pairs, paragraph, parts, section, table, title};
use crate::parts::part::{Part, none};
use crate::parts::piece::{self, Names, Piece, dim, hash, link, moment, outside, state, strong, text};
use crate::words::{absolute, counted, lag, number, share};
use leptos::prelude::*;
use tidemark_domain::fact::{ConfigRef, EntityChange, Scope, Shape, TypeChanges};
use tidemark_domain::guard::{Grade, Subject};
use tidemark_domain::id::{CpName, Line};
use tidemark_domain::ledger::ContentChange;
use tidemark_domain::verdict::ConnectionWord;
use tidemark_domain::view::{CohortPropagation, HashView, NodeReach, Propagation, VersionRow, VersionView};

/// Nodes that are shown without asking: the missing and the slowest, about a laptop's screen of them.
const NODES_SHOWN: usize = 20;

/// Changed entities that are shown without asking.
const ENTITIES_SHOWN: usize = 20;

/// Stragglers of a cohort that are named; the others are found among the nodes.
const STRAGGLERS_SHOWN: usize = 5;

/// `/versions/{cp}/{n}`
#[component]
pub fn Version() -> impl IntoView {
    page(|asked| api::version(asked.cp, asked.n, asked.at, asked.known), version)
}

fn version(view: VersionView, links: Links) -> Page {
    let row = &view.row;
    let cp = &row.control_plane;
    let name = format!("{cp} {}", row.ordinal);
    let published = Piece::Moment { at: row.published_at, text: absolute(row.published_at) };
    let beside = columns("cols cols--main", vec![hashes(&view, &links), made(&view, &links)]);
    let body = parts([
        crumbs(vec![link(links.ledgers(), "Versions"), text(" / "), link(links.ledger(cp), cp)]),
        title(name.clone(), vec![text("published "), published, text(" · "), outside(&row.cause)]),
        paragraph("answer__say", sentence(&view.propagation, row)),
        pairs("facts", numbers(&view.propagation, row, &links)),
        propagation(&view),
        cohorts(&view, &links),
        beside,
        changes(&view, &links),
        per_node(&view, &links),
    ]);
    Page { title: name, as_of: view.as_of, body }
}

/// How far it has come, and who is missing: a node that is not heard is not slow.
fn sentence(propagation: &Propagation, row: &VersionRow) -> Vec<Piece> {
    let missing = propagation.per_node.iter().filter(|node| node.reached_at.is_none());
    let (heard, away): (Vec<_>, Vec<_>) = missing.partition(|node| node.connection == ConnectionWord::Connected);
    let (heard, away) = (heard.len() as u32, away.len() as u32);
    let reached = number(propagation.reached.into());
    let mut say =
        vec![text(format!("{reached} of {} reached {}.", counted(propagation.nodes, "node", "nodes"), row.ordinal))];
    if heard > 0 {
        say.extend([text(" "), link("#per-node".into(), counted(heard, "is missing", "are missing")), text(".")]);
    }
    if away > 0 {
        say.push(dim(format!(" {} not heard.", counted(away, "is", "are"))));
    }
    say
}

/// The numbers of its propagation.
fn numbers(propagation: &Propagation, row: &VersionRow, links: &Links) -> Vec<(&'static str, Vec<Piece>)> {
    let time = |ms: Option<i64>| ms.map_or_else(|| "not reached".into(), |ms| lag(ms, 0));
    let running = links.running(&row.control_plane, row.ordinal);
    vec![
        ("Half of those that reached it", vec![strong(time(propagation.p50_ms))]),
        ("90 % · 99 %", vec![strong(time(propagation.p90_ms)), text(format!(" · {}", time(propagation.p99_ms)))]),
        ("The slowest", vec![strong(time(propagation.max_ms))]),
        ("Run exactly this", vec![link(running, counted(row.running, "node", "nodes"))]),
        ("Reached", vec![strong(share(propagation.reached, propagation.nodes))]),
    ]
}

/// How it spread, drawn.
fn propagation(view: &VersionView) -> Part {
    match &view.curve {
        Some(curve) => {
            let hint = "share of nodes at this version or a later one, since its publication".into();
            section("propagation", "Propagation", hint, figure(curve.clone()))
        }
        None => none(),
    }
}

/// How it spread over each cohort: one that is slow, or does not move, is named by what its nodes share.
fn cohorts(view: &VersionView, links: &Links) -> Part {
    if view.cohorts.is_empty() {
        return none();
    }
    let columns = vec![
        column("Cohort", ""),
        column("Nodes", "num"),
        column("Reached", "num"),
        column("Half", "num p2"),
        column("90 %", "num p1"),
        column("99 %", "num p2"),
        column("Slowest", "num p1"),
        column("Stragglers", "wide names"),
    ];
    let time = |ms: Option<i64>| vec![ms.map_or_else(|| dim("–"), |ms| text(lag(ms, 0)))];
    let line = |cohort: &CohortPropagation| {
        vec![
            vec![cohort_name(&cohort.scope, &view.row.control_plane, links)],
            vec![text(number(cohort.nodes.into()))],
            vec![text(number(cohort.reached.into()))],
            time(cohort.p50_ms),
            time(cohort.p90_ms),
            time(cohort.p99_ms),
            time(cohort.max_ms),
            stragglers(cohort, view, links),
        ]
    };
    let table = table("How each cohort took this version".into(), columns, view.cohorts.iter().map(line).collect());
    let written = view.cohorts.iter().filter_map(|cohort| cohort.final_at).max();
    let written = written.map_or_else(none, |at| {
        paragraph("more", vec![text("Written down for good at "), moment(at, view.as_of.at), text(".")])
    });
    section("cohorts", "By cohort", "times are of the nodes that reached it".into(), parts([table, written]))
}

/// What the nodes of a cohort share, as the way to those that share its gateway version now.
fn cohort_name(scope: &Scope, cp: &CpName, links: &Links) -> Piece {
    match &scope.gateway {
        Some(gateway) => link(links.nodes(&format!("cp:{cp} gateway:={gateway}")), scope),
        None if scope.protocol.is_some() => text(format!("{scope} · gateway not known")),
        None => text("gateway not known"),
    }
}

/// Nodes of a cohort that did not reach it, by name. One that is not known any more, or not by this name alone, has no
/// page to lead to.
fn stragglers(cohort: &CohortPropagation, view: &VersionView, links: &Links) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for name in cohort.stragglers.iter().take(STRAGGLERS_SHOWN) {
        if !pieces.is_empty() {
            pieces.push(text(", "));
        }
        let mut called = view.propagation.per_node.iter().filter(|node| name_of_reach(node) == *name);
        pieces.push(match (called.next(), called.next()) {
            (Some(node), None) => Piece::Link {
                href: links.node(&view.row.control_plane, &node.node),
                text: tidemark_domain::sentence::name(name),
                title: name.clone(),
                zero: false,
            },
            _ => outside(name),
        });
    }
    let missing = cohort.nodes.saturating_sub(cohort.reached);
    let others = missing.saturating_sub(cohort.stragglers.len().min(STRAGGLERS_SHOWN) as u32);
    if others > 0 {
        pieces.extend([text(" and "), link("#per-node".into(), format!("{} more", number(others.into())))]);
    }
    pieces
}

/// Everything that names it.
fn hashes(view: &VersionView, links: &Links) -> Part {
    let columns = vec![
        column("Hash or token", ""),
        column("For", "nowrap p2"),
        column("Since", "nowrap p3"),
        column("Evidence", "wide"),
        column("Nodes", "num"),
    ];
    let line = |name: &HashView| {
        let nodes = links.nodes(&format!("cp:{} config:{}", view.row.control_plane, name.config));
        let unproven = name.unproven.then(|| strong("Not proven. "));
        vec![
            vec![hash(&name.config)],
            vec![text(name.scope.to_string())],
            vec![moment(name.since, view.as_of.at)],
            unproven.into_iter().chain([text(&name.evidence)]).collect(),
            vec![piece::number(nodes, name.nodes)],
        ]
    };
    let rows = view.hashes.iter().map(line).collect();
    let body = table("What names this version, and why we hold that".into(), columns, rows);
    let hint = counted(view.hashes.len() as u32, "name of this version", "names of this version");
    section("hashes", "Hashes and their evidence", hint, body)
}

/// How it came to be, and what it is made of.
fn made(view: &VersionView, links: &Links) -> Part {
    let (row, as_of) = (&view.row, view.as_of.at);
    let change = if row.changeset == row.ordinal { "its own".into() } else { format!("begun by {}", row.changeset) };
    let mut known = vec![
        ("Published", vec![moment(row.published_at, as_of)]),
        ("Known since", vec![moment(row.recorded_at, as_of)]),
        ("Entered by", vec![text(&row.entered_by)]),
        ("Change", vec![text(change)]),
    ];
    known.extend(row.token.clone().map(|token| ("Token", vec![hash(&ConfigRef::from(token))])));
    known.extend(row.no_op.then(|| ("Behaviour", vec![text("a no-op: it changes nothing")])));
    known.extend(row.reverts_to.map(|to| ("Goes back to", vec![link(links.version(&row.control_plane, to), to)])));
    let plugins: Vec<String> = view.plugins_changed.iter().map(ToString::to_string).collect();
    known.extend((!plugins.is_empty()).then(|| ("Plugins changed", vec![outside(plugins.join(", "))])));
    let content = match &view.shape {
        Some(shape) => {
            let say = view.change.as_ref().map_or_else(none, |change| {
                let before = link(links.version(&row.control_plane, change.before), change.before);
                paragraph("step", vec![text(graded(change)), before, text(".")])
            });
            parts([say, entities(shape, view.change.as_ref())])
        }
        None => {
            let how = "Its content was not seen. A tap, a shadow node or an announcement would tell.";
            paragraph("step", vec![text(how)])
        }
    };
    section("made", "What it is", String::new(), parts([pairs("pairs", known), content]))
}

/// What changed, entity by entity.
fn changes(view: &VersionView, links: &Links) -> Part {
    let Some(changes) = &view.entities_changed else { return none() };
    let of_type = |count: &TypeChanges| {
        let by = [(count.added, "added"), (count.changed, "changed"), (count.removed, "removed")];
        let by: Vec<_> =
            by.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
        format!("{} {}", count.entity_type, by.join(", "))
    };
    let counts: Vec<_> = changes.counts.iter().map(of_type).collect();
    let before = match view.changed_since {
        Some(before) => link(links.version(&view.row.control_plane, before), before),
        None => hash(&changes.before),
    };
    let say =
        vec![outside(counts.join("; ")), text(". Compared with "), before, text(", which the cohort was sent before.")];
    let line = |entity: &EntityChange| {
        let cell = |line: &Option<Line>| line.iter().map(outside).collect();
        vec![vec![text(entity.change.word())], vec![outside(&entity.entity_type)], cell(&entity.name), cell(&entity.id)]
    };
    let columns = vec![column("What", ""), column("Type", ""), column("Name", "wide"), column("Id", "p2")];
    let mut rows: Vec<_> = changes.listed.iter().map(line).collect();
    let others = rows.split_off(rows.len().min(ENTITIES_SHOWN));
    let caption = "Entities that this version changed";
    let first = table(caption.into(), columns.clone(), rows);
    let others = if others.is_empty() {
        none()
    } else {
        let summary = format!("{} more", counted(others.len() as u32, "entity", "entities"));
        disclosure(summary, table(caption.into(), columns, others))
    };
    let unlisted = changes.total().saturating_sub(changes.listed.len() as u64);
    let hint = match unlisted {
        0 => "types, ids and names; values are not kept".to_owned(),
        unlisted => format!("{} more are counted and not listed", number(unlisted)),
    };
    section("changes", "What changed", hint, parts([paragraph("step", say), first, others]))
}

/// What the difference from another version is, up to that version's name.
fn graded(change: &ContentChange) -> &'static str {
    match (change.grade, change.counts.is_empty()) {
        (Grade::Harmless, true) => "No count differs from ",
        (Grade::Harmless, false) => "Nothing was removed since ",
        (Grade::Notable, _) => "Notable: something was removed since ",
        (Grade::Destructive, _) => "Part of a destructive change; compared with ",
    }
}

/// What it is made of, beside what the version before it was made of where that differs.
fn entities(shape: &Shape, change: Option<&ContentChange>) -> Part {
    let counts = change.map(|change| change.counts.as_slice()).unwrap_or_default();
    let mut kinds: Vec<Subject> = shape.entities.keys().map(|kind| Subject::Type(kind.clone())).collect();
    let gone = counts.iter().filter(|count| matches!(count.subject, Subject::Type(_)) && count.after == 0);
    kinds.extend(gone.map(|count| count.subject.clone()).filter(|gone| !kinds.contains(gone)).collect::<Vec<_>>());
    kinds.extend([Subject::NamedCertificates, Subject::Hosts]);
    let line = |subject: Subject| {
        let before = counts.iter().find(|count| count.subject == subject).map(|count| count.before);
        let before = before.map(|before| strong(number(before))).into_iter().collect();
        let name = match &subject {
            Subject::Type(kind) => kind.clone(),
            Subject::Hosts => "hosts served".to_owned(),
            Subject::NamedCertificates | Subject::Everything => subject.words(),
        };
        vec![vec![outside(name)], vec![text(number(subject.count(shape)))], before]
    };
    let mut rows: Vec<_> = kinds.into_iter().map(line).collect();
    rows.push(vec![vec![outside("all entities")], vec![text(number(shape.total()))], Vec::new()]);
    let columns = vec![column("Type", ""), column("Count", "num"), column("Before", "num")];
    table("What this version is made of".into(), columns, rows)
}

/// What people call it: its hostname, else its id.
fn name_of_reach(node: &NodeReach) -> String {
    node.hostname.as_ref().map_or_else(|| node.node.to_string(), ToString::to_string)
}

/// Per node: first reached, and its lag.
fn per_node(view: &VersionView, links: &Links) -> Part {
    let columns =
        vec![column("Node", "clip"), column("Connectivity", ""), column("Reached", "nowrap p1"), column("Lag", "num")];
    let names = Names::of(view.propagation.per_node.iter().map(name_of_reach));
    let line = |node: &NodeReach| {
        let reached = match node.reached_at {
            Some(at) => moment(at, view.as_of.at),
            None if node.connection == ConnectionWord::Connected => strong("not yet"),
            None => dim("cannot know"),
        };
        vec![
            names.link(links.node(&view.row.control_plane, &node.node), name_of_reach(node), &node.node),
            vec![state(&node.connection, None)],
            vec![reached],
            node.lag_ms.map(|ms| text(lag(ms, node.uncertain_ms))).into_iter().collect(),
        ]
    };
    let caption = "When each node reached this version or a later one";
    let mut rows: Vec<_> = view.propagation.per_node.iter().map(line).collect();
    let others = rows.split_off(rows.len().min(NODES_SHOWN));
    let first = table(caption.into(), columns.clone(), rows);
    let others = if others.is_empty() {
        none()
    } else {
        let summary = format!("{} more", counted(others.len() as u32, "node", "nodes"));
        disclosure(summary, table(caption.into(), columns, others))
    };
    section("per-node", "Per node", "missing first, then slowest first".into(), parts([first, others]))
}
