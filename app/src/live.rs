//! What keeps a page alive: one event source for the whole app, which says only that there is a newer answer. The page
//! then asks its own question again, at most once a second, and keeps the previous answer on screen meanwhile.

use leptos::prelude::*;
use std::time::Duration;
use tidemark_domain::view::AsOf;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{EventSource, MessageEvent};

/// Where the server tells of new revisions.
const EVENTS: &str = "/api/v1/events";
/// The least time between two rounds of questions.
const ROUND: Duration = Duration::from_secs(1);
/// Without news a page asks again after this long all the same: its ages are of its answer, and that grows old.
const AT_THE_LATEST: Duration = Duration::from_secs(15);
/// How long to wait before a new event source after the browser gave the old one up.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Whether the server's word reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nobody listens: the page is of the past, the clock is held, or the page has no script.
    Quiet,
    /// It does.
    Open,
    /// It did, and does not now.
    Lost,
}

/// The state of the live connection, one for the whole app.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    round: RwSignal<u64>,
    link: RwSignal<Link>,
    shown: RwSignal<Option<AsOf>>,
}

impl Live {
    /// Puts one into the context, and starts to listen once a page shows an answer that can become newer.
    #[must_use]
    pub fn provide() -> Self {
        let live = Self { round: RwSignal::new(0), link: RwSignal::new(Link::Quiet), shown: RwSignal::new(None) };
        provide_context(live);
        let wanted = Memo::new(move |_| live.shown.with(|shown| shown.as_ref().is_some_and(can_become_newer)));
        let attempt = RwSignal::new(0_u32);
        Effect::new(move |_| {
            attempt.track();
            if wanted.get() {
                // Dropped, and thereby closed, when this effect runs again or the app ends.
                StoredValue::new_local(Stream::open(live, attempt));
            } else {
                live.link.set(Link::Quiet);
            }
        });
        live
    }

    /// Counts up when a page should ask again; part of what every resource depends on.
    #[must_use]
    pub fn round(&self) -> u64 {
        self.round.get()
    }

    /// Whether the connection was lost: what is shown may be old.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.link.get() == Link::Lost
    }

    /// Whether the server's word reaches us.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.get() == Link::Open
    }

    /// Says which answer is on screen.
    pub fn show(&self, as_of: AsOf) {
        self.shown.set(Some(as_of));
    }

    fn is_shown(&self, revision: u64) -> bool {
        self.shown.with_untracked(|shown| shown.as_ref().is_some_and(|shown| shown.revision == revision))
    }
}

/// A view of the past stays as it is, and so does everything while the server's clock is held.
const fn can_become_newer(as_of: &AsOf) -> bool {
    !as_of.past && !as_of.held
}

/// When to ask: at once, and then not before a round has passed; what comes in between is asked for once, at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pace {
    /// Nothing was asked within a round.
    #[default]
    Free,
    /// Something was.
    Resting,
    /// Something was, and there is news since.
    RestingWithNews,
}

impl Pace {
    /// There is news: whether to ask at once.
    const fn hear(self) -> (Self, bool) {
        match self {
            Self::Free => (Self::Resting, true),
            Self::Resting | Self::RestingWithNews => (Self::RestingWithNews, false),
        }
    }

    /// A round has passed: whether to ask again.
    const fn pass(self) -> (Self, bool) {
        match self {
            Self::Free | Self::Resting => (Self::Free, false),
            Self::RestingWithNews => (Self::Resting, true),
        }
    }
}

/// An open event source with what listens to it.
struct Stream {
    source: Option<EventSource>,
    refresh: Option<IntervalHandle>,
    _listeners: Vec<Closure<dyn FnMut(MessageEvent)>>,
}

impl Stream {
    fn open(live: Live, attempt: RwSignal<u32>) -> Self {
        let Ok(source) = EventSource::new(EVENTS) else {
            return Self { source: None, refresh: None, _listeners: Vec::new() };
        };
        let pace = StoredValue::new(Pace::default());
        let ask = move || step(pace, live.round, Pace::hear);
        let on_revision = Closure::new(move |event: MessageEvent| {
            // The id of an event is the revision that it tells of.
            if event.last_event_id().parse().is_ok_and(|revision| !live.is_shown(revision)) {
                ask();
            }
        });
        let on_open = Closure::new(move |_: MessageEvent| {
            if live.link.get_untracked() == Link::Lost {
                ask();
            }
            live.link.set(Link::Open);
        });
        let dropped = source.clone();
        let on_error = Closure::new(move |_: MessageEvent| {
            live.link.set(Link::Lost);
            if dropped.ready_state() == EventSource::CLOSED {
                set_timeout(
                    move || {
                        attempt.try_update(|attempt| *attempt += 1);
                    },
                    AGAIN_AFTER,
                );
            }
        });
        let listeners: [(&str, Closure<dyn FnMut(MessageEvent)>); 3] =
            [("revision", on_revision), ("open", on_open), ("error", on_error)];
        for (event, listener) in &listeners {
            // Fails only for an event source that the browser has already given up.
            let _ = source.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
        }
        Self {
            source: Some(source),
            refresh: set_interval_with_handle(ask, AT_THE_LATEST).ok(),
            _listeners: listeners.into_iter().map(|(_, listener)| listener).collect(),
        }
    }
}

/// One step of the pace: asks if it says so, and waits for the next. After the stream was closed it does nothing.
fn step(pace: StoredValue<Pace>, round: RwSignal<u64>, next: fn(Pace) -> (Pace, bool)) {
    let asks = pace.try_update_value(|pace| {
        let (new, asks) = next(*pace);
        *pace = new;
        asks
    });
    if asks == Some(true) {
        round.update(|round| *round += 1);
        set_timeout(move || step(pace, round, Pace::pass), ROUND);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            source.close();
        }
        if let Some(refresh) = &self.refresh {
            refresh.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_domain::time::Timestamp;

    #[test]
    fn a_burst_is_asked_for_at_once_and_at_the_end_of_the_round() {
        let (pace, asks) = Pace::default().hear();
        assert!(asks, "the first is asked for at once");
        let (pace, asks) = pace.hear();
        assert!(!asks, "the second waits");
        let (pace, asks) = pace.hear();
        assert!(!asks, "and so does the third");
        let (pace, asks) = pace.pass();
        assert!(asks, "both are asked for together");
        let (pace, asks) = pace.pass();
        assert!(!asks, "and then there is nothing to ask");
        assert_eq!(pace, Pace::Free);
    }

    #[test]
    fn the_past_and_a_held_clock_do_not_listen() {
        let as_of = |past, held| AsOf { at: Timestamp::from_ms(0), revision: 1, past, held };
        assert!(can_become_newer(&as_of(false, false)));
        assert!(!can_become_newer(&as_of(true, false)));
        assert!(!can_become_newer(&as_of(false, true)));
    }
}
