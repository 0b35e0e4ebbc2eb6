//! What a shadow did so far, for pages and metrics, and what went wrong: counted by reason, and told to the log at most once
//! a second for each.

use crate::lines::Lines;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemark_domain::fact::Protocol;
use tidemark_domain::gateway::GatewayVersion;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::Timestamp;

/// Why something did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A certificate or key on this machine cannot be used.
    Files,
    /// Nothing listens there.
    Refused,
    /// No answer in time.
    NoAnswer,
    /// No way there from here: a name that is not known, a network that is not reached.
    Unreachable,
    /// The TLS handshake failed: a certificate that one of both sides does not accept.
    Tls,
    /// 404: no control plane of hybrid mode, or one without RPC.
    NotFound,
    /// 400: in pki mode a certificate that the authority did not issue.
    BadRequest,
    /// Closed without an answer: in shared mode a certificate that is not the cluster's.
    Stranger,
    /// Another answer than an upgrade.
    NotUpgraded,
    /// The control plane ended the connection: it restarts, or does not want this node.
    Closed,
    /// The connection broke.
    Broken,
    /// Nothing was heard for more than 45 s.
    Silence,
    /// A WebSocket frame that Kong does not send, or one that is too long.
    Frame,
    /// A frame in which no configuration can be read.
    Unreadable,
    /// The control plane does not sync by v2 with this node.
    NotOffered,
    /// Connected, and no configuration comes: the control plane withholds it from a node that lacks a plugin or a filter.
    Withheld,
    /// The last hash cannot be written to disk.
    Disk,
    /// Facts were lost, as nobody took them.
    Lost,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Files,
        Self::Refused,
        Self::NoAnswer,
        Self::Unreachable,
        Self::Tls,
        Self::NotFound,
        Self::BadRequest,
        Self::Stranger,
        Self::NotUpgraded,
        Self::Closed,
        Self::Broken,
        Self::Silence,
        Self::Frame,
        Self::Unreadable,
        Self::NotOffered,
        Self::Withheld,
        Self::Disk,
        Self::Lost,
    ];

    /// The word of labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Refused => "refused",
            Self::NoAnswer => "no_answer",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::NotFound => "not_found",
            Self::BadRequest => "bad_request",
            Self::Stranger => "stranger",
            Self::NotUpgraded => "not_upgraded",
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Silence => "silence",
            Self::Frame => "frame",
            Self::Unreadable => "unreadable",
            Self::NotOffered => "not_offered",
            Self::Withheld => "withheld",
            Self::Disk => "disk",
            Self::Lost => "lost",
        }
    }

    /// What it means and what to look at, for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Files => "A certificate or key cannot be used: look at the files of this source.",
            Self::Refused => "Nothing listens at this address: the control plane is down, or the port is another.",
            Self::NoAnswer => "The control plane does not answer: it hangs, or something on the way drops the packets.",
            Self::Unreachable => {
                "There is no way to the control plane from here: look at its name and at this network."
            }
            Self::Tls => "TLS failed: mode, certificate, authority or server name are not those of this control plane.",
            Self::NotFound => "No control plane of hybrid mode answers here, or for v2 one without RPC.",
            Self::BadRequest => {
                "The control plane refuses the certificate: its authority did not issue it, or it is out of time."
            }
            Self::Stranger => "The control plane ends the connection unanswered: the certificate is not the cluster's.",
            Self::NotUpgraded => "Something else than a control plane answers, or a proxy stands before it.",
            Self::Closed => {
                "The control plane ended the connection: it restarted, or does not serve this gateway version."
            }
            Self::Broken => "The connection broke on its way.",
            Self::Silence => "The control plane said nothing for 45 seconds.",
            Self::Frame => "The control plane sent a frame that Kong does not send, or one that is too long.",
            Self::Unreadable => "A frame came in which no configuration can be read, or one that is too large.",
            Self::NotOffered => "The control plane does not sync by v2 with this gateway version: v1 goes on.",
            Self::Withheld => {
                "Connected, but no configuration comes: name the configured plugins and filters that are missing."
            }
            Self::Disk => "The last hash cannot be written: look at the folder of this source.",
            Self::Lost => "Facts were lost, as the server did not take them in time.",
        }
    }
}

/// The figures of all nodes of one shadow.
#[derive(Debug)]
pub struct Figures {
    nodes: Mutex<Vec<OfNode>>,
    lines: Lines,
}

/// What one node of a shadow did.
#[derive(Clone, Debug)]
pub struct OfNode {
    pub gateway_version: GatewayVersion,
    pub protocol: Protocol,
    /// Who it is to its control plane.
    pub node_id: Arc<str>,
    pub connected: bool,
    /// It was sent a configuration on this connection: it will hear of changes.
    pub hears: bool,
    /// Upgrades that succeeded.
    pub connects: u64,
    /// What it repeats.
    pub repeats: ConfigHash,
    /// Heartbeats that it sent, or questions by v2.
    pub sent: u64,
    /// Configurations that it read.
    pub offers: u64,
    pub last_offer_at: Option<Timestamp>,
    /// Reasons that occurred, with how often.
    pub errors: BTreeMap<Reason, u64>,
    pub last_error: Option<LastError>,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub at: Timestamp,
    pub reason: Reason,
    pub message: String,
}

impl OfNode {
    pub(super) fn new(gateway_version: GatewayVersion, protocol: Protocol, node_id: &str, repeats: ConfigHash) -> Self {
        Self {
            gateway_version,
            protocol,
            node_id: node_id.into(),
            connected: false,
            hears: false,
            connects: 0,
            repeats,
            sent: 0,
            offers: 0,
            last_offer_at: None,
            errors: BTreeMap::new(),
            last_error: None,
        }
    }

    /// How often something went wrong for this reason.
    #[must_use]
    pub fn errors_of(&self, reason: Reason) -> u64 {
        self.errors.get(&reason).copied().unwrap_or(0)
    }
}

impl Figures {
    pub(super) fn new(nodes: Vec<OfNode>) -> Arc<Self> {
        Arc::new(Self { nodes: Mutex::new(nodes), lines: Lines::default() })
    }

    /// All nodes, in the order of the settings.
    #[must_use]
    pub fn nodes(&self) -> Vec<OfNode> {
        self.nodes.lock().clone()
    }

    /// Whether any of the nodes hears of changes.
    #[must_use]
    pub fn hears(&self) -> bool {
        self.nodes.lock().iter().any(|node| node.hears)
    }

    pub(super) fn of(&self, node: usize, change: impl FnOnce(&mut OfNode)) {
        if let Some(node) = self.nodes.lock().get_mut(node) {
            change(node);
        }
    }

    pub(super) fn fail(&self, node: usize, at: Timestamp, reason: Reason, message: String) {
        self.of(node, |node| {
            *node.errors.entry(reason).or_default() += 1;
            if let Some(left_out) = self.lines.due(at, reason.word()) {
                let gateway_version = node.gateway_version.as_str();
                tracing::warn!(gateway_version, reason = reason.word(), "a shadow has trouble: {message}{left_out}");
            }
            node.last_error = Some(LastError { at, reason, message });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
