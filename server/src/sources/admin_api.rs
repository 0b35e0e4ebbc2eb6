//! What a control plane's Admin API knows of its nodes, asked again and again: the table of nodes, page by page, and in a
//! sentence what kind of process answers.
//!
//! Rows are no reports: which of them moved, when, and how uncertain that is, is decided where recordings are read too
//! ([`Assembler`], DESIGN 5.8). All replicas of a control plane show one table, so the first address that answers is
//! enough.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;
use tidemark_domain::fact::Fact;
use tidemark_domain::id::CpName;

use super::asking::{Answer, Asker, PAGE_MAX, Requests, Trouble, said};
use super::settings::Settings;
use super::task::LATE_AFTER;
use super::{Around, Collect, Round};
use crate::clock::Clock;
use crate::kong::admin::ROWS_MAX;
use crate::kong::assemble::Assembler;
use crate::kong::exchange;
use crate::kong::facts::{Fact as Seen, Observed, Place};

const TABLE: &str = "/clustering/data-planes";
/// Rows of a page: the most that Kong gives.
const SIZE: usize = 1_000;
/// Pages of one run; a control plane that has more is not Kong.
const PAGES_MAX: usize = ROWS_MAX / SIZE;

/// Polls one control plane.
pub(crate) struct Poller {
    settings: Settings,
    urls: Vec<Url>,
    asker: Asker,
    assembler: Assembler,
}

impl Poller {
    pub(crate) fn new(settings: &Settings, urls: &[Url]) -> Self {
        Self {
            settings: settings.clone(),
            urls: urls.to_vec(),
            asker: Asker::new(settings),
            assembler: Assembler::new(settings.control_plane.clone()),
        }
    }

    async fn poll(&mut self, around: &Around) -> Round {
        let requests = match self.asker.ready().await {
            Ok(requests) => requests,
            Err(trouble) => return Round::failed(&trouble),
        };
        let mut round = Round { targets: u32::try_from(self.urls.len()).unwrap_or(u32::MAX), ..Round::default() };
        let mut silent = Vec::new();
        let mut is_ours = true;
        for url in &self.urls {
            let endpoint = endpoint(url);
            let table = read_table(&requests, url, |answer| {
                around.note_answer(&endpoint);
                observe(&mut self.assembler, &around.clock, &endpoint, answer, &mut round.facts);
            });
            match table.await {
                Ok(_) => {
                    round.heard = true;
                    round.answered = 1;
                    round.about = about(&requests, url).await.ok();
                    return round;
                }
                Err(trouble) => {
                    round.troubles += 1;
                    round
                        .trouble
                        .get_or_insert_with(|| format!("{} {}", shown(url), requests.hidden(&trouble.to_string())));
                    is_ours &= trouble.is_ours();
                    if matches!(trouble, Trouble::Silent(_)) {
                        silent.push((endpoint, trouble));
                    }
                }
            }
        }
        round.is_ours = is_ours;
        if silent.len() == self.urls.len() {
            round.facts.extend(self.down(around, &silent));
        }
        round
    }

    /// Nobody answers at any address of the control plane: that is a fact about it if somebody else can be reached from
    /// here, and about nobody otherwise (DESIGN 5.9).
    fn down(&mut self, around: &Around, silent: &[(Arc<str>, Trouble)]) -> Vec<Fact> {
        let endpoints: Vec<Arc<str>> = silent.iter().map(|(endpoint, _)| Arc::clone(endpoint)).collect();
        if !around.others_answer(&endpoints, LATE_AFTER * self.settings.interval) {
            return Vec::new();
        }
        let seen = |(endpoint, trouble): &(Arc<str>, Trouble)| {
            let fact = Seen::Unreachable { path: TABLE.to_owned(), error: trouble.to_string() };
            let place = Place::Endpoint(Arc::clone(endpoint));
            Observed { at_ms: around.clock.now().ms(), place, node: None, fact }
        };
        silent.iter().flat_map(|one| self.assembler.take(&seen(one))).collect()
    }
}

impl Collect for Poller {
    fn run<'a>(&'a mut self, around: &'a Around) -> BoxFuture<'a, Round> {
        self.poll(around).boxed()
    }

    fn forget(&mut self) {
        let control_plane: CpName = self.settings.control_plane.clone();
        self.assembler = Assembler::new(control_plane);
    }
}

/// One page as it was answered, with what it says.
struct PageRead {
    date_ms: Option<i64>,
    seen: Vec<(Option<Arc<str>>, Seen)>,
    is_last: bool,
}

/// What a page tells of nodes. That the table was read is told once, with its last page.
fn observe(assembler: &mut Assembler, clock: &Clock, endpoint: &Arc<str>, page: PageRead, facts: &mut Vec<Fact>) {
    let at_ms = clock.now().ms();
    for (node, fact) in page.seen {
        let fact = match fact {
            Seen::TableRead { .. } if !page.is_last => continue,
            Seen::TableRead { rows, next, .. } => Seen::TableRead { rows, next, date_ms: page.date_ms },
            other => other,
        };
        let place = Place::Endpoint(Arc::clone(endpoint));
        facts.extend(assembler.take(&Observed { at_ms, place, node, fact }));
    }
}

/// Reads the table to its end, page by page; how many rows it has.
async fn read_table(requests: &Requests, base: &Url, mut each: impl FnMut(PageRead)) -> Result<usize, Trouble> {
    let mut offset: Option<String> = None;
    let mut rows = 0;
    for _ in 0..PAGES_MAX {
        let mut url = at(base, TABLE);
        url.query_pairs_mut().append_pair("size", &SIZE.to_string());
        if let Some(offset) = &offset {
            url.query_pairs_mut().append_pair("offset", offset);
        }
        let answer = requests.get(&url, PAGE_MAX).await?;
        let seen = table(&answer)?;
        let next = seen.iter().find_map(|(_, fact)| match fact {
            Seen::TableRead { next, .. } => next.clone(),
            _ => None,
        });
        rows += seen.iter().filter(|(_, fact)| matches!(fact, Seen::Row(_))).count();
        let next =
            next.map(|next| offset_of(&next).ok_or_else(|| Trouble::Refused("the next page has no offset".into())));
        let next = next.transpose()?;
        each(PageRead { date_ms: answer.date_ms, seen, is_last: next.is_none() });
        match next {
            None => return Ok(rows),
            Some(same) if offset.as_ref() == Some(&same) => {
                return Err(Trouble::Refused("the table goes round in a circle".into()));
            }
            Some(_) if rows >= ROWS_MAX => break,
            Some(next) => offset = Some(next),
        }
    }
    Err(Trouble::Refused(format!("the table has more than {PAGES_MAX} pages or {ROWS_MAX} rows")))
}

/// The rows of an answer.
fn table(answer: &Answer) -> Result<Vec<(Option<Arc<str>>, Seen)>, Trouble> {
    let body = answer.json()?;
    let seen = exchange::answer(TABLE, answer.status, answer.date_ms, &body);
    match seen.first() {
        Some((_, Seen::Declined { status: 200, .. })) => {
            Err(Trouble::Refused("the answer is not Kong's table of nodes".into()))
        }
        Some((_, Seen::Declined { status, message, .. })) => Err(Trouble::Refused(said(*status, message.as_deref()))),
        _ => Ok(seen),
    }
}

/// `/clustering/data-planes?offset=X&size=1000` is `X`. Only that is taken from the answer: where to ask is ours to say.
fn offset_of(next: &str) -> Option<String> {
    let url = Url::parse("http://next").ok()?.join(next).ok()?;
    url.query_pairs().find(|(key, _)| key == "offset").map(|(_, value)| value.into_owned())
}

/// A path below an address.
pub(crate) fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url
}

/// An address by what people know it by.
pub(crate) fn shown(url: &Url) -> String {
    at(url, "").as_str().trim_end_matches('/').to_owned()
}

fn endpoint(url: &Url) -> Arc<str> {
    shown(url).into()
}

/// Which process answers, in a sentence: `Kong 3.9.3 community, control_plane, database reachable`.
async fn about(requests: &Requests, base: &Url) -> Result<String, Trouble> {
    let ask = async |path: &str| -> Result<Option<Seen>, Trouble> {
        let answer = requests.get(&at(base, path), PAGE_MAX).await?;
        let seen = exchange::answer(path, answer.status, answer.date_ms, &answer.json()?);
        Ok(seen.into_iter().next().map(|(_, fact)| fact))
    };
    let mut words = Vec::new();
    if let Some(Seen::Process(process)) = ask("/").await? {
        let parts = [process.gateway_version.as_deref(), process.edition.as_deref()];
        words.push(format!("Kong {}", parts.into_iter().flatten().collect::<Vec<_>>().join(" ")));
        words.extend(process.role.map(|role| role.replace('_', " ")));
    }
    if let Some(Seen::Status(status)) = ask("/status").await? {
        words.extend(status.database_reachable.map(|reachable| match reachable {
            true => "database reachable".to_owned(),
            false => "database not reachable".to_owned(),
        }));
    }
    Ok(words.join(", "))
}

/// Asks each address once, and says what works.
pub(crate) async fn check(settings: &Settings, urls: &[Url], say: &mut dyn FnMut(bool, String)) {
    let requests = match Asker::new(settings).ready().await {
        Ok(requests) => requests,
        Err(trouble) => return say(false, trouble.to_string()),
    };
    for url in urls {
        let name = shown(url);
        let mut empty = 0;
        let mut moved: Option<i64> = None;
        let table = read_table(&requests, url, |page| {
            for (_, fact) in page.seen {
                if let Seen::Row(row) = fact {
                    empty += u32::from(row.hash.is_none_or(|hash| hash.is_zeros()));
                    moved = moved.max(row.last_seen_s);
                }
            }
        });
        match table.await {
            Ok(0) => say(true, format!("{name}: the table of nodes can be read; it has no rows yet")),
            Ok(rows) => {
                let moved = moved.map_or(String::new(), |at| {
                    let at = tidemark_domain::time::Timestamp::from_ms(at.saturating_mul(1_000));
                    format!(", the newest of {at}")
                });
                say(
                    true,
                    format!(
                        "{name}: the table of nodes can be read: {rows} rows{moved}, {empty} without a configuration"
                    ),
                );
            }
            Err(trouble) => {
                say(false, format!("{name}: {TABLE}: {}", requests.hidden(&trouble.to_string())));
                if trouble.is_ours() || matches!(trouble, Trouble::Silent(_)) {
                    continue;
                }
            }
        }
        match about(&requests, url).await {
            Ok(words) if !words.is_empty() => say(true, format!("{name}: is {words}")),
            Ok(_) => say(false, format!("{name}: does not say what it is; is it Kong's Admin API?")),
            Err(trouble) => say(false, format!("{name}: / or /status: {}", requests.hidden(&trouble.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_offset_is_taken_from_an_answer() {
        #[track_caller]
        fn check(next: &str, expected: Option<&str>) {
            assert_eq!(offset_of(next).as_deref(), expected, "{next}");
        }
        check("/clustering/data-planes?offset=WyI1Il0&size=1000", Some("WyI1Il0"));
        check("http://elsewhere/steal?offset=a%2Fb", Some("a/b"));
        check("/clustering/data-planes", None);
        check("http://[", None);
    }

    #[test]
    fn a_path_stands_below_its_address() {
        #[track_caller]
        fn check(base: &str, expected: &str) {
            assert_eq!(at(&base.parse().unwrap(), "/status").as_str(), expected);
        }
        check("http://cp:8001", "http://cp:8001/status");
        check("https://cp/admin/", "https://cp/admin/status");
        check("https://cp/admin?x=1", "https://cp/admin/status");
        assert_eq!(shown(&"https://cp/admin/?x=1".parse().unwrap()), "https://cp/admin");
        assert_eq!(shown(&"http://cp:8001".parse().unwrap()), "http://cp:8001");
    }
}
