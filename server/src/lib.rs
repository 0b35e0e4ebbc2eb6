//! What never runs in a browser: ingest, store, collectors, HTTP, metrics.
//!
//! Read in this order: [`kong`] (bytes to facts), [`ingest`] (facts to the one writer), [`store`], [`board`]
//! (facts to verdicts), [`reader`] (answers), [`http`] (the front door), [`metrics`].

pub mod kong;

pub mod ingest;

pub mod store;

pub mod board;

pub mod reader;

pub mod propagation;

pub mod chart;

pub mod http;

pub mod metrics;

pub mod import;

pub mod sources;

pub mod explain;

pub mod cluster_tls;

pub mod descriptors;

pub mod fuzz;

pub mod tap;

pub mod telemetry;

pub mod shadow;

pub mod simulate;

pub mod demo;

pub mod clock;

pub mod lines;

pub mod config;

pub mod service;

pub mod run;

pub mod commands;
