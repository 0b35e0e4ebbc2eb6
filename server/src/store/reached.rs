//! When nodes reached a configuration: what propagation is computed from.

use super::Store;
use super::error::StoreError;
use super::names::{form, node_of, source_of};
use sqlx::Connection;
use std::collections::HashMap;
use tidemark_domain::fact::{ConfigRef, Source};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::{SECOND, Timestamp};

/// Configurations of one question at most: the renderings of one version, by cohort.
const CONFIGS_MAX: usize = 1_000;

/// Whether a polled report gives way to one that was seen itself: pollers tell whole seconds, so what was seen may come up
/// to a second later and be the same report.
#[must_use]
pub fn gives_way(polled: Timestamp, polled_uncertain_ms: u32, seen: Timestamp, seen_uncertain_ms: u32) -> bool {
    let later_by = seen.since(polled);
    polled_uncertain_ms > 0 && seen_uncertain_ms == 0 && (0..=SECOND).contains(&later_by)
}

/// A node that ran one of the configurations that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which.
    pub node: NodeId,
    /// The first report of the first interval that went on until the moment asked for, or began after it. It may be
    /// before that moment: the node ran the configuration already.
    pub from: Timestamp,
    /// The report may be this much older than it says.
    pub uncertain_ms: u32,
    /// Who told us.
    pub source: Source,
}

impl Store {
    /// For each node that ran one of these configurations at `since` or later, when it began to, by node id; with
    /// `known`, as far as it was recorded then. More than a thousand configurations are not looked at.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn first_reached(
        &self,
        control_plane: &CpName,
        configs: &[ConfigRef],
        since: Timestamp,
        known: Option<Timestamp>,
    ) -> Result<Vec<Reached>, StoreError> {
        let mut reader = self.reader().await?;
        let mut connection = reader.begin().await.map_err(StoreError::on("begin to read who reached it"))?;
        let control_plane = control_plane.as_str();
        let since_ms = since.ms();
        let known_ms = known.map_or(i64::MAX, Timestamp::ms);
        let mut first: HashMap<i64, Reached> = HashMap::new();
        for config in configs.iter().take(CONFIGS_MAX) {
            let (form, name) = (form(config), config.as_str());
            let rows = sqlx::query!(
                r#"select run.node_id      as "node_id!: i64",
                          node.name         as "name!: String",
                          run.source_id     as "source_id!: i64",
                          run.from_ms       as "from_ms!: i64",
                          run.uncertain_ms  as "uncertain_ms!: i64"
                     from (select node_id, source_id, from_ms, from_uncertain_ms as uncertain_ms
                             from report_closed
                            where config_id = (select id from config where name = ?2 and form = ?3)
                              and until_ms >= ?4
                              and from_ms + from_stored_after <= ?5
                            union all
                           select node_id, source_id, from_ms, from_uncertain_ms
                             from report_open
                            where config_id = (select id from config where name = ?2 and form = ?3)
                              and until_ms >= ?4
                              and from_ms + from_stored_after <= ?5) as run
                     join node on node.id = run.node_id
                    where node.control_plane_id = (select id from control_plane where name = ?1)
                    order by run.from_ms, run.source_id, run.node_id"#,
                control_plane,
                name,
                form,
                since_ms,
                known_ms
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read who reached a configuration"))?;
            for row in rows {
                let reached = Reached {
                    node: node_of(row.node_id, &row.name)?,
                    from: Timestamp::from_ms(row.from_ms),
                    uncertain_ms: u32::try_from(row.uncertain_ms).unwrap_or(u32::MAX),
                    source: source_of(row.source_id, "report_closed", row.node_id)?,
                };
                // The earliest; of equal ones the source that ranks best.
                let known = first.entry(row.node_id).or_insert_with(|| reached.clone());
                let earlier = (reached.from, reached.source.rank()) < (known.from, known.source.rank());
                let yields = gives_way(reached.from, reached.uncertain_ms, known.from, known.uncertain_ms);
                if earlier && !yields || gives_way(known.from, known.uncertain_ms, reached.from, reached.uncertain_ms) {
                    *known = reached;
                }
            }
        }
        let mut reached: Vec<Reached> = first.into_values().collect();
        reached.sort_unstable_by(|a, b| a.node.cmp(&b.node));
        Ok(reached)
    }
}
