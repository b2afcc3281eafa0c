//! Which part of the time of requests goes to which constraint.

use std::collections::{BTreeMap, BTreeSet};

use super::crew::{Odd, odd};
use super::places::{LockKey, Locked};
use super::{BUSY, Basis};
use crate::analyze::requests::{ServiceRows, Set};
use crate::model::{Part, PeerId, PlaceId, Profile, State};

/// A single thread that serves for that part of the window may be what requests wait for, even if none of
/// the others was seen to be served meanwhile.
const OCCUPIED: f64 = 0.3;

/// Calls of a request, and the part of its time that they fill, from which on their order matters; and the
/// part of their time that another order would save.
const CALLS: f64 = 2.0;
const FILLED: f64 = 0.5;
const SAVED: f64 = 0.5;

/// A constraint, before its details are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Lock(LockKey),
    Loop,
    /// The first of the peers that are the same.
    Peer(PeerId),
    InTurn,
    Cpu,
    Disk,
    Workers,
    Uneven,
    Running,
    Unserved,
    HandedOver,
    Waiting(State),
    Unknown,
}

/// Time of the mean request, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amounts {
    pub median: f64,
    pub tail: f64,
    pub all: f64,
}

type Parts = BTreeMap<Key, f64>;

/// All that decides which constraint a part goes to.
pub struct Scene<'a> {
    pub profile: &'a Profile,
    pub row: &'a ServiceRows<'a>,
    pub locked: Locked,
    pub odd: Option<Odd<'a>>,
    pub basis: Basis,
    is_in_turn: bool,
    median: Parts,
    tail: Parts,
    all: Parts,
}

impl<'a> Scene<'a> {
    pub fn new(profile: &'a Profile, row: &'a ServiceRows<'a>, basis: Basis) -> Self {
        let sets = &row.sets;
        let mut scene = Self {
            profile,
            row,
            locked: Locked::of(profile, &sets.all),
            odd: odd(row),
            basis,
            is_in_turn: false,
            median: Parts::new(),
            tail: Parts::new(),
            all: Parts::new(),
        };
        scene.is_in_turn = scene.are_calls_in_turn();
        scene.median = scene.split(&sets.median);
        scene.tail = scene.split(&sets.tail);
        scene.all = scene.split(&sets.all);
        scene
    }

    /// Everything that takes time.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let keys: BTreeSet<Key> = self.tail.keys().chain(self.all.keys()).copied().collect();
        keys.into_iter()
    }

    /// How much time that takes.
    pub fn amounts(&self, key: Key) -> Amounts {
        let of = |parts: &Parts| parts.get(&key).copied().unwrap_or_default();
        Amounts { median: of(&self.median), tail: of(&self.tail), all: of(&self.all) }
    }

    /// The part of what is compared that it explains; below 0 where slow requests have less of it.
    pub fn explains(&self, key: Key) -> f64 {
        let Amounts { median, tail, all } = self.amounts(key);
        let (part, whole) = match self.basis {
            Basis::Tail => (tail - median, self.row.sets.excess().0 as f64),
            Basis::Whole => (all, self.row.sets.all.mean().0 as f64),
        };
        if whole > 0.0 { part / whole } else { 0.0 }
    }

    /// The requests that it was the longest wait of.
    pub fn waits(&self, key: Key, set: &Set) -> u64 {
        let places = set.longest.iter().filter(|(place, _)| self.is_place_of(key, **place));
        places.map(|(_, (count, _))| count).sum()
    }

    /// Whether waits there are waits for this.
    pub fn is_place_of(&self, key: Key, id: PlaceId) -> bool {
        let Some(place) = self.profile.requests.place(id) else { return false };
        match (key, self.locked.key(id)) {
            (Key::Lock(lock), known) => known == Some(lock),
            (_, Some(_)) => false,
            (Key::Disk, None) => place.kind == State::Disk,
            (Key::Cpu, None) => place.kind == State::Runnable,
            (Key::Peer(_) | Key::InTurn, None) => matches!(place.kind, State::Socket | State::Poll),
            (Key::Waiting(kind), None) => place.kind == kind,
            _ => false,
        }
    }

    /// The requests that decide.
    pub fn decisive(&self) -> &Set {
        match self.basis {
            Basis::Tail => &self.row.sets.tail,
            Basis::Whole => &self.row.sets.all,
        }
    }

    /// The first of the peers with the same name and address.
    pub fn first_peer(&self, id: PeerId) -> PeerId {
        let peers = &self.profile.requests.peers;
        let Some(peer) = self.profile.requests.peer(id) else { return id };
        let is_same = |other: &crate::model::Peer| {
            (&other.process, &other.address, &other.behind)
                == (&peer.process, &peer.address, &peer.behind)
        };
        peers.iter().position(is_same).map_or(id, |first| PeerId(first as u32))
    }

    fn split(&self, set: &Set) -> Parts {
        let mut parts = Parts::new();
        // What may be waiting for peers.
        let (mut called, mut polled) = (0.0, 0.0);
        for (part, time) in set.parts() {
            let time = time.0 as f64;
            match part {
                Part::Peers => called += time,
                Part::In(state) if state.is_wait() => {
                    let rest = self.without_locks(set, state, time, &mut parts);
                    match state {
                        State::Socket => called += rest,
                        State::Poll => polled += rest,
                        State::Disk => add(&mut parts, Key::Disk, rest),
                        _ => add(&mut parts, Key::Waiting(state), rest),
                    }
                }
                _ => add(&mut parts, self.key(part, set), time),
            }
        }
        self.split_calls(set, called, polled, &mut parts);
        add(&mut parts, Key::Unknown, set.residual().0 as f64);
        parts
    }

    fn key(&self, part: Part, set: &Set) -> Key {
        let threads = &self.row.load.threads;
        let is_busy = threads.busy >= BUSY;
        match part {
            Part::HandedOver | Part::BehindOthers if self.odd.is_some() => Key::Uneven,
            Part::BehindOthers => Key::Loop,
            Part::Queued => queued(self.row, self.odd.is_some(), set),
            Part::HandedOver if is_busy => Key::Workers,
            Part::HandedOver => Key::HandedOver,
            // Where all ask for the same, a thread that needs longer for it differs from the others.
            Part::In(State::Running | State::Runnable)
                if self.odd.is_some() && self.row.asks_for_one_thing() =>
            {
                Key::Uneven
            }
            Part::In(State::Running) => Key::Running,
            Part::In(State::Runnable) => Key::Cpu,
            Part::Peers | Part::In(_) => Key::Unknown,
        }
    }

    /// The longest waits tell how much of a kind of wait is for which lock. The rest is returned.
    fn without_locks(&self, set: &Set, kind: State, time: f64, parts: &mut Parts) -> f64 {
        let places = set.longest.iter().filter_map(|(id, (_, time))| {
            let place = self.profile.requests.place(*id)?;
            (place.kind == kind).then_some((self.locked.key(*id), time.0 as f64))
        });
        let places: Vec<_> = places.collect();
        let whole: f64 = places.iter().map(|(_, time)| time).sum();
        if whole <= 0.0 {
            return time;
        }
        let mut rest = time;
        for (key, part) in places {
            if let Some(key) = key {
                let part = time * part / whole;
                add(parts, Key::Lock(key), part);
                rest -= part;
            }
        }
        rest.max(0.0)
    }

    /// By peer, as long as their calls took.
    fn split_calls(&self, set: &Set, called: f64, polled: f64, parts: &mut Parts) {
        let all: f64 = set.calls.values().map(|called| called.total.0 as f64).sum();
        if all <= 0.0 {
            add(parts, Key::Waiting(State::Socket), called);
            add(parts, Key::Waiting(State::Poll), polled);
            return;
        }
        // A thread that waits for an answer may poll for it.
        let open = set.share(set.calls_open).0 as f64;
        let polled_for = polled.min((open - called).max(0.0));
        add(parts, Key::Waiting(State::Poll), polled - polled_for);
        let mut waited = called + polled_for;
        if self.is_in_turn {
            let saved = saved(set).min(waited);
            add(parts, Key::InTurn, saved);
            waited -= saved;
        }
        for (peer, called) in &set.calls {
            let part = waited * called.total.0 as f64 / all;
            add(parts, Key::Peer(self.first_peer(*peer)), part);
        }
    }

    /// Whether requests make calls one after the other that could be made side by side.
    fn are_calls_in_turn(&self) -> bool {
        let groups = self.row.groups.iter().map(|row| row.group);
        let calls: u64 = groups.clone().map(|group| group.calls).sum();
        let parallel: u64 = groups.map(|group| group.parallel_calls).sum();
        let set = self.decisive();
        let one_by_one = calls_of(set) * (1.0 - super::super::requests::ratio(parallel, calls));
        let total: f64 = set.calls.values().map(|called| called.total.0 as f64).sum();
        one_by_one >= CALLS
            && set.calls_open.share_of(set.total) >= FILLED
            && saved(set) * set.count as f64 >= SAVED * total
    }
}

/// What the time goes to in which requests are not taken up. `is_odd`: one thread has more to do than the others.
pub fn queued(row: &ServiceRows<'_>, is_odd: bool, set: &Set) -> Key {
    let threads = &row.load.threads;
    let is_alone = threads.number == 1;
    let loops = set.part(Part::BehindOthers).0 > 0 || threads.busy >= OCCUPIED;
    if is_odd {
        Key::Uneven
    } else if is_alone && loops {
        Key::Loop
    } else if !is_alone && threads.busy >= BUSY {
        Key::Workers
    } else {
        Key::Unserved
    }
}

/// Calls of each request.
pub fn calls_of(set: &Set) -> f64 {
    let calls = set.calls.values().map(|called| called.count).sum();
    super::super::requests::ratio(calls, set.count)
}

/// What a request would save at most if its calls were made side by side: the longest remains. What is known
/// is the longest to each peer, of which at least the longest is that of the request.
pub fn saved(set: &Set) -> f64 {
    let total: f64 = set.calls.values().map(|called| called.total.0 as f64).sum();
    let longest = set.calls.values().map(|called| called.longest.0 as f64).fold(0.0, f64::max);
    (total - longest).max(0.0) / (set.count.max(1) as f64)
}

fn add(parts: &mut Parts, key: Key, time: f64) {
    if time != 0.0 {
        *parts.entry(key).or_default() += time;
    }
}
