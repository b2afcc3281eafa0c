//! The tools that are compared: how each is started, when it is attached, and how it ends.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::programs::{self, Programs};
use crate::process::find;

const ATTACH_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const UNLOAD_LIMIT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(50);
/// Longer than any run; a tool that is forgotten ends by itself.
const WINDOW: &str = "300s";

/// What is attached while the benchmark runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// Nothing
    None,
    /// libbpf-tools' offcputime
    Offcputime,
    /// dwell, the whole host being its target
    DwellHost,
    /// dwell, another process being its target
    DwellOther,
}

impl Tool {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::None, Self::Offcputime, Self::DwellHost, Self::DwellOther];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Offcputime => "offcputime",
            Self::DwellHost => "dwell, whole host",
            Self::DwellOther => "dwell, another process",
        }
    }

    /// How much of offcputime's time in BPF it may take.
    pub fn bar(self) -> Option<f64> {
        match self {
            Self::None | Self::Offcputime => None,
            Self::DwellHost => Some(0.4),
            Self::DwellOther => Some(0.10),
        }
    }

    /// Whether it takes dwell's program.
    pub fn is_dwell(self) -> bool {
        matches!(self, Self::DwellHost | Self::DwellOther)
    }

    /// Starts it and waits until it is attached.
    pub fn start(self, dwell: &Path) -> Result<Started> {
        let before = programs::spent()?;
        let mut started = Started { before, target: None, process: None };
        let mut command = match self {
            Self::None => return Ok(started),
            Self::Offcputime => Command::new(find("offcputime").context("no offcputime")?),
            Self::DwellHost => {
                let mut command = Command::new(dwell);
                command.args(["attach", "-a", "-d", WINDOW]);
                command
            }
            Self::DwellOther => {
                let target = Process::start(Command::new("sleep").arg("600"))?;
                let mut command = Command::new(dwell);
                command.args(["attach", "-d", WINDOW, "-p", &target.child.id().to_string()]);
                started.target = Some(target);
                command
            }
        };
        let process = started.process.insert(Process::start(&mut command)?);
        process.wait_until_attached(self, &started.before)?;
        Ok(started)
    }
}

/// A tool that is attached.
pub struct Started {
    before: Programs,
    process: Option<Process>,
    target: Option<Process>,
}

impl Started {
    /// Ends it as Ctrl-C would, and waits until its programs are gone.
    pub fn stop(mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let status = process.stop()?;
        let clean = status.success() || status.code() == Some(130) || was_interrupted(status);
        if !clean {
            bail!("it ended with {status}: {}", process.said());
        }
        let start = Instant::now();
        while programs::spent()?.any_since(&self.before) {
            if start.elapsed() > UNLOAD_LIMIT {
                eprintln!("warning: BPF programs loaded meanwhile are still there");
                break;
            }
            thread::sleep(STEP);
        }
        Ok(())
    }
}

/// A process that is stopped when dropped, with what it writes to its standard error.
struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let said = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            thread::spawn(move || collect(stderr, &said));
        }
        Ok(Self { child, said })
    }

    /// dwell says so; for offcputime, the kernel does: its programs run.
    fn wait_until_attached(&mut self, tool: Tool, before: &Programs) -> Result<()> {
        let start = Instant::now();
        loop {
            let attached = match tool.is_dwell() {
                true => self.said().contains("attached"),
                false => programs::spent()?.one_runs_since(before),
            };
            if attached {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended before it was attached, with {status}: {}", self.said());
            }
            if start.elapsed() > ATTACH_LIMIT {
                bail!("it is not attached after {ATTACH_LIMIT:?}: {}", self.said());
            }
            thread::sleep(STEP);
        }
    }

    /// Sends SIGINT and waits for the end.
    fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it had already ended, with {status}: {}", self.said());
        }
        interrupt(&self.child);
        wait(&mut self.child, STOP_LIMIT)?
            .with_context(|| format!("it did not end {STOP_LIMIT:?} after SIGINT"))
    }

    /// What it wrote to its standard error so far.
    fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing can be done about a failure here, and the process ends by itself in time.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Keeps what a process writes; ends with it.
fn collect(mut from: impl Read, into: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
    }
}

fn interrupt(child: &Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    // SAFETY: kill touches no memory; the child is not waited for yet, so the id is still its own.
    unsafe { libc::kill(pid, libc::SIGINT) };
}

fn was_interrupted(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(libc::SIGINT)
}

/// Waits for the end of a process, but not for ever.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}
