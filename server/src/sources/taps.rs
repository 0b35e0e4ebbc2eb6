//! Taps as sources: processes of their own that tell what they see ([`crate::tap`]). Here is when each was last heard, and
//! what it says of itself.

use super::{Health, Shown, State};
use crate::clock::stopwatch;
use crate::tap::parcel::Figures;
use crate::tap::sender::ALIVE_EVERY;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tidemark_domain::fact::Source;
use tidemark_domain::id::CpName;
use tidemark_domain::time::{DAY, Timestamp};

/// A tap that is not heard for longer is blind.
pub const SILENT_AFTER: Duration = Duration::from_secs(4 * ALIVE_EVERY.as_secs());
/// One that was not heard for so long is forgotten: it may have a new spool, and with it a new name.
const FORGOTTEN_AFTER_MS: i64 = DAY;
/// Taps that are remembered.
const TAPS_MAX: usize = 10_000;

/// The taps that were heard since this process began, by the names of their spools.
#[derive(Debug, Default)]
pub struct Taps(Mutex<BTreeMap<String, Heard>>);

#[derive(Debug)]
struct Heard {
    control_plane: CpName,
    at: Timestamp,
    since: Instant,
    parcels: u64,
    figures: Figures,
    about: Option<String>,
    /// It was said that the taps of its control plane are silent.
    is_told: bool,
}

impl Heard {
    fn is_silent(&self) -> bool {
        self.since.elapsed() >= SILENT_AFTER
    }
}

impl Taps {
    /// A tap told something, if only that it is there.
    pub fn hear(&self, stream: &str, control_plane: &CpName, at: Timestamp, figures: Figures, about: Option<String>) {
        let mut all = self.0.lock();
        all.retain(|_, heard| at.since(heard.at) < FORGOTTEN_AFTER_MS);
        let parcels = match all.get(stream) {
            Some(heard) => heard.parcels + 1,
            None if all.len() >= TAPS_MAX => return,
            None => 1,
        };
        let control_plane = control_plane.clone();
        let heard = Heard { control_plane, at, since: stopwatch(), parcels, figures, about, is_told: false };
        all.insert(stream.to_owned(), heard);
    }

    /// Control planes whose taps have all fallen silent; each once.
    #[must_use]
    pub fn fallen_silent(&self) -> Vec<CpName> {
        let mut all = self.0.lock();
        let mut silent: Vec<CpName> = Vec::new();
        for heard in all.values().filter(|heard| !heard.is_told && heard.is_silent()) {
            let hears = |other: &Heard| other.control_plane == heard.control_plane && !other.is_silent();
            if !silent.contains(&heard.control_plane) && !all.values().any(hears) {
                silent.push(heard.control_plane.clone());
            }
        }
        for heard in all.values_mut().filter(|heard| silent.contains(&heard.control_plane)) {
            heard.is_told = true;
        }
        silent
    }

    /// It could not be said that the taps of a control plane are silent: they are still.
    pub fn not_told(&self, control_plane: &CpName) {
        for heard in self.0.lock().values_mut().filter(|heard| heard.control_plane == *control_plane) {
            heard.is_told = false;
        }
    }

    /// Each as a source.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let all = self.0.lock();
        let shown = |(stream, heard): (&String, &Heard)| {
            let figures = heard.figures;
            let is_silent = heard.is_silent();
            let lost = [
                (figures.frames_missed, "configurations passed on unread"),
                (figures.too_large, "configurations too large to be read"),
                (figures.unreadable, "frames that could not be read"),
                (figures.events_lost, "events lost"),
                (figures.facts_lost, "facts lost"),
                (figures.strangers, "strangers refused"),
                (figures.handshakes_failed, "handshakes with nodes failed"),
                (figures.unreachable, "connections without a control plane"),
                (figures.turned_away, "connections too many"),
            ];
            let troubles: Vec<String> =
                lost.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
            let silence = is_silent.then(|| "it is not heard".to_owned());
            let words: Vec<String> = silence.into_iter().chain(troubles).collect();
            Shown {
                name: format!("tap-{}", stream.get(..8).unwrap_or(stream)),
                kind: Source::Tap.word(),
                control_plane: heard.control_plane.clone(),
                interval: ALIVE_EVERY,
                state: State {
                    health: if is_silent { Health::Blind } else { Health::Up },
                    last_run_at: Some(heard.at),
                    last_success_at: Some(heard.at),
                    runs: heard.parcels,
                    errors: lost.iter().map(|(count, _)| count).sum(),
                    facts: figures.facts,
                    targets: u32::try_from(figures.open).unwrap_or(u32::MAX),
                    answered: u32::try_from(figures.open).unwrap_or(u32::MAX),
                    last_error: (!words.is_empty()).then(|| words.join(", ")),
                    about: heard.about.clone(),
                    ..State::default()
                },
            }
        };
        all.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cp(name: &str) -> CpName {
        name.parse().expect("a name")
    }

    fn hear(taps: &Taps, stream: &str, control_plane: &str) {
        taps.hear(stream, &cp(control_plane), Timestamp::from_ms(0), Figures::default(), None);
    }

    /// The tap was heard for the last time before this moment.
    fn silence(taps: &Taps, stream: &str, span: Duration) {
        if let Some(heard) = taps.0.lock().get_mut(stream) {
            heard.since = stopwatch().checked_sub(span).expect("the machine runs for longer");
        }
    }

    #[test]
    fn a_control_plane_is_silent_once_all_of_its_taps_are() {
        let taps = Taps::default();
        for (stream, control_plane) in [("one", "eu"), ("two", "eu"), ("three", "us")] {
            hear(&taps, stream, control_plane);
        }
        assert_eq!(taps.fallen_silent(), []);
        silence(&taps, "one", SILENT_AFTER);
        assert_eq!(taps.fallen_silent(), [], "the other one hears");
        silence(&taps, "two", SILENT_AFTER);
        assert_eq!(taps.fallen_silent(), [cp("eu")]);
        assert_eq!(taps.fallen_silent(), [], "told once");
        taps.not_told(&cp("eu"));
        assert_eq!(taps.fallen_silent(), [cp("eu")], "it could not be told");
        hear(&taps, "one", "eu");
        silence(&taps, "one", SILENT_AFTER);
        assert_eq!(taps.fallen_silent(), [cp("eu")], "heard in between");
    }

    #[test]
    fn a_tap_is_shown_with_what_it_lost_until_it_is_long_gone() {
        let taps = Taps::default();
        let figures = Figures { open: 7, facts: 9, frames_missed: 2, facts_lost: 3, ..Figures::default() };
        taps.hear("0123456789", &cp("eu"), Timestamp::from_ms(5), figures, Some("listens".to_owned()));
        let shown = || taps.shown().into_iter().map(|shown| (shown.name, shown.state));
        let (name, state) = shown().next().expect("a tap");
        assert_eq!((name.as_str(), state.health, state.targets, state.errors), ("tap-01234567", Health::Up, 7, 5));
        let words = "2 configurations passed on unread, 3 facts lost";
        assert_eq!(state.last_error.as_deref(), Some(words));
        silence(&taps, "0123456789", SILENT_AFTER);
        let (_, state) = shown().next().expect("a tap");
        assert_eq!((state.health, state.last_error), (Health::Blind, Some(format!("it is not heard, {words}"))));
        let later = |ms| Timestamp::from_ms(5).plus(DAY + ms);
        taps.hear("another", &cp("us"), later(-1), Figures::default(), None);
        assert_eq!(shown().count(), 2);
        taps.hear("another", &cp("us"), later(0), Figures::default(), None);
        assert_eq!(shown().map(|(name, _)| name).collect::<Vec<_>>(), ["tap-another"]);
    }
}
