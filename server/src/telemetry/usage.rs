//! Usage by month, as a bill would count it: requests, and how many services, consumers and applications had any.
//!
//! A month is one of the calendar, UTC. A service counts once a month however many routes it has, and only in a month in
//! which it had a request; a name of one control plane is not that of another.

use std::collections::HashSet;

use tidemark_app::api::ApiError;
use tidemark_domain::analytics::{UsageMonth, UsageView};
use tidemark_domain::time::{SECOND, Timestamp};
use tidemark_domain::traffic::{Step, Sums, Table};
use tidemark_domain::view::AsOf;

use super::Telemetry;
use super::ask::{failed, steps};
use super::cells::{Cells, Key};
use super::open::number;
use crate::store::SumsRange;

/// This month and the twelve before it.
const MONTHS: i64 = 13;

/// What had requests in a month: control plane and name.
type Active = HashSet<(u32, u32)>;

impl Telemetry {
    /// Usage of this month and of the last twelve, newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn usage(&self, as_of: AsOf) -> Result<UsageView, ApiError> {
        let now_s = as_of.at.ms().div_euclid(SECOND);
        let this = month_of(as_of.at);
        let mut months = Vec::new();
        for back in 0..MONTHS {
            let (from_s, to_s) = (begins_s(this - back), begins_s(this - back + 1).min(now_s + 60));
            let (mut requests, mut services) = (0_u64, Active::new());
            self.rows_of(Table::Route, from_s, to_s, |scope, key, sums| {
                let more = sums.requests();
                requests = requests.saturating_add(more);
                if more > 0 && key[0] != 0 {
                    services.insert((scope, key[0]));
                }
            })
            .await?;
            let (mut consumers, mut applications) = (Active::new(), Active::new());
            if requests > 0 {
                self.rows_of(Table::Consumer, from_s, to_s, |scope, key, sums| {
                    let had = sums.requests() > 0;
                    consumers.extend((had && key[0] != 0).then_some((scope, key[0])));
                    applications.extend((had && key[1] != 0).then_some((scope, key[1])));
                })
                .await?;
            }
            let count = |of: &Active| u32::try_from(of.len()).unwrap_or(u32::MAX);
            months.push(UsageMonth {
                from: Timestamp::from_ms(from_s * SECOND),
                is_over: back > 0,
                requests,
                services: count(&services),
                consumers: count(&consumers),
                applications: count(&applications),
            });
        }
        // Months before the first that was told of are not zero: nothing is known of them.
        let told = months.iter().rposition(|month| month.requests > 0).map_or(1, |last| last + 1);
        months.truncate(told);
        Ok(UsageView { as_of, months })
    }

    /// Goes through the rows of a table of a range; a row may come in parts.
    async fn rows_of(
        &self,
        table: Table,
        from_s: i64,
        to_s: i64,
        mut each: impl FnMut(u32, &Key, &Sums),
    ) -> Result<(), ApiError> {
        let progress = {
            let open = self.0.open.lock();
            let progress = *self.0.progress.lock();
            let minutes = from_s.max(progress.minutes_s).div_euclid(60)..to_s.div_euclid(60);
            open.add_to(table, minutes, None, |_, scope, cells| {
                cells.0.iter().for_each(|(key, sums)| each(scope, key, sums));
            });
            progress
        };
        for (step, from_s, to_s) in steps(from_s, to_s, Step::Day, progress) {
            let range = SumsRange { kind: number(table), step, from_s, to_s, scope: None, with_cells: true };
            for row in self.0.store.telemetry_sums(range).await.map_err(failed)? {
                let mut cells = Cells::<Sums>::default();
                if cells.add_packed(&row.cells, |_| true).is_none() {
                    tracing::error!("sums of {} cannot be read", Timestamp::from_ms(row.at_s * SECOND));
                }
                cells.0.iter().for_each(|(key, sums)| each(row.scope, key, sums));
            }
        }
        Ok(())
    }
}

/// The month of a moment, counted from year 0.
fn month_of(at: Timestamp) -> i64 {
    let text = at.to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<i64>().ok());
    part(0..4).unwrap_or(1970) * 12 + part(5..7).unwrap_or(1) - 1
}

/// When a month begins, in seconds since the epoch.
fn begins_s(month: i64) -> i64 {
    let text = format!("{:04}-{:02}-01T00:00:00Z", month.div_euclid(12), month.rem_euclid(12) + 1);
    Timestamp::parse(&text).map_or(0, |at| at.ms().div_euclid(SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_one_of_the_calendar() {
        #[track_caller]
        fn check(at: &str, begins: &str, ends: &str) {
            let time = |text: &str| Timestamp::parse(text).expect("a time");
            let month = month_of(time(at));
            let second = |text| time(text).ms() / SECOND;
            assert_eq!((begins_s(month), begins_s(month + 1)), (second(begins), second(ends)));
        }
        check("2026-11-20T03:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        check("2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check("2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z");
        assert_eq!(begins_s(month_of(Timestamp::from_ms(0)) - 12), -31_536_000, "1969");
    }
}
