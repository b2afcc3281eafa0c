//! Where things are in this checkout.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::process::stdout;

/// The root of the checkout: cargo names this package's folder, which is one below.
pub fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let package = PathBuf::from(package);
    Ok(package.parent().context("xtask has no parent folder")?.to_owned())
}

/// The cargo that runs this program, or the one on the PATH.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cargo's target folder: `target`, unless the user keeps it elsewhere.
pub fn target_dir(root: &Path) -> Result<PathBuf> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version=1", "--no-deps"]).current_dir(root);
    let metadata: serde_json::Value = serde_json::from_str(&stdout(&mut metadata)?)?;
    let folder = metadata["target_directory"].as_str();
    Ok(folder.context("`cargo metadata` names no target_directory")?.into())
}

/// The folder for tools that are built once for all checkouts.
pub fn cache_dir() -> Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME").context("set HOME")?).join(".cache"),
    };
    Ok(cache.join("dwell"))
}
