//! On which CPUs threads may run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

/// Bounds of a reading: it takes some 2 µs for each thread, and 15 µs for one that is pinned.
const MOST_THREADS: usize = 20_000;
const LONGEST: Duration = Duration::from_millis(100);

/// CPUs that a mask has place for: the most that Linux can be built for on x86-64 and arm64.
const MOST_CPUS: usize = 8192;

/// The CPUs of threads.
#[derive(Clone, Debug, Default)]
pub struct Affinity {
    /// Threads that may not run on every CPU that is online.
    pub pinned: Vec<Pinned>,
    /// Threads that were looked at.
    pub read: usize,
    /// Threads that were not, because there are too many.
    pub unread: u64,
}

/// A thread that may not run on every CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Its name.
    pub comm: String,
    /// Where it may run: numbers of CPUs that are online.
    pub cpus: Vec<u32>,
}

/// The CPUs of the threads of these processes, while these CPUs are online.
pub fn affinity_of(pids: &[u32], online: &[u32]) -> Affinity {
    let end = Instant::now() + LONGEST;
    let mut affinity = Affinity::default();
    for pid in pids {
        if affinity.read >= MOST_THREADS || Instant::now() >= end {
            affinity.unread += thread_count(*pid);
            continue;
        }
        for tid in threads(*pid) {
            if affinity.read >= MOST_THREADS || Instant::now() >= end {
                affinity.unread += 1;
            } else {
                affinity.add(*pid, tid, online);
            }
        }
    }
    affinity
}

impl Affinity {
    /// Looks at one thread; one that has ended meanwhile does not count.
    fn add(&mut self, pid: u32, tid: u32, online: &[u32]) {
        let Some(mask) = Mask::of(tid) else { return };
        self.read += 1;
        let cpus = mask.among(online);
        if cpus.len() == online.len() {
            return;
        }
        let Ok(comm) = fs::read(format!("/proc/{pid}/task/{tid}/comm")) else { return };
        let comm = String::from_utf8_lossy(comm.trim_ascii_end()).into_owned();
        self.pinned.push(Pinned { comm, cpus });
    }
}

fn threads(pid: u32) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// How many threads a process has: its folder has a link for each, beside its own two.
fn thread_count(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/task")).map_or(0, |folder| folder.nlink().saturating_sub(2))
}

/// A set of CPUs.
pub(super) struct Mask(pub [u64; MOST_CPUS / 64]);

impl Mask {
    /// Where a thread may run; none if it has ended.
    fn of(tid: u32) -> Option<Self> {
        let mut mask = Self([0; MOST_CPUS / 64]);
        let bits = mask.0.as_mut_ptr().cast::<libc::cpu_set_t>();
        // SAFETY: the kernel writes at most as many bytes as the mask has, which is what it is told.
        let result = unsafe {
            libc::sched_getaffinity(tid as libc::pid_t, std::mem::size_of_val(&mask.0), bits)
        };
        (result == 0).then_some(mask)
    }

    /// Those of these CPUs that are in it.
    pub fn among(&self, online: &[u32]) -> Vec<u32> {
        let has = |cpu: &u32| {
            let word = self.0.get(*cpu as usize / 64).copied().unwrap_or_default();
            word >> (cpu % 64) & 1 == 1
        };
        online.iter().copied().filter(has).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Snapshot;
    use super::*;

    #[test]
    fn this_process_is_read() {
        let own = std::process::id();
        let online = Snapshot::take(&[]).online();
        let affinity = affinity_of(&[own, u32::MAX], &online);
        assert!(affinity.read >= 1 && affinity.unread == 0);
        assert!(thread_count(own) >= 1);
        // As if there were one more CPU, on which no thread may run.
        let more: Vec<u32> = online.iter().copied().chain([MOST_CPUS as u32 + 7]).collect();
        let affinity = affinity_of(&[own], &more);
        assert!(!affinity.pinned.is_empty());
        assert!(affinity.pinned.iter().all(|thread| thread.cpus.len() < more.len()));
    }
}
