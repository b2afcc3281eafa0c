//! nginx.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{free_port, installed, said_by};
use crate::process::Bounded;

/// nginx with one worker, on a port of 127.0.0.1.
#[derive(Debug)]
pub struct Nginx {
    server: Bounded,
    /// Its port.
    pub port: u16,
    /// Its port for HTTP/2, without TLS.
    pub http2_port: u16,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it, and waits until it listens. Its answers are its own.
    pub fn start() -> Result<Self> {
        Self::start_with("return 200 'ok';")
    }

    /// The same, with the answers of a server on another port.
    pub fn before(port: u16) -> Result<Self> {
        Self::start_with(&format!("proxy_pass http://127.0.0.1:{port};"))
    }

    fn start_with(answer: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dwell-nginx-").tempdir()?;
        let (port, http2_port) = (free_port()?, free_port()?);
        let configuration = format!(
            "daemon off; user root; worker_processes 1; pid nginx.pid; error_log error.log;\n\
             events {{ worker_connections 2048; }}\n\
             http {{ access_log off; server {{ listen 127.0.0.1:{port}; \
             listen 127.0.0.1:{http2_port} http2; \
             location / {{ {answer} }} }} }}\n"
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, configuration).context("cannot write nginx's configuration")?;
        let mut command = Command::new(installed("nginx")?);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&path).arg("-e").arg("error.log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Bounded::spawn_with(&mut command, libc::SIGTERM)?;
        crate::proc::wait_until("nginx listens", Duration::from_secs(15), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        Ok(Self { server, port, http2_port, _folder: folder })
    }

    /// The master and its worker.
    pub fn processes(&self) -> Vec<u32> {
        let mut pids = crate::proc::children_of(self.server.pid());
        pids.insert(0, self.server.pid());
        pids
    }

    /// `wrk` with so many connections for some seconds, to its end: how many answers it got.
    pub fn wrk(&self, connections: u32, seconds: u32) -> Result<u64> {
        let mut command = Command::new(installed("wrk")?);
        command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s")]);
        command.arg(format!("http://127.0.0.1:{}/", self.port));
        let said = said_by(&mut command, Duration::from_secs(u64::from(seconds) + 30))?;
        let count = said.lines().find_map(|line| line.split_once(" requests in "));
        let (count, _) = count.with_context(|| format!("wrk did not say how many: {said}"))?;
        Ok(count.trim().parse()?)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.server.end(libc::SIGTERM, Duration::from_secs(5));
    }
}
