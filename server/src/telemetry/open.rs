//! Minutes that are not over yet: sums that grow with each row, and the rows themselves, as the version that a node ran
//! in a minute is only known when the minute is over.

use std::collections::{BTreeMap, HashMap};

use tidemark_domain::traffic::{Step, Sums, Table};

use super::cells::{Cells, Gauge, Summed};
use super::rows::{Row, Traffic};
use crate::store::SumsRow;

/// The number of the table of samples, after those of [`Table::ALL`].
pub const SAMPLES: u8 = 4;

/// Rows of one minute that are kept for the table by version: 70,000 requests a second. Of more, that table lacks the
/// minute.
const ROWS_MAX: usize = 4_000_000;

/// The number of a table in the store.
#[must_use]
pub const fn number(table: Table) -> u8 {
    match table {
        Table::Route => 0,
        Table::Node => 1,
        Table::Consumer => 2,
        Table::Version => 3,
    }
}

/// The version that each node ran at a moment, by control plane and node.
pub type Versions = HashMap<(u32, u32), u32>;

/// Minutes that are not over, by their number since the epoch.
#[derive(Debug, Default)]
pub struct Open {
    minutes: BTreeMap<i64, Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    scopes: HashMap<u32, Tables>,
    rows: Vec<Traffic>,
    too_many: bool,
}

#[derive(Debug, Default)]
struct Tables {
    route: Cells<Sums>,
    node: Cells<Sums>,
    consumer: Cells<Sums>,
    samples: Cells<Gauge>,
}

impl Tables {
    const fn sums(&self, table: Table) -> Option<&Cells<Sums>> {
        match table {
            Table::Route => Some(&self.route),
            Table::Node => Some(&self.node),
            Table::Consumer => Some(&self.consumer),
            Table::Version => None,
        }
    }
}

impl Open {
    /// Takes in a row.
    pub fn add(&mut self, row: &Row) {
        let minute = self.minutes.entry(row.minute()).or_default();
        match row {
            Row::Traffic(traffic) => {
                let tables = minute.scopes.entry(traffic.scope).or_default();
                add(tables.route.at([traffic.service, traffic.route, u32::from(traffic.status)]), traffic, true);
                add(tables.node.at([traffic.node, 0, 0]), traffic, true);
                add(tables.consumer.at([traffic.consumer, traffic.application, 0]), traffic, false);
                if traffic.node != 0 && minute.rows.len() < ROWS_MAX {
                    minute.rows.push(*traffic);
                } else if traffic.node != 0 {
                    minute.too_many = true;
                }
            }
            Row::Sample(sample) => {
                let tables = minute.scopes.entry(sample.scope).or_default();
                tables.samples.at([sample.node, sample.resource, 0]).merge(&Gauge::of(sample.value));
            }
        }
    }

    /// Whether a minute before this one is still open.
    #[must_use]
    pub fn has_before(&self, minute: i64) -> bool {
        self.minutes.first_key_value().is_some_and(|(first, _)| *first < minute)
    }

    /// The sums of the minutes before this one. They stay until [`Self::forget`], so that whoever asks meanwhile finds
    /// them. `versions` are those at the beginning of each minute: a node that did not run the same one at both ends of
    /// a minute is in no row of that table.
    #[must_use]
    pub fn sums_before(&self, minute: i64, versions: &BTreeMap<i64, Versions>) -> Vec<SumsRow> {
        let mut sums = Vec::new();
        for (at, of) in self.minutes.range(..minute) {
            let mut scopes: Vec<_> = of.scopes.iter().collect();
            scopes.sort_unstable_by_key(|(scope, _)| **scope);
            for (scope, tables) in scopes {
                // Each request is in both tables, and routes are fewer than nodes.
                let whole = tables.route.whole();
                for (table, cells) in [(Table::Route, &tables.route), (Table::Node, &tables.node)] {
                    sums.extend(packed(number(table), *at, *scope, &whole, cells));
                }
                // Without latencies, in their whole too.
                let consumers = &tables.consumer;
                sums.extend(packed(number(Table::Consumer), *at, *scope, &consumers.whole(), consumers));
                sums.extend(packed(SAMPLES, *at, *scope, &tables.samples.whole(), &tables.samples));
            }
            for (scope, cells) in of.by_version(*at, versions) {
                sums.extend(packed(number(Table::Version), *at, scope, &cells.whole(), &cells));
            }
        }
        sums
    }

    /// Lets go of the minutes before this one.
    pub fn forget(&mut self, minute: i64) {
        self.minutes = self.minutes.split_off(&minute);
    }

    /// Adds the rows of a table that are wanted, of the minutes in a range, to what is given for their minute.
    pub fn add_to<'a>(
        &'a self,
        table: Table,
        minutes: std::ops::Range<i64>,
        scope: Option<u32>,
        mut each: impl FnMut(i64, u32, &'a Cells<Sums>),
    ) {
        if minutes.is_empty() {
            return;
        }
        for (at, of) in self.minutes.range(minutes) {
            for (number, tables) in of.scopes.iter().filter(|(number, _)| scope.is_none_or(|scope| scope == **number)) {
                if let Some(cells) = tables.sums(table) {
                    each(*at, *number, cells);
                }
            }
        }
    }

    /// The same of samples.
    pub fn samples<'a>(
        &'a self,
        minutes: std::ops::Range<i64>,
        scope: u32,
        mut each: impl FnMut(i64, &'a Cells<Gauge>),
    ) {
        if minutes.is_empty() {
            return;
        }
        for (at, of) in self.minutes.range(minutes) {
            if let Some(tables) = of.scopes.get(&scope) {
                each(*at, &tables.samples);
            }
        }
    }
}

impl Minute {
    fn by_version(&self, at: i64, versions: &BTreeMap<i64, Versions>) -> BTreeMap<u32, Cells<Sums>> {
        let mut scopes: BTreeMap<u32, Cells<Sums>> = BTreeMap::new();
        let (Some(began), Some(ended), false) = (versions.get(&at), versions.get(&(at + 1)), self.too_many) else {
            return scopes;
        };
        for row in &self.rows {
            let who = (row.scope, row.node);
            if let (Some(version), true) = (began.get(&who), began.get(&who) == ended.get(&who)) {
                let cells = scopes.entry(row.scope).or_default();
                add(cells.at([row.service, row.route, *version]), row, true);
            }
        }
        scopes
    }
}

fn packed<S: Summed>(kind: u8, minute: i64, scope: u32, sums: &S, cells: &Cells<S>) -> Option<SumsRow> {
    if cells.0.is_empty() {
        return None;
    }
    let mut whole = Vec::new();
    sums.write(&mut whole);
    Some(SumsRow { kind, step: Step::Minute, at_s: minute * 60, scope, whole, cells: cells.packed() })
}

fn add(sums: &mut Sums, row: &Traffic, with_latencies: bool) {
    sums.count(row.status, row.requests);
    sums.bytes_in = sums.bytes_in.saturating_add(row.bytes_in);
    sums.bytes_out = sums.bytes_out.saturating_add(row.bytes_out);
    if with_latencies {
        let latencies = [
            (&mut sums.total, row.total_ms),
            (&mut sums.gateway, row.gateway_ms),
            (&mut sums.upstream, row.upstream_ms),
        ];
        for (sketch, ms) in latencies {
            if let Some(ms) = ms {
                sketch.add(f64::from(ms), row.observed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(minute: i64, node: u32, route: u32) -> Row {
        Row::Traffic(Traffic {
            minute,
            scope: 1,
            node,
            route,
            status: 200,
            requests: 1,
            observed: 1,
            total_ms: Some(10.0),
            ..Traffic::default()
        })
    }

    fn rows_of(sums: &[SumsRow], table: Table, minute: i64) -> Vec<([u32; 3], u64)> {
        let mut cells = Cells::<Sums>::default();
        for row in sums.iter().filter(|row| row.kind == number(table) && row.at_s == minute * 60) {
            cells.add_packed(&row.cells, |_| true).expect("rows");
        }
        let mut rows: Vec<_> = cells.0.iter().map(|(key, sums)| (*key, sums.requests())).collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn a_minute_in_which_a_node_changes_its_version_counts_for_neither() {
        let mut open = Open::default();
        // Node 1 runs version 4 all the time, node 2 goes to it in minute 11, of node 3 nobody knows the version.
        for minute in [10, 11, 12] {
            for node in [1, 2, 3] {
                open.add(&request(minute, node, 7));
            }
        }
        let at = |second: u32| Versions::from([((1, 1), 4), ((1, 2), second)]);
        let versions = BTreeMap::from([(10, at(3)), (11, at(3)), (12, at(4)), (13, at(4))]);
        let sums = open.sums_before(13, &versions);
        assert_eq!(rows_of(&sums, Table::Version, 10), [([0, 7, 3], 1), ([0, 7, 4], 1)]);
        assert_eq!(rows_of(&sums, Table::Version, 11), [([0, 7, 4], 1)]);
        assert_eq!(rows_of(&sums, Table::Version, 12), [([0, 7, 4], 2)]);
        assert_eq!(rows_of(&sums, Table::Route, 11), [([0, 7, 200], 3)], "the other tables have all of it");
        let sums = open.sums_before(13, &BTreeMap::from([(11, at(3))]));
        assert_eq!(rows_of(&sums, Table::Version, 11), [], "one end of the minute is not known");
    }

    #[test]
    fn the_whole_of_a_partition_is_what_its_rows_add_up_to() {
        let mut open = Open::default();
        [(1, 7), (2, 7), (2, 8)].iter().for_each(|(node, route)| open.add(&request(10, *node, *route)));
        let sums = open.sums_before(11, &BTreeMap::new());
        assert_eq!(sums.len(), 3);
        for row in &sums {
            let mut cells = Cells::<Sums>::default();
            cells.add_packed(&row.cells, |_| true).expect("rows");
            let whole = Sums::read(&mut row.whole.as_slice());
            assert_eq!(whole, Some(cells.whole()), "table {}", row.kind);
        }
    }

    #[test]
    fn minutes_leave_one_by_one() {
        let mut open = Open::default();
        [10, 11].iter().for_each(|minute| open.add(&request(*minute, 1, 7)));
        assert!(!open.has_before(10) && open.has_before(11));
        let sums = open.sums_before(11, &BTreeMap::new());
        assert_eq!(sums, open.sums_before(11, &BTreeMap::new()), "asking takes nothing away");
        open.forget(11);
        assert!(!open.has_before(11) && open.has_before(12));
    }

    #[test]
    fn what_tells_only_a_count_or_only_a_duration_is_added_as_that() {
        let mut open = Open::default();
        let counter = Traffic { minute: 1, status: 503, requests: 40, ..Traffic::default() };
        let histogram = Traffic { minute: 1, observed: 30, total_ms: Some(5.0), ..Traffic::default() };
        open.add(&Row::Traffic(counter));
        open.add(&Row::Traffic(histogram));
        let mut whole = Sums::default();
        open.add_to(Table::Route, 0..2, None, |_, _, cells| whole = cells.whole());
        assert_eq!((whole.requests(), whole.errors(), whole.total.count()), (40, 40, 30));
    }
}
