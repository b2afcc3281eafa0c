//! Processes, from /proc.

use std::collections::HashMap;
use std::fs;

use super::TargetError;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its name.
    pub comm: String,
}

/// Longest name of a process (`TASK_COMM_LEN` without the NUL, include/linux/sched.h).
const LONGEST_NAME: usize = 15;

/// `PF_KTHREAD` (include/linux/sched.h), as the ninth field of /proc/PID/stat has it.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Whether this process can be followed.
pub(super) fn check(pid: u32) -> Result<(), TargetError> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|_| TargetError::NoProcess(pid))?;
    let process = field(&status, "Tgid:").and_then(|tgid| tgid.parse().ok()).unwrap_or(pid);
    if process != pid {
        return Err(TargetError::IsThread { thread: pid, process });
    }
    if field(&status, "State:").is_some_and(|state| state.starts_with(['Z', 'X'])) {
        return Err(TargetError::IsZombie(pid));
    }
    let stat = Stat::read(pid).ok_or(TargetError::NoProcess(pid))?;
    if stat.flags & PF_KTHREAD != 0 {
        return Err(TargetError::IsKernelThread(pid));
    }
    Ok(())
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The processes of this name.
pub(super) fn named(name: &str) -> Result<Vec<u32>, TargetError> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(TargetError::BadName(name.to_owned(), name.len()));
    }
    let processes = all()?;
    Ok(processes.into_iter().filter(|process| process.comm == name).map(|p| p.pid).collect())
}

/// Every process.
fn all() -> Result<Vec<Process>, TargetError> {
    let entries = fs::read_dir("/proc").map_err(TargetError::NoProc)?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let stat = Stat::read(pid)?;
            Some(Process { pid, parent: stat.parent, comm: stat.comm })
        })
        .collect())
}

/// These processes and all that they have created, directly or not.
///
/// # Errors
/// When /proc cannot be read.
pub fn pids_below(roots: &[u32]) -> Result<Vec<u32>, TargetError> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in all()? {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found: Vec<u32> = roots.to_vec();
    let mut next = 0;
    while next < found.len() {
        if let Some(more) = children.remove(&found[next]) {
            found.extend(more);
        }
        next += 1;
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The name of a process that is there.
pub fn command_name(pid: u32) -> Option<String> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(comm.trim_ascii_end()).into_owned())
}

/// Whether there is such a process.
pub fn is_alive(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// Threads of a process: id, name, and creation in nanoseconds since boot (in steps of 10 ms).
pub fn threads_of(pid: u32) -> Vec<(u32, String, u64)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let tid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let text = fs::read(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
            let stat = Stat::parse(&String::from_utf8_lossy(&text))?;
            Some((tid, stat.comm, stat.start_ticks * NS_PER_TICK))
        })
        .collect()
}

/// USER_HZ is 100 on every architecture that matters (include/asm-generic/param.h).
const NS_PER_TICK: u64 = 10_000_000;

/// What dwell needs of /proc/PID/stat.
struct Stat {
    comm: String,
    parent: u32,
    flags: u64,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// The name stands in parentheses and may hold any character, also `)`.
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.rsplit_once(')')?;
        let comm = head.split_once('(')?.1.to_owned();
        let mut fields = rest.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let flags = fields.nth(4)?.parse().ok()?;
        let start_ticks = fields.nth(12)?.parse().ok()?;
        Some(Self { comm, parent, flags, start_ticks })
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987 0 0";
        let stat = Stat::parse(text).expect("parses");
        assert_eq!(stat.comm, "a) b (c");
        assert_eq!(stat.parent, 7);
        assert_eq!(stat.flags, 4_194_560);
        assert_eq!(stat.start_ticks, 987);
        assert!(Stat::parse("").is_none());
        assert!(Stat::parse("1 (x) S").is_none());
    }

    #[test]
    fn this_process_is_among_its_parents_descendants() {
        let own = std::process::id();
        let parent = Stat::read(own).expect("own stat").parent;
        assert!(pids_below(&[parent]).expect("lists").contains(&own));
        assert!(check(own).is_ok());
        assert!(matches!(check(u32::MAX), Err(TargetError::NoProcess(_))));
    }

    #[test]
    fn own_start_is_in_the_past() {
        let own = threads_of(std::process::id());
        assert!(!own.is_empty());
        assert!(own.iter().all(|(_, _, start)| *start > 0));
    }
}
