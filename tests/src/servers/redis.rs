//! Redis.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::{Load, free_port, installed, said_by};
use crate::process::{Bounded, run};

/// A Redis server on a port of 127.0.0.1.
#[derive(Debug)]
pub struct Redis {
    server: Bounded,
    /// Its port.
    pub port: u16,
    _folder: TempDir,
}

impl Redis {
    /// Starts it, and waits until it listens.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dwell-redis-").tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(installed("redis-server")?);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null());
        let server = Bounded::spawn_with(&mut command, libc::SIGTERM)?;
        crate::proc::wait_until("Redis listens", Duration::from_secs(15), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        Ok(Self { server, port, _folder: folder })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// `redis-benchmark` with some clients, until dropped (or some minutes have gone by).
    pub fn benchmark(&self, clients: u32) -> Result<Load> {
        let mut command = Command::new(installed("redis-benchmark")?);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-q"]);
        command.args(["-t", "set,get", "-n", "20000000", "-c", &clients.to_string()]);
        Load::start(&mut command)
    }

    /// Has it evaluate a script, and waits for that.
    pub fn eval(&self, script: &str) -> Result<()> {
        let mut command = Command::new(installed("redis-cli")?);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "EVAL", script, "0"]);
        run(command.stdout(Stdio::null()), Duration::from_secs(20))
    }

    /// `redis-benchmark` to its end: so many `SET`, and as many `GET`. Each of the clients sends
    /// `pipeline` of them before it waits for their answers.
    pub fn set_and_get(&self, clients: u32, requests: u32, pipeline: u32) -> Result<()> {
        let mut command = Command::new(installed("redis-benchmark")?);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-q", "-t", "get,set"]);
        command.args(["-n", &requests.to_string(), "-c", &clients.to_string()]);
        command.args(["-P", &pipeline.to_string()]);
        said_by(&mut command, Duration::from_secs(60)).map(drop)
    }

    /// `redis-cli` that asks, again and again, for what comes only after `seconds`: a client
    /// that blocks in its socket.
    pub fn patient_client(&self, seconds: f64) -> Result<Load> {
        let mut command = Command::new(installed("redis-cli")?);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-r", "1000"]);
        command.args(["BLPOP", "dwell-tests-never", &seconds.to_string()]);
        Load::start(&mut command)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.end(libc::SIGTERM, Duration::from_secs(5));
    }
}
