//! Lines of the log that a remote side can cause: at most one a second for each reason, which says how many were left out.
//! What happened is counted elsewhere, whole; this is about the log alone.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use tidemark_domain::time::{SECOND, Timestamp};

/// Between two lines of one reason.
const PAUSE_MS: i64 = SECOND;
/// Reasons that are held back at once. Where there are more, a new one waits until another has been silent for a second.
const REASONS_MAX: usize = 64;

/// Which reasons were told, and when.
#[derive(Debug, Default)]
pub struct Lines(Mutex<HashMap<Box<str>, Told>>);

#[derive(Debug)]
struct Told {
    at: Timestamp,
    left_out: u64,
}

/// How many lines were left out since the one before: words that end a line, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(u64);

impl Lines {
    /// Whether a line is due for a reason, and how many were left out since its last one. `None`: this one is left out.
    pub fn due(&self, now: Timestamp, reason: &str) -> Option<LeftOut> {
        // A clock that was set back holds nothing back.
        let is_held = |told: &Told| (0..PAUSE_MS).contains(&now.since(told.at));
        let mut told = self.0.lock();
        if let Some(told) = told.get_mut(reason) {
            if is_held(told) {
                told.left_out += 1;
                return None;
            }
            let left_out = LeftOut(told.left_out);
            *told = Told { at: now, left_out: 0 };
            return Some(left_out);
        }
        if told.len() >= REASONS_MAX {
            told.retain(|_, told| is_held(told));
        }
        if told.len() >= REASONS_MAX {
            return None;
        }
        told.insert(reason.into(), Told { at: now, left_out: 0 });
        Some(LeftOut(0))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(out, " (and {more} times more since the last such line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_reason_is_told_once_a_second_with_how_many_were_left_out() {
        let clock = Clock::by_hand(Timestamp::from_ms(10_000));
        let lines = Lines::default();
        let due = |reason| lines.due(clock.now(), reason).map(|left_out| left_out.to_string());
        assert_eq!(due("a"), Some(String::new()));
        assert_eq!((due("a"), due("a")), (None, None));
        assert_eq!(due("b"), Some(String::new()), "another reason");
        clock.advance(999);
        assert_eq!(due("a"), None);
        clock.advance(1);
        assert_eq!(due("a").as_deref(), Some(" (and 3 times more since the last such line)"));
        assert_eq!(due("a"), None);
        clock.advance(1_000);
        assert_eq!(due("b"), Some(String::new()), "nothing was left out");
        clock.advance(-60_000);
        assert!(due("a").is_some(), "a clock that was set back");
    }

    #[test]
    fn as_many_reasons_as_a_stranger_can_think_of_are_a_bounded_number_of_lines() {
        let clock = Clock::by_hand(Timestamp::from_ms(0));
        let lines = Lines::default();
        let told =
            |from: usize| (from..from + 1_000).filter(|n| lines.due(clock.now(), &n.to_string()).is_some()).count();
        assert_eq!(told(0), REASONS_MAX);
        assert_eq!(told(1_000), 0);
        clock.advance(1_000);
        assert_eq!(told(2_000), REASONS_MAX);
        assert_eq!(lines.0.lock().len(), REASONS_MAX);
    }
}
