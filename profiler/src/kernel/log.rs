//! What the probes log, in a build for developing them (feature `probe-log`).

use std::borrow::Cow;

use aya::Ebpf;
use aya_log::EbpfLogger;

use super::KernelError;

/// Names the object whose probes log, from `cargo xtask bpf --log`.
const OBJECT: &str = "DWELL_PROBES";

/// The object to load: the one named in the environment, else the committed one.
pub fn object(committed: &'static [u8]) -> Result<Cow<'static, [u8]>, KernelError> {
    match std::env::var_os(OBJECT) {
        Some(path) => std::fs::read(path)
            .map(Cow::Owned)
            .map_err(|error| KernelError::refused(OBJECT, &error)),
        None => Ok(Cow::Borrowed(committed)),
    }
}

/// Lines of the probes, on their way to stderr.
pub struct Lines(Option<EbpfLogger<Stderr>>);

impl Lines {
    /// Of these probes; the committed ones log nothing.
    pub fn of(ebpf: &mut Ebpf) -> Self {
        Self(EbpfLogger::init_with_logger(ebpf, Stderr).ok())
    }

    /// Prints what has come in.
    pub fn print(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}

struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("probe: {}", record.args());
    }

    fn flush(&self) {}
}
