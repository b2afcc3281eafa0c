//! A server's connections, and the requests that come in by them.

use std::io;
use std::sync::Arc;

use dwell_tests::clock::monotonic_ns;

use super::http::Inbox;
use super::service::Service;
use super::stream::{Listener, Stream};

/// Bytes of one read(2).
const READ: usize = 16 * 1024;

/// A connection of the server.
pub struct Connection {
    pub stream: Arc<Stream>,
    /// In the order of their acceptance, from 0.
    pub number: u32,
    inbox: Inbox,
}

/// A request that is to be answered.
pub struct Request {
    pub stream: Arc<Stream>,
    pub connection: u32,
    /// In the order of their receipt, over all connections, from 1.
    pub number: u64,
    pub reading_ns: u64,
    pub received_ns: u64,
    pub path: Vec<u8>,
}

impl Connection {
    /// The next one.
    pub fn accept(listener: &Listener, service: &Service) -> io::Result<Self> {
        let stream = Arc::new(listener.accept()?);
        Ok(Self { stream, number: service.new_connection(), inbox: Inbox::default() })
    }

    /// Reads once, and serves the requests that are whole by now. It fails at the end of the
    /// connection, at what is no request or cannot be served, and at the end of the server.
    pub fn receive(
        &mut self,
        service: &Service,
        mut serve: impl FnMut(Request) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = [0; READ];
        if service.polls {
            self.stream.wait_for_data()?;
        }
        let reading_ns = monotonic_ns();
        let read = self.stream.read(&mut buffer)?;
        let received_ns = monotonic_ns();
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.inbox.put(&buffer[..read]);
        while let Some(path) = self.inbox.take().map_err(|_| io::ErrorKind::InvalidData)? {
            let number = service.admit().ok_or(io::ErrorKind::ConnectionAborted)?;
            let (stream, connection) = (self.stream.clone(), self.number);
            serve(Request { stream, connection, number, reading_ns, received_ns, path })?;
        }
        Ok(())
    }
}
