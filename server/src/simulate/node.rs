//! A simulated data plane: what it runs, what it is about to run, and what is the matter with it
//! (`kong-hybrid.md` 1.7, 2.6, 7.1).

use super::plane::Config;
use super::random::Random;
use super::scenario::Group;
use std::sync::Arc;
use tidemark_domain::fact::{ApplyFailure, Attributes, Protocol, SyncMode};
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{Labels, Line, NodeId};
use tidemark_domain::time::{DAY, Timestamp};

/// A connection to the control plane.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its name among all connections.
    pub name: Arc<str>,
    /// Which replica serves it.
    pub replica: usize,
    pub since: Timestamp,
}

/// A data plane.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its control plane, by place.
    pub plane: usize,
    /// Its group, by place.
    pub group: usize,
    pub id: NodeId,
    pub hostname: String,
    pub ip: String,
    pub gateway: GatewayVersion,
    pub labels: Labels,
    /// It syncs by JSON-RPC; else by whole configurations.
    pub rpc: bool,
    /// It would sync by JSON-RPC, and its control plane does not let it (`kong-hybrid.md` 2.1, silent downgrade).
    pub fell_back: bool,
    /// Middle and tail of the time that it takes to apply something.
    pub apply_ms: [i64; 2],
    pub misses_notices: bool,
    pub clock_ahead_ms: i64,
    pub certificate_expires_at: Option<Timestamp>,
    pub license_expires_at: Option<Timestamp>,
    pub status_api: bool,
    pub lacks_plugin: Option<String>,

    /// Its process runs.
    pub up: bool,
    /// It is no more, and will not be again.
    pub gone: bool,
    /// Until when its network is cut.
    pub cut_until: Option<Timestamp>,
    /// Counts up with each connection: what belongs to an earlier one is void.
    pub epoch: u32,
    pub link: Option<Link>,
    pub running: Option<Config>,
    /// What it is applying.
    pub applying: Option<Config>,
    /// What came meanwhile: only the newest is kept (`kong-hybrid.md` 1.7).
    pub pending: Option<Config>,
    pub loses_next_push: bool,
    pub sticks: bool,
    /// Why it refuses, and whether its agent says so.
    pub refuses: Option<(ApplyFailure, bool)>,
    /// What it refused last.
    pub refused: Option<ConfigHash>,
    /// The last heartbeat.
    pub beat_at: Option<Timestamp>,
}

impl Node {
    /// The node of a group with this number, from 1.
    #[must_use]
    pub fn new(
        place: (usize, usize),
        group: &Group,
        number: usize,
        rpc: bool,
        now: Timestamp,
        random: &mut Random,
    ) -> Self {
        let (plane, of) = place;
        let after_days = |days: Option<u32>| days.map(|days| now.plus(i64::from(days) * DAY));
        Self {
            plane,
            group: of,
            id: random.uuid().parse().expect("a UUID is an id"),
            hostname: format!("{}-{number}", group.name),
            ip: format!("10.{}.{}.{}", of % 250, number / 250 % 250, number % 250 + 1),
            gateway: group.gateway_version.clone(),
            labels: Labels::new(group.all_labels()).unwrap_or_default(),
            rpc,
            fell_back: false,
            apply_ms: [group.apply[0].0, group.apply[1].0],
            misses_notices: group.misses_notices,
            clock_ahead_ms: group.clock_ahead.0,
            certificate_expires_at: after_days(group.certificate_expires_in_days.or(Some(1_095))),
            license_expires_at: after_days(group.license_expires_in_days),
            status_api: group.status_api,
            lacks_plugin: group.lacks_plugin.clone(),
            up: false,
            gone: false,
            cut_until: None,
            epoch: 0,
            link: None,
            running: None,
            applying: None,
            pending: None,
            loses_next_push: false,
            sticks: false,
            refuses: None,
            refused: None,
            beat_at: None,
        }
    }

    /// What it repeats.
    #[must_use]
    pub fn repeats(&self) -> ConfigHash {
        self.running.as_ref().map_or(ConfigHash::ZEROS, |config| config.hash)
    }

    /// Its network to the control plane works.
    #[must_use]
    pub fn reaches_out(&self, now: Timestamp) -> bool {
        self.up && self.cut_until.is_none_or(|until| now >= until)
    }

    /// What an agent beside it knows.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes {
            hostname: line(&self.hostname),
            ip: line(&self.ip),
            gateway_version: Some(self.gateway.clone()),
            protocol: Some(if self.rpc { Protocol::V2 } else { Protocol::V1 }),
            sync_mode: Some(match (self.rpc, self.fell_back) {
                (_, true) => SyncMode::FellBack,
                (true, false) => SyncMode::Delta,
                (false, false) => SyncMode::Full,
            }),
            labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
            certificate_expires_at: self.certificate_expires_at,
            license_expires_at: self.license_expires_at,
            ..Attributes::default()
        }
    }
}

/// A text of the simulator as a line.
pub(super) fn line(text: &str) -> Option<Line> {
    Line::from_outside(text)
}
