//! How pieces are put together: titles, sections, tables, pairs, and what is said where there is nothing.

use super::part::{IntoPart, Part};
use super::piece::{Piece, say};
use crate::question::Direction;
use leptos::prelude::*;

/// The way from the place of the header down to a page.
#[must_use]
pub fn crumbs(pieces: Vec<Piece>) -> Part {
    view! {
        <nav class="crumbs" aria-label="Breadcrumb">
            {say(pieces)}
        </nav>
    }
    .part()
}

/// The name of a page, and a few words beside it.
#[must_use]
pub fn title(name: String, beside: Vec<Piece>) -> Part {
    view! {
        <div class="title">
            <h1>
                <bdi>{name}</bdi>
            </h1>
            <p class="soft">{say(beside)}</p>
        </div>
    }
    .part()
}

/// A section with its heading.
#[must_use]
pub fn section(id: &'static str, title: &'static str, hint: String, body: Part) -> Part {
    view! {
        <section class="section" aria-labelledby=id>
            <div class="head">
                <h2 id=id>{title}</h2>
                <p>{hint}</p>
            </div>
            {body}
        </section>
    }
    .part()
}

/// A paragraph.
#[must_use]
pub fn paragraph(class: &'static str, pieces: Vec<Piece>) -> Part {
    view! { <p class=class>{say(pieces)}</p> }.part()
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    head: &'static str,
    class: &'static str,
    order: Option<(String, Option<Direction>)>,
}

/// A column; its classes say where numbers are, and when it leaves a narrow table (`p4` first).
#[must_use]
pub const fn column(head: &'static str, class: &'static str) -> Column {
    Column { head, class, order: None }
}

impl Column {
    /// The column with a way to sort by it, and how it is sorted now.
    #[must_use]
    pub fn sorted(mut self, href: String, now: Option<Direction>) -> Self {
        self.order = Some((href, now));
        self
    }
}

/// A table: what it shows, its columns, and a list of pieces for each cell. The first cell of a row is its head.
#[must_use]
pub fn table(caption: String, columns: Vec<Column>, rows: Vec<Vec<Vec<Piece>>>) -> Part {
    let classes: Vec<&'static str> = columns.iter().map(|column| column.class).collect();
    let rows: Vec<Part> = rows.into_iter().map(|cells| row(cells, &classes)).collect();
    let heads: Vec<Part> = columns.into_iter().map(head).collect();
    view! {
        <div class="scroll">
            <table class="grid">
                <caption class="sr">{caption}</caption>
                <thead>
                    <tr>{heads}</tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .part()
}

fn head(column: Column) -> Part {
    let (href, now) = column.order.map_or((None, None), |(href, now)| (Some(href), now));
    let arrow = now.map_or("", Direction::arrow);
    let words = format!("{} {arrow}", column.head);
    let words = match href {
        Some(href) => view! { <a href=href>{words}</a> }.part(),
        None => words.part(),
    };
    view! {
        <th scope="col" class=column.class aria-sort=now.map(Direction::word)>
            {words}
        </th>
    }
    .part()
}

fn row(cells: Vec<Vec<Piece>>, classes: &[&'static str]) -> Part {
    let cells: Vec<Part> = cells
        .into_iter()
        .zip(classes)
        .enumerate()
        .map(|(index, (pieces, class))| {
            if index == 0 {
                view! {
                    <th scope="row" class=*class>
                        {say(pieces)}
                    </th>
                }
                .part()
            } else {
                view! { <td class=*class>{say(pieces)}</td> }.part()
            }
        })
        .collect();
    view! { <tr>{cells}</tr> }.part()
}

/// Names and what they stand for.
#[must_use]
pub fn pairs(class: &'static str, pairs: Vec<(&'static str, Vec<Piece>)>) -> Part {
    let pairs: Vec<Part> = pairs
        .into_iter()
        .map(|(name, pieces)| {
            view! {
                <div>
                    <dt>{name}</dt>
                    <dd>{say(pieces)}</dd>
                </div>
            }
            .part()
        })
        .collect();
    view! { <dl class=class>{pairs}</dl> }.part()
}

/// A list, each line of pieces.
#[must_use]
pub fn list(class: &'static str, lines: Vec<Vec<Piece>>) -> Part {
    let lines: Vec<Part> = lines.into_iter().map(|line| view! { <li>{say(line)}</li> }.part()).collect();
    view! { <ul class=class>{lines}</ul> }.part()
}

/// Where there is nothing, and that is the answer.
#[must_use]
pub fn nothing(title: &'static str, lines: Vec<Vec<Piece>>) -> Part {
    let lines: Vec<Part> = lines.into_iter().map(|line| paragraph("", line)).collect();
    view! {
        <div class="slate">
            <h2>{title}</h2>
            {lines}
        </div>
    }
    .part()
}

/// The way on at the foot of a list: what is shown, the beginning where this is another part, and the next part.
#[must_use]
pub fn more(shown: String, first: Option<String>, next: Option<String>) -> Part {
    let way = |href: Option<String>, word: &'static str| href.map(|href| view! { <a href=href>{word}</a> }.part());
    view! {
        <nav class="more" aria-label="More of this list">
            <span>{shown}</span>
            {way(first, "From the beginning")}
            {way(next, "Next")}
        </nav>
    }
    .part()
}

/// A part that opens when asked for.
#[must_use]
pub fn disclosure(summary: String, body: Part) -> Part {
    view! {
        <details class="numbers">
            <summary>{summary}</summary>
            {body}
        </details>
    }
    .part()
}

/// Parts one below the other.
#[must_use]
pub fn parts<const N: usize>(parts: [Part; N]) -> Part {
    Vec::from(parts).part()
}

/// Parts side by side where there is room.
#[must_use]
pub fn columns(class: &'static str, parts: Vec<Part>) -> Part {
    view! { <div class=class>{parts}</div> }.part()
}
