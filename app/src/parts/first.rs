//! How a fleet comes to be seen here: the first request, and what else facts come from.

use super::layout::{nothing, pairs, parts, section};
use super::part::Part;
use super::piece::{Piece, dim, link, text};
use crate::api::WayIn;

/// The request that sends a first heartbeat, as it is typed.
#[must_use]
pub fn request(way_in: &WayIn) -> String {
    let WayIn { address, needs_token } = way_in;
    let token = if *needs_token { "\n  -H \"authorization: Bearer $TOKEN\" \\" } else { "" };
    format!(
        "curl {address}/api/v1/heartbeats \\\n  -H 'content-type: application/json' \\{token}\n  \
         -d '{{\"control_plane\":\"eu-prod\",\"node_id\":\"gw-1\",\n    \
         \"gateway_version\":\"3.9.1\",\n    \"hash\":\"a1f09c4e7b2d4e0f9a3c55d1e8b7a111\"}}'"
    )
}

/// What is said where nothing has reported yet.
#[must_use]
pub fn first_heartbeat(way_in: &WayIn) -> Part {
    let mut lines = vec![
        vec![text("One request is enough to see a node here:")],
        vec![Piece::Code(request(way_in))],
        vec![dim("This page changes by itself.")],
    ];
    if way_in.needs_token {
        let token = vec![text("TOKEN is a "), Piece::Code("send".into()), text(" token of this server's token file.")];
        lines.insert(2, token);
    }
    parts([nothing("Send the first heartbeat", lines), sources()])
}

/// What facts come from.
fn sources() -> Part {
    let code = |typed: &str| Piece::Code(typed.into());
    let sources = vec![
        (
            "Nodes",
            vec![text("or an agent beside each say every 30 seconds what they run: "), code("POST /api/v1/heartbeats")],
        ),
        (
            "A pipeline",
            vec![
                text("announces each version, so that it is known before a node runs it: "),
                code("POST /api/v1/control-planes/{cp}/versions"),
            ],
        ),
        (
            "A poller",
            vec![text("says which hash a control plane expects: "), code("PUT /api/v1/control-planes/{cp}/expected")],
        ),
        ("Recordings", vec![text("of Kong sessions are read with their own times: "), code("tidemark import PATH")]),
        (
            "More",
            vec![
                link("/api".into(), "The interface"),
                text(" in full; and a fleet to look at before yours is here: "),
                code("tidemark demo"),
            ],
        ),
    ];
    section("sources", "What can report", String::new(), pairs("pairs", sources))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_goes_to_the_address_and_shows_a_token_where_one_is_needed() {
        let way_in = |needs_token| WayIn { address: "https://tidemark.example".into(), needs_token };
        let open = request(&way_in(false));
        assert!(open.starts_with("curl https://tidemark.example/api/v1/heartbeats "), "{open}");
        assert!(!open.contains("authorization"), "{open}");
        let guarded = request(&way_in(true));
        assert!(guarded.contains(" \\\n  -H \"authorization: Bearer $TOKEN\" \\\n  -d '{"), "{guarded}");
    }
}
