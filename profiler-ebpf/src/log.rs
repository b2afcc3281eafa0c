//! Log lines from the probes, for developing them: `cargo xtask bpf --log` builds them in. Each is
//! formatted twice, here and in user space, which real use could not afford.

/// Logs a line in a build with the feature `log`, and is nothing in any other.
macro_rules! trace {
    ($context:expr, $($line:tt)*) => {
        #[cfg(feature = "log")]
        aya_log_ebpf::info!($context, $($line)*);
    };
}
pub(crate) use trace;
