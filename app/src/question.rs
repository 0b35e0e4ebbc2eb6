//! The question of the list of nodes as text: how a facet, a column head or a removed word changes it. What the words
//! mean is decided by `tidemark_domain::query` on the server; here they are only put together and taken apart.

/// The words of a question, split at spaces outside of quotes.
fn words(question: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in question.chars() {
        if letter == '"' {
            quoted = !quoted;
        }
        if letter.is_whitespace() && !quoted {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `key:value`, quoted where the value has a space.
fn word(key: &str, value: &str) -> String {
    if value.contains(char::is_whitespace) || value.is_empty() {
        format!("{key}:\"{value}\"")
    } else {
        format!("{key}:{value}")
    }
}

/// Whether a question has this very word.
#[must_use]
pub fn has(question: &str, key: &str, value: &str) -> bool {
    words(question).contains(&word(key, value))
}

/// The question narrowed by a word: another value of the same key makes room for it, and the word itself, where it is
/// there already, is taken away.
#[must_use]
pub fn toggled(question: &str, key: &str, value: &str) -> String {
    let (prefix, chosen) = (format!("{key}:"), word(key, value));
    let mut rest = words(question);
    let was_chosen = rest.contains(&chosen);
    rest.retain(|word| !word.starts_with(&prefix));
    if !was_chosen {
        rest.push(chosen);
    }
    rest.join(" ")
}

/// The direction in which a list is sorted, as `aria-sort` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

impl Direction {
    /// The word of `aria-sort`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Descending => "descending",
        }
    }

    /// The arrow beside the column's name.
    #[must_use]
    pub const fn arrow(self) -> &'static str {
        match self {
            Self::Ascending => "↑",
            Self::Descending => "↓",
        }
    }
}

/// How the question sorts by this key; `None` if it sorts by another or by none.
#[must_use]
pub fn sorted(question: &str, key: &str) -> Option<Direction> {
    let order = words(question).into_iter().rev().find_map(|word| word.strip_prefix("sort:").map(str::to_owned))?;
    match order.strip_prefix('-') {
        Some(descending) => (descending == key).then_some(Direction::Descending),
        None => (order == key).then_some(Direction::Ascending),
    }
}

/// The question sorted by this key: ascending at first, the other way round if it already is.
#[must_use]
pub fn sort_by(question: &str, key: &str) -> String {
    let sign = match sorted(question, key) {
        Some(Direction::Ascending) => "-",
        Some(Direction::Descending) | None => "",
    };
    let mut rest = words(question);
    rest.retain(|word| !word.starts_with("sort:"));
    rest.push(format!("sort:{sign}{key}"));
    rest.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facet_narrows_replaces_and_lets_go() {
        #[track_caller]
        fn check(question: &str, key: &str, value: &str, expected: &str) {
            assert_eq!(toggled(question, key, value), expected);
        }
        check("", "cp", "eu-prod", "cp:eu-prod");
        check("gw-1 cp:us-prod", "cp", "eu-prod", "gw-1 cp:eu-prod");
        check("gw-1 cp:eu-prod", "cp", "eu-prod", "gw-1");
        check("label.region:eu", "label.zone", "a b", "label.region:eu label.zone:\"a b\"");
        check("label.zone:\"a b\"", "label.zone", "a b", "");
    }

    #[test]
    fn a_column_head_turns_the_order_round() {
        #[track_caller]
        fn check(question: &str, expected: &str) {
            assert_eq!(sort_by(question, "since"), expected);
        }
        check("cp:a", "cp:a sort:since");
        check("cp:a sort:since", "cp:a sort:-since");
        check("cp:a sort:-since", "cp:a sort:since");
        check("cp:a sort:node", "cp:a sort:since");
        assert_eq!(sorted("sort:-since", "since"), Some(Direction::Descending));
        assert_eq!(sorted("sort:-since", "node"), None);
    }

    #[test]
    fn a_word_is_found_whole() {
        assert!(has("state:behind cp:a", "state", "behind"));
        assert!(!has("state:behind2", "state", "behind"));
    }
}
