//! Puts requests together.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};

use super::Restorer;
use crate::capture::thing::{self, Kind, ThingId};
use crate::model::{
    Band, Budget, Called, Durations, Latency, Nanos, Peer, PeerId, PlaceId, RequestGroup, Requests,
    SLOWEST_KEPT, Samples, Server, Service, SlowRequest, WaitId, WaitPlace, Window, part_named,
};

/// Numbers in the profile by those in the recording.
#[derive(Default)]
struct Known {
    peers: HashMap<ThingId, PeerId>,
    places: HashMap<ThingId, PlaceId>,
}

impl Restorer<'_> {
    pub(super) fn requests(&mut self, window: Window) -> Result<Requests> {
        let mut requests = Requests::default();
        if let Some(id) = self.of_kind(Kind::Requests).first() {
            self.give(*id, |visit| visit.requests(&mut requests));
        }
        let mut known = Known::default();
        for id in self.of_kind(Kind::Peer) {
            known.peers.insert(id, PeerId(u32::try_from(requests.peers.len())?));
            let peer = self.peer(id)?;
            requests.peers.push(peer);
        }
        let places = self.of_kind(Kind::Place).into_iter();
        let mut places: Vec<(ThingId, thing::WaitPlace)> =
            places.map(|id| Ok((id, self.body(id, Kind::Place)?))).collect::<Result<_>>()?;
        places.sort_by_key(|(id, body)| (body.order, *id));
        for (id, body) in places {
            known.places.insert(id, PlaceId(u32::try_from(requests.places.len())?));
            let place = self.place(id, body)?;
            requests.places.push(place);
        }
        for id in self.of_kind(Kind::Service) {
            let service = self.service(id, &known, window)?;
            requests.services.push(service);
        }
        requests.services.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(requests)
    }

    fn peer(&self, id: ThingId) -> Result<Peer> {
        let body: thing::Peer = self.body(id, Kind::Peer)?;
        let peer = Peer {
            pid: body.pid,
            process: body.process,
            address: body.address,
            behind: body.behind,
            serving: body.serving,
            count: 0,
            total: Nanos(0),
            latency: Latency::default(),
        };
        Ok(self.given(id, peer, |visit, it| visit.peer(it)))
    }

    fn place(&mut self, id: ThingId, body: thing::WaitPlace) -> Result<WaitPlace> {
        Ok(WaitPlace {
            id: WaitId(u64::from(id.0)),
            pid: body.pid,
            kind: body.waiting.kind,
            syscall: body.waiting.syscall,
            object: body.waiting.object.into(),
            stack: self.stack(body.waiting.stack)?,
            reason: body.reason.map(|reason| self.reason(reason)).transpose()?,
        })
    }

    fn service(&self, id: ThingId, known: &Known, window: Window) -> Result<Service> {
        let body: thing::Service = self.body(id, Kind::Service)?;
        let mut service = Service {
            address: body.address,
            process: body.process,
            pids: body.pids,
            groups: Vec::new(),
            slowest: Vec::new(),
            servers: Vec::new(),
            samples: Samples::default(),
            in_flight: Nanos(0),
            in_flight_most: 0.0,
            accept: None,
        };
        self.give(id, |visit| visit.service(&mut service));
        for group in self.children(Kind::Group, id) {
            service.groups.push(self.group(group, known)?);
        }
        service.groups.retain(|group| group.count > 0);
        service.groups.sort_by(|a, b| a.order().cmp(&b.order()));
        service.slowest = self.slowest(id, known, window)?;
        for id in self.children(Kind::Server, id) {
            let body: thing::Server = self.body(id, Kind::Server)?;
            let (total, before, own) = Default::default();
            let server = Server { pid: body.pid, tid: body.tid, count: 0, total, before, own };
            service.servers.push(self.given(id, server, |visit, it| visit.server(it)));
        }
        service.servers.sort_by_key(Server::order);
        Ok(service)
    }

    fn group(&self, id: ThingId, known: &Known) -> Result<RequestGroup> {
        let mut group = RequestGroup {
            label: self.body(id, Kind::Group)?,
            count: 0,
            latency: Durations::default(),
            max: Nanos(0),
            bands: Vec::new(),
            arrival_unseen: 0,
            pipelined: 0,
            handed_over: 0,
            calls: 0,
            parallel_calls: 0,
            bytes_in: 0,
            bytes_out: 0,
        };
        self.give(id, |visit| visit.group(&mut group));
        group.max = group.max.min(group.latency.bound());
        for band in self.children(Kind::Band, id) {
            group.bands.push(self.band(band, known)?);
        }
        group.bands.retain(|band| band.count > 0);
        group.bands.sort_by_key(|band| band.low);
        Ok(group)
    }

    fn band(&self, id: ThingId, known: &Known) -> Result<Band> {
        let body: thing::Band = self.body(id, Kind::Band)?;
        let band = Band { low: body.low, high: body.high, ..Band::default() };
        let mut band = self.given(id, band, |visit, it| visit.band(it));
        for row in self.children(Kind::Longest, id) {
            let body: thing::Longest = self.body(row, Kind::Longest)?;
            let place = known.places.get(&body.place).context("a place is missing")?;
            let (mut count, mut time) = (0, Nanos(0));
            self.give(row, |visit| visit.longest((&mut count, &mut time)));
            band.longest.push((*place, count, time));
        }
        band.sort_longest();
        for row in self.children(Kind::Called, id) {
            let body: thing::Called = self.body(row, Kind::Called)?;
            let peer = *known.peers.get(&body.peer).context("a peer is missing")?;
            let (total, longest) = Default::default();
            let called = Called { peer, count: 0, total, requests: 0, longest };
            band.calls.push(self.given(row, called, |visit, it| visit.called(it)));
        }
        Ok(band)
    }

    /// The slowest requests that were answered in the window.
    fn slowest(&self, id: ThingId, known: &Known, window: Window) -> Result<Vec<SlowRequest>> {
        let mut slowest = Vec::new();
        for id in self.children(Kind::Slow, id) {
            let body: thing::Slow = self.body(id, Kind::Slow)?;
            let answered = body.arrival + body.latency;
            if answered > window.start && answered <= window.end {
                slowest.push(slow(body, known)?);
            }
        }
        slowest.sort_by_key(SlowRequest::order);
        slowest.truncate(SLOWEST_KEPT);
        Ok(slowest)
    }
}

fn slow(body: thing::Slow, known: &Known) -> Result<SlowRequest> {
    let place = |(place, time)| {
        let place = known.places.get(&place).context("a place is missing")?;
        anyhow::Ok((*place, time))
    };
    Ok(SlowRequest {
        label: body.label,
        arrival: body.arrival,
        latency: body.latency,
        first_byte: body.first_byte,
        pid: body.pid,
        tid: body.tid,
        budget: budget(&body.parts)?,
        longest: body.longest.map(place).transpose()?,
        calls: body.calls,
    })
}

fn budget(parts: &BTreeMap<String, Nanos>) -> Result<Budget> {
    let mut budget = Budget::default();
    for (name, time) in parts {
        let part = part_named(name).context("a request has a part that there is not")?;
        budget.add(part, *time);
    }
    Ok(budget)
}
