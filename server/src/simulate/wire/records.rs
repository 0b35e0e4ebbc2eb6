//! The rows that a control plane keeps of its nodes, and how its Admin API shows them (`kong-hybrid.md` 3.1, 3.2).

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use tidemark_domain::hash::ConfigHash;
use tidemark_domain::time::{SECOND, Timestamp};

/// A row lives this long after its last write: `cluster_data_plane_purge_delay`, 14 days.
pub const PURGE_DELAY_S: i64 = 1_209_600;
/// Rows that are kept. A simulated fleet is smaller; what a scan of node ids brings is not.
const ROWS_MAX: usize = 200_000;
const SIZE_DEFAULT: usize = 100;
const SIZE_MAX: usize = 1_000;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub hostname: String,
    pub ip: IpAddr,
    pub gateway_version: String,
    pub hash: ConfigHash,
    /// Kong's word.
    pub sync_status: &'static str,
    pub last_seen: Timestamp,
    pub labels: BTreeMap<String, String>,
    pub certificate_expires: Option<Timestamp>,
    pub capabilities: Vec<String>,
}

/// All rows, by node id.
#[derive(Debug, Default)]
pub struct Records(Mutex<BTreeMap<Arc<str>, Row>>);

impl Records {
    /// Writes a row, new or over the one before.
    pub fn upsert(&self, node_id: &str, row: Row) {
        let mut rows = self.0.lock();
        if rows.len() >= ROWS_MAX && !rows.contains_key(node_id) {
            let now = row.last_seen;
            rows.retain(|_, row| row.ttl_s(now) > 0);
            if rows.len() >= ROWS_MAX {
                return;
            }
        }
        rows.insert(node_id.into(), row);
    }

    /// The row of a node.
    #[must_use]
    pub fn row(&self, node_id: &str) -> Option<Row> {
        self.0.lock().get(node_id).cloned()
    }

    /// Whether the row of a node is among the first so many, by id.
    #[must_use]
    pub fn is_among_first(&self, node_id: &str, most: usize) -> bool {
        self.0.lock().keys().take(most).any(|id| **id == *node_id)
    }

    /// `GET /clustering/data-planes`: a page of `size` rows after an id.
    fn page(&self, size: usize, after: Option<&str>, now: Timestamp) -> Page {
        let rows = self.0.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut living = rows.range::<str, _>((from, Bound::Unbounded)).filter(|(_, row)| row.ttl_s(now) > 0);
        let page: Vec<_> = living.by_ref().take(size).collect();
        let next = living.next().and(page.last()).map(|(id, _)| BASE64_STANDARD_NO_PAD.encode(json!([id]).to_string()));
        Page { data: page.into_iter().map(|(id, row)| row.json(id, now)).collect(), next }
    }
}

struct Page {
    data: Value,
    /// The offset of the next page.
    next: Option<String>,
}

impl Row {
    fn ttl_s(&self, now: Timestamp) -> i64 {
        PURGE_DELAY_S - now.since(self.last_seen) / SECOND
    }

    fn json(&self, id: &str, now: Timestamp) -> Value {
        let seconds = |moment: Timestamp| moment.ms() / SECOND;
        json!({
            "id": id,
            "hostname": self.hostname,
            "ip": self.ip,
            "version": self.gateway_version,
            "config_hash": self.hash,
            "sync_status": self.sync_status,
            "last_seen": seconds(self.last_seen),
            "updated_at": seconds(self.last_seen),
            "labels": if self.labels.is_empty() { Value::Null } else { json!(self.labels) },
            "cert_details": {"expiry_timestamp": self.certificate_expires.map(seconds)},
            "rpc_capabilities": self.capabilities,
            "ttl": self.ttl_s(now),
        })
    }
}

/// What the Admin API of a control plane needs to answer.
#[derive(Clone)]
pub struct AdminApi {
    pub records: Arc<Records>,
    pub clock: crate::clock::Clock,
    pub node_id: Arc<str>,
    pub gateway_version: Arc<str>,
}

impl AdminApi {
    /// `/`, `/status`, `/clustering/data-planes` and `/clustering/status`; everything else is 404.
    pub fn router(self) -> axum::Router {
        axum::Router::new()
            .route("/", axum::routing::get(process))
            .route("/status", axum::routing::get(status))
            .route("/clustering/data-planes", axum::routing::get(data_planes))
            .route("/clustering/status", axum::routing::get(clustering_status))
            .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"message": "Not found"}))) })
            .with_state(self)
    }
}

async fn process(State(api): State<AdminApi>) -> Json<Value> {
    Json(json!({
        "node_id": &*api.node_id,
        "version": &*api.gateway_version,
        "hostname": "control-plane",
        "edition": "community",
        "tagline": "Welcome to kong",
        "configuration": {"role": "control_plane", "database": "postgres"},
    }))
}

async fn status() -> Json<Value> {
    Json(json!({"database": {"reachable": true}}))
}

async fn data_planes(State(api): State<AdminApi>, Query(asked): Query<HashMap<String, String>>) -> Response {
    let refused = |message: &str| (StatusCode::BAD_REQUEST, Json(json!({"message": message}))).into_response();
    let size = match asked.get("size").map(|size| size.parse()) {
        None => SIZE_DEFAULT,
        Some(Ok(size)) if (1..=SIZE_MAX).contains(&size) => size,
        Some(_) => return refused("size must be an integer between 1 and 1000"),
    };
    let after = match asked.get("offset").map(|offset| id_of_offset(offset)) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return refused("invalid offset"),
    };
    let page = api.records.page(size, after.as_deref(), api.clock.now());
    let mut body = Map::from_iter([("data".to_owned(), page.data)]);
    let size = asked.get("size").map(|size| format!("&size={size}")).unwrap_or_default();
    body.insert(
        "next".to_owned(),
        page.next.as_ref().map(|next| format!("/clustering/data-planes?offset={next}{size}")).into(),
    );
    body.extend(page.next.map(|next| ("offset".to_owned(), next.into())));
    Json(Value::Object(body)).into_response()
}

async fn clustering_status(State(api): State<AdminApi>) -> Response {
    let page = api.records.page(ROWS_MAX, None, api.clock.now());
    let row = |row: &Value| {
        let fields = ["config_hash", "hostname", "ip", "last_seen"].map(|key| (key.to_owned(), row[key].clone()));
        Some((row["id"].as_str()?.to_owned(), Value::Object(Map::from_iter(fields))))
    };
    let map: Map<String, Value> = page.data.as_array().into_iter().flatten().filter_map(row).collect();
    ([("Deprecation", "true")], Json(Value::Object(map))).into_response()
}

fn id_of_offset(offset: &str) -> Option<String> {
    let text = BASE64_STANDARD_NO_PAD.decode(offset.trim_end_matches('=')).ok()?;
    let [id]: [String; 1] = serde_json::from_slice(&text).ok()?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::kong::admin;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-20T08:54:38Z").unwrap()
    }

    fn row(seen_s_ago: i64) -> Row {
        Row {
            hostname: "vm".into(),
            ip: [127, 0, 0, 1].into(),
            gateway_version: "3.9.3".into(),
            hash: "6de1944179b6c16febb0a724310a4d49".parse().unwrap(),
            sync_status: "normal",
            last_seen: now().plus(-seen_s_ago * SECOND),
            labels: BTreeMap::from([("team".to_owned(), "probe".to_owned())]),
            certificate_expires: Some(Timestamp::from_ms(1_889_772_575_000)),
            capabilities: vec![],
        }
    }

    fn api() -> AdminApi {
        let records = Arc::<Records>::default();
        for number in 0..5 {
            records.upsert(&format!("node-{number}"), row(number));
        }
        records.upsert("long-gone", row(PURGE_DELAY_S));
        AdminApi { records, clock: Clock::by_hand(now()), node_id: "cp".into(), gateway_version: "3.9.3".into() }
    }

    async fn get(api: &AdminApi, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = api.clone().router().oneshot(request).await.unwrap();
        let status = answer.status();
        (status, serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn the_table_is_paged_as_kong_pages_it() {
        let api = api();
        let (mut path, mut ids, mut pages) = ("/clustering/data-planes?size=2".to_owned(), Vec::new(), 0);
        loop {
            let (status, body) = get(&api, &path).await;
            assert_eq!(status, 200);
            let page = admin::data_planes(&body, Some(now().ms())).expect("our collector reads it");
            ids.extend(page.rows.into_iter().map(|row| row.node_id));
            pages += 1;
            assert_eq!(body.get("offset").is_some(), body["next"].is_string());
            match body["next"].as_str() {
                Some(next) => path = next.to_owned(),
                None => break,
            }
        }
        assert_eq!((pages, ids), (3, (0..5).map(|number| format!("node-{number}")).collect()));
    }

    /// Recorded of 3.9.3, its `id` and moments aside.
    #[tokio::test]
    async fn a_row_is_as_kong_shows_it() {
        let (_, body) = get(&api(), "/clustering/data-planes?size=1").await;
        let seen = now().ms() / SECOND;
        let expected = json!({
            "updated_at": seen, "last_seen": seen, "ip": "127.0.0.1", "sync_status": "normal", "id": "node-0",
            "cert_details": {"expiry_timestamp": 1_889_772_575}, "rpc_capabilities": [], "labels": {"team": "probe"},
            "ttl": PURGE_DELAY_S, "hostname": "vm", "config_hash": "6de1944179b6c16febb0a724310a4d49", "version": "3.9.3",
        });
        assert_eq!(body["data"][0], expected);
        let (_, body) = get(&api(), "/clustering/status").await;
        let expected = json!({
            "last_seen": seen, "hostname": "vm", "config_hash": "6de1944179b6c16febb0a724310a4d49", "ip": "127.0.0.1",
        });
        assert_eq!(body["node-0"], expected);
    }

    #[tokio::test]
    async fn what_kong_refuses_is_refused() {
        for query in ["size=0", "size=1001", "size=x", "offset=x", "offset=W10"] {
            assert_eq!(get(&api(), &format!("/clustering/data-planes?{query}")).await.0, 400, "{query}");
        }
        assert_eq!(get(&api(), "/clustering/data-planes/node-0").await.0, 404);
        assert_eq!(get(&api(), "/clustering_data_planes").await.0, 404);
        assert_eq!(get(&api(), "/").await.1["configuration"]["role"], "control_plane");
    }

    #[test]
    fn rows_are_bounded() {
        let records = Records::default();
        for number in 0..ROWS_MAX + 1 {
            records.upsert(&format!("{number:06}"), row(0));
        }
        assert_eq!(records.0.lock().len(), ROWS_MAX);
        records.upsert("000000", Row { hostname: "known".into(), ..row(0) });
        assert_eq!(records.row("000000").unwrap().hostname, "known", "who is known is still written");
    }
}
