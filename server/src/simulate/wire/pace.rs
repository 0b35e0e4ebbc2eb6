//! How fast a simulated fleet lives. Every wait of the wire goes through here, so that a test or a drill can run faster
//! than Kong does.

use rand::RngExt;
use rand_pcg::Pcg32;
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// A speed: 1 is Kong's, 60 lives a minute in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace(f64);

impl Pace {
    /// As Kong.
    pub const KONG: Self = Self(1.0);
    /// The slowest and the fastest: at a thousandfold, 30 seconds between heartbeats are 30 milliseconds, about as long as
    /// a scheduler needs for thousands of tasks.
    pub const BOUNDS: std::ops::RangeInclusive<f64> = 0.01..=1_000.0;

    /// This many times as fast as Kong; `None` outside of [`Self::BOUNDS`].
    #[must_use]
    pub fn faster(times: f64) -> Option<Self> {
        Self::BOUNDS.contains(&times).then_some(Self(times))
    }

    /// How long a span of Kong's takes here.
    #[must_use]
    pub fn span(self, of_kong: Duration) -> Duration {
        of_kong.div_f64(self.0)
    }

    /// How long to wait for a peer that need not live at this pace: never shorter than Kong does.
    #[must_use]
    pub fn patience(self, of_kong: Duration) -> Duration {
        self.span(of_kong).max(of_kong)
    }

    /// How long until a peer is judged silent. At most ten times as fast as Kong: a fleet may live faster, but the machine
    /// that all of it shares is no less often late.
    #[must_use]
    pub fn judging(self, of_kong: Duration) -> Duration {
        self.span(of_kong).max(of_kong / 10)
    }

    /// Waits for a span of Kong's.
    #[must_use = "a wait is a future"]
    pub fn wait(self, of_kong: Duration) -> Sleep {
        sleep(self.span(of_kong))
    }
}

/// A length of time from least to most, evenly; both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between(pub Duration, pub Duration);

impl Between {
    /// Always the same.
    #[must_use]
    pub const fn always(span: Duration) -> Self {
        Self(span, span)
    }

    /// One of them, to the microsecond.
    pub fn pick(self, random: &mut Pcg32) -> Duration {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let (least, most) = (micros(self.0), micros(self.1));
        Duration::from_micros(random.random_range(least..=most.max(least)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_faster_pace_waits_shorter() {
        let span = Duration::from_secs(30);
        assert_eq!(Pace::KONG.span(span), span);
        assert_eq!(Pace::faster(60.0).unwrap().span(span), Duration::from_millis(500));
        assert_eq!(Pace::faster(60.0).unwrap().patience(span), span);
        assert_eq!(Pace::faster(0.5).unwrap().patience(span), 2 * span);
        assert_eq!(Pace::faster(60.0).unwrap().judging(span), Duration::from_secs(3));
        assert_eq!(Pace::faster(5.0).unwrap().judging(span), Duration::from_secs(6));
        for times in [0.0, -1.0, 1e9, f64::NAN] {
            assert_eq!(Pace::faster(times), None);
        }
    }

    #[test]
    fn a_seed_decides_what_is_picked() {
        let pick = |seed| Between(Duration::ZERO, Duration::from_secs(5)).pick(&mut Pcg32::seed_from_u64(seed));
        assert_eq!(pick(1), pick(1));
        assert_ne!(pick(1), pick(2));
        let same = Between::always(Duration::from_secs(2));
        assert_eq!(same.pick(&mut Pcg32::seed_from_u64(3)), Duration::from_secs(2));
        let backwards = Between(Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(backwards.pick(&mut Pcg32::seed_from_u64(3)), Duration::from_secs(2), "no panic");
    }
}
