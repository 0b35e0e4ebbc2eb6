//! Names by numbers. A name that comes with every request is looked up once for each request and stored once for all.
//!
//! **Bounds.** A control plane may have so many names of each kind ([`Kind::max`]), and all of them together
//! [`NAMES_MAX`]; what comes after goes under [`OTHER`], and is counted. A name is at most 256 bytes; a longer one is cut, and ends in a digest of the whole, so that
//! two that begin alike stay two.

use std::borrow::Cow;
use std::collections::HashMap;

use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};

/// Bytes of a name at most.
pub const NAME_MAX: usize = 256;

/// Control planes at most: those that the fleet may have, and as many that only telemetry speaks of.
pub const SCOPES_MAX: usize = 1_024;

/// Names of all control planes and kinds together at most: some 200 MiB.
pub const NAMES_MAX: usize = 1_000_000;

/// The name of all that came after the bound.
pub const OTHER: &str = "(other)";

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Kong's service.
    Service,
    /// Kong's route.
    Route,
    /// Kong's consumer.
    Consumer,
    /// The application.
    Application,
    /// A node.
    Node,
    /// Something that a node uses.
    Resource,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Service, Self::Route, Self::Consumer, Self::Application, Self::Node, Self::Resource];

    /// Its number in the store.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Service => 1,
            Self::Route => 2,
            Self::Consumer => 3,
            Self::Application => 4,
            Self::Node => 5,
            Self::Resource => 6,
        }
    }

    /// Names of one control plane at most.
    #[must_use]
    pub const fn max(self) -> usize {
        match self {
            Self::Service | Self::Route => 5_000,
            Self::Consumer | Self::Application => 10_000,
            Self::Node => 100_000,
            Self::Resource => 100,
        }
    }
}

/// All names. The number 0 is no name.
#[derive(Debug, Default)]
pub struct Names {
    known: RwLock<Known>,
    /// Given a number, and not in the store yet.
    fresh: Mutex<Fresh>,
}

/// Names that are not in the store yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    /// Control planes.
    pub scopes: Vec<(u32, String)>,
    /// Number, scope, kind, name.
    pub names: Vec<(u32, u32, u8, String)>,
}

#[derive(Debug, Default)]
struct Known {
    scopes: HashMap<String, u32>,
    scope_names: HashMap<u32, String>,
    /// By scope and kind.
    numbers: HashMap<(u32, Kind), HashMap<String, u32>>,
    names: HashMap<u32, String>,
    last: u32,
    last_scope: u32,
    /// Names that went under [`OTHER`], by kind.
    over: HashMap<Kind, u64>,
}

impl Names {
    /// The names of a store.
    #[must_use]
    pub fn of(scopes: Vec<(u32, String)>, names: Vec<(u32, u32, u8, String)>) -> Self {
        let mut known = Known::default();
        for (number, name) in scopes {
            known.last_scope = known.last_scope.max(number);
            known.scope_names.insert(number, name.clone());
            known.scopes.insert(name, number);
        }
        for (number, scope, kind, name) in names {
            known.last = known.last.max(number);
            let Some(kind) = Kind::ALL.into_iter().find(|one| one.number() == kind) else { continue };
            known.names.insert(number, name.clone());
            known.numbers.entry((scope, kind)).or_default().insert(name, number);
        }
        Self { known: RwLock::new(known), fresh: Mutex::default() }
    }

    /// The number of a control plane; 0, "unattributed", for none and for those beyond the bound.
    pub fn scope(&self, control_plane: &str) -> u32 {
        if control_plane.is_empty() {
            return 0;
        }
        if let Some(number) = self.known.read().scopes.get(control_plane) {
            return *number;
        }
        let mut known = self.known.write();
        if let Some(number) = known.scopes.get(control_plane) {
            return *number;
        }
        if known.scopes.len() >= SCOPES_MAX {
            return 0;
        }
        known.last_scope += 1;
        let number = known.last_scope;
        known.scopes.insert(control_plane.to_owned(), number);
        known.scope_names.insert(number, control_plane.to_owned());
        // While the other lock is held, so that whoever was given the number finds it here.
        self.fresh.lock().scopes.push((number, control_plane.to_owned()));
        number
    }

    /// The number of a name; 0 for an empty one.
    pub fn number(&self, scope: u32, kind: Kind, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let name = tidy(name);
        if let Some(number) = self.known.read().numbers.get(&(scope, kind)).and_then(|of| of.get(name.as_ref())) {
            return *number;
        }
        let mut known = self.known.write();
        let of = known.numbers.entry((scope, kind)).or_default();
        let (taken, found) = (of.len(), of.get(name.as_ref()).copied());
        if let Some(number) = found {
            return number;
        }
        let name = if taken >= kind.max() || known.names.len() >= NAMES_MAX {
            *known.over.entry(kind).or_default() += 1;
            if let Some(number) = known.numbers.get(&(scope, kind)).and_then(|of| of.get(OTHER)) {
                return *number;
            }
            Cow::Borrowed(OTHER)
        } else {
            name
        };
        known.last += 1;
        let number = known.last;
        known.numbers.entry((scope, kind)).or_default().insert(name.clone().into_owned(), number);
        known.names.insert(number, name.clone().into_owned());
        self.fresh.lock().names.push((number, scope, kind.number(), name.into_owned()));
        number
    }

    /// The number of a name that is known already.
    #[must_use]
    pub fn find(&self, scope: u32, kind: Kind, name: &str) -> Option<u32> {
        let name = tidy(name);
        self.known.read().numbers.get(&(scope, kind)).and_then(|of| of.get(name.as_ref())).copied()
    }

    /// The number of a control plane that is known already.
    #[must_use]
    pub fn find_scope(&self, control_plane: &str) -> Option<u32> {
        self.known.read().scopes.get(control_plane).copied()
    }

    /// Every control plane and its number; the unattributed one has an empty name.
    #[must_use]
    pub fn scopes(&self) -> Vec<(u32, String)> {
        let mut scopes: Vec<_> =
            self.known.read().scope_names.iter().map(|(number, name)| (*number, name.clone())).collect();
        scopes.sort_unstable();
        scopes
    }

    /// All names of one kind of one control plane, in no order.
    #[must_use]
    pub fn all(&self, scope: u32, kind: Kind) -> Vec<(u32, String)> {
        let known = self.known.read();
        let of = known.numbers.get(&(scope, kind));
        of.into_iter().flatten().map(|(name, number)| (*number, name.clone())).collect()
    }

    /// The name of a number.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<String> {
        self.known.read().names.get(&number).cloned()
    }

    /// The name of a control plane's number; empty for the unattributed one.
    #[must_use]
    pub fn scope_name(&self, number: u32) -> String {
        self.known.read().scope_names.get(&number).cloned().unwrap_or_default()
    }

    /// How many names went under [`OTHER`], of all kinds, since the start.
    #[must_use]
    pub fn over(&self) -> u64 {
        self.known.read().over.values().sum()
    }

    /// Takes the names that are not in the store yet.
    #[must_use]
    pub fn take_fresh(&self) -> Fresh {
        std::mem::take(&mut *self.fresh.lock())
    }

    /// Puts names back that could not be stored.
    pub fn put_back(&self, fresh: Fresh) {
        let mut now = self.fresh.lock();
        let later = std::mem::replace(&mut *now, fresh);
        now.scopes.extend(later.scopes);
        now.names.extend(later.names);
    }
}

/// A name as it is kept: of at most [`NAME_MAX`] bytes, without control characters.
fn tidy(name: &str) -> Cow<'_, str> {
    let plain = !name.chars().any(char::is_control);
    if plain && name.len() <= NAME_MAX {
        return Cow::Borrowed(name);
    }
    let clean: String = name.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect();
    if clean.len() <= NAME_MAX {
        return Cow::Owned(clean);
    }
    let digest = Sha256::digest(name.as_bytes());
    let tail = format!("…{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    let room = NAME_MAX - tail.len();
    let end = (0..=room).rev().find(|at| clean.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{}{tail}", &clean[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number_and_comes_back() {
        let names = Names::default();
        let scope = names.scope("prod");
        let number = names.number(scope, Kind::Route, "orders");
        assert_eq!(names.number(scope, Kind::Route, "orders"), number);
        assert_ne!(names.number(scope, Kind::Service, "orders"), number);
        assert_ne!(names.number(names.scope("lab"), Kind::Route, "orders"), number);
        assert_eq!((names.name(number).as_deref(), names.scope_name(scope).as_str()), (Some("orders"), "prod"));
        let fresh = names.take_fresh();
        assert_eq!((fresh.scopes.len(), fresh.names.len()), (2, 3));
        let again = Names::of(fresh.scopes, fresh.names);
        assert_eq!(again.find(scope, Kind::Route, "orders"), Some(number));
        assert_eq!(again.take_fresh(), Fresh::default());
        assert_eq!((again.scope(""), again.number(scope, Kind::Route, "")), (0, 0));
    }

    #[test]
    fn beyond_the_bound_all_names_are_one_and_are_counted() {
        let names = Names::default();
        let scope = names.scope("prod");
        let numbers: Vec<u32> =
            (0..Kind::Resource.max()).map(|index| names.number(scope, Kind::Resource, &index.to_string())).collect();
        let (first, second) = (names.number(scope, Kind::Resource, "a"), names.number(scope, Kind::Resource, "b"));
        assert_eq!((first, names.name(first).as_deref(), names.over()), (second, Some(OTHER), 2));
        assert!(!numbers.contains(&first));
        assert_eq!(names.number(scope, Kind::Resource, "7"), numbers[7], "those before stay");
    }

    #[test]
    fn a_long_name_is_cut_and_stays_its_own() {
        let (one, other) = (format!("{}1", "é".repeat(5_000)), format!("{}2", "é".repeat(5_000)));
        let (one, other) = (tidy(&one), tidy(&other));
        assert!(one.len() <= NAME_MAX && one.contains('…'), "{one}");
        assert_ne!(one, other);
        assert_eq!(tidy(&"a".repeat(NAME_MAX)), "a".repeat(NAME_MAX));
        assert_eq!(tidy("a\u{0}\u{202e}b\n"), "a\u{fffd}\u{202e}b\u{fffd}");
    }

    #[test]
    fn names_that_could_not_be_stored_come_first_the_next_time() {
        let names = Names::default();
        let scope = names.scope("prod");
        let first = names.number(scope, Kind::Route, "a");
        let taken = names.take_fresh();
        let second = names.number(scope, Kind::Route, "b");
        names.put_back(taken);
        let numbers: Vec<u32> = names.take_fresh().names.into_iter().map(|(number, ..)| number).collect();
        assert_eq!(numbers, [first, second]);
    }
}
