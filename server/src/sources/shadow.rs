//! A shadow as a source ([`crate::shadow`]): connections that stay. It tells by itself what it hears, and when it hears
//! nothing; here it is started, started anew should it fail inside, and looked at.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tidemark_domain::fact::Fact;
use tidemark_domain::id::Line;
use tidemark_domain::time::Timestamp;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::settings::{Settings, ShadowSettings};
use super::{Around, Entry, Health};
use crate::clock::Clock;
use crate::cluster_tls::trust::{Mtls, Trust};
use crate::ingest::SubmitError;
use crate::kong::facts::PluginVersion;
use crate::shadow::figures::{Figures, OfNode};

use crate::shadow::{self, Shadow, ShadowError, Sink};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a check waits for a first configuration.
const CHECK_MAX: Duration = Duration::from_secs(15);

/// Lives until `closing` is cancelled.
pub(super) async fn live(entry: Arc<Entry>, given: ShadowSettings, around: Arc<Around>, closing: CancellationToken) {
    let life = async {
        loop {
            entry.state.lock().last_run_at = Some(around.clock.now());
            match opened(&entry.settings, &given, around.clock.clone()) {
                Ok(shadow) => watch(&entry, shadow, &around, &closing).await,
                Err(error) => fail(&entry, around.clock.now(), error.to_string()),
            }
            sleep(entry.settings.interval).await;
        }
    };
    let _ = closing.run_until_cancelled(life).await;
}

/// Runs a shadow, and notes what it does; ends only if it failed inside.
async fn watch(entry: &Entry, shadow: Shadow, around: &Around, closing: &CancellationToken) {
    let figures = shadow.figures();
    let stopped = closing.child_token();
    let running = tokio::spawn(shadow.run(around.ingest.clone(), stopped.clone()));
    // Where this is dropped, the shadow ends too.
    let _stopping = stopped.drop_guard();
    while !running.is_finished() {
        note(entry, &figures, around.clock.now());
        sleep(LOOK_EVERY).await;
    }
    entry.state.lock().restarts += 1;
    fail(entry, around.clock.now(), "a fault of ours: the shadow ended; it begins anew".to_owned());
}

fn fail(entry: &Entry, now: Timestamp, error: String) {
    let mut state = entry.state.lock();
    state.health = Health::Failing;
    state.errors += 1;
    if state.last_error.as_ref() != Some(&error) {
        tracing::error!(source = entry.settings.name, "source {}: {error}", entry.settings.name);
    }
    (state.last_error, state.last_error_at) = (Some(error), Some(now));
}

fn note(entry: &Entry, figures: &Figures, now: Timestamp) {
    let nodes = figures.nodes();
    let count = |is: fn(&OfNode) -> bool| u32::try_from(nodes.iter().filter(|node| is(node)).count()).unwrap_or(0);
    let (targets, hear) = (count(|_| true), count(|node| node.hears));
    let troubles: u64 = nodes.iter().flat_map(|node| node.errors.values()).sum();
    let last_error = nodes.iter().filter_map(|node| node.last_error.as_ref()).max_by_key(|error| error.at);
    let mut state = entry.state.lock();
    state.health = match hear {
        0 if troubles == 0 => Health::Starting,
        0 => Health::Failing,
        some if some < targets => Health::Partly,
        _ => Health::Up,
    };
    (state.targets, state.answered) = (targets, hear);
    state.runs = nodes.iter().map(|node| node.connects).sum();
    state.errors = state.errors.max(troubles);
    state.facts = nodes.iter().map(|node| node.offers).sum();
    if hear > 0 {
        state.last_success_at = Some(now);
    }
    if let Some(error) = last_error {
        state.last_error = Some(format!("{}: {}", error.reason.word(), error.message));
        state.last_error_at = Some(error.at);
    }
    let versions: Vec<&str> = nodes.iter().map(|node| node.gateway_version.as_str()).collect();
    state.about = Some(format!("connects as {}", versions.join(", ")));
}

fn opened(settings: &Settings, given: &ShadowSettings, clock: Clock) -> Result<Shadow, ShadowError> {
    let trust = Trust {
        cluster_cert: given.cluster_cert.clone(),
        cluster_cert_key: given.cluster_cert_key.clone(),
        cluster_mtls: if given.is_pki { Mtls::Pki } else { Mtls::Shared },
        cluster_ca_cert: given.cluster_ca_cert.clone(),
        cluster_allowed_common_names: Vec::new(),
        cluster_crl: None,
    };
    let plugin = |text: &String| {
        let (name, version) =
            text.split_once('=').map_or((text.as_str(), None), |(name, version)| (name, Some(version)));
        PluginVersion { name: name.to_owned(), version: version.map(str::to_owned) }
    };
    let (versions, folder) = (given.versions.clone(), given.folder.clone());
    let control_plane = settings.control_plane.clone();
    let all = shadow::Settings {
        replica: given.replica.as_deref().and_then(Line::from_outside),
        server_name: given.cluster_server_name.clone(),
        plugins: given.plugins.iter().map(plugin).collect(),
        filters: given.filters.clone(),
        watches_v2: given.v2,
        ..shadow::Settings::new(&settings.name, control_plane, &given.connect, trust, versions, folder)
    };
    Shadow::open(all, clock)
}

/// Takes facts nowhere.
struct Nowhere;

impl Sink for Nowhere {
    fn take(&self, _: Vec<Fact>) -> BoxFuture<'_, Result<(), SubmitError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Connects once, as the nodes that it is, and says what came of it.
pub(super) async fn check(settings: &Settings, given: &ShadowSettings, say: &mut impl FnMut(bool, String)) {
    let shadow = match opened(settings, given, Clock::machine()) {
        Ok(shadow) => shadow,
        Err(error) => return say(false, error.to_string()),
    };
    say(true, format!("the certificates can be used, and {} remembers its ids and hashes", given.folder.display()));
    let figures = shadow.figures();
    let stopped = CancellationToken::new();
    let running = tokio::spawn(shadow.run(Nowhere, stopped.clone()));
    let all_hear = async {
        while !figures.nodes().iter().all(|node| node.hears || node.last_error.is_some()) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let _ = timeout(CHECK_MAX, all_hear).await;
    for node in figures.nodes() {
        let who = format!("as a {} node of {}", node.gateway_version, given.connect);
        match (node.hears, &node.last_error) {
            (true, _) => say(true, format!("{who} it was sent a configuration; it repeats {}", node.repeats.short())),
            (false, Some(error)) => say(false, format!("{who}: {}: {}", error.reason.word(), error.message)),
            (false, None) if node.connected => say(false, format!("{who} it is connected, and was sent nothing yet")),
            (false, None) => say(false, format!("{who} it was not answered")),
        }
    }
    stopped.cancel();
    let _ = running.await;
}
