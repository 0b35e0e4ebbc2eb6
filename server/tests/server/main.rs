//! The server's tests, through its front door, its command line and its store. One binary, as linking is most of what a
//! test run costs; `cargo test --package tidemark --test server stories::` runs one file of it.

mod door;
mod recorded;
mod support;

mod conformance;
mod demo;
mod fuzz;
mod http_ask;
mod http_events;
mod http_metrics;
mod http_serve;
mod http_tell;
mod import;
mod journeys_bad_input;
mod journeys_life;
mod journeys_process;
mod konnect;
mod migrations;
mod past;
mod propagation;
mod scenarios;
mod shadow;
mod simulate_rest;
mod simulation;
mod sources;
mod srv;
mod store;
mod stories;
mod tap;
mod tap_faults;
mod tap_recorded;
mod telemetry;
mod tidy;
mod wire;
mod wire_recorded;
