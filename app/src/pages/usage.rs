//! Usage by month, as a bill would count it.

use super::page;
use crate::api;
use crate::links::Links;
use crate::parts::answer::Page;
use crate::parts::layout::{column, crumbs, list, parts, section, table, title};
use crate::parts::piece::{dim, link, text};
use crate::words::number;
use leptos::prelude::*;
use tidemark_domain::analytics::{TrafficQuestion, UsageMonth, UsageView};

/// `/usage`
#[component]
pub fn Usage() -> impl IntoView {
    page(|asked| api::usage(asked.at, asked.known), usage)
}

fn usage(view: UsageView, links: Links) -> Page {
    let columns = vec![
        column("Month", ""),
        column("Requests", "num"),
        column("Active services", "num"),
        column("Active consumers", "num p2"),
        column("Active applications", "num p3"),
    ];
    let lines = view.months.iter().map(|month| {
        let UsageMonth { from, is_over, requests, services, consumers, applications } = *month;
        let name: String = from.to_string().chars().take(7).collect();
        let count = |count: u32| vec![text(number(count.into()))];
        let mut name = vec![text(name)];
        name.extend((!is_over).then(|| dim(" so far")));
        vec![name, vec![text(number(requests))], count(services), count(consumers), count(applications)]
    });
    let months = table("Usage by month, newest first".into(), columns, lines.collect());
    let how = list(
        "foot",
        vec![
            vec![text(
                "Months of the calendar, UTC. A service, consumer or application is active in a month in which it had a \
                 request, and counts once.",
            )],
            vec![
                text("Exactly this as "),
                link(links.to("/api/v1/usage", &[("format", "csv")]), "CSV"),
                text(" or "),
                link(links.to("/api/v1/usage", &[]), "JSON"),
                text("."),
            ],
        ],
    );
    let body = parts([
        crumbs(vec![link(links.traffic(&TrafficQuestion::default()), "Analytics")]),
        title("Usage".into(), vec![text("as a bill would count it")]),
        section("months", "By month", "this one and the last twelve".into(), months),
        how,
    ]);
    Page { title: "Usage".into(), as_of: view.as_of, body }
}
