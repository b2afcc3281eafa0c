//! cgroups of the v2 hierarchy.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::TargetError;

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    directory: PathBuf,
    /// Its id in the kernel: the inode number of its directory (on 64-bit kernels).
    pub id: u64,
    /// Its depth below the root of the hierarchy, which has depth 0.
    pub level: u32,
}

/// Finds a cgroup by its path: absolute in the file system, or as in /proc/PID/cgroup. Also where
/// v1 controllers are mounted beside the v2 hierarchy.
///
/// # Errors
/// When there is no v2 hierarchy, or no such cgroup in it.
pub fn find(path: &Path) -> Result<Cgroup, TargetError> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = mount_point(&mounts).ok_or(TargetError::NoCgroup2)?;
    let no_cgroup = || TargetError::NoCgroup(path.to_owned(), root.clone());
    let relative = path.strip_prefix("/").unwrap_or(path);
    let below = [path.to_owned(), root.join(relative)]
        .into_iter()
        .filter_map(|candidate| fs::canonicalize(candidate).ok())
        .find(|candidate| candidate.starts_with(&root) && candidate.is_dir())
        .ok_or_else(no_cgroup)?;
    let level = below.strip_prefix(&root).map_or(0, |rest| rest.components().count());
    let id = fs::metadata(&below).map_err(|_| no_cgroup())?.ino();
    Ok(Cgroup { directory: below, id, level: level as u32 })
}

/// Where the v2 hierarchy is mounted.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let kind = file_system.split(' ').next()?;
        (kind == "cgroup2").then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

impl Cgroup {
    /// The processes in it and below.
    pub fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            let list = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(list.lines().filter_map(|line| line.parse::<u32>().ok()));
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            directories.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
        // 0 stands for a process that this PID namespace does not see.
        found.retain(|pid| *pid != 0);
        found
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_mount_is_found_beside_v1() {
        let hybrid = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("31 30 0:27 / /x rw - cgroup cgroup rw"), None);
        assert_eq!(mount_point("garbage"), None);
    }
}
