//! What can go wrong between dwell and the kernel.

/// An error of the kernel side; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No BTF: the offsets of the kernel's structures cannot be known.
    #[error(
        "this kernel offers no type information ({path}: {source}); dwell needs a kernel built \
         with CONFIG_DEBUG_INFO_BTF=y, as those of current distributions are"
    )]
    NoBtf {
        /// Where it was looked for.
        path: &'static str,
        /// What the attempt ended with.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel cannot do what nothing works without.
    #[error("this kernel lacks {}; dwell needs Linux 6.1 or newer", .0.join(", "))]
    TooOld(Vec<&'static str>),
    /// A structure without which nothing works has changed.
    #[error(
        "this kernel has no field {structure}.{member}, which dwell needs; run `dwell doctor` \
         and report its output with the kernel version"
    )]
    MissingField {
        /// Structure in the kernel.
        structure: &'static str,
        /// Its member.
        member: &'static str,
    },
    /// Not allowed.
    #[error(
        "not permitted: missing {}; run dwell as root (sudo dwell …), or give the program these \
         capabilities: sudo setcap {} {}",
        list(.0),
        setcap(.0),
        own_path()
    )]
    NotPermitted(Vec<super::Capability>),
    /// The kernel refused the probes.
    #[error("the kernel refused {what}: {reason}; `dwell doctor` tells what this kernel allows")]
    Refused {
        /// The program, map or call.
        what: String,
        /// The innermost error.
        reason: String,
    },
}

impl KernelError {
    /// Something the kernel refused, with the innermost of the errors.
    pub fn refused(what: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self::Refused { what: what.into(), reason: Self::innermost(error) }
    }

    /// The first line of the innermost of the errors, with what the verifier said last.
    pub(super) fn innermost(error: &dyn std::error::Error) -> String {
        let objection = last_of_verifier(&error.to_string());
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let text = innermost.to_string();
        let line = text.lines().next().unwrap_or_default();
        match objection {
            Some(objection) => format!("{line}: {objection}"),
            None => line.to_owned(),
        }
    }
}

/// Where an error of aya's holds the log of the verifier: the line before its statistics.
fn last_of_verifier(text: &str) -> Option<String> {
    let (_, log) = text.split_once("Verifier output: ")?;
    let is_count = |line: &str| {
        let counts = ["processed ", "verification time ", "stack depth ", "subprog "];
        counts.iter().any(|count| line.starts_with(count))
    };
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty() && !is_count(line));
    lines.next_back().map(str::to_owned)
}

fn list(capabilities: &[super::Capability]) -> String {
    capabilities.iter().map(|c| c.name).collect::<Vec<_>>().join(", ")
}

/// Where this program is, for a command that is to be typed.
pub fn own_path() -> String {
    let path = std::env::current_exe().unwrap_or_else(|_| "dwell".into());
    format!("\"{}\"", path.display())
}

fn setcap(capabilities: &[super::Capability]) -> String {
    let names: Vec<_> = capabilities.iter().map(|c| c.name.to_lowercase()).collect();
    format!("{}=ep", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::last_of_verifier;

    #[test]
    fn the_verifiers_objection_is_found() {
        let text = "the syscall failed. Verifier output: 0: R1=ctx\nR2 is no pointer\n\
                    verification time 3 usec\nstack depth 0\n\
                    subprog 0 (a) insns_self 1\nprocessed 1 insns (limit 1000000)\n";
        assert_eq!(last_of_verifier(text).as_deref(), Some("R2 is no pointer"));
        assert_eq!(last_of_verifier("no such file"), None);
    }
}
