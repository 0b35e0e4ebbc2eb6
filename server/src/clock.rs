//! The one place where the time is asked for. Everything else is given `now`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tidemark_domain::time::Timestamp;

/// Where `now` comes from: the machine, one held moment (`serve --at`), or a test's hand.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Wall time at the start and monotonic time since: a step of the wall clock makes no silence (DESIGN 5.8).
    Machine {
        started: Instant,
        started_at: Timestamp,
    },
    Paced {
        started: Instant,
        started_at: Timestamp,
        speed: u32,
    },
    Held(Timestamp),
    Hand(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn machine() -> Self {
        Self(Kind::Machine { started: Instant::now(), started_at: wall() })
    }

    /// A clock that goes on from a moment, `speed` times as fast as the machine's (`tidemark demo --speed`).
    #[must_use]
    pub fn paced(from: Timestamp, speed: u32) -> Self {
        Self(Kind::Paced { started: Instant::now(), started_at: from, speed })
    }

    /// A clock that stands still.
    #[must_use]
    pub const fn held(at: Timestamp) -> Self {
        Self(Kind::Held(at))
    }

    /// A clock that a test moves by hand; clones move together.
    #[must_use]
    pub fn by_hand(at: Timestamp) -> Self {
        Self(Kind::Hand(Arc::new(AtomicI64::new(at.ms()))))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::Machine { started, started_at } => {
                started_at.plus(i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
            Kind::Paced { started, started_at, speed } => {
                let elapsed_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
                started_at.plus(elapsed_ms.saturating_mul(i64::from(*speed)))
            }
            Kind::Held(at) => *at,
            Kind::Hand(ms) => Timestamp::from_ms(ms.load(Ordering::SeqCst)),
        }
    }

    /// Whether the clock is held: nothing is taken in then.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        matches!(self.0, Kind::Held(_))
    }

    /// How far the wall clock has moved away from this clock, in milliseconds: more than 5 s is a step that somebody
    /// should know of. Zero for clocks that are not the machine's.
    #[must_use]
    pub fn wall_step_ms(&self) -> i64 {
        match &self.0 {
            Kind::Machine { .. } => wall().since(self.now()),
            Kind::Paced { .. } | Kind::Held(_) | Kind::Hand(_) => 0,
        }
    }

    /// Moves a clock that is moved by hand; others stay.
    pub fn advance(&self, span_ms: i64) {
        if let Kind::Hand(ms) = &self.0 {
            ms.fetch_add(span_ms, Ordering::SeqCst);
        }
    }
}

/// The start of something whose length is to be measured. A length is no moment, and decides nothing about a node.
#[must_use]
pub fn stopwatch() -> Instant {
    Instant::now()
}

fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_moves_all_clones_and_a_held_clock_none() {
        let hand = Clock::by_hand(Timestamp::from_ms(5));
        let clone = hand.clone();
        hand.advance(10);
        assert_eq!(clone.now(), Timestamp::from_ms(15));
        let held = Clock::held(Timestamp::from_ms(7));
        held.advance(10);
        assert_eq!(held.now(), Timestamp::from_ms(7));
    }

    #[test]
    fn a_paced_clock_begins_where_it_is_told_to_and_goes_on() {
        let paced = Clock::paced(Timestamp::from_ms(7), 1_000);
        let earlier = paced.now();
        assert!(earlier >= Timestamp::from_ms(7));
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!(paced.now().since(earlier) >= 3_000);
        assert_eq!(paced.wall_step_ms(), 0);
    }

    #[test]
    fn the_machines_clock_does_not_go_back() {
        let clock = Clock::machine();
        let earlier = clock.now();
        assert!(clock.now() >= earlier);
        assert!(clock.wall_step_ms().abs() < 5_000);
    }
}
