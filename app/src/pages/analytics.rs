//! Traffic: the range, what it is split by and narrowed to, its series, and the rows.

use super::page;
use crate::api;
use crate::links::Links;
use crate::parts::answer::Page;
use crate::parts::figure::figure;
use crate::parts::layout::{Column, column, list, nothing, paragraph, parts, section, table, title};
use crate::parts::part::{IntoPart, Part};
use crate::parts::piece::{Piece, dim, link, outside, strong, text};
use crate::words::number;
use leptos::prelude::*;
use tidemark_domain::analytics::{
    Last, Range, Totals, TrafficQuestion, TrafficRow, TrafficView, bytes, latency, percent,
};
use tidemark_domain::traffic::By;

/// `/analytics`
#[component]
pub fn Analytics() -> impl IntoView {
    page(|asked| api::traffic(asked.others, asked.at, asked.known), traffic)
}

fn traffic(view: TrafficView, links: Links) -> Page {
    let question = view.question.clone();
    let body = if view.total.requests == 0 && view.points.iter().all(|point| point.totals.is_none()) {
        silence(&question, &links)
    } else {
        let figures: Vec<Part> = view.figures.iter().cloned().map(figure).collect();
        parts([
            paragraph("lead", vec![text(view.sentence.clone())]),
            view! { <div class="charts">{figures}</div> }.part(),
            section("rows", "Split", format!("by {}", question.by.label().to_lowercase()), rows(&view, &links)),
            foot(&view, &links),
        ])
    };
    let body = parts([
        title(
            "Analytics".into(),
            vec![text("what gateways do, beside what they run · "), link(links.usage(), "usage by month")],
        ),
        choices(&view, &links),
        body,
    ]);
    Page { title: "Analytics".into(), as_of: view.as_of, body }
}

/// The question as links: its time, its split, and what it is narrowed to.
fn choices(view: &TrafficView, links: &Links) -> Part {
    let question = &view.question;
    let ranges = Last::ALL.map(|last| {
        let chosen = question.range == Range::Last(last);
        (links.traffic(&question.of(last)), last.word().to_owned(), chosen)
    });
    let splits = view.splits.iter().map(|by| {
        let chosen = question.by == *by;
        (links.traffic(&question.split(*by)), by.label().to_owned(), chosen)
    });
    let only: Vec<Part> = question
        .only
        .iter()
        .map(|(by, name)| {
            let href = links.traffic(&question.without(*by));
            let name = if name.is_empty() { "none".to_owned() } else { name.clone() };
            view! {
                <li>
                    <a class="only" href=href>
                        <span>{by.label()}</span>
                        <bdi>{name}</bdi>
                        <span class="sr">"and all others"</span>
                        <span aria-hidden="true">"×"</span>
                    </a>
                </li>
            }
            .part()
        })
        .collect();
    let only = (!only.is_empty()).then(|| view! { <ul class="choices" aria-label="Only">{only}</ul> }.part());
    parts([
        choice("Time", ranges.into_iter().collect()),
        choice("Split by", splits.collect()),
        only.unwrap_or_else(|| ().into_any().part()),
    ])
}

fn choice(label: &'static str, links: Vec<(String, String, bool)>) -> Part {
    let links: Vec<Part> = links
        .into_iter()
        .map(|(href, name, chosen)| {
            view! {
                <li>
                    <a href=href aria-current=chosen.then_some("true")>
                        {name}
                    </a>
                </li>
            }
            .part()
        })
        .collect();
    view! {
        <nav class="choices" aria-label=label>
            <span aria-hidden="true">{label}</span>
            <ul>{links}</ul>
        </nav>
    }
    .part()
}

fn rows(view: &TrafficView, links: &Links) -> Part {
    let by = view.question.by;
    let mut columns: Vec<Column> = vec![
        column(by.label(), "wide"),
        column("Requests", "num"),
        column("Share", "num p2"),
        column("5xx", "num"),
        column("4xx", "num p3"),
    ];
    if view.has_latencies {
        columns.extend([column("p50", "num p3"), column("p95", "num"), column("p99", "num p2")]);
    }
    columns.push(column("Bytes out", "num p4"));
    let lines = view.rows.iter().map(|row| line(row, view, links)).collect();
    table(format!("Traffic by {}, most requests first", by.label().to_lowercase()), columns, lines)
}

fn line(row: &TrafficRow, view: &TrafficView, links: &Links) -> Vec<Vec<Piece>> {
    let by = view.question.by;
    let shown = if row.name.is_empty() { format!("no {}", by.label().to_lowercase()) } else { row.name.clone() };
    // A name is only its control plane's own: so it is asked for there.
    let of = row
        .control_plane
        .as_deref()
        .map_or_else(|| view.question.clone(), |name| view.question.narrowed(By::ControlPlane, name, by));
    let mut name = vec![link(links.traffic(&of.narrowed(by, &row.name, by.inside())), shown)];
    name.extend(row.detail.as_ref().map(|detail| dim(format!(" {detail}"))));
    if let Some(control_plane) = &row.control_plane {
        name.push(dim(format!(" {control_plane}")));
        if by == By::Node {
            name.extend([text(" "), link(links.to(&format!("/nodes/{control_plane}/{}", row.name), &[]), "node page")]);
        }
    }
    let Totals { requests, p50_us, p95_us, p99_us, bytes_out, client_errors, .. } = row.totals;
    let told = |us: Option<u64>| vec![text(us.map_or("–".into(), latency))];
    let errors = percent(row.totals.error_ppm().unwrap_or(0));
    let mut line = vec![
        name,
        vec![text(number(requests))],
        vec![text(percent(row.share_ppm))],
        vec![if row.totals.errors > 0 { strong(errors) } else { text(errors) }],
        vec![text(number(client_errors))],
    ];
    if view.has_latencies {
        line.extend([told(p50_us), told(p95_us), told(p99_us)]);
    }
    line.push(vec![text(bytes(bytes_out))]);
    line
}

fn foot(view: &TrafficView, links: &Links) -> Part {
    let mut lines = Vec::new();
    if view.left_out > 0 {
        lines.push(vec![text(format!(
            "{} more have fewer requests; narrow down to see them.",
            number(view.left_out.into())
        ))]);
    }
    if view.unattributed > 0 {
        lines.push(vec![text(format!(
            "{} requests belong to no control plane that is known: no entry says one, and neither does the address that they are sent to.",
            number(view.unattributed)
        ))]);
    }
    if view.question.by == By::Version {
        lines.push(vec![text(
            "A minute in which a node changed its version counts for neither; the last three minutes are not told apart yet.",
        )]);
    }
    let file = |format, name: &str| link(links.traffic_file(&view.question, format), name);
    lines.push(vec![
        text("Exactly this as "),
        file("csv", "CSV"),
        text(", "),
        file("points.csv", "CSV of the series"),
        text(" or "),
        file("json", "JSON"),
        text("."),
    ]);
    list("foot", lines)
}

/// Nothing was told.
fn silence(question: &TrafficQuestion, links: &Links) -> Part {
    let setup = [
        outside("curl -X POST http://KONG:8001/plugins -d name=http-log"),
        outside(" -d config.http_endpoint=http://TIDEMARK:3000/ingest/kong/http-log/CONTROL-PLANE"),
    ];
    let mut lines = vec![
        vec![text("Nothing was told of this time. Gateways tell what they do by their http-log plugin:")],
        setup.into(),
    ];
    if !question.only.is_empty() || question.range != Range::default() {
        lines.push(vec![link(links.traffic(&TrafficQuestion::default()), "All traffic of the last hour")]);
    }
    nothing("No traffic", lines)
}
