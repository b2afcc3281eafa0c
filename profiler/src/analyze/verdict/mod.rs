//! What a system is constrained by: the answer to the one question.
//!
//! The slowest requests are compared with those around the median. What they have more of is what makes
//! them slow. Where all are about equally slow, it is what the mean request consists of.

mod constraint;
mod crew;
mod detail;
mod doubts;
mod places;
mod split;
mod stolen;

pub use constraint::{Constraint, Hog, Worker};
pub use doubts::{Confidence, Doubt};

use self::detail::constraint;
use self::split::{Amounts, Key, Scene};
use self::stolen::Stolen;
use super::requests::{Change, ServiceRows, Set, services};
use crate::model::{Nanos, Part, Profile, State};

/// Fewer requests than this tell nothing.
const FEWEST: u64 = 100;

/// The slowest are slower, if p99 is this many times the median.
const TAIL: f64 = 1.5;

/// Waiting for what holders do comes before that, if it explains at least this part as much.
pub(super) const WAITERS: f64 = 0.25;

/// What explains less than this is no constraint.
const LEAST: f64 = 0.1;

/// Threads that serve for less than this part of the window have time left.
const BUSY: f64 = 0.7;

/// Where servers have time left, it is no problem that a request is taken up within this, or that slow requests
/// waited no longer. To wake a thread on an idle CPU takes 20 µs here, and took 107 µs on average where a hypervisor
/// let the CPUs wait.
const SMALL: Nanos = Nanos(200_000);

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The slowest requests with those around the median.
    Tail,
    /// Nothing: all are about equally slow. The mean request was taken apart.
    Whole,
}

/// The constraint of a system.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Name of the process that answers, and where.
    pub process: String,
    /// The address.
    pub address: String,
    /// Other services, which have less time of requests, or too few of them.
    pub others: usize,
    /// What was compared.
    pub basis: Basis,
    /// Requests around the median, and their mean latency.
    pub median: (u64, Nanos),
    /// The slowest, likewise.
    pub tail: (u64, Nanos),
    /// All, likewise.
    pub all: (u64, Nanos),
    /// What was found.
    pub finding: Finding,
    /// How sure it is.
    pub confidence: Confidence,
    /// Why it is not surer.
    pub doubts: Vec<Doubt>,
}

/// What was found.
#[derive(Clone, Debug)]
pub enum Finding {
    /// A constraint.
    Constrained {
        /// The first.
        first: Box<Cause>,
        /// The one behind it.
        next: Option<Box<Cause>>,
    },
    /// None: requests run, and servers have time left. Slow ones may be what a hypervisor made ([`Doubt::Stolen`]).
    Free {
        /// Part of the window in which the serving threads worked, on average.
        busy: f64,
        /// Part of the mean latency spent running.
        running: f64,
    },
    /// It cannot be told.
    Unknown(Thin),
}

/// Why it cannot be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Thin {
    /// Nothing was answered.
    NoRequests,
    /// Too few requests.
    Few,
    /// What requests consist of is not known for this share of what was compared.
    Unaccounted(f64),
    /// No part stands out.
    Nothing,
}

/// A constraint and what it costs.
#[derive(Clone, Debug)]
pub struct Cause {
    /// What it is.
    pub constraint: Constraint,
    /// Part of what was compared that it explains, 0 to 1.
    pub explains: f64,
    /// What the mean request would take less without it, at most.
    pub saves_mean: Nanos,
    /// Of the mean latency.
    pub saves_mean_share: f64,
    /// What the mean of the slowest requests would take less, at most.
    pub saves_tail: Nanos,
    /// Of their mean latency.
    pub saves_tail_share: f64,
    /// Of the slowest requests, those whose longest wait it was.
    pub waits_tail: u64,
    /// Of all requests.
    pub waits_all: u64,
}

/// What the target is constrained by; none where requests were not followed.
pub fn verdict(profile: &Profile) -> Option<Verdict> {
    profile.requests.followed.then(|| {
        let rows = services(profile);
        // A few requests that were held open for long are not what a system does.
        let enough = rows.iter().find(|row| row.count >= FEWEST);
        match enough.or(rows.first()).filter(|row| row.count > 0) {
            Some(row) => judge(profile, row, rows.len() - 1),
            None => nothing(),
        }
    })
}

fn nothing() -> Verdict {
    Verdict {
        process: String::new(),
        address: String::new(),
        others: 0,
        basis: Basis::Whole,
        median: (0, Nanos(0)),
        tail: (0, Nanos(0)),
        all: (0, Nanos(0)),
        finding: Finding::Unknown(Thin::NoRequests),
        confidence: Confidence::Low,
        doubts: Vec::new(),
    }
}

fn judge(profile: &Profile, row: &ServiceRows<'_>, others: usize) -> Verdict {
    let basis = basis(row);
    let sets = &row.sets;
    let stolen = Stolen::of(profile, row, basis);
    let finding = find(profile, row, basis, stolen);
    let first = match &finding {
        Finding::Constrained { first, .. } => Some(&**first),
        _ => None,
    };
    let doubts = doubts::doubts(profile, row, basis, first, stolen);
    Verdict {
        process: row.service.process.clone(),
        address: row.service.address.clone(),
        others,
        basis,
        median: (sets.median.count, sets.median.mean()),
        tail: (sets.tail.count, sets.tail.mean()),
        all: (sets.all.count, sets.all.mean()),
        confidence: match finding {
            Finding::Unknown(_) => Confidence::Low,
            _ => doubts::confidence(&doubts),
        },
        finding,
        doubts,
    }
}

fn basis(row: &ServiceRows<'_>) -> Basis {
    let (p50, p99) = (row.quantiles.p50.0 as f64, row.quantiles.p99.0 as f64);
    match p99 < TAIL * p50 || row.sets.excess() <= Change(0) {
        true => Basis::Whole,
        false => Basis::Tail,
    }
}

fn find(profile: &Profile, row: &ServiceRows<'_>, basis: Basis, stolen: Stolen) -> Finding {
    let sets = &row.sets;
    if row.count < FEWEST || sets.all.count < FEWEST || sets.tail.count == 0 {
        return Finding::Unknown(Thin::Few);
    }
    if let Some(free) = free(row, basis, stolen) {
        return free;
    }
    let scene = Scene::new(profile, row, basis);
    let mut found: Vec<(Key, f64)> = scene.keys().map(|key| (key, scene.explains(key))).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    let is_code = match basis {
        Basis::Whole => is_running_all_it_can(&found, row),
        Basis::Tail => stolen.ran == Nanos(0),
    };
    let is_unserved = stolen.queued == Nanos(0);
    found.retain(|(key, explains)| match key {
        Key::Running if !is_code => false,
        Key::Unserved if !is_unserved => false,
        _ => *explains >= LEAST,
    });
    waiters_first(&scene, &mut found);
    match found.first() {
        None => return spread_out(row, basis),
        Some((Key::Unknown, share)) => return Finding::Unknown(Thin::Unaccounted(*share)),
        Some(_) => {}
    }
    let mut causes = found
        .into_iter()
        .filter(|(key, _)| *key != Key::Unknown)
        .map(|(key, explains)| Box::new(cause(&scene, key, explains)));
    match causes.next() {
        Some(first) => Finding::Constrained { first, next: causes.next() },
        None => Finding::Unknown(Thin::Nothing),
    }
}

/// The slowest requests may be those that hold something and those that wait for it alike. Then what makes
/// these wait says more than what the holders do.
fn waiters_first(scene: &Scene<'_>, found: &mut [(Key, f64)]) {
    let Some((first, most)) = found.first().copied() else { return };
    let waits_for_first = |key: Key| match key {
        Key::Loop => first == Key::Running,
        Key::Lock(lock) => detail::holders_do(scene, lock, first),
        _ => false,
    };
    // What explains far less is not what most slow requests are slow by.
    let comes_first = |(key, share): &(Key, f64)| *share >= WAITERS * most && waits_for_first(*key);
    if let Some(place) = found.iter().position(comes_first) {
        found[..=place].rotate_right(1);
    }
}

/// No wait is worth a word. If most of the time is running, requests are as fast as their code.
fn spread_out(row: &ServiceRows<'_>, basis: Basis) -> Finding {
    let running = running(&row.sets.all);
    match basis == Basis::Whole && running >= 0.5 {
        true => Finding::Free { busy: row.load.threads.busy, running },
        false => Finding::Unknown(Thin::Nothing),
    }
}

/// The share of the mean request spent running.
fn running(set: &Set) -> f64 {
    set.part(Part::In(State::Running)).share_of(set.mean())
}

/// Whether most of the mean request is running, and its threads have no time left.
fn is_running_all_it_can(found: &[(Key, f64)], row: &ServiceRows<'_>) -> bool {
    let running = found.iter().find(|(key, _)| *key == Key::Running);
    running.is_some_and(|(_, share)| *share >= 0.5) && row.load.threads.busy >= BUSY
}

/// Nobody waits behind anything, and servers have time left.
fn free(row: &ServiceRows<'_>, basis: Basis, stolen: Stolen) -> Option<Finding> {
    let threads = &row.load.threads;
    if threads.busiest >= BUSY {
        return None;
    }
    let (all, tail) = (&row.sets.all, &row.sets.tail);
    let is_small = |time: Nanos| time < SMALL;
    if [all, tail].into_iter().any(|set| doubts::nowhere(set) >= LEAST) {
        return None;
    }
    let waits_all = waiting(all, stolen.queued_of_all(tail, all) + SMALL);
    let waits_tail = waiting(tail, stolen.queued);
    let waits = waits_all.share_of(all.mean()) >= LEAST
        || (waits_tail.share_of(tail.mean()) >= LEAST && !is_small(waits_tail));
    // Slow requests that run longer are slow by their own code.
    let ran = |set: &Set| set.part(Part::In(State::Running));
    let runs_longer = ran(tail).since(ran(&row.sets.median)).since(stolen.ran);
    let is_slow = basis == Basis::Tail && !is_small(runs_longer);
    let (busy, running) = (threads.busy, running(all));
    (!waits && !is_slow).then_some(Finding::Free { busy, running })
}

/// Time of the mean request in which it does not run, without so much of what it takes until it is taken up.
fn waiting(set: &Set, excused: Nanos) -> Nanos {
    let known = set.parts().into_iter().filter(|(part, _)| {
        !matches!(part, Part::In(State::Running | State::Unattributed | State::Unsettled))
    });
    let waits = |(part, time): (Part, Nanos)| match part {
        Part::Queued => time.since(excused),
        _ => time,
    };
    known.map(waits).sum()
}

fn cause(scene: &Scene<'_>, key: Key, explains: f64) -> Cause {
    let Amounts { median, tail, all } = scene.amounts(key);
    // A worker that is like the others still needs what those need.
    let (tail, all) = if key == Key::Uneven { (tail - median, all - median) } else { (tail, all) };
    let sets = &scene.row.sets;
    let (saves_mean, saves_tail) = (nanos(all), nanos(tail));
    Cause {
        constraint: constraint(scene, key),
        explains: explains.min(1.0),
        saves_mean_share: saves_mean.share_of(sets.all.mean()).min(1.0),
        saves_tail_share: saves_tail.share_of(sets.tail.mean()).min(1.0),
        saves_mean,
        saves_tail,
        waits_tail: scene.waits(key, &sets.tail),
        waits_all: scene.waits(key, &sets.all),
    }
}

fn nanos(amount: f64) -> Nanos {
    // Saturates.
    Nanos(amount.max(0.0) as u64)
}

#[cfg(test)]
mod tests;
