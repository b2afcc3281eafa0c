//! A client that sends what no server expects: malformed requests, and other protocols.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use dwell_tests::clock::monotonic_ns;
use serde_json::json;

use super::http::request;
use super::poll::{poll, wanted};
use super::say;
use super::stream::{Place, Stream};

/// Longest wait for what a server says to one payload.
const PATIENCE_NS: u64 = 50_000_000;

/// The client. Each payload has a connection of its own.
#[derive(Args)]
pub struct Hostile {
    #[command(flatten)]
    place: Place,
}

impl Hostile {
    /// Sends all of them, once.
    pub fn run(self) -> Result<()> {
        let payloads = payloads();
        let (mut refused, mut received) = (0, 0);
        for payload in &payloads {
            let stream = self.place.connect().context("cannot connect")?;
            // A server may close the connection before it has read everything.
            refused += u32::from(stream.send(payload).is_err());
            received += read_for_a_while(&stream);
        }
        let said = json!({ "payloads": payloads.len(), "refused": refused, "bytes": received });
        Ok(say(said)?)
    }
}

/// Bytes that came.
fn read_for_a_while(stream: &Stream) -> usize {
    let deadline_ns = monotonic_ns() + PATIENCE_NS;
    let (mut buffer, mut received) = ([0; 4096], 0);
    while let Ok(read @ 1..) = read_until(stream, deadline_ns, &mut buffer) {
        received += read;
    }
    received
}

/// 0 bytes once the time is over.
fn read_until(stream: &Stream, deadline_ns: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let left = Duration::from_nanos(deadline_ns.saturating_sub(monotonic_ns()));
    match poll(&mut [wanted(stream, libc::POLLIN)], left)? {
        0 => Ok(0),
        _ => stream.read(buffer),
    }
}

fn payloads() -> Vec<Vec<u8>> {
    [bytes(), requests(), redis(), postgres(), mysql(), others()].concat()
}

/// Without any protocol.
fn bytes() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![0],
        vec![0; 4096],
        vec![0xff; 64 * 1024],
        b"\x1b[2J\x1b[1;31m\x1b]0;title\x07\r\n".to_vec(),
        (0..=255).collect(),
    ]
}

/// Of HTTP: some are whole, with paths that are made to fool who prints them.
fn requests() -> Vec<Vec<u8>> {
    let paths: [&[u8]; 8] = [
        b"/\x1b[2J\x1b[31mred",
        b"/\x1b]0;title\x07",
        b"/nul\0byte",
        b"/\xff\xfe\xc3\x28\x80",
        b"/\xe2\x80\xaedesrever\xc2\x9b2J",
        b"/\"},{\"pid\":1",
        b"/%00%1b%5b2J/../../etc/passwd",
        b"/{n}%s%n\t\x7f",
    ];
    let mut all: Vec<Vec<u8>> = paths.iter().map(|path| request(path)).collect();
    all.push(request(&[b"/", &[b'a'; 60_000][..]].concat()));
    all.push([b"GET / HTTP/1.1\r\nX: ", &[b'x'; 64 * 1024][..], b"\r\n\r\n"].concat());
    all.push([b"GET / HTTP/1.1\r\n", &b"X: y\r\n".repeat(10_000)[..], b"\r\n"].concat());
    all.push(request(b"/many").repeat(50));
    all.push([&request(b"/whole")[..], b"GET /half HTTP/1"].concat());
    let heads: [&[u8]; 7] = [
        b"GET",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x1b[2J / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
    ];
    all.extend(heads.map(<[u8]>::to_vec));
    all
}

/// Of Redis (RESP), with absurd counts and lengths.
fn redis() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 6] = [
        b"*99999999999\r\n$-5\r\n",
        b"*-1\r\n",
        b"*2\r\n$3\r\nGET\r\n$2147483648\r\nk\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n$4\r\nPI\x1b\0\r\n",
        b"*3\r\n*3\r\n*3\r\n*3\r\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

/// Of PostgreSQL: a kind, and a length that is wrong.
fn postgres() -> Vec<Vec<u8>> {
    let message = |kind: u8, length: i32| {
        [&[kind][..], &length.to_be_bytes(), b"SELECT '\x1b[2J'\0"].concat()
    };
    let lengths = [0, 3, -1, i32::MIN, i32::MAX, 5, 1_000_000];
    let mut all: Vec<Vec<u8>> = lengths.map(|length| message(b'Q', length)).to_vec();
    all.push(message(b'\x1b', 20));
    // The first message of a client has no kind: version 3.0, and a request for TLS.
    for (length, code) in [(8, 196_608), (-8, 196_608), (i32::MAX, 196_608), (8, 80_877_103)] {
        all.push([i32::to_be_bytes(length), i32::to_be_bytes(code)].concat());
    }
    all
}

/// Of MySQL: a length of three bytes, a sequence number, a command.
fn mysql() -> Vec<Vec<u8>> {
    let packets: [&[u8]; 4] = [
        b"\xff\xff\xff\x00\x03SELECT 1",
        b"\x00\x00\x00\x00\x03",
        b"\x01\x00\x00\xff\x03SELECT \x1b[2J\0",
        b"\x20\x00\x00\x01\x85\xa6\xff\x01\0\0\0\x01\xff",
    ];
    packets.map(<[u8]>::to_vec).to_vec()
}

/// TLS, HTTP/2 and SSH, as they begin.
fn others() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x16\x03\x01\xff\xff\x01\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x01\xff\xff\xff\xff\xff\x1b[2J",
        b"SSH-2.0-\x1b[2J\r\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_payloads_hold() {
        let all = payloads();
        assert!(all.len() > 40 && all.iter().any(Vec::is_empty));
        assert!(all.iter().all(|payload| payload.len() <= 128 * 1024));
        assert!(all.iter().any(|payload| payload.len() > 64 * 1024));
        assert!(all.contains(&b"*99999999999\r\n$-5\r\n".to_vec()));
    }
}
