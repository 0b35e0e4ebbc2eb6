//! What the writer knows without asking: numbers of names, and the run that is open for each node and source. It is
//! read when the store is opened, and again when a write failed halfway: what is in memory never runs ahead of what is
//! committed.

use super::error::StoreError;
use super::mark::Mark;
use super::names::{Names, control_plane_of, node_of};
use super::run::Run;
use sqlx::SqliteConnection;
use std::collections::HashMap;

/// The state of the writer.
#[derive(Debug)]
pub(super) struct State {
    pub(super) names: Names,
    /// Open runs and their keys, by node and source.
    pub(super) open: HashMap<(i64, i64), (i64, Run)>,
    pub(super) last_open: i64,
    /// Open marks and their keys, by control plane, source and kind.
    pub(super) marks: HashMap<(i64, i64, &'static str), (i64, Mark)>,
    pub(super) last_mark: i64,
    /// The pace that each source promised last, by control plane and source.
    pub(super) paces: HashMap<(i64, i64), i64>,
    pub(super) progress: Progress,
    pub(super) remembered: i64,
    /// The time of the newest keyframe.
    pub(super) keyframe_ms: Option<i64>,
    /// Where the purge of unused names goes on.
    pub(super) purged_to: PurgedTo,
}

/// The row of `progress`, but for what is written apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) sequence: i64,
    pub(super) recorded_ms: Option<i64>,
    pub(super) reports_closed: i64,
    pub(super) words: i64,
    pub(super) events: i64,
}

/// Keys up to which unused names were purged in this round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PurgedTo {
    pub(super) node: i64,
    pub(super) config: i64,
    pub(super) attribute_set: i64,
}

impl State {
    /// Reads it from the database.
    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        let failed = StoreError::on("read the state of the store");
        let row = sqlx::query!(
            "select sequence, recorded_ms, nodes, configs, attribute_sets, reports_closed, words, events
               from progress
              where only = 1"
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(&failed)?;
        let mut names = Names::after(row.nodes, row.configs, row.attribute_sets);
        let progress = Progress {
            sequence: row.sequence,
            recorded_ms: row.recorded_ms,
            reports_closed: row.reports_closed,
            words: row.words,
            events: row.events,
        };

        let rows = sqlx::query!("select id, name from control_plane order by id")
            .fetch_all(&mut *connection)
            .await
            .map_err(&failed)?;
        for row in rows {
            names.last_control_plane = row.id;
            names.control_planes.insert(control_plane_of(row.id, &row.name)?, row.id);
        }

        let rows = sqlx::query!("select id, control_plane_id, name from node order by id")
            .fetch_all(&mut *connection)
            .await
            .map_err(&failed)?;
        for row in rows {
            names.nodes.entry(row.control_plane_id).or_default().insert(node_of(row.id, &row.name)?, row.id);
        }

        let rows = sqlx::query!(
            "select id, node_id, source_id, config_id, attribute_set_id, from_ms, until_ms, from_stored_after,
                    until_stored_after, from_uncertain_ms, until_uncertain_ms, skew_ms, reports, opened_sequence,
                    touched_sequence
               from report_open
              order by id"
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(&failed)?;
        let mut open = HashMap::with_capacity(rows.len());
        let mut last_open = 0;
        for row in rows {
            last_open = row.id;
            let run = Run {
                node_id: row.node_id,
                source_id: row.source_id,
                config_id: row.config_id,
                attribute_set_id: row.attribute_set_id,
                from_ms: row.from_ms,
                until_ms: row.until_ms,
                from_stored_after: row.from_stored_after,
                until_stored_after: row.until_stored_after,
                from_uncertain_ms: row.from_uncertain_ms,
                until_uncertain_ms: row.until_uncertain_ms,
                skew_ms: row.skew_ms,
                reports: row.reports,
                opened_sequence: row.opened_sequence,
                touched_sequence: row.touched_sequence,
            };
            open.insert((row.node_id, row.source_id), (row.id, run));
        }

        let rows = sqlx::query!("select control_plane_id, source_id, interval_ms from pace")
            .fetch_all(&mut *connection)
            .await
            .map_err(&failed)?;
        let paces = rows.into_iter().map(|row| ((row.control_plane_id, row.source_id), row.interval_ms)).collect();

        let remembered = sqlx::query_scalar!("select count(*) from remembered")
            .fetch_one(&mut *connection)
            .await
            .map_err(&failed)?;
        let keyframe_ms = sqlx::query_scalar!(r#"select max(at_ms) as "at_ms: i64" from keyframe"#)
            .fetch_one(&mut *connection)
            .await
            .map_err(&failed)?;
        let (marks, last_mark) = Mark::read_open(connection).await?;
        Ok(Self {
            names,
            open,
            last_open,
            marks,
            last_mark,
            paces,
            progress,
            remembered,
            keyframe_ms,
            purged_to: PurgedTo::default(),
        })
    }
}
