//! Answers about traffic, from sums of the store and of the minutes that are open.
//!
//! A range is covered by the longest steps that fit: days and hours that are complete, then minutes, then what is still
//! open. So a month costs as much as a day. What needs only the whole of a step (the series of all routes) never unpacks
//! its rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tidemark_app::api::ApiError;
use tidemark_domain::analytics::{
    Range, Totals, TrafficPoint, TrafficQuestion, TrafficRow, TrafficView, bytes, latency, percent, share_ppm, short,
};
use tidemark_domain::drawing::Figure;
use tidemark_domain::id::{CpName, NodeId};
use tidemark_domain::time::{DAY, HOUR, SECOND, Timestamp, span};
use tidemark_domain::traffic::{By, Step, Sums, Table, table};
use tidemark_domain::view::AsOf;

use super::Telemetry;
use super::cells::{Cells, Key};
use super::names::Kind;
use super::open::number;
use crate::board::Snapshot;
use crate::chart::series::{POINTS_MAX, Series, figure};
use crate::store::{StoreError, SumsProgress, SumsRange, SumsRow};

/// Rows of an answer at most.
const ROWS_MAX: usize = 100;
/// The longest range that is drawn from minutes: what is kept of them.
const MINUTES_MAX_MS: i64 = 26 * HOUR;
/// The longest range that is drawn from hours.
const HOURS_MAX_MS: i64 = 31 * DAY;
/// Changes that are marked in a drawing at most.
const CHANGES_MAX: usize = 24;

/// What an answer is made of, before it has words.
struct Asked<'a> {
    telemetry: &'a Telemetry,
    question: &'a TrafficQuestion,
    table: Table,
    /// Seconds.
    from_s: i64,
    to_s: i64,
    /// The step that rows are read by where it fits, and the one that points are made of.
    coarse: Step,
    fine: Step,
    scope: Option<u32>,
    /// Wanted by control plane and key; `None`: every row is.
    wanted: Option<Wanted>,
    nodes: Nodes,
}

/// The values that each part of a key may have, by control plane; a control plane that is not there has none.
struct Wanted(HashMap<u32, [Option<HashSet<u32>>; 3]>);

impl Wanted {
    fn has(&self, scope: u32, key: &Key) -> bool {
        self.0.get(&scope).is_some_and(|parts| {
            parts.iter().zip(key).all(|(part, value)| part.as_ref().is_none_or(|values| values.contains(value)))
        })
    }
}

/// What is known of the nodes that rows speak of.
#[derive(Default)]
struct Nodes(HashMap<(u32, u32), Known>);

#[derive(Clone, Default)]
struct Known {
    hostname: Option<String>,
    region: Option<String>,
    gateway: Option<String>,
}

/// What rows of an answer are told apart by.
type Group = (u32, String);

impl Telemetry {
    /// Traffic of a range that ends at `as_of` where the question does not say another.
    ///
    /// # Errors
    /// If the question cannot be answered, or the store fails.
    pub async fn traffic(
        &self,
        question: TrafficQuestion,
        as_of: AsOf,
        snapshot: &Arc<Snapshot>,
    ) -> Result<TrafficView, ApiError> {
        let asked = Asked::of(self, &question, as_of.at, snapshot)?;
        let (rows, total) = asked.rows().await.map_err(failed)?;
        let points = asked.points(asked.from_s, asked.to_s).await.map_err(failed)?;
        let before = asked.before().await.map_err(failed)?;
        let unattributed = asked.unattributed().await.map_err(failed)?;
        let marks = asked.changes(snapshot);
        Ok(asked.view(as_of, rows, &total, before, points, unattributed, marks))
    }
}

pub(super) fn failed(error: StoreError) -> ApiError {
    ApiError::Internal(format!("the store did not answer: {error}"))
}

impl<'a> Asked<'a> {
    fn of(
        telemetry: &'a Telemetry,
        question: &'a TrafficQuestion,
        now: Timestamp,
        snapshot: &Snapshot,
    ) -> Result<Self, ApiError> {
        let columns: Vec<By> = question.only.iter().map(|(by, _)| *by).collect();
        let table = table(question.by, &columns).map_err(|error| ApiError::BadRequest(error.to_string()))?;
        let (from, to) = match question.range {
            Range::Last(last) => (now.plus(-last.ms()), now),
            Range::Between(from, to) => (from, to),
        };
        let length_ms = to.since(from);
        let aged_ms = now.since(from);
        let fine = if aged_ms <= MINUTES_MAX_MS && length_ms <= MINUTES_MAX_MS {
            Step::Minute
        } else if aged_ms <= HOURS_MAX_MS + HOUR && length_ms <= HOURS_MAX_MS {
            Step::Hour
        } else {
            Step::Day
        };
        let coarse = match fine {
            Step::Minute | Step::Hour => Step::Hour,
            Step::Day => Step::Day,
        };
        let second = |at: Timestamp| at.ms().div_euclid(SECOND);
        let up = |at_s: i64| fine.floor(at_s + fine.seconds() - 1);
        let to_s = match (question.range, fine) {
            // Up to the last minute that is over; the hour or day in hand is told as far as it goes.
            (Range::Last(_), _) => Step::Minute.floor(second(to)),
            (Range::Between(..), _) => up(second(to)),
        };
        let from_s = match (question.range, fine) {
            (Range::Last(last), Step::Minute) => to_s - last.ms() / SECOND,
            _ => fine.floor(second(from)),
        };
        let mut asked = Self {
            telemetry,
            question,
            table,
            from_s,
            to_s,
            coarse,
            fine,
            scope: None,
            wanted: None,
            nodes: Nodes::default(),
        };
        if table == Table::Node {
            asked.nodes = Nodes::of(telemetry, snapshot);
        }
        asked.narrow()?;
        Ok(asked)
    }

    /// Numbers for the names that the question is narrowed to. A name that nobody knows has no rows: that is an answer.
    fn narrow(&mut self) -> Result<(), ApiError> {
        let names = self.telemetry.names();
        let narrowed = |by: By| self.question.only.iter().find(|(one, _)| *one == by).map(|(_, name)| name.as_str());
        if let Some(name) = narrowed(By::ControlPlane) {
            // A number that none has: nothing is found.
            self.scope = Some(names.find_scope(name).unwrap_or(u32::MAX));
        }
        let inside: Vec<(By, &str)> = self
            .question
            .only
            .iter()
            .filter(|(by, _)| *by != By::ControlPlane)
            .map(|(by, name)| (*by, name.as_str()))
            .collect();
        if inside.is_empty() {
            return Ok(());
        }
        let mut wanted = HashMap::new();
        for (scope, _) in names.scopes() {
            let mut parts: [Option<HashSet<u32>>; 3] = [None, None, None];
            for (by, name) in &inside {
                let bad = |expected: &str| ApiError::BadRequest(format!("{}: expected {expected}", by.word()));
                let number = |kind: Kind| match *name {
                    "" => Some(0),
                    name => names.find(scope, kind, name),
                };
                let values: HashSet<u32> = match by {
                    By::ControlPlane => continue,
                    By::Service => number(Kind::Service).into_iter().collect(),
                    By::Route => number(Kind::Route).into_iter().collect(),
                    By::Consumer => number(Kind::Consumer).into_iter().collect(),
                    By::Application => number(Kind::Application).into_iter().collect(),
                    By::Node => number(Kind::Node).into_iter().collect(),
                    By::Status => [name.parse::<u16>().map_err(|_| bad("a status, as in 503"))?.into()].into(),
                    By::Version => {
                        let digits = name.strip_prefix('v').unwrap_or(name);
                        [digits.parse::<u32>().map_err(|_| bad("a version, as in 41"))?].into()
                    }
                    By::Region => self.nodes.with(scope, |known| known.region.as_deref().unwrap_or("") == *name),
                    By::Gateway => self.nodes.with(scope, |known| known.gateway.as_deref().unwrap_or("") == *name),
                };
                let place = match by {
                    By::Region | By::Gateway => 0,
                    other => self.table.columns().iter().position(|column| column == other).unwrap_or(0),
                };
                let part = &mut parts[place];
                *part = Some(match part.take() {
                    Some(before) => before.intersection(&values).copied().collect(),
                    None => values,
                });
            }
            wanted.insert(scope, parts);
        }
        self.wanted = Some(Wanted(wanted));
        Ok(())
    }

    /// What a row belongs to in the answer.
    fn group(&self, scope: u32, key: &Key) -> Group {
        let names = self.telemetry.names();
        let column = |by: By| self.table.columns().iter().position(|column| *column == by);
        let value = column(self.question.by).map_or(0, |place| key[place]);
        match self.question.by {
            By::ControlPlane => (0, names.scope_name(scope)),
            By::Status => (0, if value == 0 { String::new() } else { value.to_string() }),
            By::Version => (scope, format!("v{value}")),
            By::Region => (0, self.nodes.get(scope, key[0]).region.unwrap_or_default()),
            By::Gateway => (0, self.nodes.get(scope, key[0]).gateway.unwrap_or_default()),
            By::Service | By::Route | By::Consumer | By::Application | By::Node => {
                (scope, names.name(value).unwrap_or_default())
            }
        }
    }

    /// Every row of the range, together by what was asked, and all of them.
    async fn rows(&self) -> Result<(HashMap<Group, Sums>, Sums), StoreError> {
        let mut cells: HashMap<u32, Cells<Sums>> = HashMap::new();
        let mut take = |_: i64, scope: u32, part: Part<'_>| {
            let wanted = |key: &Key| self.wanted.as_ref().is_none_or(|wanted| wanted.has(scope, key));
            let of = cells.entry(scope).or_default();
            match part {
                Part::Open(open) => {
                    open.0.iter().filter(|(key, _)| wanted(key)).for_each(|(key, sums)| of.at(*key).merge(sums));
                }
                Part::Packed(row) => {
                    if of.add_packed(&row.cells, wanted).is_none() {
                        unreadable(row);
                    }
                }
            }
        };
        self.cover(self.from_s, self.to_s, self.coarse, true, &mut take).await?;
        let mut groups: HashMap<Group, Sums> = HashMap::new();
        let mut total = Sums::default();
        for (scope, of) in &cells {
            for (key, sums) in &of.0 {
                groups.entry(self.group(*scope, key)).or_default().merge(sums);
                total.merge(sums);
            }
        }
        Ok((groups, total))
    }

    /// Seconds of one point of the series.
    fn point_s(&self) -> i64 {
        point_s(self.to_s - self.from_s, self.fine)
    }

    /// The series, and for each point the least and the most requests a second of its steps.
    async fn points(&self, from_s: i64, to_s: i64) -> Result<Vec<Point>, StoreError> {
        let point_s = self.point_s();
        let count = usize::try_from((to_s - from_s + point_s - 1).div_euclid(point_s)).unwrap_or(0);
        let mut steps: BTreeMap<i64, Sums> = BTreeMap::new();
        let mut take = |at_s: i64, scope: u32, part: Part<'_>| {
            self.add(steps.entry(self.fine.floor(at_s)).or_default(), scope, part);
        };
        self.cover(from_s, to_s, self.fine, self.wanted.is_some(), &mut take).await?;
        let mut points: Vec<Point> = (0..count)
            .map(|place| {
                let at_s = from_s + i64::try_from(place).unwrap_or(0) * point_s;
                Point { at_s, length_s: point_s.min(to_s - at_s), sums: None, least: f64::MAX, most: 0.0 }
            })
            .collect();
        for (at_s, sums) in &steps {
            let place = usize::try_from((at_s - from_s).div_euclid(point_s)).unwrap_or(usize::MAX);
            let Some(point) = points.get_mut(place) else { continue };
            let length_s = self.fine.seconds().min(to_s - at_s).max(1);
            let rate = rate(sums.requests(), length_s);
            point.least = point.least.min(rate);
            point.most = point.most.max(rate);
            point.sums.get_or_insert_default().merge(sums);
        }
        Ok(points)
    }

    /// The same totals of the period before; `None` where nothing of it is kept.
    async fn before(&self) -> Result<Option<Sums>, StoreError> {
        let length_s = self.to_s - self.from_s;
        let (from_s, to_s) = (self.coarse_floor(self.from_s - length_s), self.from_s);
        let mut total: Option<Sums> = None;
        let mut take = |_: i64, scope: u32, part: Part<'_>| self.add(total.get_or_insert_default(), scope, part);
        self.cover(from_s, to_s, self.coarse, self.wanted.is_some(), &mut take).await?;
        Ok(total)
    }

    /// Adds the rows of a part that are wanted: where all are, its whole, without unpacking them.
    fn add(&self, sums: &mut Sums, scope: u32, part: Part<'_>) {
        match (part, &self.wanted) {
            (Part::Open(open), wanted) => {
                let is_wanted = |key: &Key| wanted.as_ref().is_none_or(|wanted| wanted.has(scope, key));
                open.0.iter().filter(|(key, _)| is_wanted(key)).for_each(|(_, more)| sums.merge(more));
            }
            (Part::Packed(row), None) => match Sums::read(&mut row.whole.as_slice()) {
                Some(more) => sums.merge(&more),
                None => unreadable(row),
            },
            (Part::Packed(row), Some(wanted)) => {
                let mut cells = Cells::<Sums>::default();
                if cells.add_packed(&row.cells, |key| wanted.has(scope, key)).is_none() {
                    unreadable(row);
                }
                sums.merge(&cells.whole());
            }
        }
    }

    /// Minutes where they are kept, else whole hours or days.
    const fn coarse_floor(&self, at_s: i64) -> i64 {
        match self.fine {
            Step::Minute => at_s,
            Step::Hour | Step::Day => self.fine.floor(at_s),
        }
    }

    /// Requests of the range that belong to nobody's control plane.
    async fn unattributed(&self) -> Result<u64, StoreError> {
        let of_nobody = Self {
            scope: Some(0),
            wanted: None,
            table: Table::Route,
            nodes: Nodes::default(),
            telemetry: self.telemetry,
            question: self.question,
            from_s: self.from_s,
            to_s: self.to_s,
            coarse: self.coarse,
            fine: self.fine,
        };
        let mut requests = 0_u64;
        let mut take = |_: i64, _: u32, part: Part<'_>| {
            requests += match part {
                Part::Open(open) => open.0.values().map(Sums::requests).sum(),
                Part::Packed(row) => Sums::read(&mut row.whole.as_slice()).map_or(0, |sums| sums.requests()),
            };
        };
        of_nobody.cover(self.from_s, self.to_s, self.coarse, false, &mut take).await?;
        Ok(requests)
    }

    /// Goes through a range: what is open first, under the lock under which minutes leave it, then what the store has of
    /// before. `longest` is the longest step that is read.
    async fn cover(
        &self,
        from_s: i64,
        to_s: i64,
        longest: Step,
        with_cells: bool,
        take: &mut (dyn FnMut(i64, u32, Part<'_>) + Send),
    ) -> Result<(), StoreError> {
        let progress = {
            let open = self.telemetry.0.open.lock();
            let progress = *self.telemetry.0.progress.lock();
            let minutes = (from_s.max(progress.minutes_s)).div_euclid(60)..to_s.div_euclid(60).max(0);
            open.add_to(self.table, minutes, self.scope, |minute, scope, cells| {
                take(minute * 60, scope, Part::Open(cells))
            });
            progress
        };
        for (step, from_s, to_s) in steps(from_s, to_s, longest, progress) {
            let kind = number(self.table);
            let range = SumsRange { kind, step, from_s, to_s, scope: self.scope, with_cells };
            let rows = self.telemetry.0.store.telemetry_sums(range).await?;
            rows.iter().for_each(|row| take(row.at_s, row.scope, Part::Packed(row)));
        }
        Ok(())
    }

    /// Versions that were published in the range, where the question is about one control plane or there is only one.
    fn changes(&self, snapshot: &Snapshot) -> Vec<(Timestamp, String)> {
        let only = self.question.only.iter().find(|(by, _)| *by == By::ControlPlane).map(|(_, name)| name.as_str());
        let mut of = snapshot.control_planes.iter().filter(|of| only.is_none_or(|only| of.name.as_str() == only));
        match (of.next(), of.next()) {
            (Some(of), None) => changes(snapshot, &of.name, at(self.from_s), at(self.to_s)),
            _ => Vec::new(),
        }
    }

    fn view(
        &self,
        as_of: AsOf,
        groups: HashMap<Group, Sums>,
        total: &Sums,
        before: Option<Sums>,
        points: Vec<Point>,
        unattributed: u64,
        marks: Vec<(Timestamp, String)>,
    ) -> TrafficView {
        let question = self.question.clone();
        let requests = total.requests();
        let names = self.telemetry.names();
        let several = names.scopes().len() > 2 && self.scope.is_none();
        let mut rows: Vec<TrafficRow> = groups
            .into_iter()
            .filter(|(_, sums)| sums.requests() > 0)
            .map(|((scope, name), sums)| {
                let node = (question.by == By::Node).then(|| names.find(scope, Kind::Node, &name)).flatten();
                let detail = node.and_then(|node| self.nodes.get(scope, node).hostname).filter(|host| *host != name);
                let control_plane =
                    (scope != 0 && (several || question.by == By::Node)).then(|| names.scope_name(scope));
                let share_ppm = share_ppm(sums.requests(), requests).unwrap_or(0);
                TrafficRow { name, control_plane, detail, totals: totals(&sums), share_ppm }
            })
            .collect();
        // Most first; then by name, so that equal answers are equal.
        rows.sort_by(|left, right| {
            let key = |row: &TrafficRow| {
                (std::cmp::Reverse(row.totals.requests), row.control_plane.clone(), row.name.clone())
            };
            key(left).cmp(&key(right))
        });
        let left_out = u32::try_from(rows.len().saturating_sub(ROWS_MAX)).unwrap_or(u32::MAX);
        rows.truncate(ROWS_MAX);
        let has_latencies = self.table.has_latencies();
        let (total, before) = (totals(total), before.map(|sums| totals(&sums)));
        let sentence = sentence(&question, &total, before.as_ref(), self.to_s - self.from_s);
        let figures = figures(self, &points, &total, &marks);
        let columns: Vec<By> = question.only.iter().map(|(by, _)| *by).collect();
        let splits = By::ALL.into_iter().filter(|by| table(*by, &columns).is_ok() && !columns.contains(by)).collect();
        TrafficView {
            as_of,
            from: at(self.from_s),
            to: at(self.to_s),
            step_ms: self.point_s() * SECOND,
            sentence,
            total,
            before,
            rows,
            left_out,
            points: points
                .iter()
                .map(|point| TrafficPoint { at: at(point.at_s), totals: point.sums.as_ref().map(totals) })
                .collect(),
            figures,
            has_latencies,
            unattributed,
            splits,
            question,
        }
    }
}

/// Versions that a control plane published in a range, the newest of them.
pub(super) fn changes(
    snapshot: &Snapshot,
    control_plane: &CpName,
    from: Timestamp,
    to: Timestamp,
) -> Vec<(Timestamp, String)> {
    let Some(of) = snapshot.control_plane(control_plane) else { return Vec::new() };
    let inside = of.ledger.in_order().filter(|version| version.published_at >= from && version.published_at < to);
    let mut changes: Vec<_> = inside.map(|version| (version.published_at, version.ordinal.to_string())).collect();
    changes.sort();
    changes.split_off(changes.len().saturating_sub(CHANGES_MAX))
}

/// Seconds of one point, so that a range has at most [`POINTS_MAX`]: as many steps as people count in.
pub(super) fn point_s(length_s: i64, step: Step) -> i64 {
    let steps = length_s.max(1).div_euclid(step.seconds()) + 1;
    let most = i64::try_from(POINTS_MAX).unwrap_or(i64::MAX);
    let merged = (steps + most - 1).div_euclid(most).max(1);
    let round = [1, 2, 5, 10, 15, 30, 60].into_iter().find(|round| *round >= merged).unwrap_or(merged);
    step.seconds() * round
}

/// A part of a range of one control plane.
enum Part<'a> {
    Open(&'a Cells<Sums>),
    Packed(&'a SumsRow),
}

/// A point of the series.
struct Point {
    at_s: i64,
    length_s: i64,
    sums: Option<Sums>,
    least: f64,
    most: f64,
}

/// Partitions that are read at once: what an answer holds in memory beside its own rows.
const AT_ONCE: i64 = 60;

/// A range as steps of the store: longest in the middle, shorter at the ends, nothing that is not complete; in parts of at
/// most [`AT_ONCE`] steps.
pub(super) fn steps(from_s: i64, to_s: i64, longest: Step, progress: SumsProgress) -> Vec<(Step, i64, i64)> {
    let mut parts = Vec::new();
    let mut rest = vec![(from_s, to_s.min(progress.minutes_s))];
    for (step, complete_s) in
        [(Step::Day, progress.days_s), (Step::Hour, progress.hours_s), (Step::Minute, progress.minutes_s)]
    {
        if step > longest {
            continue;
        }
        let mut left = Vec::new();
        for (from, to) in rest {
            let (first, last) = (step.floor(from + step.seconds() - 1), step.floor(to.min(complete_s)));
            if first < last {
                let length = AT_ONCE * step.seconds();
                let starts = (0..).map(|place| first + place * length).take_while(|start| *start < last);
                parts.extend(starts.map(|start| (step, start, last.min(start + length))));
                left.extend([(from, first), (last, to)]);
            } else {
                left.push((from, to));
            }
        }
        rest = left.into_iter().filter(|(from, to)| from < to).collect();
    }
    parts
}

impl Nodes {
    fn of(telemetry: &Telemetry, snapshot: &Snapshot) -> Self {
        let names = telemetry.names();
        let mut nodes = HashMap::new();
        for (scope, name) in names.scopes() {
            let Some(of) = name.parse::<CpName>().ok().and_then(|name| snapshot.control_plane(&name)) else { continue };
            for (number, id) in names.all(scope, Kind::Node) {
                let Some((node, _)) = id.parse::<NodeId>().ok().and_then(|id| of.node(&id)) else { continue };
                let attributes = &node.attributes;
                let region = attributes.labels.as_ref().and_then(|labels| labels.get("region"));
                let known = Known {
                    hostname: attributes.hostname.as_ref().map(ToString::to_string),
                    region: region.map(str::to_owned),
                    gateway: attributes.gateway_version.as_ref().map(ToString::to_string),
                };
                nodes.insert((scope, number), known);
            }
        }
        Self(nodes)
    }

    fn get(&self, scope: u32, node: u32) -> Known {
        self.0.get(&(scope, node)).cloned().unwrap_or_default()
    }

    fn with(&self, scope: u32, is: impl Fn(&Known) -> bool) -> HashSet<u32> {
        let of = self.0.iter().filter(|((of, _), known)| *of == scope && is(known));
        of.map(|((_, node), _)| *node).collect()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(seconds.saturating_mul(SECOND))
}

fn unreadable(row: &SumsRow) {
    tracing::error!("sums of telemetry of {} cannot be read", at(row.at_s));
}

#[expect(clippy::cast_precision_loss, reason = "for a drawing")]
fn rate(requests: u64, seconds: i64) -> f64 {
    requests as f64 / seconds.max(1) as f64
}

/// Sums as people read them.
#[must_use]
pub fn totals(sums: &Sums) -> Totals {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the sketch")]
    let us = |ms: Option<f64>| ms.map(|ms| (ms * 1_000.0).round() as u64);
    Totals {
        requests: sums.requests(),
        errors: sums.errors(),
        client_errors: sums.by_class[4],
        bytes_in: sums.bytes_in,
        bytes_out: sums.bytes_out,
        p50_us: us(sums.total.quantile(0.5)),
        p95_us: us(sums.total.quantile(0.95)),
        p99_us: us(sums.total.quantile(0.99)),
        gateway_p95_us: us(sums.gateway.quantile(0.95)),
        upstream_p95_us: us(sums.upstream.quantile(0.95)),
    }
}

fn sentence(question: &TrafficQuestion, total: &Totals, before: Option<&Totals>, length_s: i64) -> String {
    let when = match question.range {
        Range::Last(last) => format!("in the last {}", last.sentence()),
        Range::Between(..) => format!("in these {}", span(length_s * SECOND)),
    };
    let Some(errors) = total.error_ppm() else {
        return format!("No request was told of {when}.");
    };
    let requests =
        if total.requests == 1 { "1 request".to_owned() } else { format!("{} requests", short(total.requests)) };
    let mut sentence = format!("{requests} {when}, {} failed (5xx)", percent(errors));
    if let (Some(p50), Some(p95)) = (total.p50_us, total.p95_us) {
        sentence += &format!("; half took at most {}, 95 % at most {}", latency(p50), latency(p95));
    }
    if let Some(before) = before.filter(|before| before.requests > 0) {
        let (now, then) = (total.requests, before.requests);
        let change = share_ppm(now.abs_diff(then), then).unwrap_or(0);
        let more = match (change < 5_000, now > then) {
            (true, _) => "as many requests as in the period before".to_owned(),
            (false, true) => format!("{} more requests than in the period before", percent(change)),
            (false, false) => format!("{} fewer requests than in the period before", percent(change)),
        };
        let failed = before.error_ppm().map_or(String::new(), |ppm| format!(" ({} failed then)", percent(ppm)));
        sentence += &format!(". {}{}{failed}", more[..1].to_uppercase(), &more[1..]);
    }
    sentence + "."
}

#[expect(clippy::cast_precision_loss, reason = "for a drawing")]
fn figures(asked: &Asked<'_>, points: &[Point], total: &Totals, marks: &[(Timestamp, String)]) -> Vec<Figure> {
    let base = |caption: String| Series {
        caption,
        from: at(asked.from_s),
        to: at(asked.to_s),
        marks: marks.to_vec(),
        ..Series::default()
    };
    let of = |value: &dyn Fn(&Point, &Sums) -> Option<f64>| -> Vec<Option<f64>> {
        points.iter().map(|point| point.sums.as_ref().and_then(|sums| value(point, sums))).collect()
    };
    let mut figures = Vec::new();
    let length_s = asked.to_s - asked.from_s;
    let per_second = |value: f64| rate_in_words(value);
    let mut requests = base(format!("{} requests a second on average.", rate_in_words(rate(total.requests, length_s))));
    requests.lines.push(("requests".into(), of(&|point, sums| Some(rate(sums.requests(), point.length_s)))));
    if asked.point_s() > asked.fine.seconds() {
        requests.band = points.iter().map(|point| point.sums.as_ref().map(|_| (point.least, point.most))).collect();
    }
    requests.numbers = vec![
        ("Requests".into(), short(total.requests)),
        ("Bytes in".into(), bytes(total.bytes_in)),
        ("Bytes out".into(), bytes(total.bytes_out)),
    ];
    figures.extend(figure(&requests, &per_second));
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64 * 100.0);
    let mut failures = base(format!(
        "{} failed here (5xx), {} at the client's side (4xx).",
        percent(total.error_ppm().unwrap_or(0)),
        percent(share_ppm(total.client_errors, total.requests).unwrap_or(0))
    ));
    failures.lines = vec![
        ("5xx".into(), of(&|_, sums| share(sums.errors(), sums.requests()))),
        ("4xx".into(), of(&|_, sums| share(sums.by_class[4], sums.requests()))),
    ];
    failures.numbers = vec![("5xx".into(), total.errors.to_string()), ("4xx".into(), total.client_errors.to_string())];
    figures.extend(figure(&failures, &|value| percent((value * 10_000.0).round() as u64)));
    if let (Some(p50), Some(p95), Some(p99)) = (total.p50_us, total.p95_us, total.p99_us) {
        let mut latencies = base(format!(
            "Half of the requests took at most {}, 95 % at most {}, 99 % at most {}.",
            latency(p50),
            latency(p95),
            latency(p99)
        ));
        latencies.lines = [("p99", 0.99), ("p95", 0.95), ("p50", 0.5)]
            .map(|(name, share)| (name.to_owned(), of(&|_, sums| sums.total.quantile(share))))
            .into();
        let of_part = |us: Option<u64>| us.map_or("–".to_owned(), latency);
        latencies.numbers = vec![
            ("p50".into(), latency(p50)),
            ("p95".into(), latency(p95)),
            ("p99".into(), latency(p99)),
            ("p95 in the gateway".into(), of_part(total.gateway_p95_us)),
            ("p95 in the upstream".into(), of_part(total.upstream_p95_us)),
        ];
        figures.extend(figure(&latencies, &|ms| latency((ms * 1_000.0).round() as u64)));
    }
    figures
}

/// Requests a second as people read them: `0.4`, `12`, `3.1k`.
fn rate_in_words(rate: f64) -> String {
    if rate >= 10_000.0 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
        return short(rate.round() as u64);
    }
    match rate {
        0.0 => "0".into(),
        rate if rate < 0.1 => format!("{rate:.3}"),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_by_the_longest_steps_that_are_complete() {
        const H: i64 = 3_600;
        const D: i64 = 86_400;
        #[track_caller]
        fn check(from_s: i64, to_s: i64, longest: Step, expected: &[(Step, i64, i64)]) {
            let progress = SumsProgress { minutes_s: 2 * D + 5 * H + 120, hours_s: 2 * D + 5 * H, days_s: 2 * D };
            let mut parts = steps(from_s, to_s, longest, progress);
            parts.sort_unstable_by_key(|(_, from, _)| *from);
            assert_eq!(parts, expected);
        }
        check(0, D, Step::Day, &[(Step::Day, 0, D)]);
        check(0, D, Step::Hour, &[(Step::Hour, 0, D)]);
        check(60, H, Step::Hour, &[(Step::Minute, 60, H)]);
        check(
            H - 60,
            3 * D,
            Step::Day,
            &[
                (Step::Minute, H - 60, H),
                (Step::Hour, H, D),
                (Step::Day, D, 2 * D),
                (Step::Hour, 2 * D, 2 * D + 5 * H),
                (Step::Minute, 2 * D + 5 * H, 2 * D + 5 * H + 120),
            ],
        );
        check(3 * D, 4 * D, Step::Day, &[]);
        check(0, 2 * H, Step::Minute, &[(Step::Minute, 0, H), (Step::Minute, H, 2 * H)]);
        check(2 * D + 5 * H, 3 * D, Step::Minute, &[(Step::Minute, 2 * D + 5 * H, 2 * D + 5 * H + 120)]);
    }

    #[test]
    fn the_sentence_says_what_changed() {
        #[track_caller]
        fn check(total: Totals, before: Option<u64>, expected: &str) {
            let before = before.map(|requests| Totals { requests, ..Totals::default() });
            assert_eq!(sentence(&TrafficQuestion::default(), &total, before.as_ref(), 3_600), expected);
        }
        check(Totals::default(), Some(5), "No request was told of in the last hour.");
        let one = Totals { requests: 1, ..Totals::default() };
        check(one, None, "1 request in the last hour, 0 % failed (5xx).");
        let many =
            Totals { requests: 1_000, errors: 42, p50_us: Some(12_000), p95_us: Some(80_000), ..Totals::default() };
        let lead = "1000 requests in the last hour, 4.2 % failed (5xx); half took at most 12 ms, 95 % at most 80 ms.";
        check(many.clone(), Some(0), lead);
        let than = |words: &str| format!("{lead} {words} the period before (0 % failed then).");
        check(many.clone(), Some(1_000), &than("As many requests as in"));
        check(many.clone(), Some(500), &than("100 % more requests than in"));
        check(many, Some(2_000), &than("50 % fewer requests than in"));
    }
}
