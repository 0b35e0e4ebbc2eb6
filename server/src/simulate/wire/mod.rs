//! The fleet on the wire: data planes that dial, and control planes that accept, over WebSocket and mutual TLS
//! (`kong-hybrid.md` 1, 2). A genuine Kong is to take them for its own kind: recorded sessions are replayed against both
//! sides (`tests/server/wire_recorded.rs`).
//!
//! Read in this order: [`node`] (what a node is and says), [`data_plane`] (how it lives), [`publishing`] (what a control
//! plane knows), [`control_plane`] (how it serves nodes). Below them [`rpc`] is what both sides of v2 share, [`upgrade`] and [`websocket`]
//! are one connection, and [`pace`] is how fast it lives.

pub mod node;

pub mod data_plane;

mod data_plane_v2;

mod offers;

pub mod publishing;

pub mod table;

pub mod published_estate;

pub mod control_plane;

mod control_plane_v2;

pub mod compatibility;

pub mod records;

mod rpc;

pub mod upgrade;

pub mod websocket;

pub mod pace;

pub mod commands;
