//! Long names and the small numbers that stand for them in rows.
//!
//! Control planes and nodes are all kept in memory: there is one entry a node anyway. Configurations and attribute sets
//! come and go, so of these only a bounded number is kept, and the others are looked up again.

use super::attribute_set::{self, Fingerprint};
use super::bulk;
use super::error::StoreError;
use sqlx::SqliteConnection;
use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use tidemark_domain::fact::{ConfigRef, Fact, Report, Said, Source, What, Word};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{CpName, NodeId, Token};

/// Configurations, and attribute sets, that are kept in memory between two appends: some 40 MB at most.
const REMEMBERED_MAX: usize = 200_000;

/// Names that are looked up by one statement.
pub(super) const LOOKED_UP_AT_ONCE: usize = 10_000;

/// The number of a source in rows; its table holds the same (a test).
pub(super) const fn source_number(source: Source) -> i64 {
    match source {
        Source::Tap => 1,
        Source::Shadow => 2,
        Source::Status => 3,
        Source::Push => 4,
        Source::AdminApi => 5,
        Source::Konnect => 6,
        Source::AccessLog => 7,
        Source::Import => 8,
    }
}

/// The source of this number.
pub(super) fn source_of(number: i64, table: &'static str, row: i64) -> Result<Source, StoreError> {
    Source::ALL
        .into_iter()
        .find(|source| source_number(*source) == number)
        .ok_or_else(|| StoreError::corrupt(table, row, format!("no source has the number {number}")))
}

/// `hash` or `token`.
pub(super) const fn form(config: &ConfigRef) -> &'static str {
    match config {
        ConfigRef::Hash(_) => "hash",
        ConfigRef::Token(_) => "token",
    }
}

/// The configuration of a row.
pub(super) fn config_of(row: i64, form: &str, name: &str) -> Result<ConfigRef, StoreError> {
    let config = match form {
        "hash" => name.parse::<ConfigHash>().ok().map(ConfigRef::Hash),
        "token" => name.parse::<Token>().ok().map(ConfigRef::Token),
        _ => None,
    };
    config.ok_or_else(|| StoreError::corrupt("config", row, format!("{name:?} is not a {form}")))
}

/// The name of a control plane's row.
pub(super) fn control_plane_of(row: i64, name: &str) -> Result<CpName, StoreError> {
    name.parse().map_err(|error| StoreError::corrupt("control_plane", row, error))
}

/// The id of a node's row.
pub(super) fn node_of(row: i64, name: &str) -> Result<NodeId, StoreError> {
    name.parse().map_err(|error| StoreError::corrupt("node", row, error))
}

/// The node that a fact is about.
pub(super) fn node_in(what: &What) -> Option<&NodeId> {
    match what {
        What::Report(report) => Some(&report.node),
        What::Connection(connection) => connection.node.as_ref(),
        What::Word(word) => offered_to(word),
        What::Retired(retirement) => Some(&retirement.node),
        What::Read | What::Listening(_) | What::ControlPlaneDown | What::Declared(_) => None,
    }
}

/// The node that a frame was offered to.
pub(super) fn offered_to(word: &Word) -> Option<&NodeId> {
    match &word.said {
        Said::Frame(frame) => frame.offered_to.as_ref(),
        Said::Announced(_) | Said::Expected { .. } | Said::Notified(_) | Said::Inferred(_) | Said::Same { .. } => None,
    }
}

/// The configuration that a word names; of an announcement, its token or its first hash.
pub(super) fn named_by(word: &Word) -> Option<ConfigRef> {
    match &word.said {
        Said::Announced(announcement) => {
            let token = announcement.token.clone().map(ConfigRef::from);
            token.or_else(|| announcement.hashes.first().map(|(_, hash)| ConfigRef::Hash(*hash)))
        }
        Said::Frame(frame) => Some(frame.config.clone()),
        Said::Expected { config, .. } | Said::Inferred(config) => Some(config.clone()),
        Said::Notified(hash) | Said::Same { hash, .. } => Some(ConfigRef::Hash(*hash)),
    }
}

/// The configuration that a fact names.
fn config_in(what: &What) -> Option<ConfigRef> {
    match what {
        What::Report(report) => report.running.clone(),
        What::Word(word) => named_by(word),
        What::Connection(_)
        | What::Read
        | What::Listening(_)
        | What::ControlPlaneDown
        | What::Declared(_)
        | What::Retired(_) => None,
    }
}

/// What has a number.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) control_planes: HashMap<CpName, i64>,
    pub(super) nodes: HashMap<i64, HashMap<NodeId, i64>>,
    configs: HashMap<ConfigRef, i64>,
    attribute_sets: HashMap<Fingerprint, i64>,
    /// The last numbers that were given.
    pub(super) last_control_plane: i64,
    pub(super) last_node: i64,
    pub(super) last_config: i64,
    pub(super) last_attribute_set: i64,
    /// Keys of the fingerprints, drawn once, so that nobody outside can make two sets look alike.
    keys: [RandomState; 2],
}

/// The numbers of a report's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) control_plane: i64,
    pub(super) node: Option<i64>,
    pub(super) config: Option<i64>,
    pub(super) attribute_set: Option<i64>,
}

impl Names {
    /// No names yet; the next numbers come after these.
    pub(super) fn after(last_node: i64, last_config: i64, last_attribute_set: i64) -> Self {
        Self { last_node, last_config, last_attribute_set, ..Self::default() }
    }

    /// The numbers of all that these facts name, in their order. What had none gets one, and a row.
    pub(super) async fn number(
        &mut self,
        connection: &mut SqliteConnection,
        facts: &[Fact],
    ) -> Result<Vec<Numbers>, StoreError> {
        if self.configs.len() > REMEMBERED_MAX {
            self.forget_configs();
        }
        if self.attribute_sets.len() > REMEMBERED_MAX {
            self.forget_attribute_sets();
        }

        let mut numbers = Vec::with_capacity(facts.len());
        let mut fingerprints = Vec::with_capacity(facts.len());
        let mut configs = Vec::with_capacity(facts.len());
        let mut new_control_planes: Vec<(i64, &CpName)> = Vec::new();
        let mut new_nodes: Vec<(i64, i64, &NodeId)> = Vec::new();
        // In the order in which they were told, so that the same facts get the same numbers on every machine.
        let mut missing_configs: Vec<ConfigRef> = Vec::new();
        let mut missing_sets: Vec<(Fingerprint, &Report)> = Vec::new();
        let mut seen_configs: HashSet<ConfigRef> = HashSet::new();
        let mut seen_sets: HashSet<Fingerprint> = HashSet::new();

        for fact in facts {
            let control_plane = match self.control_planes.get(&fact.control_plane) {
                Some(number) => *number,
                None => {
                    self.last_control_plane += 1;
                    self.control_planes.insert(fact.control_plane.clone(), self.last_control_plane);
                    new_control_planes.push((self.last_control_plane, &fact.control_plane));
                    self.last_control_plane
                }
            };
            let node = node_in(&fact.what).map(|node| {
                let nodes = self.nodes.entry(control_plane).or_default();
                nodes.get(node).copied().unwrap_or_else(|| {
                    self.last_node += 1;
                    nodes.insert(node.clone(), self.last_node);
                    new_nodes.push((self.last_node, control_plane, node));
                    self.last_node
                })
            });
            let config = config_in(&fact.what);
            if let Some(config) = &config
                && !self.configs.contains_key(config)
                && seen_configs.insert(config.clone())
            {
                missing_configs.push(config.clone());
            }
            let fingerprint = match &fact.what {
                What::Report(report) => {
                    let fingerprint = attribute_set::fingerprint(report, &self.keys);
                    if !self.attribute_sets.contains_key(&fingerprint) && seen_sets.insert(fingerprint) {
                        missing_sets.push((fingerprint, report));
                    }
                    Some(fingerprint)
                }
                What::Connection(_)
                | What::Word(_)
                | What::Read
                | What::Listening(_)
                | What::ControlPlaneDown
                | What::Declared(_)
                | What::Retired(_) => None,
            };
            numbers.push(Numbers { control_plane, node, config: None, attribute_set: None });
            configs.push(config);
            fingerprints.push(fingerprint);
        }

        bulk::CONTROL_PLANE
            .write(connection, &new_control_planes, |query, (id, name)| query.bind(*id).bind(name.as_str().to_owned()))
            .await?;
        bulk::NODE
            .write(connection, &new_nodes, |query, (id, control_plane, name)| {
                query.bind(*id).bind(*control_plane).bind(name.as_str().to_owned())
            })
            .await?;
        self.number_configs(connection, missing_configs).await?;
        self.number_attribute_sets(connection, missing_sets).await?;

        for ((numbers, config), fingerprint) in numbers.iter_mut().zip(&configs).zip(&fingerprints) {
            numbers.config = config.as_ref().and_then(|config| self.configs.get(config).copied());
            numbers.attribute_set =
                fingerprint.as_ref().and_then(|fingerprint| self.attribute_sets.get(fingerprint).copied());
        }
        Ok(numbers)
    }

    async fn number_configs(
        &mut self,
        connection: &mut SqliteConnection,
        missing: Vec<ConfigRef>,
    ) -> Result<(), StoreError> {
        for some in missing.chunks(LOOKED_UP_AT_ONCE) {
            let names: Vec<&str> = some.iter().map(ConfigRef::as_str).collect();
            let names = json(&names);
            let found = sqlx::query!(
                "select id, form, name
                   from config
                  where name in (select value from json_each(?1))",
                names
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("look up configurations"))?;
            for row in found {
                self.configs.insert(config_of(row.id, &row.form, &row.name)?, row.id);
            }
        }
        let mut new = Vec::new();
        for config in missing {
            if !self.configs.contains_key(&config) {
                self.last_config += 1;
                new.push((self.last_config, config.clone()));
                self.configs.insert(config, self.last_config);
            }
        }
        bulk::CONFIG
            .write(connection, &new, |query, (id, config)| {
                query.bind(*id).bind(form(config)).bind(config.as_str().to_owned())
            })
            .await
    }

    async fn number_attribute_sets(
        &mut self,
        connection: &mut SqliteConnection,
        missing: Vec<(Fingerprint, &Report)>,
    ) -> Result<(), StoreError> {
        for some in missing.chunks(LOOKED_UP_AT_ONCE) {
            let mut sets = Vec::with_capacity(some.len());
            for (fingerprint, report) in some {
                let body = attribute_set::body(report)?;
                sets.push((*fingerprint, attribute_set::digest(&body), body));
            }
            let digests: Vec<String> = sets.iter().map(|(_, digest, _)| attribute_set::hex(digest)).collect();
            let digests = json(&digests);
            let found = sqlx::query!(
                "select id, digest
                   from attribute_set
                  where digest in (select unhex(value) from json_each(?1))",
                digests
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("look up attribute sets"))?;
            let mut known: HashMap<Vec<u8>, i64> = found.into_iter().map(|row| (row.digest, row.id)).collect();
            let mut new = Vec::new();
            for (fingerprint, digest, body) in sets {
                let id = known.get(digest.as_slice()).copied().unwrap_or_else(|| {
                    self.last_attribute_set += 1;
                    known.insert(digest.to_vec(), self.last_attribute_set);
                    new.push((self.last_attribute_set, digest, body));
                    self.last_attribute_set
                });
                self.attribute_sets.insert(fingerprint, id);
            }
            bulk::ATTRIBUTE_SET
                .write(connection, &new, |query, (id, digest, body)| {
                    query.bind(*id).bind(digest.to_vec()).bind(body.clone())
                })
                .await?;
        }
        Ok(())
    }

    /// Must be called when rows of `config` were removed.
    pub(super) fn forget_configs(&mut self) {
        self.configs = HashMap::new();
    }

    /// Must be called when rows of `attribute_set` were removed.
    pub(super) fn forget_attribute_sets(&mut self) {
        self.attribute_sets = HashMap::new();
    }
}

/// A list as `json_each` takes it: any number of values through one parameter.
pub(super) fn json<T: serde::Serialize>(values: &[T]) -> String {
    serde_json::to_string(values).expect("strings and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_domain::fact::{Announcement, Scope};

    #[test]
    fn numbers_of_sources_lead_back_to_them() {
        for source in Source::ALL {
            assert_eq!(source_of(source_number(source), "source", 0).ok(), Some(source));
        }
        assert!(source_of(0, "source", 0).is_err());
    }

    #[test]
    fn an_announcement_is_found_by_its_token_else_by_a_hash() {
        let named = |announcement| {
            let word = Word { replica: None, scope: Scope::ANY, said: Said::Announced(announcement) };
            named_by(&word).map(|config| config.to_string())
        };
        let hashes = vec![(Scope::ANY, ConfigHash::ZEROS)];
        let with_token = Announcement { token: "release-9".parse().ok(), hashes, ..Announcement::default() };
        let without = Announcement { token: None, ..with_token.clone() };
        assert_eq!(named(with_token).as_deref(), Some("release-9"));
        assert_eq!(named(without).as_deref(), Some(ConfigHash::ZEROS.as_str()));
        assert_eq!(named(Announcement::default()), None);
    }
}
