//! Timelines of requests, as the programs that they are for read them.

mod firefox;

pub use firefox::{FirefoxProfiler, Loaded};

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// A timeline.
#[derive(Clone, Debug, Deserialize)]
pub struct Timeline {
    /// Every request, in any order.
    pub requests: Vec<Shown>,
    /// Figures over time, by name: when, and how many. Perfetto's only.
    pub counters: BTreeMap<String, Vec<(u64, f64)>>,
}

/// A request as it is shown. Times are nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Debug, Deserialize)]
pub struct Shown {
    /// Its label.
    pub name: String,
    /// When it arrived.
    pub start: u64,
    /// When it was answered.
    pub end: u64,
    /// What it consists of, in the order in which it is shown.
    pub parts: Vec<ShownPart>,
    /// What is said of it.
    pub args: Args,
    /// The track that it is on.
    pub lane: u64,
    /// Name of the process.
    pub process: String,
    /// Its number.
    pub pid: u32,
    /// Name of the thread.
    pub thread: String,
    /// Its number.
    pub tid: u32,
}

/// A part of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct ShownPart {
    /// Which.
    pub name: String,
    /// From here.
    pub start: u64,
    /// To here.
    pub end: u64,
}

/// What is said of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Args {
    /// The address at which it came in.
    pub service: String,
    /// Calls to peers.
    pub calls: u64,
    /// To the first byte of the answer.
    pub first_byte_ms: f64,
    /// Its longest wait.
    pub longest_wait: Option<Longest>,
}

/// The longest wait of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Longest {
    /// Its kind.
    pub kind: String,
    /// What it was for.
    pub object: String,
    /// The function that waited.
    #[serde(default)]
    pub function: String,
    /// How long.
    pub ms: f64,
}

impl Shown {
    /// Its latency.
    pub fn latency_ns(&self) -> u64 {
        self.end - self.start
    }

    /// How long a part of it took.
    pub fn part_ns(&self, name: &str) -> u64 {
        let parts = self.parts.iter().filter(|part| part.name == name);
        parts.map(|part| part.end - part.start).sum()
    }
}

impl Timeline {
    /// What Perfetto's schema makes of a file.
    pub fn of_perfetto(python: &Path, file: &Path) -> Result<Self> {
        let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/read_trace.py");
        let output = Command::new(python).arg(reader).arg(file).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Perfetto's schema: {said}");
        let timeline: Self = serde_json::from_slice(&output.stdout).context("read_trace.py")?;
        timeline.lanes_hold()?;
        Ok(timeline)
    }

    /// Requests of one lane follow on one another, and so do the parts of each, inside of it.
    fn lanes_hold(&self) -> Result<()> {
        let lanes: BTreeSet<u64> = self.requests.iter().map(|request| request.lane).collect();
        for lane in lanes {
            let requests = self.requests.iter().filter(|request| request.lane == lane);
            let mut spans: Vec<(u64, u64)> = requests.map(|it| (it.start, it.end)).collect();
            spans.sort_unstable();
            let overlap = spans.windows(2).find(|pair| pair[0].1 > pair[1].0);
            ensure!(overlap.is_none(), "at the same time in one lane: {overlap:?}");
        }
        self.requests.iter().try_for_each(parts_hold)
    }
}

/// Parts follow on one another, from the arrival on, and end with the request or before.
fn parts_hold(request: &Shown) -> Result<()> {
    let mut next = request.start;
    for part in &request.parts {
        ensure!(part.start == next && part.end >= part.start, "{request:?}");
        next = part.end;
    }
    ensure!(next <= request.end, "{request:?}");
    Ok(())
}
