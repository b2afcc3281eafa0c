//! Adds up the requests as they are answered: by where they came in and what they asked for.

mod bands;
mod label;
mod name;
mod place;
mod sums;
mod timeline;
mod wire;

use std::collections::HashMap;

use profiler_common::histogram::{BUCKETS, bucket_of};
use profiler_common::turn::{
    CONN_CLIENT, CONN_SERVER, Conn, PHASE_ANSWERED, PHASE_RECEIVED, PeerKey, PeerStats,
    TURN_PIPELINED, Turn,
};

pub use label::label as label_text;
pub use name::RequestNotes;
use place::{PlaceKey, Seen};
use sums::{Group, ServiceSums, Sum};
use timeline::Timeline;
use wire::budget;
pub use wire::budget as turn_budget;
pub use wire::decode as decode_turn;

use crate::model::{Nanos, Samples};

/// Groups of requests (by address and label) kept apart; beyond, requests go by the address alone.
const GROUPS_KEPT: usize = 256;
/// Services kept apart; beyond, their requests are counted as lost.
const SERVICES_KEPT: usize = 256;
/// Places in which requests waited longest; beyond, such a wait has no place.
const PLACES_KEPT: usize = 4_096;

/// The requests of a window.
#[derive(Clone, Default)]
pub struct Turns {
    window_start: u64,
    services: HashMap<u64, ServiceSums>,
    groups: usize,
    places: HashMap<PlaceKey, Seen>,
    lost: u64,
}

impl Turns {
    /// For a window that begins at this instant (CLOCK_MONOTONIC).
    pub fn new(window_start: u64) -> Self {
        Self { window_start, ..Self::default() }
    }

    /// Takes in a finished turn.
    pub fn add(&mut self, turn: &Turn) {
        let Some(service) = self.service(turn.service) else {
            self.lost += 1;
            return;
        };
        let latency = Nanos(turn.last_sent_ns).since(Nanos(turn.arrival_ns));
        service.timeline.add(turn.arrival_ns, turn.last_sent_ns);
        service.note_server(turn);
        let place = self.place(turn);
        let sum = Sum { latency, place, budget: budget(turn, Nanos(self.window_start)) };
        let label = self.label_kept(turn.service, turn.label);
        let Some(service) = self.services.get_mut(&turn.service) else { return };
        let is_pipelined = turn.header.reserved & TURN_PIPELINED != 0;
        service.note_slowest(turn, &sum, is_pipelined);
        service.groups.entry(label).or_default().add(turn, &sum);
    }

    fn service(&mut self, id: u64) -> Option<&mut ServiceSums> {
        let full = self.services.len() >= SERVICES_KEPT;
        if full && !self.services.contains_key(&id) {
            return None;
        }
        let start = self.window_start;
        let service = self.services.entry(id);
        Some(service.or_insert_with(|| ServiceSums::new(Timeline::new(start))))
    }

    /// The label under which a request is added up.
    fn label_kept(&mut self, service: u64, label: u64) -> u64 {
        let known =
            self.services.get(&service).is_some_and(|sums| sums.groups.contains_key(&label));
        if known {
            return label;
        }
        if self.groups >= GROUPS_KEPT {
            return 0;
        }
        self.groups += 1;
        label
    }

    /// Number of the place in which a turn waited longest.
    fn place(&mut self, turn: &Turn) -> Option<u32> {
        let key = PlaceKey::of(turn)?;
        let next = self.places.len();
        if next >= PLACES_KEPT && !self.places.contains_key(&key) {
            return None;
        }
        let id = u32::try_from(next).ok()?;
        let seen = self.places.entry(key).or_insert_with(|| Seen::new(id, turn.pid));
        seen.note(turn);
        Some(seen.id)
    }

    /// Stacks by process and number.
    pub fn stacks(&self) -> impl Iterator<Item = (u32, u64)> {
        self.places.iter().map(|(key, seen)| (seen.pid, key.stack))
    }

    /// Counts what is in flight at the moment.
    pub fn sample(&mut self, conns: &[ConnLook]) {
        let mut looks: HashMap<u64, Samples> = HashMap::new();
        for conn in conns {
            let look = looks.entry(conn.service).or_default();
            look.connections += 1;
            look.multiplexed += u64::from(conn.multiplexed);
            look.in_flight += u64::from(conn.in_flight || conn.queued);
            look.queued += u64::from(conn.queued);
        }
        for service in looks.keys() {
            self.service(*service);
        }
        for (service, sums) in &mut self.services {
            sums.add_look(looks.get(service).copied().unwrap_or_default());
        }
    }

    /// Takes in that a request on a connection has had no answer until `now`.
    pub fn add_open(&mut self, conn: &Conn, now: u64) {
        let since = match conn.phase {
            PHASE_RECEIVED => conn.turn.arrival_ns,
            _ => conn.next_arrival_ns,
        };
        if conn.role != CONN_SERVER || conn.multiplexed != 0 || since == 0 {
            return;
        }
        if let Some(service) = self.service(conn.turn.service) {
            service.timeline.add(since, now);
        }
    }

    /// What has been answered on a connection and not handed over yet, as it is still open.
    pub fn unfinished(&self, conn: &Conn) -> Option<Turn> {
        let is_answered = conn.role == CONN_SERVER && conn.phase == PHASE_ANSWERED;
        (is_answered && conn.turn.last_sent_ns > self.window_start)
            .then(|| wire::without_contradiction(conn.turn))
    }

    /// From now on, other requests are recent.
    pub fn forget_recent(&mut self) {
        self.services.values_mut().for_each(ServiceSums::forget_recent);
    }

    /// The slowest requests are those of the whole window, and the recent ones.
    pub fn list_recent(&mut self) {
        self.services.values_mut().for_each(ServiceSums::list_recent);
    }

    /// A record came that is none.
    pub fn note_undecoded(&mut self) {
        self.lost += 1;
    }
}

/// The last call on the end of a client, which the probes add to its sums with the next one.
pub fn last_call(conn: &Conn) -> Option<(PeerKey, PeerStats)> {
    if conn.role != CONN_CLIENT || conn.phase != PHASE_ANSWERED {
        return None;
    }
    let ns = Nanos(conn.turn.last_sent_ns).since(Nanos(conn.turn.received_ns)).0;
    let serving = u32::from(conn.caller != 0);
    let key = PeerKey { peer: conn.turn.service, pid: conn.turn.pid, serving };
    let mut histogram = [0; BUCKETS];
    histogram[bucket_of(ns) as usize] = 1;
    let peer_port = conn.peer_port;
    let reserved = [0; 3];
    Some((key, PeerStats { count: 1, total_ns: ns, max_ns: ns, peer_port, reserved, histogram }))
}

/// What a look at a server's connection shows.
#[derive(Clone, Copy, Debug)]
pub struct ConnLook {
    service: u64,
    in_flight: bool,
    queued: bool,
    multiplexed: bool,
}

impl ConnLook {
    /// None for the end of a client.
    pub fn of(conn: &Conn) -> Option<Self> {
        (conn.role == CONN_SERVER).then_some(Self {
            service: conn.turn.service,
            in_flight: conn.phase == PHASE_RECEIVED,
            queued: conn.phase != PHASE_RECEIVED && conn.next_arrival_ns != 0,
            multiplexed: conn.multiplexed != 0,
        })
    }
}

impl Group {
    /// Adds a request, of which so much is known.
    fn add(&mut self, turn: &Turn, sum: &Sum) {
        self.count(turn, sum.latency);
        self.bands.add(turn, sum);
    }
}

#[cfg(test)]
mod tests;
