//! What the measurement itself cost.

use crate::model::Profile;

/// The price of a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// CPU time of the probes over the length of the window: 1 is one core. None where the
    /// kernel does not count it.
    pub probe_cores: Option<f64>,
    /// Nanoseconds per run of a probe; likewise.
    pub ns_per_run: Option<f64>,
    /// CPU time of dwell's own process over the length of the window.
    pub collector_cores: f64,
}

/// What this profile cost.
pub fn cost(profile: &Profile) -> Cost {
    let trust = &profile.trust;
    let window = profile.window.duration();
    let per_run = |runs: u64| trust.probe_ns.map(|time| time.0 as f64 / runs as f64);
    Cost {
        probe_cores: trust.probe_ns.map(|time| time.share_of(window)),
        ns_per_run: trust.probe_runs.filter(|runs| *runs > 0).and_then(per_run),
        collector_cores: trust.collector_cpu_ns.share_of(window),
    }
}
