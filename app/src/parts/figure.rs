//! A drawing with its finding, and with the numbers behind it. It comes as shapes with roles; the style sheet gives
//! them their colours, so that one drawing serves both themes.

use super::layout::{column, disclosure, table};
use super::part::{IntoPart, Part};
use super::piece::text;
use leptos::prelude::*;
use std::fmt::Write;
use tidemark_domain::drawing::{Drawing, Figure, Mark};

/// The figure at two widths, of which the style sheet shows one.
#[must_use]
pub fn figure(figure: Figure) -> Part {
    let numbers = figure.numbers.into_iter().map(|(name, value)| vec![vec![text(name)], vec![text(value)]]).collect();
    let columns = vec![column("Measure", ""), column("Value", "num")];
    view! {
        <figure class="figure">
            <figcaption>{figure.caption.clone()}</figcaption>
            {drawing("figure__wide", figure.wide, figure.label.clone())}
            {drawing("figure__narrow", figure.narrow, figure.label)}
            {disclosure("Numbers".into(), table(figure.caption, columns, numbers))}
        </figure>
    }
    .part()
}

fn drawing(class: &'static str, drawing: Drawing, label: String) -> Part {
    let marks: Vec<Part> = drawing.marks.into_iter().map(mark).collect();
    view! {
        <svg class=class viewBox=format!("0 0 {} {}", drawing.width, drawing.height) role="img" aria-label=label>
            {marks}
        </svg>
    }
    .part()
}

fn mark(mark: Mark) -> Part {
    match mark {
        Mark::Line { ink, points } => view! { <path class=ink.class() fill="none" d=path(&points, "") /> }.part(),
        Mark::Area { ink, points } => view! { <path class=ink.class() d=path(&points, "Z") /> }.part(),
        Mark::Dot { ink, at: (x, y), radius } => view! {
            <circle class=ink.class() cx=x.to_string() cy=y.to_string() r=radius.to_string() />
        }
        .part(),
        Mark::Text { ink, at: (x, y), anchor, text } => view! {
            <text class=ink.class() x=x.to_string() y=y.to_string() text-anchor=anchor.word()>
                {text}
            </text>
        }
        .part(),
    }
}

/// The data of a path through these points.
fn path(points: &[(i32, i32)], end: &str) -> String {
    let mut data = String::with_capacity(points.len() * 8);
    for (index, (x, y)) in points.iter().enumerate() {
        // Writing into a string does not fail.
        let _ = write!(data, "{}{x} {y}", if index == 0 { 'M' } else { 'L' });
    }
    data + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_through_its_points() {
        assert_eq!(path(&[(0, 1), (-2, 3)], "Z"), "M0 1L-2 3Z");
        assert_eq!(path(&[], ""), "");
    }
}
