//! Bodies of those who tell us something: JSON, plain or compressed, with a bound on what is read and another on what
//! it inflates to.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use futures::StreamExt;

use crate::http::problem::Problem;

/// Bounds of one body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes on the wire.
    pub wire_max: usize,
    /// Bytes after decompression.
    pub inflated_max: usize,
    /// How long the sender may take.
    pub time_max: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { wire_max: 8 << 20, inflated_max: 64 << 20, time_max: Duration::from_secs(30) }
    }
}

/// The largest zstd window that is allocated: what RFC 8878 asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Reads a JSON body whole.
///
/// # Errors
/// 415 for another type or encoding, 413 past a bound, 408 if it takes too long, 400 if it cannot be decompressed.
pub async fn json(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Vec<u8>, Problem> {
    is_json(headers)?;
    let encoding = encoding(headers)?;
    let wire = tokio::time::timeout(limits.time_max, read(headers, body, limits.wire_max))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))??;
    if encoding == Encoding::Identity {
        return Ok(wire);
    }
    let inflated = tokio::task::spawn_blocking(move || inflate(encoding, &wire, limits.inflated_max)).await;
    inflated.unwrap_or_else(|_| Err(Problem::ours()))
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let stated = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = stated.unwrap_or("").split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "expected the content type application/json";
    let accept = HeaderValue::from_static("application/json");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).of("content-type").with(header::ACCEPT, accept))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let refused = || {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected the content encoding gzip, zstd or none")
            .of("content-encoding")
            .with(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, identity"))
    };
    let mut stated = headers.get_all(header::CONTENT_ENCODING).iter();
    let (first, second) = (stated.next(), stated.next());
    if second.is_some() {
        return Err(refused());
    }
    let Some(first) = first else {
        return Ok(Encoding::Identity);
    };
    match first.to_str().map(|word| word.trim().to_ascii_lowercase()).as_deref() {
        Ok("" | "identity") => Ok(Encoding::Identity),
        Ok("gzip" | "x-gzip") => Ok(Encoding::Gzip),
        Ok("zstd") => Ok(Encoding::Zstd),
        _ => Err(refused()),
    }
}

fn too_large(what: &str, max: usize) -> Problem {
    let detail = format!("{what} has more than {max} bytes; send fewer reports in one request");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let stated = stated.and_then(|length| length.parse::<usize>().ok());
    if stated.is_some_and(|length| length > max) {
        return Err(too_large("the body", max));
    }
    let mut chunks = body.into_data_stream();
    let mut whole = Vec::with_capacity(stated.unwrap_or(0).min(1 << 20));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body broke off"))?;
        if whole.len() + chunk.len() > max {
            return Err(too_large("the body", max));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// Several members (gzip) or frames (zstd) after each other are one body; anything else behind them is an error.
fn inflate(encoding: Encoding, wire: &[u8], max: usize) -> Result<Vec<u8>, Problem> {
    let broken = |error: std::io::Error| {
        let word = match encoding {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        };
        let detail = format!("the body cannot be decompressed as {word}: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail).of("content-encoding")
    };
    let reader: Box<dyn Read + '_> = match encoding {
        Encoding::Identity => Box::new(wire),
        Encoding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(wire)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(wire).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
            Box::new(decoder)
        }
    };
    let mut inflated = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX);
    reader.take(bound.saturating_add(1)).read_to_end(&mut inflated).map_err(broken)?;
    if inflated.len() > max {
        return Err(too_large("the decompressed body", max));
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 1).expect("memory takes all")
    }

    #[track_caller]
    fn status(encoding: Encoding, wire: &[u8], max: usize) -> u16 {
        inflate(encoding, wire, max).map_or_else(|problem| problem.status().as_u16(), |_| 200)
    }

    #[test]
    fn both_sides_of_the_inflated_bound() {
        let data = vec![b' '; 1_000];
        for (encoding, wire) in [(Encoding::Gzip, gzip(&data)), (Encoding::Zstd, zstd(&data))] {
            assert_eq!(status(encoding, &wire, 1_000), 200, "{encoding:?}");
            assert_eq!(status(encoding, &wire, 999), 413, "{encoding:?}");
        }
    }

    #[test]
    fn members_add_up_and_nothing_else_may_follow() {
        for (encoding, one) in [(Encoding::Gzip, gzip(b"[1")), (Encoding::Zstd, zstd(b"[1"))] {
            let two = if encoding == Encoding::Gzip { gzip(b"]") } else { zstd(b"]") };
            let both = [one.clone(), two].concat();
            assert_eq!(inflate(encoding, &both, 3).ok(), Some(b"[1]".to_vec()), "{encoding:?}");
            assert_eq!(status(encoding, &both, 2), 413, "{encoding:?}");
            assert_eq!(status(encoding, &[one.clone(), b"garbage".to_vec()].concat(), 100), 400, "{encoding:?}");
            assert_eq!(status(encoding, &one[..one.len() - 1], 100), 400, "{encoding:?}");
            assert_eq!(status(encoding, b"not compressed at all", 100), 400, "{encoding:?}");
            assert_eq!(status(encoding, b"", 100), 400, "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        // 1 GiB of spaces: more than a test's machine would want to hold.
        let member = gzip(&vec![b' '; 16 << 20]);
        let bomb: Vec<u8> = std::iter::repeat_n(member, 64).flatten().collect();
        assert_eq!(status(Encoding::Gzip, &bomb, 1 << 20), 413);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(wire in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = inflate(Encoding::Gzip, &wire, 1 << 16);
            let _ = inflate(Encoding::Zstd, &wire, 1 << 16);
        }
    }
}
