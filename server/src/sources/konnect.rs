//! What Konnect knows of a control plane's nodes, and what it expects of them, asked again and again.
//!
//! A run asks for all nodes, page by page, then for the expected hash and the expected version: so what is expected is
//! newer than what was reported, as DESIGN 5.7 wants it. Rows become reports where those of the Admin API do
//! ([`Assembler`]); what is told of the expectations is decided by [`Words`]. Konnect tells of no changes: a hash that
//! moves is DESIGN 5.4's case, where not every change reaches us.
//!
//! That the API does not answer says nothing of the control plane: its nodes are connected elsewhere. So it is never
//! told as *control plane down*.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;
use serde_json::Value;
use tidemark_domain::fact::{ConfigRef, Fact, Source, What};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::Timestamp;
use tokio::time::sleep;

use super::admin_api::{at, shown};
use super::asking::{ANSWER_MAX, Answer, Asker, PAGE_MAX, Requests, RetryAfter, Trouble, said};
use super::settings::{Access, KonnectSettings, Settings};
use super::task::fraction;
use super::{Around, Collect, Round};
use crate::clock::{Clock, stopwatch};
use crate::kong::assemble::Assembler;
use crate::kong::facts::{Fact as Seen, Observed, Place, Row};
use crate::kong::json;
use crate::kong::konnect::{self, Next, NodePage, Words};

const CONTROL_PLANES: &str = "/v2/control-planes";
/// Nodes and control planes of a page.
const SIZE: usize = 100;
/// Pages of one run: 100,000 nodes.
const PAGES_MAX: usize = 1_000;
/// The longest wait that is taken from a `Retry-After`; who asks for more is asked again after this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(900);
/// The longest wait after failures in a row, unless the interval is longer.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// A control plane that had no expected version is asked for one again after this.
const VERSION_AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// Nodes that cannot be read and are named by `check-source`.
const NAMED_MAX: usize = 10;

/// Polls one control plane of Konnect.
pub(crate) struct Poller {
    settings: Settings,
    konnect: KonnectSettings,
    asker: Asker,
    assembler: Assembler,
    words: Words,
    /// The id that was found for its name.
    found: Option<String>,
    hold: Hold,
    /// When it was said that there is no expected version.
    no_version: Option<Instant>,
}

/// Why something was not learned, and how long not to ask.
#[derive(Debug)]
struct Failure {
    trouble: Trouble,
    status: Option<u16>,
    /// As long as the API asks for.
    wait: Option<Duration>,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, status: None, wait: None }
    }
}

/// Not to be asked for a while.
#[derive(Debug, Default)]
struct Hold {
    /// From when, for how long, and in which words.
    until: Option<(Instant, Duration, String)>,
    failures: u32,
}

impl Hold {
    fn left(&self) -> Option<(Duration, &str)> {
        let (since, lasts, words) = self.until.as_ref()?;
        let left = lasts.saturating_sub(since.elapsed());
        (!left.is_zero()).then_some((left, words))
    }

    /// After a failure: as long as was asked for, else longer each time. What a retry cannot mend, as a wrong token, is
    /// tried in each interval.
    fn after(&mut self, failure: &Failure, settings: &Settings, now: Timestamp) {
        let is_busy = match failure.status {
            Some(status) => status == 429 || status >= 500,
            None => matches!(failure.trouble, Trouble::Silent(_)),
        };
        if !is_busy {
            return *self = Self::default();
        }
        self.failures = self.failures.saturating_add(1);
        let (lasts, why) = match failure.wait {
            Some(wait) => (wait.min(RETRY_AFTER_MAX), "as Konnect asked"),
            None => {
                let fraction = fraction(&format!("{} {} {}", settings.name, self.failures, now.ms()));
                (back_off(settings.interval, self.failures, fraction), "after it failed")
            }
        };
        let until = now.plus(i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX));
        self.until = Some((stopwatch(), lasts, format!("waits until {until}, {why}: {}", failure.trouble)));
    }
}

/// Twice as long after each failure, to a maximum, and of that a part between a half and the whole: who failed together
/// does not come back together.
fn back_off(interval: Duration, failures: u32, fraction: f64) -> Duration {
    let whole = interval.saturating_mul(1 << failures.saturating_sub(1).min(12)).min(BACK_OFF_MAX.max(interval));
    whole.mul_f64(0.5 + fraction / 2.0)
}

/// What a run saw of the nodes.
#[derive(Debug, Default)]
struct Nodes {
    data_planes: usize,
    others: u64,
    rejected: u64,
    /// The first that were rejected.
    named: Vec<String>,
    by_version: bool,
}

impl Poller {
    pub(crate) fn new(settings: &Settings, konnect: &KonnectSettings) -> Self {
        Self {
            settings: settings.clone(),
            konnect: konnect.clone(),
            asker: Asker::new(settings),
            assembler: Assembler::konnect(settings.control_plane.clone()),
            words: Words::default(),
            found: None,
            hold: Hold::default(),
            no_version: None,
        }
    }

    async fn poll(&mut self, around: &Around) -> Round {
        if let Some((left, words)) = self.hold.left() {
            if left >= self.settings.interval {
                return Round { trouble: Some(words.to_owned()), targets: 1, ..Round::default() };
            }
            sleep(left).await;
        }
        let api = match Api::ready(&mut self.asker, &self.settings.access, &self.konnect).await {
            Ok(api) => api,
            Err(trouble) => return Round::failed(&trouble),
        };
        let mut round = Round { targets: 1, ..Round::default() };
        match self.look(&api, around, &mut round).await {
            Ok(()) => self.hold = Hold::default(),
            Err(failure) => {
                // Another may have its name now.
                if failure.status == Some(404) {
                    self.found = None;
                }
                round.is_ours = failure.trouble.is_ours();
                round.troubles += 1;
                round.trouble = Some(failure.trouble.to_string());
                self.hold.after(&failure, &self.settings, around.clock.now());
            }
        }
        round
    }

    async fn look(&mut self, api: &Api, around: &Around, round: &mut Round) -> Result<(), Failure> {
        let id = match &self.found {
            Some(id) => id.clone(),
            None => self.found.insert(api.find(&around.clock).await?).clone(),
        };
        let endpoint: Arc<str> = shown(&api.base).into();
        let (assembler, clock, facts) = (&mut self.assembler, &around.clock, &mut round.facts);
        let nodes = api.nodes(&id, &around.clock, |page, is_last, date_ms| {
            around.note_answer(&endpoint);
            let at_ms = clock.now().ms();
            let rows = u32::try_from(page.rows.len()).unwrap_or(u32::MAX);
            let read = is_last.then_some(Seen::TableRead { rows, next: None, date_ms });
            for fact in page.rows.into_iter().map(|row| Seen::Row(Box::new(row))).chain(read) {
                let place = Place::Endpoint(Arc::clone(&endpoint));
                facts.extend(assembler.take(&Observed { at_ms, place, node: None, fact }));
            }
        });
        let nodes = nodes.await?;
        round.heard = true;
        round.answered = 1;
        round.troubles += nodes.rejected;
        round.trouble = nodes.named.first().cloned();
        round.about = Some(nodes.sentence(&id));

        let hash = api.expected(&id, "expected-config-hash", konnect::expected_hash, &around.clock).await?;
        let at = around.clock.now();
        let version = self.version(api, &id, &around.clock).await;
        let known = version.as_ref().ok().cloned().flatten();
        let words = self.words.of_run(hash, known, nodes.by_version);
        let whats: Vec<What> = match words.is_empty() {
            true => vec![What::Read],
            false => words.into_iter().map(|word| What::Word(Box::new(word))).collect(),
        };
        round.facts.extend(whats.into_iter().map(|what| self.fact(at, what)));
        version.map(|_| ())
    }

    /// The expected version, where there is one.
    async fn version(&mut self, api: &Api, id: &str, clock: &Clock) -> Result<Option<ConfigRef>, Failure> {
        if self.no_version.is_some_and(|since| since.elapsed() < VERSION_AGAIN_AFTER) {
            return Ok(None);
        }
        match api.expected(id, "expected-config-version", konnect::expected_version, clock).await {
            Err(failure) if failure.status == Some(404) => {
                self.no_version = Some(stopwatch());
                Ok(None)
            }
            other => {
                self.no_version = None;
                other
            }
        }
    }

    fn fact(&self, at: Timestamp, what: What) -> Fact {
        let control_plane = self.settings.control_plane.clone();
        Fact { at, recorded_at: at, control_plane, source: Source::Konnect, what }
    }
}

impl Collect for Poller {
    fn run<'a>(&'a mut self, around: &'a Around) -> BoxFuture<'a, Round> {
        self.poll(around).boxed()
    }

    fn forget(&mut self) {
        self.assembler = Assembler::konnect(self.settings.control_plane.clone());
        self.words = Words::default();
    }
}

impl Nodes {
    fn add(&mut self, page: &NodePage) {
        self.data_planes += page.rows.len();
        self.others += u64::from(page.others);
        self.rejected += page.rejected.len() as u64;
        let room = NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(page.rejected.iter().take(room).map(ToString::to_string));
        self.by_version |= page.rows.iter().any(|row| row.hash.is_some_and(|hash| hash.is_token()));
    }

    /// `control plane 9524…: 12 data planes; left out: 1 of another type, 0 unreadable`.
    fn sentence(&self, id: &str) -> String {
        let Self { data_planes, others, rejected, .. } = self;
        format!(
            "control plane {id}: {data_planes} data planes; left out: {others} of another type, {rejected} unreadable"
        )
    }
}

/// Konnect's API with a token, of one control plane.
struct Api {
    requests: Requests,
    base: Url,
    konnect_control_plane: String,
    /// Where the token is from.
    token: String,
}

impl Api {
    async fn ready(asker: &mut Asker, access: &Access, konnect: &KonnectSettings) -> Result<Self, Trouble> {
        let token = match (&access.token_file, &access.token_env) {
            (Some(path), _) => format!("token_file {}", path.display()),
            (None, Some(variable)) => format!("token_env {variable}"),
            (None, None) => return Err(Trouble::Ours("there is no token: set token_file or token_env".to_owned())),
        };
        let requests = asker.ready().await?;
        let base = konnect.at.url().ok_or_else(|| Trouble::Ours("the region is no part of an address".to_owned()))?;
        Ok(Self { requests, base, konnect_control_plane: konnect.konnect_control_plane.clone(), token })
    }

    /// An answer of 200, of which `read` understands the body.
    async fn ask<T>(
        &self,
        url: &Url,
        most: usize,
        clock: &Clock,
        read: impl FnOnce(&Answer) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let path = url.path().rsplit('/').next().unwrap_or_default().to_owned();
        let refused = |words: String| Trouble::Refused(self.requests.hidden(&format!("{path}: {words}")));
        let answer = self.requests.get(url, most).await.map_err(|trouble| match trouble {
            Trouble::Refused(words) => refused(words),
            Trouble::Ours(_) | Trouble::Silent(_) => trouble,
        })?;
        if answer.status == 200 {
            return read(&answer).map_err(|words| refused(words).into());
        }
        let now_ms = answer.date_ms.unwrap_or_else(|| clock.now().ms());
        let asked = matches!(answer.status, 429 | 503).then_some(answer.retry_after).flatten();
        let wait = asked.map(|wait: RetryAfter| wait.since(now_ms));
        let problem = json::parse(&answer.body).ok().as_ref().and_then(konnect::problem);
        let trouble = refused(self.refusal(answer.status, problem.as_deref()));
        Err(Failure { trouble, status: Some(answer.status), wait })
    }

    fn refusal(&self, status: u16, problem: Option<&str>) -> String {
        let Self { token, .. } = self;
        let needed = match status {
            401 => {
                format!("; {token} is to hold a token that is valid: a personal (kpat_) or a system account's (spat_)")
            }
            403 => format!("; the token of {token} needs a role that may view the control plane and its nodes"),
            _ => String::new(),
        };
        let said = match status {
            // Konnect knows no certificates here.
            401 => "answered 401: the token is wrong or has expired".to_owned(),
            403 => "answered 403: the token may not read this".to_owned(),
            other => return format!("{}{needed}", said(other, problem)),
        };
        let problem =
            problem.map_or(String::new(), |problem| format!(" ({})", problem.chars().take(200).collect::<String>()));
        format!("{said}{problem}{needed}")
    }

    /// The id of the control plane: its own, or that of the only one of its name.
    async fn find(&self, clock: &Clock) -> Result<String, Failure> {
        let name = self.konnect_control_plane.as_str();
        if uuid::Uuid::try_parse(name).is_ok() {
            return Ok(name.to_owned());
        }
        let mut ids: Vec<String> = Vec::new();
        let mut items = 0;
        for number in 1..=PAGES_MAX {
            let mut url = at(&self.base, CONTROL_PLANES);
            // Names are compared here too: a filter that is not known is ignored.
            url.query_pairs_mut()
                .append_pair("page[size]", &SIZE.to_string())
                .append_pair("page[number]", &number.to_string())
                .append_pair("filter[name][eq]", name);
            let read = |answer: &Answer| konnect::control_planes(&body(answer)?);
            let page = self.ask(&url, PAGE_MAX, clock, read).await?;
            items += page.items;
            ids.extend(page.found.into_iter().filter(|(_, found)| found == name).map(|(id, _)| id));
            let is_last = page.total.map_or(page.items < SIZE, |total| items as u64 >= total);
            if is_last || page.items == 0 {
                break;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let refused = |words: String| Err(Trouble::Refused(words).into());
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            [] => refused(format!("no control plane that this token may see is called {name:?}")),
            [first, second, ..] => {
                let count = ids.len();
                refused(format!("{count} control planes are called {name:?}, as {first} and {second}: set an id"))
            }
        }
    }

    /// Reads all nodes, page by page.
    async fn nodes(
        &self,
        id: &str,
        clock: &Clock,
        mut each: impl FnMut(NodePage, bool, Option<i64>),
    ) -> Result<Nodes, Failure> {
        let mut nodes = Nodes::default();
        let mut next: Option<Next> = None;
        for _ in 0..PAGES_MAX {
            let mut url = at(&self.base, &format!("{CONTROL_PLANES}/{id}/nodes"));
            url.query_pairs_mut().append_pair("page[size]", &SIZE.to_string());
            match &next {
                Some(Next::After(cursor)) => _ = url.query_pairs_mut().append_pair("page[after]", cursor),
                Some(Next::Number(number)) => {
                    _ = url.query_pairs_mut().append_pair("page[number]", &number.to_string());
                }
                None => {}
            }
            let read = |answer: &Answer| {
                let page = konnect::node_page(&body(answer)?, answer.date_ms)?;
                Ok((page, answer.date_ms))
            };
            let (mut page, date_ms) = self.ask(&url, PAGE_MAX, clock, read).await?;
            let after = page.next.take().map(|next| match next {
                Next::After(cursor) => Next::After(word_in(&cursor)),
                Next::Number(number) => Next::Number(number),
            });
            nodes.add(&page);
            each(page, after.is_none(), date_ms);
            if after.is_none() {
                return Ok(nodes);
            }
            if after == next {
                return Err(Trouble::Refused("the pages of nodes go round in a circle".to_owned()).into());
            }
            next = after;
        }
        Err(Trouble::Refused(format!("there are more than {PAGES_MAX} pages of nodes")).into())
    }

    async fn expected(
        &self,
        id: &str,
        path: &str,
        read: impl FnOnce(&Value) -> Result<Option<ConfigRef>, String>,
        clock: &Clock,
    ) -> Result<Option<ConfigRef>, Failure> {
        let url = at(&self.base, &format!("{CONTROL_PLANES}/{id}/{path}"));
        self.ask(&url, ANSWER_MAX, clock, |answer| read(&body(answer)?)).await
    }
}

fn body(answer: &Answer) -> Result<Value, String> {
    json::parse(&answer.body).map_err(|why| format!("the answer is not JSON: {why}"))
}

/// The word for the next page, also where the API gives an address with it: whom to ask is ours to say.
fn word_in(next: &str) -> String {
    let after = |query| {
        let mut url = Url::parse("http://next").ok()?;
        url.set_query(Some(query));
        let after = url.query_pairs().find(|(key, _)| key == "page[after]")?.1.into_owned();
        Some(after)
    };
    next.split_once('?').and_then(|(_, query)| after(query)).unwrap_or_else(|| next.to_owned())
}

/// Asks for everything once, and says what works.
pub(crate) async fn check(settings: &Settings, konnect: &KonnectSettings, say: &mut dyn FnMut(bool, String)) {
    let mut asker = Asker::new(settings);
    let api = match Api::ready(&mut asker, &settings.access, konnect).await {
        Ok(api) => api,
        Err(trouble) => return say(false, trouble.to_string()),
    };
    let (name, clock) = (shown(&api.base), Clock::machine());
    let wrong = |failure: Failure| format!("{name}: {}", failure.trouble);
    say(
        true,
        match (api.requests.token_begins_with("kpat_"), api.requests.token_begins_with("spat_")) {
            (true, _) => "the token is a person's (kpat_)".to_owned(),
            (_, true) => "the token is a system account's (spat_)".to_owned(),
            (false, false) => "the token begins with neither kpat_ nor spat_, as Konnect's do; it is tried".to_owned(),
        },
    );
    let id = match api.find(&clock).await {
        Ok(id) => id,
        Err(failure) => return say(false, wrong(failure)),
    };
    let (mut empty, mut newest): (usize, Option<i64>) = (0, None);
    let nodes = api.nodes(&id, &clock, |page, _, _| {
        let is_empty = |row: &&Row| row.hash.is_none_or(|hash: ConfigHash| hash.is_zeros());
        empty += page.rows.iter().filter(is_empty).count();
        newest = newest.max(page.rows.iter().filter_map(|row| row.last_seen_s).max());
    });
    match nodes.await {
        Ok(nodes) => {
            let newest = newest.map_or(String::new(), |at| {
                format!("; the newest sign is of {}", Timestamp::from_ms(at.saturating_mul(1_000)))
            });
            say(true, format!("{name}: {}; {empty} without a configuration{newest}", nodes.sentence(&id)));
            for rejected in nodes.named {
                say(false, format!("{name}: {rejected}"));
            }
        }
        Err(failure) => say(false, wrong(failure)),
    }
    match api.expected(&id, "expected-config-hash", konnect::expected_hash, &clock).await {
        Ok(Some(hash)) => say(true, format!("{name}: expects the hash {hash}")),
        Ok(None) => say(true, format!("{name}: expects no hash yet")),
        Err(failure) => say(false, wrong(failure)),
    }
    match api.expected(&id, "expected-config-version", konnect::expected_version, &clock).await {
        Ok(Some(version)) => say(true, format!("{name}: expects the version {version} of nodes that sync by deltas")),
        Ok(None) => say(true, format!("{name}: expects no version yet")),
        Err(failure) if failure.status == Some(404) => say(true, format!("{name}: does not offer an expected version")),
        Err(failure) => say(false, wrong(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_is_taken_from_an_answer() {
        #[track_caller]
        fn check(next: &str, expected: &str) {
            assert_eq!(word_in(next), expected);
        }
        check("ewogICJpZCI6", "ewogICJpZCI6");
        check("/v2/control-planes/x/nodes?page%5Bafter%5D=a%2Fb&page[size]=1", "a/b");
        check("http://elsewhere/?page[after]=c", "c");
        check("a?b", "a?b");
    }

    #[test]
    fn a_wait_doubles_to_its_maximum_and_is_never_less_than_half_of_it() {
        #[track_caller]
        fn check(interval_s: u64, failures: u32, least_s: u64, most_s: u64) {
            let interval = Duration::from_secs(interval_s);
            assert_eq!(back_off(interval, failures, 0.0), Duration::from_secs(least_s));
            assert_eq!(back_off(interval, failures, 1.0), Duration::from_secs(most_s));
        }
        check(30, 1, 15, 30);
        check(30, 2, 30, 60);
        check(30, 4, 120, 240);
        check(30, 5, 150, 300);
        check(30, u32::MAX, 150, 300);
        check(3_600, 9, 1_800, 3_600);
    }
}
