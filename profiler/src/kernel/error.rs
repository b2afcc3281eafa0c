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
         capabilities: sudo setcap {} \"$(command -v dwell)\"",
        list(.0),
        setcap(.0)
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
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let reason = innermost.to_string();
        let line = reason.lines().next().unwrap_or_default().to_owned();
        Self::Refused { what: what.into(), reason: line }
    }
}

fn list(capabilities: &[super::Capability]) -> String {
    capabilities.iter().map(|c| c.name).collect::<Vec<_>>().join(", ")
}

fn setcap(capabilities: &[super::Capability]) -> String {
    let names: Vec<_> = capabilities.iter().map(|c| c.name.to_lowercase()).collect();
    format!("{}=ep", names.join(","))
}
