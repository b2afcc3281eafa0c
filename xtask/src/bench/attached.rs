//! A tool from its start to its end: when it is attached, what it uses, what it has lost.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use dwell_tests::process::Bounded;
use serde::{Deserialize, Serialize};

use super::{
    empty::{self, Empty},
    load::Target,
    programs,
    tool::{Kit, Tool},
    usage,
};

const ATTACH_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(90);
const UNLOAD_LIMIT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(20);
/// Of so many reports the middle one counts.
const REPORTS: usize = 5;
/// What the first moments cost is not what following costs.
const SETTLE: Duration = Duration::from_millis(300);

/// What a tool has used, over its whole life.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bill {
    /// Nanoseconds on a CPU, from its start to its end: the report is in it.
    pub total_cpu_ns: u64,
    /// Memory resident at the end of the load, in bytes.
    pub attached_rss: u64,
    /// Most memory resident, from its start to its end: attaching and the report are in it.
    pub peak_rss: u64,
    /// BPF maps in the kernel, while it was attached.
    pub map_bytes: u64,
    /// Bytes written: recordings, reports and all.
    pub written: u64,
    /// dwell's own count of what it lost.
    pub lost: Option<Lost>,
    /// How long a report from its recording takes, the median of several; where dwell can make one.
    pub report_ns: Option<u64>,
}

/// From the trust line of dwell's document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// Events that found no place in the ring buffer.
    #[serde(rename(deserialize = "lost_events"))]
    pub events: u64,
    /// Stacks that found no place.
    #[serde(rename(deserialize = "lost_stacks"))]
    pub stacks: u64,
    /// Threads and waits that found no place.
    #[serde(rename(deserialize = "lost_keys"))]
    pub keys: u64,
}

/// A tool that is attached.
pub struct Attached {
    process: Option<Process>,
    programs: BTreeSet<u32>,
    recording: Option<PathBuf>,
    /// The program that reports from it.
    reporter: Option<PathBuf>,
    // Detached, and ended, when dropped.
    _floor: Option<Empty>,
    _bystander: Bounded,
}

impl Attached {
    /// Starts a tool and waits until it is attached.
    pub fn start(tool: Tool, target: &Target, kit: &Kit) -> Result<Self> {
        let bystander = Bounded::spawn(Command::new("sleep").arg("900"))?;
        let mut process = match tool.command(target, bystander.pid(), kit)? {
            Some(mut command) => Some(Process::start(&mut command, tool, kit)?),
            None => None,
        };
        let floor = if tool == Tool::Empty { Some(empty::attach()?) } else { None };
        let recording = tool.recording(kit);
        if let Some(process) = &mut process {
            process.wait_until_attached(tool, recording.as_deref())?;
        }
        thread::sleep(SETTLE);
        let holder = process.as_ref().map_or(std::process::id(), |process| process.child.pid());
        let programs = usage::programs(holder);
        let reporter = (tool == Tool::DwellRecord).then(|| kit.dwell.clone());
        Ok(Self { process, programs, recording, reporter, _floor: floor, _bystander: bystander })
    }

    /// CPU time of its process so far, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| usage::cpu_ns(process.child.pid()))
    }

    /// Ids of its BPF programs.
    pub fn programs(&self) -> &BTreeSet<u32> {
        &self.programs
    }

    /// Ends it as Ctrl-C would, and waits until its programs are gone.
    pub fn stop(self) -> Result<Bill> {
        let Self { process, programs, recording, reporter, _floor: floor, .. } = self;
        drop(floor);
        let mut bill = process.map_or(Ok(Bill::default()), Process::stop)?;
        if let (Some(reporter), Some(recording)) = (&reporter, &recording) {
            bill.report_ns = Some(report_ns(reporter, recording)?);
        }
        if let Some(recording) = recording {
            fs::remove_file(&recording)
                .with_context(|| format!("cannot remove {}", recording.display()))?;
        }
        let start = Instant::now();
        while programs::spent()?.any_of(&programs) {
            if start.elapsed() > UNLOAD_LIMIT {
                eprintln!("warning: its BPF programs are still there");
                break;
            }
            thread::sleep(STEP);
        }
        Ok(bill)
    }
}

/// How long dwell takes to report from a recording.
fn report_ns(dwell: &Path, recording: &Path) -> Result<u64> {
    let mut times = Vec::new();
    for _ in 0..REPORTS {
        let mut command = Command::new(dwell);
        command.arg("report").arg(recording).stdin(Stdio::null()).stdout(Stdio::null());
        let start = Instant::now();
        if !command.status()?.success() {
            bail!("dwell reports nothing from {}", recording.display());
        }
        times.push(u64::try_from(start.elapsed().as_nanos())?);
    }
    times.sort_unstable();
    Ok(times[REPORTS / 2])
}

/// The process of a tool, with what it prints.
struct Process {
    child: Bounded,
    tool: Tool,
    said: File,
    printed: File,
}

impl Process {
    fn start(command: &mut Command, tool: Tool, kit: &Kit) -> Result<Self> {
        let (said, printed) = (scratch(&kit.folder)?, scratch(&kit.folder)?);
        command.stdin(Stdio::null()).stderr(said.try_clone()?);
        match tool.is_dwell() {
            true => command.stdout(printed.try_clone()?),
            false => command.stdout(Stdio::null()),
        };
        Ok(Self { child: Bounded::spawn(command)?, tool, said, printed })
    }

    /// dwell says so; perf begins its file; for another, the kernel says that its programs run.
    fn wait_until_attached(&mut self, tool: Tool, recording: Option<&Path>) -> Result<()> {
        let start = Instant::now();
        loop {
            let attached = match recording {
                _ if tool.is_dwell() => self.said().contains("attached"),
                Some(file) => fs::metadata(file).is_ok_and(|file| file.len() > 0),
                None => programs::spent()?.any_runs(&usage::programs(self.child.pid())),
            };
            if attached {
                return Ok(());
            }
            if let Some(status) = self.child.child().try_wait()? {
                bail!("it ended before it was attached, with {status}: {}", self.said());
            }
            if start.elapsed() > ATTACH_LIMIT {
                bail!("it is not attached after {ATTACH_LIMIT:?}: {}", self.said());
            }
            thread::sleep(STEP);
        }
    }

    /// Sends SIGINT, waits for the end, and counts up to it.
    fn stop(mut self) -> Result<Bill> {
        let pid = self.child.pid();
        if let Some(status) = self.child.child().try_wait()? {
            bail!("it had already ended, with {status}: {}", self.said());
        }
        let mut bill = Bill {
            attached_rss: usage::rss(pid).unwrap_or(0),
            peak_rss: usage::peak_rss(pid).unwrap_or(0),
            map_bytes: usage::map_bytes(pid),
            ..Bill::default()
        };
        self.child.signal(libc::SIGINT)?;
        let status = self.wait(&mut bill)?;
        let clean = status.success() || status.code() == Some(130) || was_interrupted(status);
        if !clean {
            bail!("it ended with {status}: {}", self.said());
        }
        if self.tool.is_dwell() {
            bill.lost = Some(lost(&read(&self.printed)?)?);
        }
        Ok(bill)
    }

    /// What is counted is gone with the process, so it is read until then.
    fn wait(&mut self, bill: &mut Bill) -> Result<ExitStatus> {
        let pid = self.child.pid();
        let start = Instant::now();
        loop {
            bill.total_cpu_ns = bill.total_cpu_ns.max(usage::cpu_ns(pid));
            bill.peak_rss = bill.peak_rss.max(usage::peak_rss(pid).unwrap_or(0));
            bill.written = bill.written.max(usage::written(pid).unwrap_or(0));
            if let Some(status) = self.child.child().try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > STOP_LIMIT {
                bail!("it did not end {STOP_LIMIT:?} after SIGINT");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it wrote to its standard error so far.
    fn said(&self) -> String {
        read(&self.said).unwrap_or_default().trim().to_owned()
    }
}

fn lost(document: &str) -> Result<Lost> {
    #[derive(Deserialize)]
    struct Document {
        trust: Lost,
    }
    let document: Document =
        serde_json::from_str(document).context("what dwell printed is not its document")?;
    Ok(document.trust)
}

/// A file without a name, for what a process prints: nobody has to read it meanwhile.
fn scratch(folder: &Path) -> Result<File> {
    tempfile::tempfile_in(folder).with_context(|| format!("no room in {}", folder.display()))
}

/// The whole file so far. Its writer shares the position with this process, so that is left alone.
fn read(file: &File) -> Result<String> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len())?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn was_interrupted(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_come_from_the_trust_line() {
        let document = r#"{"trust":{"lost_events":1,"lost_stacks":2,"lost_keys":3,"more":4}}"#;
        assert_eq!(lost(document).unwrap(), Lost { events: 1, stacks: 2, keys: 3 });
        assert!(lost("dwell: no").is_err());
    }
}
