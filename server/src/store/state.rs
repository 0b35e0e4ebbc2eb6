//! What the writer knows without asking: numbers of names, and the run that is open for each node and source. It is
//! read before the first write, and again when a write failed halfway: what is in memory never runs ahead of what is
//! committed.

use super::error::StoreError;
use super::lists::{self, Lists};
use super::mark::Mark;
use super::names::{Names, control_plane_of};
use super::replay::open_with_keys;
use super::run::Run;
use sqlx::SqliteConnection;
use std::collections::HashMap;
use tidemark_domain::id::NodeId;

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
    /// Runs that were closed after it was taken.
    pub(super) closed_since_keyframe: u64,
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

        for (id, control_plane, node) in nodes(connection).await? {
            names.nodes.entry(control_plane).or_default().insert(node, id);
        }

        let runs = open_with_keys(connection, i64::MIN).await?;
        let last_open = runs.last().map_or(0, |(id, _)| *id);
        let open = runs.into_iter().map(|(id, run)| ((run.node_id, run.source_id), (id, run))).collect();

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
        let closed_since_keyframe = sqlx::query_scalar!(
            "select count(*) from report_closed where id > (select coalesce(max(sequence), 0) from keyframe)"
        )
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
            closed_since_keyframe: u64::try_from(closed_since_keyframe).unwrap_or(0),
            purged_to: PurgedTo::default(),
        })
    }
}

/// All nodes: their numbers, those of their control planes, and their ids.
async fn nodes(connection: &mut SqliteConnection) -> Result<Vec<(i64, i64, NodeId)>, StoreError> {
    let mut lists = Lists::of("node");
    let mut after = i64::MIN;
    loop {
        let list = sqlx::query!(
            r#"select max(id) as "last: i64",
                      json_group_array(json_array(id, control_plane_id, name)) as "list!: String"
                 from (select id, control_plane_id, name
                         from node
                        where id > ?1
                        order by id
                        limit ?2)"#,
            after,
            lists::ROWS
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::on("read the state of the store"))?;
        let Some(last) = list.last else { break };
        after = last;
        lists.add(list.list);
    }
    lists.rows().await
}
