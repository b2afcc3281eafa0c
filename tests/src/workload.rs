//! Drives the `workload` program: ready, go, outcome, end.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::lines::Lines;
use crate::outcome::Outcome;
use crate::process::Bounded;

/// A workload that has been started, and waits for its go.
#[derive(Debug)]
pub struct Workload {
    process: Bounded,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    /// Its files go when it does, even where it was killed.
    _folder: TempDir,
}

impl Workload {
    /// Starts it and waits until it is ready. `program` is `env!("CARGO_BIN_EXE_workload")`.
    pub fn start(program: impl AsRef<Path>, arguments: &[&str]) -> Result<Self> {
        let program = program.as_ref();
        // Beside the program: on a disk, most likely, and not among the sources.
        let place = program.parent().context("no folder of the program")?;
        Self::start_from(program, place, arguments)
    }

    /// The same with its files elsewhere.
    pub fn start_from(program: &Path, place: &Path, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("workload-").tempdir_in(place)?;
        let mut command = Command::new(program);
        command.arg("--wait").arg("--folder").arg(folder.path()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Bounded::spawn(&mut command)?;
        let stdin = process.child().stdin.take();
        let stdout = Lines::of(process.child().stdout.take().context("no stdout")?);
        let ready = |line: &str| line.starts_with("ready ");
        stdout.find(Duration::from_secs(20), ready, drop).context("the workload is not ready")?;
        Ok(Self { process, stdin, stdout, _folder: folder })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it begin.
    pub fn go(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("no stdin")?;
        stdin.write_all(b"\n").context("the workload is gone")
    }

    /// What it measured. It stays alive after that, until it is dropped or [`Self::end`]ed.
    pub fn outcome(&mut self) -> Result<Outcome> {
        let json = |line: &str| line.starts_with('{');
        let line = self.stdout.find(Duration::from_secs(40), json, drop);
        let line = line.context("the workload did not say what it measured")?;
        serde_json::from_str(&line).with_context(|| format!("not an outcome: {line}"))
    }

    /// Lets it end, and waits for that.
    pub fn end(mut self) -> Result<()> {
        self.stdin = None;
        self.process.wait_within(Duration::from_secs(5))?;
        Ok(())
    }
}
