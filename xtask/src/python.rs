//! Python packages for the tests, in a virtual environment of their own.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    process::{run, stdout},
    repo,
};

/// Debian's, whatever else is on the PATH: the package that can make environments belongs to it.
pub const PYTHON: &str = "/usr/bin/python3";

/// Makes the environment `python` in cargo's target folder, with exactly these packages
/// (`name==version`). Does nothing where that is there already.
///
/// # Errors
/// When there is no Python with `venv`, or a package cannot be had.
pub fn install(root: &Path, packages: &[&str]) -> Result<()> {
    let folder = repo::target_dir(root)?.join("python");
    let interpreter = stdout(Command::new(PYTHON).arg("--version"))?;
    let wanted = format!("{}\n{}\n", interpreter.trim(), packages.join("\n"));
    let installed = folder.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    // From the beginning: what an earlier list has left behind is not wanted.
    run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.args(packages))?;
    // Last, so that half of it counts as nothing.
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}
