//! Questions and lists as they are asked for, and what holds of each of them.

use super::order::caseless;
use super::*;
use crate::id::{Labels, Line, Ordinal};
use crate::time::{DAY, HOUR, MINUTE, SECOND};
use crate::verdict::{BehindCause, ConfigState, Connectivity, CurrentBy, Gone, Missing, Overlay, Overlays};
use proptest::prelude::*;
use std::str::FromStr;

const NOW: Timestamp = Timestamp::from_ms(1_795_164_837_000);

fn made<T: FromStr>(text: &str) -> T {
    text.parse().ok().unwrap_or_else(|| panic!("a test's {text:?} is well formed"))
}

/// A node of a test; `candidate` lends it.
#[derive(Clone, Debug)]
struct Node {
    control_plane: CpName,
    id: NodeId,
    attributes: Attributes,
    verdict: Verdict,
    reported: Option<ConfigRef>,
    token: Option<Token>,
    source: Option<Source>,
    last_report_at: Option<Timestamp>,
}

impl Node {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            control_plane: &self.control_plane,
            id: &self.id,
            attributes: &self.attributes,
            verdict: &self.verdict,
            reported: self.reported.as_ref(),
            token: self.token.as_ref(),
            source: self.source,
            last_report_at: self.last_report_at,
            now: NOW,
        }
    }
}

fn ago(ms: i64) -> Timestamp {
    NOW.plus(-ms)
}

/// `eu-prod/gw-07`: connected, behind v40 by 3 changesets for 10 minutes.
fn behind() -> Node {
    let labels = [("region", "eu-west-1"), ("team", "Edge, and more"), ("empty", ""), ("a:b c", "x")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Node {
        control_plane: made("eu-prod"),
        id: made("0d8f2a6e-91c0"),
        attributes: Attributes {
            hostname: Some(made("GW-eu-west-07")),
            ip: Some(made("10.32.7.41")),
            gateway_version: Some(made("3.9.1")),
            labels: Labels::new(labels).ok(),
            ..Attributes::default()
        },
        verdict: Verdict {
            connectivity: Connectivity::Connected { since: ago(DAY) },
            config: ConfigState::Behind {
                running: Ordinal::new(40),
                behind: 3,
                since: ago(10 * MINUTE),
                cause: BehindCause::NotReached,
            },
            overlays: Overlays::NONE.with(Overlay::PollOnly),
        },
        reported: Some(ConfigRef::Hash(made("e64b0f1d0000000000000000001e4f40"))),
        token: Some(made("release-2026-40")),
        source: Some(Source::AdminApi),
        last_report_at: Some(ago(11 * SECOND)),
    }
}

fn with(mut node: Node, connectivity: Connectivity, config: ConfigState) -> Node {
    node.verdict = Verdict { connectivity, config, overlays: Overlays::NONE };
    node
}

#[test]
fn a_node_is_found_by_what_is_known_of_it() {
    #[track_caller]
    fn check(query: &str, expected: bool) {
        let query = Query::parse(query);
        assert_eq!(query.problems(), [""; 0]);
        assert_eq!(query.matches(&behind().candidate()), expected, "{query}");
    }
    check("", true);
    check("cp:eu-prod", true);
    check("cp:EU-PROD", true);
    check("cp:eu", false);
    check("-cp:eu-prod", false);
    check("cp:us-prod,eu-prod", true);
    check("gateway:3.9", true);
    check("gateway:3.9.1", true);
    check("gateway:3", true);
    check("gateway:3.9.1.0", false);
    check("gateway:3.", true);
    check("gateway:3.90", false);
    check("gateway:=3.9", false);
    check("gateway:=3.9.1", true);
    check("gateway:<3.10", true);
    check("gateway:<3.9", false);
    check("gateway:<=3.9", true);
    check("gateway:>3.9", false);
    check("gateway:>=3.9.1", true);
    check("gateway:>3.9.0", true);
    check("gateway:<4", true);
    check("config:v40", true);
    check("config:40", true);
    check("config:v41", false);
    check("config:e64b0f1d0000000000000000001e4f40", true);
    check("config:E64B0F", true);
    check("config:e64b0", false);
    check("config:e64b0f1d…1e4f40", true);
    check("config:e64b0f1d…1e4f41", false);
    check("config:release-2026-40", true);
    check("config:release", true);
    check("state:behind", true);
    check("state:current,behind", true);
    check("-state:current", true);
    check("state:out-of-sync", true);
    check("state:out_of_sync", true);
    check("state:connected", true);
    check("connection:connected", true);
    check("connection:late", false);
    check("counter:behind", true);
    check("counter:not-heard", false);
    check("state:not_heard", false);
    check("state:rolling-out", false);
    check("label.region:eu-west-1", true);
    check("label.region:eu-west", false);
    check("label.region:", false);
    check("label.empty:\"\"", true);
    check("label.team:\"Edge, and more\"", true);
    check("\"label.a:b c\":x", true);
    check("source:admin-api", true);
    check("source:push,tap", false);
    check("overlay:poll_only", true);
    check("overlay:cached", false);
    check("behind:3", true);
    check("behind:>3", false);
    check("behind:>=3", true);
    check("behind:<4", true);
    check("behind:1,>2", true);
    check("since:10m", true);
    check("since:>10m", false);
    check("since:>9m", true);
    check("since:<=600s", true);
    check("since:<1h", true);
    check("host:eu-west", true);
    check("host:=gw-eu-west-07", true);
    check("host:=gw-eu-west", false);
    check("id:0d8f", true);
    check("id:91c0", false);
    check("id:=0d8f2a6e-91c0", true);
    check("gw-eu", true);
    check("GW-EU-WEST-07", true);
    check("gw-eu…07", true);
    check("32.7.41", true);
    check("0d8f2a6e-91c0", true);
    check("edge", true);
    check("e64b0f1d0000000000000000001e4f40", true);
    check("e64b0f1d…1e4f40", true);
    check("e64b0f1d", false);
    check("release-2026-40", true);
    check("release", false);
    check("gw-eu -edge", false);
    check("\"gw eu\"", false);
    check("sort:name gw", true);
}

#[test]
fn a_word_of_state_holds_for_nodes_not_heard_and_a_counter_does_not() {
    #[track_caller]
    fn check(query: &str, node: &Node, expected: bool) {
        assert_eq!(Query::parse(query).matches(&node.candidate()), expected, "{query}");
    }
    let late = with(behind(), Connectivity::Late { since: ago(MINUTE) }, behind().verdict.config);
    check("state:behind", &late, true);
    check("state:out-of-sync", &late, true);
    check("counter:behind", &late, false);
    check("counter:not_heard", &late, true);
    check("since:>2m", &late, false);
    let gone = with(late, Connectivity::Gone { since: ago(DAY), why: Gone::Silent }, behind().verdict.config);
    check("", &gone, false);
    check("gw-eu", &gone, false);
    check("state:behind", &gone, false);
    check("-state:gone", &gone, false);
    check("state:gone", &gone, true);
    check("connection:gone,late gw-eu", &gone, true);
}

#[test]
fn what_is_not_understood_is_named_and_the_rest_works() {
    #[track_caller]
    fn check(text: &str, canonical: &str, problem: &str) {
        let query = Query::parse(text);
        assert_eq!(query.to_string(), canonical, "{text}");
        assert!(query.problems().len() == 1 && query.problems()[0].contains(problem), "{:?}", query.problems());
    }
    check("state:broken cp:eu", "cp:eu", "state:\"broken\" is not a state");
    check("connection:behind", "", "is not a connection state");
    check("counter:fine", "", "is not a counter");
    check("gateway:<x", "", "is not a gateway version");
    check("gateway:=", "", "is not a gateway version");
    check("source:radio", "", "is not a source");
    check("overlay:fog", "", "is not an overlay");
    check("behind:>many", "", "is not a number of changesets");
    check("since:>10", "", "is not a span");
    check("since:>99999999999999999999d", "", "is not a span");
    check("cp:", "", "needs a value, as in cp:eu-prod");
    check("label.:x", "", "needs a name");
    check("sort:luck", "", "is not an order");
    check("-sort:name", "", "cannot be negated");
    check("version:41", "\"version:41\"", "no search word");
    check("\"gw eu", "\"gw eu\"", "quote is not closed");
    check(&"a ".repeat(33), "a ".repeat(32).trim_end(), "first 32 terms");
    check(&format!("a {}", "b".repeat(1_024)), "a", "longer than 1,024 characters");
}

#[test]
fn an_address_with_colons_is_text() {
    #[track_caller]
    fn check(text: &str) {
        let query = Query::parse(text);
        assert!(query.problems().is_empty(), "{:?}", query.problems());
        assert_eq!(query.to_string(), format!("\"{text}\""));
    }
    check("fe80::1");
    check("::1");
    check("10.0.0.1:8443");
    check("node-1:a");
}

#[test]
fn one_question_has_one_form() {
    #[track_caller]
    fn check(text: &str, canonical: &str) {
        assert_eq!(Query::parse(text).to_string(), canonical);
        assert_eq!(Query::parse(canonical), Query { problems: Vec::new(), ..Query::parse(text) });
    }
    check("  cp:EU-prod   CONFIG:12 ", "cp:eu-prod config:v12");
    check("config:123456,0012,v7", "config:123456,0012,v7");
    check("state:Not-Heard,out_of_sync", "state:not_heard,out-of-sync");
    check("connection:late", "state:late");
    check("since:120s since:>36h since:90s", "since:>=2m since:>36h since:>=90s");
    check("behind:=3", "behind:3");
    check("sort:-name gw", "gw sort:-name");
    check("sort:name sort:worst", "");
    check("--x -", "-\"-x\" \"-\"");
    check("\"a \\\"b\\\\\"", "\"a \\\"b\\\\\"");
    check("label.Team:\"a,b\",c", "label.Team:\"a,b\",c");
}

#[test]
fn questions_are_widened_and_narrowed_by_terms() {
    let query = Query::parse("cp:eu-prod sort:name");
    let wider = query.with("label.region:\"eu west\" cp:eu-prod");
    assert_eq!(wider.to_string(), "cp:eu-prod label.region:\"eu west\" sort:name");
    assert!(wider.has("label.region:\"eu west\"") && !query.has("label.region:\"eu west\""));
    assert_eq!(wider.keys(), ["cp", "label.region"]);
    assert_eq!(wider.without("cp:eu-prod").sorted_by(Sort::Worst, false).to_string(), "label.region:\"eu west\"");
}

#[test]
fn worst_is_first_and_gone_is_last() {
    let heard = Connectivity::Connected { since: ago(DAY) };
    let current = |since| ConfigState::Current { running: Ordinal::new(41), how: CurrentBy::Version, since };
    let unknown = ConfigState::Unknown { missing: Missing::Report };
    let propagating = ConfigState::Propagating { running: None, behind: 1, since: ago(SECOND) };
    let gone = Connectivity::Gone { since: ago(DAY), why: Gone::Silent };
    let behind_by =
        |behind, since| ConfigState::Behind { running: Ordinal::new(1), behind, since, cause: BehindCause::NotReached };
    let rejected = ConfigState::Rejected { since: ago(SECOND), running: None, refused: None };
    let in_order = [
        ("h", heard, rejected),
        ("g", heard, behind_by(4, ago(SECOND))),
        ("f", heard, behind_by(3, ago(HOUR))),
        ("e", heard, behind_by(3, ago(MINUTE))),
        ("d", Connectivity::NeverSeen { since: ago(DAY) }, unknown),
        ("c", Connectivity::Disconnected { since: ago(DAY) }, current(ago(DAY))),
        ("b", Connectivity::Late { since: ago(DAY) }, current(ago(DAY))),
        ("a", heard, propagating),
        ("i", heard, current(ago(SECOND))),
        ("j", heard, current(ago(DAY))),
        ("k", gone, rejected),
    ];
    let nodes =
        in_order.map(|(id, connectivity, config)| Node { id: made(id), ..with(behind(), connectivity, config) });
    let query = Query::default();
    for pair in nodes.windows(2) {
        let (one, other) = (pair[0].candidate(), pair[1].candidate());
        assert_eq!(query.compare(&one, &other), Ordering::Less, "{} {}", one.id, other.id);
        assert_eq!(query.compare(&other, &one), Ordering::Greater);
        assert_eq!(query.compare(&one, &one), Ordering::Equal);
    }
}

#[test]
fn facets_count_and_their_terms_find_what_they_count() {
    let mut nodes = vec![behind(); 3];
    nodes[1].attributes.gateway_version = Some(made("3.9.1.2"));
    nodes[2].attributes.labels = None;
    nodes[2].source = None;
    let mut counts = FacetCounts::default();
    nodes.iter().for_each(|node| counts.add(&node.candidate()));
    let facets = counts.facets();
    let keys: Vec<_> = facets.iter().map(|facet| facet.key.as_str()).collect();
    let labels = ["label.a:b c", "label.empty", "label.region", "label.team"];
    assert_eq!(keys[..4], ["state", "connection", "cp", "gateway"]);
    assert_eq!(keys[4..8], labels);
    assert_eq!(keys[8..], ["source"]);
    for facet in &facets {
        for value in &facet.values {
            let query = Query::parse(&term(&facet.key, &value.of));
            assert!(query.problems().is_empty(), "{query}");
            let found = nodes.iter().filter(|node| query.matches(&node.candidate())).count();
            assert_eq!(found, value.nodes as usize, "{query}");
        }
    }
}

#[test]
fn facets_are_bounded_and_a_label_of_names_is_none() {
    let nodes: Vec<Node> = (0..4_097)
        .map(|number: u32| {
            let mut labels: Vec<_> = (0..9).map(|key| (format!("key-{key}"), (number % 20).to_string())).collect();
            labels.push(("pod".to_owned(), number.to_string()));
            Node { attributes: Attributes { labels: Labels::new(labels).ok(), ..Attributes::default() }, ..behind() }
        })
        .collect();
    let facets = |nodes: &[Node]| {
        let mut counts = FacetCounts::default();
        nodes.iter().for_each(|node| counts.add(&node.candidate()));
        counts.facets()
    };
    let all = facets(&nodes);
    assert!(all.iter().all(|facet| facet.values.len() <= FacetCounts::VALUES_MAX && facet.key != "label.pod"));
    assert_eq!(all.iter().filter(|facet| facet.key.starts_with("label.")).count(), FacetCounts::LABELS_MAX);
    let mut labels = nodes[..4_096].to_vec();
    labels.iter_mut().for_each(|node| {
        let pod = node.attributes.labels.as_ref().and_then(|labels| labels.get("pod")).unwrap_or("").to_owned();
        node.attributes.labels = Labels::new([("pod".to_owned(), pod)]).ok();
    });
    assert!(facets(&labels).iter().any(|facet| facet.key == "label.pod"));
}

#[test]
fn a_counter_has_a_question() {
    for counter in Counter::ALL {
        let query = Query::parse(&counter_query(counter));
        assert!(query.problems().is_empty());
        assert_eq!(query.to_string(), counter_query(counter));
    }
}

#[test]
fn a_key_that_was_changed_is_refused() {
    let query = Query::parse("sort:name");
    let node = behind();
    let key = Key { sort: Sort::Name, reversed: false, position: query.position(&node.candidate()).owned() };
    let text = key.to_string();
    assert_eq!(Key::parse(&text, &query), Ok(key));
    assert_eq!(Key::parse(&text, &Query::parse("sort:-name")), Err(NotAKey));
    assert_eq!(Key::parse(&text, &Query::default()), Err(NotAKey));
    assert_eq!(Key::parse("", &query), Err(NotAKey));
    assert_eq!(Key::parse(&format!("{text}A"), &query), Err(NotAKey));
    for cut in 0..text.len() {
        assert_eq!(Key::parse(&text[..cut], &query), Err(NotAKey));
        let mut changed = text.clone().into_bytes();
        changed[cut] = if changed[cut] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("it is ASCII");
        assert_eq!(Key::parse(&changed, &query), Err(NotAKey));
    }
}

#[test]
fn the_longest_key_fits() {
    let mut node = behind();
    node.control_plane = made(&"c".repeat(63));
    node.id = made(&"n".repeat(128));
    node.attributes.hostname = Line::from_outside(&"\u{1F30A}".repeat(256));
    let query = Query::parse("sort:-name");
    let key = Key { sort: Sort::Name, reversed: true, position: query.position(&node.candidate()).owned() };
    assert_eq!(Key::parse(&key.to_string(), &query), Ok(key));
}

fn any_query() -> impl Strategy<Value = String> {
    let words = [
        "cp:eu-prod",
        "-state:current",
        "state:behind,out-of-sync",
        "gateway:<3.10",
        "gateway:3.9,=3.9.1",
        "config:v12",
        "config:\"a b\"",
        "label.\"x y\":z",
        "label.a:",
        "since:>10m",
        "behind:>3,1",
        "host:a,=b",
        "id:x",
        "sort:-name",
        "sort:gateway",
        "counter:not-heard",
        "overlay:cached",
        "source:tap",
        "nonsense",
        "what:ever",
        "\"",
        "-",
        "\\",
        "a\"b c\"d",
        ",",
        "::1",
        "\"\"",
        "cp:,,a",
    ];
    let piece = prop_oneof![prop::sample::select(words.to_vec()).prop_map(str::to_owned), "[ -~…]{0,12}", "\\PC{0,6}"];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.join(" "))
}

fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
    let one = ("[a-c]", "[a-f]{2}", prop::option::of("[A-Ca-c]{1,2}"), 0..6_u32, 0..4_i64, 0..5_u8);
    prop::collection::vec(one, 0..60).prop_map(|rows| {
        let mut nodes: Vec<Node> = rows
            .into_iter()
            .map(|(control_plane, id, hostname, number, minutes, state)| {
                let since = ago(minutes * MINUTE);
                let heard = Connectivity::Connected { since };
                let current = ConfigState::Current { running: Ordinal::new(1), how: CurrentBy::Alias, since };
                let cause = BehindCause::Away;
                let behind_by = ConfigState::Behind { running: Ordinal::new(1), behind: number, since, cause };
                let (connectivity, config) = match state {
                    0 => (heard, current),
                    1 => (heard, behind_by),
                    2 => (Connectivity::Late { since }, current),
                    3 => (Connectivity::Disconnected { since }, behind_by),
                    _ => (Connectivity::Gone { since, why: Gone::Silent }, current),
                };
                let mut node = with(behind(), connectivity, config);
                node.control_plane = made(&control_plane);
                node.id = made(&id);
                node.attributes.hostname = hostname.map(|hostname| made(&hostname));
                node.attributes.gateway_version = (number > 0).then(|| made(&format!("3.{number}")));
                node.last_report_at = (minutes > 0).then_some(since);
                node
            })
            .collect();
        nodes.sort_by(|one, other| (&one.control_plane, &one.id).cmp(&(&other.control_plane, &other.id)));
        nodes.dedup_by(|one, other| (&one.control_plane, &one.id) == (&other.control_plane, &other.id));
        nodes
    })
}

proptest! {
    #[test]
    fn parse_and_print_agree(text in any_query()) {
        let query = Query::parse(&text);
        let printed = query.to_string();
        prop_assert!(printed.chars().count() <= Query::CHARS_MAX && query.terms.len() <= Query::TERMS_MAX);
        let again = Query::parse(&printed);
        prop_assert_eq!(again.problems(), [""; 0]);
        prop_assert_eq!(&again, &Query { problems: Vec::new(), ..query });
        prop_assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn the_short_way_to_compare_names_gives_the_same_order(one in "[A-Ca-c_-]{0,4}", other in "[A-Ca-c_-]{0,4}") {
        prop_assert_eq!(caseless(&one, &other), one.to_lowercase().cmp(&other.to_lowercase()));
    }

    #[test]
    fn no_question_panics_on_any_node(text in "\\PC{0,60}") {
        let _ = Query::parse(&text).matches(&behind().candidate());
    }

    #[test]
    fn no_key_panics(text in "[A-Za-z0-9_-]{0,80}|\\PC{0,30}") {
        prop_assert_eq!(Key::parse(&text, &Query::default()), Err(NotAKey));
    }

    #[test]
    fn pages_put_together_are_the_sorted_list(
        nodes in any_nodes(),
        sort in prop::sample::select(Sort::ALL.to_vec()),
        reversed: bool,
        size in 1..9_usize,
    ) {
        let query = Query::parse("state:connected,late,disconnected,gone").sorted_by(sort, reversed);
        let mut expected: Vec<usize> = (0..nodes.len()).collect();
        expected.sort_by(|one, other| query.compare(&nodes[*one].candidate(), &nodes[*other].candidate()));
        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let selection = select(nodes.iter().map(Node::candidate), &query, after.as_ref(), size);
            prop_assert_eq!(selection.total as usize, nodes.len());
            prop_assert!(selection.page.len() <= size);
            pages.extend(selection.page);
            let Some(next) = selection.next else { break };
            after = Some(Key::parse(&next.to_string(), &query).expect("our own key"));
        }
        prop_assert_eq!(pages, expected);
    }
}
