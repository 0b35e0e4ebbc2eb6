//! Facts of taps, from their spools: each once, however often it is sent. Not a part of the interface that is promised:
//! facts travel in the form of this build ([`crate::tap::parcel`]).
//!
//! **How long a tap is believed to listen.** It sends something every five seconds. After 20 s of silence no fact of its
//! control plane is held against a node any more: the source is blind, and its nodes are `unobserved` (DESIGN 5.9). The
//! silence is measured by the machine's monotonic clock. Where two taps serve one control plane, both must be silent.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tidemark_domain::fact::{Fact, Listening, Source, What};
use tidemark_domain::id::Line;
use tidemark_domain::time::Timestamp;

use crate::http::Door;
use crate::http::asked::{Asked, Parted};
use crate::http::problem::Problem;
use crate::http::sent::{Names, Sent, Told};
use crate::sources::taps::SILENT_AFTER;
use crate::store::Taken;
use crate::tap::parcel::{FACTS_MAX, FORMAT, Has, Parcel, is_stream};
use crate::tap::reader::{began, gap};
use crate::tap::sender::ALIVE_EVERY;
use crate::tap::spool;

/// `GET /api/v1/taps/{stream}`
pub async fn has(State(door): State<Door>, Parted(stream): Parted<String>, asked: Asked) -> Result<Json<Has>, Problem> {
    asked.end()?;
    check(&stream)?;
    Ok(Json(Has { next: taken(&door, &stream).await?.unwrap_or(0) }))
}

/// `POST /api/v1/taps/{stream}/facts`
pub async fn facts(Parted(stream): Parted<String>, sent: Sent) -> Result<Response, Problem> {
    check(&stream)?;
    sent.tells(|door, body| async move {
        let parcel = tokio::task::spawn_blocking(move || read(&body)).await.map_err(|_| Problem::ours())??;
        let mut names = Names::new(&door);
        names.admit(&parcel.control_plane).map_err(|reason| unfit("control_plane", reason))?;
        let new_names = std::mem::take(&mut names.new);
        let alone = door.tapping.clone().lock_owned().await;
        let has = taken(&door, &stream).await?;
        let now = door.clock.now();
        let control_plane = parcel.control_plane.clone();
        let about = parcel.about.as_ref().map(ToString::to_string);
        door.sources.taps().hear(&stream, &control_plane, now, parcel.figures, about);
        let is_heard = door.control_planes.listens(&control_plane, Source::Tap);
        let end = parcel.first + parcel.told.len() as u64;
        let facts = arrived(parcel, has, is_heard, now);
        let next = end.max(has.unwrap_or(0));
        let mut told = Told::new(facts, &Has { next })?;
        if next > has.unwrap_or(0) {
            let at = now;
            told.taken = vec![Taken {
                first_digest: name(&stream),
                control_plane,
                lines: next,
                prefix_digest: name(&stream),
                at,
            }];
        }
        told.reports = told.facts.iter().filter(|fact| matches!(fact.what, What::Report(_))).count();
        told.new_names = new_names;
        told.alone = Some(alone);
        Ok(told)
    })
    .await
}

/// The facts that are new, by our clock: each as old as the tap says.
fn arrived(parcel: Parcel, has: Option<u64>, is_heard: bool, now: Timestamp) -> Vec<Fact> {
    let Parcel { control_plane, first, sent_at, told, .. } = parcel;
    let at = |told: &spool::Told| now.plus(-sent_at.since(told.at).max(0)).min(now);
    let known = has.map_or(0, |next| usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX));
    let new = || told.iter().skip(known);
    let mut facts = Vec::with_capacity(told.len().saturating_sub(known) + 2);
    let began_at = new().next().map_or(now, at);
    if !is_heard {
        facts.push((began_at, began()));
    } else if has.is_some_and(|next| next < first) {
        let missing = gap(began_at, "the spool of the tap was full");
        facts.extend(missing.into_iter().map(|told| (began_at, told.what)));
    }
    facts.extend(new().map(|told| (at(told), told.what.clone())));
    // They are in the order in which they were seen, also where the tap was started anew by a clock that was set back.
    let mut latest = now;
    for (at, _) in facts.iter_mut().rev() {
        latest = latest.min(*at);
        *at = latest;
    }
    let fact =
        |(at, what)| Fact { at, recorded_at: now, control_plane: control_plane.clone(), source: Source::Tap, what };
    facts.into_iter().map(fact).collect()
}

/// Says it when the taps of a control plane are not heard any more. Ends when the service closes.
pub async fn watch(door: Door) {
    let closing = door.closing.clone();
    while closing.run_until_cancelled(tokio::time::sleep(ALIVE_EVERY)).await.is_some() {
        for control_plane in door.sources.taps().fallen_silent() {
            let now = door.clock.now();
            let why = format!("the tap was not heard for {} s", SILENT_AFTER.as_secs());
            let Some(why) = Line::from_outside(&why) else { continue };
            let what = What::Listening(Listening::Stopped(why));
            let fact = Fact { at: now, recorded_at: now, control_plane, source: Source::Tap, what };
            let control_plane = fact.control_plane.clone();
            if door.ingest.submit(vec![fact], None).await.is_err() {
                door.sources.taps().not_told(&control_plane);
            }
        }
    }
}

async fn taken(door: &Door, stream: &str) -> Result<Option<u64>, Problem> {
    Ok(door.recordings.taken(name(stream)).await?.map(|taken| taken.lines))
}

/// The name of a spool among recordings.
fn name(stream: &str) -> String {
    format!("tap:{stream}")
}

fn check(stream: &str) -> Result<(), Problem> {
    if is_stream(stream) { Ok(()) } else { Err(unfit("stream", "expected 32 hexadecimal digits".to_owned())) }
}

fn read(body: &[u8]) -> Result<Parcel, Problem> {
    let format = serde_json::from_slice::<Form>(body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is no parcel of a tap: {error}")))?;
    if format.format != FORMAT {
        let reason = format!("this server reads form {FORMAT}: tap and server are too far apart");
        return Err(unfit("format", reason));
    }
    let parcel: Parcel = serde_json::from_slice(body).map_err(|error| unfit("told", error.to_string()))?;
    if parcel.told.len() > FACTS_MAX {
        return Err(unfit("told", format!("a parcel has at most {FACTS_MAX} facts")));
    }
    if parcel.first.checked_add(FACTS_MAX as u64).is_none_or(|end| end > i64::MAX as u64) {
        return Err(unfit("first", "there are not so many facts".to_owned()));
    }
    Ok(parcel)
}

#[derive(serde::Deserialize)]
struct Form {
    format: u32,
}

fn unfit(field: &str, reason: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason).of(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_domain::time::SECOND;

    const NOW: Timestamp = Timestamp::from_ms(1_795_000_000_000);
    /// The tap's clock is an hour ahead.
    const SENT: Timestamp = NOW.plus(3_600 * SECOND);

    fn parcel(first: u64, ages_s: &[i64]) -> Parcel {
        let told = ages_s.iter().map(|age| spool::Told { at: SENT.plus(-age * SECOND), what: What::Read });
        let control_plane = "eu".parse().unwrap();
        let (told, figures, about) = (told.collect(), crate::tap::parcel::Figures::default(), None);
        Parcel { format: FORMAT, control_plane, first, sent_at: SENT, told, figures, about }
    }

    #[track_caller]
    fn check(parcel: Parcel, has: Option<u64>, is_heard: bool, expected: &[(&str, i64)]) {
        let facts = arrived(parcel, has, is_heard, NOW);
        let word = |what: &What| match what {
            What::Read => "read",
            What::Listening(Listening::Began { .. }) => "began",
            What::Listening(Listening::Stopped(_)) => "stopped",
            _ => "other",
        };
        let found: Vec<_> = facts.iter().map(|fact| (word(&fact.what), NOW.since(fact.at) / SECOND)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn facts_arrive_once_and_as_old_as_the_tap_says() {
        check(parcel(0, &[9, 5]), None, true, &[("read", 9), ("read", 5)]);
        check(parcel(0, &[9, 5]), Some(0), true, &[("read", 9), ("read", 5)]);
        check(parcel(0, &[9, 5]), Some(1), true, &[("read", 5)]);
        check(parcel(0, &[9, 5]), Some(2), true, &[]);
        check(parcel(7, &[9, 5]), Some(7), true, &[("read", 9), ("read", 5)]);
        check(parcel(0, &[-3]), None, true, &[("read", 0)]);
        // Between the first and the second, the tap was started anew by a clock that was set back an hour.
        check(parcel(0, &[-3_550, 9, 5]), None, false, &[("began", 9), ("read", 9), ("read", 9), ("read", 5)]);
    }

    #[test]
    fn a_tap_that_was_not_heard_begins_and_one_that_lost_facts_stopped() {
        check(parcel(0, &[]), None, false, &[("began", 0)]);
        check(parcel(0, &[9]), None, false, &[("began", 9), ("read", 9)]);
        check(parcel(8, &[9]), Some(7), true, &[("stopped", 9), ("began", 9), ("read", 9)]);
        check(parcel(8, &[9]), Some(7), false, &[("began", 9), ("read", 9)]);
        check(parcel(8, &[9]), None, true, &[("read", 9)]);
    }
}
