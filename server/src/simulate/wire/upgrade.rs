//! The HTTP upgrade that opens a connection (`kong-hybrid.md` 1.1, 2.1), byte for byte as Kong writes it: the node's
//! request, and what a control plane answers.

use super::websocket::{Room, Side, WebSocket};
use crate::cluster_tls::Refused;
use crate::kong::facts::{Dialled, Protocol};
use crate::kong::handshake::{self, HEAD_MAX};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use rand::Rng;
use rand_pcg::Pcg32;
use sha1::{Digest, Sha1};
use std::fmt::Write as _;
use std::io;
use thiserror::Error;
use tidemark_domain::time::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The one subprotocol of v2.
pub const META_V1: &str = "kong.meta.v1";
/// RFC 6455 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a node asks for. The three values of v1 are written as they are, not percent-encoded.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    V1 { node_id: &'a str, hostname: &'a str, gateway_version: &'a str },
    V2,
}

/// Why a node has no connection.
#[derive(Debug, Error)]
pub enum NotUpgraded {
    #[error("the control plane ended the connection without an answer")]
    EndOfStream,
    #[error("the connection failed")]
    Failed(#[source] io::Error),
    #[error("the answer has a head of more than {HEAD_MAX} bytes")]
    LongHead,
    #[error("unexpected HTTP response code: {0}")]
    Status(u16),
    #[error("the answer is no HTTP")]
    NoHttp,
    #[error("the control plane did not agree to {META_V1}")]
    Subprotocol,
}

/// What a control plane does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 101.
    Upgrade { dialled: Dialled, key: String },
    /// nginx's pages for 400 and 404.
    Status(u16),
    /// 444: the connection ends without an answer.
    End,
}

/// Asks for an upgrade, as a node: `host` is what it dialled, with the port.
///
/// # Errors
/// [`NotUpgraded`].
pub async fn dial<S>(
    mut stream: S,
    request: Request<'_>,
    host: &str,
    mut random: Pcg32,
    payload_max: usize,
    room: Room,
) -> Result<WebSocket<S>, NotUpgraded>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut key = [0; 16];
    random.fill_bytes(&mut key);
    let asked = request_head(request, host, &BASE64_STANDARD.encode(key));
    stream.write_all(asked.as_bytes()).await.map_err(NotUpgraded::Failed)?;
    stream.flush().await.map_err(NotUpgraded::Failed)?;
    let (head, unread) = read_head(&mut stream).await?;
    match handshake::status(&head) {
        Some(101) => {}
        Some(status) => return Err(NotUpgraded::Status(status)),
        None => return Err(NotUpgraded::NoHttp),
    }
    // Nothing else is looked at: Kong does not check `Sec-WebSocket-Accept` either.
    let agreed = header(&head, "Sec-WebSocket-Protocol");
    if matches!(request, Request::V2) && agreed != Some(META_V1) {
        return Err(NotUpgraded::Subprotocol);
    }
    Ok(WebSocket::new(stream, unread, Side::Node(random), payload_max, room))
}

/// The head of a request, in the order in which Kong writes it.
#[must_use]
pub fn request_head(request: Request<'_>, host: &str, key: &str) -> String {
    let (target, subprotocol) = match request {
        Request::V1 { node_id, hostname, gateway_version } => {
            let query = format!("node_id={node_id}&node_hostname={hostname}&node_version={gateway_version}");
            (format!("/v1/outlet?{query}"), String::new())
        }
        Request::V2 => ("/v2/outlet".to_owned(), format!("Sec-WebSocket-Protocol: {META_V1}\r\n")),
    };
    format!(
        "GET {target} HTTP/1.1\r\nUpgrade: websocket\r\nHost: {host}\r\nSec-WebSocket-Key: {key}\r\n{subprotocol}\
         Sec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n\r\n"
    )
}

/// Everything up to the empty line, and what came after it. At most [`HEAD_MAX`] bytes are read.
///
/// # Errors
/// [`NotUpgraded`].
pub async fn read_head<S>(stream: &mut S) -> Result<(Bytes, BytesMut), NotUpgraded>
where
    S: AsyncRead + Unpin,
{
    const END: &[u8] = b"\r\n\r\n";
    let mut read = BytesMut::new();
    let mut searched = 0;
    loop {
        let end = read[searched..].windows(END.len()).position(|window| window == END);
        if let Some(end) = end {
            let head = read.split_to(searched + end + END.len());
            return Ok((head.freeze(), read));
        }
        searched = read.len().saturating_sub(END.len() - 1);
        if read.len() >= HEAD_MAX {
            return Err(NotUpgraded::LongHead);
        }
        match stream.read_buf(&mut read).await {
            Ok(0) => return Err(NotUpgraded::EndOfStream),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(NotUpgraded::EndOfStream),
            Err(error) => return Err(NotUpgraded::Failed(error)),
        }
    }
}

/// What a control plane does with a request from a node whose certificate it accepts. The location of v2 is there only
/// with `has_rpc`.
#[must_use]
pub fn answer(head: &[u8], has_rpc: bool) -> Answer {
    let Some(dialled) = handshake::request(head) else {
        return Answer::Status(404);
    };
    match dialled.protocol {
        Protocol::V1 if dialled.node_id.is_none() || dialled.gateway_version.is_none() => return Answer::Status(400),
        Protocol::V2 if !has_rpc => return Answer::Status(404),
        Protocol::V1 | Protocol::V2 => {}
    }
    let is = |name, expected: &str| header(head, name).is_some_and(|value| value.eq_ignore_ascii_case(expected));
    let connection = header(head, "Connection").unwrap_or_default().to_ascii_lowercase();
    let is_1_1 = head.split(|byte| *byte == b'\n').next().is_some_and(|line| line.ends_with(b"HTTP/1.1\r"));
    let offers_meta = header(head, "Sec-WebSocket-Protocol")
        .is_some_and(|offered| offered.split(',').any(|name| name.trim() == META_V1));
    match header(head, "Sec-WebSocket-Key").filter(|key| !key.is_empty()) {
        Some(key)
            if is_1_1
                && is("Upgrade", "websocket")
                && connection.contains("upgrade")
                && is("Sec-WebSocket-Version", "13")
                && (dialled.protocol == Protocol::V1 || offers_meta) =>
        {
            Answer::Upgrade { key: key.to_owned(), dialled }
        }
        Some(_) | None => Answer::End,
    }
}

impl Answer {
    /// What a node gets whose certificate will not do: Kong's own code looks after the request whether it is the cluster's,
    /// 444; nginx looks before Kong whether it is valid.
    #[must_use]
    pub const fn of_refused(why: Refused) -> Self {
        match why {
            Refused::NotTheClusterCertificate | Refused::NoCertificate | Refused::Revoked | Refused::CommonName => {
                Self::End
            }
            Refused::OutOfTime | Refused::NotOfTheAuthority => Self::Status(400),
        }
    }

    /// What is written, for those that write something.
    #[must_use]
    pub fn bytes(&self, now: Timestamp) -> Option<String> {
        let date = date(now);
        match self {
            Self::Upgrade { dialled, key } => {
                let accept = accept(key);
                let subprotocol = match dialled.protocol {
                    Protocol::V1 => String::new(),
                    Protocol::V2 => format!("Sec-WebSocket-Protocol: {META_V1}\r\n"),
                };
                Some(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nDate: {date}\r\nConnection: upgrade\r\n{subprotocol}\
                     Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                ))
            }
            Self::Status(status) => {
                let words = match status {
                    400 => "400 Bad Request",
                    _ => "404 Not Found",
                };
                let body = format!(
                    "<html>\r\n<head><title>{words}</title></head>\r\n<body>\r\n<center><h1>{words}</h1></center>\r\n\
                     </body>\r\n</html>\r\n"
                );
                Some(format!(
                    "HTTP/1.1 {words}\r\nDate: {date}\r\nContent-Type: text/html; charset=UTF-8\r\n\
                     Content-Length: {}\r\nConnection: keep-alive\r\n\r\n{body}",
                    body.len()
                ))
            }
            Self::End => None,
        }
    }
}

/// The value of a header; the last of several.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(head).ok()?;
    let pairs = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).last()
}

fn accept(key: &str) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    BASE64_STANDARD.encode(digest)
}

/// `Fri, 20 Nov 2026 08:53:57 GMT`.
fn date(now: Timestamp) -> String {
    let mut text = String::new();
    let date = DateTime::from_timestamp_millis(now.ms()).unwrap_or_default();
    // Into a string: it cannot fail.
    let _ = write!(text, "{}", date.format("%a, %d %b %Y %H:%M:%S GMT"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    const V1: Request<'static> = Request::V1 { node_id: "5a7b1c34", hostname: "dp-eu-1", gateway_version: "3.9.1" };

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-20T08:53:57Z").unwrap()
    }

    #[test]
    fn what_a_node_writes_a_control_plane_takes() {
        for (request, protocol) in [(V1, Protocol::V1), (Request::V2, Protocol::V2)] {
            let head = request_head(request, "cp.lab.test:8005", "dGhlIHNhbXBsZSBub25jZQ==");
            let Answer::Upgrade { dialled, key } = answer(head.as_bytes(), true) else { panic!("an upgrade") };
            assert_eq!((dialled.protocol, key.as_str()), (protocol, "dGhlIHNhbXBsZSBub25jZQ=="));
        }
    }

    /// RFC 6455 1.3.
    #[test]
    fn the_key_is_answered() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_upgrade_is_answered_as_kong_does() {
        #[track_caller]
        fn check(from: &str, to: &str, expected: &Answer) {
            let head = request_head(V1, "cp:8005", "x");
            assert!(head.contains(from));
            assert_eq!(answer(head.replace(from, to).as_bytes(), true), *expected, "{from} -> {to}");
        }
        check("node_id=5a7b1c34", "node_id=", &Answer::Status(400));
        check("&node_version=3.9.1", "", &Answer::Status(400));
        check("/v1/outlet", "/v3/outlet", &Answer::Status(404));
        check("GET", "POST", &Answer::Status(404));
        check("HTTP/1.1", "HTTP/1.0", &Answer::End);
        check("Upgrade: websocket", "Upgrade: h2c", &Answer::End);
        check("Connection: Upgrade", "Connection: close", &Answer::End);
        check("Sec-WebSocket-Key: x", "Sec-WebSocket-Key: ", &Answer::End);
        check("Version: 13", "Version: 8", &Answer::End);
        let v2 = request_head(Request::V2, "cp:8005", "x");
        assert_eq!(answer(v2.as_bytes(), false), Answer::Status(404));
        let other = v2.replace(META_V1, "kong.meta.v2");
        assert_eq!(answer(other.as_bytes(), true), Answer::End);
        let several = v2.replace(META_V1, "kong.meta.v2, kong.meta.v1");
        assert!(matches!(answer(several.as_bytes(), true), Answer::Upgrade { .. }));
        let without_hostname = request_head(V1, "cp:8005", "x").replace("node_hostname=dp-eu-1", "node_hostname=");
        assert!(matches!(answer(without_hostname.as_bytes(), true), Answer::Upgrade { .. }));
        assert_eq!(Answer::End.bytes(now()), None);
    }

    async fn dialled(answer: &[u8]) -> Result<WebSocket<tokio::io::DuplexStream>, NotUpgraded> {
        let (ours, mut theirs) = tokio::io::duplex(128 * 1024);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        let random = Pcg32::seed_from_u64(1);
        dial(ours, Request::V2, "cp:8005", random, 1024, Room::of(1024)).await
    }

    #[tokio::test]
    async fn a_node_takes_101_alone() {
        let upgrade = Answer::Upgrade {
            dialled: Dialled { protocol: Protocol::V2, node_id: None, hostname: None, gateway_version: None },
            key: "x".into(),
        };
        let upgrade = upgrade.bytes(now()).unwrap();
        let mut socket = dialled(&[upgrade.as_bytes(), &[0x8a, 0]].concat()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().word(), "pong", "what came with the answer is not lost");
        let refused = |answer: Vec<u8>| async move { dialled(&answer).await.err().unwrap().to_string() };
        let page = Answer::Status(404).bytes(now()).unwrap();
        assert!(refused(page.into_bytes()).await.ends_with("code: 404"));
        assert!(refused(upgrade.replace(META_V1, "x").into_bytes()).await.contains("did not agree"));
        assert!(refused(b"SSH-2.0\r\n\r\n".to_vec()).await.contains("no HTTP"));
        assert!(refused(b"HTTP/1.1 101".to_vec()).await.contains("without an answer"));
        assert!(refused(vec![b'x'; HEAD_MAX + 8_192]).await.contains("more than"));
    }

    proptest! {
        #[test]
        fn no_request_is_too_strange(head in prop::collection::vec(any::<u8>(), 0..200)) {
            for start in ["", "GET /v2/outlet HTTP/1.1\r\n", "GET /v1/outlet?node_id=1&node_version=1 HTTP/1.1\r\n"] {
                _ = answer(&[start.as_bytes(), &head].concat(), true).bytes(now());
            }
        }
    }
}
