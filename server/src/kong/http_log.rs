//! What Kong's http-log plugin sends (`kong-hybrid.md` 5): one entry as a bare object, or an array of entries; of HTTP
//! requests and of stream sessions. Every version says the same of what is read here.
//!
//! An entry is read in one pass and without a tree: of some fifty fields a dozen are kept, and a value of a wrong type is
//! no error of JSON but a field that is not there, so that one bad entry never spoils the others of its body. What a
//! count cannot do without (an object, a status) refuses the entry, by its place in the array.
//!
//! **Whose entry it is.** Kong says no node id in an entry. A line of `custom_fields_by_lua` adds it: `node_id` with
//! `return kong.node.get_id()`; where the collector serves several control planes, another: `control_plane` with
//! `return "NAME"`. So is an `application`, which the open version of Kong does not know.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Entries of one body; Kong sends as many as `queue.max_batch_size`, whose default is 1.
pub const ENTRIES_MAX: usize = 10_000;

/// Refused entries that are named one by one; of the others only the number is told.
pub const REFUSED_MAX: usize = 100;

/// A day in milliseconds: what takes longer says nothing of latency.
const LONGEST_MS: f64 = 86_400_000.0;

/// One request or session, as Kong logged it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry<'a> {
    /// The node that served it, by a field that was added.
    pub node: Option<Cow<'a, str>>,
    /// Its control plane, by a field that was added.
    pub control_plane: Option<Cow<'a, str>>,
    /// The service, by its name, else by its id.
    pub service: Option<Cow<'a, str>>,
    /// The route, by its name, else by its id.
    pub route: Option<Cow<'a, str>>,
    /// The consumer, by its username, custom id or id.
    pub consumer: Option<Cow<'a, str>>,
    /// The application, by a field that was added.
    pub application: Option<Cow<'a, str>>,
    /// The status that the client got.
    pub status: u16,
    /// Bytes that the client sent.
    pub bytes_in: u64,
    /// Bytes that the client got.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the answer, in milliseconds.
    pub total_ms: Option<f64>,
    /// What Kong took of that.
    pub gateway_ms: Option<f64>,
    /// What the upstream took of that; absent where there was none.
    pub upstream_ms: Option<f64>,
    /// When the request came in, by the node's clock, in milliseconds since the epoch.
    pub started_ms: Option<i64>,
}

/// An entry that cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in the body, from 0.
    pub index: usize,
    /// The field that is wrong; `None` where the entry as a whole is.
    pub field: Option<&'static str>,
    /// What was expected.
    pub reason: String,
}

/// A body, entry by entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body<'a> {
    /// Entries that can be counted.
    pub entries: Vec<Entry<'a>>,
    /// The first [`REFUSED_MAX`] of those that cannot.
    pub refused: Vec<Refusal>,
    /// All of those that cannot.
    pub refused_count: usize,
}

/// Reads a body.
///
/// # Errors
/// In words, if it is no JSON; nothing of it is kept then.
pub fn read(body: &[u8]) -> Result<Body<'_>, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let Whole(read) = Whole::deserialize(&mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(read)
}

/// A body as serde reads it: an object is one entry, an array is many.
struct Whole<'a>(Body<'a>);

impl<'a> Body<'a> {
    fn take(&mut self, index: usize, raw: Loose<'a, Raw<'a>>) {
        match if index < ENTRIES_MAX { entry(raw) } else { Err(too_many()) } {
            Ok(entry) => self.entries.push(entry),
            Err((field, reason)) => {
                self.refused_count += 1;
                if self.refused.len() < REFUSED_MAX {
                    self.refused.push(Refusal { index, field, reason });
                }
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Whole<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;

        impl<'de> Visitor<'de> for Of {
            type Value = Whole<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "an entry (an object), or an array of entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let mut body = Body::default();
                body.take(0, Loose::fields(map)?);
                Ok(Whole(body))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut body = Body::default();
                let mut index = 0;
                while let Some(raw) = items.next_element()? {
                    body.take(index, raw);
                    index += 1;
                }
                Ok(Whole(body))
            }
        }

        deserializer.deserialize_any(Of)
    }
}

type Wrong = (Option<&'static str>, String);

fn too_many() -> Wrong {
    (None, format!("one body has at most {ENTRIES_MAX} entries; set queue.max_batch_size lower"))
}

fn entry<'a>(raw: Loose<'a, Raw<'a>>) -> Result<Entry<'a>, Wrong> {
    let raw = match raw {
        Loose::Object(raw) => raw,
        Loose::Other(kind) => return Err((None, format!("expected an object, found {kind}"))),
        Loose::Text(_) => return Err((None, "expected an object, found a string".to_owned())),
        Loose::Number(_) => return Err((None, "expected an object, found a number".to_owned())),
        Loose::Nothing => return Err((None, "expected an object, found null".to_owned())),
    };
    let (request, response, session) = (raw.request.object(), raw.response.object(), raw.session.object());
    let latencies = raw.latencies.object().unwrap_or_default();
    let (field, status) = match (&response, &session) {
        (Some(response), _) => ("response.status", response.status.number()),
        (None, Some(session)) => ("session.status", session.status.number()),
        (None, None) => return Err((Some("response"), "expected a response, or a session of a stream".to_owned())),
    };
    // In bounds by the condition.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let status =
        status.filter(|status| (0.0..=999.0).contains(status) && status.fract() == 0.0).map(|status| status as u16);
    let status = status.ok_or_else(|| (Some(field), "expected a status from 0 to 999".to_owned()))?;
    let bytes = |of: Option<f64>| of.filter(|bytes| bytes.is_finite() && *bytes >= 0.0).map_or(0, |bytes| bytes as u64);
    let (bytes_in, bytes_out) = match session.filter(|_| response.is_none()) {
        Some(session) => (bytes(session.received.number()), bytes(session.sent.number())),
        None => (
            bytes(request.and_then(|request| request.size.number())),
            bytes(response.and_then(|response| response.size.number())),
        ),
    };
    let latency = |of: Loose<'_, Never>| of.number().filter(|ms| (0.0..=LONGEST_MS).contains(ms));
    let total_ms = latency(latencies.request).or_else(|| latency(latencies.session));
    let started_ms = raw.started_at.number().filter(|ms| (0.0..=253_402_300_799_000.0).contains(ms));
    Ok(Entry {
        node: raw.node_id.text(),
        control_plane: raw.control_plane.text(),
        service: raw.service.object().and_then(Named::called),
        route: raw.route.object().and_then(Named::called),
        consumer: raw.consumer.object().and_then(Named::called),
        application: match raw.application {
            Loose::Object(application) => application.called(),
            other => other.text(),
        },
        status,
        bytes_in,
        bytes_out,
        total_ms,
        gateway_ms: latency(latencies.kong),
        upstream_ms: latency(latencies.proxy),
        started_ms: started_ms.map(|ms| ms as i64),
    })
}

/// A value of any type, of which only what is used is kept.
#[derive(Clone, Debug, Default)]
enum Loose<'a, T> {
    #[default]
    Nothing,
    Text(Cow<'a, str>),
    Number(f64),
    Object(T),
    /// Something else, as part of a sentence.
    Other(&'static str),
}

/// An object of which only some fields are kept.
trait Fields<'de>: Default {
    /// Takes a field's value if it is one of them; says whether it was.
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

impl<'a, T> Loose<'a, T> {
    fn object(self) -> Option<T> {
        match self {
            Self::Object(fields) => Some(fields),
            Self::Nothing | Self::Text(_) | Self::Number(_) | Self::Other(_) => None,
        }
    }

    /// A text that is not empty.
    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Text(_) | Self::Nothing | Self::Number(_) | Self::Object(_) | Self::Other(_) => None,
        }
    }

    /// A number, or a text that is one: Kong repeats some headers as they came.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Nothing | Self::Object(_) | Self::Other(_) => None,
        }
    }
}

impl<'de, T: Fields<'de>> Loose<'de, T> {
    fn fields<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut fields = T::default();
        while let Some(Key(name)) = map.next_key()? {
            if !fields.field(&name, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Self::Object(fields))
    }
}

impl<'de: 'a, 'a, T: Fields<'de>> Deserialize<'de> for Loose<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of<T>(std::marker::PhantomData<T>);

        impl<'de, T: Fields<'de>> Visitor<'de> for Of<T> {
            type Value = Loose<'de, T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Loose::Nothing)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Loose::Other("true or false"))
            }

            #[expect(clippy::cast_precision_loss, reason = "counts and milliseconds are far below 2^53")]
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Loose::Number(value as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "counts and milliseconds are far below 2^53")]
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Loose::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Loose::Number(value))
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Owned(value.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose::Other("an array"))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Loose::fields(map)
            }
        }

        deserializer.deserialize_any(Of(std::marker::PhantomData))
    }
}

/// The name of a field.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;

        impl<'de> Visitor<'de> for Of {
            type Value = Key<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "the name of a field")
            }

            fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(value)))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }

        deserializer.deserialize_str(Of)
    }
}

/// Objects of the fields that are kept of them.
macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        struct $name<'a> { $($field: Loose<'a, $type>),* }

        impl<'de> Fields<'de> for $name<'de> {
            fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
                match name {
                    $(stringify!($field) => self.$field = map.next_value()?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    )*};
}

objects! {
    /// An entry.
    Raw {
        request: Message<'a>, response: Message<'a>, session: Session<'a>, latencies: Latencies<'a>,
        service: Named<'a>, route: Named<'a>, consumer: Named<'a>, application: Named<'a>,
        started_at: Never, node_id: Never, control_plane: Never,
    }
    /// `request`, `response`.
    Message { status: Never, size: Never }
    /// `session`.
    Session { status: Never, received: Never, sent: Never }
    /// `latencies`.
    Latencies { request: Never, session: Never, kong: Never, proxy: Never }
    /// `service`, `route`, `consumer`, `application`.
    Named { name: Never, username: Never, custom_id: Never, id: Never }
}

impl<'a> Named<'a> {
    /// What people call it.
    fn called(self) -> Option<Cow<'a, str>> {
        [self.name, self.username, self.custom_id, self.id].into_iter().find_map(Loose::text)
    }
}

/// The fields of a value that should be no object.
#[derive(Clone, Debug, Default)]
struct Never;

impl<'de> Fields<'de> for Never {
    fn field<A: MapAccess<'de>>(&mut self, _: &str, _: &mut A) -> Result<bool, A::Error> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn one(body: &str) -> Entry<'_> {
        let read = read(body.as_bytes()).expect("JSON");
        assert_eq!(read.refused, []);
        read.entries.into_iter().next().expect("an entry")
    }

    #[test]
    fn a_request_is_read_with_what_it_counts_for() {
        let entry = one(r#"{"request":{"size":312,"headers":{"host":"a"}},"response":{"status":502,"size":"1834"},
                "latencies":{"kong":4,"proxy":-1,"request":43.5},"route":{"id":"r1","name":"orders-v1"},
                "service":{"id":"s1"},"consumer":{"id":"c1","username":"alice","custom_id":null},
                "started_at":1763628031118,"node_id":"n1","application":{"name":"shop"},"tries":{}}"#);
        assert_eq!(
            entry,
            Entry {
                node: Some("n1".into()),
                control_plane: None,
                service: Some("s1".into()),
                route: Some("orders-v1".into()),
                consumer: Some("alice".into()),
                application: Some("shop".into()),
                status: 502,
                bytes_in: 312,
                bytes_out: 1_834,
                total_ms: Some(43.5),
                gateway_ms: Some(4.0),
                upstream_ms: None,
                started_ms: Some(1_763_628_031_118),
            }
        );
    }

    #[test]
    fn a_session_of_a_stream_is_read_by_its_own_fields() {
        let entry =
            one(r#"{"session":{"received":10,"sent":20,"status":200,"server_port":9000},"upstream":{"received":1},
                "latencies":{"kong":1,"session":900}}"#);
        assert_eq!((entry.status, entry.bytes_in, entry.bytes_out), (200, 10, 20));
        assert_eq!((entry.total_ms, entry.gateway_ms, entry.upstream_ms), (Some(900.0), Some(1.0), None));
    }

    #[test]
    fn what_has_a_wrong_type_is_not_there_and_what_a_count_needs_refuses_the_entry() {
        #[track_caller]
        fn check(body: &str, entries: usize, refused: &[(usize, Option<&'static str>)]) {
            let read = read(body.as_bytes()).expect("JSON");
            let told: Vec<_> = read.refused.iter().map(|refusal| (refusal.index, refusal.field)).collect();
            assert_eq!((read.entries.len(), told.as_slice()), (entries, refused), "{body}");
            assert_eq!(read.refused_count, refused.len());
        }
        check("[]", 0, &[]);
        check(r#"{"response":{"status":200}}"#, 1, &[]);
        check(r#"{"response":{"status":0}}"#, 1, &[]);
        check(r#"{"response":{"status":999}}"#, 1, &[]);
        check(r#"{"response":{"status":1000}}"#, 0, &[(0, Some("response.status"))]);
        check(r#"{"response":{"status":-1}}"#, 0, &[(0, Some("response.status"))]);
        check(r#"{"response":{"status":200.5}}"#, 0, &[(0, Some("response.status"))]);
        check(r#"{"response":{"status":[200]}}"#, 0, &[(0, Some("response.status"))]);
        check(r#"{"response":[]}"#, 0, &[(0, Some("response"))]);
        check(r#"{"session":{}}"#, 0, &[(0, Some("session.status"))]);
        check(
            r#"[1, null, "x", [], {"response":{"status":200},"route":7,"latencies":[],"started_at":{}}, true]"#,
            1,
            &[(0, None), (1, None), (2, None), (3, None), (5, None)],
        );
    }

    #[test]
    fn what_is_no_json_is_told_as_that() {
        for body in ["", "{", r#"{"response":{"status":200}} x"#, "7", "\"x\"", "[1", "{\"a\":\u{0}}"] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read(b"[\"\xff\"]").is_err(), "not UTF-8");
    }

    #[test]
    fn entries_above_the_bound_are_refused_one_by_one() {
        let body = format!("[{}{{}}]", r#"{"response":{"status":200}},"#.repeat(ENTRIES_MAX));
        let read = read(body.as_bytes()).expect("JSON");
        assert_eq!((read.entries.len(), read.refused_count), (ENTRIES_MAX, 1));
        assert_eq!(read.refused[0].index, ENTRIES_MAX);
    }

    #[test]
    fn deep_nesting_is_no_overflow() {
        let deep = format!(r#"{{"response":{{"status":200}},"x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let _ = read(deep.as_bytes());
        let deep = format!(r#"{{"route":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let _ = read(deep.as_bytes());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&body);
        }

        #[test]
        fn a_damaged_entry_never_panics(at in 0..200_usize, byte in any::<u8>()) {
            let mut body = br#"[{"request":{"size":312},"response":{"status":502,"size":18},"latencies":{"kong":4,"proxy":-1,"request":43.5},"route":{"name":"orders"},"started_at":1763628031118},{"session":{"status":1}}]"#.to_vec();
            if let Some(place) = body.get_mut(at) {
                *place = byte;
            }
            if let Ok(read) = read(&body) {
                // One byte makes at most one more of two entries.
                let entries = read.entries.len() + read.refused_count;
                prop_assert!(entries <= 3, "{entries} entries");
            }
        }
    }
}
