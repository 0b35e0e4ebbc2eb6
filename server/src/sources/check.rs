//! `tidemark check-source NAME`: asks once, and says line by line what works and what does not. Nothing is stored.

use super::settings::{Kind, Settings};
use super::{admin_api, konnect, shadow, status};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// A line for each thing that was tried, and whether it works.
    pub lines: Vec<(bool, String)>,
}

impl Found {
    /// Whether anything works.
    #[must_use]
    pub fn works(&self) -> bool {
        self.lines.iter().any(|(works, _)| *works)
    }
}

/// Tries a source once.
pub async fn check(settings: &Settings) -> Found {
    let mut found = Found::default();
    let mut say = |works: bool, words: String| found.lines.push((works, words));
    match &settings.kind {
        Kind::AdminApi { urls } => admin_api::check(settings, urls, &mut say).await,
        Kind::Status(targets) => status::check(settings, targets, &mut say).await,
        Kind::Konnect(given) => konnect::check(settings, given, &mut say).await,
        Kind::Shadow(given) => shadow::check(settings, given, &mut say).await,
    }
    found
}
