//! A client's connection: one request at a time.

use std::io;

use dwell_tests::clock::monotonic_ns;

use super::http::{answer_length, request};
use super::stream::{Place, Stream};

/// Connections that break one after the other, until it is given up.
const MOST_FAILURES: u32 = 5;
/// Longest answer, in bytes.
const LONGEST: usize = 1 << 20;

/// When a request was sent and answered.
#[derive(Clone, Copy)]
pub struct Timing {
    pub number: u64,
    pub connection: u32,
    pub due_ns: u64,
    pub sent_ns: u64,
    pub received_ns: u64,
}

/// One connection, and the requests that go by it: every so many, beginning with its own number.
pub struct Line<'a> {
    place: &'a Place,
    stream: Option<Stream>,
    pub number: u32,
    /// The next request.
    pub next: u64,
    asked: Option<Timing>,
    answer: Vec<u8>,
    failures: u32,
}

impl<'a> Line<'a> {
    /// Connects.
    pub fn new(place: &'a Place, number: u32) -> io::Result<Self> {
        let stream = Some(place.connect()?);
        let next = u64::from(number);
        Ok(Self { place, stream, number, next, asked: None, answer: Vec::new(), failures: 0 })
    }

    /// To wait for.
    pub fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// When the request was sent that is not answered yet.
    pub fn waits_since_ns(&self) -> Option<u64> {
        self.asked.map(|asked| asked.sent_ns)
    }

    /// Sends the next request.
    pub fn send(&mut self, path: &str, due_ns: u64) -> io::Result<()> {
        let request = request(path.as_bytes());
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let sent_ns = monotonic_ns();
        stream.send(&request)?;
        let (number, connection) = (self.next, self.number);
        self.asked = Some(Timing { number, connection, due_ns, sent_ns, received_ns: 0 });
        Ok(())
    }

    /// Reads once; when the request was answered, if that completed the answer.
    pub fn receive(&mut self) -> io::Result<Option<Timing>> {
        let mut buffer = [0; 4096];
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let read = stream.read(&mut buffer)?;
        let received_ns = monotonic_ns();
        self.answer.extend_from_slice(&buffer[..read]);
        if read == 0 || self.answer.len() > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if answer_length(&self.answer).is_none_or(|length| self.answer.len() < length) {
            return Ok(None);
        }
        self.answer.clear();
        self.failures = 0;
        Ok(self.asked.take().map(|asked| Timing { received_ns, ..asked }))
    }

    /// Connects again after a failure; after too many of them it stays closed.
    pub fn fail(&mut self) {
        self.answer.clear();
        self.asked = None;
        self.failures += 1;
        self.stream = match self.failures {
            ..MOST_FAILURES => self.place.connect().ok(),
            _ => None,
        };
    }
}
