//! What a tool is measured against.

mod made;
mod perf;
mod postgres;
mod redis;
mod sysbench;

pub use made::{Arguments, Switches, Threads, run};
pub use perf::{Messaging, Pipe};
pub use postgres::Pgbench;
pub use redis::RedisBenchmark;
pub use sysbench::SysbenchThreads;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use dwell_tests::process::Bounded;
use serde::Serialize;

/// Whom a tool is told to watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Everybody.
    Host,
    /// A server.
    Process {
        /// Its first process.
        pid: u32,
        /// How the kernel calls its processes.
        comm: &'static str,
        /// Whether others that it creates do the work.
        children: bool,
    },
}

/// What a load did while it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Operations, in whatever the load counts.
    pub operations: f64,
    /// How long they took.
    pub seconds: f64,
}

/// A load that can be measured again and again.
pub trait Load {
    /// Gets ready for a run and says whom to watch; comes before a tool is attached.
    fn begin(&mut self) -> Result<Target> {
        Ok(Target::Host)
    }

    /// Waits for a good moment to begin to count; comes when the tool is attached.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Works.
    fn work(&mut self) -> Result<Work>;

    /// Cleans up after a run.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Runs a program to its end, and returns what it prints.
fn printed(command: &mut Command, limit: Duration) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = tempfile::tempfile().context("no room for what a load prints")?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(Stdio::null());
    let status = Bounded::spawn(command)?
        .wait_within(limit)
        .with_context(|| format!("{name} takes too long: make the load smaller"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    let mut output = output;
    std::io::Seek::rewind(&mut output)?;
    Ok(std::io::read_to_string(output)?)
}
