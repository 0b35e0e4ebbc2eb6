//! Ledgers: which control plane, and the versions of one, newest first, with who runs which.

use super::overview::control_planes;
use super::{after, page};
use crate::api;
use crate::links::Links;
use crate::parts::answer::Page;
use crate::parts::layout::{column, crumbs, more, nothing, paragraph, parts, section, table, title};
use crate::parts::part::Part;
use crate::parts::piece::{self, Piece, dim, hash, link, moment, outside, text};
use crate::words::{counted, number};
use leptos::prelude::*;
use tidemark_domain::fact::ConfigRef;
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::{FleetView, VersionRow, VersionsView};

/// `/versions`
#[component]
pub fn Ledgers() -> impl IntoView {
    page(|asked| api::fleet(asked.at, asked.known), ledgers)
}

fn ledgers(fleet: FleetView, links: Links) -> Page {
    let count = counted(fleet.control_planes.len() as u32, "control plane", "control planes");
    let body = if fleet.control_planes.is_empty() {
        let how = "A ledger begins with the first word of a control plane, or with the first reports of its nodes.";
        nothing("No ledger yet", vec![vec![text(how)]])
    } else {
        control_planes(fleet.control_planes, fleet.as_of.at, &links)
    };
    let title = title("Versions".into(), vec![text(format!("{count}, each with its own ledger"))]);
    Page { title: "Versions".into(), as_of: fleet.as_of, body: parts([title, body]) }
}

/// `/versions/{cp}`
#[component]
pub fn Ledger() -> impl IntoView {
    page(|asked| api::versions(asked.cp, asked.after, asked.at, asked.known), ledger)
}

fn ledger(view: VersionsView, links: Links) -> Page {
    let cp = &view.control_plane;
    let basis = if view.inferred {
        "ledger inferred from what nodes report: no word of the control plane reaches us"
    } else {
        "ledger by the word of the control plane"
    };
    let mut lead =
        vec![text(format!("{} ", sentence(&view))), link(links.nodes(&format!("cp:{cp}")), "Its nodes"), text(".")];
    if view.unresolved > 0 {
        lead.extend([
            text(" "),
            link(links.nodes(&format!("cp:{cp} counter:blocked")), counted(view.unresolved, "node runs", "nodes run")),
            text(" nothing of it."),
        ]);
    }
    let body = if view.rows.is_empty() {
        let why = "The control plane has not said what it publishes, and its nodes have not agreed on anything.";
        nothing("No version yet", vec![vec![text(why)]])
    } else {
        rows(&view, &links)
    };
    let body = parts([
        crumbs(vec![link(links.ledgers(), "Versions")]),
        title(cp.to_string(), vec![text(basis)]),
        paragraph("lead", lead),
        section("versions", "Versions", "newest first".into(), body),
    ]);
    Page { title: format!("Versions of {cp}"), as_of: view.as_of, body }
}

fn rows(view: &VersionsView, links: &Links) -> Part {
    let cp = &view.control_plane;
    let columns = vec![
        column("Version", ""),
        column("Published", "nowrap"),
        column("Why", "wide clip p1"),
        column("Token", "p3"),
        column("Entered by", "p4"),
        column("Change", "p4"),
        column("Run it", "num"),
        column("Reached", "num p2"),
    ];
    let rows = view.rows.iter().map(|row| line(row, view.as_of.at, links)).collect();
    let first = (!after().is_empty()).then(|| links.ledger(cp));
    let next = view.next.as_ref().map(|next| links.ledger_after(cp, next));
    parts([
        table(format!("Versions of {cp}, newest first"), columns, rows),
        more(counted(view.rows.len() as u32, "version", "versions"), first, next),
    ])
}

/// The ledger in a sentence.
fn sentence(view: &VersionsView) -> String {
    match view.rows.iter().find(|row| row.is_head) {
        Some(head) => format!(
            "{} of {} reached {}, the head.",
            number(head.reached.into()),
            counted(head.nodes, "node", "nodes"),
            head.ordinal
        ),
        None => "Earlier versions.".into(),
    }
}

fn line(row: &VersionRow, as_of: Timestamp, links: &Links) -> Vec<Vec<Piece>> {
    let name = link(links.version(&row.control_plane, row.ordinal), row.ordinal);
    let mark = mark(row).map(|mark| dim(format!(" {mark}")));
    let change = (row.changeset != row.ordinal).then(|| dim(format!("with {}", row.changeset)));
    vec![
        [name].into_iter().chain(mark).collect(),
        vec![moment(row.published_at, as_of)],
        vec![outside(&row.cause)],
        row.token.clone().map(|token| hash(&ConfigRef::from(token))).into_iter().collect(),
        vec![text(&row.entered_by)],
        change.into_iter().collect(),
        vec![piece::number(links.running(&row.control_plane, row.ordinal), row.running)],
        vec![text(format!("{} / {}", number(row.reached.into()), number(row.nodes.into())))],
    ]
}

/// What is special about a version, beside its name.
fn mark(row: &VersionRow) -> Option<String> {
    match (row.is_head, row.no_op, row.reverts_to) {
        (true, _, Some(to)) => Some(format!("head, back to {to}")),
        (true, _, None) => Some("head".into()),
        (false, _, Some(to)) => Some(format!("back to {to}")),
        (false, true, None) => Some("no-op".into()),
        (false, false, None) => None,
    }
}
