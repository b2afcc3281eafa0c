//! Calls to other servers: one connection for each thread and peer, kept alive.

use std::io;
use std::time::Duration;

use super::http::{answer_length, request};
use super::stream::{Place, Stream};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connections of one thread.
#[derive(Default)]
pub struct Peers(Vec<Peer>);

/// A server, and the connection to it.
struct Peer {
    port: u16,
    stream: Option<Stream>,
}

impl Peers {
    /// Connects to these ports; where that fails, it is tried again with each call.
    pub fn new(ports: impl IntoIterator<Item = u16>) -> Self {
        let mut peers: Vec<Peer> = Vec::new();
        for port in ports {
            if peers.iter().all(|peer| peer.port != port) {
                peers.push(Peer { port, stream: connect(port).ok() });
            }
        }
        Self(peers)
    }

    /// Asks one after another; how many calls failed.
    pub fn call(&mut self, ports: &[u16], path: &[u8]) -> u64 {
        let request = request(path);
        let calls = self.of(ports).map(|peer| peer.send(&request).and_then(|()| peer.receive()));
        calls.filter(Result::is_err).count() as u64
    }

    /// Asks all at once; how many calls failed.
    pub fn call_all(&mut self, ports: &[u16], path: &[u8]) -> u64 {
        let request = request(path);
        let sent: Vec<_> = self.of(ports).map(|peer| (peer.send(&request), peer)).collect();
        let answers = sent.into_iter().map(|(sent, peer)| sent.and_then(|()| peer.receive()));
        answers.filter(Result::is_err).count() as u64
    }

    /// In the order in which they were named.
    fn of(&mut self, ports: &[u16]) -> impl Iterator<Item = &mut Peer> {
        self.0.iter_mut().filter(|peer| ports.contains(&peer.port))
    }
}

impl Peer {
    /// Sends a request, by a new connection where the old one is broken.
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        if let Some(stream) = &self.stream
            && stream.send(request).is_ok()
        {
            return Ok(());
        }
        let stream = self.stream.insert(connect(self.port)?);
        stream.send(request)
    }

    /// Reads the answer; without one, the connection is of no more use.
    fn receive(&mut self) -> io::Result<()> {
        let stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        read_answer(&stream)?;
        self.stream = Some(stream);
        Ok(())
    }
}

fn connect(port: u16) -> io::Result<Stream> {
    let stream = Place::local(port).connect()?;
    stream.limit_reads(PATIENCE)?;
    Ok(stream)
}

fn read_answer(stream: &Stream) -> io::Result<()> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&buffer[..read]),
        }
        if answer_length(&answer).is_some_and(|length| answer.len() >= length) {
            return Ok(());
        }
    }
}
