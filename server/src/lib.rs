//! What never runs in a browser: ingest, store, collectors, HTTP, metrics.
