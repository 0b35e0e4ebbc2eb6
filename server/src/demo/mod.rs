//! A fleet to look at (`tidemark demo`): a simulated world lives in this process at its own pace, and what happens in it
//! takes the same way in as everybody's facts: through the queue. What lies behind it is told by [`history`], and what its
//! gateways do by [`traffic`].

pub mod history;

pub mod traffic;

use crate::clock::Clock;
use crate::ingest::{Ingest, SubmitError};
use crate::simulate::scenario::{BadScenario, Scenario};
use crate::simulate::world::World;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The demo's own story, in the binary, so that it needs no file beside it.
const FLEET: &str = include_str!("../../scenarios/demo/fleet.toml");
/// How often the world moves.
const STEP: Duration = Duration::from_millis(200);

/// The demo's own story.
///
/// # Errors
/// Never, as a test holds.
pub fn fleet() -> Result<Scenario, BadScenario> {
    Scenario::parse(FLEET)
}

/// Lets a world live by a clock, and tells what happens in it, until `closing` comes.
pub async fn live(mut world: World, ingest: Ingest, clock: Clock, closing: CancellationToken) {
    loop {
        let facts = world.run_until(clock.now());
        if !facts.is_empty() {
            match ingest.submit(facts, None).await {
                Ok(_) => {}
                // As when a gateway's report is lost: the next one says the same.
                Err(error @ (SubmitError::Full | SubmitError::Store)) => {
                    tracing::warn!("the demo was not heard: {error}")
                }
                Err(SubmitError::Closed) => return,
            }
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(STEP) => {}
        }
    }
}
