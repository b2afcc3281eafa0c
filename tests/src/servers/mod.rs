//! Real servers, and the programs that load them. All end when dropped.

mod load;
mod nginx;
mod postgres;
mod redis;
mod session;

pub use load::{Load, PYTHON, busy_python, sysbench, sysbench_mutex};
pub use nginx::Nginx;
pub use postgres::{Door, Postgres};
pub use redis::Redis;
pub use session::{Session, Tick, waited_ns};

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// A TCP port of 127.0.0.1 that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn installed(program: &str) -> Result<PathBuf> {
    crate::need::program(program).with_context(|| format!("{program} is not installed"))
}
