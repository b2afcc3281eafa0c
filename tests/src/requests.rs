//! Servers and clients whose requests are known: `serve` and `drive` of the `workload` program,
//! and what they noted.

mod latencies;
mod line;
mod log;
mod sums;
mod watch;

pub use latencies::{Answered, Driven, Latencies};
pub use line::{HTTP2, Line};
pub use log::{Asked, Served, escape};
pub use sums::{check, check_each};
pub use watch::{Seen, count, explain, no_connection_is_open, same, watch};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::lines::Lines;
use crate::process::Bounded;

/// Longest time until a server listens, and until a client is connected.
const READY: Duration = Duration::from_secs(20);
/// Longest time for all requests of a client.
const DRIVEN: Duration = Duration::from_secs(120);
/// Longest time in which a server ends: it first answers what it has received.
const ENDED: Duration = Duration::from_secs(30);
/// Life of a server or client that nobody ends, in seconds.
const LIFE: &str = "300";

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A port of 127.0.0.1.
    Tcp(u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct Server {
    program: Program,
    place: Place,
}

/// A client that is connected, and has sent nothing yet. It ends when dropped.
#[derive(Debug)]
pub struct Client(Program);

/// What a server says at its end.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Its counts.
    pub end: Answered,
    /// Each request, in the order of their receipt.
    pub requests: Vec<Served>,
}

/// What a client says at its end.
#[derive(Clone, Debug)]
pub struct Questions {
    /// Its counts and latencies.
    pub end: Driven,
    /// Each request that was answered, in the order in which they were sent.
    pub requests: Vec<Asked>,
}

impl Server {
    /// Starts `serve` on any port, and waits until it listens. `program` is
    /// `env!("CARGO_BIN_EXE_workload")`, and the options are a model, plans, or workers.
    pub fn tcp(program: impl AsRef<Path>, options: &[&str]) -> Result<Self> {
        let program = Program::start(program.as_ref(), |command, _| {
            command.args(["serve", "--tcp", "0"]).args(options);
        })?;
        let line = program.line(READY, |line| line.parse::<u16>().is_ok())?;
        Ok(Self { place: Place::Tcp(line.parse()?), program })
    }

    /// The same with a Unix socket.
    pub fn unix(program: impl AsRef<Path>, options: &[&str]) -> Result<Self> {
        let program = Program::start(program.as_ref(), |command, folder| {
            command.args(["serve", "--unix"]).arg(folder.join("socket")).args(options);
        })?;
        program.line(READY, |line| line == "ready")?;
        Ok(Self { place: Place::Unix(program.folder.path().join("socket")), program })
    }

    /// Where it listens.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its port, if it has one: what other servers' plan to call it names.
    pub fn port(&self) -> Result<u16> {
        match self.place {
            Place::Tcp(port) => Ok(port),
            Place::Unix(_) => anyhow::bail!("a Unix socket has no port"),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.process.pid()
    }

    /// Lets it end, and reads what it noted.
    pub fn end(self) -> Result<Answers> {
        let (end, requests): (Answered, Vec<Served>) = self.program.end(ENDED)?;
        let noted = requests.len() as u64;
        ensure!(noted == end.requests, "{} answers, and {noted} in the log", end.requests);
        Ok(Answers { end, requests })
    }
}

impl Client {
    /// Starts `drive` for a server, and waits until all its connections are there.
    pub fn start(program: impl AsRef<Path>, place: &Place, options: &[&str]) -> Result<Self> {
        let program = Program::start(program.as_ref(), |command, _| {
            command.args(["--wait", "drive"]);
            match place {
                Place::Tcp(port) => command.arg("--tcp").arg(port.to_string()),
                Place::Unix(path) => command.arg("--unix").arg(path),
            };
            command.args(options);
        })?;
        program.line(READY, |line| line.starts_with("ready "))?;
        Ok(Self(program))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.process.pid()
    }

    /// Lets it send its requests, and waits for all the answers.
    pub fn drive(mut self) -> Result<Questions> {
        // The end of its stdin is as good as a line.
        self.0.stdin = None;
        let (end, requests): (Driven, Vec<Asked>) = self.0.end(DRIVEN)?;
        let noted = requests.len() as u64;
        ensure!(noted == end.requests, "{} answers, and {noted} in the log", end.requests);
        Ok(Questions { end, requests })
    }
}

impl Answers {
    /// As the server saw them.
    pub fn latencies(&self) -> Latencies {
        Latencies::of(self.requests.iter().map(Served::latency_ns))
    }
}

impl Questions {
    /// As the client saw them.
    pub fn latencies(&self) -> Latencies {
        Latencies::of(self.requests.iter().map(Asked::latency_ns))
    }

    /// Each request with what the server noted of it. Their paths must differ (`--path /{n}`).
    pub fn with<'a>(&'a self, answers: &'a Answers) -> Result<Vec<(&'a Asked, &'a Served)>> {
        let served: HashMap<&str, &Served> =
            answers.requests.iter().map(|row| (row.path.as_str(), row)).collect();
        ensure!(served.len() == answers.requests.len(), "two requests with one path");
        let pair = |asked: &'a Asked| {
            let served = served.get(asked.path.as_str());
            Ok((asked, *served.with_context(|| format!("the server has no {}", asked.path))?))
        };
        self.requests.iter().map(pair).collect()
    }
}

/// Sends every planned hostile payload to a server.
pub fn send_hostile(program: impl AsRef<Path>, place: &Place) -> Result<()> {
    let mut command = Command::new(program.as_ref());
    command.arg("hostile-requests").stdout(Stdio::null());
    match place {
        Place::Tcp(port) => command.arg("--tcp").arg(port.to_string()),
        Place::Unix(path) => command.arg("--unix").arg(path),
    };
    crate::process::run(&mut command, READY)
}

/// The `workload` program, with a log.
#[derive(Debug)]
struct Program {
    process: Bounded,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    folder: TempDir,
}

impl Program {
    fn start(program: &Path, arguments: impl FnOnce(&mut Command, &Path)) -> Result<Self> {
        // Beside the program: on a disk, most likely.
        let place = program.parent().context("no folder of the program")?;
        let folder = tempfile::Builder::new().prefix("requests-").tempdir_in(place)?;
        let mut command = Command::new(program);
        command.args(["--seconds", LIFE, "--folder"]).arg(folder.path());
        arguments(&mut command, folder.path());
        command.arg("--log").arg(folder.path().join("log"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Bounded::spawn(&mut command)?;
        let stdin = process.child().stdin.take();
        let stdout = Lines::of(process.child().stdout.take().context("no stdout")?);
        Ok(Self { process, stdin, stdout, folder })
    }

    fn line(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        self.stdout.find(within, wanted, drop).context("not a word of the workload")
    }

    /// Closes its stdin, and reads its last line and its log.
    fn end<E: DeserializeOwned, R>(mut self, within: Duration) -> Result<(E, Vec<R>)>
    where
        R: std::str::FromStr<Err = anyhow::Error>,
    {
        self.stdin = None;
        let line = self.line(within, |line| line.starts_with('{'))?;
        let status = self.process.wait_within(ENDED)?;
        ensure!(status.success(), "the workload ended with {status}");
        let end = serde_json::from_str(&line).with_context(|| format!("not an end: {line}"))?;
        Ok((end, log::read(&self.folder.path().join("log"))?))
    }
}
