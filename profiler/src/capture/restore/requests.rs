//! Puts requests together.

use std::cmp::Reverse;
use std::collections::HashMap;

use anyhow::{Context as _, Result};

use super::{Restorer, state_of};
use crate::capture::thing::{self, Kind, ThingId, word};
use crate::model::{
    Band, Budget, Called, Durations, Latency, Nanos, Peer, PeerId, PlaceId, RequestGroup,
    RequestLabel, Requests, SLOWEST_KEPT, Samples, Server, Service, SlowRequest, WaitPlace, Window,
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
        for id in self.of_kind(Kind::Place) {
            known.places.insert(id, PlaceId(u32::try_from(requests.places.len())?));
            let place = self.place(id)?;
            requests.places.push(place);
        }
        for id in self.of_kind(Kind::Service) {
            let service = self.service(id, &known, window)?;
            requests.services.push(service);
        }
        requests.services.sort_by_key(|service| {
            let count: u64 = service.groups.iter().map(|group| group.count).sum();
            (Reverse(count), service.address.clone())
        });
        Ok(requests)
    }

    fn peer(&self, id: ThingId) -> Result<Peer> {
        let body: thing::Peer = self.body(id, Kind::Peer)?;
        let mut peer = Peer {
            pid: body.pid,
            process: body.process,
            address: body.address,
            behind: body.behind,
            serving: body.serving,
            count: 0,
            total: Nanos(0),
            latency: Latency::default(),
        };
        self.give(id, |visit| visit.peer(&mut peer));
        Ok(peer)
    }

    fn place(&mut self, id: ThingId) -> Result<WaitPlace> {
        let body: thing::WaitPlace = self.body(id, Kind::Place)?;
        Ok(WaitPlace {
            pid: body.pid,
            kind: body.waiting.kind,
            syscall: body.waiting.syscall,
            object: body.waiting.object.restore()?,
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
        service.groups.sort_by(|a, b| (b.count, &a.label).cmp(&(a.count, &b.label)));
        service.slowest = self.slowest(id, known, window)?;
        for id in self.children(Kind::Server, id) {
            let body: thing::Server = self.body(id, Kind::Server)?;
            let (total, before, own) = Default::default();
            let mut server = Server { pid: body.pid, tid: body.tid, count: 0, total, before, own };
            self.give(id, |visit| visit.server(&mut server));
            service.servers.push(server);
        }
        service.servers.sort_by_key(|server| (Reverse(server.count), server.tid, server.pid));
        Ok(service)
    }

    fn group(&self, id: ThingId, known: &Known) -> Result<RequestGroup> {
        let mut group = RequestGroup {
            label: label(self.body(id, Kind::Group)?)?,
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
        let mut band = Band { low: body.low, high: body.high, ..Band::default() };
        self.give(id, |visit| visit.band(&mut band));
        for row in self.children(Kind::Longest, id) {
            let body: thing::Longest = self.body(row, Kind::Longest)?;
            let place = known.places.get(&body.place).context("a place is missing")?;
            let (mut count, mut time) = (0, Nanos(0));
            self.give(row, |visit| visit.longest((&mut count, &mut time)));
            band.longest.push((*place, count, time));
        }
        band.longest.sort_by_key(|(place, _, time)| (Reverse(*time), *place));
        for row in self.children(Kind::Called, id) {
            let body: thing::Called = self.body(row, Kind::Called)?;
            let peer = *known.peers.get(&body.peer).context("a peer is missing")?;
            let (total, longest) = Default::default();
            let mut called = Called { peer, count: 0, total, requests: 0, longest };
            self.give(row, |visit| visit.called(&mut called));
            band.calls.push(called);
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
        label: label(body.label)?,
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

fn budget(parts: &std::collections::BTreeMap<String, Nanos>) -> Result<Budget> {
    let mut budget = Budget::default();
    for (name, time) in parts {
        match name.as_str() {
            "queued" => budget.queued = *time,
            "behind_others" => budget.behind_others = *time,
            "handed_over" => budget.handed_over = *time,
            "peers" => budget.peers = *time,
            state => budget.states.add(state_of(state)?, *time),
        }
    }
    Ok(budget)
}

fn label(label: thing::Label) -> Result<RequestLabel> {
    Ok(RequestLabel { protocol: word(&label.protocol)?, text: label.text })
}
