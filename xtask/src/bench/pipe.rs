//! `perf bench sched pipe`: two processes that pass a token through two pipes.

use std::{
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::tool::wait;
use crate::process::find;

const LIMIT: Duration = Duration::from_secs(120);

/// The benchmark and its size.
#[derive(Clone, Copy, Serialize)]
pub struct Pipe {
    /// The one CPU that both processes run on.
    pub cpu: usize,
    /// Operations in each run: two context switches each.
    pub operations: u32,
}

impl Pipe {
    /// Runs the benchmark; returns the microseconds for each operation.
    pub fn run(&self) -> Result<f64> {
        let mut child = Command::new(find("taskset").context("no taskset")?)
            .args(["-c", &self.cpu.to_string()])
            .arg(find("perf").context("no perf")?)
            .args(["bench", "sched", "pipe", "-l", &self.operations.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start `perf bench`")?;
        let Some(status) = wait(&mut child, LIMIT)? else {
            child.kill()?;
            child.wait()?;
            bail!("`perf bench` took more than {LIMIT:?}: use fewer --operations");
        };
        let mut text = String::new();
        child.stdout.take().context("no output")?.read_to_string(&mut text)?;
        if !status.success() {
            bail!("`perf bench sched pipe` failed: {status}");
        }
        micros(&text).context("`perf bench sched pipe` printed no usecs/op")
    }
}

/// Finds the line `5.742720 usecs/op`.
fn micros(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.trim().strip_suffix("usecs/op")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_operation_is_read() {
        let text = "# Running 'sched/pipe' benchmark:\n# Executed 100000 pipe operations between \
                    two processes\n\n     Total time: 0.574 [sec]\n\n       5.742720 usecs/op\n         \
                    174133 ops/sec\n";
        assert_eq!(micros(text), Some(5.74272));
        assert_eq!(micros("perf: 'bench' is not a perf-command"), None);
    }
}
