//! `sysbench threads`: threads that yield and contend for locks.

use std::{
    io::{BufRead, BufReader},
    process::{ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result};
use dwell_tests::process::Bounded;

use super::{super::affinity::pinned, Load, Target, Work};
use crate::process::find;

/// Far longer than a run, should nobody end it.
const LONGEST: &str = "--time=300";

/// One process on one CPU that is its own load; it says each second what it has done.
pub struct SysbenchThreads {
    /// The CPU.
    pub cpu: usize,
    /// How many of its seconds to measure.
    pub seconds: u32,
    /// While it runs.
    pub running: Option<Running>,
}

/// The process, and what it prints.
pub struct Running {
    process: Bounded,
    lines: BufReader<ChildStdout>,
}

impl Load for SysbenchThreads {
    fn begin(&mut self) -> Result<Target> {
        let mut command = Command::new(find("sysbench").context("sysbench is not installed")?);
        command.args(["threads", "--threads=8", LONGEST, "--events=0"]);
        command.args(["--report-interval=1", "run"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = pinned(self.cpu, || Bounded::spawn(&mut command))?;
        let lines = process.child().stdout.take().context("sysbench has no output")?;
        let pid = process.pid();
        let running = self.running.insert(Running { process, lines: BufReader::new(lines) });
        running.rate()?;
        Ok(Target::Process { pid, comm: "sysbench", children: false })
    }

    /// To the beginning of a second that it counts.
    fn settle(&mut self) -> Result<()> {
        self.running.as_mut().context("sysbench does not run")?.rate().map(drop)
    }

    fn work(&mut self) -> Result<Work> {
        let running = self.running.as_mut().context("sysbench does not run")?;
        let mut operations = 0.0;
        for _ in 0..self.seconds {
            operations += running.rate()?;
        }
        Ok(Work { operations, seconds: f64::from(self.seconds) })
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            running.process.signal(libc::SIGKILL)?;
            running.process.wait_within(std::time::Duration::from_secs(10))?;
        }
        Ok(())
    }
}

impl Running {
    /// Waits for the end of a second that it counts; returns the events in it.
    fn rate(&mut self) -> Result<f64> {
        loop {
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).context("cannot read from sysbench")?;
            anyhow::ensure!(length > 0, "sysbench has ended by itself");
            if let Some(rate) = events(&line) {
                return Ok(rate);
            }
        }
    }
}

/// `[ 1s ] thds: 8 eps: 1234.56 lat (ms,95%): 7.70`.
fn events(line: &str) -> Option<f64> {
    line.split_once("eps:")?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_second_is_read() {
        assert_eq!(events("[ 1s ] thds: 8 eps: 1234.56 lat (ms,95%): 7.70\n"), Some(1234.56));
        assert_eq!(events("Threads started!\n"), None);
    }
}
