//! The fleet on the wire: data planes that dial, and control planes that accept, over WebSocket and mutual TLS.

pub mod upgrade;

pub mod websocket;

pub mod pace;
