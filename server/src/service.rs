//! Puts the service together: its parts behind the front door, from the first request to the last.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidemark_app::api::{Answer, Fleet};
use tidemark_domain::fact::{Declaration, Source};
use tidemark_domain::id::CpName;
use tidemark_domain::time::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::board::Revision;
use crate::clock::Clock;
use crate::http::assets::Assets;
use crate::http::auth::Tokens;
use crate::http::health::Readiness;
use crate::http::router::router;
use crate::http::{Door, DoorLimits, taps};
use crate::ingest::{Ingest, Remembered};
use crate::metrics::fleet::FleetFigures;
use crate::metrics::process::Counted;
use crate::sources::Sources;
use crate::store::Taken;
use crate::telemetry::Telemetry;

/// What the front door stands before.
pub struct Parts {
    /// Where `now` comes from.
    pub clock: Clock,
    /// The way in; shut where the clock is held.
    pub ingest: Ingest,
    /// Answers.
    pub fleet: Fleet,
    /// What gateways do; `None` where that is not kept.
    pub telemetry: Option<Telemetry>,
    /// The same answers in numbers, for `/metrics`.
    pub figures: Arc<dyn FleetFigures>,
    /// Which control planes there are.
    pub control_planes: Arc<dyn ControlPlanes>,
    /// Answers that were given under an `Idempotency-Key`.
    pub memory: Arc<dyn Memory>,
    /// How far recordings were taken.
    pub recordings: Arc<dyn Recordings>,
    /// Whether all of this works.
    pub health: Arc<dyn Health>,
    /// Sources that go and ask.
    pub sources: Sources,
    /// The newest revision of the fleet's answer.
    pub revisions: watch::Receiver<Revision>,
    /// The fleet is made up (`tidemark demo`), and every page says so.
    pub demo: bool,
    /// What this process counts; the writer has a clone.
    pub counted: Counted,
    /// Cancelled when the service closes: whatever waits for ever must stop waiting then.
    pub closing: CancellationToken,
}

/// Which control planes the fleet knows. Answers from memory; must not wait.
pub trait ControlPlanes: Send + Sync {
    /// Whether there is one of this name, declared or made up.
    fn is_known(&self, name: &CpName) -> bool;
    /// Whether a source of one is listening, as far as is known.
    fn listens(&self, name: &CpName, source: Source) -> bool;
    /// How many were made up from what reports said.
    fn undeclared(&self) -> usize;
    /// What was declared of one, newest.
    fn declaration(&self, name: &CpName) -> Option<Declaration>;
}

/// What the store remembers of requests with an `Idempotency-Key` (an hour, 100,000 keys).
pub trait Memory: Send + Sync {
    /// The answer that was given under this key.
    fn remembered(&self, key: String) -> Remembering<'_>;
}

/// An answer of [`Memory`] on its way.
pub type Remembering<'a> = Answer<'a, Option<Remembered>>;

/// What the store knows of recordings, for `tidemark import --to`.
pub trait Recordings: Send + Sync {
    /// How far the recording of this first digest was taken.
    fn taken(&self, first_digest: String) -> Answer<'_, Option<Taken>>;
    /// When the newest word of a control plane was recorded.
    fn newest_word_at(&self, control_plane: CpName) -> Answer<'_, Option<Timestamp>>;
}

/// Whether the parts work.
pub trait Health: Send + Sync {
    /// Now, from memory; must not wait.
    fn readiness(&self) -> Readiness;
}

/// After the signal to close, requests that are in hand may take this long.
const CLOSING_MAX: Duration = Duration::from_secs(15);

/// Serves until `closed` comes: stops taking, finishes what was taken, and returns. The caller closes the store then.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    parts: Parts,
    listener: TcpListener,
    tokens: Option<Tokens>,
    limits: DoorLimits,
    closed: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let assets = Assets::load();
    let address = listener.local_addr()?;
    let closing = parts.closing.clone();
    let door = Door::new(parts, tokens, limits, assets.leptos_options(address));
    let watching = tokio::spawn(taps::watch(door.clone()));
    let service = router(door, &assets).into_make_service_with_connect_info::<SocketAddr>();
    let signal = closing.clone();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
        closed.await;
        signal.cancel();
    });
    let too_late = async {
        closing.cancelled().await;
        tokio::time::sleep(CLOSING_MAX).await;
    };
    let served = tokio::select! {
        served = serving => served,
        () = too_late => {
            tracing::warn!("some connections did not end in time and were cut");
            Ok(())
        }
    };
    watching.abort();
    served
}
