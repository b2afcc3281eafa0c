//! A recording as it is compared: what each slice adds to the sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Sort, is_waiting_for_work, lock_at, waits_in};
use super::noise::Slices;
use crate::model::{
    Direction, Frame, Nanos, Part, Profile, RequestLabel, Role, Service, State, Wait, WaitObject,
    group_name,
};

/// A recording.
#[derive(Clone, Debug)]
pub struct Series {
    /// What to call it.
    pub name: String,
    /// Version of dwell that wrote it.
    pub version: String,
    /// All of it.
    pub whole: Profile,
    /// Which service is looked at, where requests are.
    pub(super) service: Option<usize>,
    pub(super) slices: Vec<Sums>,
    /// All that there is of it: not some slices of what could have been others.
    pub is_all: bool,
}

/// Where and what for somebody waited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitName {
    /// Name of the process, where waits of several are looked at.
    pub process: Option<String>,
    /// Kind of wait.
    pub kind: State,
    /// The sort of lock, and what that of a database is on, where it is for a lock.
    pub lock: Option<(Sort, Option<&'static str>)>,
    /// The function that waits, or takes the lock.
    pub function: Option<String>,
    /// The address of a peer, or the file.
    pub object: Option<String>,
}

/// Something that is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Mean latency, or time waited for each second of CPU time.
    Whole,
    /// A part of it.
    Part(Part),
    /// The longest waits of requests at a place, or all waits there.
    Wait(WaitName),
    /// Calls to a peer.
    Peer(String),
    /// Requests for the same thing.
    Label(RequestLabel),
}

/// What a slice adds: time by what is compared, and what each is measured by.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Its length.
    pub time: Nanos,
    /// Requests, or CPU time.
    pub per: f64,
    /// In nanoseconds.
    pub above: BTreeMap<Metric, f64>,
    /// Of what is measured by something else than `per`.
    pub below: BTreeMap<Metric, f64>,
    /// Median, and 99th percentile.
    pub quantiles: Option<[Nanos; 2]>,
}

impl Series {
    /// Of which no slice is known yet.
    pub fn new(name: String, version: String, whole: Profile) -> Self {
        Self { name, version, whole, service: None, slices: Vec::new(), is_all: false }
    }

    /// Adds a slice.
    pub fn add(&mut self, slice: &Profile) {
        let sums = match self.service.and_then(|place| self.whole.requests.services.get(place)) {
            Some(service) => {
                let same = |other: &&Service| other.address == service.address;
                slice.requests.services.iter().find(same).map(|found| of_requests(slice, found))
            }
            None => Some(of_waits(slice)),
        };
        let sums = sums.unwrap_or_default();
        self.slices.push(Sums { time: slice.window.duration(), ..sums });
    }

    /// How many slices there are.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// The service that is looked at.
    pub fn service(&self) -> Option<&Service> {
        self.whole.requests.services.get(self.service?)
    }

    /// What figures of all of it are divided by: requests, or seconds of CPU time.
    pub(super) fn per(&self) -> f64 {
        self.service().map_or_else(|| cpu_seconds(&self.whole), requests)
    }

    /// A figure by slices.
    pub(super) fn of(&self, metric: &Metric) -> Slices {
        let slice = |sums: &Sums| {
            let above = sums.above.get(metric).copied().unwrap_or(0.0);
            let below = match metric {
                Metric::Label(_) => sums.below.get(metric).copied().unwrap_or(0.0),
                _ => sums.per,
            };
            (above, below)
        };
        self.slices.iter().map(slice).collect()
    }

    /// Requests, or CPU time in nanoseconds, by time.
    pub(super) fn load(&self) -> Slices {
        self.slices.iter().map(|sums| (sums.per, sums.time.0 as f64)).collect()
    }

    /// A quantile of the latency by slices that have one.
    pub(super) fn quantile(&self, which: usize) -> Slices {
        let known = self.slices.iter().filter_map(|sums| sums.quantiles);
        known.map(|quantiles| (quantiles[which].0 as f64, 1.0)).collect()
    }
}

/// Finds the service that all recordings have, if each has one.
pub fn choose_service(all: &mut [Series]) {
    let Some((first, others)) = all.split_first_mut() else { return };
    let Some(wanted) = first.whole.requests.services.iter().position(has_requests) else { return };
    let service = &first.whole.requests.services[wanted];
    let found: Vec<Option<usize>> =
        others.iter().map(|other| like(service, &other.whole.requests.services)).collect();
    if found.iter().any(Option::is_none) {
        return;
    }
    first.service = Some(wanted);
    for (other, found) in others.iter_mut().zip(found) {
        other.service = found;
    }
}

fn has_requests(service: &Service) -> bool {
    service.groups.iter().any(|group| group.count > 0)
}

/// The same service elsewhere: of the same name and port, of the same name, or on the same port.
fn like(service: &Service, others: &[Service]) -> Option<usize> {
    let port =
        |service: &Service| service.address.rsplit_once(':').map(|(_, port)| port.to_owned());
    let named = |other: &Service| other.process == service.process;
    let at_port = |other: &Service| port(other) == port(service);
    let find = |is_like: &dyn Fn(&Service) -> bool| {
        others.iter().position(|other| has_requests(other) && is_like(other))
    };
    find(&|other| named(other) && at_port(other))
        .or_else(|| find(&named))
        .or_else(|| find(&at_port))
}

fn of_requests(profile: &Profile, service: &Service) -> Sums {
    let mut sums = Sums { per: requests(service), ..Sums::default() };
    let mut latency = crate::model::Durations::default();
    let mut above: BTreeMap<Metric, f64> = BTreeMap::new();
    let mut add = |metric: Metric, time: Nanos| {
        *above.entry(metric).or_default() += time.0 as f64;
    };
    for group in &service.groups {
        latency.merge(&group.latency);
        let label = Metric::Label(group.label.clone());
        *sums.below.entry(label.clone()).or_default() += group.count as f64;
        for band in &group.bands {
            add(Metric::Whole, band.total);
            add(label.clone(), band.total);
            for (part, time) in band.budget.parts().filter(|(_, time)| time.0 > 0) {
                add(Metric::Part(part), time);
            }
            for (place, _, time) in &band.longest {
                let Some(place) = profile.requests.place(*place) else { continue };
                add(Metric::Wait(name_of_wait(place.kind, &place.object, &place.stack)), *time);
            }
            for called in &band.calls {
                let Some(peer) = profile.requests.peer(called.peer) else { continue };
                add(Metric::Peer(peer.address.clone()), called.total);
            }
        }
    }
    sums.above = above;
    let quantiles = [latency.quantile(0.5), latency.quantile(0.99)];
    sums.quantiles = (latency.count() > 0).then_some(quantiles);
    sums
}

fn name_of_wait(kind: State, what: &WaitObject, stack: &Arc<[Frame]>) -> WaitName {
    WaitName {
        process: None,
        kind,
        lock: lock_at(kind, what, stack),
        function: waits_in(kind, what, stack).map(str::to_owned),
        object: object(what),
    }
}

fn object(object: &WaitObject) -> Option<String> {
    match object {
        WaitObject::Inet { peer, role: Role::Client, .. } => Some(peer.clone()),
        WaitObject::Inet { local, direction: Direction::Accept, .. } => Some(local.clone()),
        WaitObject::Unix { peer, role: Role::Client, .. } if !peer.is_empty() => Some(peer.clone()),
        WaitObject::File { name, path, .. } => Some(path.clone().unwrap_or_else(|| name.clone())),
        WaitObject::Kernel { function } => Some(function.clone()),
        _ => None,
    }
}

/// Where no requests are known: waits inside work, for each second of CPU time.
fn of_waits(profile: &Profile) -> Sums {
    let mut sums = Sums { per: cpu_seconds(profile), ..Sums::default() };
    for thread in profile.threads.iter().filter(|thread| !thread.in_kernel) {
        let ready = thread.times.of(State::Runnable).0 as f64;
        *sums.above.entry(Metric::Part(Part::In(State::Runnable))).or_default() += ready;
        *sums.above.entry(Metric::Whole).or_default() += ready;
    }
    for wait in &profile.waits {
        let Some(name) = name_inside_work(wait) else { continue };
        let time = wait.total.0 as f64;
        for metric in [Metric::Whole, Metric::Part(Part::In(wait.kind)), Metric::Wait(name)] {
            *sums.above.entry(metric).or_default() += time;
        }
    }
    sums
}

/// What a wait goes by, if it is one inside work.
pub(super) fn name_inside_work(wait: &Wait) -> Option<WaitName> {
    let is_inside = !wait.in_kernel_thread && !is_waiting_for_work(wait);
    is_inside.then(|| WaitName {
        process: Some(group_name(&wait.comm)),
        ..name_of_wait(wait.kind, &wait.object, &wait.stack)
    })
}

fn requests(service: &Service) -> f64 {
    service.groups.iter().map(|group| group.count as f64).sum()
}

/// CPU time of all threads but those of the kernel.
fn cpu_seconds(profile: &Profile) -> f64 {
    let threads = profile.threads.iter().filter(|thread| !thread.in_kernel);
    threads.map(|thread| thread.times.of(State::Running).0 as f64).sum::<f64>() / 1e9
}
