//! Which control plane a configuration is from: every migrated database has a row `cluster_id` among its `parameters`
//! (`kong-hybrid.md` 1.6), and every configuration brings it along.

use super::text::{NAME_MAX, clip};
use serde_json::Value;

/// The id, if this row of `parameters` is the one that holds it.
pub fn id_of_parameter(row: &Value) -> Option<String> {
    let value = row.get("value")?.as_str().filter(|value| !value.is_empty())?;
    (row.get("key")?.as_str()? == "cluster_id").then(|| clip(value, NAME_MAX))
}
