//! nginx.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{free_port, installed};
use crate::process::Bounded;

/// nginx with one worker, on a port of 127.0.0.1.
#[derive(Debug)]
pub struct Nginx {
    server: Bounded,
    /// Its port.
    pub port: u16,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it, and waits until it listens.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dwell-nginx-").tempdir()?;
        let port = free_port()?;
        let configuration = format!(
            "daemon off; user root; worker_processes 1; pid nginx.pid; error_log error.log;\n\
             events {{}}\n\
             http {{ access_log off; server {{ listen 127.0.0.1:{port}; \
             location / {{ return 200 'ok'; }} }} }}\n"
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
        Ok(Self { server, port, _folder: folder })
    }

    /// The master and its worker.
    pub fn processes(&self) -> Vec<u32> {
        let mut pids = crate::proc::children_of(self.server.pid());
        pids.insert(0, self.server.pid());
        pids
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.server.end(libc::SIGTERM, Duration::from_secs(5));
    }
}
