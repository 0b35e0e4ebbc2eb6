//! What gateways do: names, the journal of what was told, and sums by minute, hour and day. What is in the packed columns
//! is [`crate::telemetry`]'s affair.

use super::error::StoreError;
use super::{Store, bulk};
use sqlx::{Connection, SqliteConnection};
use tidemark_domain::time::Timestamp;
use tidemark_domain::traffic::Step;

/// What telemetry has to know before it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryState {
    /// Control planes by their numbers.
    pub scopes: Vec<(u32, String)>,
    /// Number, scope, kind and name of all that has one.
    pub names: Vec<(u32, u32, u8, String)>,
    /// Up to where sums are made.
    pub progress: SumsProgress,
    /// What was told and is in no sums yet, in the order in which it was told.
    pub journal: Vec<(Timestamp, Vec<u8>)>,
    /// Digests of bodies that were taken.
    pub bodies: Vec<(Timestamp, Vec<u8>)>,
}

/// Up to where sums are made, in seconds since the epoch: what is before is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumsProgress {
    /// Minutes.
    pub minutes_s: i64,
    /// Hours.
    pub hours_s: i64,
    /// Days.
    pub days_s: i64,
}

/// What one commit of telemetry holds.
#[derive(Clone, Debug, Default)]
pub struct TelemetryCommit {
    /// Control planes that are new.
    pub scopes: Vec<(u32, String)>,
    /// Names that are new.
    pub names: Vec<(u32, u32, u8, String)>,
    /// What was told, packed; nothing if empty.
    pub rows: Vec<u8>,
    /// Digests of the bodies, sixteen bytes each.
    pub digests: Vec<u8>,
    /// What syncs cost.
    pub costs: Vec<SyncCost>,
}

/// What one configuration cost one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncCost {
    /// Whose.
    pub scope: u32,
    /// The node's number among the names.
    pub node: u32,
    /// When it was offered.
    pub at: Timestamp,
    /// The hash or token.
    pub config: String,
    /// `full`, `delta` or `fell_back`.
    pub mode: &'static str,
    /// Bytes on the wire.
    pub bytes: u64,
    /// From the offer to the report.
    pub apply_ms: Option<u64>,
    /// CPU time that it took.
    pub cpu_ms: Option<u64>,
    /// Memory before, at most, and after, in bytes.
    pub memory: [Option<u64>; 3],
}

/// Sums of one step of one table of one control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumsRow {
    /// The table's number.
    pub kind: u8,
    /// How long.
    pub step: Step,
    /// From when, in seconds since the epoch.
    pub at_s: i64,
    /// Whose.
    pub scope: u32,
    /// What all rows add up to, packed.
    pub whole: Vec<u8>,
    /// The rows, packed; empty where they were not asked for.
    pub cells: Vec<u8>,
}

/// Which sums to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumsRange {
    /// The table's number.
    pub kind: u8,
    /// How long each is.
    pub step: Step,
    /// From when.
    pub from_s: i64,
    /// Before when.
    pub to_s: i64,
    /// Of one control plane only.
    pub scope: Option<u32>,
    /// With their rows, not only what they add up to.
    pub with_cells: bool,
}

/// How long sums are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumsKept {
    /// Before these seconds, by step: minutes, hours, days.
    pub before_s: [i64; 3],
    /// Digests of bodies before this.
    pub bodies_before: Timestamp,
    /// Costs of syncs before this.
    pub costs_before: Timestamp,
}

/// How much telemetry there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetrySizes {
    /// Rows and bytes of sums by step.
    pub sums: Vec<(Step, u64, u64)>,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Names.
    pub names: u64,
}

impl Store {
    /// All that telemetry has to know before it goes on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn telemetry_state(&self) -> Result<TelemetryState, StoreError> {
        let mut connection = self.reader().await?;
        let mut state = TelemetryState::default();
        let scopes = sqlx::query!("select id, control_plane from telemetry_scope order by id")
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read whose telemetry there is"))?;
        for row in scopes {
            state.scopes.push((number("telemetry_scope", row.id, row.id)?, row.control_plane));
        }
        let names = sqlx::query!("select id, scope_id, kind, name from telemetry_name order by id")
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read the names of telemetry"))?;
        for row in names {
            let of = |value| number("telemetry_name", row.id, value);
            let kind = u8::try_from(row.kind).map_err(|error| StoreError::corrupt("telemetry_name", row.id, error))?;
            state.names.push((of(row.id)?, of(row.scope_id)?, kind, row.name));
        }
        let progress = sqlx::query!("select minutes_s, hours_s, days_s from telemetry_progress where only = 1")
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::on("read the progress of telemetry"))?;
        state.progress =
            SumsProgress { minutes_s: progress.minutes_s, hours_s: progress.hours_s, days_s: progress.days_s };
        let journal = sqlx::query!("select at_ms, rows from telemetry_journal order by id")
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read the journal of telemetry"))?;
        state.journal = journal.into_iter().map(|row| (Timestamp::from_ms(row.at_ms), row.rows)).collect();
        let bodies = sqlx::query!("select at_ms, digests from telemetry_body order by id")
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read the digests of bodies"))?;
        state.bodies = bodies.into_iter().map(|row| (Timestamp::from_ms(row.at_ms), row.digests)).collect();
        Ok(state)
    }

    /// Stores what was told, all of it or none.
    ///
    /// # Errors
    /// Nothing is stored then.
    pub async fn telemetry_commit(&self, at: Timestamp, commit: &TelemetryCommit) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer
            .connection
            .begin_with("begin immediate")
            .await
            .map_err(StoreError::on("begin a transaction of telemetry"))?;
        for (id, name) in &commit.scopes {
            sqlx::query!("insert into telemetry_scope (id, control_plane) values (?1, ?2)", id, name)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::on("write whose telemetry it is"))?;
        }
        bulk::TELEMETRY_NAME
            .write(&mut transaction, &commit.names, |query, (id, scope, kind, name)| {
                query.bind(i64::from(*id)).bind(i64::from(*scope)).bind(i64::from(*kind)).bind(name.clone())
            })
            .await?;
        let at_ms = at.ms();
        if !commit.rows.is_empty() {
            sqlx::query!("insert into telemetry_journal (at_ms, rows) values (?1, ?2)", at_ms, commit.rows)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::on("write the journal of telemetry"))?;
        }
        if !commit.digests.is_empty() {
            sqlx::query!("insert into telemetry_body (at_ms, digests) values (?1, ?2)", at_ms, commit.digests)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::on("remember bodies"))?;
        }
        for cost in &commit.costs {
            write_cost(&mut transaction, cost).await?;
        }
        transaction.commit().await.map_err(StoreError::on("commit telemetry"))
    }

    /// Writes sums, and lets go of what they were made of in the journal.
    ///
    /// # Errors
    /// Nothing is stored then.
    pub async fn telemetry_sum(
        &self,
        sums: &[SumsRow],
        progress: SumsProgress,
        journal_before: Timestamp,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer
            .connection
            .begin_with("begin immediate")
            .await
            .map_err(StoreError::on("begin a transaction of telemetry"))?;
        for row in sums {
            let (kind, step_s, scope) = (i64::from(row.kind), row.step.seconds(), i64::from(row.scope));
            sqlx::query!(
                "insert into telemetry_sums (kind, step_s, at_s, scope_id, whole, cells)
                 values (?1, ?2, ?3, ?4, ?5, ?6)
                     on conflict (kind, step_s, at_s, scope_id) do update
                    set whole = excluded.whole,
                        cells = excluded.cells",
                kind,
                step_s,
                row.at_s,
                scope,
                row.whole,
                row.cells
            )
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::on("write sums of telemetry"))?;
        }
        let SumsProgress { minutes_s, hours_s, days_s } = progress;
        sqlx::query!(
            "update telemetry_progress
                set minutes_s = ?1,
                    hours_s   = ?2,
                    days_s    = ?3
              where only = 1",
            minutes_s,
            hours_s,
            days_s
        )
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::on("write the progress of telemetry"))?;
        let before_ms = journal_before.ms();
        sqlx::query!("delete from telemetry_journal where at_ms < ?1", before_ms)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::on("let go of the journal of telemetry"))?;
        transaction.commit().await.map_err(StoreError::on("commit sums of telemetry"))
    }

    /// Sums of a range, oldest first, then by control plane.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn telemetry_sums(&self, range: SumsRange) -> Result<Vec<SumsRow>, StoreError> {
        let (kind, step_s, scope) = (i64::from(range.kind), range.step.seconds(), range.scope.map(i64::from));
        let rows = sqlx::query!(
            r#"select at_s,
                      scope_id,
                      whole,
                      case when ?6 then cells else x'' end as "cells!: Vec<u8>"
                 from telemetry_sums
                where kind = ?1
                  and step_s = ?2
                  and at_s >= ?3
                  and at_s < ?4
                  and (?5 is null or scope_id = ?5)
                order by at_s, scope_id"#,
            kind,
            step_s,
            range.from_s,
            range.to_s,
            scope,
            range.with_cells
        )
        .fetch_all(&mut *self.reader().await?)
        .await
        .map_err(StoreError::on("read sums of telemetry"))?;
        let of = |row: i64| number("telemetry_sums", row, row);
        rows.into_iter()
            .map(|row| {
                let scope = of(row.scope_id)?;
                Ok(SumsRow {
                    kind: range.kind,
                    step: range.step,
                    at_s: row.at_s,
                    scope,
                    whole: row.whole,
                    cells: row.cells,
                })
            })
            .collect()
    }

    /// Costs of syncs that somebody told, in a span, oldest first; at most `max`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sync_costs(&self, from: Timestamp, to: Timestamp, max: u32) -> Result<Vec<SyncCost>, StoreError> {
        let (from_ms, to_ms) = (from.ms(), to.ms());
        let rows = sqlx::query!(
            "select id, scope_id, node_id, at_ms, config, mode, bytes, apply_ms, cpu_ms, memory_before, memory_peak,
                    memory_after
               from sync_cost
              where at_ms >= ?1
                and at_ms < ?2
              order by at_ms, id
              limit ?3",
            from_ms,
            to_ms,
            max
        )
        .fetch_all(&mut *self.reader().await?)
        .await
        .map_err(StoreError::on("read costs of syncs"))?;
        let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        rows.into_iter()
            .map(|row| {
                Ok(SyncCost {
                    scope: number("sync_cost", row.id, row.scope_id)?,
                    node: number("sync_cost", row.id, row.node_id)?,
                    at: Timestamp::from_ms(row.at_ms),
                    config: row.config,
                    mode: match row.mode.as_str() {
                        "full" => "full",
                        "delta" => "delta",
                        "fell_back" => "fell_back",
                        other => return Err(StoreError::corrupt("sync_cost", row.id, other)),
                    },
                    bytes: unsigned(Some(row.bytes)).unwrap_or(0),
                    apply_ms: unsigned(row.apply_ms),
                    cpu_ms: unsigned(row.cpu_ms),
                    memory: [row.memory_before, row.memory_peak, row.memory_after].map(unsigned),
                })
            })
            .collect()
    }

    /// Drops at most `rows_max` rows of each kind that are older than they are to be kept; says whether there is more.
    ///
    /// # Errors
    /// Nothing is dropped then.
    pub async fn telemetry_purge(&self, kept: SumsKept, rows_max: u32) -> Result<bool, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer
            .connection
            .begin_with("begin immediate")
            .await
            .map_err(StoreError::on("begin a transaction of telemetry"))?;
        let mut more = false;
        for (step, before_s) in Step::ALL.into_iter().zip(kept.before_s) {
            for kind in 0..5_i64 {
                let step_s = step.seconds();
                let dropped = sqlx::query!(
                    "delete from telemetry_sums
                      where id in (select id
                                     from telemetry_sums
                                    where kind = ?1
                                      and step_s = ?2
                                      and at_s < ?3
                                    order by at_s, scope_id
                                    limit ?4)",
                    kind,
                    step_s,
                    before_s,
                    rows_max
                )
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::on("drop old sums of telemetry"))?;
                more |= dropped.rows_affected() >= u64::from(rows_max);
            }
        }
        let before_ms = kept.bodies_before.ms();
        let dropped = sqlx::query!(
            "delete from telemetry_body
              where id in (select id from telemetry_body order by id limit ?1)
                and at_ms < ?2",
            rows_max,
            before_ms
        )
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::on("forget bodies"))?;
        more |= dropped.rows_affected() >= u64::from(rows_max);
        let before_ms = kept.costs_before.ms();
        let dropped = sqlx::query!(
            "delete from sync_cost where id in (select id from sync_cost where at_ms < ?1 order by at_ms, id limit ?2)",
            before_ms,
            rows_max
        )
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::on("drop old costs of syncs"))?;
        more |= dropped.rows_affected() >= u64::from(rows_max);
        transaction.commit().await.map_err(StoreError::on("commit a purge of telemetry"))?;
        Ok(more)
    }

    /// How much telemetry there is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn telemetry_sizes(&self) -> Result<TelemetrySizes, StoreError> {
        let mut connection = self.reader().await?;
        let sums = sqlx::query!(
            r#"select step_s,
                      count(*)                                  as "rows!: i64",
                      sum(length(whole) + length(cells))        as "bytes!: i64"
                 from telemetry_sums
                group by step_s
                order by step_s"#
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(StoreError::on("count sums of telemetry"))?;
        let others = sqlx::query!(
            r#"select (select coalesce(sum(length(rows)), 0) from telemetry_journal) as "journal!: i64",
                      (select count(*) from telemetry_name)                          as "names!: i64""#
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::on("count the rest of telemetry"))?;
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        let step = |seconds| Step::ALL.into_iter().find(|step| step.seconds() == seconds);
        Ok(TelemetrySizes {
            sums: sums
                .into_iter()
                .filter_map(|row| Some((step(row.step_s)?, unsigned(row.rows), unsigned(row.bytes))))
                .collect(),
            journal_bytes: unsigned(others.journal),
            names: unsigned(others.names),
        })
    }
}

async fn write_cost(connection: &mut SqliteConnection, cost: &SyncCost) -> Result<(), StoreError> {
    let signed = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let (at_ms, bytes) = (cost.at.ms(), signed(Some(cost.bytes)));
    let (apply_ms, cpu_ms, [before, peak, after]) =
        (signed(cost.apply_ms), signed(cost.cpu_ms), cost.memory.map(signed));
    sqlx::query!(
        "insert into sync_cost (scope_id, node_id, at_ms, config, mode, bytes, apply_ms, cpu_ms, memory_before,
                                memory_peak, memory_after)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             on conflict (scope_id, node_id, at_ms, config) do nothing",
        cost.scope,
        cost.node,
        at_ms,
        cost.config,
        cost.mode,
        bytes,
        apply_ms,
        cpu_ms,
        before,
        peak,
        after
    )
    .execute(connection)
    .await
    .map_err(StoreError::on("write what a sync cost"))?;
    Ok(())
}

fn number(table: &'static str, row: i64, value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|error| StoreError::corrupt(table, row, error))
}
