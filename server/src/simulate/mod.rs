//! A fleet that lies on demand: control planes and data planes that behave as Kong's do (`kong-hybrid.md` 1.13), for
//! tests, for the demo, for load, and for people who drill their on-call.
//!
//! Read in this order: [`scenario`] is the file; [`estate`] the database of a control plane, [`plane`] the control plane
//! and [`node`] the data plane; [`world`] lets things happen in virtual time; [`watch`] is what of that reaches Tidemark,
//! and [`traffic`] what nodes do beside syncing;
//! [`check`] tells a story and looks at the conclusions. [`rest`] tells it to a running server, and [`wire`] gives the
//! fleet real connections. Everything that happens follows from a scenario and a seed ([`random`]).

pub mod check;

pub mod commands;

pub mod estate;

pub mod node;

pub mod plane;

pub mod random;

pub mod rest;

pub mod scenario;

pub mod traffic;

pub mod watch;

pub mod wire;

pub mod world;
