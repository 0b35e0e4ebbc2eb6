//! Heartbeats as they come over the wire: loose and private, parsed at the door into facts. Each report of an array is
//! taken or refused by itself; a field that nobody knows is refused, because a typing mistake would otherwise be lost
//! without a word.

use crate::ingest::json::{Fields, Json, Wrong};
use crate::kong::own;
use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use tidemark_domain::fact::{
    ApplyFailure, Attributes, ConfigRef, Fact, Protocol, Report, Source, SyncMode, SyncStatus, What, WithheldReason,
};
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::id::{CpName, Labels, Line, NodeId, Token};
use tidemark_domain::time::{HOUR, Timestamp};

/// Reports in one request at most.
pub const REPORTS_MAX: usize = 10_000;

/// Bytes of one report at most: 64 labels of the longest kind fit three times over.
pub const REPORT_BYTES_MAX: usize = 256 * 1024;

/// A pushed report may be this old at most, by its own word.
pub const AGE_MAX_MS: i64 = HOUR;

/// Control planes that reports may make up at most; the others must be declared (DESIGN 5.10).
pub const UNDECLARED_MAX: usize = 64;

/// The fields of a report, for those who describe it.
pub const FIELDS: [&str; 19] = [
    "control_plane",
    "node_id",
    "hostname",
    "ip",
    "gateway_version",
    "hash",
    "version",
    "labels",
    "status",
    "apply_error",
    "ready",
    "node_clock",
    "age_ms",
    "certificate_expires_at",
    "license_expires_at",
    "capabilities",
    "plugin_set",
    "sync_mode",
    "protocol",
];

/// Why a body is no batch of reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotABatch {
    /// Not JSON; the words say where.
    NotJson(String),
    /// JSON, but neither an object nor an array.
    NotReports,
    /// More reports than [`REPORTS_MAX`].
    TooMany,
}

/// What came of a request.
#[derive(Debug, Default)]
pub struct Parsed {
    /// One fact for each good report, in their order.
    pub facts: Vec<Fact>,
    /// The others.
    pub refused: Vec<Refusal>,
}

/// A report that is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in the array.
    pub index: usize,
    /// Why.
    pub wrong: Wrong,
}

/// Reads one report or an array of them. `admit` says whether reports of a control plane are taken, and is asked once
/// for each report that is good otherwise.
///
/// # Errors
/// If the body as a whole is no batch; see [`NotABatch`].
pub fn heartbeats(
    body: &[u8],
    now: Timestamp,
    admit: &mut dyn FnMut(&CpName) -> Result<(), String>,
) -> Result<Parsed, NotABatch> {
    let mut parsed = Parsed::default();
    for (index, raw) in reports(body)?.into_iter().enumerate() {
        let fact = fact(raw.get(), now).and_then(|fact| match admit(&fact.control_plane) {
            Ok(()) => Ok(fact),
            Err(reason) => Err(Wrong::field("control_plane", reason)),
        });
        match fact {
            Ok(fact) => parsed.facts.push(fact),
            Err(wrong) => parsed.refused.push(Refusal { index, wrong }),
        }
    }
    Ok(parsed)
}

/// The reports of a body, not read yet: their number is bounded before anything is built from them.
fn reports(body: &[u8]) -> Result<Vec<&RawValue>, NotABatch> {
    let text = std::str::from_utf8(body).map_err(|error| NotABatch::NotJson(format!("not UTF-8: {error}")))?;
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| NotABatch::NotJson(error.to_string()))?;
    match whole.get().as_bytes().first() {
        Some(b'{') => Ok(vec![whole]),
        Some(b'[') => match serde_json::from_str(whole.get()) {
            Ok(Batch(reports)) => Ok(reports),
            // The text was read as JSON above: all that can be wrong now is the length.
            Err(_) => Err(NotABatch::TooMany),
        },
        _ => Err(NotABatch::NotReports),
    }
}

/// At most [`REPORTS_MAX`] values.
struct Batch<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Batch<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "an array of at most {REPORTS_MAX} reports")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Batch<'de>, A::Error> {
                let mut reports = Vec::new();
                while let Some(report) = items.next_element()? {
                    if reports.len() == REPORTS_MAX {
                        return Err(serde::de::Error::custom("too many reports"));
                    }
                    reports.push(report);
                }
                Ok(Batch(reports))
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

fn fact(text: &str, now: Timestamp) -> Result<Fact, Wrong> {
    if text.len() > REPORT_BYTES_MAX {
        return Err(Wrong::whole(format!("a report has at most {REPORT_BYTES_MAX} bytes")));
    }
    let value: Json = serde_json::from_str(text).map_err(|error| Wrong::whole(format!("cannot be read: {error}")))?;
    let mut fields = Fields::of(value)?;
    let control_plane: CpName = fields.required("control_plane")?;
    let node: NodeId = fields.required("node_id")?;
    let report = Report {
        node,
        running: running(&mut fields)?,
        attributes: attributes(&mut fields)?,
        status: status(&mut fields)?,
        failure: failure(&mut fields)?,
        ready: fields.flag("ready")?,
        node_clock: fields.moment("node_clock")?,
        uncertain_ms: 0,
        continues: false,
        estimated: false,
    };
    let age_ms = fields.whole("age_ms", 0, AGE_MAX_MS)?.unwrap_or(0);
    fields.end()?;
    // Whoever passes on what a control plane lists may well list a shadow too.
    if own::is_own(Some(report.node.as_str()), report.attributes.hostname.as_ref().map(Line::as_str)) {
        return Err(Wrong::field("node_id", "is that of a shadow of Tidemark's, which is no node of the fleet"));
    }
    Ok(Fact {
        at: now.plus(-age_ms),
        recorded_at: now,
        control_plane,
        source: Source::Push,
        what: What::Report(Box::new(report)),
    })
}

/// What the node runs: by hash, or by the source's own token, never by both.
fn running(fields: &mut Fields) -> Result<Option<ConfigRef>, Wrong> {
    let hash: Option<ConfigHash> = fields.parsed("hash")?;
    let version: Option<Token> = fields.parsed("version")?;
    match (hash, version) {
        (Some(_), Some(_)) => Err(fields.wrong("version", "is given beside hash: a report names one of them")),
        (Some(hash), None) => Ok(Some(ConfigRef::Hash(hash))),
        (None, version) => Ok(version.map(ConfigRef::from)),
    }
}

/// The sync protocols by their words.
pub const PROTOCOLS: [(&str, Protocol); 2] = [("v1", Protocol::V1), ("v2", Protocol::V2)];

const SYNC_MODES: [(&str, SyncMode); 3] =
    [("full", SyncMode::Full), ("delta", SyncMode::Delta), ("fell_back", SyncMode::FellBack)];

fn attributes(fields: &mut Fields) -> Result<Attributes, Wrong> {
    Ok(Attributes {
        hostname: fields.parsed("hostname")?,
        ip: fields.parsed("ip")?,
        gateway_version: fields.parsed("gateway_version")?,
        protocol: fields.word("protocol", &PROTOCOLS)?,
        sync_mode: fields.word("sync_mode", &SYNC_MODES)?,
        labels: labels(fields)?,
        plugin_set: fields.parsed("plugin_set")?,
        capabilities: capabilities(fields)?,
        certificate_expires_at: fields.moment("certificate_expires_at")?,
        license_expires_at: fields.moment("license_expires_at")?,
    })
}

fn labels(fields: &mut Fields) -> Result<Option<Labels>, Wrong> {
    let Some(pairs) = fields.inner("labels")? else {
        return Ok(None);
    };
    let pairs = pairs.strings()?;
    Labels::new(pairs).map(Some).map_err(|error| fields.wrong("labels", error.to_string()))
}

/// A text, or an array of texts.
fn capabilities(fields: &mut Fields) -> Result<Option<Line>, Wrong> {
    let expected = "expected a string, or an array of strings";
    let text = match fields.take("capabilities") {
        None => return Ok(None),
        Some(Json::Text(text)) => text,
        Some(Json::List(items)) if items.is_empty() => return Ok(None),
        Some(Json::List(items)) => {
            let texts = items.into_iter().map(|item| match item {
                Json::Text(text) => Ok(text),
                _ => Err(fields.wrong("capabilities", expected)),
            });
            texts.collect::<Result<Vec<_>, _>>()?.join(", ")
        }
        Some(_) => return Err(fields.wrong("capabilities", expected)),
    };
    text.parse().map(Some).map_err(|error| fields.wrong("capabilities", format!("{error}")))
}

const REASONS: [(&str, WithheldReason); 5] = [
    ("gateway_version", WithheldReason::GatewayVersion),
    ("plugin_set", WithheldReason::PluginSet),
    ("plugin_version", WithheldReason::PluginVersion),
    ("filter_set", WithheldReason::FilterSet),
    ("other", WithheldReason::Other),
];

fn status(fields: &mut Fields) -> Result<Option<SyncStatus>, Wrong> {
    let Some(mut status) = fields.inner("status")? else {
        return Ok(None);
    };
    let normal = status
        .word("state", &[("normal", true), ("incompatible", false)])?
        .ok_or_else(|| status.wrong("state", "is required: normal or incompatible"))?;
    let reason = status.word("reason", &REASONS)?;
    let detail = status.string("detail")?.and_then(|text| Line::from_outside(&text));
    if normal && reason.is_some() {
        return Err(status.wrong("reason", "goes with the state incompatible only"));
    }
    status.end()?;
    let withheld = SyncStatus::Withheld { reason: reason.unwrap_or(WithheldReason::Other), detail };
    Ok(Some(if normal { SyncStatus::Normal } else { withheld }))
}

/// The node's own words are cut, not refused: a long error is still an error.
fn failure(fields: &mut Fields) -> Result<Option<ApplyFailure>, Wrong> {
    let Some(mut failure) = fields.inner("apply_error")? else {
        return Ok(None);
    };
    let refused: Option<Token> = failure.parsed("config")?;
    let message = failure
        .string("message")?
        .and_then(|text| Line::from_outside(&text))
        .ok_or_else(|| failure.wrong("message", "is required, and says what the node said"))?;
    let entity = failure.string("entity")?.and_then(|text| Line::from_outside(&text));
    let field = failure.string("field")?.and_then(|text| Line::from_outside(&text));
    failure.end()?;
    Ok(Some(ApplyFailure { refused: refused.map(ConfigRef::from), message, entity, field }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_164_837_000);

    fn parse(body: &str) -> Result<Parsed, NotABatch> {
        heartbeats(body.as_bytes(), NOW, &mut |_| Ok(()))
    }

    /// A report with these fields beside its names.
    fn with(fields: &str) -> String {
        format!(r#"{{"control_plane":"prod","node_id":"n1"{}{fields}}}"#, if fields.is_empty() { "" } else { "," })
    }

    #[track_caller]
    fn taken(fields: &str) -> Report {
        let parsed = parse(&with(fields)).expect("JSON");
        assert_eq!(parsed.refused, []);
        match &parsed.facts[0].what {
            What::Report(report) => (**report).clone(),
            other => panic!("not a report: {other:?}"),
        }
    }

    #[track_caller]
    fn refused(body: &str) -> Wrong {
        let parsed = parse(body).expect("JSON");
        assert!(parsed.facts.is_empty(), "taken: {body}");
        parsed.refused[0].wrong.clone()
    }

    #[test]
    fn a_shadow_is_no_node() {
        assert_eq!(refused(&with(r#""hostname":"tidemark-shadow-eu""#)).field.as_deref(), Some("node_id"));
        let body = with("").replace("n1", &own::new_id());
        assert_eq!(refused(&body).field.as_deref(), Some("node_id"));
    }

    #[test]
    fn a_full_report_is_read_whole() {
        let report = taken(
            r#""hostname":"pod-1","ip":"10.0.0.1","gateway_version":"3.9.1","hash":"6de1944179b6c16febb0a724310a4d49",
            "labels":{"region":"eu"},"status":{"state":"incompatible","reason":"plugin_set","detail":"no jq"},
            "apply_error":{"config":"v02_0000000000000000000000000042","message":"bad\nroute","entity":"route a","field":"paths"},
            "ready":false,"node_clock":1795164836000,"certificate_expires_at":"2027-01-01T00:00:00Z",
            "license_expires_at":null,"capabilities":["v2","delta"],"plugin_set":"0123456789abcdef",
            "sync_mode":"delta","protocol":"v2""#,
        );
        insta::assert_debug_snapshot!(report, @r#"
        Report {
            node: "n1",
            running: Some(
                Hash(
                    ConfigHash(6de1944179b6c16febb0a724310a4d49),
                ),
            ),
            attributes: Attributes {
                hostname: Some(
                    "pod-1",
                ),
                ip: Some(
                    "10.0.0.1",
                ),
                gateway_version: Some(
                    3.9.1,
                ),
                protocol: Some(
                    V2,
                ),
                sync_mode: Some(
                    Delta,
                ),
                labels: Some(
                    {
                        "region": "eu",
                    },
                ),
                plugin_set: Some(
                    "0123456789abcdef",
                ),
                capabilities: Some(
                    "v2, delta",
                ),
                certificate_expires_at: Some(
                    Timestamp(
                        1798761600000,
                    ),
                ),
                license_expires_at: None,
            },
            status: Some(
                Withheld {
                    reason: PluginSet,
                    detail: Some(
                        "no jq",
                    ),
                },
            ),
            failure: Some(
                ApplyFailure {
                    refused: Some(
                        Hash(
                            ConfigHash(v02_0000000000000000000000000042),
                        ),
                    ),
                    message: "bad route",
                    entity: Some(
                        "route a",
                    ),
                    field: Some(
                        "paths",
                    ),
                },
            ),
            ready: Some(
                false,
            ),
            node_clock: Some(
                Timestamp(
                    1795164836000,
                ),
            ),
            uncertain_ms: 0,
            continues: false,
            estimated: false,
        }
        "#);
    }

    #[test]
    fn a_report_names_one_configuration_or_none() {
        assert_eq!(taken("").running, None);
        assert_eq!(
            taken(r#""version":"release-9""#).running.map(|config| config.to_string()),
            Some("release-9".into())
        );
        let zeros = taken(r#""version":"00000000000000000000000000000000""#);
        assert_eq!(zeros.running, Some(ConfigRef::Hash(ConfigHash::ZEROS)));
        let both = refused(&with(r#""hash":"6de1944179b6c16febb0a724310a4d49","version":"9""#));
        assert_eq!(both.field.as_deref(), Some("version"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        #[track_caller]
        fn check(body: &str, field: Option<&str>) {
            assert_eq!(refused(body).field.as_deref(), field, "{body}");
        }
        check("{}", Some("control_plane"));
        check(r#"{"control_plane":"prod"}"#, Some("node_id"));
        check(r#"{"control_plane":"Prod","node_id":"n1"}"#, Some("control_plane"));
        check(r#"{"control_plane":7,"node_id":"n1"}"#, Some("control_plane"));
        check(&with(r#""node_id":"n2""#), Some("node_id"));
        check(&with(r#""hahs":"x""#), Some("hahs"));
        check(&with(r#""hash":"6de1944179b6c16febb0a724310a4d4""#), Some("hash"));
        check(&with(r#""age_ms":3600001"#), Some("age_ms"));
        check(&with(r#""age_ms":-1"#), Some("age_ms"));
        check(&with(r#""labels":{"a":1}"#), Some("labels.a"));
        check(&with(r#""labels":{"a":"1","a":"1"}"#), Some("labels.a"));
        check(&with(r#""labels":[]"#), Some("labels"));
        check(&with(r#""status":{"state":"odd"}"#), Some("status.state"));
        check(&with(r#""status":{}"#), Some("status.state"));
        check(&with(r#""status":{"state":"normal","reason":"other"}"#), Some("status.reason"));
        check(&with(r#""apply_error":{}"#), Some("apply_error.message"));
        check(&with(r#""apply_error":{"message":"x","line":1}"#), Some("apply_error.line"));
        check(&with(r#""ready":"yes""#), Some("ready"));
        check(&with(r#""gateway_version":"three""#), Some("gateway_version"));
        check(&with(r#""sync_mode":"half""#), Some("sync_mode"));
        check(&with(r#""source":"tap""#), Some("source"));
        check(&with(r#""capabilities":[1]"#), Some("capabilities"));
        check(&with(&format!(r#""hostname":"{}""#, "x".repeat(257))), Some("hostname"));
        check("[[]]", None);
        check("[7]", None);
    }

    #[test]
    fn age_makes_a_report_older_and_is_bounded_on_both_sides() {
        for (age, at) in [(0, NOW), (AGE_MAX_MS, NOW.plus(-AGE_MAX_MS))] {
            let parsed = parse(&with(&format!(r#""age_ms":{age}"#))).expect("JSON");
            assert_eq!((parsed.facts[0].at, parsed.facts[0].recorded_at), (at, NOW));
        }
    }

    #[test]
    fn each_report_of_an_array_stands_for_itself() {
        let parsed = parse(&format!("[{},{{\"node_id\":\"n\"}},{}]", with(""), with(""))).expect("JSON");
        assert_eq!(parsed.facts.len(), 2);
        assert_eq!(parsed.refused, [Refusal { index: 1, wrong: Wrong::field("control_plane", "is required") }]);
    }

    #[test]
    fn an_array_has_ten_thousand_reports_at_most() {
        let batch = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert_eq!(parse(&batch(REPORTS_MAX)).map(|parsed| parsed.refused.len()), Ok(REPORTS_MAX));
        assert_eq!(parse(&batch(REPORTS_MAX + 1)).err(), Some(NotABatch::TooMany));
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_no_report() {
        assert!(matches!(parse("").err(), Some(NotABatch::NotJson(_))));
        assert!(matches!(parse("[{}").err(), Some(NotABatch::NotJson(_))));
        assert!(matches!(parse("{} {}").err(), Some(NotABatch::NotJson(_))));
        assert!(matches!(heartbeats(b"\"\xff\"", NOW, &mut |_| Ok(())).err(), Some(NotABatch::NotJson(_))));
        assert_eq!(parse("7").err(), Some(NotABatch::NotReports));
        assert_eq!(parse("[]").map(|parsed| parsed.facts.len() + parsed.refused.len()), Ok(0));
    }

    #[test]
    fn depth_and_size_of_a_report_are_bounded() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(refused(&deep).field, None);
        let wide = with(&format!(r#""capabilities":[{}]"#, vec!["0"; REPORT_BYTES_MAX / 2].join(",")));
        assert!(refused(&wide).reason.contains("at most"));
    }

    #[test]
    fn the_door_is_asked_for_each_control_plane() {
        let mut asked = 0;
        let parsed = heartbeats(with("").as_bytes(), NOW, &mut |_| {
            asked += 1;
            Err("is not known".into())
        });
        assert_eq!(asked, 1);
        let refused = parsed.expect("JSON").refused;
        assert_eq!(refused, [Refusal { index: 0, wrong: Wrong::field("control_plane", "is not known") }]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = heartbeats(&body, NOW, &mut |_| Ok(()));
        }

        #[test]
        fn no_text_panics(body in "[\\[\\]{}:,\"0-9a-z_. \\\\-]{0,200}") {
            let _ = heartbeats(body.as_bytes(), NOW, &mut |_| Ok(()));
        }
    }
}
