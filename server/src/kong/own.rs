//! How nodes that are Tidemark's own are told from the fleet. A shadow (`server/src/shadow`) is a node to its control
//! plane, which lists it as one; to us it is none: it is in no count, and what it repeats is no evidence for anything.

use uuid::{Builder, Uuid};

/// How the hostname of a shadow begins.
pub const HOSTNAME: &str = "tidemark-shadow-";
/// How the id of a shadow begins: a control plane that writes the id where the hostname belongs (`kong-hybrid.md` 3.1)
/// leaves nothing else to tell it by. The version of such ids is 8; nodes of Kong's have 4.
const ID: [u8; 4] = [0x71, 0xde, 0x5a, 0xde];

/// A new id for a shadow: a UUID, as Kong wants it.
#[must_use]
pub fn new_id() -> String {
    let mut bytes = *Uuid::new_v4().as_bytes();
    bytes[..ID.len()].copy_from_slice(&ID);
    Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// Whether an id is one of a shadow's.
#[must_use]
pub fn is_own_id(node_id: &str) -> bool {
    Uuid::try_parse(node_id).is_ok_and(|id| id.get_version_num() == 8 && id.as_bytes().starts_with(&ID))
}

/// Whether a node is a shadow, by what is known of it.
#[must_use]
pub fn is_own(node_id: Option<&str>, hostname: Option<&str>) -> bool {
    hostname.is_some_and(|hostname| hostname.starts_with(HOSTNAME)) || node_id.is_some_and(is_own_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_is_known_by_its_hostname_and_by_its_id() {
        let id = new_id();
        assert_ne!(id, new_id());
        assert!(id.starts_with("71de5ade-") && is_own_id(&id), "{id}");
        assert!(is_own(Some(&id), Some(&id)), "v2 writes the id for the hostname");
        assert!(is_own(Some("n1"), Some("tidemark-shadow-eu")));
        assert!(!is_own(Some("n1"), Some("a-tidemark-shadow-eu")));
        assert!(!is_own(Some("71de5ade-0000-4000-8000-000000000000"), None), "a node of Kong's may begin like it");
        assert!(!is_own(Some("71de5ade"), None) && !is_own(None, None));
    }
}
