//! The browser bundle, served from memory: wasm, glue, style sheet and public files, as `app/bundle` wrote them.
//!
//! A release binary carries the bundle inside; a debug build reads `target/site`, so that the pages can be rebuilt
//! without the server. Each file is a route of its own, hence no path from outside ever reaches a file system.

use std::{borrow::Cow, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use leptos::config::LeptosOptions;
use rust_embed::RustEmbed;
use serde::Deserialize;

/// Under its build hash a file never changes.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// A public file keeps its name when it changes; an hour is what an icon may be old.
const AN_HOUR: &str = "public, max-age=3600";

#[derive(RustEmbed)]
#[folder = "../target/site"]
#[allow_missing = true]
struct Embedded;

/// The bundle of this build.
#[derive(Debug)]
pub struct Assets {
    /// None without a bundle: pages then work by links and forms alone.
    hash: Option<String>,
    files: Vec<(String, Arc<Asset>)>,
}

/// What the builder says of the bundle.
#[derive(Deserialize)]
struct Manifest {
    hash: String,
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    path: String,
    digest: String,
}

#[derive(Debug)]
struct Asset {
    content_type: &'static str,
    cache_control: &'static str,
    digest: String,
    identity: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
}

impl Assets {
    /// The bundle inside this binary. A debug build takes the one in `TIDEMARK_SITE_DIR` where that is set: the browser
    /// journeys bring a bundle whose hydration errors say what they are.
    #[must_use]
    pub fn load() -> Self {
        match std::env::var_os("TIDEMARK_SITE_DIR").map(PathBuf::from) {
            Some(folder) if cfg!(debug_assertions) => {
                Self::read(|path| std::fs::read(folder.join(path)).ok().map(Cow::Owned))
            }
            _ => Self::read(|path| Embedded::get(path).map(|file| file.data)),
        }
    }

    fn read(file: impl Fn(&str) -> Option<Cow<'static, [u8]>>) -> Self {
        let manifest = file("manifest.json").and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
        let Some(Manifest { hash, files: listed }) = manifest else {
            return Self { hash: None, files: Vec::new() };
        };
        let bytes = |path: String| file(&path).map(|data| Bytes::from(data.into_owned()));
        let files = listed
            .into_iter()
            .filter_map(|Listed { path, digest }| {
                let asset = Asset {
                    content_type: content_type(&path),
                    cache_control: if path.starts_with("pkg/") { IMMUTABLE } else { AN_HOUR },
                    digest,
                    brotli: bytes(format!("{path}.br")),
                    gzip: bytes(format!("{path}.gz")),
                    identity: bytes(path.clone())?,
                };
                Some((path, Arc::new(asset)))
            })
            .collect();
        Self { hash: Some(hash), files }
    }

    /// Whether there is a bundle at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hash.is_none()
    }

    /// What Leptos must know so that its pages ask for the files of this build.
    #[must_use]
    pub fn leptos_options(&self, listen: SocketAddr) -> LeptosOptions {
        let hash = self.hash.as_deref().unwrap_or("none");
        LeptosOptions::builder()
            .output_name(env!("LEPTOS_OUTPUT_NAME"))
            .site_pkg_dir(format!("pkg/{hash}"))
            .site_addr(listen)
            .build()
    }

    /// A route for each file. What else is asked for below `/pkg` is of another build, and not found.
    pub fn routes<State: Clone + Send + Sync + 'static>(&self) -> Router<State> {
        let not_of_this_build = get(|| async { (StatusCode::NOT_FOUND, "not a file of this build\n") });
        let router = Router::new().route("/pkg/{*path}", not_of_this_build);
        self.files.iter().fold(router, |router, (path, asset)| {
            let asset = Arc::clone(asset);
            let answer = move |request: Request| async move { asset.answer(request.headers()) };
            router.route(&format!("/{path}"), get(answer))
        })
    }
}

impl Asset {
    fn answer(&self, asked: &HeaderMap) -> Response {
        let accepted = Accepted::parse(asked);
        let (encoding, body) = match (&self.brotli, &self.gzip) {
            (Some(brotli), _) if accepted.brotli => (Some("br"), brotli),
            (_, Some(gzip)) if accepted.gzip => (Some("gzip"), gzip),
            _ => (None, &self.identity),
        };
        // The forms of one file are different bytes, so each has a tag of its own.
        let tag = format!("\"{}-{}\"", self.digest, encoding.unwrap_or("identity"));
        let known = asked.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| {
            tags.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == tag)
        });

        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut whole = Response::new(Body::from(body.clone()));
            whole.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            if let Some(encoding) = encoding {
                whole.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
            whole
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(ETAG, HeaderValue::from_str(&tag).expect("a hex digest is a header value"));
        response
    }
}

/// Which of our encodings the asker takes. Of two that it takes we send the smaller, whichever it likes better.
#[derive(Debug, PartialEq, Eq)]
struct Accepted {
    brotli: bool,
    gzip: bool,
}

impl Accepted {
    fn parse(asked: &HeaderMap) -> Self {
        let (mut brotli, mut gzip, mut any) = (None, None, false);
        let values = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for coding in values.flat_map(|value| value.split(',')) {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let taken = !is_zero_weight(parameters);
            match name.trim().to_ascii_lowercase().as_str() {
                "br" => brotli = Some(taken),
                "gzip" | "x-gzip" => gzip = Some(taken),
                "*" => any = taken,
                _ => {}
            }
        }
        Self { brotli: brotli.unwrap_or(any), gzip: gzip.unwrap_or(any) }
    }
}

/// Whether the parameters of a coding say `q=0`, which means: not this one.
fn is_zero_weight(parameters: &str) -> bool {
    parameters
        .split(';')
        .filter_map(|parameter| parameter.trim().split_once('='))
        .any(|(name, value)| name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0_f32))
}

/// By the end of the name. What is not listed is sent as bytes, which a browser saves and does not run.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;
    use tower::ServiceExt;

    use super::*;

    /// A bundle of one script (with both compressed forms) and one icon (with none).
    fn assets() -> Assets {
        Assets::read(|path| {
            let contents: &'static [u8] = match path {
                "manifest.json" => {
                    br#"{ "hash": "0a1b", "inputs": "", "files": [
                        { "path": "pkg/0a1b/tidemark.js", "digest": "77" },
                        { "path": "favicon.svg", "digest": "88" }
                    ] }"#
                }
                "pkg/0a1b/tidemark.js" => b"identity",
                "pkg/0a1b/tidemark.js.br" => b"brotli",
                "pkg/0a1b/tidemark.js.gz" => b"gzip",
                "favicon.svg" => b"<svg/>",
                _ => return None,
            };
            Some(Cow::Borrowed(contents))
        })
    }

    async fn ask(path: &str, header: Option<(HeaderName, &str)>) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::get(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let router: Router = assets().routes();
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, axum::body::to_bytes(body, 1024).await.unwrap())
    }

    #[track_caller]
    fn check(accept_encoding: &str, brotli: bool, gzip: bool) {
        let mut asked = HeaderMap::new();
        asked.insert(ACCEPT_ENCODING, accept_encoding.parse().unwrap());
        assert_eq!(Accepted::parse(&asked), Accepted { brotli, gzip }, "{accept_encoding}");
    }

    #[test]
    fn an_encoding_is_sent_only_to_who_takes_it() {
        check("gzip, deflate, br, zstd", true, true);
        check("gzip", false, true);
        check("identity", false, false);
        check("br;q=0, gzip;q=0.5", false, true);
        check("br; q=0.000", false, false);
        check("br;q=0.001", true, false);
        check("*", true, true);
        check("*;q=0", false, false);
        check("gzip;q=0, *", true, false);
        check("BR", true, false);
    }

    #[tokio::test]
    async fn the_smallest_form_that_is_taken_is_sent() {
        let path = "/pkg/0a1b/tidemark.js";
        for (accepted, encoding, body) in
            [("gzip, br", Some("br"), "brotli"), ("gzip", Some("gzip"), "gzip"), ("identity", None, "identity")]
        {
            let (status, headers, sent) = ask(path, Some((ACCEPT_ENCODING, accepted))).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()), encoding);
            assert_eq!(headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert_eq!(headers[CACHE_CONTROL], IMMUTABLE);
            assert_eq!(sent, body);
        }
    }

    #[tokio::test]
    async fn a_public_file_may_change_under_its_name() {
        let (status, headers, sent) = ask("/favicon.svg", Some((ACCEPT_ENCODING, "br"))).await;
        assert_eq!((status, &sent[..]), (StatusCode::OK, &b"<svg/>"[..]));
        assert_eq!(headers[CACHE_CONTROL], AN_HOUR);

        let tag = headers[ETAG].to_str().unwrap();
        let (status, _, sent) = ask("/favicon.svg", Some((IF_NONE_MATCH, tag))).await;
        assert_eq!((status, sent.len()), (StatusCode::NOT_MODIFIED, 0));
    }

    #[tokio::test]
    async fn a_file_of_another_build_is_not_found() {
        for path in
            ["/pkg/ffff/tidemark.js", "/pkg/0a1b/tidemark.js.br", "/pkg/0a1b/../../manifest.json", "/manifest.json"]
        {
            assert_eq!(ask(path, None).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn without_a_bundle_there_is_no_file_and_no_failure() {
        let assets = Assets::read(|_| None);
        assert!(assets.is_empty());
        assert_eq!(&*assets.leptos_options(([127, 0, 0, 1], 0).into()).site_pkg_dir, "pkg/none");
    }
}
