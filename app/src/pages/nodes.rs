//! The list of nodes: the question as a form, its facets as links, the rows, and what they share.

use super::{after, page};
use crate::api;
use crate::links::Links;
use crate::parts::answer::Page;
use crate::parts::header::{find_nodes, hidden};
use crate::parts::layout::{list, more, nothing, paragraph, title};
use crate::parts::nodes::node_table;
use crate::parts::part::{IntoPart, Part};
use crate::parts::piece::{Piece, link, strong, text};
use crate::parts::state::{Icon, Look, Stated};
use crate::question::{has, toggled};
use crate::words::{counted, number};
use leptos::prelude::*;
use tidemark_domain::common::search;
use tidemark_domain::sentence::factor_sentence;
use tidemark_domain::verdict::{ConfigWord, ConnectionWord, Counter};
use tidemark_domain::view::{CommonFactor, Facet, NodesView};

/// `/nodes`
#[component]
pub fn Nodes() -> impl IntoView {
    page(|asked| api::nodes(asked.q, asked.after, asked.at, asked.known), nodes)
}

fn nodes(view: NodesView, links: Links) -> Page {
    let question = view.query.clone();
    let asked = !question.trim().is_empty();
    let count = counted(view.total, "node", "nodes");
    let count = match (asked, view.total) {
        (false, _) => count,
        (true, 1) => format!("{count} matches"),
        (true, _) => format!("{count} match"),
    };
    let rows = if view.rows.is_empty() { no_node(&question, &links) } else { rows(&view, &links) };
    let facets: Vec<Part> = view.facets.into_iter().map(|facet| facet_part(facet, &question, &links)).collect();
    let common = view.common.into_iter().next().map(|factor| common(&factor, &question, &links));
    let body = view! {
        {title("Nodes".into(), vec![text(count)])}
        <Question question=question.clone() links=links.clone() />
        {problems(view.problems)}
        {common}
        <div class="finder">
            <aside class="facets" aria-label="Narrow the list">
                {facets}
            </aside>
            <section class="finder__rows" aria-label="Nodes that match">
                {rows}
            </section>
        </div>
    };
    Page { title: "Nodes".into(), as_of: view.as_of, body: body.part() }
}

fn rows(view: &NodesView, links: &Links) -> Part {
    let question = view.query.as_str();
    let caption =
        if question.is_empty() { "All nodes, worst first".into() } else { format!("Nodes that answer {question}") };
    let first = (!after().is_empty()).then(|| links.nodes(question));
    let next = view.next.as_ref().map(|next| links.nodes_after(question, next));
    let shown = format!("{} of {}", number(view.rows.len() as u64), number(view.total.into()));
    view! {
        {node_table(&view.rows, view.as_of.at, caption, Some(question), links)}
        {more(shown, first, next)}
    }
    .part()
}

/// The question as a form.
#[component]
fn Question(question: String, links: Links) -> impl IntoView {
    view! {
        <search>
            <form action="/nodes" method="get" on:submit=find_nodes()>
                <div class="question">
                    <label class="sr" for="question">
                        "Which nodes"
                    </label>
                    <input
                        class="question__box"
                        id="question"
                        name="q"
                        type="search"
                        value=question.clone()
                        prop:value=question
                        placeholder="name, ip, hash, or state:behind cp:eu-prod"
                        autocomplete="off"
                        spellcheck="false"
                        aria-describedby="grammar"
                    />
                    {hidden("at", Some(links.at().into()))}
                    {hidden("known", Some(links.known().into()))}
                    <button class="btn btn--first">"Search"</button>
                </div>
            </form>
        </search>
        <p class="grammar" id="grammar">
            "Plain words narrow by name, ip, hash or token. Keys: "
            <code>"cp: state: config: gateway: label.region: source: behind:>3 since:>10m -state:current sort:since"</code>
        </p>
    }
}

fn problems(problems: Vec<String>) -> Option<Part> {
    (!problems.is_empty()).then(|| {
        view! {
            <div class="problems" role="alert">
                <p>"Not understood, and left out:"</p>
                {list("", problems.into_iter().map(|problem| vec![text(problem)]).collect())}
            </div>
        }
        .part()
    })
}

/// What the list shares that the rest of the fleet does not, with the list of those of it that have it.
fn common(factor: &CommonFactor, question: &str, links: &Links) -> Part {
    let mut say = vec![strong("In common: "), text(factor_sentence(factor))];
    if let Some(search) = search(factor) {
        say.extend([text(" "), link(links.nodes(&format!("{question} {search}")), "List these.")]);
    }
    paragraph("common", say)
}

/// The name of a property.
fn facet_title(key: &str) -> &str {
    match key {
        "cp" => "Control plane",
        "state" => "Configuration",
        "connection" => "Connectivity",
        "config" => "Version",
        "gateway" => "Gateway",
        "source" => "Source",
        other => other.strip_prefix("label.").unwrap_or(other),
    }
}

/// The look of a state that a facet names; `None` for all other values.
fn look_of(value: &str) -> Option<Look> {
    let config = ConfigWord::ALL.into_iter().find(|word| word.word() == value).map(|word| word.look());
    let connection = || ConnectionWord::ALL.into_iter().find(|word| word.word() == value).map(|word| word.look());
    let counter = || Counter::ALL.into_iter().find(|word| word.word() == value).map(|word| word.look());
    config.or_else(connection).or_else(counter)
}

fn facet_part(facet: Facet, question: &str, links: &Links) -> Part {
    let states = matches!(facet.key.as_str(), "state" | "connection");
    // A state is searched by one key, whichever axis the facet counts.
    let key = if states { "state" } else { facet.key.as_str() };
    let values: Vec<Part> = facet
        .values
        .into_iter()
        .map(|count| {
            let look = look_of(&count.of).filter(|_| states);
            let href = links.nodes(&toggled(question, key, &count.of));
            let chosen = has(question, key, &count.of).then_some("true");
            let text = match count.of.as_str() {
                "" => "not said".into(),
                word if states => word.replace('_', " "),
                value => value.into(),
            };
            view! {
                <li>
                    <a class=look.map_or("", |look| look.tone.class()) href=href aria-current=chosen>
                        {look.map(|look| view! { <Icon look=look /> })}
                        <bdi>{text}</bdi>
                        <span class="facets__n">{number(count.nodes.into())}</span>
                    </a>
                </li>
            }
            .part()
        })
        .collect();
    view! {
        <section>
            <h2>{facet_title(&facet.key).to_owned()}</h2>
            <ul>{values}</ul>
        </section>
    }
    .part()
}

/// No node answers.
fn no_node(question: &str, links: &Links) -> Part {
    let why = if question.is_empty() {
        vec![text("No node has reported yet.")]
    } else {
        vec![Piece::Code(question.into()), text(" finds nothing.")]
    };
    nothing("No node matches", vec![why, vec![link(links.nodes(""), "All nodes")]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facet_of_states_has_their_shapes() {
        assert_eq!(look_of("never_seen"), Some(ConnectionWord::NeverSeen.look()));
        assert_eq!(look_of("behind"), Some(ConfigWord::Behind.look()));
        assert_eq!(look_of("rolling_out"), Some(Counter::RollingOut.look()));
        assert_eq!(look_of("3.9.1"), None);
        assert_eq!(facet_title("label.region"), "region");
    }
}
