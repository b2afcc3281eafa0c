//! Starts the real binary.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::document::Document;
use crate::lines::Lines;
use crate::process::Bounded;

/// Longest time to load, attach, or end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A `dwell attach --json` whose window has begun.
#[derive(Debug)]
pub struct Dwell {
    process: Bounded,
    stdout: JoinHandle<String>,
    stderr: Lines,
    seen: Vec<String>,
}

/// One that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: Vec<String>,
}

impl Dwell {
    /// Starts `dwell attach --json` with these arguments and waits until its window begins.
    pub fn attach<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        Self::start(arguments)?.attached()
    }

    /// Starts `dwell locks --json` with these arguments and waits until its window begins.
    pub fn locks<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        Self::start_verb("locks", arguments)?.attached()
    }

    /// Starts `dwell requests --json` with these arguments and waits until its window begins.
    pub fn requests<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        Self::start_verb("requests", arguments)?.attached()
    }

    /// Starts `dwell record --json` with these arguments and waits until its window begins.
    pub fn record<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        Self::start_verb("record", arguments)?.attached()
    }

    /// Runs another verb to its end, and gives what it prints for people.
    ///
    /// # Errors
    /// When it fails, or does not end.
    pub fn text<S: AsRef<OsStr>>(verb: &str, arguments: &[S]) -> Result<String> {
        let output = command()?.arg(verb).args(arguments).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "dwell {verb}: {}: {said}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    fn attached(mut self) -> Result<Self> {
        let seen = &mut self.seen;
        let attached = |line: &str| line.contains("attached");
        let found = self.stderr.find(PATIENCE, attached, |line| seen.push(line));
        let line = found.map_err(|_| anyhow!("dwell did not attach, but said: {:?}", self.seen))?;
        self.seen.push(line);
        Ok(self)
    }

    /// Attaches to processes until [`Self::interrupt`] (or a minute has gone by).
    pub fn attach_to(pids: &[u32]) -> Result<Self> {
        let mut arguments = vec!["-d".to_owned(), "60s".to_owned()];
        arguments.extend(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
        Self::attach(&arguments)
    }

    /// Starts it and does not wait.
    pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        Self::start_verb("attach", arguments)
    }

    fn start_verb<S: AsRef<OsStr>>(verb: &str, arguments: &[S]) -> Result<Self> {
        let mut command = command()?;
        command.args([verb, "--json"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Bounded::spawn(&mut command)?;
        let stdout = process.child().stdout.take().context("no stdout")?;
        let stderr = process.child().stderr.take().context("no stderr")?;
        let (stdout, stderr) = (read_all(stdout), Lines::of(stderr));
        Ok(Self { process, stdout, stderr, seen: Vec::new() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process alone, to do with it what one likes; what it prints is thrown away.
    pub fn into_process(self) -> Bounded {
        self.process
    }

    /// Ends the window by Ctrl-C's signal.
    pub fn interrupt(self) -> Result<Finished> {
        self.end_by(libc::SIGINT)
    }

    /// Ends the window by a signal.
    pub fn end_by(self, signal: i32) -> Result<Finished> {
        // It may just have ended by itself because its target did; then it is a zombie yet.
        self.process.signal(signal)?;
        self.finish(PATIENCE)
    }

    /// Waits for its end, for no longer than `within`.
    pub fn finish(mut self, within: Duration) -> Result<Finished> {
        let status = self.process.wait_within(within)?;
        let stdout = self.stdout.join().map_err(|_| anyhow!("cannot read stdout"))?;
        let mut stderr = self.seen;
        stderr.extend(self.stderr.rest(Duration::from_secs(5)));
        Ok(Finished { status, stdout, stderr })
    }
}

impl Finished {
    /// The document of a run that succeeded.
    pub fn document(&self) -> Result<Document> {
        ensure!(self.status.success(), "dwell ended with {}: {:?}", self.status, self.stderr);
        Document::parse(&self.stdout)
    }
}

/// Attaches with these arguments, which bound the window, and reads the document.
pub fn observe<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Document> {
    Dwell::attach(arguments)?.finish(Duration::from_secs(120))?.document()
}

/// The bare binary, for tests of the command line.
pub fn command() -> Result<Command> {
    Ok(Command::new(binary()?))
}

/// `DWELL_BIN`, or what the workspace built last.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("DWELL_BIN") {
        return Ok(PathBuf::from(path));
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let built = ["release", "debug"].map(|profile| target.join(profile).join("dwell"));
    let newest = built
        .into_iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
    let Some(path) = newest else {
        bail!("there is no dwell to test: build it (cargo build --release) or set DWELL_BIN");
    };
    Ok(path)
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks leaves what came before, and the document then fails to parse.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
