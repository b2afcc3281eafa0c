//! `perf bench sched`: programs that do nothing but wake each other up.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{super::affinity::pinned, Load, Work, printed};
use crate::process::find;

const LIMIT: Duration = Duration::from_secs(240);

/// Two processes that pass a token through two pipes, on one CPU: two switches an operation, and
/// nothing else. The worst case.
pub struct Pipe {
    /// The CPU.
    pub cpu: usize,
    /// Operations in each run.
    pub operations: u32,
}

impl Load for Pipe {
    fn work(&mut self) -> Result<Work> {
        let mut command = bench("pipe")?;
        command.args(["-l", &self.operations.to_string()]);
        let text = pinned(self.cpu, || printed(&mut command, LIMIT))?;
        work(&text, f64::from(self.operations))
    }
}

/// Groups of 20 processes that send to 20 others, on all CPUs: wakeups of many, across CPUs.
pub struct Messaging {
    /// Groups.
    pub groups: u32,
    /// Messages from each sender to each receiver.
    pub loops: u32,
}

impl Messaging {
    /// perf's own figure, for senders and for receivers.
    const IN_A_GROUP: f64 = 20.0;
}

impl Load for Messaging {
    fn work(&mut self) -> Result<Work> {
        let mut command = bench("messaging")?;
        command.args(["-g", &self.groups.to_string(), "-l", &self.loops.to_string()]);
        let text = printed(&mut command, LIMIT)?;
        let pairs = f64::from(self.groups) * Self::IN_A_GROUP * Self::IN_A_GROUP;
        work(&text, pairs * f64::from(self.loops))
    }
}

fn bench(name: &str) -> Result<Command> {
    let mut command = Command::new(find("perf").context("perf is not installed")?);
    command.args(["bench", "sched", name]);
    Ok(command)
}

/// Finds the line `Total time: 0.574 [sec]`. perf prints three digits there, so a run has to
/// last for some tenths of a second.
fn work(text: &str, operations: f64) -> Result<Work> {
    let seconds = text.lines().find_map(|line| {
        line.trim().strip_prefix("Total time:")?.trim().strip_suffix("[sec]")?.trim().parse().ok()
    });
    Ok(Work { operations, seconds: seconds.context("`perf bench sched` printed no total time")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_time_is_read() {
        let text = "# Running 'sched/pipe' benchmark:\n# Executed 100000 pipe operations between \
                    two processes\n\n     Total time: 0.574 [sec]\n\n       5.742720 usecs/op\n";
        assert_eq!(work(text, 7.0).unwrap(), Work { operations: 7.0, seconds: 0.574 });
        assert!(work("perf: 'bench' is not a perf-command", 1.0).is_err());
    }
}
