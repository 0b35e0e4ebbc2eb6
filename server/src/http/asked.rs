//! What a URL asks, parsed at the door: an unknown parameter is an error that names it, because a filter that is
//! misspelt and ignored answers another question.

use std::fmt;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use tidemark_app::api::Paging;
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::Moment;

use crate::http::problem::Problem;

/// Rows of a page at most (`Paging::size`).
const ROWS_MAX: u32 = 500;

/// The parameters of a query that were not read yet.
#[derive(Debug)]
pub struct Asked(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the query cannot be read"))?;
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(Problem::bad(&cut(twice[0]), "is given twice")),
            None => Ok(Self(pairs)),
        }
    }
}

impl Asked {
    /// A parameter's value.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(parameter, _)| parameter == name)?;
        Some(self.0.swap_remove(index).1)
    }

    /// `at` and `known`.
    ///
    /// # Errors
    /// 400, naming the one that is wrong.
    pub fn moment(&mut self) -> Result<Moment, Problem> {
        let at = self.take("at").map(|text| {
            // A plus in a query is a space; people paste offsets.
            let moment = Timestamp::parse(&text).or_else(|| Timestamp::parse(&text.replace(' ', "+")));
            moment.ok_or_else(|| Problem::bad("at", "expected a time as RFC 3339, as in 2026-11-20T08:53:57Z"))
        });
        let at = at.transpose()?;
        let known_now = match self.take("known").as_deref() {
            None => false,
            Some("now") if at.is_some() => true,
            Some("now") => return Err(Problem::bad("known", "goes with at only")),
            Some(_) => return Err(Problem::bad("known", "expected now")),
        };
        Ok(Moment { at, known_now })
    }

    /// `after` and `size`.
    ///
    /// # Errors
    /// 400, naming the one that is wrong.
    pub fn paging(&mut self) -> Result<Paging, Problem> {
        let size = self.take("size").map(|text| match text.parse() {
            Ok(size @ 1..=ROWS_MAX) => Ok(size),
            _ => Err(Problem::bad("size", format!("expected a whole number from 1 to {ROWS_MAX}"))),
        });
        Ok(Paging { after: self.take("after"), size: size.transpose()? })
    }

    /// All that is left.
    #[must_use]
    pub fn rest(self) -> Vec<(String, String)> {
        self.0
    }

    /// Nothing is left.
    ///
    /// # Errors
    /// 400 if something is: the first unknown parameter, by name.
    pub fn end(self) -> Result<(), Problem> {
        match self.0.iter().map(|(name, _)| name).min() {
            None => Ok(()),
            Some(name) => Err(Problem::bad(&cut(name), "is not a parameter that is known here")),
        }
    }
}

/// One part of a path as a domain value.
///
/// # Errors
/// 400, naming the part.
pub fn part<T: FromStr<Err: fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::bad(name, error.to_string()))
}

/// The parts of a path, not read yet.
#[derive(Debug)]
pub struct Parted<T>(pub T);

impl<T: serde::de::DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Parted<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(parted)) => Ok(Self(parted)),
            Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the path cannot be read")),
        }
    }
}

fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}
