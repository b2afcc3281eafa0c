//! Refuses to embed an eBPF object that was not built from the sources beside it.
//!
//! The object is committed, so that building dwell needs stable Rust only; what it was built from
//! stands in `bpf/MANIFEST`.

#[path = "build/manifest.rs"]
mod manifest;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifest::{INPUTS, Manifest, hash_sources, read, sha256};
use sha2::{Digest as _, Sha256};

const REBUILD: &str = "run `cargo xtask bpf`";

/// The script of the page, which is the only one that the page allows to run.
const SCRIPT: &str = "src/view/page/page.js";

fn main() {
    for path in ["build.rs", "build/manifest.rs", "bpf/MANIFEST", "bpf/dwell.bpf.o", SCRIPT] {
        println!("cargo::rerun-if-changed={path}");
    }
    if let Err(message) = check().and_then(|()| name_script()) {
        println!("cargo::error={message}");
    }
}

/// Its SHA-256 as a Content Security Policy wants it.
fn name_script() -> Result<(), String> {
    let script = read(Path::new(SCRIPT)).map_err(|error| error.to_string())?;
    println!("cargo::rustc-env=DWELL_PAGE_SCRIPT={}", STANDARD.encode(Sha256::digest(script)));
    Ok(())
}

/// Compares the object, and in a checkout its sources, with the manifest.
fn check() -> Result<(), String> {
    let text = read(Path::new("bpf/MANIFEST")).map_err(|error| format!("{error}: {REBUILD}"))?;
    let manifest = Manifest::parse(&String::from_utf8_lossy(&text))
        .map_err(|error| format!("bpf/MANIFEST: {error}: {REBUILD}"))?;
    check_sources(&manifest)?;
    let object =
        sha256(&read(Path::new("bpf/dwell.bpf.o")).map_err(|error| format!("{error}: {REBUILD}"))?);
    if object != manifest.object {
        return Err(format!(
            "bpf/dwell.bpf.o has SHA-256 {object}, but bpf/MANIFEST says {}: {REBUILD}",
            manifest.object
        ));
    }
    Ok(())
}

fn check_sources(manifest: &Manifest) -> Result<(), String> {
    let root = Path::new("..");
    if !root.join("profiler-ebpf").is_dir() {
        println!(
            "cargo::warning=not a checkout: bpf/dwell.bpf.o is not compared with its sources, \
             only with bpf/MANIFEST"
        );
        return Ok(());
    }
    for input in INPUTS {
        println!("cargo::rerun-if-changed=../{input}");
    }
    let now = hash_sources(root).map_err(|error| error.to_string())?;
    match manifest.stale(&now) {
        Some(changed) => Err(format!(
            "the eBPF object is older than its sources (changed: {changed}): {REBUILD}"
        )),
        None => Ok(()),
    }
}
