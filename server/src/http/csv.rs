//! Answers as CSV (RFC 4180): one line a row, and nothing that a spreadsheet would take for a formula.

use std::borrow::Cow;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tidemark_domain::analytics::{Totals, TrafficView, UsageMonth, UsageView};

/// The columns of sums.
const TOTALS: [&str; 10] = [
    "requests",
    "errors_5xx",
    "errors_4xx",
    "bytes_in",
    "bytes_out",
    "p50_us",
    "p95_us",
    "p99_us",
    "gateway_p95_us",
    "upstream_p95_us",
];

/// A file of this name.
#[must_use]
pub fn answer(name: &'static str, lines: &[Vec<String>]) -> Response {
    let mut text = String::new();
    for line in lines {
        let fields: Vec<Cow<'_, str>> = line.iter().map(|field| quoted(field)).collect();
        text += &fields.join(",");
        text += "\r\n";
    }
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}.csv\""));
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    if let Ok(disposition) = disposition {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// The rows of an answer about traffic.
#[must_use]
pub fn rows(view: &TrafficView) -> Vec<Vec<String>> {
    let head = [view.question.by.word(), "control_plane", "detail"].into_iter().chain(TOTALS);
    let mut lines = vec![head.map(str::to_owned).collect()];
    for row in &view.rows {
        let names = [Some(row.name.clone()), row.control_plane.clone(), row.detail.clone()];
        lines.push(names.map(Option::unwrap_or_default).into_iter().chain(totals(&row.totals)).collect());
    }
    lines
}

/// The series of an answer about traffic. Of a gap there is only the time.
#[must_use]
pub fn points(view: &TrafficView) -> Vec<Vec<String>> {
    let mut lines = vec![["at"].into_iter().chain(TOTALS).map(str::to_owned).collect()];
    for point in &view.points {
        let values = point.totals.as_ref().map_or_else(|| [const { String::new() }; 10], totals);
        lines.push([point.at.to_string()].into_iter().chain(values).collect());
    }
    lines
}

/// Usage by month.
#[must_use]
pub fn usage(view: &UsageView) -> Vec<Vec<String>> {
    let head = ["month", "is_over", "requests", "active_services", "active_consumers", "active_applications"];
    let mut lines = vec![head.map(str::to_owned).into()];
    for month in &view.months {
        let UsageMonth { from, is_over, requests, services, consumers, applications } = month;
        lines.push(vec![
            from.to_string().chars().take(7).collect(),
            is_over.to_string(),
            requests.to_string(),
            services.to_string(),
            consumers.to_string(),
            applications.to_string(),
        ]);
    }
    lines
}

fn totals(of: &Totals) -> [String; 10] {
    let count = |number: u64| number.to_string();
    let maybe = |number: Option<u64>| number.map_or_else(String::new, count);
    [
        count(of.requests),
        count(of.errors),
        count(of.client_errors),
        count(of.bytes_in),
        count(of.bytes_out),
        maybe(of.p50_us),
        maybe(of.p95_us),
        maybe(of.p99_us),
        maybe(of.gateway_p95_us),
        maybe(of.upstream_p95_us),
    ]
}

/// A field between quotes where it needs them. What a spreadsheet would calculate begins with an apostrophe, as names come
/// from outside.
fn quoted(field: &str) -> Cow<'_, str> {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let needs = field.contains([',', '"', '\n', '\r']) || field.starts_with(' ') || field.ends_with(' ');
    match (formula, needs) {
        (false, false) => Cow::Borrowed(field),
        (formula, _) => {
            let mark = if formula { "'" } else { "" };
            Cow::Owned(format!("\"{mark}{}\"", field.replace('"', "\"\"")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_need_it_and_formulas_are_texts() {
        #[track_caller]
        fn check(field: &str, expected: &str) {
            assert_eq!(quoted(field), expected);
        }
        check("orders", "orders");
        check("", "");
        check("a,b", "\"a,b\"");
        check("say \"x\"", "\"say \"\"x\"\"\"");
        check("=1+1", "\"'=1+1\"");
        check("@a", "\"'@a\"");
        check("a\nb", "\"a\nb\"");
        check("a=b", "a=b");
    }
}
