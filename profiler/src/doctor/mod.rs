//! What this kernel and these privileges allow, feature by feature, and the fix for what is missing.

use std::fs;

use profiler_common::control::Policy;
use serde::Serialize;

use crate::kernel::{
    KernelError, Limits, Outcome, Probes, Setup, Verified, kernel_layout, kernel_text,
    missing_capabilities, missing_features, own_path, verify,
};
use crate::target::find_cgroup;

/// How a feature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Works.
    Works,
    /// Missing; dwell works without it, and says what it leaves out.
    Limited,
    /// Missing; dwell cannot attach without it.
    Missing,
}

/// A feature and how it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The feature.
    pub feature: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// What is missing, one by one, where it is several things.
    pub missing: Vec<String>,
    /// What to do about it, where something is missing.
    pub fix: Option<String>,
}

impl Check {
    fn works(feature: &'static str, finding: impl Into<String>) -> Self {
        Self::new(feature, Verdict::Works, finding.into(), None)
    }

    fn limited(feature: &'static str, finding: impl Into<String>, fix: &str) -> Self {
        Self::new(feature, Verdict::Limited, finding.into(), Some(fix.to_owned()))
    }

    fn missing(feature: &'static str, finding: impl Into<String>, fix: &str) -> Self {
        Self::new(feature, Verdict::Missing, finding.into(), Some(fix.to_owned()))
    }

    fn new(feature: &'static str, verdict: Verdict, finding: String, fix: Option<String>) -> Self {
        Self { feature, verdict, finding, missing: Vec::new(), fix }
    }
}

/// Looks at everything.
pub fn examine() -> Vec<Check> {
    let mut checks = vec![kernel(), privileges(), btf(), fields()];
    checks.extend(probes());
    checks.extend([addresses(), stack_depth(), cgroups()]);
    checks
}

fn kernel() -> Check {
    let release = read("/proc/sys/kernel/osrelease");
    let machine = std::env::consts::ARCH;
    if machine == "x86_64" {
        Check::works("kernel", format!("Linux {release} on {machine}"))
    } else {
        Check::missing(
            "kernel",
            format!("Linux {release} on {machine}"),
            "the probes read the saved registers of x86-64; use such a machine",
        )
    }
}

fn privileges() -> Check {
    let missing = missing_capabilities();
    if missing.is_empty() {
        return Check::works("privileges", "all capabilities that dwell needs");
    }
    let names: Vec<String> = missing.iter().map(|needed| needed.name.to_lowercase()).collect();
    let fix = format!(
        "run it as root: sudo dwell …; or: sudo setcap {}=ep {}",
        names.join(","),
        own_path()
    );
    let list = missing.iter().map(|needed| format!("{} ({})", needed.name, needed.purpose));
    Check {
        missing: list.collect(),
        ..Check::missing("privileges", "capabilities are missing:", &fix)
    }
}

fn btf() -> Check {
    match kernel_layout() {
        Ok(layout) if layout.switch_has_state != 0 => {
            Check::works("type information", "structures of this kernel are known")
        }
        Ok(_) => Check::works(
            "type information",
            "structures of this kernel are known; sched_switch without state (before Linux 5.18)",
        ),
        Err(error @ KernelError::TooOld(_)) => {
            Check::missing("type information", error.to_string(), "boot a newer kernel")
        }
        Err(error) => Check::missing(
            "type information",
            error.to_string(),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        ),
    }
}

fn fields() -> Check {
    match missing_features() {
        Ok(missing) if missing.is_empty() => Check::works("details", "all that dwell can show"),
        Ok(missing) => Check::limited(
            "details",
            format!("this kernel's structures do not show {}", missing.join(", ")),
            "nothing: reports leave it out",
        ),
        Err(_) => Check::limited("details", "unknown without type information", "see above"),
    }
}

/// Tables of a useless size: these probes follow nobody.
const SETUP: Setup = Setup {
    policy: Policy {
        whole_host: 0,
        follow_children: 1,
        comm: [0; 16],
        cgroup_id: 0,
        cgroup_level: 0,
        user_stacks: 1,
        typed: 0,
        requests: 1,
        labels: 1,
        reserved: 0,
        sched_text_start: 0,
        sched_text_end: 0,
        restart_futex: 0,
        restart_poll: 0,
    },
    limits: Limits { threads: 1, waits: 1, stacks: 1, ring_bytes: 4096 },
    raw_tracepoints: false,
};

/// Every program of the probes, and whether this kernel takes it.
pub fn programs() -> Vec<Verified> {
    // With a cgroup, so that the code for it is walked by the verifier, too.
    let policy = Policy { cgroup_id: 1, cgroup_level: 1, ..SETUP.policy };
    verify(&Setup { policy, ..SETUP })
}

/// A line for each of them: program, hook, and the instructions that the verifier processed.
pub fn program_lines(programs: &[Verified]) -> String {
    let lines = programs.iter().map(|Verified { program, hook, outcome }| {
        let result = match outcome {
            Outcome::Loaded(Some(instructions)) => instructions.to_string(),
            Outcome::Loaded(None) => "-".to_owned(),
            Outcome::Refused(reason) => format!("no {reason}"),
            Outcome::NoHook => "none".to_owned(),
        };
        format!("{program:<20} {hook:<20} {result}\n")
    });
    lines.collect()
}

/// Loads the probes as `attach` would, and lets go of them.
fn probes() -> Vec<Check> {
    let mut probes = match Probes::load(&SETUP) {
        Ok(probes) => probes,
        Err(KernelError::NotPermitted(_)) => {
            let finding = "not tried: privileges are missing".to_owned();
            return vec![Check::new("probes", Verdict::Missing, finding, None)];
        }
        Err(KernelError::TooOld(_)) => {
            let finding = "not tried: the kernel is too old".to_owned();
            return vec![Check::new("probes", Verdict::Missing, finding, None)];
        }
        Err(error) => {
            return vec![Check::missing(
                "probes",
                error.to_string(),
                "if everything above works, report this line with the kernel version",
            )];
        }
    };
    let untyped: Vec<&str> =
        probes.attached().iter().filter(|hook| !hook.typed).map(|hook| hook.tracepoint).collect();
    let attached = probes.attached().len();
    let mut checks = vec![if untyped.is_empty() {
        Check::works("probes", format!("{attached} tracepoints, attached by type (tp_btf)"))
    } else {
        let list = untyped.join(", ");
        Check::works("probes", format!("{attached} tracepoints; by number (raw_tp): {list}"))
    }];
    if !probes.switched_off().is_empty() {
        checks.push(Check::limited(
            "optional probes",
            format!("this kernel has no hook for {}", probes.switched_off().join(", ")),
            "a newer kernel has them; reports leave it out",
        ));
    }
    checks.push(if probes.count_cost(true) {
        Check::works("probe cost", "counted by the kernel (BPF_ENABLE_STATS)")
    } else {
        Check::limited(
            "probe cost",
            "the kernel refuses to count the time of the probes",
            "give dwell CAP_SYS_ADMIN: run it as root, or add cap_sys_admin to setcap",
        )
    });
    checks
}

fn addresses() -> Check {
    if kernel_text().scheduler == (0, 0) {
        return Check::limited(
            "kernel functions",
            "the kernel hides its addresses: waits inside it have no names",
            "sudo sysctl kernel.kptr_restrict=1, with CAP_SYSLOG",
        );
    }
    Check::works("kernel functions", "named by /proc/kallsyms")
}

fn stack_depth() -> Check {
    Check::works("user stacks", "up to 127 frames, with or without frame pointers")
}

fn cgroups() -> Check {
    match find_cgroup(std::path::Path::new("/")) {
        Ok(_) => Check::works("cgroups", "a v2 hierarchy is mounted"),
        Err(error) => Check::limited(
            "cgroups",
            error.to_string(),
            "needed for --cgroup only: mount -t cgroup2 none /mnt",
        ),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
