//! The HTTP upgrade that opens a connection (`kong-hybrid.md` 1.1, 2.1): request line and status line.

use super::facts::{Dialled, Protocol};
use super::text::{NAME_MAX, clip};

/// A head longer than this is not Kong's.
pub const HEAD_MAX: usize = 64 * 1024;

/// What a node asks for; `None` where that is neither of Kong's outlets. The three values of v1 are written raw, not
/// percent-encoded, so they are read raw.
#[must_use]
pub fn request(head: &[u8]) -> Option<Dialled> {
    let line = first_line(head)?;
    let target = line.strip_prefix("GET ")?.rsplit_once(" HTTP/1.")?.0;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let protocol = match path {
        "/v1/outlet" => Protocol::V1,
        "/v2/outlet" => Protocol::V2,
        _ => return None,
    };
    let mut dialled = Dialled { protocol, node_id: None, hostname: None, gateway_version: None };
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match key {
            "node_id" => &mut dialled.node_id,
            "node_hostname" => &mut dialled.hostname,
            "node_version" => &mut dialled.gateway_version,
            _ => continue,
        };
        *slot = (!value.is_empty()).then(|| clip(value, NAME_MAX));
    }
    Some(dialled)
}

/// The status of an answer; `None` where the head is no HTTP answer.
#[must_use]
pub fn status(head: &[u8]) -> Option<u16> {
    let rest = first_line(head)?.strip_prefix("HTTP/1.")?;
    let digits = rest.get(2..5).filter(|_| rest.as_bytes().get(1) == Some(&b' '))?;
    digits.parse().ok().filter(|status| (100..=599).contains(status))
}

fn first_line(head: &[u8]) -> Option<&str> {
    let head = &head[..head.len().min(HEAD_MAX)];
    let end = head.iter().position(|&byte| byte == b'\n')?;
    std::str::from_utf8(&head[..end]).ok().map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn v1_says_in_its_request_who_dials() {
        let query = "node_id=5a7b1c34&node_hostname=dp eu%201&node_version=3.11.0.2-enterprise";
        let head = format!("GET /v1/outlet?{query} HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
        let dialled = request(head.as_bytes()).unwrap();
        assert_eq!(dialled.protocol, Protocol::V1);
        assert_eq!(dialled.node_id.as_deref(), Some("5a7b1c34"));
        assert_eq!(dialled.hostname.as_deref(), Some("dp eu%201"), "raw, as Kong writes and reads it");
        assert_eq!(dialled.gateway_version.as_deref(), Some("3.11.0.2-enterprise"));
    }

    #[test]
    fn v2_says_nothing_in_its_request() {
        let dialled = request(b"GET /v2/outlet HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!((dialled.protocol, dialled.node_id), (Protocol::V2, None));
    }

    #[test]
    fn other_requests_are_none_of_ours() {
        for head in [
            &b""[..],
            b"GET /v1/outlet",
            b"POST /v1/outlet HTTP/1.1\r\n",
            b"GET /v3/outlet HTTP/1.1\r\n",
            b"GET /v1/outlet HTTP/2\r\n",
        ] {
            assert_eq!(request(head), None);
        }
    }

    #[test]
    fn an_answer_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), Some(101));
        assert_eq!(status(b"HTTP/1.1 404 Not Found\r\n"), Some(404));
        assert_eq!(status(b"HTTP/1.1 999 x\r\n"), None);
        assert_eq!(status(b"SSH-2.0\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_head_is_too_strange(head in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = (request(&head), status(&head));
            _ = request(&[b"GET /v1/outlet?", head.as_slice()].concat());
            _ = status(&[b"HTTP/1.", head.as_slice()].concat());
        }
    }
}
