//! The verdict of one node: the banner with both axes, and the proof: what is reported and what is expected, how both
//! are judged, and what we know, infer and cannot know.

use super::layout::{list, pairs, paragraph};
use super::part::{IntoPart, Part, none};
use super::piece::{Piece, ago, link, outside, say, text};
use super::state::{Icon, Look, Shape, Stated, Tone, config_sentence, connection_sentence, overlay_look};
use crate::links::Links;
use leptos::prelude::*;
use tidemark_domain::fact::ConfigRef;
use tidemark_domain::time::Timestamp;
use tidemark_domain::verdict::ConfigWord;
use tidemark_domain::view::{NodeRow, NodeView, VersionRow};

/// Both axes side by side, the verdict across, overlays at its end.
#[must_use]
pub fn axes(row: NodeRow, as_of: Timestamp) -> Part {
    let verdict = row.verdict;
    let mut heard = vec![text(connection_sentence(&verdict.connectivity, as_of))];
    if let Some(at) = row.last_report_at {
        let last = if row.last_report_estimated { " Last report about " } else { " Last report " };
        heard.extend([text(last), ago(at, as_of)]);
        heard.extend(row.source.map(|source| text(format!(", by {}", source.label()))));
        heard.push(text("."));
    }
    let flags: Vec<Part> = verdict
        .overlays
        .iter()
        .map(|overlay| {
            let look = overlay_look(overlay);
            view! {
                <span class=format!("flag {}", look.tone.class())>
                    <Icon look=look />
                    {overlay.label()}
                </span>
            }
            .part()
        })
        .collect();
    view! {
        <section class="axes" aria-label="Verdict">
            {axis("Connectivity", &verdict.connectivity, heard)}
            {axis("Configuration", &verdict.config, vec![text(config_sentence(&verdict, as_of))])}
            <div class="axes__verdict">
                <div>
                    <p class="axes__headline">{row.headline}</p>
                    <p class="axes__evidence">{row.evidence}</p>
                </div>
                <p class="flags">{flags}</p>
            </div>
        </section>
    }
    .part()
}

fn axis(name: &'static str, state: &impl Stated, sentence: Vec<Piece>) -> Part {
    let state = Piece::State { look: state.look(), word: state.text(), note: String::new() };
    view! {
        <div class="axes__axis">
            <h2>{name}</h2>
            {paragraph("", vec![state])}
            {paragraph("", sentence)}
        </div>
    }
    .part()
}

/// What a comparison of raw hashes says, in words.
fn by_hash(reported: Option<&ConfigRef>, expected: Option<&ConfigRef>) -> &'static str {
    match reported.zip(expected) {
        Some((reported, expected)) if reported == expected => "equal",
        Some(_) => "out of sync",
        None => "cannot say",
    }
}

/// The card below the banner.
#[must_use]
pub fn proof_card(node: NodeView, links: &Links) -> Part {
    let verdict = node.row.verdict;
    let says = Piece::State {
        look: Look { shape: Shape::Unknown, tone: Tone::Mute },
        word: by_hash(node.row.reported.as_ref(), node.expected.as_ref()),
        note: String::new(),
    };
    let judges = vec![
        (
            "By version",
            vec![Piece::State { look: verdict.config.look(), word: verdict.config.text(), note: String::new() }],
        ),
        ("By raw hash", vec![says]),
    ];
    // Where both are renderings of one version, a bracket joins them; else each has its own.
    let is_current = verdict.config.word() == ConfigWord::Current;
    let join = if is_current { "equal__join" } else { "equal__apart" };
    let otherwise = match &node.row.reported {
        Some(config) if config.is_zeros() => ("no configuration", "Zeros are what a node without one repeats."),
        Some(_) => ("not in the ledger", "It was never published here, as far as we know."),
        None => ("not known", "No report has named a configuration."),
    };
    let running = meaning("It runs", node.running.as_ref(), otherwise, node.as_of.at, links);
    let head = if is_current {
        none()
    } else {
        let otherwise = ("not known", "The control plane has no version in its ledger yet.");
        meaning("The head is", node.head.as_ref(), otherwise, node.as_of.at, links)
    };
    view! {
        <section class="proof section" aria-labelledby="proof">
            <header>
                <h2 id="proof">"Proof"</h2>
                <span class="small dim">"rule " {node.rule}</span>
            </header>
            <div class="equal">
                <div class="equal__sides">
                    {side("The node reports", node.row.reported.as_ref(), "No report has named a configuration.")}
                    {side("The control plane expects", node.expected.as_ref(), "It has not told us.")}
                </div>
                <div class=join aria-hidden="true"></div>
                <div class="equal__both">{running} {head}</div>
                {pairs("equal__says", judges)}
            </div>
            <div class="known">
                {known("What we know", "known__part known__part--told", node.proof.know)}
                {known("What we infer", "known__part known__part--inferred", node.proof.infer)}
                {known("What we cannot know", "known__part known__part--blank", node.proof.cannot_know)}
            </div>
        </section>
    }
    .part()
}

/// What a hash means: a version of the ledger, or the words for what it means otherwise.
fn meaning(
    title: &'static str,
    version: Option<&VersionRow>,
    otherwise: (&'static str, &'static str),
    as_of: Timestamp,
    links: &Links,
) -> Part {
    let (name, more) = match version {
        Some(version) => {
            let name = format!("{} {}", version.control_plane, version.ordinal);
            let more = vec![outside(&version.cause), text(" · published "), ago(version.published_at, as_of)];
            (link(links.version(&version.control_plane, version.ordinal), name), more)
        }
        None => (text(otherwise.0), vec![text(otherwise.1)]),
    };
    view! {
        <div>
            <h3>{title}</h3>
            {paragraph("equal__version", vec![name])}
            {paragraph("", more)}
        </div>
    }
    .part()
}

fn side(title: &'static str, config: Option<&ConfigRef>, otherwise: &'static str) -> Part {
    let (class, said) = config.map_or(("dim", otherwise.into()), |config| ("hash", config.to_string()));
    view! {
        <div>
            <h3>{title}</h3>
            <p class=class translate="no">
                {said}
            </p>
        </div>
    }
    .part()
}

fn known(title: &'static str, class: &'static str, lines: Vec<String>) -> Part {
    let lines = if lines.is_empty() {
        paragraph("dim", vec![text("Nothing.")])
    } else {
        list("", lines.into_iter().map(|line| vec![text(line)]).collect())
    };
    view! {
        <div class=class>
            <h3>{title}</h3>
            {lines}
        </div>
    }
    .part()
}

/// What a node says of its own failure, word by word.
#[must_use]
pub fn quotation(words: String) -> Part {
    view! {
        <pre class="code" tabindex="0">
            {say(vec![text(words)])}
        </pre>
    }
    .part()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_hash_says_nothing_where_one_side_is_silent() {
        let hash = |text: &str| ConfigRef::Hash(text.repeat(32).parse().expect("a hash"));
        let (a, b) = (hash("a"), hash("b"));
        assert_eq!(by_hash(Some(&a), Some(&a)), "equal");
        assert_eq!(by_hash(Some(&a), Some(&b)), "out of sync");
        assert_eq!(by_hash(None, Some(&b)), "cannot say");
        assert_eq!(by_hash(Some(&a), None), "cannot say");
    }
}
