//! What is old goes, a bounded number of rows at a time, so that writers never wait long.
//!
//! Words of control planes and declarations stay: the ledger is derived from them, and outlives all else. A retirement
//! stays as long as anything else speaks of its node.

use super::Store;
use super::append::write_progress;
use super::error::StoreError;
use super::names::json;
use super::remembered::REMEMBERED_FOR_MS;
use super::state::State;
use sqlx::{Connection, SqliteConnection};
use std::collections::HashSet;
use tidemark_domain::time::{DAY, HOUR, Timestamp};

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Intervals of reports, connection events and marks.
    pub intervals_ms: i64,
    /// Keyframes; the newest is always kept.
    pub keyframes_ms: i64,
    /// Sums of traffic and of what nodes use, by minute.
    pub minutes_ms: i64,
    /// The same by hour.
    pub hours_ms: i64,
    /// The same by day, and what syncs cost.
    pub days_ms: i64,
}

impl Default for Retention {
    /// 30 and 7 days (DESIGN 6); of sums so much that a chart of a day, of a month and of a year reaches back that far.
    fn default() -> Self {
        Self {
            intervals_ms: 30 * DAY,
            keyframes_ms: 7 * DAY,
            minutes_ms: 26 * HOUR,
            hours_ms: 32 * DAY,
            days_ms: 400 * DAY,
        }
    }
}

/// What one round of the purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Closed and open intervals.
    pub intervals: u64,
    /// Events and marks.
    pub events: u64,
    /// Keyframes.
    pub keyframes: u64,
    /// Remembered answers.
    pub remembered: u64,
    /// Names (nodes, configurations, attribute sets) that nothing spoke of any more.
    pub names: u64,
    /// There is more to do.
    pub more: bool,
}

impl Store {
    /// Removes at most `rows_max` rows of each kind that are older than they are to be kept.
    ///
    /// # Errors
    /// Nothing is removed then.
    pub async fn purge(&self, now: Timestamp, retention: Retention, rows_max: u32) -> Result<Purged, StoreError> {
        let mut writer = self.writer().await?;
        let (connection, kept) = writer.parts();
        let mut state = match kept.take() {
            Some(state) => state,
            None => State::read(connection).await?,
        };
        let mut transaction =
            connection.begin_with("begin immediate").await.map_err(StoreError::on("begin a transaction"))?;
        let mut round = Round { rows_max, purged: Purged::default() };
        let before_ms = now.plus(-retention.intervals_ms).ms();
        round.closed(&mut transaction, &mut state, before_ms).await?;
        round.open(&mut transaction, &mut state, before_ms).await?;
        round.events(&mut transaction, &mut state, before_ms).await?;
        round.keyframes(&mut transaction, now.plus(-retention.keyframes_ms).ms()).await?;
        round.remembered(&mut transaction, &mut state, now.plus(-REMEMBERED_FOR_MS).ms()).await?;
        round.names(&mut transaction, &mut state).await?;
        write_progress(&mut transaction, &state).await?;
        transaction.commit().await.map_err(StoreError::on("commit a purge"))?;
        *kept = Some(state);
        if round.purged.names > 0 {
            self.inner.known.forget();
        }
        Ok(round.purged)
    }
}

#[derive(Debug)]
struct Round {
    rows_max: u32,
    purged: Purged,
}

impl Round {
    /// Closed runs lie in the order in which they were closed, so the oldest come first, but for late ones: their turn
    /// comes when they are first.
    async fn closed(
        &mut self,
        connection: &mut SqliteConnection,
        state: &mut State,
        before_ms: i64,
    ) -> Result<(), StoreError> {
        let removed = sqlx::query!(
            "delete from report_closed
              where id in (select id from report_closed order by id limit ?1)
                and until_ms < ?2",
            self.rows_max,
            before_ms
        )
        .execute(connection)
        .await
        .map_err(StoreError::on("purge closed runs"))?
        .rows_affected();
        state.progress.reports_closed -= i64::try_from(removed).unwrap_or(i64::MAX);
        self.purged.intervals += removed;
        self.full(removed);
        Ok(())
    }

    async fn open(
        &mut self,
        connection: &mut SqliteConnection,
        state: &mut State,
        before_ms: i64,
    ) -> Result<(), StoreError> {
        let mut old: Vec<((i64, i64), i64)> = state
            .open
            .iter()
            .filter(|(_, (_, run))| run.until_ms < before_ms)
            .map(|(key, (id, _))| (*key, *id))
            .collect();
        old.sort_unstable_by_key(|(_, id)| *id);
        old.truncate(self.rows_max as usize);
        if old.is_empty() {
            return Ok(());
        }
        let ids = json(&old.iter().map(|(_, id)| *id).collect::<Vec<_>>());
        let removed = sqlx::query!("delete from report_open where id in (select value from json_each(?1))", ids)
            .execute(connection)
            .await
            .map_err(StoreError::on("purge open runs"))?
            .rows_affected();
        for (key, _) in &old {
            state.open.remove(key);
        }
        self.purged.intervals += removed;
        self.full(removed);
        Ok(())
    }

    /// Of what a source says of itself, the newest stays: it still holds.
    async fn events(
        &mut self,
        connection: &mut SqliteConnection,
        state: &mut State,
        before_ms: i64,
    ) -> Result<(), StoreError> {
        let connections = sqlx::query!(
            "delete from event
              where sequence in (select sequence
                                   from event
                                  where kind = 'connection'
                                    and recorded_ms < ?1
                                  order by recorded_ms, sequence
                                  limit ?2)",
            before_ms,
            self.rows_max
        )
        .execute(&mut *connection)
        .await
        .map_err(StoreError::on("purge events"))?
        .rows_affected();
        let listening = sqlx::query!(
            "delete from event
              where sequence in (select sequence
                                   from event
                                  where kind = 'listening'
                                    and recorded_ms < ?1
                                    and sequence not in (select max(sequence)
                                                           from event
                                                          where kind = 'listening'
                                                          group by control_plane_id, source_id)
                                  order by recorded_ms, sequence
                                  limit ?2)",
            before_ms,
            self.rows_max
        )
        .execute(&mut *connection)
        .await
        .map_err(StoreError::on("purge events"))?
        .rows_affected();
        let marks = sqlx::query!(
            "delete from mark
              where id in (select id
                             from mark
                            where until_ms < ?1
                              and id not in (select max(id)
                                               from mark
                                              group by control_plane_id, source_id, kind)
                            order by id
                            limit ?2)",
            before_ms,
            self.rows_max
        )
        .execute(connection)
        .await
        .map_err(StoreError::on("purge marks"))?
        .rows_affected();
        state.progress.events -= i64::try_from(connections + listening).unwrap_or(i64::MAX);
        self.purged.events += connections + listening + marks;
        self.full(connections);
        self.full(listening);
        self.full(marks);
        Ok(())
    }

    async fn keyframes(&mut self, connection: &mut SqliteConnection, before_ms: i64) -> Result<(), StoreError> {
        let removed = sqlx::query!(
            "delete from keyframe
              where sequence in (select sequence
                                   from keyframe
                                  where at_ms < ?1
                                    and sequence <> (select max(sequence) from keyframe)
                                  order by at_ms, sequence
                                  limit ?2)",
            before_ms,
            self.rows_max
        )
        .execute(connection)
        .await
        .map_err(StoreError::on("purge keyframes"))?
        .rows_affected();
        self.purged.keyframes += removed;
        self.full(removed);
        Ok(())
    }

    async fn remembered(
        &mut self,
        connection: &mut SqliteConnection,
        state: &mut State,
        before_ms: i64,
    ) -> Result<(), StoreError> {
        let removed = sqlx::query!(
            "delete from remembered
              where key in (select key from remembered where at_ms <= ?1 order by at_ms, key limit ?2)",
            before_ms,
            self.rows_max
        )
        .execute(connection)
        .await
        .map_err(StoreError::on("purge idempotency keys"))?
        .rows_affected();
        state.remembered -= i64::try_from(removed).unwrap_or(i64::MAX);
        self.purged.remembered += removed;
        self.full(removed);
        Ok(())
    }

    /// Goes through all names, some in each round, and begins again at the end. A node that only its retirement speaks of
    /// goes with it.
    async fn names(&mut self, connection: &mut SqliteConnection, state: &mut State) -> Result<(), StoreError> {
        self.nodes(connection, state).await?;

        let removed = sqlx::query!(
            "delete from config
              where id in (select id from config where id > ?1 order by id limit ?2)
                and not exists (select 1 from report_open where report_open.config_id = config.id)
                and not exists (select 1 from report_closed where report_closed.config_id = config.id)
                and not exists (select 1 from word where word.config_id = config.id)",
            state.purged_to.config,
            self.rows_max
        )
        .execute(&mut *connection)
        .await
        .map_err(StoreError::on("purge unused configurations"))?
        .rows_affected();
        if removed > 0 {
            state.names.forget_configs();
        }
        self.purged.names += removed;
        let to = state.purged_to.config + i64::from(self.rows_max);
        state.purged_to.config = if to < state.names.last_config { to } else { 0 };

        let removed = sqlx::query!(
            "delete from attribute_set
              where id in (select id from attribute_set where id > ?1 order by id limit ?2)
                and not exists (select 1 from report_open where attribute_set_id = attribute_set.id)
                and not exists (select 1 from report_closed where attribute_set_id = attribute_set.id)",
            state.purged_to.attribute_set,
            self.rows_max
        )
        .execute(&mut *connection)
        .await
        .map_err(StoreError::on("purge unused attribute sets"))?
        .rows_affected();
        if removed > 0 {
            state.names.forget_attribute_sets();
        }
        self.purged.names += removed;
        let to = state.purged_to.attribute_set + i64::from(self.rows_max);
        state.purged_to.attribute_set = if to < state.names.last_attribute_set { to } else { 0 };
        Ok(())
    }

    async fn nodes(&mut self, connection: &mut SqliteConnection, state: &mut State) -> Result<(), StoreError> {
        let rows = sqlx::query!(
            r#"select id,
                      not exists (select 1 from report_open where report_open.node_id = node.id)
                  and not exists (select 1 from report_closed where report_closed.node_id = node.id)
                  and not exists (select 1 from word where word.node_id = node.id)
                  and not exists (select 1 from event where event.node_id = node.id and kind <> 'retired')
                      as "unused!: bool"
                 from node
                where id > ?1
                order by id
                limit ?2"#,
            state.purged_to.node,
            self.rows_max
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(StoreError::on("look for unused nodes"))?;
        let is_last = rows.len() < self.rows_max as usize;
        state.purged_to.node = rows.last().filter(|_| !is_last).map_or(0, |row| row.id);
        let unused: HashSet<i64> = rows.iter().filter(|row| row.unused).map(|row| row.id).collect();
        if unused.is_empty() {
            return Ok(());
        }
        let ids = json(&unused.iter().collect::<Vec<_>>());
        let events = sqlx::query!("delete from event where node_id in (select value from json_each(?1))", ids)
            .execute(&mut *connection)
            .await
            .map_err(StoreError::on("purge retirements"))?
            .rows_affected();
        state.progress.events -= i64::try_from(events).unwrap_or(i64::MAX);
        sqlx::query!("delete from node where id in (select value from json_each(?1))", ids)
            .execute(connection)
            .await
            .map_err(StoreError::on("purge unused nodes"))?;
        for nodes in state.names.nodes.values_mut() {
            nodes.retain(|_, id| !unused.contains(id));
        }
        self.purged.events += events;
        self.purged.names += rows.iter().filter(|row| row.unused).count() as u64;
        Ok(())
    }

    fn full(&mut self, removed: u64) {
        self.purged.more |= removed >= u64::from(self.rows_max);
    }
}
