//! What all workloads have in common: ready, begin, end, say.

use std::io::{Write, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use dwell_tests::clock::monotonic_ns;
use dwell_tests::outcome::{Measured, Outcome};
use serde_json::{Map, Value};

/// Longest time between `ready` and the beginning, and between the end and the end of stdin.
const PATIENCE_SECONDS: u32 = 120;

/// A workload that has not begun.
pub struct Stage {
    seconds: f64,
    wait: bool,
    begun: bool,
    folder: Option<PathBuf>,
}

/// One that has.
pub struct Running {
    stage: Stage,
    start_ns: u64,
}

impl Stage {
    /// Bounds the life of this process, whatever happens.
    pub fn new(seconds: f64, wait: bool, begun: bool) -> Result<Self> {
        ensure!((0.01..=3600.0).contains(&seconds), "--seconds is 0.01 to 3600");
        super::system::end_after(seconds as u32 + PATIENCE_SECONDS);
        Ok(Self { seconds, wait, begun, folder: None })
    }

    /// Where its files are to be.
    pub fn with_folder(self, folder: Option<PathBuf>) -> Self {
        Self { folder, ..self }
    }

    /// Where its files are to be, if that was said.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// How long it is to run.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Whether it waits for lines on stdin.
    pub fn waits(&self) -> bool {
        self.wait
    }

    /// Everything is prepared: says `ready`, and waits for its go.
    pub fn begin(self) -> Result<Running> {
        if !self.begun {
            say(&format!("ready {}", std::process::id()))?;
            self.wait_for_line()?;
        }
        Ok(Running { start_ns: monotonic_ns(), stage: self })
    }

    fn wait_for_line(&self) -> Result<()> {
        if self.wait {
            stdin().read_line(&mut String::new()).context("cannot read stdin")?;
        }
        Ok(())
    }
}

impl Running {
    /// When it is to end (CLOCK_MONOTONIC).
    pub fn deadline_ns(&self) -> u64 {
        self.start_ns + (self.stage.seconds * 1e9) as u64
    }

    /// Whether it is to go on.
    pub fn goes_on(&self) -> bool {
        monotonic_ns() < self.deadline_ns()
    }

    /// Says what was measured.
    pub fn end(self, workload: &str, waits: Measured, object: Value) -> Result<()> {
        let end_ns = monotonic_ns();
        let object = match object {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        let outcome = Outcome {
            workload: workload.to_owned(),
            pid: std::process::id(),
            start_ns: self.start_ns,
            end_ns,
            waits,
            object,
        };
        say(&serde_json::to_string(&outcome)?)?;
        self.stage.wait_for_line()
    }
}

fn say(line: &str) -> Result<()> {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
