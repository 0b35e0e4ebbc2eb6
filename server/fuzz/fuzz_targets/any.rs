//! One program for all targets: `TIDEMARK_FUZZ` says which.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tidemark_server::fuzz::TARGETS;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TIDEMARK_FUZZ").expect("TIDEMARK_FUZZ names a target");
    TARGETS.iter().find(|(known, _)| *known == name).expect("TIDEMARK_FUZZ names a target").1
});

fuzz_target!(|bytes: &[u8]| (*TARGET)(bytes));
