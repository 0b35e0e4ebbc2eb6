//! Chance that repeats itself: every number follows from a seed and a name, so that one part of a scenario can change
//! without changing the fortunes of the others.

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(Pcg64Mcg);

impl Random {
    /// The stream of a name under a seed. Other names have other streams.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a: only to tell names apart.
        let name = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(Pcg64Mcg::seed_from_u64(seed ^ name))
    }

    /// A whole number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.0.random_range(0..end) }
    }

    /// A span of time from `from` to `to`, both included, in milliseconds; `from` if `to` lies before it.
    pub fn span(&mut self, from: i64, to: i64) -> i64 {
        if to <= from { from } else { self.0.random_range(from..=to) }
    }

    /// Whether something happens that happens once in `times`; never for 0.
    pub fn once_in(&mut self, times: usize) -> bool {
        times > 0 && self.below(times) == 0
    }

    /// One of several.
    pub fn one_of<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// A span of milliseconds that is mostly near `median` and one time in a hundred above `p99`: log-normal, as the
    /// times are in which computers do things. At most ten times `p99`.
    pub fn spread(&mut self, median: i64, p99: i64) -> i64 {
        // Twelve uniform numbers add up to something normal enough, with a deviation of one.
        let normal: f64 = (0..12).map(|_| self.0.random::<f64>()).sum::<f64>() - 6.0;
        #[expect(clippy::cast_precision_loss, reason = "spans of minutes")]
        let (middle, tail) = (median.max(1) as f64, p99.max(median).max(1) as f64);
        /// How many deviations above the middle one value in a hundred lies.
        const P99: f64 = 2.326;
        let span = middle * (tail / middle).powf(normal / P99);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to spans that fit")]
        let span = span.clamp(0.0, 10.0 * tail) as i64;
        span
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_itself_and_names_part_streams() {
        let numbers = |seed, name| {
            let mut random = Random::new(seed, name);
            (0..8).map(|_| random.below(1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1, "a"), numbers(1, "a"));
        assert_ne!(numbers(1, "a"), numbers(1, "b"));
        assert_ne!(numbers(1, "a"), numbers(2, "a"));
    }

    /// Pinned: scenarios and failing seeds must mean the same in a year.
    #[test]
    fn the_numbers_of_a_seed_stay() {
        let mut random = Random::new(7, "pinned");
        let told = (random.below(1_000_000), random.span(0, 1_000_000), random.uuid());
        assert_eq!(told, (909_736, 345_034, "5c18309c-7f80-4ba7-aec8-2967772d0d6d".to_owned()));
    }

    #[test]
    fn a_spread_has_the_median_and_the_tail_that_were_asked_for() {
        let mut random = Random::new(1, "spread");
        let mut spans: Vec<_> = (0..20_000).map(|_| random.spread(2_000, 9_000)).collect();
        spans.sort_unstable();
        assert!((1_900..2_100).contains(&spans[10_000]), "{}", spans[10_000]);
        assert!((8_000..10_000).contains(&spans[19_800]), "{}", spans[19_800]);
        assert!(spans[0] >= 0);
    }

    #[test]
    fn edges_are_no_panic() {
        let mut random = Random::new(1, "edges");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.span(5, 5), 5);
        assert_eq!(random.span(5, 4), 5);
        assert!(!random.once_in(0));
        assert!(random.once_in(1));
        assert_eq!(random.one_of::<u8>(&[]), None);
        assert!(random.spread(0, 0) >= 0);
    }
}
