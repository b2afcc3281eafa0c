//! Whom the target calls, and how much of the time of requests that is.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::ratio;
use crate::model::{Called, Latency, Nanos, Peer, Pid, Profile, Requests, Service};

/// A peer, as the processes of one name call it.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Name of the processes that call.
    pub process: String,
    /// These processes.
    pub pids: BTreeSet<Pid>,
    /// The address.
    pub address: String,
    /// The process behind it, where it is on this host.
    pub behind: Option<String>,
    /// Whether the calls were made while a request was served.
    pub serving: bool,
    /// Calls that were answered.
    pub count: u64,
    /// Their time.
    pub total: Nanos,
    /// Their durations.
    pub latency: Latency,
    /// What it is to the requests that made calls to it; none where none is known.
    pub fan: Option<Fan>,
}

/// What calls are to the requests that make them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fan {
    /// Requests that made some.
    pub requests: u64,
    /// Calls of each, on average.
    pub calls: f64,
    /// Their time as a share of the time of all requests of the services that make them; above 1
    /// where they are made side by side.
    pub of_time: f64,
    /// Part of their time that the longest call of each request takes, 0 to 1.
    pub slowest: f64,
    /// Part of the calls of these services that were made while another one was open, 0 to 1.
    pub parallel: f64,
}

/// Every peer, most time first.
pub fn dependencies(profile: &Profile) -> Vec<Dependency> {
    let mut rows: Vec<(Dependency, Vec<usize>)> = Vec::new();
    for (index, peer) in profile.requests.peers.iter().enumerate() {
        let known = rows.iter().position(|(row, _)| is_of(row, peer));
        let place = known.unwrap_or_else(|| {
            rows.push((empty(peer), Vec::new()));
            rows.len() - 1
        });
        let (row, peers) = &mut rows[place];
        row.pids.insert(peer.pid);
        row.count += peer.count;
        row.total += peer.total;
        row.latency.merge(&peer.latency);
        peers.push(index);
    }
    let fanned = rows.into_iter().map(|(row, peers)| {
        let fan = fan(&profile.requests, &peers);
        Dependency { fan, ..row }
    });
    let mut rows: Vec<Dependency> = fanned.collect();
    rows.sort_by_key(|row| (!row.serving, Reverse(row.total)));
    rows
}

fn is_of(row: &Dependency, peer: &Peer) -> bool {
    row.process == peer.process
        && row.address == peer.address
        && row.behind == peer.behind
        && row.serving == peer.serving
}

fn empty(peer: &Peer) -> Dependency {
    Dependency {
        process: peer.process.clone(),
        pids: BTreeSet::new(),
        address: peer.address.clone(),
        behind: peer.behind.clone(),
        serving: peer.serving,
        count: 0,
        total: Nanos(0),
        latency: Latency::default(),
        fan: None,
    }
}

fn fan(requests: &Requests, peers: &[usize]) -> Option<Fan> {
    let is_it = |called: &&Called| peers.contains(&(called.peer.0 as usize));
    let calls_of = |service: &Service| -> Vec<Called> {
        let bands = service.groups.iter().flat_map(|group| &group.bands);
        bands.flat_map(|band| band.calls.iter().filter(is_it).copied()).collect()
    };
    let mut fan = Fan::default();
    let (mut calls, mut total, mut longest) = (0, Nanos(0), Nanos(0));
    let (mut time, mut all_calls, mut parallel) = (Nanos(0), 0, 0);
    for service in &requests.services {
        let called = calls_of(service);
        if called.is_empty() {
            continue;
        }
        fan.requests += called.iter().map(|called| called.requests).sum::<u64>();
        calls += called.iter().map(|called| called.count).sum::<u64>();
        total += called.iter().map(|called| called.total).sum();
        longest += called.iter().map(|called| called.longest).sum();
        for group in &service.groups {
            time += group.bands.iter().map(|band| band.total).sum();
            all_calls += group.calls;
            parallel += group.parallel_calls;
        }
    }
    (calls > 0).then(|| Fan {
        calls: ratio(calls, fan.requests),
        of_time: total.share_of(time),
        slowest: longest.share_of(total).min(1.0),
        parallel: ratio(parallel, all_calls).min(1.0),
        ..fan
    })
}
