//! A lock that is held while another process is asked.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Result, ensure};
use dwell_tests::clock::sleep_ns;
use serde_json::json;

use super::Stage;
use super::children::{Child, rename};
use super::crew::{self, Member, hexadecimal};
use super::pthread::Mutex;
use super::turns::{Turns, take_turns};

const THOUGHT_NS: u64 = 20_000_000;
const PAUSE_NS: u64 = 500_000;

static CONNECTION: Mutex = Mutex::new();

/// All threads share one connection, and its mutex. With more than two of them, who waits is woken
/// by somebody who has himself waited for the same mutex most of that time.
pub fn run(stage: Stage, threads: usize) -> Result<()> {
    ensure!((2..=100).contains(&threads), "--threads is 2 to 100");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let backend = Child::fork(|| {
        rename(c"backend");
        answer(listener.accept()?.0)
    })?;
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    let stream = &stream;
    let take_and_ask = |deadline_ns| {
        let ask = || {
            let mut stream = stream;
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])
        };
        take_turns(deadline_ns, PAUSE_NS, || CONNECTION.lock(), ask, |()| CONNECTION.unlock())
    };
    let members = (0..threads).map(|number| Member::new(format!("asker-{number}"), take_and_ask));
    let (running, done) = crew::run(stage, members.collect())?;
    let turns = Turns::sum(done.into_iter().map(|done| done.result));
    let object = json!({
        "address": hexadecimal(CONNECTION.address()), "backend_pid": backend.pid,
        "server_port": port, "hold_ns": turns.hold_ns(),
    });
    running.end("lock-over-socket", turns.waits, object)
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    // Until who asks is gone.
    while stream.read(&mut [0])? > 0 {
        sleep_ns(THOUGHT_NS);
        stream.write_all(b"!")?;
    }
    Ok(())
}
