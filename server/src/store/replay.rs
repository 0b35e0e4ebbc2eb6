//! Facts told again: after a restart, and for a look at the past.

use super::attribute_set::{self, AttributeSet};
use super::error::StoreError;
use super::keyframe;
use super::mark::{self, Mark};
use super::names::{LOOKED_UP_AT_ONCE, config_of, control_plane_of, node_of, source_of};
use super::run::{Limit, Run, Told};
use super::{Store, names};
use sqlx::{Connection, SqliteConnection};
use std::collections::{BTreeSet, HashMap};
use tidemark_domain::fact::{ConfigRef, Fact, Report, What};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::Timestamp;

/// Closed runs that are told again at most, newest first: a gigabyte. There are more only if no keyframe can be used,
/// and then only what lies longest back is missing: runs that newer ones followed.
const CLOSED_RUNS_MAX: i64 = 5_000_000;

impl Store {
    /// The facts after the one with this sequence, in the order in which they were told; with `known`, only those that
    /// were recorded at that moment or before.
    ///
    /// Of the reports of a run only the first and the last are told. Where a run went on after `known`, the last report
    /// before `known` is an estimate ([`super::run`]).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn facts_after(&self, sequence: i64, known: Option<Timestamp>) -> Result<Vec<Fact>, StoreError> {
        Ok(self.placed(sequence, Limit::recorded(known)).await?.in_order())
    }

    /// The facts of this moment and before, by all that is known today, in the order in which they happened. There is no
    /// keyframe to begin at, so this reads all that is kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn facts_until(&self, at: Timestamp) -> Result<Vec<Fact>, StoreError> {
        let mut facts = self.placed(0, Limit::Happened(at)).await?.in_order();
        facts.sort_by_key(|fact| fact.at);
        Ok(facts)
    }

    async fn placed(&self, sequence: i64, limit: Limit) -> Result<Placed, StoreError> {
        let mut reader = self.reader().await?;
        // One snapshot: a run must not be seen open and closed, or neither.
        let mut connection = reader.begin().await.map_err(StoreError::on("begin to read facts"))?;

        let mut placed = Placed::default();
        let runs = runs(&mut connection, sequence, limit).await?;
        let mut vocabulary = Vocabulary::read(&mut connection).await?;
        vocabulary.add_runs(&mut connection, &runs).await?;
        for run in &runs {
            for told in run.told(sequence, limit).into_iter().flatten() {
                if let Some(fact) = vocabulary.report(run, told)? {
                    placed.put(told, fact);
                }
            }
        }
        for mark in Mark::touched_after(&mut connection, sequence).await? {
            for told in mark.span.told(sequence, limit).into_iter().flatten() {
                placed.put(told, vocabulary.mark(&mark, told)?);
            }
        }
        words(&mut connection, sequence, limit, &vocabulary, &mut placed).await?;
        events(&mut connection, sequence, limit, &vocabulary, &mut placed).await?;
        connection.rollback().await.map_err(StoreError::on("end to read facts"))?;
        Ok(placed)
    }
}

/// The runs of which something came after `sequence` and lies within `limit`. More may be among them.
async fn runs(connection: &mut SqliteConnection, sequence: i64, limit: Limit) -> Result<Vec<Run>, StoreError> {
    let then_open = match limit {
        Limit::Recorded(known) => keyframe::runs_open_after(connection, known).await?,
        Limit::None | Limit::Happened(_) => None,
    };
    match then_open {
        Some((until_sequence, mut open)) if until_sequence >= sequence => {
            open.retain(|run| run.touched_sequence > sequence);
            let mut runs = closed(connection, sequence, until_sequence, limit).await?;
            runs.append(&mut open);
            Ok(runs)
        }
        Some(_) | None => {
            let mut runs = closed(connection, sequence, i64::MAX, limit).await?;
            runs.append(&mut open(connection, sequence).await?);
            Ok(runs)
        }
    }
}

/// A run from the columns of a row.
macro_rules! run {
    ($row:expr) => {
        Run {
            node_id: $row.node_id,
            source_id: $row.source_id,
            config_id: $row.config_id,
            attribute_set_id: $row.attribute_set_id,
            from_ms: $row.from_ms,
            until_ms: $row.until_ms,
            from_stored_after: $row.from_stored_after,
            until_stored_after: $row.until_stored_after,
            from_uncertain_ms: $row.from_uncertain_ms,
            until_uncertain_ms: $row.until_uncertain_ms,
            skew_ms: $row.skew_ms,
            reports: $row.reports,
            opened_sequence: $row.opened_sequence,
            touched_sequence: $row.touched_sequence,
        }
    };
}
pub(super) use run;

async fn open(connection: &mut SqliteConnection, sequence: i64) -> Result<Vec<Run>, StoreError> {
    let rows = sqlx::query!(
        "select node_id, source_id, config_id, attribute_set_id, from_ms, until_ms, from_stored_after,
                until_stored_after, from_uncertain_ms, until_uncertain_ms, skew_ms, reports, opened_sequence,
                touched_sequence
           from report_open
          where touched_sequence > ?1
          order by id",
        sequence
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::on("read open runs of reports"))?;
    Ok(rows.into_iter().map(|row| run!(row)).collect())
}

async fn closed(
    connection: &mut SqliteConnection,
    sequence: i64,
    until: i64,
    limit: Limit,
) -> Result<Vec<Run>, StoreError> {
    // What began after the limit is left where it is: an hour in which all nodes moved ten times is a million rows.
    let (at_max, recorded_max) = limit.ms();
    let rows = sqlx::query!(
        "select node_id, source_id, config_id, attribute_set_id, from_ms, until_ms, from_stored_after,
                until_stored_after, from_uncertain_ms, until_uncertain_ms, skew_ms, reports, opened_sequence,
                touched_sequence
           from report_closed
          where id > ?1
            and id <= ?2
            and touched_sequence > ?1
            and from_ms <= ?3
            and from_ms + from_stored_after <= ?4
          order by id desc
          limit ?5",
        sequence,
        until,
        at_max,
        recorded_max,
        CLOSED_RUNS_MAX
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::on("read closed runs of reports"))?;
    if i64::try_from(rows.len()) == Ok(CLOSED_RUNS_MAX) {
        tracing::warn!(
            "more than {CLOSED_RUNS_MAX} runs of reports would have to be told again: the oldest are left out"
        );
    }
    Ok(rows.into_iter().map(|row| run!(row)).collect())
}

async fn words(
    connection: &mut SqliteConnection,
    sequence: i64,
    limit: Limit,
    vocabulary: &Vocabulary,
    placed: &mut Placed,
) -> Result<(), StoreError> {
    let (at_max, recorded_max) = limit.ms();
    let rows = sqlx::query!(
        "select sequence, at_ms, recorded_ms, control_plane_id, source_id, body
           from word
          where sequence > ?1
            and at_ms <= ?2
            and recorded_ms <= ?3
          order by sequence",
        sequence,
        at_max,
        recorded_max
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::on("read words of control planes"))?;
    for row in rows {
        let word = serde_json::from_str(&row.body).map_err(|error| StoreError::corrupt("word", row.sequence, error))?;
        let fact = Fact {
            at: Timestamp::from_ms(row.at_ms),
            recorded_at: Timestamp::from_ms(row.recorded_ms),
            control_plane: vocabulary.control_plane(row.control_plane_id, "word", row.sequence)?,
            source: source_of(row.source_id, "word", row.sequence)?,
            what: What::Word(word),
        };
        placed.put_at(row.sequence, fact);
    }
    Ok(())
}

async fn events(
    connection: &mut SqliteConnection,
    sequence: i64,
    limit: Limit,
    vocabulary: &Vocabulary,
    placed: &mut Placed,
) -> Result<(), StoreError> {
    let (at_max, recorded_max) = limit.ms();
    let rows = sqlx::query!(
        "select sequence, at_ms, recorded_ms, control_plane_id, source_id, kind, body
           from event
          where sequence > ?1
            and at_ms <= ?2
            and recorded_ms <= ?3
          order by sequence",
        sequence,
        at_max,
        recorded_max
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::on("read events"))?;
    for row in rows {
        let fact = Fact {
            at: Timestamp::from_ms(row.at_ms),
            recorded_at: Timestamp::from_ms(row.recorded_ms),
            control_plane: vocabulary.control_plane(row.control_plane_id, "event", row.sequence)?,
            source: source_of(row.source_id, "event", row.sequence)?,
            what: event_of(row.sequence, &row.kind, &row.body)?,
        };
        placed.put_at(row.sequence, fact);
    }
    Ok(())
}

/// The event of a row.
pub(super) fn event_of(row: i64, kind: &str, body: &str) -> Result<What, StoreError> {
    let unreadable = |error| StoreError::corrupt("event", row, error);
    match kind {
        "connection" => serde_json::from_str(body).map(What::Connection).map_err(unreadable),
        "listening" => serde_json::from_str(body).map(What::Listening).map_err(unreadable),
        "declared" => serde_json::from_str(body).map(What::Declared).map_err(unreadable),
        "retired" => serde_json::from_str(body).map(What::Retired).map_err(unreadable),
        _ => Err(StoreError::corrupt("event", row, format!("{kind:?} is no kind of event"))),
    }
}

/// What the numbers in rows stand for.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    control_planes: HashMap<i64, CpName>,
    nodes: HashMap<i64, (i64, NodeId)>,
    configs: HashMap<i64, ConfigRef>,
    attribute_sets: HashMap<i64, AttributeSet>,
}

impl Vocabulary {
    /// All control planes, and nothing else yet.
    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        let rows = sqlx::query!("select id, name from control_plane order by id")
            .fetch_all(connection)
            .await
            .map_err(StoreError::on("read control planes"))?;
        let mut vocabulary = Self::default();
        for row in rows {
            vocabulary.control_planes.insert(row.id, control_plane_of(row.id, &row.name)?);
        }
        Ok(vocabulary)
    }

    /// All that these runs name.
    pub(super) async fn add_runs(&mut self, connection: &mut SqliteConnection, runs: &[Run]) -> Result<(), StoreError> {
        let nodes: BTreeSet<i64> = runs.iter().map(|run| run.node_id).collect();
        for some in lists(nodes) {
            let rows = sqlx::query!(
                "select id, control_plane_id, name
                   from node
                  where id in (select value from json_each(?1))",
                some
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read nodes"))?;
            for row in rows {
                self.nodes.insert(row.id, (row.control_plane_id, node_of(row.id, &row.name)?));
            }
        }
        let configs: BTreeSet<i64> = runs.iter().filter_map(|run| run.config_id).collect();
        for some in lists(configs) {
            let rows = sqlx::query!(
                "select id, form, name
                   from config
                  where id in (select value from json_each(?1))",
                some
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read configurations"))?;
            for row in rows {
                self.configs.insert(row.id, config_of(row.id, &row.form, &row.name)?);
            }
        }
        let sets: BTreeSet<i64> = runs.iter().map(|run| run.attribute_set_id).collect();
        for some in lists(sets) {
            let rows = sqlx::query!(
                "select id, body
                   from attribute_set
                  where id in (select value from json_each(?1))",
                some
            )
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::on("read attribute sets"))?;
            for row in rows {
                self.attribute_sets.insert(row.id, attribute_set::read(row.id, &row.body)?);
            }
        }
        Ok(())
    }

    /// The name of a control plane.
    pub(super) fn control_plane(&self, id: i64, table: &'static str, row: i64) -> Result<CpName, StoreError> {
        let name = self.control_planes.get(&id).cloned();
        name.ok_or_else(|| StoreError::corrupt(table, row, format!("there is no control plane {id}")))
    }

    /// What a run says; `None` if rows that it names are gone, as of a run in a keyframe that was purged since.
    pub(super) fn said(&self, run: &Run) -> Option<(&AttributeSet, Option<&ConfigRef>)> {
        let config = match run.config_id {
            Some(id) => Some(self.configs.get(&id)?),
            None => None,
        };
        Some((self.attribute_sets.get(&run.attribute_set_id)?, config))
    }

    /// One end of a run as a fact; `None` if rows that it names are gone.
    fn report(&self, run: &Run, told: Told) -> Result<Option<Fact>, StoreError> {
        let (Some((control_plane_id, node)), Some((set, config))) = (self.nodes.get(&run.node_id), self.said(run))
        else {
            return Ok(None);
        };
        let at = Timestamp::from_ms(told.at_ms);
        let uncertain_ms = if told.is_first { run.from_uncertain_ms } else { run.until_uncertain_ms };
        let report = Report {
            node: node.clone(),
            running: config.cloned(),
            attributes: set.attributes.clone(),
            status: set.status.clone(),
            failure: set.failure.clone(),
            ready: set.ready,
            node_clock: run.skew_ms.map(|skew_ms| at.plus(skew_ms)),
            uncertain_ms: u32::try_from(uncertain_ms).unwrap_or(u32::MAX),
            continues: !told.is_first,
            estimated: told.sequence.is_none(),
        };
        Ok(Some(Fact {
            at,
            recorded_at: Timestamp::from_ms(told.recorded_ms),
            control_plane: self.control_plane(*control_plane_id, "node", run.node_id)?,
            source: source_of(run.source_id, "report_open", run.opened_sequence)?,
            what: What::Report(Box::new(report)),
        }))
    }

    /// One end of a mark as a fact.
    fn mark(&self, mark: &Mark, told: Told) -> Result<Fact, StoreError> {
        let row = mark.span.opened_sequence;
        Ok(Fact {
            at: Timestamp::from_ms(told.at_ms),
            recorded_at: Timestamp::from_ms(told.recorded_ms),
            control_plane: self.control_plane(mark.control_plane_id, "mark", row)?,
            source: source_of(mark.source_id, "mark", row)?,
            what: if mark.kind == mark::DOWN { What::ControlPlaneDown } else { What::Read },
        })
    }
}

/// Numbers as lists of a length that one statement takes.
fn lists(ids: BTreeSet<i64>) -> Vec<String> {
    let ids: Vec<i64> = ids.into_iter().collect();
    ids.chunks(LOOKED_UP_AT_ONCE).map(names::json).collect()
}

/// Facts and their places. Estimated ones have none of their own: they come after the last fact that was surely
/// recorded before them.
#[derive(Debug, Default)]
struct Placed {
    sure: Vec<(i64, Fact)>,
    estimated: Vec<Fact>,
}

impl Placed {
    fn put(&mut self, told: Told, fact: Fact) {
        match told.sequence {
            Some(sequence) => self.sure.push((sequence, fact)),
            None => self.estimated.push(fact),
        }
    }

    fn put_at(&mut self, sequence: i64, fact: Fact) {
        self.sure.push((sequence, fact));
    }

    fn in_order(mut self) -> Vec<Fact> {
        self.sure.sort_unstable_by_key(|(sequence, _)| *sequence);
        if self.estimated.is_empty() {
            return self.sure.into_iter().map(|(_, fact)| fact).collect();
        }
        // By time of recording: the highest place that any fact up to then has.
        let mut places: Vec<(Timestamp, i64)> =
            self.sure.iter().map(|(place, fact)| (fact.recorded_at, *place)).collect();
        places.sort_unstable();
        let mut highest = i64::MIN;
        for (_, place) in &mut places {
            highest = highest.max(*place);
            *place = highest;
        }
        // Stable, so that equal times keep the order of the rows, which is always the same.
        let mut all: Vec<((i64, Option<Timestamp>), Fact)> =
            self.sure.into_iter().map(|(place, fact)| ((place, None), fact)).collect();
        for fact in self.estimated {
            let before = places.partition_point(|(recorded_at, _)| *recorded_at <= fact.recorded_at);
            let place = before.checked_sub(1).map_or(i64::MIN, |index| places[index].1);
            all.push(((place, Some(fact.recorded_at)), fact));
        }
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, fact)| fact).collect()
    }
}
