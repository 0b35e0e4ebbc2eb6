//! What a report says beside the configuration and the time, stored once for all reports that say the same.

use super::error::StoreError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use tidemark_domain::fact::{ApplyFailure, Attributes, Report, SyncStatus};

/// The attribute set of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AttributeSet {
    pub(super) attributes: Attributes,
    pub(super) status: Option<SyncStatus>,
    pub(super) failure: Option<ApplyFailure>,
    pub(super) ready: Option<bool>,
}

/// Tells sets apart in memory, at a tenth of the cost of a digest: 128 bits under keys that this process drew. Two of
/// 200,000 sets are alike by chance once in 10^28 runs.
pub(super) type Fingerprint = [u64; 2];

/// The fingerprint of what a report says beside configuration and time.
pub(super) fn fingerprint(report: &Report, keys: &[RandomState; 2]) -> Fingerprint {
    // All fields by name: a new one must be taken in here, in `body` or in the run.
    let Report {
        node: _,
        running: _,
        attributes,
        status,
        failure,
        ready,
        node_clock: _,
        uncertain_ms: _,
        continues: _,
        estimated: _,
    } = report;
    keys.each_ref().map(|key| {
        let mut hasher = key.build_hasher();
        attributes.hash(&mut hasher);
        status.hash(&mut hasher);
        failure.hash(&mut hasher);
        ready.hash(&mut hasher);
        hasher.finish()
    })
}

/// The text that is stored.
pub(super) fn body(report: &Report) -> Result<String, StoreError> {
    canonical(
        "attribute_set",
        &AttributeSet {
            attributes: report.attributes.clone(),
            status: report.status.clone(),
            failure: report.failure.clone(),
            ready: report.ready,
        },
    )
}

/// The key of a stored text.
pub(super) fn digest(body: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(body)[..16]);
    key
}

/// Hexadecimal digits, as `unhex` takes them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JSON without the fields that are not said: `null` and absent are the same to the domain, and most are absent.
pub(super) fn canonical<T: Serialize>(table: &'static str, value: &T) -> Result<String, StoreError> {
    let mut value = serde_json::to_value(value).map_err(|error| StoreError::corrupt(table, "new", error))?;
    drop_nulls(&mut value);
    Ok(value.to_string())
}

fn drop_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(drop_nulls),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}
