//! Kong's wire formats: bytes to facts.
//!
//! Everything here is pure: no I/O, no clock, no async, no panic on any input, and every size has a bound. Import,
//! taps, shadows and the simulator share these decoders. `kong-hybrid.md` in comments is the observer's reference
//! of Kong's hybrid mode; a section number follows it.
//!
//! Read in this order: [`facts`] is what comes out; [`recognize`] is where a recorded line goes in; [`recording`] and
//! [`session`] turn one connection into facts, with [`v1`] and [`v2`] below them, and [`frame`] below those ([`glance`]
//! is for what is too large to be read);
//! [`admin`], [`status`], [`metrics`] and [`konnect`] read what is answered when asked, and [`http_log`] what Kong tells of
//! its traffic; [`hash`], [`outline`], [`digest`] and [`shape`] say what a configuration is. [`assemble`] leaves Kong
//! behind: from what was seen to the facts that Tidemark judges by.

pub mod facts;

pub mod recognize;

pub mod recording;

pub mod session;

pub mod handshake;

pub mod frame;

pub mod v1;

pub mod v2;

pub mod glance;

pub mod sync_state;

pub mod exchange;

pub mod admin;

pub mod status;

pub mod metrics;

pub mod konnect;

pub mod hash;

pub mod number;

pub mod outline;

pub mod digest;

pub mod shape;

pub mod plugins;

pub mod own;

pub mod assemble;

mod cluster;

pub(crate) mod http_date;

pub mod http_log;

pub(crate) mod json;

mod text;

#[cfg(test)]
mod captures;
