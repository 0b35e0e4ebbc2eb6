//! A run: reports of one node from one source that say the same, without a gap.

use serde::{Deserialize, Serialize};
use tidemark_domain::time::Timestamp;

/// A row of `report_open` or `report_closed`, without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) node_id: i64,
    pub(super) source_id: i64,
    pub(super) config_id: Option<i64>,
    pub(super) attribute_set_id: i64,
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
    pub(super) from_stored_after: i64,
    pub(super) until_stored_after: i64,
    pub(super) from_uncertain_ms: i64,
    pub(super) until_uncertain_ms: i64,
    pub(super) skew_ms: Option<i64>,
    pub(super) reports: i64,
    pub(super) opened_sequence: i64,
    pub(super) touched_sequence: i64,
}

/// What became of a report that met the open run of its node and source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// The run goes on to the time of the report.
    Grew,
    /// It says again, or late, what the run says of its time: it counts, and moves nothing.
    Counted,
    /// It begins a new run; this is the one before it.
    Closed(Run),
    /// It tells of a time before the end of the run, and something else than the run: it is a run of its own, and the
    /// open one stays as it is.
    Late,
}

impl Run {
    /// Takes in a report, as a run of one. `gap_max_ms` is how far apart two reports of one run may be.
    pub(super) fn meet(&mut self, report: Self, gap_max_ms: i64) -> Met {
        let same = self.config_id == report.config_id && self.attribute_set_id == report.attribute_set_id;
        if same && (self.from_ms..=self.until_ms).contains(&report.from_ms) {
            self.reports = self.reports.saturating_add(1);
            if report.from_ms == self.until_ms {
                self.skew_ms = report.skew_ms.or(self.skew_ms);
            }
            Met::Counted
        } else if report.from_ms < self.until_ms {
            Met::Late
        } else if same && report.from_ms.saturating_sub(self.until_ms) <= gap_max_ms {
            self.until_ms = report.until_ms;
            self.until_stored_after = report.until_stored_after;
            self.until_uncertain_ms = report.until_uncertain_ms;
            self.skew_ms = report.skew_ms.or(self.skew_ms);
            self.reports = self.reports.saturating_add(1);
            self.touched_sequence = report.touched_sequence;
            Met::Grew
        } else {
            Met::Closed(std::mem::replace(self, report))
        }
    }

    /// The first and the last report, as far as they came after `sequence` and lie within `limit`.
    pub(super) fn told(&self, sequence: i64, limit: Limit) -> [Option<Told>; 2] {
        Span {
            from_ms: self.from_ms,
            until_ms: self.until_ms,
            from_stored_after: self.from_stored_after,
            until_stored_after: self.until_stored_after,
            count: self.reports,
            opened_sequence: self.opened_sequence,
            touched_sequence: self.touched_sequence,
        }
        .told(sequence, limit)
    }
}

/// How far facts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// All of them.
    None,
    /// Those that were recorded at this moment or before.
    Recorded(Timestamp),
    /// Those that are of this moment or before, whenever they were recorded.
    Happened(Timestamp),
}

impl Limit {
    /// What was recorded at `known` or before; all if there is no such moment.
    pub(super) fn recorded(known: Option<Timestamp>) -> Self {
        known.map_or(Self::None, Self::Recorded)
    }

    /// The last `at` and the last `recorded_at` that lie within.
    pub(super) const fn ms(self) -> (i64, i64) {
        match self {
            Self::None => (i64::MAX, i64::MAX),
            Self::Recorded(moment) => (i64::MAX, moment.ms()),
            Self::Happened(moment) => (moment.ms(), i64::MAX),
        }
    }
}

/// What runs of reports and of marks have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
    pub(super) from_stored_after: i64,
    pub(super) until_stored_after: i64,
    pub(super) count: i64,
    pub(super) opened_sequence: i64,
    pub(super) touched_sequence: i64,
}

/// One end of a span, to be told as a fact again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at_ms: i64,
    pub(super) recorded_ms: i64,
    /// Its place among all facts; `None` if the time is an estimate, and the place follows from `recorded_ms`.
    pub(super) sequence: Option<i64>,
    /// It is the first of its span.
    pub(super) is_first: bool,
}

impl Span {
    /// The first and the last of the span, as far as they came after `sequence` and lie within `limit`.
    ///
    /// Of a span that went on after the limit only the ends are stored, so the last moment before the limit is estimated:
    /// as if all had come at an even pace. It is never before the limit by more than the longest gap that a span may
    /// have, so who was heard then is heard in the answer.
    pub(super) fn told(&self, sequence: i64, limit: Limit) -> [Option<Told>; 2] {
        let (at_max, recorded_max) = limit.ms();
        let within = |told: &Told| told.at_ms <= at_max && told.recorded_ms <= recorded_max;
        let first = Told {
            at_ms: self.from_ms,
            recorded_ms: self.from_ms.saturating_add(self.from_stored_after),
            sequence: Some(self.opened_sequence),
            is_first: true,
        };
        if !within(&first) {
            return [None, None];
        }
        let first = (self.opened_sequence > sequence).then_some(first);
        if self.touched_sequence <= sequence || self.touched_sequence == self.opened_sequence {
            return [first, None];
        }
        let last = Told {
            at_ms: self.until_ms,
            recorded_ms: self.until_ms.saturating_add(self.until_stored_after),
            sequence: Some(self.touched_sequence),
            is_first: false,
        };
        if within(&last) {
            return [first, Some(last)];
        }
        let stored_after = self.until_stored_after.max(0);
        let gap = (self.until_ms.saturating_sub(self.from_ms) / self.count.saturating_sub(1).max(1)).max(1);
        let latest = at_max.min(recorded_max.saturating_sub(stored_after)).min(self.until_ms);
        let at_ms = self.from_ms.saturating_add(latest.saturating_sub(self.from_ms).max(0) / gap * gap);
        // Of three reports or more the second may have come already, before half a gap or after it.
        let more_may_have_come = self.count > 2 && latest > self.from_ms;
        let last = (at_ms > self.from_ms || more_may_have_come).then_some(Told {
            at_ms,
            recorded_ms: at_ms.saturating_add(stored_after),
            sequence: None,
            is_first: false,
        });
        [first, last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(at_ms: i64, config: i64, sequence: i64) -> Run {
        Run {
            node_id: 1,
            source_id: 4,
            config_id: Some(config),
            attribute_set_id: 1,
            from_ms: at_ms,
            until_ms: at_ms,
            from_stored_after: 0,
            until_stored_after: 0,
            from_uncertain_ms: 0,
            until_uncertain_ms: 0,
            skew_ms: None,
            reports: 1,
            opened_sequence: sequence,
            touched_sequence: sequence,
        }
    }

    fn run(from_ms: i64, until_ms: i64) -> Run {
        Run { until_ms, reports: 5, touched_sequence: 9, ..report(from_ms, 1, 1) }
    }

    #[test]
    fn a_report_grows_counts_closes_or_comes_late() {
        #[track_caller]
        fn check(what: &str, at_ms: i64, config: i64, expected: Met, ends: (i64, i64, i64)) {
            let mut open = run(100_000, 200_000);
            assert_eq!(open.meet(report(at_ms, config, 10), 45_000), expected, "{what}");
            assert_eq!((open.from_ms, open.until_ms, open.reports), ends, "{what}");
        }
        let before = run(100_000, 200_000);
        check("longest gap", 245_000, 1, Met::Grew, (100_000, 245_000, 6));
        check("a moment longer", 245_001, 1, Met::Closed(before), (245_001, 245_001, 1));
        check("a change", 200_001, 2, Met::Closed(before), (200_001, 200_001, 1));
        check("a change in the same moment", 200_000, 2, Met::Closed(before), (200_000, 200_000, 1));
        check("the last report again", 200_000, 1, Met::Counted, (100_000, 200_000, 6));
        check("one that was late", 150_000, 1, Met::Counted, (100_000, 200_000, 6));
        check("the first report again", 100_000, 1, Met::Counted, (100_000, 200_000, 6));
        check("before the run", 99_999, 1, Met::Late, (100_000, 200_000, 5));
        check("late, and of something else", 199_999, 2, Met::Late, (100_000, 200_000, 5));
    }

    #[test]
    fn skew_is_the_last_that_was_told() {
        let mut open = run(0, 30_000);
        open.meet(Run { skew_ms: Some(90_000), ..report(60_000, 1, 10) }, 45_000);
        open.meet(report(90_000, 1, 11), 45_000);
        assert_eq!(open.skew_ms, Some(90_000));
    }

    #[test]
    fn a_run_tells_what_was_known() {
        #[track_caller]
        fn check(what: &str, sequence: i64, known: Option<i64>, expected: &[(i64, Option<i64>)]) {
            let open = Run { reports: 5, opened_sequence: 10, touched_sequence: 50, ..run(0, 120_000) };
            let told = open.told(sequence, Limit::recorded(known.map(Timestamp::from_ms)));
            let told: Vec<_> = told.into_iter().flatten().map(|told| (told.at_ms, told.sequence)).collect();
            assert_eq!(told, expected, "{what}");
        }
        check("all of it", 0, None, &[(0, Some(10)), (120_000, Some(50))]);
        check("opened before", 10, None, &[(120_000, Some(50))]);
        check("nothing new", 50, None, &[]);
        check("at its end", 0, Some(120_000), &[(0, Some(10)), (120_000, Some(50))]);
        check("just before its end", 0, Some(119_999), &[(0, Some(10)), (90_000, None)]);
        check("just before the second", 0, Some(29_999), &[(0, Some(10)), (0, None)]);
        check("just after the first", 0, Some(1), &[(0, Some(10)), (0, None)]);
        check("at its beginning", 0, Some(0), &[(0, Some(10))]);
        check("before it", 0, Some(-1), &[]);
        let two = Run { reports: 2, ..run(0, 30_000) };
        let told = two.told(0, Limit::recorded(Some(Timestamp::from_ms(29_999))));
        assert_eq!(told.map(|told| told.map(|told| told.at_ms)), [Some(0), None], "between two nothing is unknown");
    }

    #[test]
    fn what_was_stored_late_was_known_late_but_happened_before() {
        let stored_late = Run { from_stored_after: 60_000, until_stored_after: 60_000, ..run(0, 120_000) };
        let told = |limit| {
            let told = stored_late.told(0, limit).into_iter().flatten();
            told.map(|told| (told.at_ms, told.recorded_ms)).collect::<Vec<_>>()
        };
        let at = Timestamp::from_ms(100_000);
        assert_eq!(told(Limit::Recorded(at)), [(0, 60_000), (30_000, 90_000)]);
        assert_eq!(told(Limit::Happened(at)), [(0, 60_000), (90_000, 150_000)]);
    }
}
