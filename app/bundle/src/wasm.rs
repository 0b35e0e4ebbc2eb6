//! The pages as wasm with the JavaScript that starts them: rustc, then wasm-bindgen, then wasm-opt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use wasm_bindgen_cli_support::Bindgen;

use crate::Form;

/// The name under which pages look for their files; `.cargo/config.toml` gives the same one to Leptos.
pub const OUTPUT_NAME: &str = "tidemark";

const TARGET: &str = "wasm32-unknown-unknown";

/// What rustc emits for this target by itself. Not "all" that wasm-opt knows: it then writes forms that no browser reads
/// yet.
const FEATURES: [&str; 7] = [
    "bulk-memory",
    "bulk-memory-opt",
    "multivalue",
    "mutable-globals",
    "nontrapping-float-to-int",
    "reference-types",
    "sign-ext",
];

pub struct Compiled {
    pub wasm: Vec<u8>,
    pub glue: String,
    /// JavaScript that crates bring along, by the path the glue imports it from.
    pub snippets: Vec<(String, String)>,
}

pub fn build(root: &Path, target: &Path, form: Form) -> anyhow::Result<Compiled> {
    let module = compile(root, target, form)?;

    let mut bindgen = Bindgen::new();
    let mut bound = bindgen
        .input_path(&module)
        .out_name(OUTPUT_NAME)
        .web(true)?
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(form == Form::Release)
        .remove_producers_section(true)
        .generate_output()
        .context("wasm-bindgen refused the module")?;
    let wasm = bound.wasm_mut().emit_wasm();

    let mut snippets: Vec<(String, String)> =
        bound.local_modules().iter().map(|(path, text)| (format!("snippets/{path}"), text.clone())).collect();
    for (crate_name, texts) in bound.snippets() {
        for (at, text) in texts.iter().enumerate() {
            snippets.push((format!("snippets/{crate_name}/inline{at}.js"), text.clone()));
        }
    }
    snippets.sort();

    Ok(Compiled {
        wasm: match form {
            Form::Release => optimize(root, target, &wasm)?,
            Form::DebugInfo => wasm,
        },
        glue: bound.js().to_owned(),
        snippets,
    })
}

fn compile(root: &Path, target: &Path, form: Form) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["build", "--locked", "--package", "tidemark-app", "--lib", "--features", "hydrate", "--target", TARGET])
        .arg("--target-dir")
        .arg(target);
    let profile = match form {
        Form::Release => {
            cargo.args(["--profile", "wasm-release"]);
            "wasm-release"
        }
        // The profile of the tests, so that macros are not built a second time.
        Form::DebugInfo => {
            cargo.env("RUSTFLAGS", "--cfg leptos_debuginfo");
            "debug"
        }
    };
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the pages do not compile for the browser ({status})");
    }
    Ok(target.join(TARGET).join(profile).join("tidemark_app.wasm"))
}

/// `wasm-opt -Oz` from the npm package: the same version on every machine. Debian's is older than the instructions that
/// rustc emits.
fn optimize(root: &Path, target: &Path, wasm: &[u8]) -> anyhow::Result<Vec<u8>> {
    let tool = root.join("end2end/node_modules/binaryen/bin/wasm-opt");
    if !tool.is_file() {
        bail!("wasm-opt is missing: `make setup` brings it");
    }
    let (before, after) = (target.join("before-wasm-opt.wasm"), target.join("after-wasm-opt.wasm"));
    fs::write(&before, wasm).with_context(|| format!("cannot write {}", before.display()))?;
    let status = Command::new("node")
        .arg(&tool)
        .arg("-Oz")
        .args(FEATURES.map(|feature| format!("--enable-{feature}")))
        .args(["--strip-producers", "--strip-target-features"])
        .arg(&before)
        .arg("--output")
        .arg(&after)
        .status()
        .context("cannot start node")?;
    if !status.success() {
        bail!("wasm-opt failed ({status})");
    }
    let optimized = fs::read(&after).with_context(|| format!("cannot read {}", after.display()))?;
    for path in [before, after] {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(optimized)
}
