//! Which capabilities dwell needs, and which of them are missing.

/// A capability and what dwell needs it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// As in capabilities(7).
    pub name: &'static str,
    /// Its bit (include/uapi/linux/capability.h).
    pub bit: u32,
    /// Purpose, in a few words.
    pub purpose: &'static str,
}

const NEEDED: [Capability; 4] = [
    Capability { name: "CAP_BPF", bit: 39, purpose: "load eBPF programs and maps" },
    Capability { name: "CAP_PERFMON", bit: 38, purpose: "attach them to the scheduler" },
    Capability { name: "CAP_SYS_PTRACE", bit: 19, purpose: "read other users' /proc/PID/maps" },
    Capability { name: "CAP_SYSLOG", bit: 34, purpose: "read kernel function addresses" },
];

/// CAP_SYS_ADMIN implies CAP_BPF and CAP_PERFMON (kernel/capability.c, `bpf_capable`).
const SYS_ADMIN: u32 = 21;

/// The needed capabilities that this process does not have in effect.
pub fn missing_capabilities() -> Vec<Capability> {
    let effective = procfs::process::Process::myself()
        .and_then(|process| process.status())
        .map_or(0, |status| status.capeff);
    missing_of(effective)
}

fn missing_of(effective: u64) -> Vec<Capability> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    NEEDED
        .into_iter()
        .filter(|needed| !has(needed.bit))
        .filter(|needed| !(has(SYS_ADMIN) && matches!(needed.bit, 38 | 39)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_misses_all_and_root_none() {
        assert_eq!(missing_of(0).len(), 4);
        assert_eq!(missing_of(u64::MAX), []);
        let admin = 1 << SYS_ADMIN | 1 << 19 | 1 << 34;
        assert_eq!(missing_of(admin), []);
    }
}
