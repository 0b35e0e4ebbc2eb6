//! Builds the browser bundle into `target/site`: the pages as wasm with their glue, the style sheet and the public
//! files, each beside its brotli and gzip form. The server embeds that folder; nothing else reads it.
//!
//! It exists because the usual tool for this takes ten minutes to install and this crate seventeen seconds, and because
//! a bundle that grows past its budget must fail the build rather than be noticed later.

mod inputs;
mod output;
mod style;
mod wasm;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, bail};

use crate::output::Site;

/// What a first visit may cost: wasm and glue, as brotli sends them.
const BUDGET: usize = 300 * 1024;

const HELP: &str = "\
Builds the browser bundle.

cargo bundle               for people: small, into target/site; fails above its budget of 300 KiB
cargo bundle --debuginfo   for the browser journeys: hydration errors say what they are, into target/site-debuginfo";

/// What the bundle is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people: small, optimized, compressed.
    Release,
    /// For the browser journeys: quick to build, and a hydration error names its element. Never served to people.
    DebugInfo,
}

impl Form {
    /// Where the bundle goes, below `target`.
    fn site_dir(self) -> &'static str {
        match self {
            Form::Release => "site",
            Form::DebugInfo => "site-debuginfo",
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let form = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Form::Release,
        ["--debuginfo"] => Form::DebugInfo,
        _ => {
            println!("{HELP}");
            let asked_for_help = arguments.iter().any(|argument| argument == "--help");
            return if asked_for_help { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    match build(form) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bundle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build(form: Form) -> anyhow::Result<()> {
    let root = root()?;
    let target = target_dir(&root);
    let site_dir = target.join(form.site_dir());

    let inputs = inputs::digest(&root, form)?;
    if let Some(site) = Site::load(&site_dir)
        && site.inputs == inputs
    {
        println!("bundle: {} is up to date", site_dir.display());
        return report(&site, form);
    }

    let started = Instant::now();
    let compiled = wasm::build(&root, &target, form)?;
    let mut files = vec![
        output::File::hashed(format!("{}.wasm", wasm::OUTPUT_NAME), compiled.wasm),
        output::File::hashed(format!("{}.js", wasm::OUTPUT_NAME), compiled.glue.into_bytes()),
        output::File::hashed(format!("{}.css", wasm::OUTPUT_NAME), style::sheet(&root.join("style"))?.into_bytes()),
    ];
    for (path, text) in compiled.snippets {
        files.push(output::File::hashed(path, text.into_bytes()));
    }
    files.extend(output::public(&root.join("public"))?);

    let site = output::write(&site_dir, inputs, files, form)?;
    println!("bundle: wrote {} in {:.0} s", site_dir.display(), started.elapsed().as_secs_f32());
    report(&site, form)
}

/// Prints what a first visit costs, and refuses a bundle that costs too much.
fn report(site: &Site, form: Form) -> anyhow::Result<()> {
    let code = || site.files.iter().filter(|file| file.path.ends_with(".wasm") || file.path.ends_with(".js"));
    let raw: usize = code().map(|file| file.bytes).sum();
    let Some(brotli) = code().map(|file| file.brotli_bytes).sum::<Option<usize>>() else {
        println!("bundle: {} KiB raw, not compressed (for the browser journeys only)", raw / 1024);
        return Ok(());
    };
    let style_sheet = site.files.iter().find(|file| file.path.ends_with(".css"));
    let style_bytes = style_sheet.and_then(|file| file.brotli_bytes).unwrap_or(0);
    println!(
        "bundle: wasm + js {:.1} KiB brotli of {} KiB allowed ({:.1} KiB raw); style sheet {:.1} KiB brotli",
        kib(brotli),
        BUDGET / 1024,
        kib(raw),
        kib(style_bytes),
    );
    if form == Form::Release && brotli > BUDGET {
        bail!("wasm + js is {brotli} bytes as brotli, and {BUDGET} are allowed");
    }
    Ok(())
}

fn kib(bytes: usize) -> f64 {
    bytes as f64 / 1024.0
}

/// The root of the workspace: this crate sits two folders below it.
fn root() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").context("run this by `cargo bundle`")?);
    Ok(here.ancestors().nth(2).context("the builder moved: it expects to be in app/bundle")?.to_path_buf())
}

fn target_dir(root: &std::path::Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    }
}
