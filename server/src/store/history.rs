//! The past of one node.

use super::Store;
use super::error::StoreError;
use super::names::source_of;
use super::replay::{event_of, run};
use super::run::{Limit, Run};
use super::vocabulary::Vocabulary;
use sqlx::{Connection, SqliteConnection};
use std::fmt;
use std::str::FromStr;
use tidemark_domain::fact::{ApplyFailure, Attributes, ConfigRef, Fact, Source, SyncStatus, What};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::Timestamp;

/// An unbroken run of equal reports from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Who told us.
    pub source: Source,
    /// What the node ran; `None` if the reports did not say.
    pub running: Option<ConfigRef>,
    /// What the node said of itself.
    pub attributes: Attributes,
    /// What the control plane said of it.
    pub status: Option<SyncStatus>,
    /// The failure that the reports named.
    pub failure: Option<ApplyFailure>,
    /// Whether it said that it can serve.
    pub ready: Option<bool>,
    /// First report.
    pub from: Timestamp,
    /// Last report so far; of a run that went on after the moment that was asked for, an estimate of the last before.
    pub until: Timestamp,
    /// Reports, all that are known today.
    pub reports: u64,
    /// The first report may be this much older than it says.
    pub uncertain_ms: u32,
    /// The node's clock minus ours, as it said last.
    pub clock_skew_ms: Option<i64>,
    /// Its place in the history.
    pub key: IntervalKey,
}

/// The place of an interval in the history of its node: pages go on after it. Printed and read as `from-row`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IntervalKey {
    from_ms: i64,
    row: i64,
}

impl fmt::Display for IntervalKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}_{}", self.from_ms, self.row)
    }
}

impl FromStr for IntervalKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, row) = text.split_once('_').ok_or(())?;
        Ok(Self { from_ms: from.parse().map_err(|_| ())?, row: row.parse().map_err(|_| ())? })
    }
}

/// A page of intervals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalPage {
    /// Newest first.
    pub intervals: Vec<Interval>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<IntervalKey>,
}

impl Store {
    /// The intervals of a node, newest first, from after `after` on, at most `limit`; with `known`, as far as they were
    /// recorded then. Empty for a node that is not known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn intervals(
        &self,
        control_plane: &CpName,
        node: &NodeId,
        after: Option<IntervalKey>,
        limit: u32,
        known: Option<Timestamp>,
    ) -> Result<IntervalPage, StoreError> {
        let mut reader = self.reader().await?;
        let mut connection = reader.begin().await.map_err(StoreError::on("begin to read a history"))?;
        let Some(node_id) = node_row(&mut connection, control_plane, node).await? else {
            return Ok(IntervalPage::default());
        };
        let after = after.unwrap_or(IntervalKey { from_ms: i64::MAX, row: i64::MAX });
        let known_ms = known.map_or(i64::MAX, Timestamp::ms);
        // One more than is shown tells of a next page.
        let wanted = i64::from(limit) + 1;
        let mut rows = closed_of(&mut connection, node_id, after, known_ms, wanted).await?;
        rows.extend(open_of(&mut connection, node_id, known_ms).await?.into_iter().filter(|(key, _)| *key < after));
        rows.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);

        let runs: Vec<Run> = rows.iter().map(|(_, run)| *run).collect();
        let vocabulary = Vocabulary::of(&mut connection, &runs).await?;
        let mut intervals = Vec::with_capacity(rows.len());
        for (key, run) in rows {
            if let Some(interval) = interval(&vocabulary, key, &run, known)? {
                intervals.push(interval);
            }
        }
        let next = intervals.last().filter(|_| more).map(|interval| interval.key);
        Ok(IntervalPage { intervals, next })
    }

    /// What happened to a node one by one (its connections, its retirement, configurations that were offered to it),
    /// newest first, at most `limit`, at or before `until`; with `known`, as far as it was recorded then.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn moments(
        &self,
        control_plane: &CpName,
        node: &NodeId,
        until: Option<Timestamp>,
        limit: u32,
        known: Option<Timestamp>,
    ) -> Result<Vec<Fact>, StoreError> {
        let mut reader = self.reader().await?;
        let mut connection = reader.begin().await.map_err(StoreError::on("begin to read a history"))?;
        let Some(node_id) = node_row(&mut connection, control_plane, node).await? else {
            return Ok(Vec::new());
        };
        let until_ms = until.map_or(i64::MAX, Timestamp::ms);
        let known_ms = known.map_or(i64::MAX, Timestamp::ms);
        let rows = sqlx::query!(
            r#"select sequence    as "sequence!: i64",
                      at_ms       as "at_ms!: i64",
                      recorded_ms as "recorded_ms!: i64",
                      source_id   as "source_id!: i64",
                      kind        as "kind!: String",
                      body        as "body!: String"
                 from (select *
                         from (select sequence, at_ms, recorded_ms, source_id, kind, body
                                 from event
                                where node_id = ?1
                                  and at_ms <= ?2
                                  and recorded_ms <= ?3
                                order by at_ms desc, sequence desc
                                limit ?4)
                        union all
                       select *
                         from (select sequence, at_ms, recorded_ms, source_id, 'word', body
                                 from word
                                where node_id = ?1
                                  and at_ms <= ?2
                                  and recorded_ms <= ?3
                                order by at_ms desc, sequence desc
                                limit ?4))
                order by at_ms desc, sequence desc
                limit ?4"#,
            node_id,
            until_ms,
            known_ms,
            limit
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(StoreError::on("read the moments of a node"))?;
        rows.into_iter()
            .map(|row| {
                let what = if row.kind == "word" {
                    let word = serde_json::from_str(&row.body);
                    What::Word(word.map_err(|error| StoreError::corrupt("word", row.sequence, error))?)
                } else {
                    event_of(row.sequence, &row.kind, &row.body)?
                };
                Ok(Fact {
                    at: Timestamp::from_ms(row.at_ms),
                    recorded_at: Timestamp::from_ms(row.recorded_ms),
                    control_plane: control_plane.clone(),
                    source: source_of(row.source_id, "event", row.sequence)?,
                    what,
                })
            })
            .collect()
    }
}

async fn node_row(
    connection: &mut SqliteConnection,
    control_plane: &CpName,
    node: &NodeId,
) -> Result<Option<i64>, StoreError> {
    let (control_plane, node) = (control_plane.as_str(), node.as_str());
    sqlx::query_scalar!(
        "select node.id
           from node
           join control_plane on control_plane.id = node.control_plane_id
          where control_plane.name = ?1
            and node.name = ?2",
        control_plane,
        node
    )
    .fetch_optional(connection)
    .await
    .map_err(StoreError::on("look up a node"))
}

async fn closed_of(
    connection: &mut SqliteConnection,
    node_id: i64,
    after: IntervalKey,
    known_ms: i64,
    limit: i64,
) -> Result<Vec<(IntervalKey, Run)>, StoreError> {
    let rows = sqlx::query!(
        "select id, node_id, source_id, config_id, attribute_set_id, from_ms, until_ms, from_stored_after,
                until_stored_after, from_uncertain_ms, until_uncertain_ms, skew_ms, reports, opened_sequence,
                touched_sequence
           from report_closed
          where node_id = ?1
            and (from_ms, id) < (?2, ?3)
            and from_ms + from_stored_after <= ?4
          order by from_ms desc, id desc
          limit ?5",
        node_id,
        after.from_ms,
        after.row,
        known_ms,
        limit
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::on("read closed runs of a node"))?;
    Ok(rows.into_iter().map(|row| (IntervalKey { from_ms: row.from_ms, row: row.id }, run!(row))).collect())
}

/// At most one a source. Their keys are above those of all closed runs that begin in the same moment.
async fn open_of(
    connection: &mut SqliteConnection,
    node_id: i64,
    known_ms: i64,
) -> Result<Vec<(IntervalKey, Run)>, StoreError> {
    let rows = sqlx::query!(
        "select node_id, source_id, config_id, attribute_set_id, from_ms, until_ms, from_stored_after,
                until_stored_after, from_uncertain_ms, until_uncertain_ms, skew_ms, reports, opened_sequence,
                touched_sequence
           from report_open
          where node_id = ?1
            and from_ms + from_stored_after <= ?2
          order by source_id",
        node_id,
        known_ms
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::on("read open runs of a node"))?;
    let key = |from_ms, source_id: i64| IntervalKey { from_ms, row: i64::MAX.saturating_sub(source_id) };
    Ok(rows.into_iter().map(|row| (key(row.from_ms, row.source_id), run!(row))).collect())
}

fn interval(
    vocabulary: &Vocabulary,
    key: IntervalKey,
    run: &Run,
    known: Option<Timestamp>,
) -> Result<Option<Interval>, StoreError> {
    let Some((set, config)) = vocabulary.said(run) else {
        return Ok(None);
    };
    // As if nothing was known before: its last moment is then the end of the interval.
    let until_ms =
        run.told(0, Limit::recorded(known)).into_iter().flatten().last().map_or(run.from_ms, |told| told.at_ms);
    Ok(Some(Interval {
        source: source_of(run.source_id, "report_closed", key.row)?,
        running: config.cloned(),
        attributes: set.attributes.clone(),
        status: set.status.clone(),
        failure: set.failure.clone(),
        ready: set.ready,
        from: Timestamp::from_ms(run.from_ms),
        until: Timestamp::from_ms(until_ms),
        reports: u64::try_from(run.reports).unwrap_or(0),
        uncertain_ms: u32::try_from(run.from_uncertain_ms).unwrap_or(u32::MAX),
        clock_skew_ms: run.skew_ms,
        key,
    }))
}
