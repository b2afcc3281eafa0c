//! Starts and ends the processes of the demo.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{CLIENTS, DOWNSTREAM_MS, WORKERS};

/// The processes of the demo; they end with it.
pub struct Stage {
    server: Child,
    others: [Child; 2],
}

impl Stage {
    /// Starts the downstream, the server, and the load.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub fn set(life: Duration) -> Result<Self> {
        let (downstream, downstream_port) = start("downstream", 0, life)?;
        let (server, server_port) = start("server", downstream_port, life)?;
        let client = spawn("client", server_port, life)?;
        Ok(Self { server, others: [downstream, client] })
    }

    /// The server's process.
    pub fn server_pid(&self) -> u32 {
        self.server.id()
    }

    /// What the report should have shown.
    pub fn epilogue(&self) -> String {
        planted()
    }
}

/// At most 80 columns wide.
fn planted() -> String {
    format!(
        "\nWhat was planted: {WORKERS} workers serve {CLIENTS} clients, and each request holds one\n\
         lock while it waits {DOWNSTREAM_MS} ms for a downstream. So one worker at a time waits\n\
         for the socket, and the others for the lock.\n"
    )
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain([&mut self.server]) {
            // Gone already is fine.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Starts a process and reads the port that it prints.
fn start(role: &str, port: u16, life: Duration) -> Result<(Child, u16)> {
    let mut child = spawn(role, port, life)?;
    let stdout = child.stdout.take().context("no pipe to the demo")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("the demo did not start")?;
    let port = line.trim().parse().with_context(|| format!("the demo's {role} did not start"))?;
    Ok((child, port))
}

fn spawn(role: &str, port: u16, life: Duration) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find dwell's own program")?;
    Command::new(program)
        .arg0(format!("demo-{role}"))
        .args(["demo-role", role, "--port", &port.to_string()])
        .args(["--life", &format!("{}ms", life.as_millis())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start the demo's {role}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_epilogue_fits_into_80_columns() {
        assert!(super::planted().lines().all(|line| line.len() <= 80));
    }
}
