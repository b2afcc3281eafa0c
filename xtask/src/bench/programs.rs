//! The time that the kernel counts for loaded BPF programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{FromRawFd, OwnedFd},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{find, stdout};

/// The command of bpf(2) that has run times counted until the descriptor it returns is closed.
/// Same as `sysctl kernel.bpf_stats_enabled=1`, except that nothing is left behind.
const BPF_ENABLE_STATS: libc::c_int = 32;
const BPF_STATS_RUN_TIME: u32 = 0;

/// Has the kernel count, until the result is dropped.
pub fn count() -> Result<OwnedFd> {
    let kind = BPF_STATS_RUN_TIME;
    // SAFETY: the command reads the four bytes of its attribute, which live during the call.
    let descriptor = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_ENABLE_STATS, &raw const kind, size_of_val(&kind))
    };
    if descriptor < 0 {
        bail!("cannot count the time of BPF programs: {}", std::io::Error::last_os_error());
    }
    let descriptor = i32::try_from(descriptor).context("no descriptor")?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The loaded programs, by their ids, with what each has spent since it was loaded.
#[derive(Default)]
pub struct Programs(BTreeMap<u32, Spent>);

/// Time and runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Nanoseconds inside programs.
    pub nanoseconds: u64,
    /// How often a program ran.
    pub runs: u64,
}

/// A program as bpftool prints it; the counters are left out while they are zero.
#[derive(Deserialize)]
struct Program {
    id: u32,
    #[serde(default)]
    run_time_ns: u64,
    #[serde(default)]
    run_cnt: u64,
}

/// Asks bpftool about all loaded programs.
pub fn spent() -> Result<Programs> {
    let bpftool = find("bpftool").context("no bpftool")?;
    Programs::parse(&stdout(Command::new(bpftool).args(["-j", "prog", "show"]))?)
}

impl Programs {
    fn parse(json: &str) -> Result<Self> {
        let programs: Vec<Program> =
            serde_json::from_str(json).context("`bpftool -j prog show` printed something else")?;
        let spent = |program: Program| {
            (program.id, Spent { nanoseconds: program.run_time_ns, runs: program.run_cnt })
        };
        Ok(Self(programs.into_iter().map(spent).collect()))
    }

    /// What some of the programs together have spent since `before`.
    pub fn since(&self, before: &Self, ids: &BTreeSet<u32>) -> Spent {
        self.sum(before, |id| ids.contains(id))
    }

    /// What all others have spent: programs of somebody else's.
    pub fn others_since(&self, before: &Self, ids: &BTreeSet<u32>) -> Spent {
        self.sum(before, |id| !ids.contains(id))
    }

    fn sum(&self, before: &Self, is_wanted: impl Fn(&u32) -> bool) -> Spent {
        let mut sum = Spent::default();
        for (id, now) in self.0.iter().filter(|(id, _)| is_wanted(id)) {
            let then = before.0.get(id).copied().unwrap_or_default();
            sum.nanoseconds += now.nanoseconds.saturating_sub(then.nanoseconds);
            sum.runs += now.runs.saturating_sub(then.runs);
        }
        sum
    }

    /// Whether one of these has run.
    pub fn any_runs(&self, ids: &BTreeSet<u32>) -> bool {
        ids.iter().any(|id| self.0.get(id).is_some_and(|spent| spent.runs > 0))
    }

    /// Whether one of these is still loaded.
    pub fn any_of(&self, ids: &BTreeSet<u32>) -> bool {
        ids.iter().any(|id| self.0.contains_key(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"[{"id":3,"type":"tracing","run_time_ns":100,"run_cnt":10}]"#;
    const AFTER: &str = r#"[{"id":3,"run_time_ns":150,"run_cnt":12},{"id":9,"name":"new"},
                            {"id":10,"run_time_ns":7,"run_cnt":1}]"#;

    #[test]
    fn only_what_was_added_counts() {
        let before = Programs::parse(BEFORE).unwrap();
        let after = Programs::parse(AFTER).unwrap();
        let (own, all) = (BTreeSet::from([10]), BTreeSet::from([3, 9, 10]));
        assert_eq!(after.since(&before, &all), Spent { nanoseconds: 57, runs: 3 });
        assert_eq!(before.since(&after, &all), Spent::default());
        assert_eq!(after.since(&before, &own), Spent { nanoseconds: 7, runs: 1 });
        assert_eq!(after.others_since(&before, &own), Spent { nanoseconds: 50, runs: 2 });
    }

    #[test]
    fn a_program_is_seen_once_it_runs() {
        let own = BTreeSet::from([9, 10]);
        let loaded = Programs::parse(r#"[{"id":3,"run_cnt":12},{"id":9}]"#).unwrap();
        assert!(!loaded.any_runs(&own) && loaded.any_of(&own));
        assert!(Programs::parse(AFTER).unwrap().any_runs(&own));
        assert!(!Programs::parse(BEFORE).unwrap().any_of(&own));
    }

    #[test]
    fn what_bpftool_says_otherwise_is_an_error() {
        assert!(Programs::parse(r#"{"error":"no rights"}"#).is_err());
        assert!(Programs::parse("[]").unwrap().0.is_empty());
    }
}
