//! The part of the document that is about requests.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::analyze::{self, GroupRow, Quantiles, ServiceRows, Set, Sets};
use crate::model::{
    Nanos, Part, Pid, PlaceId, Profile, RequestLabel, Server, SlowRequest, Tid, WaitObject,
    part_name, state_name,
};

/// `requests`.
#[derive(Debug, Serialize)]
pub struct Requests {
    followed: bool,
    lost: u64,
    lost_connections: u64,
    lost_labels: u64,
    services: Vec<Service>,
}

#[derive(Debug, Serialize)]
struct Service {
    address: String,
    process: String,
    pids: Vec<Pid>,
    count: u64,
    rate: f64,
    latency: Latency,
    sets: Columns,
    groups: Vec<Group>,
    slowest: Vec<Slow>,
    servers: Vec<Serving>,
}

#[derive(Debug, Serialize)]
struct Group {
    label: RequestLabel,
    count: u64,
    share: f64,
    rate: f64,
    latency: Latency,
    sets: Columns,
    calls: u64,
    parallel_calls: u64,
    arrival_unseen: u64,
    pipelined: u64,
    handed_over: u64,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50_ns: Nanos,
    p90_ns: Nanos,
    p95_ns: Nanos,
    p99_ns: Nanos,
    p999_ns: Nanos,
    max_ns: Nanos,
}

/// The same figures of different requests.
#[derive(Debug, Serialize)]
struct Columns {
    median: Column,
    tail: Column,
    all: Column,
}

#[derive(Debug, Serialize)]
struct Column {
    count: u64,
    low_ns: Nanos,
    high_ns: Nanos,
    mean_ns: Nanos,
    parts_ns: Parts,
    residual_ns: i64,
    calls_open_ns: Nanos,
}

/// Each part by name.
#[derive(Debug)]
struct Parts(Vec<(Part, Nanos)>);

impl Serialize for Parts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (part, time) in &self.0 {
            map.serialize_entry(part_name(*part), time)?;
        }
        map.end()
    }
}

#[derive(Debug, Serialize)]
struct Slow {
    label: RequestLabel,
    arrival_monotonic_ns: Nanos,
    latency_ns: Nanos,
    first_byte_ns: Nanos,
    pid: Pid,
    tid: Tid,
    calls: u64,
    parts_ns: Parts,
    longest: Option<Longest>,
}

#[derive(Debug, Serialize)]
struct Longest {
    kind: &'static str,
    syscall: Option<String>,
    object: WaitObject,
    time_ns: Nanos,
    stack: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Serving {
    pid: Pid,
    tid: Tid,
    count: u64,
    total_ns: Nanos,
    before_ns: Nanos,
    own_ns: Nanos,
}

/// All requests of a profile, with so many of the slowest of each service.
pub fn all(profile: &Profile, slowest: usize) -> Requests {
    let requests = &profile.requests;
    let services = analyze::services(profile);
    Requests {
        followed: requests.followed,
        lost: requests.lost,
        lost_connections: requests.lost_connections,
        lost_labels: requests.lost_labels,
        services: services.iter().map(|row| service(profile, row, slowest)).collect(),
    }
}

fn service(profile: &Profile, row: &ServiceRows<'_>, slowest: usize) -> Service {
    let service = row.service;
    let slow = service.slowest.iter().take(slowest);
    Service {
        address: service.address.clone(),
        process: service.process.clone(),
        pids: service.pids.clone(),
        count: row.count,
        rate: row.load.rate,
        latency: latency(&row.quantiles),
        sets: columns(&row.sets),
        groups: row.groups.iter().map(group).collect(),
        slowest: slow.map(|request| self::slow(profile, request)).collect(),
        servers: service.servers.iter().map(serving).collect(),
    }
}

fn group(row: &GroupRow<'_>) -> Group {
    let group = row.group;
    Group {
        label: group.label.clone(),
        count: group.count,
        share: row.share,
        rate: row.rate,
        latency: latency(&row.quantiles),
        sets: columns(&row.sets),
        calls: group.calls,
        parallel_calls: group.parallel_calls,
        arrival_unseen: group.arrival_unseen,
        pipelined: group.pipelined,
        handed_over: group.handed_over,
        bytes_in: group.bytes_in,
        bytes_out: group.bytes_out,
    }
}

fn latency(of: &Quantiles) -> Latency {
    Latency {
        p50_ns: of.p50,
        p90_ns: of.p90,
        p95_ns: of.p95,
        p99_ns: of.p99,
        p999_ns: of.p999,
        max_ns: of.max,
    }
}

fn columns(sets: &Sets) -> Columns {
    Columns { median: column(&sets.median), tail: column(&sets.tail), all: column(&sets.all) }
}

fn column(set: &Set) -> Column {
    Column {
        count: set.count,
        low_ns: set.low,
        high_ns: set.high,
        mean_ns: set.mean(),
        parts_ns: Parts(set.parts()),
        residual_ns: set.residual().0,
        calls_open_ns: set.share(set.calls_open),
    }
}

fn slow(profile: &Profile, request: &SlowRequest) -> Slow {
    Slow {
        label: request.label.clone(),
        arrival_monotonic_ns: request.arrival,
        latency_ns: request.latency,
        first_byte_ns: request.first_byte,
        pid: request.pid,
        tid: request.tid,
        calls: request.calls,
        parts_ns: Parts(request.budget.parts().collect()),
        longest: request.longest.and_then(|(id, time)| longest(profile, id, time)),
    }
}

fn longest(profile: &Profile, id: PlaceId, time_ns: Nanos) -> Option<Longest> {
    let place = profile.requests.place(id)?;
    Some(Longest {
        kind: state_name(place.kind),
        syscall: place.syscall.clone(),
        object: place.object.clone(),
        time_ns,
        stack: super::locks::names(&place.stack),
    })
}

fn serving(server: &Server) -> Serving {
    Serving {
        pid: server.pid,
        tid: server.tid,
        count: server.count,
        total_ns: server.total,
        before_ns: server.before,
        own_ns: server.own,
    }
}
