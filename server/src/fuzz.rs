//! Everything that reads bytes from outside, as functions of bytes: a fuzzer calls them (`server/fuzz`), and `make test`
//! gives them recorded sessions of Kong, whole and damaged. None may panic, take memory by a claim, or break what it
//! promises.

use crate::ingest::wire;
use crate::kong::assemble::Assembler;
use crate::kong::facts::{Fact as Seen, Observed, Party, Place};
use crate::kong::frame::{HEAD_MAX, Head, LENGTH_END};
use crate::kong::glance::Glance;
use crate::kong::session::{Event, Session};
use crate::kong::v2::Encoding;
use crate::kong::{exchange, handshake, konnect, metrics, recognize, v1, v2};
use crate::tap::copies::Budget;
use crate::tap::parcel::Parcel;
use crate::tap::splitter::{Piece, Splitter};
use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use std::sync::Arc;
use tidemark_domain::time::Timestamp;

/// A reader of bytes, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every reader. The names are those of the fuzz targets.
pub const TARGETS: [Target; 12] = [
    ("frame", frame),
    ("v1", v1_frames),
    ("glance", glance),
    ("v2", v2_frames),
    ("connection", connection),
    ("recording", recording),
    ("answer", answer),
    ("konnect", of_konnect),
    ("metrics", exposition),
    ("http_log", http_log),
    ("heartbeats", heartbeats),
    ("parcel", parcel),
];

/// What one frame may inflate to here: a bomb is found by what it takes.
const INFLATED_MAX: usize = 1 << 20;

fn frame(bytes: &[u8]) {
    if let Ok(Some((head, taken))) = Head::read(bytes) {
        assert!(taken <= HEAD_MAX && taken <= bytes.len() && head.length < LENGTH_END);
        let again = Head::read(&head.bytes()).expect("what is written is a frame").expect("and whole");
        assert_eq!(again.0, head);
    }
    _ = (handshake::request(bytes), handshake::status(bytes));
}

fn v1_frames(bytes: &[u8]) {
    _ = (v1::from_node(bytes), v1::heartbeat(bytes), v1::from_control_plane(bytes, INFLATED_MAX));
    // A fuzzer finds no gzip by itself.
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    if packed.write_all(bytes).is_ok()
        && let Ok(packed) = packed.finish()
    {
        _ = v1::from_control_plane(&packed, INFLATED_MAX);
    }
}

/// In whatever pieces a text comes, the same is found in it.
fn glance(bytes: &[u8]) {
    let found = |size: usize| {
        let mut glance = Glance::default();
        bytes.chunks(size).for_each(|piece| glance.take(piece));
        glance.end()
    };
    let whole = found(bytes.len().max(1));
    assert_eq!(whole, found(7));
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(bytes) else { return };
    let glanced = whole.expect("an object to a parser is one at a glance");
    // A key with an escape is another one at a glance.
    if !bytes.contains(&b'\\') {
        assert_eq!(glanced.has_table, fields.get("config_table").is_some_and(serde_json::Value::is_object));
    }
}

fn v2_frames(bytes: &[u8]) {
    for encoding in [Encoding::Plain, Encoding::Snappy] {
        if let Ok((_, json_bytes)) = v2::decode(bytes, encoding, INFLATED_MAX) {
            assert!(json_bytes <= INFLATED_MAX);
        }
    }
    if let Ok(block) = snap::raw::Encoder::new().compress_vec(bytes) {
        _ = v2::decode(&block, Encoding::Snappy, INFLATED_MAX);
    }
}

/// A whole connection as a tap sees it: the first byte says how it is cut, and the rest comes from both sides in turn.
fn connection(bytes: &[u8]) {
    const KEPT_MAX: usize = 1 << 16;
    let Some((size, bytes)) = bytes.split_first() else { return };
    let budget = Budget::of(KEPT_MAX);
    let of = |from| Splitter::new(from, Arc::clone(&budget), INFLATED_MAX as u64);
    let mut sides = [(Party::Node, of(Party::Node)), (Party::ControlPlane, of(Party::ControlPlane))];
    let mut session = Session::new("fuzz").with_inflated_max(INFLATED_MAX);
    let mut assembler = Assembler::new("fuzz".parse().expect("a name"));
    let mut at_ms = 0;
    for (number, piece) in bytes.chunks(usize::from(*size).max(1)).enumerate() {
        let (from, splitter) = &mut sides[number % 2];
        let mut events = Vec::new();
        splitter.take(piece, |piece| {
            events.push(match piece {
                Piece::Head(head) if *from == Party::Node => Event::Request(head),
                Piece::Head(head) => Event::Response(head),
                Piece::Frame(frame, ..) => Event::Frame(frame),
                Piece::Passed { opcode, .. } => Event::Missed { from: *from, opcode },
                Piece::Unreadable(why) => Event::Unreadable { from: *from, why },
            });
        });
        assert!(budget.taken() <= KEPT_MAX);
        for event in events {
            at_ms += 1;
            for observed in session.take(at_ms, event) {
                _ = assembler.take(&observed);
            }
        }
    }
    _ = session.take(at_ms, Event::RecordingEnded);
    drop(sides);
    assert_eq!(budget.taken(), 0, "all of it is given back");
}

fn recording(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        _ = (recognize::line(text), recognize::is_metrics(text));
    }
}

/// An answer of one of Kong's APIs: the first byte says to what.
fn answer(bytes: &[u8]) {
    const PATHS: [&str; 6] = [
        "/clustering/data-planes",
        "/clustering/status",
        "/status",
        "/status/ready",
        "/",
        "/default/clustering/status",
    ];
    let Some((path, body)) = bytes.split_first() else { return };
    let Ok(body) = serde_json::from_slice(body) else { return };
    let path = PATHS[usize::from(*path) % PATHS.len()];
    for status in [200, 503] {
        _ = exchange::answer(path, status, Some(0), &body);
    }
}

/// An answer of Konnect's, taken for each that it may be, and told twice.
fn of_konnect(bytes: &[u8]) {
    let Ok(body) = serde_json::from_slice(bytes) else { return };
    if let Ok(page) = konnect::node_page(&body, Some(0)) {
        assert!(page.rows.len() + page.rejected.len() <= konnect::ITEMS_MAX);
        let mut assembler = Assembler::konnect("fuzz".parse().expect("a name"));
        for row in page.rows.iter().chain(&page.rows) {
            let place = Place::Endpoint("fuzz".into());
            let fact = Seen::Row(Box::new(row.clone()));
            _ = assembler.take(&Observed { at_ms: 0, place, node: None, fact });
        }
    }
    let mut words = konnect::Words::default();
    for by_version in [true, true, false] {
        let expected = [konnect::expected_hash(&body), konnect::expected_version(&body)];
        let [hash, version] = expected.map(|expected| expected.ok().flatten());
        _ = words.of_run(hash, version, by_version);
    }
    _ = (konnect::control_planes(&body), konnect::problem(&body));
}

fn exposition(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        _ = metrics::exposition(text);
    }
}

fn http_log(bytes: &[u8]) {
    if let Ok(read) = crate::kong::http_log::read(bytes) {
        assert!(read.refused.len() <= read.refused_count && read.entries.len() <= crate::kong::http_log::ENTRIES_MAX);
    }
}

fn heartbeats(bytes: &[u8]) {
    let now = Timestamp::from_ms(1_795_000_000_000);
    if let Ok(parsed) = wire::heartbeats(bytes, now, &mut |_| Ok(())) {
        assert!(parsed.facts.iter().all(|fact| fact.at <= now), "no report is of the future");
    }
}

fn parcel(bytes: &[u8]) {
    _ = serde_json::from_slice::<Parcel>(bytes);
}
