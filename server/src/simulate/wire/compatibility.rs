//! Whether a control plane serves a node (`kong-hybrid.md` 1.5, 1.9, 2.1). Decisions of values, as Kong makes them.

use super::publishing::Rendering;
use crate::kong::facts::{Introduction, PluginVersion, SyncStatus};

/// What is decided before a configuration is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is sent; the row says `normal`.
    Yes,
    /// It is withheld, and the row says why.
    Withheld(SyncStatus),
    /// It is withheld, and the row says what it said before: routes of two kinds, which this node cannot read together.
    Silently,
}

/// The first numbers of a version, four at most; `None` where Kong finds no version (`^(\d+)\.(\d+)\.\d+`).
fn numbers(version: &str) -> Option<[u64; 4]> {
    let numeric = version.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let mut numbers = [0; 4];
    let mut count = 0;
    for (slot, part) in numbers.iter_mut().zip(version[..numeric].split('.')) {
        match part.parse() {
            Ok(number) => *slot = number,
            // A dot before the suffix.
            Err(_) => break,
        }
        count += 1;
    }
    (count >= 3).then_some(numbers)
}

/// Whether the versions go together: the major ones are equal, and the node's minor one is not newer. The row's
/// `kong_version_incompatible` otherwise.
#[must_use]
pub fn is_version_compatible(control_plane: &str, node: Option<&str>) -> bool {
    match (numbers(control_plane), node.and_then(numbers)) {
        (Some([our_major, our_minor, ..]), Some([major, minor, ..])) => major == our_major && minor <= our_minor,
        _ => false,
    }
}

/// Whether v2's sync is offered: to no node whose version is lower in any of four numbers, as nothing is trimmed for it.
#[must_use]
pub fn is_sync_offered(control_plane: &str, node: Option<&str>) -> bool {
    match (numbers(control_plane), node.and_then(numbers)) {
        (Some(ours), Some(theirs)) => ours.iter().zip(theirs).all(|(ours, theirs)| theirs >= *ours),
        _ => false,
    }
}

/// Whether a configuration is sent to a node. Only what is configured counts.
#[must_use]
pub fn is_sent(rendering: &Rendering, node: &Introduction) -> Sent {
    let has = |name: &str| node.plugins.iter().find(|plugin| plugin.name == name);
    for configured in &*rendering.plugins {
        let Some(theirs) = has(&configured.name) else {
            return Sent::Withheld(SyncStatus::PluginSetIncompatible);
        };
        if !is_plugin_compatible(configured, theirs) {
            return Sent::Withheld(SyncStatus::PluginVersionIncompatible);
        }
    }
    if rendering.filters.iter().any(|filter| !node.filters.contains(filter)) {
        return Sent::Withheld(SyncStatus::FilterSetIncompatible);
    }
    let is_old = node.gateway_version.as_deref().and_then(numbers).is_none_or(|version| version < [3, 7, 0, 0]);
    if rendering.mixes_routes && is_old { Sent::Silently } else { Sent::Yes }
}

/// A plugin without a version, or one that is no version, is let through.
fn is_plugin_compatible(configured: &PluginVersion, theirs: &PluginVersion) -> bool {
    let version = |plugin: &PluginVersion| plugin.version.as_deref().and_then(numbers);
    match (version(configured), version(theirs)) {
        (Some(_), Some([0, 1, ..])) if theirs.name == "opentelemetry" => true,
        (Some([our_major, our_minor, ..]), Some([major, minor, ..])) => major == our_major && minor <= our_minor,
        (None, _) | (_, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kong::facts::Protocol;
    use tidemark_domain::hash::ConfigHash;

    #[test]
    fn versions_go_together() {
        #[track_caller]
        fn check(control_plane: &str, node: &str, compatible: bool, sync: bool) {
            assert_eq!(is_version_compatible(control_plane, Some(node)), compatible, "{control_plane} {node}");
            assert_eq!(is_sync_offered(control_plane, Some(node)), sync, "{control_plane} {node}");
        }
        check("3.9.3", "3.9.3", true, true);
        check("3.9.3", "3.9.0", true, false);
        check("3.9.3", "3.9.4", true, true);
        check("3.9.3", "3.8.9", true, false);
        check("3.9.3", "3.10.0", false, false);
        check("3.10.0", "3.9.3", true, false);
        check("3.9.3", "2.8.1", false, false);
        check("3.9.3", "4.0.0", false, false);
        check("3.9.3", "3.9.3.1-enterprise-edition", true, true);
        check("3.9.3.1", "3.9.3", true, false);
        check("3.9.3", "3.9", false, false);
        check("3.9.3", "x", false, false);
        check("3.9.3", "3.9.99999999999999999999", false, false);
        assert!(!is_version_compatible("3.9.3", None));
    }

    #[test]
    fn only_what_is_configured_counts() {
        #[track_caller]
        fn check(configured: &[(&str, &str)], theirs: &[(&str, &str)], expected: &Sent) {
            let plugins = |named: &[(&str, &str)]| -> Vec<PluginVersion> {
                let version = |version: &str| (!version.is_empty()).then(|| version.to_owned());
                named
                    .iter()
                    .map(|(name, said)| PluginVersion { name: (*name).into(), version: version(said) })
                    .collect()
            };
            let rendering = Rendering { plugins: plugins(configured).into(), ..rendering() };
            let node = Introduction { plugins: plugins(theirs), ..node() };
            assert_eq!(is_sent(&rendering, &node), *expected);
        }
        let set = Sent::Withheld(SyncStatus::PluginSetIncompatible);
        let version = Sent::Withheld(SyncStatus::PluginVersionIncompatible);
        check(&[], &[], &Sent::Yes);
        check(&[], &[("x", "1.0.0")], &Sent::Yes);
        check(&[("x", "3.9.3")], &[], &set);
        check(&[("x", "3.9.3")], &[("y", "3.9.3")], &set);
        check(&[("x", "3.9.3")], &[("x", "3.9.4")], &Sent::Yes);
        check(&[("x", "3.9.3")], &[("x", "3.8.0")], &Sent::Yes);
        check(&[("x", "3.9.3")], &[("x", "3.10.0")], &version);
        check(&[("x", "3.9.3")], &[("x", "2.9.3")], &version);
        check(&[("opentelemetry", "3.9.3")], &[("opentelemetry", "0.1.0")], &Sent::Yes);
        check(&[("x", "")], &[("x", "0.1.0")], &Sent::Yes);
        check(&[("x", "3.9.3")], &[("x", "")], &Sent::Yes);
    }

    #[test]
    fn a_filter_or_a_mix_of_routes_withholds() {
        let with_filter = Rendering { filters: vec!["f".to_owned()].into(), ..rendering() };
        assert_eq!(is_sent(&with_filter, &node()), Sent::Withheld(SyncStatus::FilterSetIncompatible));
        let has_it = Introduction { filters: vec!["f".into()], ..node() };
        assert_eq!(is_sent(&with_filter, &has_it), Sent::Yes);
        let mixed = Rendering { mixes_routes: true, ..rendering() };
        assert_eq!(is_sent(&mixed, &node()), Sent::Yes);
        let old = Introduction { gateway_version: Some("3.6.1".into()), ..node() };
        assert_eq!(is_sent(&mixed, &old), Sent::Silently);
    }

    fn rendering() -> Rendering {
        Rendering {
            frame: bytes::Bytes::new(),
            hash: ConfigHash::ZEROS,
            plugins: [].into(),
            filters: [].into(),
            mixes_routes: false,
        }
    }

    fn node() -> Introduction {
        Introduction {
            protocol: Protocol::V1,
            node_id: None,
            hostname: None,
            gateway_version: Some("3.9.3".into()),
            labels: std::collections::BTreeMap::new(),
            plugins: vec![],
            filters: vec![],
            capabilities: vec![],
            settings: std::collections::BTreeMap::new(),
        }
    }
}
