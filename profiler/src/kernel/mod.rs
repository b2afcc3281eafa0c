//! The running kernel: loading the probes, steering them, and reading their tables.
//!
//! The only user of aya. What comes out is plain data of `profiler_common`.

mod batch;
mod error;
mod layout;
mod loads;
#[cfg(feature = "probe-log")]
mod log;
mod needs;
mod privileges;
mod probes;
mod requests;
mod symbols;
mod tables;
mod time;
mod verified;
mod warm;

pub use error::{KernelError, own_path};
pub use layout::{kernel_layout, missing_features};
pub use privileges::{Capability, missing_capabilities};
pub use probes::{Limits, Probes, Setup};
pub use requests::RequestTables;
pub use symbols::kernel_text;
pub use tables::{ProbeCost, Tables};
pub use time::{from_boot_ns, monotonic_ns};
pub use verified::{Outcome, Verified, verify};
