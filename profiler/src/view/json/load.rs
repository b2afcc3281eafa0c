//! The part of the document that is about peers, and about the load of services.

use serde::Serialize;

use crate::analyze::{self, Dependency, Load, ServiceRows, Spread};
use crate::model::{Nanos, Pid, Profile};

/// A row of `dependencies`.
#[derive(Debug, Serialize)]
pub struct Called {
    process: String,
    pids: Vec<Pid>,
    address: String,
    behind: Option<String>,
    serving: bool,
    count: u64,
    total_ns: Nanos,
    p50_ns: Nanos,
    p95_ns: Nanos,
    p99_ns: Nanos,
    max_ns: Nanos,
    requests: u64,
    calls_per_request: f64,
    share_of_time: f64,
    longest_share: f64,
    parallel_share: f64,
}

/// A row of `queues`.
#[derive(Debug, Serialize)]
pub struct Queue {
    address: String,
    process: String,
    rate: f64,
    in_flight: Option<f64>,
    in_flight_max: f64,
    queued: Option<f64>,
    queued_max: u64,
    little: Option<Little>,
    accept: Option<Accept>,
    connections: u64,
    multiplexed: u64,
    threads: Work,
    processes: Work,
}

#[derive(Debug, Serialize)]
struct Little {
    expected: f64,
    counted: f64,
    differs: bool,
}

#[derive(Debug, Serialize)]
struct Accept {
    connections: u64,
    waiting: f64,
    waiting_max: u64,
    limit: u64,
}

#[derive(Debug, Serialize)]
struct Work {
    number: u64,
    max_over_mean: f64,
    gini: f64,
    busy: f64,
    busiest: f64,
}

/// All peers of a profile.
pub fn dependencies(profile: &Profile) -> impl Iterator<Item = Called> {
    analyze::dependencies(profile).into_iter().map(called)
}

/// The load of each service.
pub fn queues(profile: &Profile) -> impl Iterator<Item = Queue> {
    analyze::services(profile).into_iter().map(|row| queue(&row))
}

fn called(row: Dependency) -> Called {
    let fan = row.fan.unwrap_or_default();
    Called {
        p50_ns: row.latency.quantile(0.5),
        p95_ns: row.latency.quantile(0.95),
        p99_ns: row.latency.quantile(0.99),
        max_ns: row.latency.max(),
        process: row.process,
        pids: row.pids.into_iter().collect(),
        address: row.address,
        behind: row.behind,
        serving: row.serving,
        count: row.count,
        total_ns: row.total,
        requests: fan.requests,
        calls_per_request: fan.calls,
        share_of_time: fan.of_time,
        longest_share: fan.slowest,
        parallel_share: fan.parallel,
    }
}

fn queue(row: &ServiceRows<'_>) -> Queue {
    let load: &Load = &row.load;
    Queue {
        address: row.service.address.clone(),
        process: row.service.process.clone(),
        rate: load.rate,
        in_flight: load.in_flight,
        in_flight_max: load.in_flight_most,
        queued: load.queued,
        queued_max: load.queued_most,
        little: load.little.map(|little| Little {
            expected: little.expected,
            counted: little.counted,
            differs: little.differs,
        }),
        accept: load.accepting.map(|accepting| Accept {
            connections: accepting.connections,
            waiting: accepting.waiting,
            waiting_max: accepting.waiting_most,
            limit: accepting.limit,
        }),
        connections: load.connections,
        multiplexed: row.service.samples.multiplexed,
        threads: work(&load.threads),
        processes: work(&load.processes),
    }
}

fn work(spread: &Spread) -> Work {
    Work {
        number: spread.number,
        max_over_mean: spread.most,
        gini: spread.gini,
        busy: spread.busy,
        busiest: spread.busiest,
    }
}
