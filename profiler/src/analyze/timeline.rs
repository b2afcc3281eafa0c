//! The slowest requests in time: when each was there, beside which others of its thread, and what it
//! consisted of.

mod loads;

use std::collections::{BTreeMap, HashMap};

pub use loads::{Loads, ServiceLoad};

use super::{Sort, lock_at, meaningful, waits_in};
use crate::model::{Nanos, Part, Pid, Profile, Service, SlowRequest, Tid, WaitPlace};

/// A thread that answered some of the slowest requests.
#[derive(Clone, Debug)]
pub struct ServingThread<'a> {
    /// Its process.
    pub pid: Pid,
    /// The thread; 0 where it is not known which one answered.
    pub tid: Tid,
    /// Name of the process.
    pub process: &'a str,
    /// Name of the thread, where it is known.
    pub name: Option<&'a str>,
    /// Requests, in as few lanes as there can be: those of one lane follow on one another, earliest first.
    pub lanes: Vec<Vec<TimedRequest<'a>>>,
}

/// A request in time.
#[derive(Clone, Debug)]
pub struct TimedRequest<'a> {
    /// Where it came in.
    pub service: &'a Service,
    /// All that is known of it.
    pub request: &'a SlowRequest,
    /// When it arrived.
    pub start: Nanos,
    /// When the last of its answer was sent.
    pub end: Nanos,
    /// What it consisted of, one after the other from its arrival on.
    ///
    /// How long each took is measured; when it was is not, but that the time in the socket came first. A
    /// part can have been in several pieces.
    pub parts: Vec<TimedPart>,
    /// Its longest wait, which is in one of the parts.
    pub longest: Option<LongestWait<'a>>,
}

impl<'a> TimedRequest<'a> {
    /// The longest wait, if it lies in this part.
    pub fn longest_in(&self, part: &TimedPart) -> Option<LongestWait<'a>> {
        self.longest.filter(|longest| part.part == Part::In(longest.place.kind))
    }
}

/// A part of a request, where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedPart {
    /// Which.
    pub part: Part,
    /// From here.
    pub start: Nanos,
    /// To here; never beyond the end of the request.
    pub end: Nanos,
}

/// The longest wait of a request.
#[derive(Clone, Copy, Debug)]
pub struct LongestWait<'a> {
    /// Where and what for.
    pub place: &'a WaitPlace,
    /// How long.
    pub time: Nanos,
}

impl<'a> LongestWait<'a> {
    /// What it was for, if its place tells that that was a lock: which sort, and on what.
    pub fn lock(&self) -> Option<(Sort, Option<&'static str>)> {
        lock_at(self.place.kind, &self.place.object, &self.place.stack)
    }

    /// The function of the program that waited, or that took the lock; else the innermost that says something.
    pub fn function(&self) -> Option<&'a str> {
        let place = self.place;
        let innermost = || meaningful(&place.stack).first().copied();
        waits_in(place.kind, &place.object, &place.stack).or_else(innermost)
    }
}

/// The slowest requests of all services, by who answered.
pub fn timeline(profile: &Profile) -> Vec<ServingThread<'_>> {
    let mut by_thread: BTreeMap<(Pid, Tid), Vec<TimedRequest<'_>>> = BTreeMap::new();
    for service in &profile.requests.services {
        for request in &service.slowest {
            let of_thread = by_thread.entry((request.pid, request.tid)).or_default();
            of_thread.push(timed(profile, service, request));
        }
    }
    let names = Names::of(profile);
    by_thread.into_iter().map(|(who, requests)| names.thread(who, requests)).collect()
}

/// What processes and threads are called.
struct Names<'a> {
    processes: HashMap<Pid, &'a str>,
    threads: HashMap<(Pid, Tid), &'a str>,
}

impl<'a> Names<'a> {
    fn of(profile: &'a Profile) -> Self {
        let named = |thread: &'a crate::model::ThreadBooks| (thread.pid, thread.process.as_str());
        let processes = profile.threads.iter().map(named).collect();
        // A row of several threads has the name of none.
        let single = profile.threads.iter().filter(|thread| thread.tid.0 != 0);
        let threads = single.map(|thread| ((thread.pid, thread.tid), thread.comm.as_str()));
        Self { processes, threads: threads.collect() }
    }

    fn thread(&self, who: (Pid, Tid), requests: Vec<TimedRequest<'a>>) -> ServingThread<'a> {
        let service = requests.first().map_or("", |first| first.service.process.as_str());
        ServingThread {
            pid: who.0,
            tid: who.1,
            process: self.processes.get(&who.0).copied().unwrap_or(service),
            name: self.threads.get(&who).copied(),
            lanes: lanes(requests),
        }
    }
}

fn timed<'a>(
    profile: &'a Profile,
    service: &'a Service,
    request: &'a SlowRequest,
) -> TimedRequest<'a> {
    let (start, end) = (request.arrival, request.arrival + request.latency);
    let longest = request
        .longest
        .and_then(|(id, time)| profile.requests.place(id).map(|place| LongestWait { place, time }));
    TimedRequest { service, request, start, end, parts: parts(request, end), longest }
}

/// The parts that took time, in the order in which a request meets them.
fn parts(request: &SlowRequest, end: Nanos) -> Vec<TimedPart> {
    let mut next = request.arrival;
    let mut timed = |(part, time): (Part, Nanos)| {
        let start = next;
        next = (start + time).min(end);
        TimedPart { part, start, end: next }
    };
    let parts = request.budget.parts().map(&mut timed);
    parts.filter(|part| part.start < part.end).collect()
}

/// Puts each request into the first lane that is free when it arrives. Taken by their arrivals, they need no
/// more lanes than there are requests at the same time.
fn lanes(mut requests: Vec<TimedRequest<'_>>) -> Vec<Vec<TimedRequest<'_>>> {
    requests.sort_by_key(|request| (request.start, request.end));
    let mut lanes: Vec<Vec<TimedRequest<'_>>> = Vec::new();
    for request in requests {
        let is_free = |lane: &&mut Vec<TimedRequest<'_>>| {
            lane.last().is_none_or(|last| last.end <= request.start)
        };
        match lanes.iter_mut().find(is_free) {
            Some(lane) => lane.push(request),
            None => lanes.push(vec![request]),
        }
    }
    lanes
}

#[cfg(test)]
mod tests;
