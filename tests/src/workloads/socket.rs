//! A client, and a server in another process that thinks before it answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::Result;
use dwell_tests::clock::sleep_ns;
use serde_json::{Value, json};

use super::Stage;
use super::children::{Child, rename};
use super::meter::Meter;
use super::stage::Running;

const THOUGHT_NS: u64 = 20_000_000;

pub fn run_tcp(stage: Stage) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server_port = listener.local_addr()?.port();
    let server = Child::fork(|| {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        answer(stream)
    })?;
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port))?;
    stream.set_nodelay(true)?;
    let client_port = stream.local_addr()?.port();
    let object = json!({
        "server_port": server_port, "client_port": client_port, "server_pid": server.pid,
    });
    ask("socket", stage.begin()?, stream, object)
}

pub fn run_unix(stage: Stage) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("dwell-").tempdir()?;
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path)?;
    let server = Child::fork(|| answer(listener.accept()?.0))?;
    let stream = UnixStream::connect(&path)?;
    let object = json!({ "path": path, "server_pid": server.pid });
    ask("unix-socket", stage.begin()?, stream, object)
}

fn ask(name: &str, running: Running, mut stream: impl Read + Write, object: Value) -> Result<()> {
    let mut meter = Meter::new()?;
    while running.goes_on() {
        stream.write_all(b"?")?;
        meter.measure(|| stream.read_exact(&mut [0]))?;
    }
    running.end(name, meter.waits(), object)
}

fn answer(mut stream: impl Read + Write) -> Result<()> {
    rename(c"answerer");
    loop {
        stream.read_exact(&mut [0])?;
        sleep_ns(THOUGHT_NS);
        stream.write_all(b"!")?;
    }
}
