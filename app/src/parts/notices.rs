//! What is to be said of control planes: one cause, one line, with the way to the nodes that it concerns.

use super::part::{IntoPart, Part};
use super::piece::{link, moment, outside, say, text};
use super::state::severity_tone;
use crate::links::Links;
use crate::words::counted;
use leptos::prelude::*;
use tidemark_domain::notice::Notice;
use tidemark_domain::time::Timestamp;

/// The notices, most severe first.
#[must_use]
pub fn notices(notices: Vec<Notice>, as_of: Timestamp, links: &Links) -> Part {
    let notices: Vec<Part> = notices
        .into_iter()
        .map(|notice| {
            let word = notice.severity.word();
            let class = format!("severity severity--{word} {}", severity_tone(notice.severity).class());
            let cp = &notice.control_plane;
            let about = vec![
                link(links.ledger(cp), cp),
                text(" since "),
                moment(notice.since, as_of),
                text(" · "),
                link(links.nodes(&format!("cp:{cp}")), counted(notice.nodes, "node", "nodes")),
            ];
            view! {
                <li class="notice">
                    <p class="notice__line">
                        <span class=class>{word}</span>
                        <span>{say(about)}</span>
                    </p>
                    <p>{say(vec![outside(notice.sentence)])}</p>
                </li>
            }
            .part()
        })
        .collect();
    view! { <ul>{notices}</ul> }.part()
}
