//! All that can be asked of the server, as one list.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post, put};
use leptos_axum::LeptosRoutes;
use tower_http::compression::CompressionLayer;

use crate::http::assets::Assets;
use crate::http::{
    Door, events, front, health, openapi, pages, recordings, rest, scrape, sources, taps, telemetry, told,
};

/// The router of a door.
pub fn router(door: Door, assets: &Assets) -> Router {
    let pages = pages::routes();
    let page_paths = pages.iter().map(leptos_axum::AxumRouteListing::path);
    door.counted.routes(OTHERS.into_iter().chain(page_paths).chain(openapi::paths()));

    let api = Router::new()
        // Ask.
        .route("/api/v1/fleet", get(rest::fleet))
        .route("/api/v1/nodes", get(rest::nodes))
        .route("/api/v1/nodes/{cp}/{id}", get(rest::node))
        .route("/api/v1/nodes/{cp}/{id}/history", get(rest::history))
        .route("/api/v1/control-planes", get(rest::control_planes))
        .route("/api/v1/control-planes/{cp}", get(rest::control_plane))
        .route("/api/v1/control-planes/{cp}/versions", get(rest::versions))
        .route("/api/v1/control-planes/{cp}/versions/{ordinal}", get(rest::version))
        .route("/api/v1/nodes/{cp}/{id}/resources", get(rest::resources))
        .route("/api/v1/telemetry", post(telemetry::tell))
        .route("/api/v1/sync-costs", get(telemetry::sync_costs))
        .route("/api/v1/usage", get(rest::usage))
        .route("/api/v1/traffic", get(rest::traffic))
        .route("/api/v1/sources", get(sources::sources))
        .route("/api/v1/events", get(events::events))
        // Tell.
        .route("/api/v1/heartbeats", post(told::heartbeats))
        .route("/api/v1/control-planes/{cp}", put(told::declare).patch(told::amend))
        .route("/api/v1/control-planes/{cp}/versions", post(told::announce))
        .route("/api/v1/control-planes/{cp}/expected", put(told::expect))
        .route("/api/v1/nodes/{cp}/{id}/retire", post(told::retire))
        // `tidemark import --to`.
        .route("/api/v1/recordings", post(recordings::record))
        .route("/api/v1/recordings/{digest}", get(recordings::taken))
        .route("/api/v1/control-planes/{cp}/word", get(recordings::word))
        // `tidemark tap`.
        .route("/api/v1/taps/{stream}", get(taps::has))
        .route("/api/v1/taps/{stream}/facts", post(taps::facts))
        // Gateways tell what they do.
        .route("/ingest/kong/http-log", telemetry::senders())
        .route("/ingest/kong/http-log/{cp}", telemetry::senders_of_control_plane())
        .route("/ingest/kong/http-log/{cp}/{node}", telemetry::senders_of_node())
        // Read about it.
        .route("/api", get(openapi::page))
        .route("/api/openapi.json", get(openapi::document))
        .route("/operations", get(sources::page))
        .route("/api/{*path}", any(front::no_such_path));

    let machines = Router::new()
        .route("/metrics", get(scrape::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready));

    Router::new()
        .merge(api)
        .merge(machines)
        .leptos_routes_with_context(&door, pages.to_vec(), pages::context(&door), pages::shell(&door))
        .fallback(pages::not_found)
        .method_not_allowed_fallback(front::no_such_method)
        .layer(CompressionLayer::new())
        // Files of the bundle are compressed already.
        .merge(assets.routes())
        .layer(from_fn_with_state(door.clone(), front::lead))
        .with_state(door)
}

/// Routes that neither the interface's description nor the pages list.
const OTHERS: [&str; 16] = [
    "/ingest/kong/http-log",
    "/ingest/kong/http-log/{cp}",
    "/ingest/kong/http-log/{cp}/{node}",
    "/api/v1/recordings",
    "/api/v1/recordings/{digest}",
    "/api/v1/control-planes/{cp}/word",
    "/api/v1/taps/{stream}",
    "/api/v1/taps/{stream}/facts",
    "/api",
    "/api/openapi.json",
    "/operations",
    "/api/{*path}",
    "/metrics",
    "/healthz",
    "/readyz",
    "/pkg/{*path}",
];
