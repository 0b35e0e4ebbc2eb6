//! A fleet that lies on demand: control planes and data planes that behave as Kong's do (`kong-hybrid.md` 1.13), for
//! tests, for the demo, for load, and for people who drill their on-call.
//!
//! Everything that happens follows from a scenario and a seed. [`wire`] gives the fleet real connections.

pub mod check;

pub mod commands;

pub mod estate;

pub mod node;

pub mod plane;

pub mod random;

pub mod rest;

pub mod scenario;

pub mod watch;

pub mod wire;

pub mod world;
