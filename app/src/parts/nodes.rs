//! Nodes as rows: name, both axes, what runs, since when.

use super::layout::{Column, column, table};
use super::part::Part;
use super::piece::{Names, age, dim, link, name_of, state, text};
use super::state::config_note;
use crate::links::Links;
use crate::question::{sort_by, sorted};
use crate::words;
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::NodeRow;

/// The columns, each with the key that sorts by it.
const COLUMNS: [(Column, Option<&str>); 7] = [
    (column("Node", "clip"), Some("name")),
    (column("Connectivity", ""), Some("last")),
    (column("Configuration", ""), Some("worst")),
    (column("Runs", "p2"), None),
    (column("Since", "num p2"), Some("since")),
    (column("Gateway", "p3"), Some("gateway")),
    (column("Control plane", "p4"), None),
];

/// A table of nodes; its columns sort where it answers a question.
#[must_use]
pub fn node_table(rows: &[NodeRow], as_of: Timestamp, caption: String, question: Option<&str>, links: &Links) -> Part {
    let columns = COLUMNS
        .into_iter()
        .map(|(column, key)| match question.zip(key) {
            Some((question, key)) => column.sorted(links.nodes(&sort_by(question, key)), sorted(question, key)),
            None => column,
        })
        .collect();
    let names = Names::of(rows.iter().map(|row| name_of(&row.attributes, &row.id)));
    let rows = rows
        .iter()
        .map(|row| {
            let verdict = &row.verdict;
            let about = if row.last_report_estimated { "about " } else { "" };
            let heard = row.last_report_at.map(|at| format!("{about}{}", words::age(at, as_of)));
            let runs = verdict
                .config
                .running()
                .map_or_else(|| dim("not known"), |running| link(links.version(&row.control_plane, running), running));
            let gateway = row.attributes.gateway_version.as_ref();
            vec![
                names.link(links.node(&row.control_plane, &row.id), name_of(&row.attributes, &row.id), &row.id),
                vec![state(&verdict.connectivity, heard)],
                vec![state(&verdict.config, config_note(&verdict.config))],
                vec![runs],
                verdict.config.since().map(|since| age(since, as_of)).into_iter().collect(),
                gateway.map(|version| text(version.as_str())).into_iter().collect(),
                vec![link(links.nodes(&format!("cp:{}", row.control_plane)), &row.control_plane)],
            ]
        })
        .collect();
    table(caption, columns, rows)
}
