//! How soon after its publication a node learns of a change: at once where it is told, spread over half a minute where
//! it only finds out when it asks.
//!
//! By delta sync a node asks every 30 s, and is told of a new version in between; who is not told (Kong tells the first 512
//! rows of its table, `kong-hybrid.md` 2.6) is current all the same, and late each time. What proves it are the delays
//! of the last changes. A delay is counted where it is exact (the control plane's answer to the node was seen, on a
//! connection that was open since before the publication), where half of all nodes that learned of that change by then
//! did so within [`QUICK_MS`] (else nobody was told), and where it is no longer than one interval and a half (else it
//! was no poll that brought it).
//!
//! A node that only polls is later than that 14 times of 15. One that is told, and for some other reason is late one time
//! of ten, is taken for it at most once in 100,000 changes: see [`late_min`]. Delays that lie close together are no
//! polls either, but some slowness of the node.

use crate::id::Ordinal;
use crate::time::{SECOND, Timestamp};
use serde::{Deserialize, Serialize};

/// Who learns of a change this soon was told; who is later, was hardly told.
pub const QUICK_MS: i64 = 2 * SECOND;
/// One interval and a half of Kong's poll.
pub const POLL_MAX_MS: i64 = 45 * SECOND;
/// Between the shortest and the longest delay of polls there is at least this.
pub const SPREAD_MIN_MS: u32 = 10_000;
/// Changes that are remembered of a node.
pub const CHANGES_MAX: usize = 12;
/// Changes that are needed for an answer.
pub const CHANGES_MIN: usize = 6;
/// Changesets of which it is remembered how soon nodes learned of them.
const SPREADS_MAX: usize = 16;

/// How soon a node learned of a changeset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Which.
    pub changeset: Ordinal,
    /// Milliseconds after its publication.
    pub ms: u32,
}

/// How many nodes learned of a changeset, and how many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spread {
    changeset: Ordinal,
    quick: u32,
    all: u32,
}

/// How soon the nodes of a control plane learned of its last changesets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spreads(Vec<Spread>);

impl Spreads {
    /// Counts a node that learned of a changeset. What that says of the node, if it says anything.
    pub fn count(&mut self, changeset: Ordinal, published_at: Timestamp, learned_at: Timestamp) -> Option<Delay> {
        let after_ms = learned_at.since(published_at).max(0);
        let place = self.0.iter().position(|spread| spread.changeset == changeset).unwrap_or_else(|| {
            if self.0.len() >= SPREADS_MAX {
                self.0.remove(0);
            }
            self.0.push(Spread { changeset, quick: 0, all: 0 });
            self.0.len() - 1
        });
        let spread = &mut self.0[place];
        spread.all = spread.all.saturating_add(1);
        spread.quick = spread.quick.saturating_add(u32::from(after_ms <= QUICK_MS));
        let told = spread.quick >= 2 && spread.quick.saturating_mul(2) >= spread.all;
        (told && after_ms <= POLL_MAX_MS).then(|| Delay { changeset, ms: u32::try_from(after_ms).unwrap_or(u32::MAX) })
    }
}

/// Keeps a delay among the last ones.
pub fn remember(delays: &mut Vec<Delay>, delay: Delay) {
    if delays.len() >= CHANGES_MAX {
        delays.remove(0);
    }
    delays.push(delay);
}

/// The proof that a node learns of changes by its own poll only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollOnly {
    /// Changes that were counted.
    pub changes: u32,
    /// The shortest delay.
    pub least_ms: u32,
    /// The longest delay.
    pub most_ms: u32,
}

/// Whether a node learns of changes by its own poll only.
#[must_use]
pub fn poll_only(delays: &[Delay]) -> Option<PollOnly> {
    let least_ms = delays.iter().map(|delay| delay.ms).min()?;
    let most_ms = delays.iter().map(|delay| delay.ms).max()?;
    let late = delays.iter().filter(|delay| i64::from(delay.ms) > QUICK_MS).count();
    let polls = late >= late_min(delays.len())? && most_ms - least_ms >= SPREAD_MIN_MS;
    let changes = u32::try_from(delays.len()).unwrap_or(u32::MAX);
    polls.then_some(PollOnly { changes, least_ms, most_ms })
}

/// How many of so many delays have to be late: the fewest that a node which is late one time of ten has by chance at
/// most once in 100,000. One that only polls has them two times of three (of six), up to 999
/// times of 1,000 (of twelve).
fn late_min(changes: usize) -> Option<usize> {
    match changes {
        0..CHANGES_MIN => None,
        6 | 7 => Some(6),
        8..=10 => Some(7),
        _ => Some(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(number: u32) -> Ordinal {
        Ordinal::new(number)
    }

    fn t(ms: i64) -> Timestamp {
        Timestamp::from_ms(1_795_000_000_000 + ms)
    }

    /// Delays in milliseconds, oldest first.
    fn delays(ms: &[u32]) -> Vec<Delay> {
        (1..).zip(ms).map(|(number, ms)| Delay { changeset: v(number), ms: *ms }).collect()
    }

    #[track_caller]
    fn check(ms: &[u32], expected: Option<(u32, u32, u32)>) {
        let found = poll_only(&delays(ms)).map(|found| (found.changes, found.least_ms, found.most_ms));
        assert_eq!(found, expected, "{ms:?}");
    }

    #[test]
    fn delays_that_are_spread_over_the_interval_are_those_of_a_poll() {
        check(&[4_000, 29_000, 11_000, 17_000, 23_000, 8_000], Some((6, 4_000, 29_000)));
        // One too few.
        check(&[4_000, 29_000, 11_000, 17_000, 23_000], None);
        check(&[], None);
        // One of six was quick; of seven one may be.
        check(&[2_000, 29_000, 11_000, 17_000, 23_000, 8_000], None);
        check(&[2_001, 29_000, 11_000, 17_000, 23_000, 8_000], Some((6, 2_001, 29_000)));
        check(&[2_000, 29_000, 11_000, 17_000, 23_000, 8_000, 5_000], Some((7, 2_000, 29_000)));
        // Told, and slow at it.
        check(&[6_000, 7_000, 8_000, 15_999, 6_000, 7_000], None);
        check(&[6_000, 7_000, 8_000, 16_000, 6_000, 7_000], Some((6, 6_000, 16_000)));
        // Told at once, but for an outlier.
        check(&[100, 200, 150, 28_000, 90, 110, 120, 130], None);
    }

    #[test]
    fn of_twelve_eight_have_to_be_late() {
        let of = |late: usize| (0..12).map(|nth| if nth < late { 30_000 - 1_000 * nth as u32 } else { 500 }).collect();
        let (eight, seven): (Vec<u32>, Vec<u32>) = (of(8), of(7));
        check(&eight, Some((12, 500, 30_000)));
        check(&seven, None);
    }

    /// The probability of `k` or more late ones of `n`, each with probability `p`.
    fn tail(n: usize, k: usize, p: f64) -> f64 {
        let choose = |k: usize| (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64);
        let power = |base: f64, times: usize| (0..times).fold(1.0, |product, _| product * base);
        (k..=n).map(|k| choose(k) * power(p, k) * power(1.0 - p, n - k)).sum()
    }

    #[test]
    fn chance_is_as_stated() {
        for changes in CHANGES_MIN..=CHANGES_MAX {
            let late = late_min(changes).expect("enough");
            assert!(tail(changes, late, 0.1) <= 1e-5, "{changes}");
            assert!(tail(changes, late - 1, 0.1) > 1e-5, "{changes}: one fewer would do");
            assert!(tail(changes, late, 14.0 / 15.0) > 0.66, "{changes}");
        }
        assert!(tail(CHANGES_MAX, 8, 14.0 / 15.0) > 0.999);
    }

    #[test]
    fn a_delay_says_something_where_others_were_told() {
        #[track_caller]
        fn check(others: &[i64], after_ms: i64, expected: Option<u32>) {
            let mut spreads = Spreads::default();
            for other in others {
                spreads.count(v(7), t(0), t(*other));
            }
            let said = spreads.count(v(7), t(0), t(after_ms));
            assert_eq!(said.map(|delay| delay.ms), expected, "{after_ms} ms after {others:?}");
        }
        check(&[100, 2_000], 20_000, Some(20_000));
        check(&[100, 2_001], 20_000, None);
        check(&[100, 200, 9_000], 20_000, Some(20_000));
        check(&[100, 200, 9_000, 10_000], 20_000, None);
        check(&[100, 200], 45_000, Some(45_000));
        check(&[100, 200], 45_001, None);
        check(&[100, 200], -50, Some(0));
        check(&[], 20_000, None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut spreads = Spreads::default();
        (1..=100).for_each(|number| _ = spreads.count(v(number), t(0), t(0)));
        assert_eq!(spreads.0.len(), SPREADS_MAX);
        let mut kept = Vec::new();
        delays(&[1; 100]).into_iter().for_each(|delay| remember(&mut kept, delay));
        assert_eq!((kept.len(), kept.last().map(|delay| delay.changeset)), (CHANGES_MAX, Some(v(100))));
    }
}
