//! An address that leads nowhere.

use crate::api::ApiError;
use crate::parts::answer::failure;
use crate::status;
use leptos::prelude::*;

/// Shown for every address that is no page.
#[component]
pub fn NotFound() -> impl IntoView {
    status::set(404);
    view! {
        <main class="page" id="main" tabindex="-1">
            {failure(&ApiError::NotFound("No page has this address.".into()))}
        </main>
    }
}
