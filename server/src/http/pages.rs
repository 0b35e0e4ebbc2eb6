//! The pages: Leptos renders them, with the fleet in their context and a policy that lets nothing run but what was
//! rendered with this answer's nonce.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leptos::nonce::use_nonce;
use leptos::prelude::{AnyView, IntoAny, expect_context, provide_context};
use leptos_axum::{AxumRouteListing, ResponseOptions, generate_route_list};
use tidemark_app::{App, shell as document};

use crate::http::{Door, front};

/// Computed once: to list the routes, Leptos renders the whole app.
static ROUTES: LazyLock<Vec<AxumRouteListing>> = LazyLock::new(|| generate_route_list(App));

/// Every page's route.
pub fn routes() -> &'static [AxumRouteListing] {
    &ROUTES
}

/// What a page and its server functions find in their context: [`tidemark_app::api::Fleet`].
pub fn context(door: &Door) -> impl Fn() + Clone + Send + Sync + 'static {
    let fleet = Arc::clone(&door.fleet);
    move || {
        provide_context(Arc::clone(&fleet));
        protect();
    }
}

/// Scripts with the nonce only, and wasm; styles from our files, and widths of bars as attributes.
fn protect() {
    let Some(nonce) = use_nonce() else { return };
    let policy = format!(
        "default-src 'self'; script-src 'nonce-{nonce}' 'strict-dynamic' 'wasm-unsafe-eval'; style-src 'self'; \
         style-src-attr 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; object-src 'none'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        expect_context::<ResponseOptions>().insert_header(header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// The document around the pages.
pub fn shell(door: &Door) -> impl Fn() -> AnyView + Clone + Send + Sync + 'static {
    let options = door.options.clone();
    move || document(options.clone()).into_any()
}

/// There is no such page, and the answer says so in its status as well.
pub async fn not_found(State(door): State<Door>, request: Request<Body>) -> Response {
    let wants_page = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !wants_page.is_some_and(|accept| accept.contains("text/html")) {
        return front::no_such_path().await.into_response();
    }
    let render = leptos_axum::render_app_async_with_context(context(&door), shell(&door));
    let mut response = render(request).await.into_response();
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}
