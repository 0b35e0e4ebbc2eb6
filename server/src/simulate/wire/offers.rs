//! What nodes read of the configurations they are sent. Thousands of nodes of one process are sent the same frame: it is
//! decoded once, and what is kept of it is two words.

use crate::kong::session::INFLATED_MAX;
use crate::kong::v1::{self, FromControlPlane};
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use tidemark_domain::hash::ConfigHash;

/// A configuration frame, as far as a simulated node cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The hash that a node repeats once it has applied it.
    Configuration { reported_as: ConfigHash },
    /// A type that a node ignores silently.
    Ignored,
    /// No configuration can be read from it.
    Unreadable(String),
}

/// Frames that were decoded of late, by their digest.
#[derive(Debug, Default)]
pub struct Offers(Mutex<VecDeque<(Digested, Arc<OnceLock<Offered>>)>>);

type Digested = [u8; 32];

/// Frames that are remembered. A fleet is sent one for each gateway version and change; what fell out is decoded again.
const REMEMBERED_MAX: usize = 64;
/// Frames up to this size are decoded where they are; larger ones off the threads that serve connections.
const AT_ONCE: usize = 16 * 1024;

impl Offers {
    /// What a frame says.
    pub async fn read(self: &Arc<Self>, payload: Bytes) -> Offered {
        if payload.len() <= AT_ONCE {
            return self.read_at_once(&payload);
        }
        let offers = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || offers.read_at_once(&payload));
        read.await.unwrap_or_else(|error| Offered::Unreadable(error.to_string()))
    }

    fn read_at_once(&self, payload: &[u8]) -> Offered {
        let digest: Digested = Sha256::digest(payload).into();
        let known = {
            let mut remembered = self.0.lock();
            let place = remembered.iter().position(|(known, _)| *known == digest);
            let known = place.and_then(|place| remembered.remove(place)).unwrap_or_else(|| (digest, Arc::default()));
            remembered.push_back(known.clone());
            if remembered.len() > REMEMBERED_MAX {
                remembered.pop_front();
            }
            known.1
        };
        // Whoever comes second waits for the first.
        known.get_or_init(|| decoded(payload)).clone()
    }
}

fn decoded(payload: &[u8]) -> Offered {
    match v1::from_control_plane(payload, INFLATED_MAX) {
        Ok(FromControlPlane::Reconfigure(offer)) => Offered::Configuration { reported_as: offer.reported_as() },
        Ok(FromControlPlane::TooLarge(offer)) => Offered::Configuration { reported_as: offer.stated },
        Ok(FromControlPlane::Ignored { .. }) => Offered::Ignored,
        Err(why) => Offered::Unreadable(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn frame(text: &str) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap().into()
    }

    #[tokio::test]
    async fn a_frame_is_remembered_and_others_are_forgotten_for_it() {
        let offers = Arc::new(Offers::default());
        let table = r#"{"services":[{"id":"1"}]}"#;
        let hash = "c6ee22cecbb5f8a7714966db3931b7b1";
        let configuration =
            frame(&format!(r#"{{"type":"reconfigure","config_hash":"{hash}","config_table":{table}}}"#));
        let expected = Offered::Configuration { reported_as: hash.parse().unwrap() };
        for _ in 0..2 {
            assert_eq!(offers.read(configuration.clone()).await, expected);
            assert_eq!(offers.0.lock().len(), 1);
        }
        for number in 0..2 * REMEMBERED_MAX {
            assert_eq!(offers.read(frame(&format!(r#"{{"type":"{number}"}}"#))).await, Offered::Ignored);
        }
        assert_eq!(offers.0.lock().len(), REMEMBERED_MAX);
        assert_eq!(offers.read(configuration).await, expected);
        let large = Bytes::from(vec![0; AT_ONCE + 1]);
        assert!(matches!(offers.read(large).await, Offered::Unreadable(_)));
    }

    #[tokio::test]
    async fn only_workspaces_are_reported_as_nothing() {
        let frame = frame(
            r#"{"type":"reconfigure","config_hash":"c6ee22cecbb5f8a7714966db3931b7b1","config_table":{"workspaces":[{"id":"1"}]}}"#,
        );
        let read = Arc::new(Offers::default()).read(frame).await;
        assert_eq!(read, Offered::Configuration { reported_as: ConfigHash::ZEROS });
    }
}
