//! CPU limits of cgroups, in both hierarchies: `cpu.max` of v2, `cpu.cfs_quota_us` of v1.

use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Processes whose cgroup is looked up, and cgroups with a limit that are kept: it takes some 20 µs
/// each.
const MOST_PROCESSES: usize = 4096;
const MOST_CGROUPS: usize = 256;

/// The cgroups with a limit that processes are in.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// These cgroups.
    pub cgroups: Vec<LimitedCgroup>,
    /// What was left out, and why.
    pub unavailable: Vec<String>,
}

/// A cgroup with a limit of CPU time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitedCgroup {
    /// Its path, as in /proc/PID/cgroup.
    pub path: String,
    /// How much.
    pub limit: Limit,
    version: Version,
    directory: PathBuf,
}

/// So much CPU time in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// CPU time, in microseconds.
    pub quota_us: u64,
    /// Length of a period, in microseconds.
    pub period_us: u64,
}

/// What a limit has done since the cgroup was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods that ended.
    pub periods: u64,
    /// Of these, periods in which the quota was used up.
    pub throttled: u64,
    /// Time for which threads were held back, added up over the CPUs.
    pub throttled_ns: u64,
    /// CPU time used; none with v1, unless cpuacct is mounted together with cpu.
    pub used_ns: Option<u64>,
}

/// Of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Version {
    V1,
    V2,
}

/// Where a hierarchy that may have the CPU controller is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub version: Version,
    /// The cgroup that is mounted: `/` unless it is a part of the hierarchy.
    pub root: PathBuf,
    pub point: PathBuf,
}

/// The cgroups with a limit on the paths from these processes' cgroups to the root. Of a process
/// whose threads are in several cgroups, that of its first thread counts.
pub fn limits_of(pids: &[u32]) -> Limits {
    let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts(&String::from_utf8_lossy(&mountinfo));
    let read = pids.iter().take(MOST_PROCESSES);
    let memberships = read.filter_map(|pid| fs::read(format!("/proc/{pid}/cgroup")).ok());
    let mut limits = find(&mounts, memberships.map(|text| String::from_utf8_lossy(&text).into()));
    if let Some(more @ 1..) = pids.len().checked_sub(MOST_PROCESSES) {
        let reason = format!("cgroups of processes beyond {MOST_PROCESSES}: {more}");
        limits.unavailable.push(reason);
    }
    limits
}

/// [`limits_of`] of processes with these texts in /proc/PID/cgroup.
pub(super) fn find(mounts: &[Mount], memberships: impl Iterator<Item = String>) -> Limits {
    let mut limits = Limits::default();
    let mut seen = HashSet::new();
    let mut unreachable = HashSet::new();
    let mut refused = 0;
    for text in memberships {
        let Some((version, path)) = membership(&text) else { continue };
        let Some(mount) = mounts.iter().find(|mount| mount.shows(version, path)) else {
            unreachable.insert(path.to_owned());
            continue;
        };
        // Of a cgroup that has been seen the ancestors have been, too.
        let new = path.ancestors().take_while(|cgroup| {
            cgroup.starts_with(&mount.root) && seen.insert((version, cgroup.to_path_buf()))
        });
        for cgroup in new.filter_map(|cgroup| mount.limited(cgroup)) {
            if limits.cgroups.len() < MOST_CGROUPS {
                limits.cgroups.push(cgroup);
            } else {
                refused += 1;
            }
        }
    }
    limits.unavailable = reasons(unreachable.len(), refused);
    limits
}

fn reasons(unreachable: usize, refused: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    if unreachable > 0 {
        reasons.push(format!("CPU limits of cgroups that are not mounted here: {unreachable}"));
    }
    if refused > 0 {
        reasons.push(format!("CPU limits of cgroups beyond {MOST_CGROUPS}: {refused}"));
    }
    reasons
}

/// The cgroup that limits the CPU time of a process, from its /proc/PID/cgroup: the controller is
/// in the v1 hierarchy that names it, or else in the v2 hierarchy.
pub(super) fn membership(text: &str) -> Option<(Version, &Path)> {
    let mut unified = None;
    for line in text.lines() {
        let Some((_, rest)) = line.split_once(':') else { continue };
        let Some((controllers, path)) = rest.split_once(':') else { continue };
        if controllers.split(',').any(|controller| controller == "cpu") {
            return Some((Version::V1, Path::new(path)));
        }
        if controllers.is_empty() {
            unified = Some((Version::V2, Path::new(path)));
        }
    }
    unified
}

/// The mounted hierarchies that may have the CPU controller.
pub(super) fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = file_system.split(' ');
    let kind = fields.next()?;
    let options = fields.nth(1).unwrap_or_default();
    let version = match kind {
        "cgroup2" => Version::V2,
        "cgroup" if options.split(',').any(|option| option == "cpu") => Version::V1,
        _ => return None,
    };
    let mut fields = mount.split(' ').skip(3).map(PathBuf::from);
    Some(Mount { version, root: fields.next()?, point: fields.next()? })
}

impl Mount {
    /// Whether this cgroup is below what is mounted. A path with `..` leads out of dwell's own
    /// cgroup namespace.
    fn shows(&self, version: Version, cgroup: &Path) -> bool {
        let leads_out = |component| component == Component::ParentDir;
        self.version == version
            && cgroup.starts_with(&self.root)
            && !cgroup.components().any(leads_out)
    }

    /// This cgroup, if it has a limit.
    fn limited(&self, cgroup: &Path) -> Option<LimitedCgroup> {
        let directory = self.point.join(cgroup.strip_prefix(&self.root).ok()?);
        let limit = self.version.limit(&directory)?;
        let path = cgroup.to_string_lossy().into_owned();
        Some(LimitedCgroup { path, limit, version: self.version, directory })
    }
}

impl Version {
    /// The limit of the cgroup with this directory; the root of v2 has no such file.
    fn limit(self, directory: &Path) -> Option<Limit> {
        let read = |name| fs::read_to_string(directory.join(name)).ok();
        match self {
            Version::V1 => {
                parse_limit(&(read("cpu.cfs_quota_us")? + " " + &read("cpu.cfs_period_us")?))
            }
            Version::V2 => parse_limit(&read("cpu.max")?),
        }
    }
}

/// Quota and period; no limit where the quota is `max` or negative.
pub(super) fn parse_limit(text: &str) -> Option<Limit> {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().ok());
    let (quota_us, period_us) = (numbers.next()??, numbers.next()??);
    (period_us > 0).then_some(Limit { quota_us, period_us })
}

impl LimitedCgroup {
    /// What the limit has done so far; nothing where the cgroup is gone.
    pub fn throttling(&self) -> Option<Throttling> {
        let text = fs::read_to_string(self.directory.join("cpu.stat")).ok()?;
        let mut throttling = parse_stat(&text)?;
        if self.version == Version::V1 {
            let used = fs::read_to_string(self.directory.join("cpuacct.usage")).ok();
            throttling.used_ns = used.and_then(|used| used.trim().parse().ok());
        }
        Some(throttling)
    }
}

/// cpu.stat: v1 has `throttled_time` in nanoseconds, v2 has microseconds and the time used.
pub(super) fn parse_stat(text: &str) -> Option<Throttling> {
    let field = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.find(|(key, _)| *key == name)?.1.trim().parse::<u64>().ok()
    };
    let from_us = |us: u64| us.saturating_mul(1000);
    Some(Throttling {
        periods: field("nr_periods")?,
        throttled: field("nr_throttled")?,
        throttled_ns: field("throttled_time").or(field("throttled_usec").map(from_us))?,
        used_ns: field("usage_usec").map(from_us),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        32 30 0:28 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
        33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_controller_is_in_v1_where_that_names_it() {
        let found: Vec<_> = mounts(HYBRID).into_iter().map(|mount| mount.version).collect();
        assert_eq!(found, [Version::V1, Version::V2]);
        let both = "3:cpuset:/a\n2:cpu,cpuacct:/b\n0::/c\n";
        assert_eq!(membership(both), Some((Version::V1, Path::new("/b"))));
        assert_eq!(membership("3:cpuset:/a\n0::/c:d\n"), Some((Version::V2, Path::new("/c:d"))));
        assert_eq!(membership("1:name=systemd:/x\n3:cpuset:/a\n"), None);
    }

    #[test]
    fn limits_are_read_in_both_forms() {
        let half = Some(Limit { quota_us: 50_000, period_us: 100_000 });
        assert_eq!(parse_limit("50000 100000\n"), half);
        assert_eq!(parse_limit("50000\n 100000\n"), half);
        assert_eq!(parse_limit("max 100000\n"), None);
        assert_eq!(parse_limit("-1\n 100000\n"), None);
        assert_eq!(parse_limit("5 0"), None);
    }

    #[test]
    fn statistics_are_read_in_both_forms() {
        let v1 = "nr_periods 50\nnr_throttled 38\nthrottled_time 1900000000\nnr_bursts 0\n";
        let (periods, throttled, throttled_ns) = (50, 38, 1_900_000_000);
        let expected = Throttling { periods, throttled, throttled_ns, used_ns: None };
        assert_eq!(parse_stat(v1), Some(expected));
        let v2 = "usage_usec 7\nuser_usec 5\nnr_periods 50\nnr_throttled 38\n\
                  throttled_usec 1900000\n";
        assert_eq!(parse_stat(v2), Some(Throttling { used_ns: Some(7_000), ..expected }));
        // A v2 hierarchy without the controller tells only the time used.
        assert_eq!(parse_stat("usage_usec 7\nuser_usec 5\n"), None);
    }

    /// A folder that stands for a mounted hierarchy.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("dwell-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn cgroup(&self, path: &str, files: &[(&str, &str)]) {
            let directory = self.0.join(path);
            fs::create_dir_all(&directory).unwrap();
            files.iter().for_each(|(name, text)| fs::write(directory.join(name), text).unwrap());
        }

        fn mount(&self, version: Version, root: &str) -> [Mount; 1] {
            [Mount { version, root: root.into(), point: self.0.clone() }]
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    fn paths(limits: &Limits) -> Vec<&str> {
        limits.cgroups.iter().map(|cgroup| cgroup.path.as_str()).collect()
    }

    #[test]
    fn limits_of_ancestors_count_once() {
        let tree = Tree::new("quota-v2");
        let stat = "usage_usec 9\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n";
        tree.cgroup("pods", &[("cpu.max", "200000 100000\n"), ("cpu.stat", stat)]);
        tree.cgroup("pods/a", &[("cpu.max", "max 100000\n"), ("cpu.stat", stat)]);
        tree.cgroup("pods/a/main", &[("cpu.max", "50000 100000\n"), ("cpu.stat", stat)]);
        let members = ["0::/pods/a/main\n", "0::/pods/a\n", "0::/pods/gone (deleted)\n"];
        let members = || members.iter().map(|text| (*text).to_owned());
        let limits = find(&tree.mount(Version::V2, "/"), members());
        assert_eq!(paths(&limits), ["/pods/a/main", "/pods"]);
        assert_eq!(limits.unavailable, [""; 0]);
        let throttling = limits.cgroups[1].throttling().unwrap();
        assert_eq!((throttling.periods, throttling.used_ns), (4, Some(9_000)));
        // A container sees its own part of the hierarchy, mounted over the whole path.
        let part = Tree::new("quota-part");
        part.cgroup("main", &[("cpu.max", "50000 100000\n"), ("cpu.stat", stat)]);
        let limits = find(&part.mount(Version::V2, "/pods/a"), members());
        assert_eq!(paths(&limits), ["/pods/a/main"]);
        assert_eq!(limits.unavailable, ["CPU limits of cgroups that are not mounted here: 1"]);
    }

    #[test]
    fn v1_tells_the_time_used_elsewhere() {
        let tree = Tree::new("quota-v1");
        let stat = "nr_periods 4\nnr_throttled 3\nthrottled_time 2\n";
        let limit = [("cpu.cfs_quota_us", "50000\n"), ("cpu.cfs_period_us", "100000\n")];
        tree.cgroup("a", &[limit[0], limit[1], ("cpu.stat", stat)]);
        tree.cgroup("b", &[limit[0], limit[1], ("cpu.stat", stat), ("cpuacct.usage", "77\n")]);
        let members = ["1:cpu:/a\n0::/\n", "1:cpu,cpuacct:/b\n"].map(str::to_owned);
        let limits = find(&tree.mount(Version::V1, "/"), members.into_iter());
        assert_eq!(paths(&limits), ["/a", "/b"]);
        let used = |index: usize| limits.cgroups[index].throttling().unwrap().used_ns;
        assert_eq!((used(0), used(1)), (None, Some(77)));
    }

    #[test]
    fn nothing_leads_out_of_the_mount() {
        let tree = Tree::new("quota-out");
        tree.cgroup("", &[("cpu.max", "50000 100000\n")]);
        let member = "0::/../../x\n".to_owned();
        let limits = find(&tree.mount(Version::V2, "/"), std::iter::once(member));
        assert_eq!(paths(&limits), [""; 0]);
        assert_eq!(limits.unavailable.len(), 1);
    }
}
