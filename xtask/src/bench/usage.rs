//! What a tool itself uses, from /proc.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
};

/// Nanoseconds that the threads of a process have run so far, in user space and in the kernel.
/// The scheduler counts them in nanoseconds; `stat` only in ticks of 10 ms.
pub fn cpu_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread = |entry: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads.filter_map(of_thread).sum()
}

/// The most memory that a process has had resident, in bytes; `None` once it has ended.
pub fn peak_rss(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(field(&status, "VmHWM:")? * 1024)
}

/// The memory that a process has resident now, in bytes; `None` once it has ended.
pub fn rss(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(field(&status, "VmRSS:")? * 1024)
}

/// Bytes that a process has written, to files, pipes and terminals.
pub fn written(pid: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?, "wchar:")
}

/// Memory of the BPF maps that a process holds open, pinned in the kernel, in bytes.
pub fn map_bytes(pid: u32) -> u64 {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let mut seen = HashSet::new();
    descriptors
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter(|text| field(text, "map_type:").is_some())
        // One map may be open more than once.
        .filter(|text| field(text, "map_id:").is_none_or(|id| seen.insert(id)))
        .filter_map(|text| field(&text, "memlock:"))
        .sum()
}

/// Ids of the BPF programs that a process holds open. Others may have programs of their own in
/// the kernel, which are none of its cost.
pub fn programs(pid: u32) -> BTreeSet<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|text| u32::try_from(field(&text, "prog_id:")?).ok())
        .collect()
}

/// Context switches of the whole machine since it started.
pub fn switches() -> Option<u64> {
    field(&fs::read_to_string("/proc/stat").ok()?, "ctxt")
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_names() {
        assert_eq!(field("VmPeak:\t 9 kB\nVmHWM:\t  44112 kB\n", "VmHWM:"), Some(44112));
        assert_eq!(field("cpu 1 2\nctxt 77\n", "ctxt"), Some(77));
        assert_eq!(field("map_type:\t1\n", "memlock:"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let own = std::process::id();
        assert!(cpu_ns(own) > 0 && peak_rss(own).is_some() && written(own).is_some());
        assert_eq!(map_bytes(own), 0);
    }
}
