//! How changesets spread, kept for longer than the reports that tell it.

use super::Store;
use super::error::StoreError;
use super::names::control_plane_of;
use sqlx::Connection;
use tidemark_domain::fact::{Protocol, Scope};
use tidemark_domain::id::{CpName, Ordinal};
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::CohortPropagation;

/// How one changeset spread, all of its cohorts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPropagation {
    /// Whose.
    pub control_plane: CpName,
    /// Its first version.
    pub changeset: Ordinal,
    /// Its last version.
    pub last_version: Ordinal,
    /// When its last version was published.
    pub published_at: Timestamp,
    /// When it was final.
    pub final_at: Timestamp,
    /// By cohort.
    pub cohorts: Vec<CohortPropagation>,
}

impl Store {
    /// Keeps how a changeset spread. What is kept already stays as it is.
    ///
    /// # Errors
    /// Nothing is stored then.
    pub async fn keep_propagation(&self, kept: &KeptPropagation) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let (connection, _) = writer.parts();
        let mut transaction =
            connection.begin_with("begin immediate").await.map_err(StoreError::on("begin a transaction"))?;
        let name = kept.control_plane.as_str();
        let (changeset, last_version) = (i64::from(kept.changeset.number()), i64::from(kept.last_version.number()));
        let (published_ms, final_ms) = (kept.published_at.ms(), kept.final_at.max(kept.published_at).ms());
        for cohort in &kept.cohorts {
            let protocol = protocol_word(cohort.scope.protocol);
            let gateway = cohort.scope.gateway.as_ref().map_or("", |gateway| gateway.as_str());
            let (nodes, reached) = (i64::from(cohort.nodes), i64::from(cohort.reached));
            let packed = |error| StoreError::Pack { source: std::io::Error::other(error) };
            let curve = serde_json::to_string(&cohort.curve).map_err(packed)?;
            let stragglers = serde_json::to_string(&cohort.stragglers).map_err(packed)?;
            sqlx::query!(
                "insert or ignore into propagation
                        (control_plane_id, changeset, last_version, protocol, gateway, published_ms, final_ms, nodes,
                         reached, p50_ms, p90_ms, p99_ms, max_ms, curve, stragglers)
                 select id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15
                   from control_plane
                  where name = ?1",
                name,
                changeset,
                last_version,
                protocol,
                gateway,
                published_ms,
                final_ms,
                nodes,
                reached,
                cohort.p50_ms,
                cohort.p90_ms,
                cohort.p99_ms,
                cohort.max_ms,
                curve,
                stragglers
            )
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::on("keep how a changeset spread"))?;
        }
        transaction.commit().await.map_err(StoreError::on("commit how a changeset spread"))
    }

    /// How a changeset spread, by cohort; empty if it is not final.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn kept_propagation(
        &self,
        control_plane: &CpName,
        changeset: Ordinal,
    ) -> Result<Vec<CohortPropagation>, StoreError> {
        let (name, changeset) = (control_plane.as_str(), i64::from(changeset.number()));
        let rows = sqlx::query!(
            "select protocol, gateway, final_ms, nodes, reached, p50_ms, p90_ms, p99_ms, max_ms, curve, stragglers
               from propagation
              where control_plane_id = (select id from control_plane where name = ?1)
                and changeset = ?2
              order by protocol, gateway",
            name,
            changeset
        )
        .fetch_all(&mut *self.reader().await?)
        .await
        .map_err(StoreError::on("read how a changeset spread"))?;
        let mut cohorts = Vec::new();
        for row in rows {
            let key = format!("{name}/{changeset}/{}/{}", row.protocol, row.gateway);
            let unreadable = |error| StoreError::corrupt("propagation", &key, error);
            let gateway = match row.gateway.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|error| StoreError::corrupt("propagation", &key, error))?),
            };
            let protocol = match row.protocol.as_str() {
                "v1" => Some(Protocol::V1),
                "v2" => Some(Protocol::V2),
                _ => None,
            };
            cohorts.push(CohortPropagation {
                scope: Scope { protocol, gateway },
                nodes: u32::try_from(row.nodes).unwrap_or(u32::MAX),
                reached: u32::try_from(row.reached).unwrap_or(u32::MAX),
                p50_ms: row.p50_ms,
                p90_ms: row.p90_ms,
                p99_ms: row.p99_ms,
                max_ms: row.max_ms,
                curve: serde_json::from_str(&row.curve).map_err(unreadable)?,
                stragglers: serde_json::from_str(&row.stragglers).map_err(unreadable)?,
                final_at: Some(Timestamp::from_ms(row.final_ms)),
            });
        }
        Ok(cohorts)
    }

    /// The changesets of which it is kept how they spread, published at `since` or later.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn kept_changesets(&self, since: Timestamp) -> Result<Vec<(CpName, Ordinal)>, StoreError> {
        let since_ms = since.ms();
        let rows = sqlx::query!(
            "select distinct control_plane_id, name, changeset
               from propagation
               join control_plane on control_plane.id = control_plane_id
              where published_ms >= ?1
              order by control_plane_id, changeset",
            since_ms
        )
        .fetch_all(&mut *self.reader().await?)
        .await
        .map_err(StoreError::on("read which changesets are kept"))?;
        let named = |id: i64, name: &str, changeset: i64| {
            let changeset = u32::try_from(changeset).map(Ordinal::new);
            let changeset = changeset.map_err(|error| StoreError::corrupt("propagation", name, error))?;
            Ok((control_plane_of(id, name)?, changeset))
        };
        rows.into_iter().map(|row| named(row.control_plane_id, &row.name, row.changeset)).collect()
    }
}

const fn protocol_word(protocol: Option<Protocol>) -> &'static str {
    match protocol {
        None => "",
        Some(Protocol::V1) => "v1",
        Some(Protocol::V2) => "v2",
    }
}
