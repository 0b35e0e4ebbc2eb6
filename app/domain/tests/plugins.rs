//! A change of plugins that a node took by delta, and what is not proven of that.

mod told;

use tidemark_domain::fact::{
    Announcement, Attributes, Connection, ConnectionEvent, Keeps, PluginChange, Report, Source, SyncMode, What,
};
use tidemark_domain::time::{MINUTE, SECOND};
use tidemark_domain::verdict::{ConfigWord, Overlay};
use told::{World, announced, config, line, node_id};

fn changes(token: &str, hash: &str, plugins: &[(&str, Keeps)]) -> Announcement {
    let change = |(name, keeps): &(&str, Keeps)| PluginChange { name: line(name), keeps: *keeps };
    Announcement { plugins_changed: plugins.iter().map(change).collect(), ..announced(token, &[hash]) }
}

/// It runs this from here on, and came to it in this way.
fn runs(world: &mut World, name: &str, mode: SyncMode) {
    let attributes = Attributes { sync_mode: Some(mode), ..Attributes::default() };
    world.starts("node", Report { attributes, ..Report::of(node_id("node"), config(name)) });
}

/// A node at one version, and then at the next, which changed these plugins.
fn after(plugins: &[(&str, Keeps)], mode: SyncMode) -> World {
    let mut world = World::listening();
    world.announce(changes("r1", "a", &[("rate-limiting", Keeps::Counters)]));
    runs(&mut world, "a", SyncMode::Delta);
    world.passes(10 * MINUTE);
    world.announce(changes("r2", "b", plugins));
    world.passes(SECOND);
    runs(&mut world, "b", mode);
    world
}

#[track_caller]
fn unverified(world: &World, state: bool, counters: bool) {
    assert_eq!(world.state_of("node"), ConfigWord::Current);
    let overlays = [Overlay::PluginStateUnverified, Overlay::CountersMayReset];
    assert_eq!(overlays.map(|overlay| world.has("node", overlay)), [state, counters]);
}

const LIMITS: (&str, Keeps) = ("rate-limiting", Keeps::Counters);
const CACHE: (&str, Keeps) = ("proxy-cache", Keeps::State);
const CORS: (&str, Keeps) = ("cors", Keeps::Nothing);

#[test]
fn what_a_delta_changed_of_what_a_plugin_keeps_is_not_verified() {
    unverified(&after(&[LIMITS], SyncMode::Delta), true, true);
    unverified(&after(&[CACHE], SyncMode::Delta), true, false);
    unverified(&after(&[CORS, CACHE], SyncMode::Delta), true, false);
    // Twins: it keeps nothing, or nothing was changed, or all was sent.
    unverified(&after(&[CORS], SyncMode::Delta), false, false);
    unverified(&after(&[], SyncMode::Delta), false, false);
    unverified(&after(&[LIMITS], SyncMode::Full), false, false);
    unverified(&after(&[LIMITS], SyncMode::FellBack), false, false);
}

#[test]
fn it_holds_over_later_deltas_until_the_whole_comes() {
    let mut world = after(&[LIMITS], SyncMode::Delta);
    for (number, name) in (3..).zip(["c", "d"]) {
        world.announce(announced(&format!("r{number}"), &[name]));
        world.passes(MINUTE);
        runs(&mut world, name, SyncMode::Delta);
        unverified(&world, true, true);
    }
    world.announce(announced("r5", &["a1"]));
    world.passes(MINUTE);
    runs(&mut world, "a1", SyncMode::Full);
    unverified(&world, false, false);
}

#[test]
fn a_delta_over_several_versions_counts_each_of_them() {
    let mut world = after(&[], SyncMode::Delta);
    world.announce(changes("r3", "c", &[CACHE]));
    world.announce(changes("r4", "d", &[CORS]));
    world.passes(SECOND);
    runs(&mut world, "d", SyncMode::Delta);
    unverified(&world, true, false);
}

#[test]
fn who_came_back_has_begun_anew() {
    // Its connection was opened again.
    let mut world = after(&[LIMITS], SyncMode::Delta);
    let opened = |world: &mut World| {
        let (event, attributes) = (ConnectionEvent::Opened, Attributes::default());
        let connection = Connection { node: Some(node_id("node")), event, attributes };
        world.tell(Source::Tap, What::Connection(connection));
    };
    opened(&mut world);
    unverified(&world, true, true);
    world.passes(1);
    opened(&mut world);
    unverified(&world, false, false);
    // It was silent, and is back: 45 s are no gap yet.
    for (silent_ms, expected) in [(45_000, true), (45_001, false)] {
        let mut world = after(&[LIMITS], SyncMode::Delta);
        world.stops("node");
        world.passes(silent_ms);
        runs(&mut world, "b", SyncMode::Delta);
        unverified(&world, expected, expected);
    }
}

/// The announcement comes after the node has it.
#[test]
fn what_was_changed_may_be_said_later() {
    let mut world = after(&[], SyncMode::Delta);
    world.announce(changes("r2", "b", &[LIMITS]));
    unverified(&world, true, true);
    let version = &world.ledger().versions()[1];
    assert_eq!(version.plugins_changed.len(), 1);
    // The most that is said of a plugin stands.
    world.announce(changes("r2", "b", &[("rate-limiting", Keeps::Nothing)]));
    unverified(&world, true, true);
}

#[test]
fn plugins_named_of_a_version_are_bounded() {
    let mut world = World::listening();
    let names: Vec<String> = (0..99).map(|number| format!("p{number}")).collect();
    let plugins: Vec<_> = names.iter().map(|name| (name.as_str(), Keeps::State)).collect();
    world.announce(changes("r1", "a", &plugins));
    assert_eq!(world.ledger().versions()[0].plugins_changed.len(), PluginChange::MAX);
}
