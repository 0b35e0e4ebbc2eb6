//! Facts told again: after a restart, and for a look at the past.

use super::Store;
use super::attribute_set::AttributeSet;
use super::error::StoreError;
use super::keyframe;
use super::lists::{self, Lists};
use super::mark::{self, Mark};
use super::names::source_of;
use super::run::{Limit, Run, Told};
use super::vocabulary::Vocabulary;
use sqlx::{Connection, SqliteConnection};
use std::sync::Arc;
use tidemark_domain::fact::{ConfigRef, Fact, Report, Source, What};
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::Timestamp;

/// Closed runs that are told again at most, newest first: a gigabyte. There are more only if no keyframe can be used,
/// and then only what lies longest back is missing: runs that newer ones followed.
const CLOSED_RUNS_MAX: usize = 5_000_000;

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
        Ok(self.replay_after(sequence, known).await?.collect())
    }

    /// The facts of this moment and before, by all that is known today, in the order in which they happened. There is no
    /// keyframe to begin at, so this reads all that is kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn facts_until(&self, at: Timestamp) -> Result<Vec<Fact>, StoreError> {
        Ok(self.replay_until(at).await?.collect())
    }

    /// The same as [`Self::facts_after`], each fact made when its turn comes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn replay_after(&self, sequence: i64, known: Option<Timestamp>) -> Result<Replay, StoreError> {
        let placed = self.placed(sequence, Limit::recorded(known)).await?;
        in_background(move || placed.in_order()).await
    }

    /// The same as [`Self::facts_until`], each fact made when its turn comes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn replay_until(&self, at: Timestamp) -> Result<Replay, StoreError> {
        let placed = self.placed(0, Limit::Happened(at)).await?;
        in_background(move || placed.in_order_of_time()).await
    }

    async fn placed(&self, sequence: i64, limit: Limit) -> Result<Placed, StoreError> {
        let so_far = self.inner.known.so_far();
        let mut reader = self.reader().await?;
        // One snapshot: a run must not be seen open and closed, or neither.
        let mut connection = reader.begin().await.map_err(StoreError::on("begin to read facts"))?;
        let runs = runs(&mut connection, sequence, limit).await?;
        let vocabulary = Vocabulary::shared(&mut connection, &runs, so_far, &self.inner.known).await?;
        let marks = Mark::touched_after(&mut connection, sequence).await?;
        let words = words(&mut connection, sequence, limit).await?;
        let events = events(&mut connection, sequence, limit).await?;
        connection.rollback().await.map_err(StoreError::on("end to read facts"))?;

        in_background(move || {
            let mut placed = Placed::default();
            for run in &runs {
                placed.put_run(run, run.told(sequence, limit), &vocabulary)?;
            }
            for mark in &marks {
                for told in mark.span.told(sequence, limit).into_iter().flatten() {
                    placed.put_mark(mark, told, &vocabulary)?;
                }
            }
            for row in words.into_iter().chain(events) {
                placed.put_row(row, &vocabulary)?;
            }
            Ok(placed)
        })
        .await?
    }
}

/// Works away from the threads that serve requests.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let crashed = |_| StoreError::Sqlite { what: "put facts in order", source: sqlx::Error::WorkerCrashed };
    tokio::task::spawn_blocking(work).await.map_err(crashed)
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
    let runs = open_with_keys(connection, sequence).await?;
    Ok(runs.into_iter().map(|(_, run)| run).collect())
}

/// The open runs that were touched after `sequence`, with their keys and in the order of these.
pub(super) async fn open_with_keys(
    connection: &mut SqliteConnection,
    sequence: i64,
) -> Result<Vec<(i64, Run)>, StoreError> {
    let mut lists = Lists::<(i64, Run)>::of("report_open");
    let mut after = i64::MIN;
    loop {
        // The columns in the order in which [`Run`] has them.
        let list = sqlx::query!(
            r#"select max(id) as "last: i64",
                      json_group_array(json_array(id,
                                                  json_array(node_id, source_id, config_id, attribute_set_id, from_ms,
                                                             until_ms, from_stored_after, until_stored_after,
                                                             from_uncertain_ms, until_uncertain_ms, skew_ms, reports,
                                                             opened_sequence, touched_sequence))) as "list!: String"
                 from (select *
                         from report_open
                        where id > ?1
                          and touched_sequence > ?2
                        order by id
                        limit ?3)"#,
            after,
            sequence,
            lists::ROWS
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::on("read open runs of reports"))?;
        let Some(last) = list.last else { break };
        after = last;
        lists.add(list.list);
    }
    let mut runs = lists.rows().await?;
    runs.sort_unstable_by_key(|(id, _)| *id);
    Ok(runs)
}

async fn closed(
    connection: &mut SqliteConnection,
    sequence: i64,
    until: i64,
    limit: Limit,
) -> Result<Vec<Run>, StoreError> {
    // What began after the limit is left where it is: an hour in which all nodes moved ten times is a million rows.
    let (at_max, recorded_max) = limit.ms();
    let mut lists = Lists::<(i64, Run)>::of("report_closed");
    let mut until = until;
    let mut read = 0;
    while read < CLOSED_RUNS_MAX {
        // The columns in the order in which [`Run`] has them.
        let list = sqlx::query!(
            r#"select min(id) as "first: i64",
                      count(*) as "rows!: i64",
                      json_group_array(json_array(id,
                                                  json_array(node_id, source_id, config_id, attribute_set_id, from_ms,
                                                             until_ms, from_stored_after, until_stored_after,
                                                             from_uncertain_ms, until_uncertain_ms, skew_ms, reports,
                                                             opened_sequence, touched_sequence))) as "list!: String"
                 from (select *
                         from report_closed
                        where id > ?1
                          and id <= ?2
                          and touched_sequence > ?1
                          and from_ms <= ?3
                          and from_ms + from_stored_after <= ?4
                        order by id desc
                        limit ?5)"#,
            sequence,
            until,
            at_max,
            recorded_max,
            lists::ROWS
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::on("read closed runs of reports"))?;
        let Some(first) = list.first else { break };
        until = first.saturating_sub(1);
        read += usize::try_from(list.rows).unwrap_or(0);
        lists.add(list.list);
    }
    if read >= CLOSED_RUNS_MAX {
        tracing::warn!(
            "more than {CLOSED_RUNS_MAX} runs of reports would have to be told again: the oldest are left out"
        );
    }
    let mut runs = lists.rows().await?;
    runs.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
    Ok(runs.into_iter().map(|(_, run)| run).collect())
}

/// A fact that is a row of its own.
#[derive(Debug)]
struct Row {
    table: &'static str,
    sequence: i64,
    at_ms: i64,
    recorded_ms: i64,
    control_plane_id: i64,
    source_id: i64,
    what: What,
}

async fn words(connection: &mut SqliteConnection, sequence: i64, limit: Limit) -> Result<Vec<Row>, StoreError> {
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
    let word = |row: i64, body: &str| {
        serde_json::from_str(body).map(What::Word).map_err(|error| StoreError::corrupt("word", row, error))
    };
    rows.into_iter()
        .map(|row| {
            Ok(Row {
                table: "word",
                sequence: row.sequence,
                at_ms: row.at_ms,
                recorded_ms: row.recorded_ms,
                control_plane_id: row.control_plane_id,
                source_id: row.source_id,
                what: word(row.sequence, &row.body)?,
            })
        })
        .collect()
}

async fn events(connection: &mut SqliteConnection, sequence: i64, limit: Limit) -> Result<Vec<Row>, StoreError> {
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
    rows.into_iter()
        .map(|row| {
            Ok(Row {
                table: "event",
                sequence: row.sequence,
                at_ms: row.at_ms,
                recorded_ms: row.recorded_ms,
                control_plane_id: row.control_plane_id,
                source_id: row.source_id,
                what: event_of(row.sequence, &row.kind, &row.body)?,
            })
        })
        .collect()
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

/// What all reports of a run have in common.
#[derive(Debug)]
struct Voice {
    control_plane: CpName,
    source: Source,
    node: NodeId,
    running: Option<ConfigRef>,
    set: Arc<AttributeSet>,
    skew_ms: Option<i64>,
    from_uncertain_ms: i64,
    until_uncertain_ms: i64,
}

impl Voice {
    /// What a run says; `None` if rows that it names are gone.
    fn of(run: &Run, vocabulary: &Vocabulary) -> Result<Option<Self>, StoreError> {
        let (Some((control_plane_id, node)), Some((set, running))) =
            (vocabulary.node(run.node_id), vocabulary.said(run))
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            control_plane: vocabulary.control_plane(control_plane_id, "node", run.node_id)?,
            source: source_of(run.source_id, "report_open", run.opened_sequence)?,
            node: node.clone(),
            running: running.cloned(),
            set: Arc::clone(set),
            skew_ms: run.skew_ms,
            from_uncertain_ms: run.from_uncertain_ms,
            until_uncertain_ms: run.until_uncertain_ms,
        }))
    }

    /// One end of the run as a fact.
    fn report(&self, told: Told) -> Fact {
        let at = Timestamp::from_ms(told.at_ms);
        let uncertain_ms = if told.is_first { self.from_uncertain_ms } else { self.until_uncertain_ms };
        let report = Report {
            node: self.node.clone(),
            running: self.running.clone(),
            attributes: self.set.attributes.clone(),
            status: self.set.status.clone(),
            failure: self.set.failure.clone(),
            ready: self.set.ready,
            node_clock: self.skew_ms.map(|skew_ms| at.plus(skew_ms)),
            uncertain_ms: u32::try_from(uncertain_ms).unwrap_or(u32::MAX),
            continues: !told.is_first,
            estimated: told.sequence.is_none(),
        };
        Fact {
            at,
            recorded_at: Timestamp::from_ms(told.recorded_ms),
            control_plane: self.control_plane.clone(),
            source: self.source,
            what: What::Report(Box::new(report)),
        }
    }
}

/// Who tells a fact.
#[derive(Clone, Copy, Debug)]
enum Teller {
    /// The voice of this place.
    Voice(usize),
    /// Nobody any more: it is made already, in this place.
    Made(usize),
}

/// A fact that is made when its turn comes.
#[derive(Clone, Copy, Debug)]
struct Turn {
    told: Told,
    teller: Teller,
}

/// Facts and their places. Estimated ones have none of their own: they come after the last fact that was surely
/// recorded before them.
#[derive(Debug, Default)]
struct Placed {
    sure: Vec<(i64, Turn)>,
    estimated: Vec<Turn>,
    voices: Vec<Voice>,
    made: Vec<Option<Fact>>,
}

impl Placed {
    fn put(&mut self, turn: Turn) {
        match turn.told.sequence {
            Some(sequence) => self.sure.push((sequence, turn)),
            None => self.estimated.push(turn),
        }
    }

    fn put_run(&mut self, run: &Run, told: [Option<Told>; 2], vocabulary: &Vocabulary) -> Result<(), StoreError> {
        if told == [None, None] {
            return Ok(());
        }
        let Some(voice) = Voice::of(run, vocabulary)? else { return Ok(()) };
        let teller = Teller::Voice(self.voices.len());
        self.voices.push(voice);
        for told in told.into_iter().flatten() {
            self.put(Turn { told, teller });
        }
        Ok(())
    }

    fn put_mark(&mut self, mark: &Mark, told: Told, vocabulary: &Vocabulary) -> Result<(), StoreError> {
        let row = mark.span.opened_sequence;
        self.put_made(
            told,
            Fact {
                at: Timestamp::from_ms(told.at_ms),
                recorded_at: Timestamp::from_ms(told.recorded_ms),
                control_plane: vocabulary.control_plane(mark.control_plane_id, "mark", row)?,
                source: source_of(mark.source_id, "mark", row)?,
                what: if mark.kind == mark::DOWN { What::ControlPlaneDown } else { What::Read },
            },
        );
        Ok(())
    }

    fn put_row(&mut self, row: Row, vocabulary: &Vocabulary) -> Result<(), StoreError> {
        let told =
            Told { at_ms: row.at_ms, recorded_ms: row.recorded_ms, sequence: Some(row.sequence), is_first: true };
        self.put_made(
            told,
            Fact {
                at: Timestamp::from_ms(row.at_ms),
                recorded_at: Timestamp::from_ms(row.recorded_ms),
                control_plane: vocabulary.control_plane(row.control_plane_id, row.table, row.sequence)?,
                source: source_of(row.source_id, row.table, row.sequence)?,
                what: row.what,
            },
        );
        Ok(())
    }

    fn put_made(&mut self, told: Told, fact: Fact) {
        let teller = Teller::Made(self.made.len());
        self.made.push(Some(fact));
        self.put(Turn { told, teller });
    }

    /// In the order in which they were told.
    fn in_order(mut self) -> Replay {
        self.sure.sort_unstable_by_key(|(sequence, _)| *sequence);
        if self.estimated.is_empty() {
            let turns = self.sure.into_iter().map(|(_, turn)| turn).collect();
            return Replay::new(turns, self.voices, self.made);
        }
        // By time of recording: the highest place that any fact up to then has.
        let mut places: Vec<(i64, i64)> =
            self.sure.iter().map(|(place, turn)| (turn.told.recorded_ms, *place)).collect();
        places.sort_unstable();
        let mut highest = i64::MIN;
        for (_, place) in &mut places {
            highest = highest.max(*place);
            *place = highest;
        }
        // Stable, so that equal times keep the order of the rows, which is always the same.
        let mut all: Vec<((i64, Option<i64>), Turn)> =
            self.sure.into_iter().map(|(place, turn)| ((place, None), turn)).collect();
        for turn in self.estimated {
            let recorded_ms = turn.told.recorded_ms;
            let before = places.partition_point(|(sure_ms, _)| *sure_ms <= recorded_ms);
            let place = before.checked_sub(1).map_or(i64::MIN, |index| places[index].1);
            all.push(((place, Some(recorded_ms)), turn));
        }
        all.sort_by_key(|(place, _)| *place);
        Replay::new(all.into_iter().map(|(_, turn)| turn).collect(), self.voices, self.made)
    }

    /// In the order in which they happened.
    fn in_order_of_time(self) -> Replay {
        let mut replay = self.in_order();
        let mut turns: Vec<Turn> = replay.turns.collect();
        turns.sort_by_key(|turn| turn.told.at_ms);
        replay.turns = turns.into_iter();
        replay
    }
}

/// Facts that are told again. Each is made when its turn comes: a hundred thousand of them are a hundred megabytes.
#[derive(Debug)]
pub struct Replay {
    turns: std::vec::IntoIter<Turn>,
    voices: Vec<Voice>,
    made: Vec<Option<Fact>>,
}

impl Replay {
    fn new(turns: Vec<Turn>, voices: Vec<Voice>, made: Vec<Option<Fact>>) -> Self {
        Self { turns: turns.into_iter(), voices, made }
    }
}

impl Iterator for Replay {
    type Item = Fact;

    fn next(&mut self) -> Option<Fact> {
        loop {
            let turn = self.turns.next()?;
            let fact = match turn.teller {
                Teller::Voice(place) => self.voices.get(place).map(|voice| voice.report(turn.told)),
                Teller::Made(place) => self.made.get_mut(place).and_then(Option::take),
            };
            if fact.is_some() {
                return fact;
            }
        }
    }
}
