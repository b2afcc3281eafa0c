//! The little that the harness reads from /proc.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Threads of a process; none where it is gone.
pub fn threads_of(pid: u32) -> Vec<u32> {
    numbers_in(&format!("/proc/{pid}/task"))
}

/// Processes whose parent is `pid`.
pub fn children_of(pid: u32) -> Vec<u32> {
    let all = numbers_in("/proc");
    all.into_iter().filter(|&child| parent_of(child) == Some(pid)).collect()
}

/// The command line with spaces between the words; empty where the process is gone.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + within;
    while !condition() {
        if Instant::now() >= end {
            bail!("{what}: not so after {within:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Lets a process, as far as it exists, go before all others of the usual kind. Needs root.
pub fn favour(pid: u32) -> Result<()> {
    for tid in threads_of(pid) {
        // SAFETY: setpriority(2) touches no memory of ours.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, tid, -20) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}

/// What a hypervisor has taken from all CPUs so far; 0 where none says so.
pub fn stolen_ns() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    // `cpu user nice system idle iowait irq softirq steal …`, in ticks of 10 ms (USER_HZ).
    let ticks = stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
    ticks.unwrap_or(0) * 10_000_000
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn numbers_in(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
