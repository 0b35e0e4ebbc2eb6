//! A sketch of a distribution: quantiles of any number of latencies from a few hundred bytes, and the sketch of two sets
//! together is the sum of their sketches.
//!
//! It is a `DDSketch` (Masson, Rim, Lee: "`DDSketch`: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
//! Guarantees", VLDB 2019) with a fixed accuracy, so that all sketches can be merged: bin `i` counts values in
//! `(γ^(i-1), γ^i]`, and its value `2·γ^i / (γ + 1)` is at most 1 % away from each of them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How far a quantile may be from the exact one, as a share of it.
pub const RELATIVE_ERROR: f64 = 0.01;

/// The base of the bins.
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);

/// Values below this many milliseconds count as 0: no clock of a gateway is finer.
pub const LEAST_MS: f64 = 0.001;

/// Values above this many milliseconds count as this: 30 days, longer than any connection that is told of.
pub const MOST_MS: f64 = 2_592_000_000.0;

/// Bins from [`LEAST_MS`] to [`MOST_MS`]: what a sketch holds at most.
pub const BINS_MAX: usize = 1_500;

/// Latencies in milliseconds. Equal sets give equal sketches, in whatever order and parts they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Values below [`LEAST_MS`].
    zeros: u64,
    /// All values.
    count: u64,
    /// Bins that are not empty, by index.
    bins: Vec<(i16, u64)>,
}

fn bin(value_ms: f64) -> i16 {
    // In bounds: the logarithms of both ends are.
    #[expect(clippy::cast_possible_truncation, reason = "between -346 and 1,085")]
    let index = (value_ms.min(MOST_MS).ln() / GAMMA.ln()).ceil() as i16;
    index
}

fn value(bin: i16) -> f64 {
    2.0 * GAMMA.powi(i32::from(bin)) / (GAMMA + 1.0)
}

impl Sketch {
    /// Takes in a value, `times` times. What is no number, or below zero, is not taken in.
    pub fn add(&mut self, value_ms: f64, times: u64) {
        if value_ms.is_nan() || value_ms < 0.0 || times == 0 {
            return;
        }
        self.count = self.count.saturating_add(times);
        if value_ms < LEAST_MS {
            self.zeros = self.zeros.saturating_add(times);
            return;
        }
        let index = bin(value_ms);
        match self.bins.binary_search_by_key(&index, |(bin, _)| *bin) {
            Ok(place) => self.bins[place].1 = self.bins[place].1.saturating_add(times),
            Err(place) => self.bins.insert(place, (index, times)),
        }
    }

    /// Takes in all that another sketch took in.
    pub fn merge(&mut self, other: &Self) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        self.count = self.count.saturating_add(other.count);
        if self.bins.is_empty() {
            self.bins.clone_from(&other.bins);
            return;
        }
        let mut merged = Vec::with_capacity(self.bins.len().max(other.bins.len()));
        let (mut mine, mut theirs) = (self.bins.iter().peekable(), other.bins.iter().peekable());
        loop {
            match (mine.peek(), theirs.peek()) {
                (Some((left, count)), Some((right, more))) if left == right => {
                    merged.push((*left, count.saturating_add(*more)));
                    mine.next();
                    theirs.next();
                }
                (Some((left, _)), Some((right, _))) => {
                    let next = if left < right { mine.next() } else { theirs.next() };
                    merged.extend(next);
                }
                (Some(_), None) => merged.extend(mine.next()),
                (None, Some(_)) => merged.extend(theirs.next()),
                (None, None) => break,
            }
        }
        self.bins = merged;
    }

    /// Values that were taken in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The value that this share of all values is not above (nearest rank), in milliseconds, at most 1 % from the exact
    /// one; `None` without values. `share` is held within 0 and 1.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank"
        )]
        let rank = ((share.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut seen = self.zeros;
        if rank <= seen {
            return Some(0.0);
        }
        for (bin, count) in &self.bins {
            seen = seen.saturating_add(*count);
            if rank <= seen {
                return Some(value(*bin));
            }
        }
        self.bins.last().map(|(last, _)| value(*last))
    }

    /// Appends the sketch as bytes: variable-length numbers, bins by their distance.
    pub fn write(&self, out: &mut Vec<u8>) {
        put(out, self.zeros);
        put(out, self.bins.len() as u64);
        let mut last = i16::MIN;
        for (bin, count) in &self.bins {
            put(out, u64::from(bin.abs_diff(last)));
            put(out, *count);
            last = *bin;
        }
    }

    /// Reads what [`Self::write`] wrote, and leaves what follows. `None` if it is not that.
    pub fn read(bytes: &mut &[u8]) -> Option<Self> {
        let zeros = take(bytes)?;
        let bins = usize::try_from(take(bytes)?).ok().filter(|bins| *bins <= BINS_MAX)?;
        let mut sketch = Self { zeros, count: zeros, bins: Vec::with_capacity(bins) };
        let mut last = i16::MIN;
        for place in 0..bins {
            let distance = u16::try_from(take(bytes)?).ok()?;
            if place > 0 && distance == 0 {
                return None;
            }
            last = last.checked_add_unsigned(distance)?;
            let count = take(bytes).filter(|count| *count > 0)?;
            sketch.count = sketch.count.checked_add(count)?;
            sketch.bins.push((last, count));
        }
        Some(sketch)
    }

    /// Passes over what [`Self::write`] wrote without keeping it. `None` if it is not that.
    pub fn skip(bytes: &mut &[u8]) -> Option<()> {
        take(bytes)?;
        let bins = usize::try_from(take(bytes)?).ok().filter(|bins| *bins <= BINS_MAX)?;
        let mut left = bins * 2;
        while left > 0 {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            left -= usize::from(*first < 0x80);
        }
        Some(())
    }
}

/// As bytes, where it travels inside other values.
impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let mut rest = bytes.as_slice();
        Self::read(&mut rest)
            .filter(|_| rest.is_empty())
            .ok_or_else(|| serde::de::Error::custom("these bytes are no sketch"))
    }
}

/// Appends a number, seven bits a byte, the least first.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// Reads what [`put`] wrote, and leaves what follows. `None` if it is not that.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if *first < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value, 1));
        sketch
    }

    fn exact(values: &[f64], share: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted[rank - 1]
    }

    #[test]
    fn both_ends_and_what_is_no_latency() {
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(of(&[0.0, 0.000_9]).quantile(1.0), Some(0.0));
        assert_eq!(of(&[-1.0, f64::NAN]).count(), 0);
        let longest = of(&[f64::INFINITY]).quantile(0.5).expect("it counts");
        assert!((longest / MOST_MS - 1.0).abs() <= RELATIVE_ERROR, "{longest}");
        let least = of(&[LEAST_MS]).quantile(0.5).expect("it counts");
        assert!((least / LEAST_MS - 1.0).abs() <= RELATIVE_ERROR + 1e-9, "{least}");
    }

    #[test]
    fn a_number_is_read_as_it_was_written() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut rest = bytes.as_slice();
            assert_eq!((take(&mut rest), rest.len()), (Some(number), 0));
        }
        assert_eq!(take(&mut [0xff; 10].as_slice()), None, "above 64 bits");
        assert_eq!(take(&mut [0x80].as_slice()), None, "cut off");
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_one_percent(
            values in prop::collection::vec(LEAST_MS..MOST_MS, 1..400),
            share in 0.0..=1.0_f64,
        ) {
            let told = of(&values).quantile(share).expect("values");
            let exact = exact(&values, share);
            prop_assert!((told - exact).abs() <= exact * (RELATIVE_ERROR + 1e-9), "{told} for {exact}");
        }

        #[test]
        fn parts_in_any_order_give_the_sketch_of_the_whole(
            values in prop::collection::vec(0.0..10_000.0_f64, 0..200),
            cut in 0..200_usize,
        ) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let (left, right, whole) = (of(left), of(right), of(&values));
            let (mut one, mut other) = (left.clone(), right.clone());
            one.merge(&right);
            other.merge(&left);
            prop_assert_eq!(&one, &whole);
            prop_assert_eq!(&other, &whole);
        }

        #[test]
        fn it_is_read_and_passed_over_as_it_was_written(values in prop::collection::vec(0.0..MOST_MS, 0..100), after in any::<u8>()) {
            let sketch = of(&values);
            let mut bytes = Vec::new();
            sketch.write(&mut bytes);
            bytes.push(after);
            let (mut read, mut skipped) = (bytes.as_slice(), bytes.as_slice());
            prop_assert_eq!(Sketch::read(&mut read), Some(sketch));
            prop_assert_eq!(Sketch::skip(&mut skipped), Some(()));
            prop_assert_eq!(read, &[after]);
            prop_assert_eq!(skipped, &[after]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sketch::read(&mut bytes.as_slice());
            let _ = Sketch::skip(&mut bytes.as_slice());
        }
    }
}
