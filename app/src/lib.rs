//! The pages of Tidemark: what runs in the browser as well as on the server.
//!
//! Read in this order: [`api`] (all that a page may ask), [`pages`] (one file a page), [`parts`] (what they are laid
//! out from), [`links`] and [`question`] (addresses), [`live`] (what keeps a page alive).

pub mod api;

pub mod pages;

pub mod parts;

pub mod links;

pub mod question;

pub mod words;

pub mod live;

pub mod status;

use leptos::nonce::use_nonce;
use leptos::prelude::*;
use leptos_meta::{MetaTags, Stylesheet, Title, provide_meta_context};
use leptos_router::{
    SsrMode,
    components::{FlatRoutes, Route, Router},
    path,
};
use parts::header::Header;

/// The document around the pages; only the server renders it.
pub fn shell(options: LeptosOptions) -> impl IntoView {
    let style_sheet = format!("/{}/{}.css", options.site_pkg_dir, options.output_name);
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
                // Before the first paint, so that a chosen theme does not flash.
                <script src="/theme.js" nonce=use_nonce()></script>
                <Stylesheet id="tidemark" href=style_sheet />
                <link rel="icon" type="image/svg+xml" href="/favicon.svg" />
                <HydrationScripts options />
                <MetaTags />
            </head>
            <body>
                <App />
                {parts::demo::banner()}
                {parts::sprite::sprite()}
            </body>
        </html>
    }
}

/// The pages and what stands around them.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    let _ = live::Live::provide();
    let (is_routing, set_is_routing) = signal(false);
    view! {
        <Title formatter=|text| format!("{text} · Tidemark") />
        <Router set_is_routing>
            <a class="skip" href="#main" rel="external">
                "Skip to content"
            </a>
            <Header />
            <div class="app" aria-busy=move || is_routing.get().then_some("true")>
                <FlatRoutes fallback=pages::NotFound>
                    <Route path=path!("/") view=pages::Overview ssr=SsrMode::Async />
                    <Route path=path!("/nodes") view=pages::Nodes ssr=SsrMode::Async />
                    <Route path=path!("/nodes/:cp/:id") view=pages::Node ssr=SsrMode::Async />
                    <Route path=path!("/analytics") view=pages::Analytics ssr=SsrMode::Async />
                    <Route path=path!("/usage") view=pages::Usage ssr=SsrMode::Async />
                    <Route path=path!("/versions") view=pages::Ledgers ssr=SsrMode::Async />
                    <Route path=path!("/versions/:cp") view=pages::Ledger ssr=SsrMode::Async />
                    <Route path=path!("/versions/:cp/:n") view=pages::Version ssr=SsrMode::Async />
                </FlatRoutes>
            </div>
        </Router>
    }
}

/// Where the browser starts.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_body(App);
    // The browser journeys wait for this before they click.
    if let Some(html) = document().document_element() {
        let _ = html.set_attribute("data-hydrated", "true");
    }
}
