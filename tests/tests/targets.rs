//! The ways to say whom to follow, and both forms of the probes.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use dwell_tests::dwell::{Dwell, observe};
use dwell_tests::machine::Machine;
use dwell_tests::tolerance::TRUTH;
use dwell_tests::workload::Workload;
use dwell_tests::{books, need_root};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

fn sleeper() -> Result<Workload> {
    Workload::start(WORKLOAD, &["sleep", "--seconds", "2"])
}

/// What dwell says of a sleeping program is what that has measured, whatever it was followed by.
fn sleep_is_right(dwell: Dwell, workload: &mut Workload) -> Result<()> {
    workload.go()?;
    let outcome = workload.outcome()?;
    let document = dwell.interrupt()?.document()?;
    books::check(&document)?;
    TRUTH.check("sleep", document.blocked_ns(outcome.pid, "sleep"), outcome.waits.blocked_ns)
}

#[test]
fn by_name() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = sleeper()?;
    let dwell = Dwell::attach(&["--comm", "workload"])?;
    sleep_is_right(dwell, &mut workload)
}

#[test]
fn by_the_whole_host() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = sleeper()?;
    let dwell = Dwell::attach(&["--all"])?;
    sleep_is_right(dwell, &mut workload)
}

#[test]
fn by_plain_raw_tracepoints() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = sleeper()?;
    let pid = workload.pid().to_string();
    let dwell = Dwell::attach(&["-p", &pid, "--raw-tracepoints"])?;
    sleep_is_right(dwell, &mut workload)
}

/// A cgroup of the test's own, gone with it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mounts
            .lines()
            .filter(|line| line.contains(" - cgroup2 "))
            .find_map(|line| line.split(' ').nth(4))
            .context("no cgroup v2 hierarchy is mounted")?;
        let path = PathBuf::from(mount).join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn take_in(&self, pid: u32) -> Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).context("cannot move a process")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Not empty yet: the workload is being ended. A left-over empty cgroup harms nobody.
        let _busy = fs::remove_dir(&self.0);
    }
}

#[test]
fn by_cgroup() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let cgroup = Cgroup::new("dwell-test")?;
    let mut workload = sleeper()?;
    cgroup.take_in(workload.pid())?;
    let path = cgroup.0.to_string_lossy().into_owned();
    let dwell = Dwell::attach(&["--cgroup", &path])?;
    sleep_is_right(dwell, &mut workload)
}

#[test]
fn by_cgroup_entered_later() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let cgroup = Cgroup::new("dwell-test-later")?;
    let mut workload = sleeper()?;
    let name = cgroup.0.file_name().context("a name")?.to_string_lossy().into_owned();
    // As /proc/PID/cgroup has it: below the root of the hierarchy.
    let dwell = Dwell::attach(&["--cgroup", &format!("/{name}")])?;
    cgroup.take_in(workload.pid())?;
    sleep_is_right(dwell, &mut workload)
}

#[test]
fn without_children() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let mut workload = Workload::start(WORKLOAD, &["fork-tree", "--seconds", "2"])?;
    let pid = workload.pid();
    let dwell = Dwell::attach(&["-p", &pid.to_string(), "--no-children"])?;
    workload.go()?;
    workload.outcome()?;
    let document = dwell.interrupt()?.document()?;
    books::check(&document)?;
    ensure!(document.pids().into_iter().eq([pid]), "{:?}", document.pids());
    Ok(())
}

#[test]
fn both_of_two() -> Result<()> {
    need_root!();
    let _machine = Machine::take()?;
    let workloads = [sleeper()?, sleeper()?];
    let [first, second] = [0, 1].map(|index| workloads[index].pid());
    let document = observe(&["-p", &first.to_string(), "-p", &second.to_string(), "-d", "500ms"])?;
    books::check(&document)?;
    let seen = document.pids();
    ensure!(seen.contains(&first) && seen.contains(&second), "{seen:?}");
    Ok(())
}
