//! pgbench against PostgreSQL.

use std::time::Duration;

use anyhow::{Context, Result};
use dwell_tests::servers::{Door, Postgres};

use super::{super::affinity::pinned, Load, Target, Work, printed};

const LIMIT: Duration = Duration::from_secs(60);
const CLIENTS: &str = "4";

/// A server, and clients that connect anew in each run, all on one CPU.
pub struct Pgbench {
    cpu: usize,
    seconds: u32,
    script: &'static str,
    server: Postgres,
}

impl Pgbench {
    /// Starts the server. `script` is pgbench's option for what the clients do: `-S`, `-N`.
    pub fn start(cpu: usize, seconds: u32, script: &'static str) -> Result<Self> {
        let server = pinned(cpu, Postgres::start)?;
        Ok(Self { cpu, seconds, script, server })
    }
}

impl Load for Pgbench {
    fn begin(&mut self) -> Result<Target> {
        Ok(Target::Process { pid: self.server.pid(), comm: "postgres", children: true })
    }

    fn work(&mut self) -> Result<Work> {
        let mut command = self.server.client("pgbench", Door::Tcp)?;
        command.args(["-n", self.script, "-c", CLIENTS, "-j", "1"]);
        command.args(["-T", &self.seconds.to_string(), Postgres::DATABASE]);
        work(&pinned(self.cpu, || printed(&mut command, LIMIT))?)
    }
}

fn work(text: &str) -> Result<Work> {
    let after = |label: &str| -> Option<f64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
        rest.trim_start().split([' ', '/']).next()?.parse().ok()
    };
    let operations = after("number of transactions actually processed:");
    let rate = after("tps =").filter(|rate| *rate > 0.0);
    let (operations, rate) = operations.zip(rate).context("pgbench printed no tps")?;
    Ok(Work { operations, seconds: operations / rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_and_their_rate_are_read() {
        let text = "scaling factor: 1\nnumber of transactions actually processed: 5000\n\
                    latency average = 0.1 ms\ntps = 2500.000000 (without initial connection time)";
        assert_eq!(work(text).unwrap(), Work { operations: 5000.0, seconds: 2.0 });
        assert!(work("pgbench: error: connection failed").is_err());
    }
}
