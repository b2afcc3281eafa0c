//! Programs that keep a machine or a server busy.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::installed;
use crate::process::Bounded;

/// A running load generator.
#[derive(Debug)]
pub struct Load(Bounded);

impl Load {
    /// Starts it; what it prints is thrown away.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(Bounded::spawn(command)?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits until it has so many threads.
    pub fn wait_for_threads(self, threads: usize) -> Result<Self> {
        let pid = self.pid();
        crate::proc::wait_until("the load has its threads", Duration::from_secs(10), || {
            crate::proc::threads_of(pid).len() >= threads
        })?;
        Ok(self)
    }
}

/// `sysbench TEST` with some threads, for no longer than `seconds`.
pub fn sysbench(test: &str, threads: usize, seconds: u32) -> Result<Load> {
    let mut command = Command::new(installed("sysbench")?);
    command.args([test, &format!("--threads={threads}"), &format!("--time={seconds}")]);
    command.args(["--events=0", "run"]);
    Load::start(&mut command)?.wait_for_threads(threads + 1)
}
