//! The pages: Leptos renders them, with the fleet in their context and a policy that lets nothing run but what was
//! rendered with this answer's nonce.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leptos::nonce::use_nonce;
use leptos::prelude::{AnyView, IntoAny, expect_context, provide_context, use_context};
use leptos_axum::{AxumRouteListing, ResponseOptions, generate_route_list};
use tidemark_app::api::WayIn;
use tidemark_app::parts::demo::Demo;
use tidemark_app::{App, shell as document};

use crate::http::{Door, front};

/// Computed once: to list the routes, Leptos renders the whole app.
static ROUTES: LazyLock<Vec<AxumRouteListing>> = LazyLock::new(|| generate_route_list(App));

/// Every page's route.
pub fn routes() -> &'static [AxumRouteListing] {
    &ROUTES
}

/// What a page and its server functions find in their context: [`tidemark_app::api::Fleet`], the way in, and whether the
/// fleet is made up.
pub fn context(door: &Door) -> impl Fn() + Clone + Send + Sync + 'static {
    let (fleet, demo) = (Arc::clone(&door.fleet), door.demo);
    let (listens, needs_token) = (door.options.site_addr, door.tokens.is_some());
    move || {
        provide_context(Arc::clone(&fleet));
        let asked = use_context::<Parts>();
        let address = asked.and_then(|parts| reached(&parts.headers)).unwrap_or_else(|| format!("http://{listens}"));
        provide_context(WayIn { address, needs_token });
        if demo {
            provide_context(Demo);
        }
        protect();
    }
}

/// The address under which whoever asks has reached us, through a proxy that ends TLS or without one. It is shown to
/// nobody else, as part of a command: so it has only letters that mean nothing to a shell.
fn reached(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let plain = (1..=255).contains(&host.len()) && host.bytes().all(is_plain);
    let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    plain.then(|| format!("{}://{host}", if secure { "https" } else { "http" }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_one_that_was_asked_and_nothing_that_a_shell_would_do() {
        #[track_caller]
        fn check(host: &str, scheme: Option<&str>, expected: Option<&str>) {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).expect("a header"));
            if let Some(scheme) = scheme {
                headers.insert("x-forwarded-proto", HeaderValue::from_str(scheme).expect("a header"));
            }
            assert_eq!(reached(&headers).as_deref(), expected, "{host}");
        }
        check("127.0.0.1:3000", None, Some("http://127.0.0.1:3000"));
        check("[::1]:3000", None, Some("http://[::1]:3000"));
        check("tidemark.example", Some("https"), Some("https://tidemark.example"));
        check("tidemark.example", Some("gopher"), Some("http://tidemark.example"));
        check("a'; rm -rf ~", None, None);
        check("$(id)", None, None);
        check("", None, None);
        assert_eq!(reached(&HeaderMap::new()), None);
    }
}
