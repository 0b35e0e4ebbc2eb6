//! `tidemark explain NODE`: the verdict of one node with its evidence, in the words of the page.

use crate::board::Snapshot;
use crate::reader::views;
use std::fmt::Write;
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::span;
use tidemark_domain::view::{AsOf, NodeView};

/// Why a node cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExplained {
    /// No node has this id, hostname or address.
    #[error("no node has the id, hostname or address {0}")]
    Unknown(String),
    /// Several have it.
    #[error("{asked} is not one node; say one of: {}", names.join(", "))]
    Several {
        /// What was asked.
        asked: String,
        /// The nodes, as `control-plane/id`; at most 20.
        names: Vec<String>,
    },
}

/// Finds a node by `control-plane/id`, id, hostname or address, and explains it.
///
/// # Errors
/// If there is no such node, or more than one.
pub fn explain(snapshot: &Snapshot, as_of: &AsOf, asked: &str) -> Result<String, NotExplained> {
    let view = find(snapshot, as_of, asked)?;
    Ok(text(&view))
}

fn find(snapshot: &Snapshot, as_of: &AsOf, asked: &str) -> Result<NodeView, NotExplained> {
    let (control_plane, id) = match asked.split_once('/') {
        Some((control_plane, id)) => (control_plane.parse::<CpName>().ok(), id),
        None => (None, asked),
    };
    let is_asked = |name: Option<&str>| name == Some(id);
    let mut found: Vec<(CpName, NodeId)> = snapshot
        .nodes()
        .filter(|(of, node, _)| {
            let attributes = &node.attributes;
            let named = node.id.as_str() == id
                || is_asked(attributes.hostname.as_ref().map(|hostname| hostname.as_str()))
                || is_asked(attributes.ip.as_ref().map(|ip| ip.as_str()));
            named && control_plane.as_ref().is_none_or(|name| *name == of.name)
        })
        .map(|(of, node, _)| (of.name.clone(), node.id.clone()))
        .collect();
    // The id itself wins over a hostname that happens to be the same.
    if found.iter().filter(|(_, node)| node.as_str() == id).count() == 1 {
        found.retain(|(_, node)| node.as_str() == id);
    }
    let unknown = || NotExplained::Unknown(asked.to_owned());
    match found.as_slice() {
        [] => Err(unknown()),
        [(name, node)] => {
            let of = snapshot.control_plane(name).ok_or_else(unknown)?;
            views::node_view(of, node, as_of.clone()).ok_or_else(unknown)
        }
        several => {
            let names = several.iter().take(20).map(|(name, node)| format!("{name}/{node}")).collect();
            Err(NotExplained::Several { asked: asked.to_owned(), names })
        }
    }
}

fn text(view: &NodeView) -> String {
    let mut text = String::new();
    let row = &view.row;
    let verdict = &row.verdict;
    let now = view.as_of.at;
    let line = |text: &mut String, label: &str, value: &str| {
        let _ = writeln!(text, "  {label:<14}{value}");
    };
    let _ = writeln!(text, "{}", row.headline);
    let _ = writeln!(text, "{}\n", row.evidence);
    line(&mut text, "node", &format!("{}/{}", row.control_plane, row.id));
    if let Some(hostname) = &row.attributes.hostname {
        line(&mut text, "hostname", hostname.as_str());
    }
    if let Some(version) = &row.attributes.gateway_version {
        line(&mut text, "gateway", version.as_str());
    }
    line(&mut text, "as of", &now.to_string());
    line(&mut text, "connectivity", verdict.connectivity.word().label());
    line(&mut text, "configuration", verdict.config.word().label());
    line(&mut text, "rule", &view.rule);
    let overlays: Vec<&str> = verdict.overlays.iter().map(tidemark_domain::verdict::Overlay::label).collect();
    if !overlays.is_empty() {
        line(&mut text, "also", &overlays.join(", "));
    }
    if let Some(reported) = &row.reported {
        line(&mut text, "reports", reported.as_str());
    }
    if let Some(expected) = &view.expected {
        line(&mut text, "expected", expected.as_str());
    }
    if let Some(running) = &view.running {
        line(&mut text, "runs", &format!("{}, published {}", running.ordinal, running.published_at));
    }
    if let Some(head) = &view.head {
        line(&mut text, "head", &format!("{}, published {}", head.ordinal, head.published_at));
    }
    if let Some(last) = row.last_report_at {
        let about = if row.last_report_estimated { "about " } else { "" };
        line(&mut text, "last report", &format!("{about}{last}, {} before", span(now.since(last))));
    }
    if let Some(failure) = &view.failure {
        line(&mut text, "refused", failure.message.as_str());
    }
    let parts =
        [("We know", &view.proof.know), ("We infer", &view.proof.infer), ("We cannot know", &view.proof.cannot_know)];
    for (heading, sentences) in parts {
        if !sentences.is_empty() {
            let _ = writeln!(text, "\n{heading}");
            for sentence in sentences {
                let _ = writeln!(text, "  - {sentence}");
            }
        }
    }
    text
}
