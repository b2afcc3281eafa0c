//! What is taken into the machine: dwell, the programs with a known truth, and their judges.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::checks::{self, SUITES};
use crate::{
    process::{run, stdout},
    repo,
};

/// Programs that have been built.
pub struct Programs {
    /// The dwell to test.
    pub dwell: PathBuf,
    /// Looked for by the tests where cargo has built it.
    pub workload: PathBuf,
    /// Test programs by name.
    pub suites: Vec<(&'static str, PathBuf)>,
}

impl Programs {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        let own = [&self.dwell, &self.workload];
        own.into_iter().chain(self.suites.iter().map(|(_, path)| path)).map(PathBuf::as_path)
    }
}

/// Builds them.
pub fn build(root: &Path) -> Result<Programs> {
    let release = repo::target_dir(root)?.join("release");
    let mut cargo = repo::cargo();
    cargo.args(["build", "--release", "--workspace", "--bins"]).current_dir(root);
    run(&mut cargo)?;
    let suites = SUITES.map(|suite| Ok((suite, build_suite(root, suite)?)));
    let suites: Vec<_> = suites.into_iter().collect::<Result<_>>()?;
    let programs =
        Programs { dwell: release.join("dwell"), workload: release.join("workload"), suites };
    for (suite, path) in &programs.suites {
        nothing_is_forgotten(suite, path)?;
    }
    Ok(programs)
}

/// A test program; cargo gives its file a name that only it knows.
fn build_suite(root: &Path, suite: &str) -> Result<PathBuf> {
    let mut cargo = repo::cargo();
    cargo
        .args(["test", "--release", "--package", "dwell-tests", "--no-run", "--test", suite])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(root);
    let messages = stdout(&mut cargo)?;
    let found = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == suite && message["target"]["kind"][0] == "test";
        is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    found.with_context(|| format!("cargo built no test program {suite}"))
}

/// Every test is run in the machine, or listed with the reason why it is not.
fn nothing_is_forgotten(suite: &str, path: &Path) -> Result<()> {
    let listed = stdout(Command::new(path).args(["--list", "--format", "terse"]))?;
    let there: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let known: BTreeSet<&str> = checks::known_tests(suite).collect();
    if let Some(test) = there.symmetric_difference(&known).next() {
        bail!("xtask/src/vm/checks.rs and tests/tests/{suite}.rs do not agree on the test {test}");
    }
    Ok(())
}
