//! Requests that the target's servers answered, and what happened to them.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Durations, Frame, Latency, Nanos, Pid, ReasonId, State, StateTimes, Tid, WaitId, WaitObject,
};

/// A part of the time of a request. Parts do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// It lay in the socket, and no thread came for it.
    Queued,
    /// The thread that serves its connection served other requests.
    BehindOthers,
    /// One thread had received it, and another one had not taken it up yet.
    HandedOver,
    /// It waited for a peer that it had called, and its thread did other things meanwhile.
    Peers,
    /// The thread that served it was in this state, on its behalf.
    In(State),
}

impl Part {
    /// Every part, in the order in which a request meets them.
    pub fn all() -> impl Iterator<Item = Part> {
        let states = State::ALL.into_iter().map(Part::In);
        [Part::Queued, Part::BehindOthers, Part::HandedOver, Part::Peers].into_iter().chain(states)
    }
}

/// What a request, or many, consist of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// [`Part::Queued`].
    pub queued: Nanos,
    /// [`Part::BehindOthers`].
    pub behind_others: Nanos,
    /// [`Part::HandedOver`].
    pub handed_over: Nanos,
    /// [`Part::Peers`].
    pub peers: Nanos,
    /// [`Part::In`].
    pub states: StateTimes,
}

impl Budget {
    /// Time of a part.
    pub fn of(&self, part: Part) -> Nanos {
        match part {
            Part::Queued => self.queued,
            Part::BehindOthers => self.behind_others,
            Part::HandedOver => self.handed_over,
            Part::Peers => self.peers,
            Part::In(state) => self.states.of(state),
        }
    }

    /// Adds time to a part.
    pub fn add(&mut self, part: Part, time: Nanos) {
        match part {
            Part::Queued => self.queued += time,
            Part::BehindOthers => self.behind_others += time,
            Part::HandedOver => self.handed_over += time,
            Part::Peers => self.peers += time,
            Part::In(state) => self.states.add(state, time),
        }
    }

    /// Every part with its time.
    pub fn parts(&self) -> impl Iterator<Item = (Part, Nanos)> {
        Part::all().map(|part| (part, self.of(part)))
    }

    /// All time.
    pub fn total(&self) -> Nanos {
        self.parts().map(|(_, time)| time).sum()
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Budget) {
        self.queued += other.queued;
        self.behind_others += other.behind_others;
        self.handed_over += other.handed_over;
        self.peers += other.peers;
        self.states.merge(&other.states);
    }
}

/// A place in [`Requests::places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceId(pub u32);

/// A place in [`Requests::peers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// Where and for what requests waited longest.
#[derive(Clone, Debug)]
pub struct WaitPlace {
    /// Its number: the same in every profile that one session makes of its window.
    pub id: WaitId,
    /// The process that waited.
    pub pid: Pid,
    /// Kind of wait.
    pub kind: State,
    /// System call, by name; none outside of one.
    pub syscall: Option<String>,
    /// What was waited for.
    pub object: WaitObject,
    /// From where, innermost first.
    pub stack: Arc<[Frame]>,
    /// Why it took so long.
    pub reason: Option<ReasonId>,
}

/// The requests whose latency lies between two bounds.
#[derive(Clone, Debug, Default)]
pub struct Band {
    /// Lower bound, inclusive.
    pub low: Nanos,
    /// Upper bound, exclusive.
    pub high: Nanos,
    /// How many.
    pub count: u64,
    /// Sum of their latencies.
    pub total: Nanos,
    /// Sum of what they consist of.
    pub budget: Budget,
    /// Sum of the time in which at least one call to a peer was open.
    pub calls_open: Nanos,
    /// The longest wait of each: its place, how many requests, time. Most time first; not all of them.
    pub longest: Vec<(PlaceId, u64, Nanos)>,
    /// Calls to peers.
    pub calls: Vec<Called>,
}

impl Band {
    /// Adds the requests of another band with the same bounds.
    pub fn merge(&mut self, other: Band) {
        self.count += other.count;
        self.total += other.total;
        self.budget.merge(&other.budget);
        self.calls_open += other.calls_open;
        for (place, count, time) in other.longest {
            match self.longest.iter_mut().find(|(known, _, _)| *known == place) {
                Some(known) => {
                    known.1 += count;
                    known.2 += time;
                }
                None => self.longest.push((place, count, time)),
            }
        }
        self.sort_longest();
        for calls in other.calls {
            match self.calls.iter_mut().find(|known| known.peer == calls.peer) {
                Some(known) => known.merge(&calls),
                None => self.calls.push(calls),
            }
        }
    }
}

impl Band {
    /// Brings the longest waits into their order.
    pub fn sort_longest(&mut self) {
        self.longest.sort_by_key(|(place, _, time)| (Reverse(*time), *place));
    }
}

/// Calls to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// Whom.
    pub peer: PeerId,
    /// How many calls.
    pub count: u64,
    /// Their time.
    pub total: Nanos,
    /// Requests that made some.
    pub requests: u64,
    /// Sum over these of the longest call.
    pub longest: Nanos,
}

impl Called {
    /// Adds calls to the same peer.
    pub fn merge(&mut self, other: &Called) {
        self.count += other.count;
        self.total += other.total;
        self.requests += other.requests;
        self.longest += other.longest;
    }
}

/// A protocol whose requests are told apart, or named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.
    Http,
    /// HTTP/2.
    Http2,
    /// Memcached.
    Memcached,
    /// MySQL.
    Mysql,
    /// PostgreSQL.
    Postgresql,
    /// Redis.
    Redis,
    /// What is said is encrypted.
    Tls,
    /// None of these.
    Unknown,
}

impl Protocol {
    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Memcached => "memcached",
            Self::Mysql => "mysql",
            Self::Postgresql => "postgresql",
            Self::Redis => "redis",
            Self::Tls => "tls",
            Self::Unknown => "unknown",
        }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestLabel {
    /// Of whom.
    pub protocol: Protocol,
    /// In the words of the protocol; empty where nothing is known.
    pub text: String,
}

/// The slowest requests kept of a service.
pub const SLOWEST_KEPT: usize = 100;

/// Requests of a service for the same thing.
#[derive(Clone, Debug)]
pub struct RequestGroup {
    /// What for.
    pub label: RequestLabel,
    /// Answered inside the window.
    pub count: u64,
    /// Their latencies.
    pub latency: Durations,
    /// The longest.
    pub max: Nanos,
    /// By latency, shortest first.
    pub bands: Vec<Band>,
    /// Of `count`, those whose arrival was not seen: their latency begins with the receive.
    pub arrival_unseen: u64,
    /// Of `count`, those on connections whose client did not wait for the answer: several requests
    /// may be one here.
    pub pipelined: u64,
    /// Of `count`, those answered by another thread than the one that received them.
    pub handed_over: u64,
    /// Calls that they made.
    pub calls: u64,
    /// Of these, those made while another call of the same request was open.
    pub parallel_calls: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

impl RequestGroup {
    /// By what they are ordered: most requests first.
    pub fn order(&self) -> impl Ord + '_ {
        (Reverse(self.count), &self.label)
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct SlowRequest {
    /// What for.
    pub label: RequestLabel,
    /// When it arrived (CLOCK_MONOTONIC).
    pub arrival: Nanos,
    /// From arrival to the last send of the answer.
    pub latency: Nanos,
    /// From arrival to the first send of the answer.
    pub first_byte: Nanos,
    /// Process that answered.
    pub pid: Pid,
    /// Its thread.
    pub tid: Tid,
    /// What it consists of.
    pub budget: Budget,
    /// Its longest wait.
    pub longest: Option<(PlaceId, Nanos)>,
    /// Calls that it made.
    pub calls: u64,
}

impl SlowRequest {
    /// By what they are ordered: slowest first.
    pub fn order(&self) -> impl Ord + use<> {
        (Reverse(self.latency), self.arrival, self.pid, self.tid)
    }
}

/// A thread that answers requests.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its process; 0 for a row of several.
    pub pid: Pid,
    /// The thread; 0 for a row of several.
    pub tid: Tid,
    /// Requests answered.
    pub count: u64,
    /// Sum of their latencies.
    pub total: Nanos,
    /// Of that, before they were received.
    pub before: Nanos,
    /// Time in which it worked for them, waits included.
    pub own: Nanos,
}

impl Server {
    /// By what they are ordered: most requests first.
    pub fn order(&self) -> impl Ord + use<> {
        (Reverse(self.count), self.tid, self.pid)
    }
}

/// What was counted several times a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Looks.
    pub looks: u64,
    /// Requests received and not answered, or not received yet; added up.
    pub in_flight: u64,
    /// Most of them.
    pub in_flight_most: u64,
    /// Of these, those that nobody had received yet; added up.
    pub queued: u64,
    /// Most of them.
    pub queued_most: u64,
    /// Open connections in the last look.
    pub connections: u64,
    /// Of these, those over which several requests are on their way at the same time (HTTP/2).
    pub multiplexed: u64,
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AcceptQueue {
    /// Connections that came.
    pub connections: u64,
    /// Sum of how many waited when one came.
    pub waiting_sum: u64,
    /// Most of them.
    pub waiting_most: u64,
    /// How many may wait.
    pub limit: u64,
}

/// What is served at one address.
#[derive(Clone, Debug)]
pub struct Service {
    /// The address.
    pub address: String,
    /// Name of the process that answers, or of the first one.
    pub process: String,
    /// The processes that answered, at most some of them.
    pub pids: Vec<Pid>,
    /// By what was asked for, most requests first.
    pub groups: Vec<RequestGroup>,
    /// The slowest, slowest first.
    pub slowest: Vec<SlowRequest>,
    /// Who answered, most requests first.
    pub servers: Vec<Server>,
    /// What was counted several times a second.
    pub samples: Samples,
    /// Time that requests were in flight, added up: from their arrivals and their answers.
    pub in_flight: Nanos,
    /// Requests in flight, at most: the mean of the 10 ms in which there were most.
    pub in_flight_most: f64,
    /// The queue of connections to accept, for TCP.
    pub accept: Option<AcceptQueue>,
}

impl Service {
    /// By what they are ordered: most requests first.
    pub fn order(&self) -> impl Ord + '_ {
        let count: u64 = self.groups.iter().map(|group| group.count).sum();
        (Reverse(count), self.address.as_str())
    }
}

/// Somebody whom the target calls.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The process that calls.
    pub pid: Pid,
    /// Its name.
    pub process: String,
    /// The address.
    pub address: String,
    /// The process behind it, where it is on this host.
    pub behind: Option<String>,
    /// Whether these calls were made while a request was served.
    pub serving: bool,
    /// Calls that were answered.
    pub count: u64,
    /// Their time.
    pub total: Nanos,
    /// Their durations.
    pub latency: Latency,
}

/// The requests of a window.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Whether they were looked for.
    pub followed: bool,
    /// By where they came in, most requests first.
    pub services: Vec<Service>,
    /// Whom the target called.
    pub peers: Vec<Peer>,
    /// Where requests waited longest.
    pub places: Vec<WaitPlace>,
    /// Finished requests of which nothing is known but that there were some.
    pub lost: u64,
    /// Connections for which there was no place: their requests are not known.
    pub lost_connections: u64,
    /// Requests whose label found no place.
    pub lost_labels: u64,
}

impl Requests {
    /// A place by its number.
    pub fn place(&self, id: PlaceId) -> Option<&WaitPlace> {
        self.places.get(id.0 as usize)
    }

    /// A peer by its number.
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.0 as usize)
    }
}
