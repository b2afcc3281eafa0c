//! Names what the requests were about, and makes the model of them.

use std::cmp::Reverse;
use std::collections::HashMap;

use profiler_common::object::{FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, Object, ROLE_SERVER};
use profiler_common::turn::{Label, Listener, PeerKey, PeerStats};
use profiler_common::wait::NO_SYSCALL;

use super::Turns;
use super::bands::{BandSums, PeerAddress, bounds_of};
use super::label::label;
use super::place::{PlaceKey, Seen};
use super::sums::{Group, ServiceSums, Slow};
use crate::collect::assemble::{NamedStacks, Outcome};
use crate::collect::locks::Reasons;
use crate::collect::waits::RowKey;
use crate::collect::{Collector, Names, describe};
use crate::model::{
    AcceptQueue, Band, Called, Latency, Nanos, Peer, PeerId, Pid, PlaceId, Protocol, RequestGroup,
    RequestLabel, Requests, Server, Service, SlowRequest, State, Tid, WaitObject, WaitPlace,
};

/// What the probes' tables hold about requests at the end of the window.
#[derive(Default)]
pub struct RequestNotes {
    /// What requests ask for, by the number of the probes.
    pub labels: HashMap<u64, Label>,
    /// Calls to peers.
    pub peers: Vec<(PeerKey, PeerStats)>,
    /// Listening sockets.
    pub listeners: Vec<Listener>,
}

/// What naming needs.
struct Naming<'a, 'b> {
    collector: &'a Collector,
    outcome: &'a mut Outcome<'b>,
    named: &'a mut NamedStacks,
    reasons: &'a mut Reasons,
    tables: RequestNotes,
    peers: Vec<Peer>,
    peer_ids: HashMap<PeerAddress, PeerId>,
}

impl Turns {
    /// Names everything.
    pub(in crate::collect) fn finish(
        self,
        collector: &Collector,
        outcome: &mut Outcome<'_>,
        named: &mut NamedStacks,
        reasons: &mut Reasons,
    ) -> Requests {
        let loss = outcome.loss;
        let tables = std::mem::take(&mut outcome.requests);
        let mut naming = Naming {
            collector,
            outcome,
            named,
            reasons,
            tables,
            peers: Vec::new(),
            peer_ids: HashMap::new(),
        };
        naming.name_peers();
        let places = naming.places(self.places);
        let mut services: Vec<Service> = self
            .services
            .into_iter()
            .map(|(id, sums)| naming.service(id, sums))
            .filter(|service| !service.groups.is_empty() || service.samples.connections > 0)
            .collect();
        services.sort_by(|a, b| a.order().cmp(&b.order()));
        Requests {
            followed: true,
            services,
            peers: naming.peers,
            places,
            lost: self.lost + loss.turns,
            lost_connections: loss.conns,
            lost_labels: loss.labels,
        }
    }
}

impl Naming<'_, '_> {
    fn places(&mut self, places: HashMap<PlaceKey, Seen>) -> Vec<WaitPlace> {
        let mut all: Vec<(PlaceKey, Seen)> = places.into_iter().collect();
        all.sort_by_key(|(_, seen)| seen.id);
        all.into_iter().map(|(key, seen)| self.place(&key, &seen)).collect()
    }

    fn place(&mut self, key: &PlaceKey, seen: &Seen) -> WaitPlace {
        let row = RowKey {
            pid: seen.pid,
            kind: key.kind,
            detail: key.detail,
            syscall: key.syscall,
            object: key.object,
            stack: key.stack,
            in_kernel: false,
        };
        let object = self.outcome.objects.get(&key.object);
        let object = describe::object(&row, &Default::default(), object, self.outcome.names);
        let reason = seen.reason();
        WaitPlace {
            // Not by its process, which is the first that waited there.
            id: RowKey { pid: 0, ..row }.id(),
            pid: Pid(seen.pid),
            kind: State::from_raw(key.kind).unwrap_or(State::Unattributed),
            syscall: (key.syscall != NO_SYSCALL).then(|| self.outcome.names.syscall(key.syscall)),
            object,
            stack: self.collector.stack(seen.pid, key.stack, self.outcome, self.named),
            reason: reason.and_then(|reason| {
                self.reasons.find(self.collector, reason, self.outcome, self.named)
            }),
        }
    }

    fn service(&mut self, id: u64, sums: ServiceSums) -> Service {
        let first = sums.pids.first().copied().unwrap_or(0);
        let process = self.process(first);
        let accept = self.accept_queue(id);
        let mut groups: HashMap<RequestLabel, RequestGroup> = HashMap::new();
        for (number, group) in sums.groups {
            let label = self.label(number);
            let group = self.group(label.clone(), group);
            match groups.get_mut(&label) {
                Some(known) => merge_groups(known, group),
                None => {
                    groups.insert(label, group);
                }
            }
        }
        let mut groups: Vec<RequestGroup> = groups.into_values().collect();
        groups.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut servers: Vec<Server> = sums
            .servers
            .into_iter()
            .map(|((pid, tid), server)| Server {
                pid: Pid(pid),
                tid: Tid(tid),
                count: server.count,
                total: server.total,
                before: server.before,
                own: server.at_work(),
            })
            .collect();
        servers.sort_by_key(Server::order);
        let mut slowest: Vec<SlowRequest> =
            sums.slowest.into_iter().map(|slow| self.slow(slow)).collect();
        slowest.sort_by_key(SlowRequest::order);
        Service {
            address: self.address(id),
            process,
            pids: sums.pids.into_iter().map(Pid).collect(),
            groups,
            slowest,
            servers,
            samples: sums.samples,
            in_flight: sums.timeline.all(),
            in_flight_most: sums.timeline.most(),
            accept,
        }
    }

    /// The queue of connections at the address of a service.
    fn accept_queue(&self, id: u64) -> Option<AcceptQueue> {
        let objects = &self.outcome.objects;
        let service = objects.get(&id)?;
        let listens = |listener: &&Listener| {
            objects.get(&listener.service).is_some_and(|object| serves(object, service))
        };
        let all = self.tables.listeners.iter().filter(listens).copied();
        all.reduce(merge_listeners).map(accept_queue)
    }

    fn process(&mut self, pid: u32) -> String {
        let name = self.collector.process_name(pid, "", self.outcome.names);
        self.outcome.names.clean(name.as_bytes())
    }

    fn label(&mut self, number: u64) -> RequestLabel {
        match self.tables.labels.get(&number) {
            Some(known) => label(known, |text| self.outcome.names.clean(text)),
            None => RequestLabel { protocol: Protocol::Unknown, text: String::new() },
        }
    }

    fn group(&mut self, label: RequestLabel, group: Group) -> RequestGroup {
        let bands = group.bands.0.into_iter().map(|(band, sums)| self.band(band, sums));
        RequestGroup {
            label,
            count: group.latency.count(),
            bands: bands.collect(),
            latency: group.latency,
            max: group.max,
            arrival_unseen: group.arrival_unseen,
            pipelined: group.pipelined,
            handed_over: group.handed_over,
            calls: group.calls,
            parallel_calls: group.parallel_calls,
            bytes_in: group.bytes_in,
            bytes_out: group.bytes_out,
        }
    }

    fn band(&mut self, band: u32, sums: BandSums) -> Band {
        let (low, high) = bounds_of(band);
        let longest = sums.longest.into_iter();
        let longest = longest.map(|(place, count, time)| (PlaceId(place), count, time));
        let calls = sums.calls.into_iter().filter_map(|(address, calls)| {
            let peer = self.peer(address)?;
            Some(Called {
                peer,
                count: calls.count,
                total: calls.total,
                requests: calls.requests,
                longest: calls.longest,
            })
        });
        let mut band = Band {
            low,
            high,
            count: sums.count,
            total: sums.total,
            budget: sums.budget,
            calls_open: sums.calls_open,
            longest: longest.collect(),
            calls: calls.collect(),
        };
        band.sort_longest();
        band
    }

    fn slow(&mut self, slow: Slow) -> SlowRequest {
        SlowRequest {
            label: self.label(slow.label),
            arrival: slow.arrival,
            latency: slow.latency,
            first_byte: slow.first_byte,
            pid: Pid(slow.pid),
            tid: Tid(slow.tid),
            budget: slow.budget,
            longest: slow.longest.map(|(place, time)| (PlaceId(place), time)),
            calls: slow.calls,
        }
    }

    /// The address of a service or a peer.
    fn address(&mut self, id: u64) -> String {
        match self.outcome.objects.get(&id) {
            Some(object) => address_of(object, self.outcome.names),
            None => "unknown".to_owned(),
        }
    }

    fn name_peers(&mut self) {
        let mut rows: HashMap<(u64, u16, bool), Vec<(PeerKey, PeerStats)>> = HashMap::new();
        for (key, stats) in std::mem::take(&mut self.tables.peers) {
            if stats.count > 0 {
                let row = (key.peer, stats.peer_port, key.serving != 0);
                rows.entry(row).or_default().push((key, stats));
            }
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by_key(|((peer, port, serving), _)| (Reverse(*serving), *peer, *port));
        for ((peer, port, serving), callers) in rows {
            let mut row = self.new_peer(peer, callers.first().map_or(0, |(key, _)| key.pid));
            row.serving = serving;
            for (_, stats) in &callers {
                row.count += stats.count;
                row.total += Nanos(stats.total_ns);
                row.latency.add_buckets(&stats.histogram, Nanos(stats.max_ns));
            }
            let id = self.push(row);
            if serving {
                self.peer_ids.insert((peer, port), id);
            }
        }
    }

    fn new_peer(&mut self, peer: u64, pid: u32) -> Peer {
        let address = self.address(peer);
        Peer {
            pid: Pid(pid),
            process: self.process(pid),
            behind: self.outcome.names.listener(&address),
            address,
            serving: true,
            count: 0,
            total: Nanos(0),
            latency: Latency::default(),
        }
    }

    fn push(&mut self, peer: Peer) -> PeerId {
        self.peers.push(peer);
        PeerId(u32::try_from(self.peers.len() - 1).unwrap_or(u32::MAX))
    }

    /// A peer that a request called; it may have no sums yet, where all calls to it are still open.
    fn peer(&mut self, address: PeerAddress) -> Option<PeerId> {
        if let Some(known) = self.peer_ids.get(&address) {
            return Some(*known);
        }
        let row = self.new_peer(address.0, 0);
        let id = self.push(row);
        self.peer_ids.insert(address, id);
        Some(id)
    }
}

fn address_of(object: &Object, names: &mut dyn Names) -> String {
    let is_server = object.role == ROLE_SERVER;
    match object.family {
        FAMILY_INET | FAMILY_INET6 | FAMILY_UNIX => {
            let key = RowKey {
                pid: 0,
                kind: State::Socket as u8,
                detail: 0,
                syscall: NO_SYSCALL,
                object: 0,
                stack: 0,
                in_kernel: false,
            };
            let words = describe::object(&key, &Default::default(), Some(object), names);
            match words {
                WaitObject::Inet { local, peer, .. } => {
                    if is_server {
                        local
                    } else {
                        peer
                    }
                }
                WaitObject::Unix { local, peer, .. } => {
                    if is_server {
                        local
                    } else {
                        peer
                    }
                }
                _ => "unknown".to_owned(),
            }
        }
        _ => "unknown".to_owned(),
    }
}

/// Whether what is accepted at `listener` may be served at `service`.
fn serves(listener: &Object, service: &Object) -> bool {
    let anywhere = listener.local == [0; 16];
    listener.local_port == service.local_port && (anywhere || listener.local == service.local)
}

fn merge_listeners(a: Listener, b: Listener) -> Listener {
    Listener {
        service: a.service,
        count: a.count + b.count,
        waiting_sum: a.waiting_sum + b.waiting_sum,
        waiting_most: a.waiting_most.max(b.waiting_most),
        limit: a.limit.max(b.limit),
    }
}

fn accept_queue(listener: Listener) -> AcceptQueue {
    AcceptQueue {
        connections: listener.count,
        waiting_sum: listener.waiting_sum,
        waiting_most: u64::from(listener.waiting_most),
        limit: u64::from(listener.limit),
    }
}

/// Labels of the probes can come to the same words.
fn merge_groups(into: &mut RequestGroup, other: RequestGroup) {
    into.count += other.count;
    into.latency.merge(&other.latency);
    into.max = into.max.max(other.max);
    into.arrival_unseen += other.arrival_unseen;
    into.pipelined += other.pipelined;
    into.handed_over += other.handed_over;
    into.calls += other.calls;
    into.parallel_calls += other.parallel_calls;
    into.bytes_in += other.bytes_in;
    into.bytes_out += other.bytes_out;
    for band in other.bands {
        match into.bands.binary_search_by_key(&band.low, |known| known.low) {
            Ok(place) => into.bands[place].merge(band),
            Err(place) => into.bands.insert(place, band),
        }
    }
}
