//! Real servers, and the programs that load them. All end when dropped.

mod load;
mod nginx;
mod postgres;
mod redis;
mod session;
mod small;

pub use load::{Load, PYTHON, busy_python, sysbench, sysbench_mutex};
pub use nginx::Nginx;
pub use postgres::{Door, Postgres};
pub use redis::Redis;
pub use session::{Session, Tick, waited_ns};
pub use small::{Memcached, PythonServer};

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lines::Lines;
use crate::process::Bounded;

/// A TCP port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn installed(program: &str) -> Result<PathBuf> {
    crate::need::program(program).with_context(|| format!("{program} is not installed"))
}

/// Runs a client to its end, for no longer than `within`, and gives what it printed.
fn said_by(command: &mut Command, within: Duration) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Bounded::spawn(command)?;
    let stdout = Lines::of(process.child().stdout.take().context("no stdout")?);
    let stderr = Lines::of(process.child().stderr.take().context("no stderr")?);
    let status = process.wait_within(within)?;
    let rest = |lines: &Lines| lines.rest(Duration::from_secs(5)).join("\n");
    let (said, complaint) = (rest(&stdout), rest(&stderr));
    let name = command.get_program().to_string_lossy().into_owned();
    ensure!(status.success(), "{name} ended with {status}: {said} {complaint}");
    Ok(said)
}
