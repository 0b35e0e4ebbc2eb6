//! The header: mark, places, the way to find nodes, the theme. The time of the answer stands in it too, and is drawn
//! there by the page (see [`super::answer`]), as only the page knows which answer it shows.

use super::part::{IntoPart, Part};
use crate::links::use_links;
use leptos::ev;
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_location, use_navigate, use_query_map};
use wasm_bindgen::JsCast;

/// The places of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole fleet.
    Overview,
    /// The list of nodes, and one node.
    Nodes,
    /// Ledgers, and one version.
    Versions,
    /// What gateways do.
    Analytics,
}

impl Place {
    /// In the order of the header.
    pub const ALL: [Self; 4] = [Self::Overview, Self::Nodes, Self::Versions, Self::Analytics];

    const fn label(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Nodes => "Nodes",
            Self::Versions => "Versions",
            Self::Analytics => "Analytics",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Nodes => "/nodes",
            Self::Versions => "/versions",
            Self::Analytics => "/analytics",
        }
    }

    /// Whether a page belongs to this place.
    fn holds(self, path: &str) -> bool {
        match self {
            Self::Overview => path == "/",
            Self::Nodes | Self::Versions => {
                path.strip_prefix(self.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Analytics => matches!(path, "/analytics" | "/usage"),
        }
    }
}

/// The header of every page.
#[component]
pub fn Header() -> impl IntoView {
    let links = use_links();
    let path = use_location().pathname;
    let query = use_query_map();
    focus_search_by_slash();
    let places = Place::ALL
        .into_iter()
        .map(|place| {
            view! {
                <li>
                    <a
                        href=move || links.with(|links| links.to(place.path(), &[]))
                        aria-current=move || place.holds(&path.get()).then_some("page")
                    >
                        {place.label()}
                    </a>
                </li>
            }
        })
        .collect_view();
    view! {
        <header class="top">
            <a class="brand" href=move || links.with(|links| links.overview()) aria-label="Tidemark, overview">
                <svg width="22" height="22" viewBox="0 0 22 22" fill="none" aria-hidden="true">
                    <path d="M18 2v18M13.5 7H18M15.5 11.5H18M15.5 16H18" stroke="currentColor" stroke-width="1.75" />
                    <path
                        class="brand__tide"
                        d="M1 17c2.8 0 3-4.2 5.6-4.2S9.8 7 13.5 7"
                        stroke-width="2.25"
                        stroke-linecap="round"
                    />
                </svg>
                <span>"Tidemark"</span>
            </a>
            <nav class="nav" aria-label="Pages">
                <ul>
                    {places}
                    <li>
                        <a href="/api" rel="external">
                            "API"
                        </a>
                    </li>
                </ul>
            </nav>
            <search class="find">
                <form action="/nodes" method="get" on:submit=find_nodes()>
                    <label class="sr" for="find">
                        "Find nodes"
                    </label>
                    <input id="find" name="q" type="search" placeholder="Find nodes" autocomplete="off" />
                    {move || hidden("at", query.with(|query| query.get("at")))}
                    {move || hidden("known", query.with(|query| query.get("known")))}
                    <kbd aria-hidden="true">"/"</kbd>
                    <button class="find__go" aria-label="Find nodes">
                        <svg width="16" height="16" viewBox="0 0 16 16" fill="none" aria-hidden="true">
                            <circle cx="7" cy="7" r="4.75" stroke="currentColor" stroke-width="1.5" />
                            <path d="m10.5 10.5 4 4" stroke="currentColor" stroke-width="1.5" />
                        </svg>
                    </button>
                </form>
            </search>
            <div class="top__time"></div>
            <ThemeSwitch />
        </header>
    }
    .part()
}

/// Takes a question to its list without loading the document anew. Without WebAssembly the browser does it.
pub fn find_nodes() -> impl Fn(ev::SubmitEvent) + 'static {
    let (links, navigate) = (use_links(), use_navigate());
    move |event| {
        let form = event.target().and_then(|form| form.dyn_into::<web_sys::Element>().ok());
        let field = form.and_then(|form| form.query_selector("[name=q]").ok().flatten());
        if let Some(field) = field.and_then(|field| field.dyn_into::<web_sys::HtmlInputElement>().ok()) {
            event.prevent_default();
            let question = links.with_untracked(|links| links.nodes(&field.value()));
            navigate(&question, NavigateOptions::default());
        }
    }
}

/// A part of the address that a form keeps.
#[must_use]
pub fn hidden(name: &'static str, value: Option<String>) -> Option<Part> {
    value.filter(|value| !value.is_empty()).map(|value| view! { <input type="hidden" name=name value=value /> }.part())
}

/// Three buttons that `public/theme.js` listens to; they work before, and without, WebAssembly.
#[component]
fn ThemeSwitch() -> impl IntoView {
    view! {
        <div class="theme" role="group" aria-label="Theme">
            <button type="button" data-set-theme="system" title="As the system">
                <span class="sr">"As the system"</span>
                <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">
                    <circle cx="7" cy="7" r="5.25" fill="none" stroke="currentColor" stroke-width="1.5" />
                    <path d="M7 1.75a5.25 5.25 0 0 1 0 10.5z" fill="currentColor" />
                </svg>
            </button>
            <button type="button" data-set-theme="light" title="Light">
                <span class="sr">"Light"</span>
                <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">
                    <circle cx="7" cy="7" r="2.75" fill="none" stroke="currentColor" stroke-width="1.5" />
                    <path
                        d="M7 .5v2M7 11.5v2M.5 7h2M11.5 7h2M2.4 2.4l1.4 1.4M10.2 10.2l1.4 1.4M11.6 2.4l-1.4 1.4M3.8 10.2l-1.4 1.4"
                        stroke="currentColor"
                        stroke-width="1.3"
                    />
                </svg>
            </button>
            <button type="button" data-set-theme="dark" title="Dark">
                <span class="sr">"Dark"</span>
                <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">
                    <path
                        d="M12 8.6A5.3 5.3 0 0 1 5.4 2a5.3 5.3 0 1 0 6.6 6.6z"
                        fill="none"
                        stroke="currentColor"
                        stroke-width="1.5"
                    />
                </svg>
            </button>
        </div>
    }
    .part()
}

/// `/` leads to the search field, unless something is being written.
fn focus_search_by_slash() {
    Effect::new(move |_| {
        let listener = window_event_listener(ev::keydown, |event| {
            let target = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
            let writes =
                target.is_some_and(|target| matches!(target.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT"));
            if event.key() != "/" || writes || event.ctrl_key() || event.alt_key() || event.meta_key() {
                return;
            }
            let field = document().get_element_by_id("question").or_else(|| document().get_element_by_id("find"));
            if let Some(field) = field.and_then(|field| field.dyn_into::<web_sys::HtmlElement>().ok()) {
                event.prevent_default();
                // A field that cannot take the focus leaves it where it is.
                let _ = field.focus();
            }
        });
        on_cleanup(move || listener.remove());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_belongs_to_one_place() {
        #[track_caller]
        fn check(path: &str, expected: Option<Place>) {
            assert_eq!(Place::ALL.into_iter().find(|place| place.holds(path)), expected, "{path}");
        }
        check("/", Some(Place::Overview));
        check("/nodes", Some(Place::Nodes));
        check("/nodes/eu-prod/n-1", Some(Place::Nodes));
        check("/versions/eu-prod", Some(Place::Versions));
        check("/nodesome", None);
        check("/other", None);
    }
}
