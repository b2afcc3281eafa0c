//! A cgroup that may use half a CPU.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The limit: CPU time in each period, in microseconds.
pub const QUOTA_US: u64 = 50_000;
/// Length of a period, in microseconds.
pub const PERIOD_US: u64 = 100_000;

/// A cgroup of the test's own, gone with it: drop its processes first.
#[derive(Debug)]
pub struct HalfCpu {
    directory: PathBuf,
    name: String,
}

/// What the limit has done so far, by the cgroup's own cpu.stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttling {
    /// Periods that ended.
    pub periods: u64,
    /// Of these, with the quota used up.
    pub throttled: u64,
    /// Time held back, added up over the CPUs.
    pub throttled_ns: u64,
}

impl HalfCpu {
    /// Makes it, by v1 or v2; none where neither has the controller `cpu`.
    pub fn new(name: &str) -> Result<Option<Self>> {
        let name = format!("{name}-{}", std::process::id());
        if let Some(root) = mount(" - cgroup ", |options| options.split(',').any(|o| o == "cpu"))? {
            let period = ("cpu.cfs_period_us", PERIOD_US.to_string());
            let quota = ("cpu.cfs_quota_us", QUOTA_US.to_string());
            return Self::make(&root, name, &[period, quota]).map(Some);
        }
        let Some(root) = mount(" - cgroup2 ", |_| true)? else { return Ok(None) };
        if fs::write(root.join("cgroup.subtree_control"), "+cpu").is_err() {
            return Ok(None);
        }
        Self::make(&root, name, &[("cpu.max", format!("{QUOTA_US} {PERIOD_US}"))]).map(Some)
    }

    fn make(root: &Path, name: String, files: &[(&str, String)]) -> Result<Self> {
        let directory = root.join(&name);
        fs::create_dir(&directory).with_context(|| format!("cannot make {directory:?}"))?;
        let cgroup = Self { directory, name };
        for (file, text) in files {
            let path = cgroup.directory.join(file);
            fs::write(&path, text).with_context(|| format!("cannot write {path:?}"))?;
        }
        Ok(cgroup)
    }

    /// Its path in the hierarchy.
    pub fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Puts a process into it.
    pub fn take_in(&self, pid: u32) -> Result<()> {
        let path = self.directory.join("cgroup.procs");
        fs::write(path, pid.to_string()).context("cannot move a process")
    }

    /// What the limit has done so far.
    pub fn throttling(&self) -> Result<Throttling> {
        let text = fs::read_to_string(self.directory.join("cpu.stat"))?;
        let field = |name: &str| -> Option<u64> {
            let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
            pairs.find(|(key, _)| *key == name)?.1.parse().ok()
        };
        let throttled_ns = field("throttled_time");
        let throttled_ns = throttled_ns.or(field("throttled_usec").map(|us| us * 1000));
        Ok(Throttling {
            periods: field("nr_periods").context("no periods")?,
            throttled: field("nr_throttled").context("no throttled periods")?,
            throttled_ns: throttled_ns.context("no throttled time")?,
        })
    }
}

impl Throttling {
    /// What it did since then.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            periods: self.periods - before.periods,
            throttled: self.throttled - before.throttled,
            throttled_ns: self.throttled_ns - before.throttled_ns,
        }
    }
}

impl Drop for HalfCpu {
    fn drop(&mut self) {
        // A left-over empty cgroup harms nobody.
        let _busy = fs::remove_dir(&self.directory);
    }
}

/// Where a hierarchy of this kind is mounted, by the options of its file system.
fn mount(kind: &str, options: impl Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let point = mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(kind)?;
        options(file_system.rsplit(' ').next()?).then(|| mount.split(' ').nth(4))?
    });
    Ok(point.map(PathBuf::from))
}
