//! One node: both axes, the verdict with its proof, and its past.

use super::{after, page};
use crate::api::{self, NodePage};
use crate::links::Links;
use crate::parts::answer::Page;
use crate::parts::figure::figure;
use crate::parts::layout::{column, columns, crumbs, more, pairs, paragraph, parts, section, table, title};
use crate::parts::part::{IntoPart, Part, none};
use crate::parts::piece::{Piece, dim, hash, link, moment, name_of, outside, say, text};
use crate::parts::proof::{axes, proof_card, quotation};
use crate::parts::state::{Icon, Look, Shape, Tone};
use crate::words::{age, counted, lag, number};
use leptos::prelude::*;
use tidemark_domain::analytics::NodeTraffic;
use tidemark_domain::fact::{Attributes, Protocol, SyncMode};
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::{EventView, HistoryView, NodeView, ReachedView};

/// `/nodes/{cp}/{id}`
#[component]
pub fn Node() -> impl IntoView {
    page(|asked| api::node(asked.cp, asked.id, asked.after, asked.at, asked.known), node)
}

fn node(page: NodePage, links: Links) -> Page {
    let NodePage { node, traffic, history } = page;
    let as_of = node.as_of.clone();
    let row = node.row.clone();
    let cp = row.control_plane.clone();
    let name = name_of(&row.attributes, &row.id);
    let way = vec![link(links.nodes(""), "Nodes"), text(" / "), link(links.nodes(&format!("cp:{cp}")), &cp)];
    let beside = columns(
        "cols cols--3",
        vec![
            reached(&history.reached, &node, &links),
            events(history.events.clone(), as_of.at),
            section("facts", "Facts", String::new(), pairs("pairs", facts(&node))),
        ],
    );
    let body = parts([
        crumbs(way),
        title(name.clone(), vec![outside(subtitle(&row.attributes))]),
        axes(row, as_of.at),
        failure(&node),
        proof_card(node.clone(), &links),
        beside,
        does(traffic, &links),
        past(&history, &node, &links),
    ]);
    Page { title: name, as_of, body }
}

/// Its traffic and what it uses, of a day, with the versions that were published meanwhile.
fn does(traffic: Option<NodeTraffic>, links: &Links) -> Part {
    let Some(traffic) = traffic else { return none() };
    let figures: Vec<Part> = traffic.figures.into_iter().map(figure).collect();
    let lead =
        vec![text(format!("{} ", traffic.sentence)), link(links.traffic(&traffic.question), "More of its traffic")];
    let body = parts([paragraph("step", lead), view! { <div class="charts">{figures}</div> }.part()]);
    section("traffic", "Traffic and memory", "the last 24 hours".into(), body)
}

/// What is known of it at a glance: gateway and labels.
fn subtitle(attributes: &Attributes) -> String {
    let gateway = attributes.gateway_version.as_ref().map(|version| format!("gateway {version}"));
    let labels = attributes.labels.iter().flat_map(|labels| labels.iter());
    let labels = labels.take(6).map(|(key, value)| format!("{key}={value}"));
    gateway.into_iter().chain(labels).collect::<Vec<_>>().join(" · ")
}

/// Why it could not apply what it was offered.
fn failure(node: &NodeView) -> Part {
    let Some(failure) = &node.failure else { return none() };
    let refused = failure.refused.as_ref().map(|refused| ("Refused", vec![hash(refused)]));
    let entity = failure.entity.as_ref().map(|entity| ("Entity", vec![outside(entity)]));
    let field = failure.field.as_ref().map(|field| ("Field", vec![outside(field)]));
    let place = pairs("pairs", refused.into_iter().chain(entity).chain(field).collect());
    let body = parts([quotation(failure.message.to_string()), place]);
    section("failure", "Its own words on the failure", String::new(), body)
}

/// Versions that it reached, with their lags.
fn reached(reached: &[ReachedView], node: &NodeView, links: &Links) -> Part {
    let (cp, as_of) = (&node.row.control_plane, node.as_of.at);
    if reached.is_empty() {
        let nothing = paragraph("step", vec![text("It has not reached a version since we watch it.")]);
        return section("reached", "Versions reached", String::new(), nothing);
    }
    let columns = vec![
        column("Version", ""),
        column("Published", "nowrap"),
        column("Reached", "nowrap p1"),
        column("Lag", "num"),
    ];
    let rows = reached
        .iter()
        .map(|reached| {
            vec![
                vec![link(links.version(cp, reached.version), reached.version)],
                vec![moment(reached.published_at, as_of)],
                vec![moment(reached.reached_at, as_of)],
                vec![text(lag(reached.lag_ms, reached.uncertain_ms))],
            ]
        })
        .collect();
    let body = table("Versions that this node reached, newest first".into(), columns, rows);
    section("reached", "Versions reached", String::new(), body)
}

/// Connection events and other moments.
fn events(events: Vec<EventView>, as_of: Timestamp) -> Part {
    let body = if events.is_empty() {
        let why = "No source of ours sees its connection; silence is told from its reports.";
        paragraph("step", vec![text(why)])
    } else {
        let events: Vec<Part> = events.into_iter().map(|event| log_line(event, as_of)).collect();
        view! { <ol class="log">{events}</ol> }.part()
    };
    section("events", "Connection", String::new(), body)
}

fn log_line(event: EventView, as_of: Timestamp) -> Part {
    let look = Look { shape: Shape::Dot, tone: event_tone(&event.kind) };
    let when = say(vec![moment(event.at, as_of)]);
    let what = vec![
        Piece::Strong(event.kind),
        text(" "),
        outside(event.sentence),
        dim(format!(" · {}", event.source.label())),
    ];
    view! {
        <li>
            <span>{when}</span>
            <span class=format!("log__mark {}", look.tone.class())>
                <Icon look=look />
            </span>
            <p>{say(what)}</p>
        </li>
    }
    .part()
}

/// The tone of an event's dot; its word is beside it.
fn event_tone(kind: &str) -> Tone {
    match kind {
        "opened" => Tone::Ok,
        "closed" => Tone::Warn,
        "refused" | "unreachable" | "rejected" => Tone::Bad,
        _ => Tone::Mute,
    }
}

/// What it said of itself. What it did not say is left out.
fn facts(node: &NodeView) -> Vec<(&'static str, Vec<Piece>)> {
    let as_of = node.as_of.at;
    let said = &node.row.attributes;
    let labels = |pairs: &tidemark_domain::id::Labels| {
        pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
    };
    let twins: Vec<String> = node.twins.iter().map(|twin| name_of(twin, &node.row.id)).collect();
    let known = [
        ("Node id", Some(node.row.id.to_string())),
        ("Same id", (!twins.is_empty()).then(|| twins.join(", "))),
        ("Hostname", said.hostname.as_ref().map(ToString::to_string)),
        ("Address", said.ip.as_ref().map(ToString::to_string)),
        ("Gateway", said.gateway_version.as_ref().map(ToString::to_string)),
        ("Protocol", said.protocol.map(|protocol| protocol_name(protocol).into())),
        ("Sync mode", said.sync_mode.map(|mode| sync_name(mode).into())),
        ("Labels", said.labels.as_ref().map(labels).filter(|labels| !labels.is_empty())),
        ("Certificate", said.certificate_expires_at.map(|at| expiry(at, as_of))),
        ("License", said.license_expires_at.map(|at| expiry(at, as_of))),
        ("Clock", node.clock_skew_ms.map(skew)),
        ("Plugin set", said.plugin_set.as_ref().map(|digest| digest.as_str().chars().take(12).collect())),
        ("Capabilities", said.capabilities.as_ref().map(ToString::to_string)),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, vec![outside(value?)]))).collect()
}

const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V1 => "v1",
        Protocol::V2 => "v2",
    }
}

const fn sync_name(mode: SyncMode) -> &'static str {
    match mode {
        SyncMode::Full => "full",
        SyncMode::Delta => "delta",
        SyncMode::FellBack => "full, where delta was asked for",
    }
}

fn expiry(at: Timestamp, as_of: Timestamp) -> String {
    let date: String = at.to_string().chars().take(10).collect();
    if at > as_of { format!("until {date}, {} left", age(as_of, at)) } else { format!("expired {date}") }
}

fn skew(ms: i64) -> String {
    match ms {
        0 => "equal to ours".into(),
        1.. => format!("{} ahead of ours", lag(ms, 0)),
        _ => format!("{} behind ours", lag(-ms, 0)),
    }
}

/// Unbroken runs of equal reports.
fn past(history: &HistoryView, node: &NodeView, links: &Links) -> Part {
    let as_of = history.as_of.at;
    let (cp, id) = (&node.row.control_plane, &node.row.id);
    let columns = vec![
        column("From", "nowrap"),
        column("Until", "nowrap"),
        column("For", "num p1"),
        column("Meant", "nowrap"),
        column("Reported", "p1"),
        column("Reports", "num p2"),
        column("Source", "nowrap p3"),
        column("Gateway", "nowrap p3"),
    ];
    let rows = history
        .intervals
        .iter()
        .map(|interval| {
            let gateway = interval.attributes.gateway_version.as_ref();
            vec![
                vec![moment(interval.from, as_of)],
                vec![moment(interval.until, as_of)],
                vec![text(age(interval.from, interval.until))],
                vec![match (interval.version, &interval.reported) {
                    (Some(version), _) => link(links.version(cp, version), version),
                    (None, Some(reported)) if reported.is_zeros() => dim("nothing"),
                    (None, _) => dim("not in the ledger"),
                }],
                vec![interval.reported.as_ref().map_or_else(|| dim("not said"), hash)],
                vec![text(number(interval.count))],
                vec![text(interval.source.label())],
                gateway.map(|version| text(version.as_str())).into_iter().collect(),
            ]
        })
        .collect();
    let shown = counted(history.intervals.len() as u32, "interval", "intervals");
    let first = (!after().is_empty()).then(|| links.node(cp, id));
    let next = history.next.as_ref().map(|next| links.node_after(cp, id, next));
    let body =
        parts([table("Intervals of equal reports, newest first".into(), columns, rows), more(shown, first, next)]);
    section("history", "History", "unbroken runs of equal reports, newest first".into(), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_by_its_side() {
        assert_eq!(skew(0), "equal to ours");
        assert_eq!(skew(400), "400 ms ahead of ours");
        assert_eq!(skew(-90_000), "1 min 30 s behind ours");
    }

    #[test]
    fn an_expiry_is_told_by_its_day() {
        let at = |text: &str| Timestamp::parse(text).expect("a moment");
        assert_eq!(expiry(at("2026-12-02T03:21:07Z"), at("2026-11-20T03:21:07Z")), "until 2026-12-02, 12 d left");
        assert_eq!(expiry(at("2026-11-02T03:21:07Z"), at("2026-11-20T03:21:07Z")), "expired 2026-11-02");
    }
}
