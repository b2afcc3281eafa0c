//! What makes a comparison unfair.

use std::collections::BTreeSet;

use super::series::Series;
use crate::model::{Profile, TargetKind, group_name};

/// Something in which recordings differ beside what is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Unfair {
    /// Their kernels.
    Kernels(Vec<String>),
    /// How many CPUs they have.
    Cpus(Vec<usize>),
    /// Whom they followed: targets of another sort, or processes of which none has the same name.
    Targets(Vec<String>),
    /// How long they are, in seconds.
    Lengths(Vec<f64>),
    /// How much there was to do: requests a second, or CPU seconds a second.
    Loads(Vec<f64>),
    /// Records were lost, in these.
    Losses(Vec<String>),
    /// Versions of dwell.
    Versions(Vec<String>),
    /// Requests are known of some of them only.
    Requests,
    /// So few slices that hardly anything is beyond noise.
    FewSlices(usize),
}

/// One may be this many times as long as another.
const LENGTHS: f64 = 2.0;
/// Or have this many times as much to do.
const LOADS: f64 = 1.2;
/// With fewer slices there is no telling what noise is.
const SLICES: usize = 8;

/// All of it.
pub fn unfair(all: &[Series], loads: &[f64]) -> Vec<Unfair> {
    let of = |figure: &dyn Fn(&Profile) -> String| -> Vec<String> {
        all.iter().map(|series| figure(&series.whole)).collect()
    };
    let mut found = Vec::new();
    let kernels = of(&|profile| profile.host.kernel.clone());
    if differ(&kernels) {
        found.push(Unfair::Kernels(kernels));
    }
    let cpus: Vec<usize> = all.iter().map(|series| series.whole.host.cpus).collect();
    if differ(&cpus) {
        found.push(Unfair::Cpus(cpus));
    }
    let kinds: Vec<TargetKind> = all.iter().map(|series| series.whole.target.kind).collect();
    if differ(&kinds) || have_strangers(all) {
        found.push(Unfair::Targets(of(&|profile| profile.target.description.clone())));
    }
    let seconds = |series: &Series| series.whole.window.duration().0 as f64 / 1e9;
    let lengths: Vec<f64> = all.iter().map(seconds).collect();
    if spread(&lengths) > LENGTHS {
        found.push(Unfair::Lengths(lengths));
    }
    if spread(loads) > LOADS {
        found.push(Unfair::Loads(loads.to_vec()));
    }
    let lost: Vec<String> =
        all.iter().filter(|one| has_lost(&one.whole)).map(|one| one.name.clone()).collect();
    if !lost.is_empty() {
        found.push(Unfair::Losses(lost));
    }
    let versions: Vec<String> = all.iter().map(|series| series.version.clone()).collect();
    if differ(&versions) {
        found.push(Unfair::Versions(versions));
    }
    let with_requests =
        |series: &&Series| series.whole.requests.services.iter().any(|one| !one.groups.is_empty());
    let known = all.iter().filter(with_requests).count();
    if known > 0 && all.iter().any(|series| series.service.is_none()) {
        found.push(Unfair::Requests);
    }
    let fewest = all.iter().map(Series::len).min().unwrap_or(0);
    if fewest < SLICES {
        found.push(Unfair::FewSlices(fewest));
    }
    found
}

/// Some have no process of the name of any in the first.
fn have_strangers(all: &[Series]) -> bool {
    let names = |series: &Series| -> BTreeSet<String> {
        series.whole.threads.iter().map(|thread| group_name(&thread.process)).collect()
    };
    let all: Vec<_> = all.iter().map(names).filter(|names| !names.is_empty()).collect();
    all.windows(2).any(|pair| pair[0].is_disjoint(&pair[1]))
}

fn differ<T: PartialEq>(all: &[T]) -> bool {
    all.windows(2).any(|pair| pair[0] != pair[1])
}

/// How many times the smallest the largest is.
fn spread(all: &[f64]) -> f64 {
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    let most = all.iter().copied().fold(0.0, f64::max);
    if least > 0.0 { most / least } else { 1.0 }
}

fn has_lost(profile: &Profile) -> bool {
    let trust = &profile.trust;
    let lost = trust.lost_events + trust.lost_threads + trust.lost_waits + profile.requests.lost;
    lost > 0 || trust.coverage < 0.99
}
