//! One file a page: what it asks, from its address, and how the answer is laid out.

mod analytics;
mod node;
mod nodes;
mod not_found;
mod overview;
mod usage;
mod version;
mod versions;

pub use analytics::Analytics;
pub use node::Node;
pub use nodes::Nodes;
pub use not_found::NotFound;
pub use overview::Overview;
pub use usage::Usage;
pub use version::Version;
pub use versions::{Ledger, Ledgers};

use crate::api::{ApiError, Told};
use crate::links::Links;
use crate::parts::answer::{Page, answer};
use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};
use leptos_router::params::ParamsMap;
use serde::de::DeserializeOwned;
use tidemark_domain::analytics::written;

/// The question of a page: what its address says under these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    cp: String,
    id: String,
    n: String,
    q: String,
    after: String,
    at: String,
    known: String,
    /// All other parameters, as a query.
    others: String,
}

/// A page: what it asks, and what it makes of the answer. Asked again when the address changes, or when the server says
/// that there is a newer answer.
fn page<T, F>(ask: fn(Asked) -> F, lay_out: fn(T, Links) -> Page) -> impl IntoView
where
    T: DeserializeOwned + 'static,
    F: Future<Output = Result<Told<T>, ApiError>> + Send + 'static,
{
    // From here on the type of the answer is forgotten: one resource and one transition serve all pages.
    answer(
        asked(),
        Box::new(move |asked| {
            let told = ask(asked);
            Box::pin(async move { told.await.map(Told::packed) })
        }),
        Box::new(move |packed, links| packed.read().map(|answer| lay_out(answer, links))),
    )
}

/// The question of the page that is shown.
fn asked() -> impl Fn() -> Asked + Clone + Send + Sync + 'static {
    let (params, query) = (use_params_map(), use_query_map());
    move || {
        let from_path = |key: &str| params.with(|params| params.get(key)).unwrap_or_default();
        let from_query = |key: &str| query.with(|query| query.get(key)).unwrap_or_default();
        Asked {
            cp: from_path("cp"),
            id: from_path("id"),
            n: from_path("n"),
            q: from_query("q"),
            after: from_query("after"),
            at: from_query("at"),
            known: from_query("known"),
            others: query.with(others),
        }
    }
}

/// What is asked beside the moment, as a query.
fn others(query: &ParamsMap) -> String {
    let moment = |name: &str| matches!(name, "at" | "known");
    let pairs: Vec<(String, String)> = query
        .clone()
        .into_iter()
        .filter(|(name, _)| !moment(name))
        .map(|(name, value)| (name.into_owned(), value))
        .collect();
    written(&pairs)
}

/// The key after which the page that is shown begins; empty for the first.
fn after() -> String {
    use_query_map().with_untracked(|query| query.get("after")).unwrap_or_default()
}
