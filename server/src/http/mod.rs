//! The front door.

pub mod assets;
