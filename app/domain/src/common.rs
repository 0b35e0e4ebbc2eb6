//! What a set of nodes shares that the rest does not: "27 of 29 are 3.10.0.2 in eu-west; 0.4 % of the rest".
//!
//! A value stands out where at least [`NODES_MIN`] nodes of the set have it, they are at least four of five of the set,
//! and it is at least twice as frequent inside as outside. That is a hint for a person, not a test of significance: the
//! counts are always shown beside it. Where there is no rest to compare with, nothing stands out.

use crate::fact::{Attributes, Source};
use crate::id::CpName;
use crate::view::CommonFactor;
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

/// What may be shared of a node.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its control plane.
    pub control_plane: &'a CpName,
    /// Gateway version, labels and plugin set.
    pub attributes: &'a Attributes,
    /// The source that decided.
    pub source: Option<Source>,
}

/// One node is no pattern.
pub const NODES_MIN: u32 = 2;
/// Factors that are named at most.
pub const FACTORS_MAX: usize = 5;
/// Values of one property at most: one with more of them names nodes, and is left out.
pub const VALUES_MAX: usize = 4_096;
/// Properties at most, the first ones met; a node has four, and seldom more than ten labels.
const PROPERTIES_MAX: usize = 256;
/// Values that pass inside the set and are then looked for outside; the most frequent ones. Fits the bits of a mask.
const SUSPECTS_MAX: usize = 32;

/// What the nodes `inside` share and those `outside` do not, strongest first, at most [`FACTORS_MAX`]. Properties that
/// are `left_out` are not considered: what was asked for is shared by everything that was found
/// ([`crate::query::Query::keys`]).
///
/// Beside single values the best pair of values is named where it is at least one and a half times as strong as either
/// of its values; its key and value are joined by [`PAIR`]. Reads `inside` twice and `outside` once, and of the rest it
/// counts only what stood out inside, so that a small set in a large fleet is cheap.
#[must_use]
pub fn common_factor<'a>(
    inside: impl Iterator<Item = Member<'a>> + Clone,
    outside: impl Iterator<Item = Member<'a>>,
    left_out: &[String],
) -> Vec<CommonFactor> {
    let (suspects, inside_of) = suspects(inside.clone(), left_out);
    if suspects.is_empty() {
        return Vec::new();
    }
    let mut hits = Hits::of(suspects.len());
    inside.for_each(|member| hits.inside.add(mask(&member, &suspects)));
    outside.for_each(|member| hits.outside.add(mask(&member, &suspects)));
    let outside_of = hits.outside.nodes;
    let factor = |key, value, inside, outside| CommonFactor { key, value, inside, inside_of, outside, outside_of };

    let single = |index: usize| {
        let suspect: &Suspect<'_> = &suspects[index];
        let key = suspect.property.key();
        factor(key, suspect.value.to_owned(), hits.inside.single[index], hits.outside.single[index])
    };
    let mut factors: Vec<CommonFactor> = (0..suspects.len()).map(single).filter(stands_out).collect();
    factors.sort_by(strongest_first);
    factors.truncate(FACTORS_MAX);

    let pairs = (0..suspects.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
    let pair = pairs.filter_map(|(first, second)| {
        // In the order of properties, whichever is the more frequent: gateway and region, not region and gateway.
        let in_order = suspects[first].property <= suspects[second].property;
        let (one, other) = if in_order { (single(first), single(second)) } else { (single(second), single(first)) };
        let (key, value) = (format!("{}{PAIR}{}", one.key, other.key), format!("{}{PAIR}{}", one.value, other.value));
        let place = pair_place(first, second);
        let pair = factor(key, value, hits.inside.pairs[place], hits.outside.pairs[place]);
        let worth_it = stands_out(&pair) && much_stronger(&pair, &one) && much_stronger(&pair, &other);
        worth_it.then_some(pair)
    });
    if let Some(pair) = pair.min_by(strongest_first) {
        factors.push(pair);
        factors.sort_by(strongest_first);
        factors.truncate(FACTORS_MAX);
    }
    factors
}

/// Between the keys, and between the values, of a factor of two. A label may have it too; nothing is read back from it
/// but the search of [`search`], which then finds no nodes.
pub const PAIR: &str = " + ";

/// How many times as often nodes of the set have it as nodes of the rest; `None` where none of the rest has it.
#[must_use]
pub fn lift(factor: &CommonFactor) -> Option<f64> {
    let share = |of: u32, all: u32| f64::from(of) / f64::from(all.max(1));
    (factor.outside > 0).then(|| share(factor.inside, factor.inside_of) / share(factor.outside, factor.outside_of))
}

/// The question that lists the nodes that have a factor, where the search has a word for it: there is none for the
/// plugin set.
#[must_use]
pub fn search(factor: &CommonFactor) -> Option<String> {
    let term = |key: &str, value: &str| (key != Property::PluginSet.key()).then(|| crate::query::term(key, value));
    match (factor.key.split_once(PAIR), factor.value.split_once(PAIR)) {
        (Some((key, key2)), Some((value, value2))) => Some(format!("{} {}", term(key, value)?, term(key2, value2)?)),
        (Some(_), None) | (None, Some(_) | None) => term(&factor.key, &factor.value),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Property<'a> {
    Gateway,
    ControlPlane,
    PluginSet,
    Source,
    Label(&'a str),
}

impl Property<'_> {
    fn key(self) -> String {
        match self {
            Self::Gateway => "gateway".to_owned(),
            Self::ControlPlane => "cp".to_owned(),
            Self::PluginSet => "plugin_set".to_owned(),
            Self::Source => "source".to_owned(),
            Self::Label(label) => format!("label.{label}"),
        }
    }
}

impl<'a> Member<'a> {
    fn value(&self, property: Property<'_>) -> Option<&'a str> {
        match property {
            Property::Gateway => self.attributes.gateway_version.as_ref().map(|version| version.as_str()),
            Property::ControlPlane => Some(self.control_plane.as_str()),
            Property::PluginSet => self.attributes.plugin_set.as_ref().map(|digest| digest.as_str()),
            Property::Source => self.source.map(Source::word),
            Property::Label(label) => self.attributes.labels.as_ref().and_then(|labels| labels.get(label)),
        }
    }

    fn properties(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let labels = self.attributes.labels.iter().flat_map(|labels| labels.iter());
        [Property::Gateway, Property::ControlPlane, Property::PluginSet, Property::Source]
            .into_iter()
            .chain(labels.map(|(label, _)| Property::Label(label)))
    }
}

/// A value that enough of the set has.
#[derive(Debug)]
struct Suspect<'a> {
    property: Property<'a>,
    value: &'a str,
    inside: u32,
}

/// The values that pass inside, most frequent first, and the size of the set. At most one for each property: two
/// values cannot both have four of five nodes.
fn suspects<'a>(inside: impl Iterator<Item = Member<'a>>, left_out: &[String]) -> (Vec<Suspect<'a>>, u32) {
    let mut nodes: u32 = 0;
    // `None`: too many values.
    let mut counts: HashMap<Property<'a>, Option<HashMap<&'a str, u32>>> = HashMap::new();
    for member in inside {
        nodes = nodes.saturating_add(1);
        for property in member.properties() {
            let Some(value) = member.value(property) else { continue };
            if counts.len() >= PROPERTIES_MAX && !counts.contains_key(&property) {
                continue;
            }
            let values = counts.entry(property).or_insert_with(|| Some(HashMap::new()));
            if let Some(known) = values {
                *known.entry(value).or_default() += 1;
                if known.len() > VALUES_MAX {
                    *values = None;
                }
            }
        }
    }
    counts.retain(|property, _| !left_out.contains(&property.key()));
    let mut suspects: Vec<Suspect<'a>> = counts
        .into_iter()
        .filter_map(|(property, values)| Some((property, values?)))
        .flat_map(|(property, values)| {
            values.into_iter().map(move |(value, inside)| Suspect { property, value, inside })
        })
        .filter(|suspect| frequent(suspect.inside, nodes))
        .collect();
    suspects.sort_unstable_by_key(|suspect| (Reverse(suspect.inside), suspect.property));
    suspects.truncate(SUSPECTS_MAX);
    (suspects, nodes)
}

/// At least four of five, and at least [`NODES_MIN`].
fn frequent(inside: u32, inside_of: u32) -> bool {
    inside >= NODES_MIN && u64::from(inside) * 5 >= u64::from(inside_of) * 4
}

/// Frequent inside, at least twice as frequent as outside, and there is an outside.
fn stands_out(factor: &CommonFactor) -> bool {
    let (inside, inside_of) = (u64::from(factor.inside), u64::from(factor.inside_of));
    let (outside, outside_of) = (u64::from(factor.outside), u64::from(factor.outside_of));
    outside_of > 0 && frequent(factor.inside, factor.inside_of) && inside * outside_of >= 2 * outside * inside_of
}

/// By lift, as if one more node outside had it (so that "none outside" has a size), then by nodes inside, then by name.
/// The sizes of set and rest are the same for all factors and fall out.
fn strongest_first(one: &CommonFactor, other: &CommonFactor) -> Ordering {
    let lift = |mine: &CommonFactor, theirs: &CommonFactor| u64::from(mine.inside) * (u64::from(theirs.outside) + 1);
    lift(other, one)
        .cmp(&lift(one, other))
        .then_with(|| other.inside.cmp(&one.inside))
        .then_with(|| (&one.key, &one.value).cmp(&(&other.key, &other.value)))
}

fn much_stronger(pair: &CommonFactor, single: &CommonFactor) -> bool {
    let lift = |mine: &CommonFactor, theirs: &CommonFactor| u64::from(mine.inside) * (u64::from(theirs.outside) + 1);
    2 * lift(pair, single) >= 3 * lift(single, pair)
}

/// Which of the suspects a node has, a bit each.
fn mask(member: &Member<'_>, suspects: &[Suspect<'_>]) -> u32 {
    let has = |suspect: &Suspect<'_>| member.value(suspect.property) == Some(suspect.value);
    suspects.iter().enumerate().fold(0, |mask, (index, suspect)| mask | u32::from(has(suspect)) << index)
}

/// Counts of suspects and of pairs of them.
#[derive(Debug)]
struct Hits {
    inside: Counts,
    outside: Counts,
}

#[derive(Debug)]
struct Counts {
    nodes: u32,
    single: Vec<u32>,
    pairs: Vec<u32>,
}

impl Hits {
    fn of(suspects: usize) -> Self {
        let counts = || Counts { nodes: 0, single: vec![0; suspects], pairs: vec![0; pair_place(0, suspects)] };
        Self { inside: counts(), outside: counts() }
    }
}

impl Counts {
    fn add(&mut self, mask: u32) {
        self.nodes = self.nodes.saturating_add(1);
        for second in (0..self.single.len()).filter(|index| mask & 1 << index != 0) {
            self.single[second] += 1;
            for first in (0..second).filter(|index| mask & 1 << index != 0) {
                self.pairs[pair_place(first, second)] += 1;
            }
        }
    }
}

/// Pairs in a row: (0,1), (0,2), (1,2), (0,3) …
const fn pair_place(first: usize, second: usize) -> usize {
    if second == 0 { 0 } else { second * (second - 1) / 2 + first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Labels;

    fn attributes(gateway: &str, labels: &[(&str, &str)]) -> Attributes {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Attributes { gateway_version: gateway.parse().ok(), labels: Labels::new(labels).ok(), ..Attributes::default() }
    }

    /// Factors as `key=value inside/inside_of outside/outside_of`.
    fn found(inside: &[Attributes], outside: &[Attributes], left_out: &[&str]) -> Vec<String> {
        let control_plane: CpName = "eu-prod".parse().expect("a name");
        let member = |attributes| Member { control_plane: &control_plane, attributes, source: Some(Source::Push) };
        let left_out: Vec<String> = left_out.iter().map(|key| (*key).to_owned()).collect();
        common_factor(inside.iter().map(member), outside.iter().map(member), &left_out)
            .iter()
            .map(|factor| {
                let CommonFactor { key, value, inside, inside_of, outside, outside_of } = factor;
                format!("{key}={value} {inside}/{inside_of} {outside}/{outside_of}")
            })
            .collect()
    }

    /// `nodes` nodes, of which the first `with` have the label.
    fn set(with: usize, nodes: usize) -> Vec<Attributes> {
        (0..nodes).map(|index| attributes("", if index < with { &[("zone", "b")] } else { &[] })).collect()
    }

    #[test]
    fn each_threshold_has_two_sides() {
        #[track_caller]
        fn check(what: &str, inside: (usize, usize), outside: (usize, usize), expected: bool) {
            let found = found(&set(inside.0, inside.1), &set(outside.0, outside.1), &[]);
            assert_eq!(!found.is_empty(), expected, "{what}: {found:?}");
        }
        check("two nodes are a pattern", (2, 2), (0, 10), true);
        check("one node is none", (1, 1), (0, 10), false);
        check("four of five", (4, 5), (0, 10), true);
        check("less than four of five", (79, 100), (0, 10), false);
        check("twice as frequent", (10, 10), (5, 10), true);
        check("less than twice", (100, 100), (51, 100), false);
        check("twice as frequent, not all inside", (8, 10), (4, 10), true);
        check("less than twice, not all inside", (8, 10), (41, 100), false);
        check("no rest", (10, 10), (0, 0), false);
        check("no set", (0, 0), (5, 10), false);
        check("everyone has it", (10, 10), (10, 10), false);
    }

    #[test]
    fn the_pair_that_explains_it_is_first() {
        // 27 of 29 are 3.10.0.2 in eu-west; either alone is common outside too.
        let nodes = |count, gateway: &str, region: &str| vec![attributes(gateway, &[("region", region)]); count];
        let inside = [nodes(27, "3.10.0.2", "eu-west"), nodes(2, "3.9.1", "eu-north")].concat();
        let outside = [
            nodes(1, "3.10.0.2", "eu-west"),
            nodes(99, "3.10.0.2", "eu-north"),
            nodes(80, "3.9.1", "eu-west"),
            nodes(70, "3.9.1", "eu-north"),
        ]
        .concat();
        let pair = "gateway + label.region=3.10.0.2 + eu-west 27/29 1/250";
        assert_eq!(
            found(&inside, &outside, &[]),
            [pair, "label.region=eu-west 27/29 81/250", "gateway=3.10.0.2 27/29 100/250"]
        );
        assert_eq!(found(&inside, &outside, &["label.region"]), ["gateway=3.10.0.2 27/29 100/250"]);
    }

    /// G18, by the numbers: nodes that are behind, and those that are not, by gateway and region.
    fn stragglers(behind: [usize; 4]) -> Vec<String> {
        let groups = [
            (27, "3.8.1", "eu-west-1"),
            (200, "3.9.1", "eu-west-1"),
            (223, "3.9.1", "eu-north-1"),
            (50, "3.8.1", "eu-north-1"),
        ];
        let nodes = |count: usize, gateway: &str, region: &str| vec![attributes(gateway, &[("region", region)]); count];
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for ((all, gateway, region), behind) in groups.into_iter().zip(behind) {
            inside.extend(nodes(behind, gateway, region));
            outside.extend(nodes(all - behind, gateway, region));
        }
        assert_eq!((inside.len(), outside.len()), (29, 471));
        found(&inside, &outside, &[])
    }

    #[test]
    fn stragglers_of_one_gateway_version_in_one_region_are_told_from_those_that_are_anywhere() {
        assert_eq!(
            stragglers([27, 1, 1, 0]),
            [
                "gateway + label.region=3.8.1 + eu-west-1 27/29 0/471",
                "gateway=3.8.1 27/29 50/471",
                "label.region=eu-west-1 28/29 199/471",
            ]
        );
        // Twin: as many of them, all over the fleet.
        assert_eq!(stragglers([2, 12, 12, 3]), [""; 0]);
        // The gateway version alone, and the region alone.
        assert_eq!(stragglers([10, 1, 1, 17]), ["gateway=3.8.1 27/29 50/471"]);
        assert_eq!(stragglers([3, 25, 1, 0]), ["label.region=eu-west-1 28/29 199/471"]);
    }

    #[test]
    fn lift_is_the_quotient_of_the_shares() {
        let of = |inside, inside_of, outside, outside_of| {
            lift(&CommonFactor { key: String::new(), value: String::new(), inside, inside_of, outside, outside_of })
        };
        assert_eq!(of(10, 10, 25, 100), Some(4.0));
        assert_eq!(of(8, 10, 40, 100), Some(2.0));
        assert_eq!(of(10, 10, 0, 100), None);
    }

    #[test]
    fn a_pair_that_adds_little_is_not_named() {
        let both = |count| vec![attributes("3.10.0.2", &[("region", "eu-west")]); count];
        let rest = vec![attributes("3.9.1", &[]); 50];
        let found = found(&both(10), &[both(2), rest].concat(), &[]);
        assert_eq!(found, ["gateway=3.10.0.2 10/10 2/52", "label.region=eu-west 10/10 2/52"]);
    }

    #[test]
    fn at_most_five_in_one_order() {
        let labels: Vec<(String, String)> = (0..40).map(|key| (format!("key-{key:02}"), "same".to_owned())).collect();
        let many = Attributes { labels: Labels::new(labels).ok(), ..Attributes::default() };
        let inside = vec![many; 3];
        let first = found(&inside, &set(0, 10), &[]);
        assert_eq!(first.len(), FACTORS_MAX);
        assert!(first[0].starts_with("label.key-00=same 3/3 0/10"), "{first:?}");
        for _ in 0..5 {
            assert_eq!(found(&inside, &set(0, 10), &[]), first);
        }
    }

    #[test]
    fn a_label_with_too_many_values_is_left_out() {
        let inside = |others: usize| -> Vec<Attributes> {
            let other = |number: usize| attributes("", &[("pod", number.to_string().as_str())]);
            let same = std::iter::repeat_with(|| attributes("", &[("pod", "same")])).take(others * 5);
            same.chain((0..others).map(other)).collect()
        };
        assert_eq!(found(&inside(VALUES_MAX - 1), &set(0, 10), &[]).len(), 1);
        assert_eq!(found(&inside(VALUES_MAX), &set(0, 10), &[]).len(), 0);
    }

    #[test]
    fn a_factor_has_a_question_where_the_search_has_the_word() {
        #[track_caller]
        fn check(key: &str, value: &str, expected: Option<&str>) {
            let (key, value) = (key.to_owned(), value.to_owned());
            let factor = CommonFactor { key, value, inside: 2, inside_of: 2, outside: 0, outside_of: 2 };
            assert_eq!(search(&factor).as_deref(), expected);
        }
        check("label.region", "eu west", Some("label.region:\"eu west\""));
        check("gateway", "3.9.1", Some("gateway:=3.9.1"));
        check("gateway + label.region", "3.9.1 + eu", Some("gateway:=3.9.1 label.region:eu"));
        check("plugin_set", "0123456789abcdef", None);
        check("gateway + plugin_set", "3.9.1 + 0123456789abcdef", None);
        check("label.region", "a + b", Some("label.region:\"a + b\""));
    }
}
