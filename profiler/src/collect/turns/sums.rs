//! Sums over the requests of a service, and of those that ask for the same.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use profiler_common::turn::{TURN_ARRIVAL_UNSEEN, TURN_HANDED_OVER, TURN_PIPELINED, Turn};

use super::bands::Bands;
use super::timeline::Timeline;
use crate::model::{Budget, Durations, Nanos, SLOWEST_KEPT, Samples, State};

/// Of these, those kept of each part of a window that is looked at on its own.
const RECENT_KEPT: usize = 10;
/// Threads of a service kept apart; beyond, they share a row.
const SERVERS_KEPT: usize = 1_024;
/// A thread has several requests at a time, if others waited for events with the one that it worked for, for that part of
/// that time or more.
const SEVERAL: f64 = 0.1;
/// Processes of a service kept by number.
const PIDS_KEPT: usize = 64;

/// What a turn comes to.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    pub latency: Nanos,
    /// Number of the place in which it waited longest.
    pub place: Option<u32>,
    /// What it consists of.
    pub budget: Budget,
}

/// Requests of a service for the same thing.
#[derive(Clone, Default)]
pub struct Group {
    pub latency: Durations,
    pub max: Nanos,
    pub bands: Bands,
    pub arrival_unseen: u64,
    pub pipelined: u64,
    pub handed_over: u64,
    pub calls: u64,
    pub parallel_calls: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Group {
    /// Counts a request.
    pub fn count(&mut self, turn: &Turn, latency: Nanos) {
        let has = |flag: u32| u64::from(turn.header.reserved & flag != 0);
        self.latency.add(latency);
        self.max = self.max.max(latency);
        self.arrival_unseen += has(TURN_ARRIVAL_UNSEEN);
        self.pipelined += has(TURN_PIPELINED);
        self.handed_over += has(TURN_HANDED_OVER);
        self.calls += u64::from(turn.calls_count);
        self.parallel_calls += u64::from(turn.calls_parallel);
        self.bytes_in += u64::from(turn.bytes_in);
        self.bytes_out += u64::from(turn.bytes_out);
    }
}

/// One request of the slowest.
#[derive(Clone)]
pub struct Slow {
    pub label: u64,
    pub arrival: Nanos,
    pub latency: Nanos,
    pub first_byte: Nanos,
    pub pid: u32,
    pub tid: u32,
    pub budget: Budget,
    pub longest: Option<(u32, Nanos)>,
    pub calls: u64,
}

impl Slow {
    /// As [`crate::model::SlowRequest::order`]: which are kept does not depend on who was first to be seen.
    fn order(&self) -> (Reverse<Nanos>, Nanos, u32, u32) {
        (Reverse(self.latency), self.arrival, self.pid, self.tid)
    }
}

/// What a thread has answered.
#[derive(Clone, Copy, Default)]
pub struct ServerSums {
    pub count: u64,
    pub total: Nanos,
    pub before: Nanos,
    /// Working for requests, waits included.
    own: Nanos,
    /// Of this, waiting for events.
    polled: Nanos,
    /// Waiting for events, as other requests than those that it worked for saw it.
    polled_for_others: Nanos,
}

impl ServerSums {
    /// Time at work. A thread that waits for an answer with `poll` can do nothing else; one that has several requests at
    /// a time takes up the next meanwhile.
    pub fn at_work(&self) -> Nanos {
        let has_several = self.polled_for_others.share_of(self.polled) >= SEVERAL;
        if has_several { self.own.since(self.polled) } else { self.own }
    }
}

/// The requests of a service.
#[derive(Clone)]
pub struct ServiceSums {
    pub groups: HashMap<u64, Group>,
    pub slowest: Vec<Slow>,
    /// The slowest since they were last asked for.
    recent: Vec<Slow>,
    /// By process and thread; (0, 0) for the rest.
    pub servers: HashMap<(u32, u32), ServerSums>,
    pub pids: BTreeSet<u32>,
    pub samples: Samples,
    pub timeline: Timeline,
}

impl ServiceSums {
    pub fn new(timeline: Timeline) -> Self {
        Self {
            groups: HashMap::new(),
            slowest: Vec::new(),
            recent: Vec::new(),
            servers: HashMap::new(),
            pids: BTreeSet::new(),
            samples: Samples::default(),
            timeline,
        }
    }

    /// Counts who answered.
    pub fn note_server(&mut self, turn: &Turn) {
        if self.pids.len() < PIDS_KEPT {
            self.pids.insert(turn.pid);
        }
        let mut key = (turn.pid, turn.tid);
        if self.servers.len() >= SERVERS_KEPT && !self.servers.contains_key(&key) {
            key = (0, 0);
        }
        let server = self.servers.entry(key).or_default();
        server.count += 1;
        server.total += Nanos(turn.last_sent_ns).since(Nanos(turn.arrival_ns));
        server.before += Nanos(turn.received_ns).since(Nanos(turn.arrival_ns));
        server.own += Nanos(turn.parts.own_sum_ns);
        let polled = turn.parts.own_ns[State::Poll as usize].cast_signed().max(0);
        server.polled += Nanos(polled.unsigned_abs());
        server.polled_for_others += Nanos(turn.parts.polled_ns);
    }

    /// Keeps a request if it is among the slowest; not where it may be several.
    pub fn note_slowest(
        &mut self,
        turn: &Turn,
        &Sum { latency, place, budget }: &Sum,
        is_pipelined: bool,
    ) {
        let order = (Reverse(latency), Nanos(turn.arrival_ns), turn.pid, turn.tid);
        let has_place = |slowest: &[Slow], kept: usize| {
            slowest.len() < kept || slowest.last().is_none_or(|last| order < last.order())
        };
        let is_slow = has_place(&self.slowest, SLOWEST_KEPT);
        let is_recent = has_place(&self.recent, RECENT_KEPT);
        if is_pipelined || !(is_slow || is_recent) {
            return;
        }
        let slow = Slow {
            label: turn.label,
            arrival: Nanos(turn.arrival_ns),
            latency,
            first_byte: Nanos(turn.first_sent_ns).since(Nanos(turn.arrival_ns)),
            pid: turn.pid,
            tid: turn.tid,
            budget,
            longest: place.map(|place| (place, Nanos(turn.longest.ns))),
            calls: u64::from(turn.calls_count),
        };
        if is_recent {
            keep(&mut self.recent, slow.clone(), RECENT_KEPT);
        }
        if is_slow {
            keep(&mut self.slowest, slow, SLOWEST_KEPT);
        }
    }

    /// Forgets which requests are recent.
    pub fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Adds the recent ones to the slowest.
    pub fn list_recent(&mut self) {
        let known: HashSet<_> = self.slowest.iter().map(Slow::order).collect();
        let recent = std::mem::take(&mut self.recent).into_iter();
        self.slowest.extend(recent.filter(|slow| !known.contains(&slow.order())));
    }

    /// Adds a look at the connections.
    pub fn add_look(&mut self, look: Samples) {
        let samples = &mut self.samples;
        samples.looks += 1;
        samples.in_flight += look.in_flight;
        samples.queued += look.queued;
        samples.in_flight_most = samples.in_flight_most.max(look.in_flight);
        samples.queued_most = samples.queued_most.max(look.queued);
        samples.connections = look.connections;
        samples.multiplexed = look.multiplexed;
    }
}

/// Keeps a request among the slowest.
fn keep(slowest: &mut Vec<Slow>, slow: Slow, kept: usize) {
    let place = slowest.partition_point(|other| other.order() < slow.order());
    slowest.insert(place, slow);
    slowest.truncate(kept);
}
