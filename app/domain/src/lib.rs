//! The pure core of Tidemark: values and decisions.
//!
//! Facts come in ([`fact`]), a [`fleet::Fleet`] remembers what they add up to, and a verdict is computed from it
//! for a given moment. There is no clock, no I/O and no framework here: `now` is always an argument.
//!
//! Read in this order: the small values ([`time`], [`hash`], [`id`], [`gateway`]), then [`fact`], [`guard`],
//! [`ledger`], [`delays`], [`node`], [`verdict`], [`assess`], [`fleet`]; last what people ask and read ([`query`], [`common`], [`sentence`],
//! [`drawing`], [`view`]), and what traffic adds up to ([`sketch`], [`traffic`], [`analytics`]).

pub mod time;

pub mod hash;

pub mod id;

pub mod gateway;

pub mod fact;

pub mod policy;

pub mod guard;

pub mod ledger;

pub mod delays;

pub mod node;

pub mod verdict;

pub mod assess;

pub mod fleet;

pub mod notice;

pub mod query;

pub mod common;

pub mod sentence;

pub mod drawing;

pub mod sketch;

pub mod traffic;

pub mod analytics;

pub mod view;
