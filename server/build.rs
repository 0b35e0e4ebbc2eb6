//! Tells cargo of two folders that the compiler reads: their new files would otherwise go unnoticed.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../migrations");
    // A debug build reads the bundle when it runs, so a new one is no reason to compile again.
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo::rerun-if-changed=../target/site/manifest.json");
        if !std::path::Path::new("../target/site/manifest.json").exists() {
            println!("cargo::warning=no browser bundle in target/site: run `make bundle` first");
        }
    }
}
