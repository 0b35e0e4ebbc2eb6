//! Rows of sums in memory, and packed as the store keeps them: one partition holds all rows of a table, of one control
//! plane and one step of time.
//!
//! Packed is: the number of rows, then for each row the three parts of its key and its sums, all as numbers of variable
//! length. Rows are in the order of their keys, so equal sums are equal bytes. Who looks for one route passes over the
//! others without unpacking them.

use std::collections::HashMap;

use tidemark_domain::sketch::{put, take};
use tidemark_domain::traffic::Sums;

/// What a row is told apart by: up to three numbers, of names, statuses or versions ([`tidemark_domain::traffic::Table`]
/// says which); 0 where there is none.
pub type Key = [u32; 3];

/// What can be summed up.
pub trait Summed: Default {
    /// Adds all of another sum.
    fn merge(&mut self, other: &Self);
    /// Appends it as bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads what was written, and leaves what follows.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
    /// Passes over what was written.
    fn skip(bytes: &mut &[u8]) -> Option<()>;
}

impl Summed for Sums {
    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }

    fn write(&self, out: &mut Vec<u8>) {
        Self::write(self, out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Self::read(bytes)
    }

    fn skip(bytes: &mut &[u8]) -> Option<()> {
        Self::skip(bytes)
    }
}

/// Samples of something that goes up and down, such as memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Samples.
    pub count: u64,
    /// What they add up to.
    pub sum: u64,
    /// The least of them.
    pub least: u64,
    /// The most of them.
    pub most: u64,
}

impl Gauge {
    /// One sample.
    #[must_use]
    pub const fn of(value: u64) -> Self {
        Self { count: 1, sum: value, least: value, most: value }
    }

    /// The mean; `None` without samples.
    #[must_use]
    pub const fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count)
    }
}

impl Summed for Gauge {
    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.least = if self.count == 0 { other.least } else { self.least.min(other.least) };
        self.most = self.most.max(other.most);
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
    }

    fn write(&self, out: &mut Vec<u8>) {
        [self.count, self.sum, self.least, self.most].into_iter().for_each(|number| put(out, number));
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { count: take(bytes)?, sum: take(bytes)?, least: take(bytes)?, most: take(bytes)? })
    }

    fn skip(bytes: &mut &[u8]) -> Option<()> {
        Self::read(bytes).map(|_| ())
    }
}

/// Rows of one table.
#[derive(Clone, Debug)]
pub struct Cells<S>(pub HashMap<Key, S>);

impl<S> Default for Cells<S> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<S: Summed> Cells<S> {
    /// The row of a key.
    pub fn at(&mut self, key: Key) -> &mut S {
        self.0.entry(key).or_default()
    }

    /// Adds all rows of others.
    pub fn merge(&mut self, other: &Self) {
        for (key, sums) in &other.0 {
            self.at(*key).merge(sums);
        }
    }

    /// What all rows add up to.
    #[must_use]
    pub fn whole(&self) -> S {
        let mut whole = S::default();
        // The order of a map is nobody's: sums and sketches do not depend on it.
        self.0.values().for_each(|sums| whole.merge(sums));
        whole
    }

    /// The rows as bytes.
    #[must_use]
    pub fn packed(&self) -> Vec<u8> {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_unstable_by_key(|(key, _)| **key);
        let mut out = Vec::new();
        put(&mut out, rows.len() as u64);
        for (key, sums) in rows {
            key.iter().for_each(|part| put(&mut out, u64::from(*part)));
            sums.write(&mut out);
        }
        out
    }

    /// Adds the packed rows whose keys are wanted. `None` if the bytes are no rows; some may have been added then.
    pub fn add_packed(&mut self, mut bytes: &[u8], wanted: impl Fn(&Key) -> bool) -> Option<()> {
        let rows = take(&mut bytes)?;
        for _ in 0..rows {
            let mut key = [0; 3];
            for part in &mut key {
                *part = u32::try_from(take(&mut bytes)?).ok()?;
            }
            if wanted(&key) {
                let sums = S::read(&mut bytes)?;
                self.at(key).merge(&sums);
            } else {
                S::skip(&mut bytes)?;
            }
        }
        bytes.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gauge() -> impl Strategy<Value = Gauge> {
        prop::collection::vec(0..1_000_000_u64, 0..5).prop_map(|values| {
            let mut gauge = Gauge::default();
            values.into_iter().for_each(|value| gauge.merge(&Gauge::of(value)));
            gauge
        })
    }

    #[test]
    fn a_gauge_without_samples_changes_none() {
        let mut gauge = Gauge::of(7);
        gauge.merge(&Gauge::default());
        assert_eq!(gauge, Gauge::of(7));
        assert_eq!(Gauge::default().mean(), None);
        gauge.merge(&Gauge::of(3));
        assert_eq!((gauge.mean(), gauge.least, gauge.most), (Some(5), 3, 7));
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were_packed_and_only_those_that_are_wanted(
            rows in prop::collection::hash_map(any::<[u32; 3]>(), gauge(), 0..20),
        ) {
            let cells = Cells(rows);
            let bytes = cells.packed();
            let mut all = Cells::<Gauge>::default();
            prop_assert_eq!(all.add_packed(&bytes, |_| true), Some(()));
            prop_assert_eq!(&all.0, &cells.0);
            prop_assert_eq!(all.packed(), bytes.clone());
            let mut even = Cells::<Gauge>::default();
            prop_assert_eq!(even.add_packed(&bytes, |key| key[1] % 2 == 0), Some(()));
            prop_assert!(even.0.keys().all(|key| key[1] % 2 == 0));
            prop_assert_eq!(even.0.len(), cells.0.keys().filter(|key| key[1] % 2 == 0).count());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Cells::<Sums>::default().add_packed(&bytes, |key| key[0] % 2 == 0);
            let _ = Cells::<Gauge>::default().add_packed(&bytes, |_| true);
        }
    }
}
