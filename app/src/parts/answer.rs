//! What stands around every answer: when it was given, the strip where it is not the plain live view, the page itself,
//! and what is shown where there is no answer.

use super::header::hidden;
use super::part::{IntoPart, Part};
use crate::api::{ApiError, Packed, Reply};
use crate::links::{Links, use_links};
use crate::live::Live;
use crate::pages::Asked;
use crate::words::absolute;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_location, use_query_map};
use std::pin::Pin;
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::AsOf;

/// What a page makes of an answer.
pub struct Page {
    /// Its name, for the title of the document.
    pub title: String,
    /// Which answer it is.
    pub as_of: AsOf,
    /// What it shows.
    pub body: Part,
}

/// Asks the server.
pub type Ask = Box<dyn Fn(Asked) -> Pin<Box<dyn Future<Output = Result<Packed, ApiError>> + Send>> + Send + Sync>;
/// Makes a page of an answer.
pub type LayOut = Box<dyn Fn(&Packed, Links) -> Result<Page, ApiError> + Send + Sync>;

/// The answer to a page's question, and what is shown of it. It is asked again when the question changes or the server
/// says that there is a newer answer. Meanwhile, and while the server cannot be reached, the last one stays on screen.
pub fn answer(asked: impl Fn() -> Asked + Clone + Send + Sync + 'static, ask: Ask, lay_out: LayOut) -> impl IntoView {
    let live = expect_context::<Live>();
    let links = use_links();
    let kept = StoredValue::new(None::<(Asked, Packed)>);
    let source = asked.clone();
    let answer = Resource::new_str(
        move || (source(), live.round()),
        move |(asked, _)| {
            let answer = ask(asked);
            async move { Reply(answer.await) }
        },
    );
    let last_resort = move |answer: Result<Packed, ApiError>| {
        let asked = untrack(&asked);
        match answer {
            Ok(answer) => {
                kept.set_value(Some((asked, answer.clone())));
                Ok(answer)
            }
            Err(ApiError::Unavailable(why)) => {
                let last = kept.get_value().filter(|(of, _)| *of == asked);
                last.map(|(_, answer)| answer).ok_or(ApiError::Unavailable(why))
            }
            Err(error) => Err(error),
        }
    };
    let shown = move || {
        let page = last_resort(answer.get()?.0).and_then(|answer| lay_out(&answer, links.get()));
        Some(around(page))
    };
    view! { <Transition fallback=|| view! { <main class="page" id="main" aria-busy="true"></main> }>{shown}</Transition> }
}

/// The page with what stands around it, or why there is none.
fn around(page: Result<Page, ApiError>) -> Part {
    let live = expect_context::<Live>();
    match page {
        Ok(Page { title, as_of, body }) => view! {
            <Title text=title />
            {standing(as_of)}
            <main class="page" id="main" tabindex="-1" class:is-stale=move || live.is_lost()>
                {body}
            </main>
        }
        .part(),
        Err(error) => view! {
            <main class="page" id="main" tabindex="-1">
                {failure(&error)}
            </main>
        }
        .part(),
    }
}

/// When the answer was given, and the strip below the header.
fn standing(as_of: AsOf) -> Part {
    let live = expect_context::<Live>();
    let at = as_of.at;
    let word = match (as_of.past, as_of.held) {
        (true, _) => "At",
        (false, true) => "Held",
        (false, false) => "As of",
    };
    let live_word = move || if live.is_open() { "Live" } else { word };
    let strip = match (as_of.past, as_of.held) {
        (true, _) => Some(past_strip()),
        (false, true) => Some(held_strip(at)),
        (false, false) => None,
    };
    Effect::new(move |_| live.show(as_of.clone()));
    let lost = move || {
        live.is_lost().then(|| {
            view! {
                <p class="strip strip--stale" role="status">
                    <b>"Reconnecting."</b>
                    {format!(" What you see is of {}.", absolute(at))}
                </p>
            }
        })
    };
    view! {
        <aside class="asof" aria-label="Time of the answer">
            <details>
                <summary title=format!("{}; choose another moment", absolute(at))>
                    <span class="asof__word">{live_word} " "</span>
                    <time datetime=at.to_string()>{at.clock()}</time>
                    <span class="asof__zone">" UTC"</span>
                </summary>
                {moment_form(at.to_string())}
            </details>
        </aside>
        {strip}
        {lost}
    }
    .part()
}

/// Chooses the moment to look at; everything else of the question stays.
fn moment_form(at: String) -> Part {
    let query = use_query_map();
    let path = use_location().pathname;
    view! {
        <form class="asof__form" method="get" action=move || path.get()>
            <label for="moment">"Look at the moment"</label>
            <input id="moment" name="at" value=at autocomplete="off" spellcheck="false" />
            {move || hidden("q", query.with(|query| query.get("q")))}
            <button class="btn">"Look"</button>
        </form>
    }
    .part()
}

/// The view is of the past.
fn past_strip() -> Part {
    let links = use_links();
    let location = use_location();
    let query = use_query_map();
    let question = move || query.with(|query| query.get("q")).unwrap_or_default();
    let path = move || location.pathname.get();
    let knows = move || links.with(|links| links.known() == "now");
    let other = move || {
        let known = if knows() { "" } else { "now" };
        links.with(|links| links.knowing(known).to(&path(), &[("q", &question())]))
    };
    let moment = move || {
        let at = links.with(|links| links.at().to_owned());
        Timestamp::parse(&at).map_or(at, absolute)
    };
    view! {
        <p class="strip strip--at" role="status">
            <span class="strip__say">
                <b>"Looking at " {moment} "."</b>
                {move || {
                    if knows() { " With all that became known since." } else { " By what was known then." }
                }}
            </span>
            <a href=other>{move || if knows() { "Only what was known then" } else { "With what is known now" }}</a>
            <a class="btn btn--first" href=move || Links::now().to(&path(), &[("q", &question())])>
                "Back to now"
            </a>
        </p>
    }
    .part()
}

/// The server's clock is held.
fn held_strip(at: Timestamp) -> Part {
    view! {
        <p class="strip strip--at" role="status">
            <b>{format!("The clock is held at {}.", absolute(at))}</b>
            " This is a recording: nothing is taken in, and no age grows."
        </p>
    }
    .part()
}

/// There is no answer, and why.
#[must_use]
pub fn failure(error: &ApiError) -> Part {
    // To ask the same again helps only where the question was right.
    let asks_again = matches!(error, ApiError::Unavailable(_) | ApiError::Internal(_));
    let (title, next) = match error {
        ApiError::BadRequest(_) => ("This question cannot be answered", "Mend the address, or begin at the overview."),
        ApiError::NotFound(_) => ("There is no such thing here", "It may have left, or never have been seen."),
        ApiError::Unavailable(_) => ("No answer for now", "Nothing is wrong with your question; ask again."),
        ApiError::Internal(_) => ("This could not be read", "The fault is ours. The server's log says more."),
    };
    let location = use_location();
    let again = move || match location.search.get() {
        search if search.is_empty() => location.pathname.get(),
        search => format!("{}?{}", location.pathname.get(), search.trim_start_matches('?')),
    };
    view! {
        <Title text=title />
        <div class="slate" role="alert">
            <h1>{title}</h1>
            <p>{error.to_string()}</p>
            <p class="dim">{next}</p>
            <p class="btns">
                {asks_again
                    .then(|| {
                        view! {
                            <a class="btn btn--first" href=again rel="external">
                                "Try again"
                            </a>
                        }
                    })}
                <a class="btn" href="/">
                    "Overview"
                </a>
                <a class="btn" href="/nodes">
                    "Nodes"
                </a>
            </p>
        </div>
    }
    .part()
}
