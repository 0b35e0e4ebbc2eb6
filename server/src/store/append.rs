//! Facts in. Many share a transaction; they are stored together or not at all, and the answer comes after the commit.

use super::attribute_set::canonical;
use super::error::StoreError;
use super::import_stream::{self, Taken};
use super::keyframe;
use super::mark::{self, Mark};
use super::names::{Numbers, source_number};
use super::remembered;
use super::run::{Met, Run, Span};
use super::state::State;
use super::{Store, bulk};
use crate::ingest::Remembered;
use sqlx::{Connection, SqliteConnection};
use std::collections::{HashMap, HashSet};
use tidemark_domain::fact::{Fact, Listening, Report, Said, What, Word};
use tidemark_domain::policy::{Policy, late_after};

impl Store {
    /// Stores facts in the order in which they were told, with the answers to remember; returns the sequence of the
    /// last fact. Every fact gets its own number, so the next append begins with the next one.
    ///
    /// # Errors
    /// Nothing is stored then.
    pub async fn append(&self, facts: &[Fact], remember: &[Remembered]) -> Result<i64, StoreError> {
        self.commit(facts, remember, &[]).await
    }

    /// The same for facts of recordings, with how far each recording was taken.
    ///
    /// # Errors
    /// Nothing is stored then.
    pub async fn append_import(&self, facts: &[Fact], taken: &[Taken]) -> Result<i64, StoreError> {
        self.commit(facts, &[], taken).await
    }

    /// Stores facts, answers to remember and how far recordings were taken, together or not at all; returns the sequence
    /// of the last fact.
    ///
    /// # Errors
    /// Nothing is stored then.
    pub async fn commit(&self, facts: &[Fact], remember: &[Remembered], taken: &[Taken]) -> Result<i64, StoreError> {
        let mut writer = self.writer().await?;
        let (connection, kept) = writer.parts();
        // Taken out while it is being changed: a failure, or a caller that goes away, leaves none behind, and the next
        // write reads it anew.
        let mut state = match kept.take() {
            Some(state) => state,
            None => State::read(connection).await?,
        };
        let mut transaction =
            connection.begin_with("begin immediate").await.map_err(StoreError::on("begin a transaction"))?;

        let numbers = state.names.number(&mut transaction, facts).await?;
        let mut changes = Changes::default();
        for (fact, numbers) in facts.iter().zip(&numbers) {
            changes.take(&mut state, fact, *numbers)?;
        }
        changes.write(&mut transaction, &mut state).await?;
        if let Some(earliest) = facts.iter().map(|fact| fact.recorded_at).min() {
            keyframe::drop_overtaken(&mut transaction, &mut state, earliest).await?;
        }
        remembered::write(&mut transaction, &mut state, remember).await?;
        import_stream::write(&mut transaction, &mut state, taken).await?;
        write_progress(&mut transaction, &state).await?;

        transaction.commit().await.map_err(StoreError::on("commit facts"))?;
        let sequence = state.progress.sequence;
        *kept = Some(state);
        Ok(sequence)
    }
}

/// The rows that an append writes.
#[derive(Debug, Default)]
struct Changes {
    /// Runs that only went on, and runs that are new, by node and source.
    grown: HashSet<(i64, i64)>,
    opened: HashSet<(i64, i64)>,
    closed: Vec<(i64, Run)>,
    late: Vec<(i64, Run)>,
    words: Vec<WordRow>,
    events: Vec<EventRow>,
    marks: HashMap<i64, Mark>,
    paces: HashMap<(i64, i64), i64>,
}

#[derive(Debug)]
struct WordRow {
    sequence: i64,
    at_ms: i64,
    recorded_ms: i64,
    numbers: Numbers,
    source_id: i64,
    said: &'static str,
    body: String,
}

#[derive(Debug)]
struct EventRow {
    sequence: i64,
    at_ms: i64,
    recorded_ms: i64,
    numbers: Numbers,
    source_id: i64,
    kind: &'static str,
    body: String,
}

impl Changes {
    /// Notes what a fact changes, in memory.
    fn take(&mut self, state: &mut State, fact: &Fact, numbers: Numbers) -> Result<(), StoreError> {
        state.progress.sequence += 1;
        let recorded_ms = fact.recorded_at.ms();
        state.progress.recorded_ms = Some(state.progress.recorded_ms.map_or(recorded_ms, |ms| ms.max(recorded_ms)));
        match &fact.what {
            What::Report(report) => {
                let run = run_of(fact, report, numbers, state.progress.sequence)?;
                if report.continues {
                    go_on(state, numbers, run);
                }
                self.take_report(state, numbers, run);
            }
            What::Read => self.take_mark(state, fact, numbers, mark::READ),
            What::ControlPlaneDown => self.take_mark(state, fact, numbers, mark::DOWN),
            What::Word(word) => self.words.push(WordRow {
                sequence: state.progress.sequence,
                at_ms: fact.at.ms(),
                recorded_ms,
                numbers,
                source_id: source_number(fact.source),
                said: said(word),
                body: canonical("word", word)?,
            }),
            What::Connection(connection) => {
                self.event(state, fact, numbers, "connection", canonical("event", connection)?);
            }
            What::Listening(listening) => {
                if let Listening::Began { interval_ms } = listening {
                    let key = (numbers.control_plane, source_number(fact.source));
                    state.paces.insert(key, i64::from(*interval_ms));
                    self.paces.insert(key, i64::from(*interval_ms));
                }
                self.event(state, fact, numbers, "listening", canonical("event", listening)?);
            }
            What::Declared(declaration) => {
                self.event(state, fact, numbers, "declared", canonical("event", declaration)?);
            }
            What::Retired(retirement) => self.event(state, fact, numbers, "retired", canonical("event", retirement)?),
        }
        Ok(())
    }

    fn take_report(&mut self, state: &mut State, numbers: Numbers, run: Run) {
        let key = (run.node_id, run.source_id);
        let gap_max_ms = gap_max_ms(state, numbers.control_plane, run.source_id);
        let Some((_, open)) = state.open.get_mut(&key) else {
            state.last_open += 1;
            state.open.insert(key, (state.last_open, run));
            self.opened.insert(key);
            return;
        };
        match open.meet(run, gap_max_ms) {
            Met::Grew | Met::Counted => {
                self.grown.insert(key);
            }
            Met::Closed(before) => {
                self.closed.push((run.opened_sequence, before));
                self.opened.insert(key);
            }
            Met::Late => self.late.push((run.opened_sequence, run)),
        }
    }

    fn take_mark(&mut self, state: &mut State, fact: &Fact, numbers: Numbers, kind: &'static str) {
        let source_id = source_number(fact.source);
        let stored_after = fact.recorded_at.since(fact.at);
        let mark = Mark {
            control_plane_id: numbers.control_plane,
            source_id,
            kind,
            span: Span {
                from_ms: fact.at.ms(),
                until_ms: fact.at.ms(),
                from_stored_after: stored_after,
                until_stored_after: stored_after,
                count: 1,
                opened_sequence: state.progress.sequence,
                touched_sequence: state.progress.sequence,
            },
        };
        let gap_max_ms = gap_max_ms(state, numbers.control_plane, source_id);
        let key = (numbers.control_plane, source_id, kind);
        if let Some((id, open)) = state.marks.get_mut(&key)
            && open.meet(&mark, gap_max_ms)
        {
            self.marks.insert(*id, *open);
            return;
        }
        state.last_mark += 1;
        state.marks.insert(key, (state.last_mark, mark));
        self.marks.insert(state.last_mark, mark);
    }

    fn event(&mut self, state: &State, fact: &Fact, numbers: Numbers, kind: &'static str, body: String) {
        self.events.push(EventRow {
            sequence: state.progress.sequence,
            at_ms: fact.at.ms(),
            recorded_ms: fact.recorded_at.ms(),
            numbers,
            source_id: source_number(fact.source),
            kind,
            body,
        });
    }

    /// Writes what was noted.
    async fn write(&mut self, connection: &mut SqliteConnection, state: &mut State) -> Result<(), StoreError> {
        write_closed(connection, &self.closed).await?;
        state.progress.reports_closed += rows(&self.closed);
        state.closed_since_keyframe += self.closed.len() as u64;
        for (id, run) in &self.late {
            if !count_again(connection, run).await? {
                write_closed(connection, &[(*id, *run)]).await?;
                state.progress.reports_closed += 1;
                state.closed_since_keyframe += 1;
            }
        }

        let mut opened: Vec<(i64, Run)> = self.opened.iter().filter_map(|key| state.open.get(key).copied()).collect();
        opened.sort_unstable_by_key(|(id, _)| *id);
        bulk::REPORT_OPEN.write(connection, &opened, |query, (id, run)| bind_run(query, *id, run)).await?;
        let only_grown = self.grown.difference(&self.opened);
        let mut grown: Vec<(i64, Run)> = only_grown.filter_map(|key| state.open.get(key).copied()).collect();
        grown.sort_unstable_by_key(|(id, _)| *id);
        bulk::REPORT_OPEN_GROWN
            .write(connection, &grown, |query, (id, run)| {
                query
                    .bind(*id)
                    .bind(run.until_ms)
                    .bind(run.until_stored_after)
                    .bind(run.until_uncertain_ms)
                    .bind(run.skew_ms)
                    .bind(run.reports)
                    .bind(run.touched_sequence)
            })
            .await?;

        bulk::WORD
            .write(connection, &self.words, |query, row| {
                query
                    .bind(row.sequence)
                    .bind(row.at_ms)
                    .bind(row.recorded_ms)
                    .bind(row.numbers.control_plane)
                    .bind(row.source_id)
                    .bind(row.said)
                    .bind(row.numbers.config)
                    .bind(row.numbers.node)
                    .bind(row.body.clone())
            })
            .await?;
        state.progress.words += rows(&self.words);
        bulk::EVENT
            .write(connection, &self.events, |query, row| {
                query
                    .bind(row.sequence)
                    .bind(row.at_ms)
                    .bind(row.recorded_ms)
                    .bind(row.numbers.control_plane)
                    .bind(row.source_id)
                    .bind(row.kind)
                    .bind(row.numbers.node)
                    .bind(row.body.clone())
            })
            .await?;
        state.progress.events += rows(&self.events);

        let mut marks: Vec<(i64, Mark)> = self.marks.drain().collect();
        marks.sort_unstable_by_key(|(id, _)| *id);
        Mark::write(connection, &marks).await?;
        for ((control_plane_id, source_id), interval_ms) in self.paces.drain() {
            sqlx::query!(
                "insert into pace (control_plane_id, source_id, interval_ms)
                 values (?1, ?2, ?3)
                 on conflict (control_plane_id, source_id) do update
                    set interval_ms = excluded.interval_ms",
                control_plane_id,
                source_id,
                interval_ms
            )
            .execute(&mut *connection)
            .await
            .map_err(StoreError::on("write the pace of a source"))?;
        }
        Ok(())
    }
}

/// A report as a run of one.
fn run_of(fact: &Fact, report: &Report, numbers: Numbers, sequence: i64) -> Result<Run, StoreError> {
    let unnumbered = || StoreError::corrupt("report_open", sequence, "a part of the report has no number");
    let stored_after = fact.recorded_at.since(fact.at);
    Ok(Run {
        node_id: numbers.node.ok_or_else(unnumbered)?,
        source_id: source_number(fact.source),
        config_id: numbers.config,
        attribute_set_id: numbers.attribute_set.ok_or_else(unnumbered)?,
        from_ms: fact.at.ms(),
        until_ms: fact.at.ms(),
        from_stored_after: stored_after,
        until_stored_after: stored_after,
        from_uncertain_ms: i64::from(report.uncertain_ms),
        until_uncertain_ms: i64::from(report.uncertain_ms),
        skew_ms: report.node_clock.map(|clock| clock.since(fact.at)),
        reports: 1,
        opened_sequence: sequence,
        touched_sequence: sequence,
    })
}

/// A past that is told by the ends of its runs (`tidemark demo`): the reports that came between the end of the open run
/// and this one of the same kind, at the pace of their source, are counted as if they had been told.
fn go_on(state: &mut State, numbers: Numbers, report: Run) {
    let pace_ms = interval_ms(state, numbers.control_plane, report.source_id).max(1);
    let Some((_, open)) = state.open.get_mut(&(report.node_id, report.source_id)) else { return };
    let same = open.config_id == report.config_id && open.attribute_set_id == report.attribute_set_id;
    let between = (report.from_ms - open.until_ms - 1).max(0) / pace_ms;
    if same && between > 0 {
        open.reports = open.reports.saturating_add(between);
        open.until_ms += between * pace_ms;
    }
}

/// The pace that a source promised, or the one that all are expected to have.
fn interval_ms(state: &State, control_plane_id: i64, source_id: i64) -> i64 {
    let promised = state.paces.get(&(control_plane_id, source_id)).copied();
    promised.unwrap_or_else(|| Policy::default().report_interval_ms)
}

/// How far apart two facts of one run may be.
fn gap_max_ms(state: &State, control_plane_id: i64, source_id: i64) -> i64 {
    late_after(interval_ms(state, control_plane_id, source_id))
}

/// The word of the table for what was said.
fn said(word: &Word) -> &'static str {
    match word.said {
        Said::Announced(_) => "announced",
        Said::Frame(_) => "frame",
        Said::Expected { .. } => "expected",
        Said::Notified(_) => "notified",
        Said::Inferred(_) => "inferred",
        Said::Same { .. } => "same",
    }
}

fn rows<Row>(rows: &[Row]) -> i64 {
    i64::try_from(rows.len()).unwrap_or(i64::MAX)
}

async fn write_closed(connection: &mut SqliteConnection, runs: &[(i64, Run)]) -> Result<(), StoreError> {
    bulk::REPORT_CLOSED.write(connection, runs, |query, (id, run)| bind_run(query, *id, run)).await
}

fn bind_run(query: bulk::Query, id: i64, run: &Run) -> bulk::Query {
    query
        .bind(id)
        .bind(run.node_id)
        .bind(run.source_id)
        .bind(run.config_id)
        .bind(run.attribute_set_id)
        .bind(run.from_ms)
        .bind(run.until_ms)
        .bind(run.from_stored_after)
        .bind(run.until_stored_after)
        .bind(run.from_uncertain_ms)
        .bind(run.until_uncertain_ms)
        .bind(run.skew_ms)
        .bind(run.reports)
        .bind(run.opened_sequence)
        .bind(run.touched_sequence)
}

/// Counts a late report in the closed run that already says it, so that a repeat adds no rows. Only the eight newest
/// runs that began before it are looked at: a sender cannot make this slow.
async fn count_again(connection: &mut SqliteConnection, late: &Run) -> Result<bool, StoreError> {
    let counted = sqlx::query!(
        "update report_closed
            set reports = reports + 1
          where id = (select id
                        from (select id, source_id, config_id, attribute_set_id, until_ms
                                from report_closed
                               where node_id = ?1
                                 and from_ms <= ?2
                               order by from_ms desc, id desc
                               limit 8)
                       where source_id = ?3
                         and config_id is ?4
                         and attribute_set_id = ?5
                         and until_ms >= ?2
                       limit 1)",
        late.node_id,
        late.from_ms,
        late.source_id,
        late.config_id,
        late.attribute_set_id
    )
    .execute(connection)
    .await
    .map_err(StoreError::on("count a late report"))?;
    Ok(counted.rows_affected() > 0)
}

/// Writes how far the store has come.
pub(super) async fn write_progress(connection: &mut SqliteConnection, state: &State) -> Result<(), StoreError> {
    sqlx::query!(
        "update progress
            set sequence       = ?1,
                recorded_ms    = ?2,
                nodes          = ?3,
                configs        = ?4,
                attribute_sets = ?5,
                reports_closed = ?6,
                words          = ?7,
                events         = ?8
          where only = 1",
        state.progress.sequence,
        state.progress.recorded_ms,
        state.names.last_node,
        state.names.last_config,
        state.names.last_attribute_set,
        state.progress.reports_closed,
        state.progress.words,
        state.progress.events
    )
    .execute(connection)
    .await
    .map_err(StoreError::on("write the progress of the store"))?;
    Ok(())
}
