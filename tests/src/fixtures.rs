//! Small programs in C.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Compiles a program or library from `tests/fixtures`.
pub fn compile(folder: &Path, source: &str, options: &[&str]) -> Result<PathBuf> {
    let program = folder.join(source.replace('.', "_"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(source);
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall"]).args(options).arg("-o").arg(&program).arg(source);
    ensure!(cc.status().context("cannot run cc")?.success(), "cc failed");
    Ok(program)
}
