//! redis-benchmark against Redis.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use dwell_tests::servers::Redis;

use super::{super::affinity::pinned, Load, Target, Work, printed};
use crate::process::find;

const LIMIT: Duration = Duration::from_secs(60);
const CLIENTS: &str = "8";

/// A server and clients that get and set, on one CPU.
pub struct RedisBenchmark {
    cpu: usize,
    requests: u32,
    server: Redis,
}

impl RedisBenchmark {
    /// Starts the server.
    pub fn start(cpu: usize, requests: u32) -> Result<Self> {
        Ok(Self { cpu, requests, server: pinned(cpu, Redis::start)? })
    }
}

impl Load for RedisBenchmark {
    fn begin(&mut self) -> Result<Target> {
        Ok(Target::Process { pid: self.server.pid(), comm: "redis-server", children: false })
    }

    fn work(&mut self) -> Result<Work> {
        let redis = find("redis-benchmark").context("redis-benchmark is not installed")?;
        let mut command = Command::new(redis);
        command.args(["-h", "127.0.0.1", "-p", &self.server.port.to_string(), "--csv"]);
        command.args(["-t", "set,get", "-c", CLIENTS, "-n", &self.requests.to_string()]);
        work(&pinned(self.cpu, || printed(&mut command, LIMIT))?, f64::from(self.requests))
    }
}

/// Adds up the tests that were run: `"SET","123456.78",…`, requests a second.
fn work(csv: &str, requests: f64) -> Result<Work> {
    let rates: Vec<f64> = csv
        .lines()
        .filter_map(|line| line.split(',').nth(1)?.trim_matches('"').parse().ok())
        .filter(|rate| *rate > 0.0)
        .collect();
    let seconds: f64 = rates.iter().map(|rate| requests / rate).sum();
    anyhow::ensure!(seconds > 0.0, "redis-benchmark printed no rate");
    Ok(Work { operations: requests * rates.len() as f64, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_add_up() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"500.00\",\"1\"\n\
                   \"GET\",\"1000.00\",\"1\"\n";
        assert_eq!(work(csv, 1000.0).unwrap(), Work { operations: 2000.0, seconds: 3.0 });
        assert!(work("Could not connect", 1.0).is_err());
    }
}
