//! The whole fleet: the answer in a sentence, the five counters, control planes, what is to be said of them, and the
//! worst nodes.

use super::page;
use crate::api::{self, WayIn};
use crate::links::Links;
use crate::parts::answer::Page;
use crate::parts::counters::Counters;
use crate::parts::first::first_heartbeat;
use crate::parts::layout::{column, paragraph, parts, section, table};
use crate::parts::nodes::node_table;
use crate::parts::notices::notices;
use crate::parts::part::{IntoPart, Part, none};
use crate::parts::piece::{Piece, age, ago, dim, link, node, strong, text};
use crate::parts::state::Stated;
use crate::parts::tide::TideBar;
use crate::words::{counted, number, share};
use leptos::prelude::*;
use tidemark_domain::time::Timestamp;
use tidemark_domain::verdict::{ConfigWord, Counter};
use tidemark_domain::view::{ControlPlaneView, FleetView};

/// `/`
#[component]
pub fn Overview() -> impl IntoView {
    page(|asked| api::overview(asked.at, asked.known), overview)
}

fn overview(api::Overview { fleet, way_in }: api::Overview, links: Links) -> Page {
    let as_of = fleet.as_of.clone();
    let is_empty = fleet.connection_states.iter().all(|count| count.nodes == 0);
    let body = if is_empty { empty_fleet(fleet, &way_in, &links) } else { whole_fleet(fleet, &links) };
    Page { title: "Overview".into(), as_of, body }
}

fn whole_fleet(fleet: FleetView, links: &Links) -> Part {
    let as_of = fleet.as_of.at;
    let bar = in_words(&fleet);
    let say = view! {
        <section class="answer" aria-labelledby="say">
            <h1 class="answer__say" id="say">
                {fleet.sentence.clone()}
            </h1>
            <Counters fleet=fleet.clone() links=links.clone() />
            <TideBar counters=fleet.counters.clone() label=bar />
        </section>
    }
    .part();
    let by_hash = hash_comparison(&fleet, links);
    let worst: Vec<_> = fleet.worst.into_iter().filter(|row| row.verdict.counter() != Some(Counter::Current)).collect();
    let notices = if fleet.notices.is_empty() {
        none()
    } else {
        section("notices", "To be known", String::new(), notices(fleet.notices, as_of, links))
    };
    let worst = if worst.is_empty() {
        none()
    } else {
        let rows = node_table(&worst, as_of, "The worst nodes, worst first".into(), None, links);
        section("worst", "Worst nodes", "each with its reason on its page".into(), rows)
    };
    let planes = control_planes(fleet.control_planes, as_of, links);
    let planes = section("cps", "Control planes", "share of nodes at the head".into(), planes);
    parts([say, planes, notices, worst, by_hash])
}

/// The state bar in words.
fn in_words(fleet: &FleetView) -> String {
    let counts: Vec<String> = fleet
        .counters
        .iter()
        .filter(|count| count.nodes > 0)
        .map(|count| format!("{} {}", number(count.nodes.into()), count.of.word().replace('_', " ")))
        .collect();
    format!("Of {}: {}", counted(fleet.nodes, "node", "nodes"), counts.join(", "))
}

/// What a tool that compares raw hashes would have said, beside what is so.
fn hash_comparison(fleet: &FleetView, links: &Links) -> Part {
    if fleet.out_of_sync_by_hash == 0 {
        return none();
    }
    let differ = counted(fleet.out_of_sync_by_hash, "node", "nodes");
    let proven = match fleet.current_by_alias.min(fleet.out_of_sync_by_hash) {
        0 => "None of them is current under another hash".into(),
        proven => {
            let proven = counted(proven, "of them is current", "of them are current");
            format!("{proven}, with proof: another hash of the same version")
        }
    };
    let truly: u32 = fleet.config_states.iter().filter(|count| count.of.out_of_sync()).map(|count| count.nodes).sum();
    let sentence = vec![
        strong(format!("{differ} out of sync.")),
        text(format!(" {proven}. By version, ")),
        link(links.nodes("state:out-of-sync"), counted(truly, "node is", "nodes are")),
        text(" out of sync."),
    ];
    section("by-hash", "What a hash comparison would say", String::new(), paragraph("step", sentence))
}

/// A table of control planes.
pub(super) fn control_planes(planes: Vec<ControlPlaneView>, as_of: Timestamp, links: &Links) -> Part {
    let caption = format!("{}, by name", counted(planes.len() as u32, "control plane", "control planes"));
    let columns = vec![
        column("Control plane", ""),
        column("Head", ""),
        column("Published", "nowrap p2"),
        column("Reached", "wide p1"),
        column("At head", "num"),
        column("Furthest from it", "nowrap p2"),
        column("Last word", "nowrap p3"),
        column("Ledger", "nowrap p4"),
    ];
    table(caption, columns, planes.into_iter().map(|cp| control_plane(cp, as_of, links)).collect())
}

fn control_plane(cp: ControlPlaneView, as_of: Timestamp, links: &Links) -> Vec<Vec<Piece>> {
    let name = cp.display_name.as_ref().map_or_else(|| cp.name.to_string(), ToString::to_string);
    let worst = cp.counters.iter().find(|count| count.nodes > 0).map(|count| count.of);
    let marked = Piece::Marked {
        href: links.ledger(&cp.name),
        look: worst.map_or_else(|| ConfigWord::Unknown.look(), |counter| counter.look()),
        word: format!(", worst: {}", worst.map_or("no nodes", Counter::label)),
        note: if cp.undeclared { "undeclared".into() } else { String::new() },
        name: name.clone(),
    };
    let (head, published) = match &cp.head {
        Some(head) => (link(links.version(&cp.name, head.ordinal), head.ordinal), vec![ago(head.published_at, as_of)]),
        None => (dim("none yet"), Vec::new()),
    };
    let furthest = match cp.worst.as_ref().filter(|row| row.verdict.counter() != Some(Counter::Current)) {
        Some(row) => {
            let since = row.verdict.config.since().map(|since| age(since, as_of));
            [node(row, links), text(" ")].into_iter().chain(since).collect()
        }
        None => vec![dim("none")],
    };
    let label =
        format!("{} of {} of {name} at the head", number(cp.at_head.into()), counted(cp.nodes, "node", "nodes"));
    let at_head = Piece::Link {
        href: links.nodes(&format!("cp:{}", cp.name)),
        text: format!("{} / {}", number(cp.at_head.into()), number(cp.nodes.into())),
        title: share(cp.at_head, cp.nodes),
        zero: cp.nodes == 0,
    };
    vec![
        vec![marked],
        vec![head],
        published,
        vec![Piece::Bar { counters: cp.counters, label }],
        vec![at_head],
        furthest,
        vec![cp.last_word_at.map_or_else(|| dim("never"), |at| ago(at, as_of))],
        {
            let known_by = dim(if cp.inferred { "inferred from reports" } else { "its own word" });
            let unwatched = cp.content_not_watched.then(|| dim(" · content not watched"));
            [known_by].into_iter().chain(unwatched).collect()
        },
    ]
}

/// No node has been heard of: how the first one is, and which control planes are known already.
fn empty_fleet(fleet: FleetView, way_in: &WayIn, links: &Links) -> Part {
    let as_of = fleet.as_of;
    let was_then = as_of.past || as_of.held;
    let say = if was_then { "Nothing had reported by then." } else { "Nothing has reported yet." };
    let say = view! { <h1 class="answer__say">{say}</h1> }.part();
    let how = if was_then { none() } else { first_heartbeat(way_in) };
    let planes = if fleet.control_planes.is_empty() {
        none()
    } else {
        let planes = control_planes(fleet.control_planes, as_of.at, links);
        section("cps", "Control planes", "known, and no node of them yet".into(), planes)
    };
    parts([say, how, planes])
}
