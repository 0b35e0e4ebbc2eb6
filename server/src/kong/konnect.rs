//! What Konnect's API says of a control plane and its nodes (`kong-hybrid.md` 6), from published shapes alone.
//!
//! A node with a field of a wrong type is left out and named; the others of its page are kept. Fields that are not
//! known are ignored. What is expected of nodes is said twice, by hash and by version: [`Words`] says what follows.

use super::facts::{Row, SyncStatus};
use super::text::{MESSAGE_MAX, NAME_MAX, clip, elements};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use tidemark_domain::fact::{ConfigRef, Protocol, Said, Scope, Word};
use tidemark_domain::hash::{ConfigHash, HashKind};
use tidemark_domain::id::{NodeId, Token};

/// Nodes and control planes of one page; the poller asks for a tenth of this.
pub const ITEMS_MAX: usize = 1_000;
/// Characters of the word for the next page.
const CURSOR_MAX: usize = 4_096;
/// The type of a data plane among the nodes.
const DATA_PLANE: &str = "kong-proxy";
/// Seconds of the last moment of the year 9999: a later one is none.
const SECONDS_END: i64 = 253_402_300_800;

/// One page of a control plane's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePage {
    /// Data planes.
    pub rows: Vec<Row>,
    /// Nodes that are no data planes, as an ingress controller.
    pub others: u32,
    /// Data planes that cannot be read.
    pub rejected: Vec<Rejected>,
    /// Where the next page is; `None` on the last one.
    pub next: Option<Next>,
}

/// A node that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its id, or its place in the page.
    pub who: String,
    /// Which field, and what is wrong with it.
    pub why: String,
}

/// `node 5a7b: last_ping is no whole number`.
impl fmt::Display for Rejected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "node {}: {}", self.who, self.why)
    }
}

/// Where the next page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// After an item, by the API's word for it, or by an address with that word in it.
    After(String),
    /// By its number, as the API had it before.
    Number(u64),
}

/// One page of control planes: ids with names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlanes {
    /// Those that have both.
    pub found: Vec<(String, String)>,
    /// All items of the page.
    pub items: usize,
    /// Control planes of all pages, as the API says.
    pub total: Option<u64>,
}

/// Reads a page of `…/nodes`, answered at a moment of Konnect's clock.
///
/// # Errors
/// What is wrong with the page as a whole, for people.
pub fn node_page(body: &Value, date_ms: Option<i64>) -> Result<NodePage, String> {
    let fields = body.as_object().ok_or("the answer is not Konnect's page of nodes")?;
    let items = match fields.get("items") {
        Some(Value::Array(items)) if items.len() > ITEMS_MAX => {
            return Err(format!("the page has more than {ITEMS_MAX} nodes"));
        }
        Some(Value::Array(items)) => items.as_slice(),
        // What is empty may be left out.
        Some(Value::Null) | None if fields.contains_key("page") => &[],
        _ => return Err("the answer is not Konnect's page of nodes".to_owned()),
    };
    let mut page = NodePage { next: next(fields.get("page"))?, ..NodePage::default() };
    for (place, item) in items.iter().enumerate() {
        match node(item, date_ms) {
            Ok(Some(row)) => page.rows.push(row),
            Ok(None) => page.others += 1,
            Err(why) => page.rejected.push(Rejected { who: who(item, place), why }),
        }
    }
    Ok(page)
}

fn who(item: &Value, place: usize) -> String {
    let id = item.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    id.map_or_else(|| format!("{} of its page", place + 1), |id| clip(id, 64))
}

/// A node as a row; `None` where it is no data plane.
fn node(item: &Value, date_ms: Option<i64>) -> Result<Option<Row>, String> {
    let fields = item.as_object().ok_or("it is no object")?;
    let node_type = text(fields, "type")?;
    if node_type.is_some_and(|node_type| node_type != DATA_PLANE) {
        return Ok(None);
    }
    let node_id = text(fields, "id")?.ok_or("it has no id")?;
    if node_id.parse::<NodeId>().is_err() {
        return Err("id is not 1-128 of [A-Za-z0-9._:-]".to_owned());
    }
    let hash = match text(fields, "config_hash")? {
        Some(hash) => Some(hash.parse::<ConfigHash>().map_err(|_| "config_hash is not 32 characters".to_owned())?),
        None => None,
    };
    Ok(Some(Row {
        node_id: node_id.to_owned(),
        hostname: text(fields, "hostname")?.map(|name| clip(name, NAME_MAX)),
        ip: None,
        gateway_version: text(fields, "version")?.map(|version| clip(version, NAME_MAX)),
        hash,
        last_seen_s: seconds(fields, "last_ping")?,
        updated_at_s: seconds(fields, "updated_at")?,
        sync_status: compatibility(fields)?,
        labels: BTreeMap::new(),
        certificate_expires_s: None,
        capabilities: Vec::new(),
        ttl_s: None,
        date_ms,
    }))
}

/// A text; `None` where it is absent, null or empty.
fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, String> {
    match fields.get(key) {
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(format!("{key} is no text")),
    }
}

/// A moment; `None` where it is absent, null or 0, which is no moment at which any node lived.
fn seconds(fields: &Map<String, Value>, key: &str) -> Result<Option<i64>, String> {
    match fields.get(key) {
        Some(Value::Null) | None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(0) => Ok(None),
            Some(seconds) if (1..SECONDS_END).contains(&seconds) => Ok(Some(seconds)),
            Some(_) => Err(format!("{key} is no moment before the year 10000")),
            None => Err(format!("{key} is no whole number")),
        },
    }
}

/// What Konnect says of a node's version and plugins. `UNKNOWN` and `UNSPECIFIED` say nothing: the first is what a node
/// without a configuration has.
fn compatibility(fields: &Map<String, Value>) -> Result<Option<SyncStatus>, String> {
    let status = match fields.get("compatibility_status") {
        Some(Value::Object(status)) => status,
        Some(Value::Null) | None => return Ok(None),
        Some(_) => return Err("compatibility_status is no object".to_owned()),
    };
    let Some(state) = text(status, "state")? else { return Ok(None) };
    Ok(match state.strip_prefix("COMPATIBILITY_STATE_").unwrap_or(state) {
        "FULLY_COMPATIBLE" => Some(SyncStatus::Normal),
        "INCOMPATIBLE" => Some(SyncStatus::Incompatible { detail: reason(status) }),
        "UNKNOWN" | "UNSPECIFIED" => None,
        other => Some(SyncStatus::Other(clip(other, NAME_MAX))),
    })
}

/// The first reason: its code, and what it says.
fn reason(status: &Map<String, Value>) -> Option<String> {
    let first = elements(status, "issues").first()?;
    let parts = ["code", "description"].map(|key| first.get(key).and_then(Value::as_str));
    let words: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    (!words.is_empty()).then(|| clip(&words.join(": "), MESSAGE_MAX))
}

fn next(page: Option<&Value>) -> Result<Option<Next>, String> {
    let page = match page {
        Some(Value::Object(page)) => page,
        Some(Value::Null) | None => return Ok(None),
        Some(_) => return Err("page is no object".to_owned()),
    };
    if let Some(next) = text(page, "next").map_err(|why| format!("page.{why}"))? {
        return match next.len() {
            0..=CURSOR_MAX => Ok(Some(Next::After(next.to_owned()))),
            _ => Err(format!("page.next is longer than {CURSOR_MAX} characters")),
        };
    }
    match page.get("next_page_num") {
        Some(Value::Null) | None => Ok(None),
        Some(number) => match number.as_u64() {
            Some(0) => Ok(None),
            Some(number) => Ok(Some(Next::Number(number))),
            None => Err("page.next_page_num is no whole number".to_owned()),
        },
    }
}

/// Reads `…/expected-config-hash`; `None` where nothing is expected yet.
///
/// # Errors
/// What is wrong with it, for people.
pub fn expected_hash(body: &Value) -> Result<Option<ConfigRef>, String> {
    expected(body, "expected_hash")
}

/// Reads `…/expected-config-version`; `None` where nothing is expected yet.
///
/// # Errors
/// What is wrong with it, for people.
pub fn expected_version(body: &Value) -> Result<Option<ConfigRef>, String> {
    expected(body, "expected_config_version")
}

fn expected(body: &Value, key: &str) -> Result<Option<ConfigRef>, String> {
    let fields = body.as_object().filter(|fields| fields.contains_key(key));
    let fields = fields.ok_or_else(|| format!("the answer has no {key}"))?;
    let Some(text) = text(fields, key)? else { return Ok(None) };
    let token = text.parse::<Token>().map_err(|_| format!("{key} is no hash or version"))?;
    Ok(Some(ConfigRef::from(token)))
}

/// Reads a page of `/v2/control-planes`. Items without an id or a name are left out.
///
/// # Errors
/// What is wrong with it, for people.
pub fn control_planes(body: &Value) -> Result<ControlPlanes, String> {
    let data =
        body.get("data").and_then(Value::as_array).ok_or("the answer is not Konnect's page of control planes")?;
    if data.len() > ITEMS_MAX {
        return Err(format!("the page has more than {ITEMS_MAX} control planes"));
    }
    let found = data.iter().filter_map(|item| {
        let (id, name) = (item.get("id")?.as_str()?, item.get("name")?.as_str()?);
        is_id(id).then(|| (id.to_owned(), clip(name, NAME_MAX)))
    });
    let total = body.pointer("/meta/page/total").and_then(Value::as_u64);
    Ok(ControlPlanes { found: found.collect(), items: data.len(), total })
}

/// Whether a text can be the id of a control plane in a path.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What a problem body says: `Unauthorized: the token has expired`.
#[must_use]
pub fn problem(body: &Value) -> Option<String> {
    let parts = ["title", "detail", "message"].map(|key| body.get(key).and_then(Value::as_str));
    let words: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    (!words.is_empty()).then(|| clip(&words.join(": "), MESSAGE_MAX))
}

/// How a node syncs that repeats this: versions of delta sync are told from hashes by their characters
/// (`kong-hybrid.md` 1.11). Zeros tell nothing.
#[must_use]
pub fn protocol_of(hash: ConfigHash) -> Option<Protocol> {
    match hash.kind() {
        HashKind::Zeros => None,
        HashKind::Token | HashKind::Decimal => Some(Protocol::V2),
        HashKind::Doubled | HashKind::Md5 | HashKind::Other => Some(Protocol::V1),
    }
}

/// What Konnect expects, as words of the control plane: each is told when it moved.
///
/// Konnect has two notions side by side and does not say how they belong together (`kong-hybrid.md` 6.2). So each is
/// told to the nodes that are compared with it, the version only where a node reports one: in a fleet that does not
/// sync by deltas it would be a change that no node ever reaches. Where both are told, the version is first, so that
/// the hash beside it is how that version is rendered. A hash that stays where it was while the version moved is said to
/// render the new version once both have stood for an interval; a hash that moves alone proves nothing, and is
/// DESIGN 5.4's case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    hash: Option<ConfigRef>,
    version: Option<ConfigRef>,
    /// The version moved, and the hash did not yet.
    hash_stays: bool,
    /// What the run before saw.
    before: Option<(Option<ConfigRef>, Option<ConfigRef>)>,
}

impl Words {
    /// What is to be told of what a run saw; `by_version` where a node reports versions.
    pub fn of_run(&mut self, hash: Option<ConfigRef>, version: Option<ConfigRef>, by_version: bool) -> Vec<Word> {
        let seen = (hash.clone(), version.clone());
        let settled = self.before.replace(seen.clone()) == Some(seen);
        let version = version.filter(|_| by_version);
        let mut words = Vec::new();
        if version.is_some() && version != self.version {
            words.extend(version.clone().map(|version| word(Protocol::V2, version, None)));
            self.version.clone_from(&version);
            self.hash_stays = true;
        }
        let Some(hash) = hash else { return words };
        if self.hash.as_ref() != Some(&hash) {
            self.hash = Some(hash.clone());
            self.hash_stays = false;
            words.push(word(scope_of(&hash), hash, None));
        } else if let Some(version) = version.filter(|_| self.hash_stays && settled) {
            self.hash_stays = false;
            let token = version.as_str().parse::<Token>().ok();
            words.push(word(scope_of(&hash), hash, token));
        }
        words
    }
}

/// Who is compared with an expected hash, which may be a version by its characters.
fn scope_of(hash: &ConfigRef) -> Protocol {
    match hash {
        ConfigRef::Hash(hash) => protocol_of(*hash).unwrap_or(Protocol::V1),
        ConfigRef::Token(_) => Protocol::V1,
    }
}

fn word(protocol: Protocol, config: ConfigRef, token: Option<Token>) -> Word {
    let scope = Scope { protocol: Some(protocol), gateway: None };
    Word { replica: None, scope, said: Said::Expected { config, token } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const HASH: &str = "1f74d9c7023b53991f74d9c7023b5399";
    const VERSION: &str = "v02_0000000000000000000000000042";

    /// `kong-hybrid.md` 6.2.
    fn published() -> Value {
        json!({
            "id": "5a7b1c34-8d5e-4b7e-9e0a-0b1b6d0f9c11", "version": "3.11.0.2", "hostname": "dp-eu-1",
            "last_ping": 1_763_628_031, "type": "kong-proxy", "created_at": 1_763_000_000,
            "updated_at": 1_763_628_031, "config_hash": HASH,
            "compatibility_status": {"state": "COMPATIBILITY_STATE_FULLY_COMPATIBLE", "issues": []},
        })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut node = published();
        node[key] = value;
        node
    }

    fn page(items: &[Value]) -> NodePage {
        let body = json!({"items": items, "page": {"total_count": items.len(), "next": ""}});
        node_page(&body, Some(1_763_628_041_000)).expect("a page")
    }

    #[test]
    fn a_published_page_is_read() {
        let page = page(&[published()]);
        let [row] = page.rows.as_slice() else { panic!("{page:?}") };
        assert_eq!(row.hash.map(|hash| hash.to_string()).as_deref(), Some(HASH));
        assert_eq!((row.gateway_version.as_deref(), row.hostname.as_deref()), (Some("3.11.0.2"), Some("dp-eu-1")));
        assert_eq!(row.sync_status, Some(SyncStatus::Normal));
        assert_eq!(row.reported_at_ms(2_000_000_000_000), Some(1_999_999_990_000), "ten seconds before its receipt");
        assert_eq!((page.others, page.rejected.len(), page.next), (0, 0, None));
    }

    #[test]
    fn a_node_with_a_wrong_type_is_named_and_the_others_are_kept() {
        #[track_caller]
        fn check(key: &str, value: Value, expected: &str) {
            let page = page(&[published(), with(key, value.clone()), published()]);
            assert_eq!((page.rows.len(), page.rejected.len()), (2, 1), "{key}: {value}");
            let said = page.rejected[0].to_string();
            assert!(said.ends_with(expected), "{said}");
            assert!(said.len() < 200, "{} characters", said.len());
        }
        check("id", json!(7), "node 2 of its page: id is no text");
        check("id", json!(""), "node 2 of its page: it has no id");
        check("id", json!("a b"), "node a b: id is not 1-128 of [A-Za-z0-9._:-]");
        check("id", json!("x".repeat(10_000)), "id is not 1-128 of [A-Za-z0-9._:-]");
        check("hostname", json!(["a"]), "9c11: hostname is no text");
        check("version", json!(3.11), "version is no text");
        check("type", json!(1), "type is no text");
        check("last_ping", json!("1763628031"), "last_ping is no whole number");
        check("last_ping", json!(1.5), "last_ping is no whole number");
        check("last_ping", json!(-1), "last_ping is no moment before the year 10000");
        check("last_ping", json!(i64::MAX), "last_ping is no moment before the year 10000");
        check("config_hash", json!(HASH[1..]), "config_hash is not 32 characters");
        check("config_hash", json!({}), "config_hash is no text");
        check("compatibility_status", json!("fine"), "compatibility_status is no object");
        check("compatibility_status", json!({"state": 1}), "state is no text");
    }

    #[test]
    fn what_is_absent_empty_or_unknown_is_not_said() {
        #[track_caller]
        fn check(key: &str, value: Value) -> Row {
            let page = page(&[with(key, value)]);
            assert_eq!(page.rejected, []);
            page.rows[0].clone()
        }
        for nothing in [json!(null), json!("")] {
            assert_eq!(check("config_hash", nothing.clone()).hash, None);
            assert_eq!(check("hostname", nothing.clone()).hostname, None);
            assert_eq!(check("type", nothing).node_id.len(), 36);
        }
        assert_eq!(check("last_ping", json!(0)).last_seen_s, None);
        assert_eq!(check("config_hash", json!("0".repeat(32))).hash, Some(ConfigHash::ZEROS));
        assert!(check("data_plane_cert_id", json!({"new": [1]})).hash.is_some());
        let long = check("hostname", json!("h".repeat(10_000))).hostname.expect("a name");
        assert!(long.len() <= NAME_MAX && long.ends_with('…'));
    }

    #[test]
    fn only_incompatible_says_that_something_is_withheld() {
        #[track_caller]
        fn check(status: Value, expected: Option<SyncStatus>) {
            assert_eq!(page(&[with("compatibility_status", status)]).rows[0].sync_status, expected);
        }
        let state = |state: &str| json!({"state": format!("COMPATIBILITY_STATE_{state}")});
        check(state("UNKNOWN"), None);
        check(state("UNSPECIFIED"), None);
        check(json!({}), None);
        check(state("NEW"), Some(SyncStatus::Other("NEW".into())));
        check(state("INCOMPATIBLE"), Some(SyncStatus::Incompatible { detail: None }));
        let issues =
            json!([{"code": "P101", "severity": "error", "description": "plugin is too new"}, {"code": "P102"}]);
        let status = json!({"state": "COMPATIBILITY_STATE_INCOMPATIBLE", "issues": issues});
        check(status, Some(SyncStatus::Incompatible { detail: Some("P101: plugin is too new".into()) }));
    }

    #[test]
    fn an_ingress_controller_is_no_data_plane() {
        let controller = with("type", json!("ingress-controller"));
        let page = page(&[controller, published()]);
        assert_eq!((page.rows.len(), page.others, page.rejected.len()), (1, 1, 0));
    }

    #[test]
    fn the_next_page_is_found_in_both_forms() {
        #[track_caller]
        fn check(page: Value, expected: Result<Option<Next>, &str>) {
            let found = node_page(&json!({"items": [], "page": page}), None).map(|page| page.next);
            assert_eq!(found, expected.map_err(str::to_owned));
        }
        let after = |cursor: &str| Ok(Some(Next::After(cursor.to_owned())));
        check(json!({"total_count": 1}), Ok(None));
        check(json!({"next": null}), Ok(None));
        check(json!({"next": ""}), Ok(None));
        check(json!({"next": "ewogICJpZCI6"}), after("ewogICJpZCI6"));
        check(json!({"next": 7}), Err("page.next is no text"));
        check(json!({"next": "c".repeat(CURSOR_MAX)}), after(&"c".repeat(CURSOR_MAX)));
        check(json!({"next": "c".repeat(CURSOR_MAX + 1)}), Err("page.next is longer than 4096 characters"));
        check(json!({"next_page_num": 2}), Ok(Some(Next::Number(2))));
        check(json!({"next_page_num": 0}), Ok(None));
        check(json!({"next_page_num": -1}), Err("page.next_page_num is no whole number"));
        check(json!([]), Err("page is no object"));
        let page =
            |count: usize| node_page(&json!({"items": vec![published(); count]}), None).map(|page| page.rows.len());
        assert_eq!(page(ITEMS_MAX), Ok(ITEMS_MAX));
        assert_eq!(page(ITEMS_MAX + 1), Err("the page has more than 1000 nodes".to_owned()));
        assert!(node_page(&json!({"items": {}}), None).is_err());
        assert!(node_page(&json!({"message": "hello"}), None).is_err());
        assert!(node_page(&json!([]), None).is_err());
    }

    #[test]
    fn what_is_expected_is_a_hash_a_version_or_nothing() {
        let told = |text: &str| Ok(Some(ConfigRef::from(text.parse::<Token>().expect("a token"))));
        assert_eq!(expected_hash(&json!({"expected_hash": HASH, "created_at": 1, "updated_at": 2})), told(HASH));
        assert_eq!(expected_hash(&json!({"expected_hash": ""})), Ok(None));
        assert_eq!(expected_hash(&json!({"expected_hash": 1})), Err("expected_hash is no text".to_owned()));
        assert_eq!(expected_hash(&json!({"hash": HASH})), Err("the answer has no expected_hash".to_owned()));
        assert!(expected_hash(&json!({"expected_hash": "x".repeat(10_000)})).is_err());
        assert_eq!(expected_version(&json!({"expected_config_version": VERSION})), told(VERSION));
        assert_eq!(expected_version(&json!({"expected_config_version": "v1.123"})), told("v1.123"));
    }

    #[test]
    fn control_planes_and_problems_are_read() {
        let body = json!({
            "data": [{"id": "9524ec7d", "name": "eu", "config": {}}, {"id": "../x", "name": "bad"}, {"id": 1}],
            "meta": {"page": {"number": 1, "size": 100, "total": 3}},
        });
        let found = vec![("9524ec7d".to_owned(), "eu".to_owned())];
        assert_eq!(control_planes(&body), Ok(ControlPlanes { found, items: 3, total: Some(3) }));
        assert!(control_planes(&json!({"data": {}})).is_err());
        let body = json!({"status": 401, "title": "Unauthorized", "instance": "konnect:trace:1", "detail": "expired"});
        assert_eq!(problem(&body).as_deref(), Some("Unauthorized: expired"));
        assert_eq!(problem(&json!("<html>")), None);
    }

    /// Runs, as `hash version`, with what is told of each: `v1 a`, `v2 1`, `v1 a=1`.
    #[track_caller]
    fn tells(by_version: bool, runs: &[(&str, &str)]) {
        let mut words = Words::default();
        for (seen, expected) in runs {
            let (hash, version) = seen.split_once(' ').expect("both");
            let config = |text: &str| (text != "-").then(|| ConfigRef::Token(text.parse().expect("a token")));
            let told = words.of_run(config(hash), config(version), by_version).into_iter().map(|word| {
                let Said::Expected { config, token } = word.said else { panic!("{word:?}") };
                let token = token.map_or(String::new(), |token| format!("={}", token.as_str()));
                format!("{} {config}{token}", word.scope)
            });
            assert_eq!(told.collect::<Vec<_>>().join(", "), *expected, "{seen} of {runs:?}");
        }
    }

    #[test]
    fn a_word_is_told_when_it_moved() {
        tells(false, &[("- -", ""), ("a -", "v1 a"), ("a -", ""), ("b -", "v1 b"), ("- -", ""), ("b -", "")]);
        // Nobody reports versions.
        tells(false, &[("a 1", "v1 a"), ("a 2", ""), ("a 2", ""), ("b 2", "v1 b")]);
        // Both move at once, or within a run of each other.
        tells(
            true,
            &[("a 1", "v2 1, v1 a"), ("a 1", ""), ("b 2", "v2 2, v1 b"), ("b 3", "v2 3"), ("c 3", "v1 c"), ("c 3", "")],
        );
        // The version moved alone: the hash renders it too, once both have stood for an interval.
        tells(true, &[("a 1", "v2 1, v1 a"), ("a 2", "v2 2"), ("a 2", "v1 a=2"), ("a 2", "")]);
        // The hash moved alone: no proof of anything.
        tells(true, &[("a 1", "v2 1, v1 a"), ("b 1", "v1 b"), ("b 1", ""), ("b 1", "")]);
        tells(true, &[("- 1", "v2 1"), ("- 1", "")]);
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(text in r#"\{"(items|page|data|expected_hash)":[\[\]{}",:a-z0-9_ \\-]{0,80}"#) {
            if let Ok(body) = serde_json::from_str::<Value>(&text) {
                _ = (node_page(&body, None), expected_hash(&body), control_planes(&body), problem(&body));
            }
        }
    }
}
