//! JSON as it came: a loose tree that keeps what a typed reader would lose (a key given twice, a name nobody knows),
//! and a cursor over an object's fields that names the one that is wrong.

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::str::FromStr;
use tidemark_domain::time::Timestamp;

/// A JSON value. Nesting is bounded by the parser (128).
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Flag(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, its fields in the order in which they came, repeated ones included.
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tree;

        impl<'de> Visitor<'de> for Tree {
            type Value = Json;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Flag(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = entries.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }
        }

        deserializer.deserialize_any(Tree)
    }
}

impl Json {
    /// What kind of value this is, as part of a sentence.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// A field that is wrong, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field's path, `apply_error.message`; `None` where the value as a whole is wrong.
    pub field: Option<String>,
    /// What was expected.
    pub reason: String,
}

impl Wrong {
    /// A field that is wrong.
    #[must_use]
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: Some(shown(&field.into())), reason: reason.into() }
    }

    /// A value that is wrong as a whole.
    #[must_use]
    pub fn whole(reason: impl Into<String>) -> Self {
        Self { field: None, reason: reason.into() }
    }
}

/// A name from outside, short enough to repeat.
fn shown(name: &str) -> String {
    if name.chars().count() <= 80 { name.to_owned() } else { name.chars().take(79).chain(['…']).collect() }
}

/// The fields of an object that were not read yet. Whoever has read all that it knows ends with [`Fields::end`], and
/// what is left then is refused: a name that nobody knows is a typing mistake that would be lost silently.
#[derive(Debug)]
pub struct Fields {
    path: String,
    left: Vec<(String, Json)>,
}

impl Fields {
    /// The fields of an object.
    ///
    /// # Errors
    /// If the value is no object, or has a key twice.
    pub fn of(value: Json) -> Result<Self, Wrong> {
        Self::at(String::new(), value)
    }

    fn at(path: String, value: Json) -> Result<Self, Wrong> {
        let whole = |reason: String| Wrong { field: (!path.is_empty()).then(|| shown(&path)), reason };
        let left = match value {
            Json::Object(fields) => fields,
            other => return Err(whole(format!("expected an object, found {}", other.kind()))),
        };
        let mut names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Wrong::field(join(&path, twice[0]), "is given twice"));
        }
        Ok(Self { path, left })
    }

    /// The path of one of these fields.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Whether a field is there, `null` or not.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(field, _)| field == name)
    }

    /// A field's value; `None` if it is not there, or `null`.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        let index = self.left.iter().position(|(field, _)| field == name)?;
        Some(self.left.swap_remove(index).1).filter(|value| *value != Json::Null)
    }

    /// A string.
    ///
    /// # Errors
    /// If it is something else.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, Wrong> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, format!("expected a string, found {}", other.kind()))),
        }
    }

    /// A string that is read as a domain value.
    ///
    /// # Errors
    /// If it is no string, or the domain does not take it.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Result<Option<T>, Wrong> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error: T::Err| self.wrong(name, error.to_string()))
    }

    /// As [`Fields::parsed`], and it must be there.
    ///
    /// # Errors
    /// Also if it is not there.
    pub fn required<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Result<T, Wrong> {
        self.parsed(name)?.ok_or_else(|| self.wrong(name, "is required"))
    }

    /// One word of a list.
    ///
    /// # Errors
    /// If it is another one; the reason lists them.
    pub fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Wrong> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let list = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| self.wrong(name, format!("expected one of: {}", list())))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Wrong> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Flag(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(name, format!("expected true or false, found {}", other.kind()))),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// If it is no whole number, or out of bounds; the reason names them.
    pub fn whole(&mut self, name: &str, min: i64, max: i64) -> Result<Option<i64>, Wrong> {
        let expected = || format!("expected a whole number from {min} to {max}");
        match self.take(name) {
            None => Ok(None),
            Some(Json::Number(number)) => match number.as_i64() {
                Some(value) if (min..=max).contains(&value) => Ok(Some(value)),
                _ => Err(self.wrong(name, expected())),
            },
            Some(_) => Err(self.wrong(name, expected())),
        }
    }

    /// A moment: RFC 3339, or milliseconds since the epoch.
    ///
    /// # Errors
    /// If it is neither.
    pub fn moment(&mut self, name: &str) -> Result<Option<Timestamp>, Wrong> {
        let moment = match self.take(name) {
            None => return Ok(None),
            Some(Json::Text(text)) => Timestamp::parse(&text),
            Some(Json::Number(number)) => {
                number.as_i64().filter(|ms| Timestamp::from_ms(*ms).ms() == *ms).map(Timestamp::from_ms)
            }
            Some(_) => None,
        };
        moment.map(Some).ok_or_else(|| {
            self.wrong(name, "expected a time as RFC 3339 (2026-11-20T08:53:57Z) or milliseconds since 1970")
        })
    }

    /// An object inside this one.
    ///
    /// # Errors
    /// If it is something else, or has a key twice.
    pub fn inner(&mut self, name: &str) -> Result<Option<Self>, Wrong> {
        let path = self.path(name);
        self.take(name).map(|value| Self::at(path, value)).transpose()
    }

    /// The objects of an array inside this one, at most `max`.
    ///
    /// # Errors
    /// If it is something else, or too long.
    pub fn list(&mut self, name: &str, max: usize) -> Result<Option<Vec<Self>>, Wrong> {
        let items = match self.take(name) {
            None => return Ok(None),
            Some(Json::List(items)) if items.len() <= max => items,
            Some(Json::List(_)) => return Err(self.wrong(name, format!("has at most {max} elements"))),
            Some(other) => return Err(self.wrong(name, format!("expected an array, found {}", other.kind()))),
        };
        let path = self.path(name);
        let parse = |(index, item)| Self::at(format!("{path}[{index}]"), item);
        items.into_iter().enumerate().map(parse).collect::<Result<_, _>>().map(Some)
    }

    /// All fields that are left, with their values as strings.
    ///
    /// # Errors
    /// If one is no string.
    pub fn strings(self) -> Result<Vec<(String, String)>, Wrong> {
        let Self { path, left } = self;
        let text = |(name, value): (String, Json)| match value {
            Json::Text(text) => Ok((name, text)),
            other => Err(Wrong::field(join(&path, &name), format!("expected a string, found {}", other.kind()))),
        };
        left.into_iter().map(text).collect()
    }

    /// All fields that are left, with their values as counts.
    ///
    /// # Errors
    /// If one is no whole number from 0.
    pub fn counts(self) -> Result<Vec<(String, u64)>, Wrong> {
        let Self { path, left } = self;
        let count = |(name, value): (String, Json)| match &value {
            Json::Number(number) if number.is_u64() => Ok((name, number.as_u64().unwrap_or(0))),
            _ => Err(Wrong::field(join(&path, &name), "expected a whole number from 0")),
        };
        left.into_iter().map(count).collect()
    }

    /// The texts of an array inside this one, at most `max`.
    ///
    /// # Errors
    /// If it is something else, or too long.
    pub fn texts(&mut self, name: &str, max: usize) -> Result<Option<Vec<String>>, Wrong> {
        let expected = || format!("expected an array of at most {max} strings");
        let items = match self.take(name) {
            None => return Ok(None),
            Some(Json::List(items)) if items.len() <= max => items,
            Some(_) => return Err(self.wrong(name, expected())),
        };
        let text = |item| match item {
            Json::Text(text) => Ok(text),
            _ => Err(self.wrong(name, expected())),
        };
        items.into_iter().map(text).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// A field of this object that is wrong.
    #[must_use]
    pub fn wrong(&self, name: &str, reason: impl Into<String>) -> Wrong {
        Wrong::field(self.path(name), reason)
    }

    /// Nothing is left to read.
    ///
    /// # Errors
    /// If something is: the first unknown field, by name.
    pub fn end(self) -> Result<(), Wrong> {
        match self.left.iter().map(|(name, _)| name).min() {
            None => Ok(()),
            Some(name) => Err(Wrong::field(join(&self.path, name), "is not a field that is known here")),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Fields, Wrong> {
        Fields::of(serde_json::from_str(text).expect("a test's JSON is well formed"))
    }

    #[test]
    fn a_key_given_twice_is_named() {
        assert_eq!(fields(r#"{"a":1,"b":2,"a":1}"#).err(), Some(Wrong::field("a", "is given twice")));
        let inner = fields(r#"{"labels":{"x":"1","x":"2"}}"#).expect("an object").inner("labels");
        assert_eq!(inner.err(), Some(Wrong::field("labels.x", "is given twice")));
    }

    #[test]
    fn what_nobody_read_is_named() {
        let mut object = fields(r#"{"known":true,"knwon":true}"#).expect("an object");
        assert_eq!(object.flag("known"), Ok(Some(true)));
        assert_eq!(object.end(), Err(Wrong::field("knwon", "is not a field that is known here")));
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        #[track_caller]
        fn check(value: &str, fits: bool) {
            let mut object = fields(&format!(r#"{{"n":{value}}}"#)).expect("an object");
            assert_eq!(object.whole("n", 0, 10).is_ok(), fits, "{value}");
        }
        check("0", true);
        check("10", true);
        check("-1", false);
        check("11", false);
        check("1.5", false);
        check("\"1\"", false);
        check("18446744073709551615", false);
    }

    #[test]
    fn moments_are_texts_or_milliseconds() {
        #[track_caller]
        fn check(value: &str, expected: Option<i64>) {
            let mut object = fields(&format!(r#"{{"t":{value}}}"#)).expect("an object");
            assert_eq!(object.moment("t").ok().flatten().map(Timestamp::ms), expected, "{value}");
        }
        check("\"1970-01-01T00:00:01Z\"", Some(1_000));
        check("1000", Some(1_000));
        check("\"1000\"", None);
        check("9223372036854775807", None);
        check("true", None);
    }
}
