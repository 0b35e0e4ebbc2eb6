//! Who may come in. Without a token file the server listens on loopback only, and everybody there may do everything;
//! with one, everything but the health endpoints asks for a token (accounts come later).

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use axum::http::{HeaderValue, Method, StatusCode, header, request::Parts};
use base64::Engine;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::http::problem::Problem;

/// Tokens in a file at most.
const TOKENS_MAX: usize = 1_000;

/// What a token allows. Neither contains the other: a sender's token is on many machines and reads nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To ask: pages, REST, events, metrics.
    Read,
    /// To tell: heartbeats, announcements, declarations, retirements.
    Send,
}

impl Scope {
    /// The word of the token file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
        }
    }
}

/// The tokens of a file. Only their digests are kept, so that they can be compared in constant time whatever their
/// length, and no dump of memory or log can show one.
pub struct Tokens(Vec<(Scope, [u8; 32])>);

impl fmt::Debug for Tokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Reads a token file: lines `read TOKEN` or `send TOKEN`, empty lines and lines that begin with `#` apart.
    ///
    /// # Errors
    /// In words, with file and line. A token is never repeated in them.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("token_file: {} cannot be read: {error}", path.display()))?;
        Self::parse(&text).map_err(|(line, why)| format!("token_file: {}:{line}: {why}", path.display()))
    }

    /// Reads the text of a token file.
    ///
    /// # Errors
    /// The line, from 1, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why| (index + 1, why);
            let (word, token) =
                line.split_once(char::is_whitespace).ok_or(wrong("expected `read TOKEN` or `send TOKEN`"))?;
            let scope = [Scope::Read, Scope::Send]
                .into_iter()
                .find(|scope| scope.word() == word)
                .ok_or(wrong("expected the line to begin with `read` or `send`"))?;
            let token = token.trim();
            if !(16..=256).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong("a token is 16 to 256 visible ASCII characters"));
            }
            if tokens.len() == TOKENS_MAX {
                return Err(wrong("a token file has at most 1,000 tokens"));
            }
            tokens.push((scope, digest(token)));
        }
        if tokens.is_empty() {
            return Err((1, "expected at least one line `read TOKEN` or `send TOKEN`"));
        }
        Ok(Self(tokens))
    }

    /// What a token allows: whether it is known at all, and whether it has this scope. Takes the same time for every
    /// token.
    fn judge(&self, token: &str, scope: Scope) -> (bool, bool) {
        let asked = digest(token);
        let (mut known, mut allowed) = (Choice::from(0), Choice::from(0));
        for (has, digest) in &self.0 {
            let same = digest.ct_eq(&asked);
            known |= same;
            allowed |= same & Choice::from(u8::from(*has == scope));
        }
        (known.into(), allowed.into())
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether one may listen there.
///
/// # Errors
/// In words, if the address can be reached from elsewhere and there are no tokens.
pub fn may_listen(listen: SocketAddr, tokens: Option<&Tokens>) -> Result<(), String> {
    if listen.ip().is_loopback() || tokens.is_some() {
        return Ok(());
    }
    Err(format!(
        "listen: {listen} can be reached from other machines, and no token file is given: set TIDEMARK_TOKEN_FILE \
         (lines `read TOKEN` and `send TOKEN`), or listen on 127.0.0.1"
    ))
}

/// The scope that a request needs; `None` for what is open. Whatever is not named here is guarded: to ask is to read
/// (server functions of the pages are GET), all else is to send.
#[must_use]
pub fn needed(method: &Method, path: &str) -> Option<Scope> {
    let asks = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match path {
        "/healthz" | "/readyz" => None,
        // Whoever sends recordings or facts of a tap asks how far they were taken, and needs no other answer.
        _ if path.starts_with("/api/v1/recordings") || path.starts_with("/api/v1/taps/") => Some(Scope::Send),
        _ if is_word(path) => Some(Scope::Send),
        _ if asks => Some(Scope::Read),
        _ => Some(Scope::Send),
    }
}

/// `/api/v1/control-planes/{cp}/word`, which is not the control plane of that name.
fn is_word(path: &str) -> bool {
    let inside = path.strip_prefix("/api/v1/control-planes/").and_then(|path| path.split_once('/'));
    inside.is_some_and(|(_, what)| what == "word")
}

/// Lets a request in, or says why not.
///
/// # Errors
/// 401 without a known token, 403 with one that does not allow this.
pub fn admit(tokens: Option<&Tokens>, request: &Parts) -> Result<(), Problem> {
    let Some(scope) = needed(&request.method, request.uri.path()) else {
        return Ok(());
    };
    let Some(tokens) = tokens else {
        return same_site(request, scope);
    };
    let unknown = || {
        let basic = HeaderValue::from_static("Basic realm=\"Tidemark\", charset=\"UTF-8\"");
        let bearer = HeaderValue::from_static("Bearer realm=\"Tidemark\"");
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is needed")
            .of("authorization")
            .with(header::WWW_AUTHENTICATE, bearer);
        // A browser can be asked for a name and a password, not for a bearer token; only to read (see below).
        if scope == Scope::Read { problem.with(header::WWW_AUTHENTICATE, basic) } else { problem }
    };
    let header = request.headers.get(header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok()).ok_or_else(unknown)?;
    let (scheme, credentials) = header.split_once(' ').ok_or_else(unknown)?;
    let token = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => credentials.trim().to_owned(),
        // The token as password. A browser adds it to requests of other sites too, so it never sends.
        "basic" if scope == Scope::Read => password(credentials.trim()).ok_or_else(unknown)?,
        _ => return Err(unknown()),
    };
    match tokens.judge(&token, scope) {
        (true, true) => Ok(()),
        (true, false) => {
            let detail = format!("this token does not allow to {}", scope.word());
            Err(Problem::new(StatusCode::FORBIDDEN, detail).of("authorization"))
        }
        (false, _) => Err(unknown()),
    }
}

/// Without tokens, another site's page in a browser on this machine must not send in its reader's name.
fn same_site(request: &Parts, scope: Scope) -> Result<(), Problem> {
    let site = request.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match (scope, site) {
        (Scope::Send, Some(b"cross-site" | b"same-site")) => {
            let detail = "a page of another site may not send here";
            Err(Problem::new(StatusCode::FORBIDDEN, detail).of("sec-fetch-site"))
        }
        _ => Ok(()),
    }
}

fn password(credentials: &str) -> Option<String> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(credentials).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    const FILE: &str = "# ours\nread reads-everything-1\n\nsend sends-everything-1\n";

    #[track_caller]
    fn check(method: &str, path: &str, authorization: Option<&str>, expected: u16) {
        let tokens = Tokens::parse(FILE).expect("a token file");
        let mut request = Request::builder().method(method).uri(path);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let status = admit(Some(&tokens), &parts).map_or_else(|problem| problem.status().as_u16(), |()| 200);
        assert_eq!(status, expected, "{method} {path} {authorization:?}");
    }

    #[test]
    fn each_scope_opens_its_own_doors() {
        let basic = |text: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text));
        check("GET", "/healthz", None, 200);
        check("GET", "/readyz", None, 200);
        check("GET", "/", None, 401);
        check("GET", "/metrics", None, 401);
        check("GET", "/nowhere", None, 401);
        check("GET", "/api/v1/nodes", Some("Bearer reads-everything-1"), 200);
        check("GET", "/api/v1/nodes", Some("bearer reads-everything-1"), 200);
        check("GET", "/api/v1/nodes", Some("Bearer reads-everything-2"), 401);
        check("GET", "/api/v1/nodes", Some("Bearer sends-everything-1"), 403);
        check("GET", "/api/v1/nodes", Some(&basic("me:reads-everything-1")), 200);
        check("GET", "/api/v1/nodes", Some(&basic("reads-everything-1")), 401);
        check("GET", "/api/v1/nodes", Some("Basic ?"), 401);
        check("POST", "/api/v1/heartbeats", Some("Bearer sends-everything-1"), 200);
        check("POST", "/api/v1/heartbeats", Some("Bearer reads-everything-1"), 403);
        check("POST", "/api/v1/heartbeats", Some(&basic("me:sends-everything-1")), 401);
        check("GET", "/api/v1/recordings/x", Some("Bearer sends-everything-1"), 200);
        check("GET", "/api/v1/recordings/x", Some("Bearer reads-everything-1"), 403);
        check("GET", "/api/v1/control-planes/prod/word", Some("Bearer sends-everything-1"), 200);
        check("GET", "/api/v1/control-planes/prod/word", Some("Bearer reads-everything-1"), 403);
        check("GET", "/api/v1/control-planes/word", Some("Bearer reads-everything-1"), 200);
        check("GET", "/pages/nodes", Some("Bearer reads-everything-1"), 200);
        check("POST", "/pages/nodes", Some("Bearer reads-everything-1"), 403);
        check("DELETE", "/api/v1/nodes", Some("Bearer reads-everything-1"), 403);
    }

    #[test]
    fn a_token_file_says_where_it_is_wrong() {
        #[track_caller]
        fn check(text: &str, line: Option<usize>) {
            assert_eq!(Tokens::parse(text).err().map(|(line, _)| line), line, "{text}");
        }
        check("read 0123456789abcdef", None);
        check("read 0123456789abcde", Some(1));
        check("\nwrite 0123456789abcdef", Some(2));
        check("0123456789abcdef", Some(1));
        check("read 0123456789 abcdef", Some(1));
        check("# nothing\n", Some(1));
    }

    #[test]
    fn only_loopback_goes_without_tokens() {
        let tokens = Tokens::parse(FILE).expect("a token file");
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert!(may_listen(address("127.0.0.1:3000"), None).is_ok());
        assert!(may_listen(address("[::1]:3000"), None).is_ok());
        assert!(may_listen(address("0.0.0.0:3000"), Some(&tokens)).is_ok());
        for reachable in ["0.0.0.0:3000", "[::]:3000", "192.0.2.1:80"] {
            let refusal = may_listen(address(reachable), None).expect_err("it can be reached");
            assert!(refusal.contains("TIDEMARK_TOKEN_FILE"), "{refusal}");
        }
    }

    #[test]
    fn another_sites_page_does_not_send() {
        let request = |method: &str| {
            let request = Request::builder().method(method).uri("/api/v1/heartbeats");
            let request = request.header("sec-fetch-site", "cross-site").body(()).expect("a request");
            admit(None, &request.into_parts().0).is_ok()
        };
        assert!(!request("POST"));
        assert!(request("GET"));
    }
}
