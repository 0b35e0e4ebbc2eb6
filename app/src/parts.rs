//! The pieces that pages are laid out from. They take plain values and return a view; what deserves a test is decided
//! outside of the components.
//!
//! A page is mostly data: [`piece`] is the vocabulary of what stands in a sentence or a cell, [`layout`] puts it into
//! tables, lists and sections. That is also what keeps the bundle small: a browser has one table to know, not ten.

pub mod answer;

pub mod header;

pub mod state;

pub mod piece;

pub mod layout;

pub mod counters;

pub mod tide;

pub mod figure;

pub mod nodes;

pub mod proof;

pub mod notices;

pub mod first;

pub mod demo;

pub mod sprite;

pub mod part;
