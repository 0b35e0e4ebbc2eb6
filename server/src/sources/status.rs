//! What data planes say of themselves at their Status API: the hash they run, whether they can serve, when their
//! certificate ends, and what memory and connections they use.
//!
//! `/metrics` comes first in each look, as it alone says which node answers; without it the rest is of nobody. Not all
//! targets are asked at once: each has its own moment within a quarter of the interval, the same in every run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use reqwest::Url;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::admin_api::{at, shown};
use super::asking::{ANSWER_MAX, Asker, METRICS_MAX, Requests, Trouble, said};
use super::settings::{Settings, Targets};
use super::targets::Finder;
use super::task::fraction;
use super::{Around, Collect, Round};
use crate::clock::{Clock, stopwatch};
use crate::kong::assemble::Assembler;
use crate::kong::exchange;
use crate::kong::facts::{Fact as Seen, Observed, Place, Readiness};
use crate::kong::metrics::Counted;

/// Targets that are asked at once.
const AT_ONCE: usize = 32;
/// Targets are spread over this at most.
const SPREAD_MAX: Duration = Duration::from_secs(5);
/// A run ends after so many intervals, whoever was asked by then.
const TOO_LONG_AFTER: u32 = 2;
/// Nodes whose request counters are kept.
const COUNTED_MAX: usize = 10_000;
/// Targets that `check-source` asks.
const CHECKED_MAX: usize = 10;

/// Scrapes the data planes of one control plane.
pub(crate) struct Scraper {
    settings: Settings,
    finder: Finder,
    asker: Asker,
    assembler: Assembler,
    /// The request counters of each node at the last look; `None` where they are not to be counted.
    counters: Option<HashMap<String, BTreeMap<Counted, u64>>>,
}

/// What one target answered.
struct Look {
    target: Url,
    seen: Vec<Observed>,
    trouble: Option<Trouble>,
}

impl Scraper {
    pub(crate) fn new(settings: &Settings, targets: &Targets) -> Self {
        Self {
            settings: settings.clone(),
            finder: Finder::new(settings, targets),
            asker: Asker::new(settings),
            assembler: Assembler::new(settings.control_plane.clone()),
            counters: targets.request_counters.then(HashMap::new),
        }
    }

    async fn scrape(&mut self, around: &Around) -> Round {
        let requests = match self.asker.ready().await {
            Ok(requests) => requests,
            Err(trouble) => return Round::failed(&trouble),
        };
        let (targets, troubles) = self.finder.find(&requests).await;
        let mut round = Round { targets: u32::try_from(targets.len()).unwrap_or(u32::MAX), ..Round::default() };
        let mut all_ours = true;
        let wrong = |round: &mut Round, words: String| {
            round.troubles += 1;
            round.trouble.get_or_insert(requests.hidden(&words));
        };
        for trouble in &troubles {
            wrong(&mut round, trouble.to_string());
        }
        if targets.is_empty() {
            wrong(&mut round, "there are no targets".to_owned());
            return Round { is_ours: true, ..round };
        }
        let targets_count = targets.len();
        let looks = self.look_at_all(&requests, targets, &around.clock).await;
        let looked = looks.len();
        for look in looks {
            let name: Arc<str> = shown(&look.target).into();
            let left_out = self.assembler.left_out();
            if !look.seen.is_empty() {
                around.note_answer(&name);
            }
            for observed in &look.seen {
                if let Seen::Metrics(exposition) = &observed.fact
                    && let Some(node) = &exposition.node_id
                {
                    let samples = exposition.usage.samples();
                    if let Some(counters) = &mut self.counters
                        && (counters.len() < COUNTED_MAX || counters.contains_key(node))
                    {
                        let before = counters.insert(node.clone(), exposition.requests.clone());
                        let grown = grown(before.as_ref(), &exposition.requests);
                        round.requests.extend(grown.into_iter().map(|(counted, more)| (node.clone(), counted, more)));
                    }
                    round.samples.extend(samples.into_iter().map(|(name, value)| (node.clone(), name, value)));
                }
                round.facts.extend(self.assembler.take(observed));
            }
            let nameless = self.assembler.left_out() > left_out;
            round.answered += u32::from(!look.seen.is_empty() && !nameless);
            if let Some(trouble) = &look.trouble {
                all_ours &= trouble.is_ours();
                wrong(&mut round, format!("{name} {trouble}"));
            }
            if nameless {
                all_ours = false;
                wrong(&mut round, format!("{name} does not say which node it is: is it a data plane?"));
            }
        }
        let left = targets_count.saturating_sub(looked);
        if left > 0 {
            // Whoever was not asked would look silent: so this was no hearing at all.
            wrong(
                &mut round,
                format!("{left} targets could not be asked in time: interval_s is too short for so many"),
            );
        }
        round.heard = round.answered > 0 && left == 0;
        // Many that fail at once have us in common.
        round.is_ours = round.answered == 0 && (all_ours || round.targets > 1);
        round
    }

    async fn look_at_all(&self, requests: &Requests, targets: Vec<Url>, clock: &Clock) -> Vec<Look> {
        let spread = (self.settings.interval / 4).min(SPREAD_MAX);
        let mut targets: Vec<(Duration, Url)> =
            targets.into_iter().map(|url| (spread.mul_f64(fraction(url.as_str())), url)).collect();
        targets.sort();
        let began = stopwatch();
        let looks = stream::iter(targets).map(|(after, target)| async move {
            sleep(after.saturating_sub(began.elapsed())).await;
            look(requests, target, clock, self.settings.timeout).await
        });
        let enough = sleep(TOO_LONG_AFTER * self.settings.interval.max(self.settings.timeout));
        let looks = looks.buffer_unordered(AT_ONCE).take_until(enough);
        let mut looks: Vec<Look> = looks.collect().await;
        // Facts are told in the order of time.
        looks.sort_by_key(|look| look.seen.first().map(|observed| observed.at_ms));
        looks
    }
}

impl Collect for Scraper {
    fn run<'a>(&'a mut self, around: &'a Around) -> BoxFuture<'a, Round> {
        self.scrape(around).boxed()
    }

    fn forget(&mut self) {
        self.assembler = Assembler::new(self.settings.control_plane.clone());
    }
}

/// What counters grew by since the last look. Of a node that was not looked at before nothing is known: its counters tell of
/// all the time since it started. A counter that fell began anew, with its node.
fn grown(before: Option<&BTreeMap<Counted, u64>>, now: &BTreeMap<Counted, u64>) -> Vec<(Counted, u64)> {
    let Some(before) = before else { return Vec::new() };
    now.iter()
        .map(|(counted, count)| {
            let then = before.get(counted).copied().unwrap_or(0);
            (counted.clone(), count.checked_sub(then).unwrap_or(*count))
        })
        .filter(|(_, more)| *more > 0)
        .collect()
}

/// Asks one data plane; all of it within one bound of time.
async fn look(requests: &Requests, target: Url, clock: &Clock, longest: Duration) -> Look {
    let mut seen = Vec::new();
    let looking = timeout(longest, look_into(requests, &target, clock, &mut seen)).await;
    let trouble = match looking {
        Ok(looked) => looked.err(),
        Err(_) => Some(Trouble::Silent("did not answer in time".to_owned())),
    };
    Look { target, seen, trouble }
}

async fn look_into(requests: &Requests, target: &Url, clock: &Clock, seen: &mut Vec<Observed>) -> Result<(), Trouble> {
    let endpoint: Arc<str> = shown(target).into();
    let refused = |path: &str, words: String| Trouble::Refused(format!("{path}: {words}"));
    let mut take = |facts: Vec<(Option<Arc<str>>, Seen)>| {
        let at_ms = clock.now().ms();
        for (node, fact) in facts {
            seen.push(Observed { at_ms, place: Place::Endpoint(Arc::clone(&endpoint)), node, fact });
        }
    };
    let metrics = requests.get(&at(target, "/metrics"), METRICS_MAX).await?;
    if metrics.status != 200 {
        return Err(refused("/metrics", said(metrics.status, None)));
    }
    let text = String::from_utf8(metrics.body).map_err(|_| refused("/metrics", "the answer is not UTF-8".into()))?;
    take(exchange::answer("/metrics", 200, metrics.date_ms, &Value::String(text)));
    for path in ["/status", "/status/ready"] {
        let answer = requests.get(&at(target, path), ANSWER_MAX).await?;
        // Older Kongs do not have it.
        if path == "/status/ready" && answer.status == 404 {
            continue;
        }
        let body = answer.json().map_err(|trouble| refused(path, trouble.to_string()))?;
        let facts = exchange::answer(path, answer.status, answer.date_ms, &body);
        if let Some((_, Seen::Declined { status, message, .. })) = facts.first() {
            let words = match status {
                200 => "the answer is not Kong's".to_owned(),
                status => said(*status, message.as_deref()),
            };
            return Err(refused(path, words));
        }
        take(facts);
    }
    Ok(())
}

/// Asks some targets once, and says what works.
pub(crate) async fn check(settings: &Settings, targets: &Targets, say: &mut dyn FnMut(bool, String)) {
    let requests = match Asker::new(settings).ready().await {
        Ok(requests) => requests,
        Err(trouble) => return say(false, trouble.to_string()),
    };
    let (found, troubles) = Finder::new(settings, targets).find(&requests).await;
    for trouble in troubles {
        say(false, requests.hidden(&trouble.to_string()));
    }
    if found.is_empty() {
        return say(false, "there are no targets".to_owned());
    }
    let count = found.len();
    let clock = Clock::machine();
    for target in found.into_iter().take(CHECKED_MAX) {
        let look = look(&requests, target, &clock, settings.timeout).await;
        let name = shown(&look.target);
        let mut assembler = Assembler::new(settings.control_plane.clone());
        let told: usize = look.seen.iter().map(|observed| assembler.take(observed).len()).sum();
        for observed in &look.seen {
            match &observed.fact {
                Seen::Metrics(exposition) if told > 0 => {
                    let node = exposition.node_id.as_deref().unwrap_or("?");
                    let version = exposition.gateway_version.as_deref().unwrap_or("?");
                    say(true, format!("{name}: is node {node}, Kong {version}"));
                }
                Seen::Metrics(_) => {
                    say(false, format!("{name}: /metrics does not say which node it is: is it a data plane?"));
                }
                Seen::Status(status) => match status.hash {
                    Some(hash) => say(true, format!("{name}: runs {hash}")),
                    None => say(true, format!("{name}: says of no configuration that it runs it")),
                },
                Seen::Ready(Readiness::Ready) => say(true, format!("{name}: can serve")),
                Seen::Ready(_) => say(true, format!("{name}: says that it cannot serve")),
                _ => {}
            }
        }
        if let Some(trouble) = look.trouble {
            say(false, format!("{name}: {}", requests.hidden(&trouble.to_string())));
        }
    }
    if count > CHECKED_MAX {
        say(true, format!("{} more targets were not asked", count - CHECKED_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_tell_what_they_grew_by_and_a_fallen_one_all_of_it() {
        let counted = |route: &str| Counted { route: route.into(), status: 200, ..Counted::default() };
        let of = |counts: &[(&str, u64)]| -> BTreeMap<Counted, u64> {
            counts.iter().map(|(route, count)| (counted(route), *count)).collect()
        };
        #[track_caller]
        fn check(found: Vec<(Counted, u64)>, expected: &[(&str, u64)]) {
            let found: Vec<(&str, u64)> = found.iter().map(|(counted, more)| (counted.route.as_str(), *more)).collect();
            assert_eq!(found, expected);
        }
        check(grown(None, &of(&[("a", 1_000)])), &[]);
        check(grown(Some(&of(&[])), &of(&[("a", 3)])), &[("a", 3)]);
        check(grown(Some(&of(&[("a", 3), ("b", 9)])), &of(&[("a", 3), ("b", 10)])), &[("b", 1)]);
        check(grown(Some(&of(&[("a", 3)])), &of(&[("a", 2)])), &[("a", 2)]);
        check(grown(Some(&of(&[("a", 3)])), &of(&[])), &[]);
    }
}
