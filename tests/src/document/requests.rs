//! The part of the document about requests, and the lines of `--each`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Document;

/// The requests that were followed.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Requests {
    /// Whether they were looked for.
    pub followed: bool,
    /// Answered, and nothing is known of them.
    pub lost: u64,
    /// Connections whose requests are missing.
    pub lost_connections: u64,
    /// Requests whose label is missing.
    pub lost_labels: u64,
    /// By where they came in.
    pub services: Vec<Service>,
}

/// The requests that came in at one address.
#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    /// The address.
    pub address: String,
    /// Who answers.
    pub process: String,
    /// Who answers.
    pub pids: Vec<u32>,
    /// Answered.
    pub count: u64,
    /// How long they took.
    pub latency: Quantiles,
    /// What they consist of.
    pub sets: Sets,
    /// By what was asked for.
    pub groups: Vec<Group>,
    /// The threads that answer.
    pub servers: Vec<Answering>,
}

/// The requests for one thing.
#[derive(Clone, Debug, Deserialize)]
pub struct Group {
    /// What for.
    pub label: Label,
    /// Answered.
    pub count: u64,
    /// How long they took.
    pub latency: Quantiles,
    /// What they consist of.
    pub sets: Sets,
    /// Those whose arrival nobody saw.
    pub arrival_unseen: u64,
    /// Those on connections whose client did not wait for the answer.
    pub pipelined: u64,
    /// Those answered by another thread than the one that received them.
    pub handed_over: u64,
    /// Received.
    pub bytes_in: u64,
    /// Sent.
    pub bytes_out: u64,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Label {
    /// The protocol.
    pub protocol: String,
    /// In its words.
    pub text: String,
}

/// How long requests took.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Quantiles {
    /// Half took no longer.
    pub p50_ns: u64,
    /// 90 of 100 took no longer.
    pub p90_ns: u64,
    /// 95 of 100 took no longer.
    pub p95_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// 999 of 1000 took no longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// The same figures of different requests.
#[derive(Clone, Debug, Deserialize)]
pub struct Sets {
    /// Those around the median.
    pub median: Set,
    /// The slowest.
    pub tail: Set,
    /// All.
    pub all: Set,
}

/// What the mean request of some consists of.
#[derive(Clone, Debug, Deserialize)]
pub struct Set {
    /// How many.
    pub count: u64,
    /// How long it took.
    pub mean_ns: u64,
    /// Of that, by part.
    pub parts_ns: BTreeMap<String, u64>,
    /// What is in no part.
    pub residual_ns: i64,
}

/// A thread that answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Answering {
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub tid: u32,
    /// Answered by it.
    pub count: u64,
}

/// The load of one service.
#[derive(Clone, Debug, Deserialize)]
pub struct Load {
    /// The address.
    pub address: String,
    /// Open in the last look.
    pub connections: u64,
    /// Of these, those with several requests on their way.
    pub multiplexed: u64,
}

/// A line of `--each`: one request.
#[derive(Clone, Debug, Deserialize)]
pub struct Each {
    /// CLOCK_MONOTONIC.
    pub arrival_ns: u64,
    /// CLOCK_MONOTONIC.
    pub received_ns: u64,
    /// CLOCK_MONOTONIC.
    pub first_sent_ns: u64,
    /// CLOCK_MONOTONIC.
    pub last_sent_ns: u64,
    /// From the arrival to the last send.
    pub latency_ns: u64,
    /// Process that answered.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// By which it came.
    pub connection: u64,
    /// What was asked for.
    pub protocol: String,
    /// In the words of the protocol.
    pub label: String,
    /// What it consists of.
    pub parts: BTreeMap<String, u64>,
}

impl Document {
    /// The one service of a process.
    pub fn service_of(&self, pid: u32) -> Result<&Service> {
        let services = &self.body.requests.services;
        let of: Vec<_> = services.iter().filter(|service| service.pids.contains(&pid)).collect();
        let [service] = of[..] else {
            anyhow::bail!("{} services of process {pid}:\n{}", of.len(), self.describe_requests())
        };
        Ok(service)
    }

    /// The service at a port of 127.0.0.1.
    pub fn service_at(&self, port: u16) -> Result<&Service> {
        let address = format!("127.0.0.1:{port}");
        let found = self.body.requests.services.iter().find(|row| row.address == address);
        found.with_context(|| format!("no service at {address}:\n{}", self.describe_requests()))
    }

    /// Requests with such a label, over all services.
    pub fn requests_for(&self, text: &str) -> u64 {
        let groups = self.body.requests.services.iter().flat_map(|service| &service.groups);
        groups.filter(|group| group.label.text == text).map(|group| group.count).sum()
    }

    /// Connections open in the last look, over all services.
    pub fn connections_open(&self) -> u64 {
        self.body.queues.iter().map(|load| load.connections).sum()
    }

    /// The requests in words, for messages.
    pub fn describe_requests(&self) -> String {
        let requests = &self.body.requests;
        let mut text = format!(
            "  lost {}, connections {}, labels {}\n",
            requests.lost, requests.lost_connections, requests.lost_labels
        );
        for service in &requests.services {
            let (address, process) = (&service.address, &service.process);
            text += &format!("  {process} at {address}: {} requests\n", service.count);
            for group in service.groups.iter().take(60) {
                let Group { label, count, arrival_unseen, pipelined, handed_over, .. } = group;
                text += &format!(
                    "    {} {:?} count {count} unseen {arrival_unseen} pipelined {pipelined} \
                     handed over {handed_over}\n",
                    label.protocol, label.text
                );
            }
        }
        for load in &self.body.queues {
            text += &format!(
                "  {}: {} connections, {} multiplexed\n",
                load.address, load.connections, load.multiplexed
            );
        }
        text
    }
}

impl Service {
    /// Requests with such a label.
    pub fn count_of(&self, text: &str) -> u64 {
        let groups = self.groups.iter().filter(|group| group.label.text == text);
        groups.map(|group| group.count).sum()
    }

    /// A figure of all groups, added up.
    pub fn sum(&self, figure: impl Fn(&Group) -> u64) -> u64 {
        self.groups.iter().map(figure).sum()
    }
}

impl Each {
    /// From the receipt to the last send: what the server itself can know.
    pub fn served_ns(&self) -> u64 {
        self.last_sent_ns.saturating_sub(self.received_ns)
    }

    /// All its parts, added up.
    pub fn parts_ns(&self) -> u64 {
        self.parts.values().sum()
    }
}

/// Reads what `--each` has written, in the order of the receipt.
pub fn read_each(path: &Path) -> Result<Vec<Each>> {
    let text = std::fs::read_to_string(path).context("no file of --each")?;
    ensure!(text.is_empty() || text.ends_with('\n'), "the last line of --each is cut");
    let parse = |line: &str| {
        serde_json::from_str::<Each>(line).with_context(|| format!("no line of --each: {line}"))
    };
    let mut rows: Vec<Each> = text.lines().map(parse).collect::<Result<_>>()?;
    rows.sort_by_key(|row| row.received_ns);
    Ok(rows)
}
