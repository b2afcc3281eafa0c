//! Requests: how long they take, what that consists of, and what sets the slow ones apart.

mod dependencies;
mod load;
mod sets;
mod warnings;

use std::cmp::Reverse;

pub use dependencies::{Dependency, Fan, dependencies};
pub use load::{Accepting, Load, Spread};
pub use sets::{Change, Set, Sets};
pub use warnings::{Doubtful, doubtful};

use crate::model::{Durations, Nanos, Profile, RequestGroup, Service, State, Window};

/// How long requests take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half take no longer.
    pub p50: Nanos,
    /// Of ten, nine take no longer; and so on.
    pub p90: Nanos,
    /// 95 of 100.
    pub p95: Nanos,
    /// 99 of 100.
    pub p99: Nanos,
    /// 999 of 1,000.
    pub p999: Nanos,
    /// The longest.
    pub max: Nanos,
}

/// Requests of a service for the same thing.
#[derive(Clone, Debug)]
pub struct GroupRow<'a> {
    /// All that is known of them.
    pub group: &'a RequestGroup,
    /// Answers per second.
    pub rate: f64,
    /// As a share of the service's requests, 0 to 1.
    pub share: f64,
    /// How long they take.
    pub quantiles: Quantiles,
    /// Those around the median, beyond p99, and all.
    pub sets: Sets,
    /// Calls to peers that each makes, on average.
    pub fan_out: f64,
    /// Of these, those made while another call of the same request was open, 0 to 1.
    pub parallel: f64,
}

/// What is served at one address.
#[derive(Clone, Debug)]
pub struct ServiceRows<'a> {
    /// All that is known of it.
    pub service: &'a Service,
    /// Requests answered.
    pub count: u64,
    /// How long they take, whatever they ask for.
    pub quantiles: Quantiles,
    /// Those around the median, beyond p99, and all, whatever they ask for.
    pub sets: Sets,
    /// By what was asked for, most requests first.
    pub groups: Vec<GroupRow<'a>>,
    /// How much work comes in, waits, and is on its way.
    pub load: Load,
    /// What the figures cannot tell.
    pub doubtful: Vec<Doubtful>,
}

impl ServiceRows<'_> {
    /// All time of all requests.
    pub fn total(&self) -> Nanos {
        self.sets.all.total
    }

    /// Whether nearly all requests ask for the same.
    pub fn asks_for_one_thing(&self) -> bool {
        let most = self.groups.iter().map(|row| row.group.count).max().unwrap_or(0);
        ratio(most, self.count) >= 0.9
    }
}

/// Every service at which something was asked for, most time of requests first.
pub fn services(profile: &Profile) -> Vec<ServiceRows<'_>> {
    let services = profile.requests.services.iter();
    let mut rows: Vec<_> = services.map(|service| rows(service, profile.window)).collect();
    rows.sort_by_key(|row| Reverse(row.total()));
    rows
}

fn rows(service: &Service, window: Window) -> ServiceRows<'_> {
    let count: u64 = service.groups.iter().map(|group| group.count).sum();
    let mut latency = Durations::default();
    service.groups.iter().for_each(|group| latency.merge(&group.latency));
    let max = service.groups.iter().map(|group| group.max).max().unwrap_or_default();
    let sets = Sets::of(service.groups.iter().flat_map(|group| &group.bands));
    let mut groups: Vec<_> =
        service.groups.iter().map(|group| group_row(group, count, window)).collect();
    groups.sort_by_key(|row| Reverse(row.group.count));
    ServiceRows {
        service,
        count,
        quantiles: quantiles(&latency, max),
        load: Load::of(service, count, sets.all.mean(), window),
        sets,
        groups,
        doubtful: doubtful(service),
    }
}

fn group_row(group: &RequestGroup, all: u64, window: Window) -> GroupRow<'_> {
    GroupRow {
        group,
        rate: rate(group.count, window),
        share: ratio(group.count, all),
        quantiles: quantiles(&group.latency, group.max),
        sets: Sets::of(group.bands.iter()),
        fan_out: ratio(group.calls, group.count),
        parallel: ratio(group.parallel_calls, group.calls),
    }
}

fn quantiles(latency: &Durations, max: Nanos) -> Quantiles {
    let of = |share| latency.quantile(share).min(max);
    Quantiles { p50: of(0.5), p90: of(0.9), p95: of(0.95), p99: of(0.99), p999: of(0.999), max }
}

/// How many a second.
fn rate(count: u64, window: Window) -> f64 {
    let seconds = window.duration().0 as f64 / 1e9;
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// One number for each of another; 0 for each of none.
pub(super) fn ratio(number: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { number as f64 / of as f64 }
}

/// Time in which a thread works on a request, on average: not what it waits for before, or between.
pub(super) fn own(set: &Set) -> Nanos {
    State::ALL.into_iter().map(|state| set.part(crate::model::Part::In(state))).sum()
}

#[cfg(test)]
mod tests;
