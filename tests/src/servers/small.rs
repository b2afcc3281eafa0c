//! Servers of a few lines.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::{PYTHON, free_port, installed};
use crate::process::Bounded;

/// A `memcached` on loopback.
#[derive(Debug)]
pub struct Memcached {
    server: Bounded,
    /// Its port.
    pub port: u16,
}

impl Memcached {
    /// Starts it, and waits until it listens.
    pub fn start() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(installed("memcached")?);
        command.args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-t", "1"]);
        let server = listen(command.args(["-p", &port.to_string()]), port)?;
        Ok(Self { server, port })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// A server in Python: one connection at a time, and the same short answer to everything.
#[derive(Debug)]
pub struct PythonServer {
    server: Bounded,
    /// Its port.
    pub port: u16,
}

impl PythonServer {
    /// Starts one that receives a request by this expression, of its connection `p`, and waits until it
    /// listens. It ends a connection for which that is empty.
    pub fn start(receive: &str) -> Result<Self> {
        let port = free_port()?;
        let program = format!(
            "import socket\n\
             s = socket.create_server(('127.0.0.1', {port}))\n\
             while True:\n    \
                 p = s.accept()[0]\n    \
                 while any([{receive}]):\n        \
                     p.send(b'ok')\n    \
                 p.close()\n"
        );
        let mut command = Command::new(installed(PYTHON)?);
        let server = listen(command.args(["-c", &program]), port)?;
        Ok(Self { server, port })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// Starts a server, and waits until it listens.
fn listen(command: &mut Command, port: u16) -> Result<Bounded> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Bounded::spawn(command)?;
    crate::proc::wait_until("a server listens", Duration::from_secs(15), || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    })?;
    Ok(server)
}
