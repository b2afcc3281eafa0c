//! Takes requests apart.

use super::Flattener;
use crate::capture::PRESENT;
use crate::capture::figures::Figures;
use crate::capture::thing::{self, Kind, ThingId};
use crate::model::{
    Band, PeerId, PlaceId, RequestGroup, Requests, Service, SlowRequest, part_name,
};

/// The numbers of peers and places.
struct Known {
    peers: Vec<ThingId>,
    places: Vec<ThingId>,
}

impl Known {
    fn peer(&self, id: PeerId) -> Option<ThingId> {
        self.peers.get(id.0 as usize).copied()
    }

    fn place(&self, id: PlaceId) -> Option<ThingId> {
        self.places.get(id.0 as usize).copied()
    }
}

impl Flattener {
    pub(super) fn requests(&mut self, requests: &mut Requests) {
        let nothing = thing::Nothing {};
        self.thing((Kind::Requests, None), (), &nothing, |visit| visit.requests(requests));
        let peers = self.peers(requests);
        let places = self.places(requests);
        let known = Known { peers, places };
        for service in &mut requests.services {
            self.service(service, &known);
        }
        // What was slow stays so, when there are slower ones.
        for (slow, place) in &self.slow {
            for thing in [Some(*slow), *place].into_iter().flatten() {
                let mut present = Figures::default();
                present.push(PRESENT, 1);
                self.table.set(thing.0, present);
            }
        }
    }

    fn peers(&mut self, requests: &mut Requests) -> Vec<ThingId> {
        let mut seen = std::collections::HashMap::new();
        let mut ids = Vec::with_capacity(requests.peers.len());
        for peer in &mut requests.peers {
            let body = thing::Peer {
                pid: peer.pid,
                process: peer.process.clone(),
                address: peer.address.clone(),
                behind: peer.behind.clone(),
                serving: peer.serving,
            };
            let nth = seen.entry((peer.address.clone(), peer.serving)).or_insert(0_u32);
            *nth += 1;
            let key = (&body.address, body.serving, *nth);
            ids.push(self.thing((Kind::Peer, None), key, &body, |visit| visit.peer(peer)));
        }
        ids
    }

    fn places(&mut self, requests: &Requests) -> Vec<ThingId> {
        let mut ids = Vec::with_capacity(requests.places.len());
        for (order, place) in requests.places.iter().enumerate() {
            let syscall = &place.syscall;
            let body = thing::WaitPlace {
                order: u32::try_from(order).unwrap_or(u32::MAX),
                pid: place.pid,
                waiting: self.waiting((place.kind, syscall), &place.object, &place.stack),
                reason: place.reason.and_then(|reason| self.reason_of(reason)),
            };
            // A look meanwhile may know places that a later one does not, and number others otherwise.
            ids.push(self.thing((Kind::Place, None), place.id, &body, |_| {}));
        }
        ids
    }

    fn service(&mut self, service: &mut Service, known: &Known) {
        let body = thing::Service {
            address: service.address.clone(),
            process: service.process.clone(),
            pids: service.pids.clone(),
        };
        let key = service.address.clone();
        let id = self.thing((Kind::Service, None), key, &body, |visit| visit.service(service));
        for group in &mut service.groups {
            self.group(id, group, known);
        }
        for slow in &service.slowest {
            self.slow(id, slow, known);
        }
        for server in &mut service.servers {
            let body = thing::Server { pid: server.pid, tid: server.tid };
            let key = (server.pid, server.tid);
            self.thing((Kind::Server, Some(id)), key, &body, |visit| visit.server(server));
        }
    }

    fn group(&mut self, service: ThingId, group: &mut RequestGroup, known: &Known) {
        let body = group.label.clone();
        let kind = (Kind::Group, Some(service));
        let id = self.thing(kind, &body, &body, |visit| visit.group(group));
        for band in &mut group.bands {
            self.band(id, band, known);
        }
    }

    fn band(&mut self, group: ThingId, band: &mut Band, known: &Known) {
        let body = thing::Band { low: band.low, high: band.high };
        let kind = (Kind::Band, Some(group));
        let id = self.thing(kind, band.low, &body, |visit| visit.band(band));
        for (place, count, time) in &mut band.longest {
            let Some(place) = known.place(*place) else { continue };
            let body = thing::Longest { place };
            let kind = (Kind::Longest, Some(id));
            self.thing(kind, place, &body, |visit| visit.longest((count, time)));
        }
        for called in &mut band.calls {
            let Some(peer) = known.peer(called.peer) else { continue };
            let body = thing::Called { peer };
            self.thing((Kind::Called, Some(id)), peer, &body, |visit| visit.called(called));
        }
    }

    fn slow(&mut self, service: ThingId, slow: &SlowRequest, known: &Known) {
        let parts = slow.budget.parts().filter(|(_, time)| time.0 > 0);
        let body = thing::Slow {
            label: slow.label.clone(),
            arrival: slow.arrival,
            latency: slow.latency,
            first_byte: slow.first_byte,
            pid: slow.pid,
            tid: slow.tid,
            parts: parts.map(|(part, time)| (part_name(part).to_owned(), time)).collect(),
            longest: slow.longest.and_then(|(place, time)| Some((known.place(place)?, time))),
            calls: slow.calls,
        };
        // A look meanwhile may see an answer that is not whole yet, and so a shorter latency.
        let key = (slow.arrival, slow.first_byte, slow.pid, slow.tid);
        let id = self.thing((Kind::Slow, Some(service)), key, &body, |_| {});
        self.slow.insert(id, body.longest.map(|(place, _)| place));
    }
}
