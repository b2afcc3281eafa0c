//! Requests to one thread that serves many of them at a time, and mostly waits for timers: what the clients' own clocks
//! say, and no blame for those who are served at the same time.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use dwell_tests::document::requests::Service;
use dwell_tests::machine::Machine;
use dwell_tests::process::Bounded;
use dwell_tests::requests::{count, explain};
use dwell_tests::servers::{PYTHON, free_port};
use dwell_tests::{need_program, need_root};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A server made of one event loop.
struct Loop {
    process: Bounded,
    port: u16,
}

impl Loop {
    fn start() -> Result<Self> {
        let port = free_port()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/event_loop.py");
        let mut command = Command::new(PYTHON);
        command.arg(script).arg(port.to_string()).stdin(Stdio::null());
        let process = Bounded::spawn(&mut command)?;
        dwell_tests::proc::wait_until("the loop listens", TIMEOUT, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        Ok(Self { process, port })
    }
}

/// Asks one question and reads the answer to its end, which is an empty line both times. How long that took.
fn ask(stream: &mut TcpStream, path: &str, sends_no_more: bool) -> Result<Duration> {
    let began = Instant::now();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
    if sends_no_more {
        stream.shutdown(Shutdown::Write)?;
    }
    let end: &[u8] = if path == "/pieces" { b"0\r\n\r\n" } else { b"\r\n\r\n\r\n\r\n" };
    let mut answer = Vec::new();
    while !answer.ends_with(end) {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece)?;
        ensure!(length > 0, "no whole answer: {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&piece[..length]);
    }
    Ok(began.elapsed())
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Clients that ask so many questions each on one connection, all at the same time: how long the answers took.
fn ask_all(port: u16, clients: &[(&'static str, u32)]) -> Result<Vec<(&'static str, Duration)>> {
    let ask_some = move |path, questions: u32| -> Result<Vec<(&'static str, Duration)>> {
        let mut stream = connect(port)?;
        (0..questions).map(|_| Ok((path, ask(&mut stream, path, false)?))).collect()
    };
    let clients: Vec<_> = clients
        .iter()
        .map(|&(path, questions)| thread::spawn(move || ask_some(path, questions)))
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    Ok(took)
}

/// The median of what dwell says of the requests for `label`, against that of the clients: dwell's is shorter by what the
/// clients and the network take.
fn is_as_long(service: &Service, label: &str, mut took: Vec<Duration>) -> Result<()> {
    took.sort();
    let group = service.groups.iter().find(|group| group.label.text == label);
    let group = group.ok_or_else(|| anyhow!("no {label}"))?;
    ensure!(group.count == took.len() as u64, "{} of {} {label}", group.count, took.len());
    let (found, client) = (group.latency.p50_ns, took[took.len() / 2].as_nanos() as u64);
    let range = client / 10 * 9..=client / 100 * 101;
    ensure!(range.contains(&found), "{label}: {found} ns, the client's {client}");
    Ok(())
}

#[test]
fn nobody_is_behind_a_loop_that_waits() -> Result<()> {
    need_root!();
    need_program!(PYTHON);
    let _machine = Machine::take()?;
    let server = Loop::start()?;
    let (document, took) =
        count(&[server.process.pid()], || ask_all(server.port, &[("/a", 60); 8]))?;
    let check = || {
        let service = document.service_at(server.port)?;
        is_as_long(service, "GET /a", took.iter().map(|(_, time)| *time).collect())?;
        let all = &service.sets.all;
        let part = |name: &str| all.parts_ns.get(name).copied().unwrap_or_default();
        ensure!(part("behind_others") < all.mean_ns / 10, "{all:?}");
        ensure!(part("poll") > all.mean_ns / 10 * 8, "{all:?}");
        let verdict = &document.value["verdict"];
        ensure!(verdict["constraint"]["kind"] != "serialized_loop", "{verdict}");
        ensure!(verdict["confidence"] != "high", "what it waits for, nobody can see: {verdict}");
        // Its thread is at work for what it runs.
        let busy = document.value["queues"][0]["threads"]["busy"].as_f64();
        ensure!(busy.is_some_and(|busy| busy < 0.5), "{busy:?} in {}", document.value["queues"]);
        Ok(())
    };
    explain(&document, check())
}

#[test]
fn an_answer_goes_on_after_other_requests_have_come() -> Result<()> {
    need_root!();
    need_program!(PYTHON);
    let _machine = Machine::take()?;
    let server = Loop::start()?;
    let clients = [("/pieces", 15), ("/a", 30), ("/a", 30), ("/a", 30)];
    let (document, took) = count(&[server.process.pid()], || ask_all(server.port, &clients))?;
    let of =
        |path: &str| took.iter().filter(|(of, _)| *of == path).map(|(_, time)| *time).collect();
    let check = || {
        let service = document.service_at(server.port)?;
        is_as_long(service, "GET /pieces", of("/pieces"))?;
        is_as_long(service, "GET /a", of("/a"))
    };
    explain(&document, check())
}

#[test]
fn an_answer_goes_on_after_the_client_has_said_its_last() -> Result<()> {
    need_root!();
    need_program!(PYTHON);
    let _machine = Machine::take()?;
    let server = Loop::start()?;
    let ask_some = || -> Result<Vec<Duration>> {
        (0..15).map(|_| ask(&mut connect(server.port)?, "/pieces", true)).collect()
    };
    let (document, took) = count(&[server.process.pid()], ask_some)?;
    let check = || is_as_long(document.service_at(server.port)?, "GET /pieces", took.clone());
    explain(&document, check())
}
