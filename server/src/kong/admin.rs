//! What a control plane's Admin API says of its nodes (`kong-hybrid.md` 3).

use super::facts::{Process, Row, SyncStatus};
use super::text::{NAME_MAX, clip, elements, name};
use super::v1::labels;
use serde_json::{Map, Value};

/// One page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Where the next page is; `None` on the last one.
    pub next: Option<String>,
}

/// Rows of one answer: `/clustering/status` has all of them, a page at most 1000.
pub const ROWS_MAX: usize = 1_000_000;

/// Capabilities kept of one row.
const CAPABILITIES_MAX: usize = 64;

/// Reads a page of `/clustering/data-planes`, answered at a moment of the control plane's clock; `None` where it is not
/// one. A row without an id is left out.
#[must_use]
pub fn data_planes(body: &Value, date_ms: Option<i64>) -> Option<Page> {
    let fields = body.as_object()?;
    // An empty page is an empty Lua table: `{}`.
    let data = fields.get("data").filter(|data| data.is_array() || data.is_object())?;
    let rows = data.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_object);
    Some(Page {
        rows: rows.filter_map(|row| Some(self::row(name(row, "id")?, row, date_ms))).take(ROWS_MAX).collect(),
        next: fields.get("next").and_then(Value::as_str).map(|next| clip(next, 4 * NAME_MAX)),
    })
}

/// Reads `/clustering/status`: the same rows with less in them, all at once; `None` where it is not that.
#[must_use]
pub fn clustering_status(body: &Value, date_ms: Option<i64>) -> Option<Page> {
    let rows = body.as_object()?;
    let row = |(id, row): (&String, &Value)| {
        let row = row.as_object().filter(|row| row.contains_key("config_hash"))?;
        Some(self::row(clip(id, NAME_MAX), row, date_ms))
    };
    Some(Page { rows: rows.iter().map(row).take(ROWS_MAX).collect::<Option<_>>()?, next: None })
}

/// Reads `/`: which process this is; `None` where it is not that.
#[must_use]
pub fn process(body: &Value) -> Option<Process> {
    let fields = body.as_object()?;
    let configuration = fields.get("configuration").and_then(Value::as_object)?;
    Some(Process {
        node_id: name(fields, "node_id"),
        hostname: name(fields, "hostname"),
        gateway_version: name(fields, "version"),
        edition: name(fields, "edition"),
        role: name(configuration, "role"),
    })
}

fn row(node_id: String, row: &Map<String, Value>, date_ms: Option<i64>) -> Row {
    let seconds = |key| row.get(key).and_then(Value::as_i64);
    let certificate = row.get("cert_details").and_then(Value::as_object);
    let capabilities = elements(row, "rpc_capabilities").iter().filter_map(Value::as_str);
    Row {
        node_id,
        hostname: name(row, "hostname"),
        ip: name(row, "ip"),
        gateway_version: name(row, "version"),
        hash: row.get("config_hash").and_then(Value::as_str).and_then(|text| text.parse().ok()),
        last_seen_s: seconds("last_seen"),
        updated_at_s: seconds("updated_at"),
        sync_status: row.get("sync_status").and_then(Value::as_str).map(SyncStatus::of_word),
        labels: row.get("labels").and_then(Value::as_object).map(labels).unwrap_or_default(),
        certificate_expires_s: certificate.and_then(|details| details.get("expiry_timestamp")?.as_i64()),
        capabilities: capabilities.map(|name| clip(name, NAME_MAX)).take(CAPABILITIES_MAX).collect(),
        ttl_s: seconds("ttl"),
        date_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `kong-hybrid.md` 3.2.
    fn page() -> Value {
        json!({
            "data": [{
                "id": "5a7b1c34-8d5e-4b7e-9e0a-0b1b6d0f9c11", "hostname": "dp-eu-1", "ip": "10.1.2.3",
                "version": "3.9.1", "config_hash": "c6ee22cecbb5f8a7714966db3931b7b1", "sync_status": "normal",
                "last_seen": 1_763_628_031, "updated_at": 1_763_628_031, "labels": {"region": "eu"},
                "cert_details": {"expiry_timestamp": 1_858_236_031}, "rpc_capabilities": [], "ttl": 1_209_590,
            }],
            "next": "/clustering/data-planes?offset=WyI1YSJd", "offset": "WyI1YSJd",
        })
    }

    #[test]
    fn a_page_is_read() {
        let date_ms = Some(1_763_628_041_000);
        let page = data_planes(&page(), date_ms).unwrap();
        assert_eq!(page.next.as_deref(), Some("/clustering/data-planes?offset=WyI1YSJd"));
        let [row] = page.rows.as_slice() else { panic!("one row") };
        assert_eq!(row.sync_status, Some(SyncStatus::Normal));
        assert_eq!(row.labels.get("region").map(String::as_str), Some("eu"));
        assert_eq!(row.certificate_expires_s, Some(1_858_236_031));
        assert_eq!(row.real_hostname(), Some("dp-eu-1"));
        assert_eq!(
            row.reported_at_ms(2_000_000_000_000),
            Some(1_999_999_990_000),
            "ten seconds before it was received"
        );
    }

    #[test]
    fn a_hostname_that_is_the_id_is_none() {
        let row = json!({
            "id": "5a7b", "hostname": "5a7b", "rpc_capabilities": {}, "labels": null,
            "cert_details": {"expiry_timestamp": null},
        });
        let page = data_planes(&json!({"data": [row], "next": null}), None).unwrap();
        assert_eq!((page.rows[0].real_hostname(), &page.next), (None, &None));
        assert_eq!(page.rows[0].reported_at_ms(5), None);
    }

    #[test]
    fn an_empty_table_has_no_rows() {
        assert_eq!(data_planes(&json!({"data": {}, "next": null}), None).map(|page| page.rows.len()), Some(0));
        assert_eq!(data_planes(&json!({"data": [], "next": null}), None).map(|page| page.rows.len()), Some(0));
        assert_eq!(clustering_status(&json!({}), None).map(|page| page.rows.len()), Some(0));
        assert_eq!(data_planes(&json!({"message": "Not found"}), None), None);
        assert_eq!(clustering_status(&json!({"message": "Not found"}), None), None);
    }

    #[test]
    fn the_process_says_its_role() {
        let body =
            json!({"node_id": "1", "version": "3.9.3", "hostname": "cp", "configuration": {"role": "control_plane"}});
        assert_eq!(process(&body).unwrap().role.as_deref(), Some("control_plane"));
    }
}
