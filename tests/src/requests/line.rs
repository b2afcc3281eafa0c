//! A connection over which bytes are sent as they are.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Place;

/// The preface of HTTP/2 with settings (RFC 9113).
pub const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a server. It is closed when dropped.
#[derive(Debug)]
pub enum Line {
    /// To a port of 127.0.0.1.
    Tcp(TcpStream),
    /// To a Unix socket.
    Unix(UnixStream),
}

impl Line {
    /// Connects.
    pub fn to(place: &Place) -> Result<Self> {
        let line = match place {
            Place::Tcp(port) => Self::Tcp(TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?),
            Place::Unix(path) => Self::Unix(UnixStream::connect(path)?),
        };
        match &line {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
            }
            Self::Unix(stream) => stream.set_read_timeout(Some(PATIENCE))?,
        }
        Ok(line)
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
        .context("cannot send")
    }

    /// Sends bytes, and gives what comes first.
    pub fn ask(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.send(bytes)?;
        let mut buffer = vec![0; 4096];
        let length = match self {
            Self::Tcp(stream) => stream.read(&mut buffer),
            Self::Unix(stream) => stream.read(&mut buffer),
        }
        .context("no answer")?;
        ensure!(length > 0, "the server has closed the connection");
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Asks for a path by HTTP, of a server whose answers fit in one packet.
    pub fn get(&mut self, path: &str) -> Result<()> {
        let answer = self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "GET {path}: {}", answer.escape_ascii());
        Ok(())
    }
}
