//! Sockets of both kinds, by read(2) and write(2).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::check;
use super::poll::{poll, wanted};

/// Longest wait for a peer that does not take what it is sent.
const FULL: Duration = Duration::from_secs(2);

/// Where a server listens.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// A port of 127.0.0.1; for a server 0 is any.
    #[arg(long, value_name = "PORT")]
    tcp: Option<u16>,
    /// A Unix socket.
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
}

/// A socket that listens.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A socket that is connected.
pub struct Stream(File);

impl Place {
    /// Of a port of this machine.
    pub fn local(port: u16) -> Self {
        Self { tcp: Some(port), unix: None }
    }

    /// For a server.
    pub fn listen(&self) -> io::Result<Listener> {
        match &self.unix {
            Some(path) => Ok(Listener::Unix(UnixListener::bind(path)?, path.clone())),
            None => TcpListener::bind(self.address()).map(Listener::Tcp),
        }
    }

    /// For a client.
    pub fn connect(&self) -> io::Result<Stream> {
        match &self.unix {
            Some(path) => Ok(Stream::of(UnixStream::connect(path)?)),
            None => Stream::of_tcp(TcpStream::connect(self.address())?),
        }
    }

    fn address(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, self.tcp.unwrap_or_default())
    }
}

impl Listener {
    /// Its port, if it has one.
    pub fn port(&self) -> io::Result<Option<u16>> {
        match self {
            Self::Tcp(listener) => Ok(Some(listener.local_addr()?.port())),
            Self::Unix(..) => Ok(None),
        }
    }

    /// The next connection.
    pub fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => Stream::of_tcp(listener.accept()?.0),
            Self::Unix(listener, _) => Ok(Stream::of(listener.accept()?.0)),
        }
    }

    /// Does not wait for connections any more.
    pub fn never_block(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener, _) => listener.set_nonblocking(true),
        }
    }

    /// Takes its name away.
    pub fn forget(&self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            Self::Unix(_, path) => std::fs::remove_file(path),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl Stream {
    fn of_tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::of(stream))
    }

    fn of(socket: impl Into<OwnedFd>) -> Self {
        Self(File::from(socket.into()))
    }

    /// Does not wait in reads and writes any more.
    pub fn never_block(&self) -> io::Result<()> {
        // SAFETY: sets a flag of a descriptor that is open.
        check(unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
    }

    /// What has come; 0 bytes where nothing will any more.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.0).read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Waits until there is something to read.
    pub fn wait_for_data(&self) -> io::Result<()> {
        while poll(&mut [wanted(self, libc::POLLIN)], FULL)? == 0 {}
        Ok(())
    }

    /// Lets reads fail that wait for longer.
    pub fn limit_reads(&self, to: Duration) -> io::Result<()> {
        let time = libc::timeval {
            tv_sec: to.as_secs() as libc::time_t,
            tv_usec: to.subsec_micros().into(),
        };
        let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
        let size = size_of_val(&time) as libc::socklen_t;
        // SAFETY: the time is valid for the call, and its size is right.
        let set = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), level, option, (&raw const time).cast(), size)
        };
        check(set).map(drop)
    }

    /// Sends all of it.
    pub fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.0).write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) -> io::Result<()> {
        match poll(&mut [wanted(self, libc::POLLOUT)], FULL)? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
