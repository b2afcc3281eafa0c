//! Constraints in words.

use super::super::layout::cut_middle;
use super::super::units::{counted, duration, mean, percent};
use super::super::{locks, words};
use super::beside;
use crate::analyze::{Accepting, Behind, Constraint, Hog, LockRow, Worker, culprit};
use crate::model::{CpuQuota, Doing, Role, WaitObject, WaitPlace};

/// Widest name of a lock, object or label, and of a function.
const NAME: usize = 40;
const FUNCTION: usize = 32;

/// Waiting for a CPU below this share of the time in which a thread could run is not worth a word.
const STARVED: f64 = 0.1;

/// What it is, after "is constrained by".
pub fn words(constraint: &Constraint) -> String {
    match constraint {
        Constraint::Lock { row, thing, place, behind } => {
            format!(
                "{}{}",
                lock(row.as_deref(), *thing, place.as_ref()),
                holder(row.as_deref(), behind)
            )
        }
        Constraint::Loop { worker, hog, busy, starved } => {
            looped(worker.as_ref(), hog.as_ref(), *busy) + &self::starved(*starved)
        }
        Constraint::Peer { address, behind, calls, each } => format!(
            "{}: each call of a slow request takes {}, {:.1} calls a request (usually {:.1})",
            peer(address, behind.as_deref()),
            beside(each[1], each[0]),
            calls[1],
            calls[0]
        ),
        Constraint::InTurn { calls, time: [together, longest] } => format!(
            "calls made one after the other: {calls:.1} calls of a request take {} together, the \
             longest of them {}",
            duration(*together),
            duration(*longest)
        ),
        Constraint::Cpu { quota, busy } => cpu(quota.as_ref(), *busy),
        Constraint::Disk { place } => format!("the disk{}", at(place.as_ref())),
        Constraint::Workers { threads, busy, accepting } => workers(*threads, *busy, *accepting),
        Constraint::Uneven { worker, means: [slow, usual], share } => format!(
            "uneven workers: {} answers {} of the requests, in {} on average (the thread in the \
             middle: {})",
            self::worker(worker),
            percent(*share),
            duration(*slow),
            duration(*usual)
        ),
        Constraint::Running { label } => {
            let label = label.as_ref().map(words::label).unwrap_or_default();
            format!("its own code: requests run, most of all {}", cut_middle(&label, NAME))
        }
        Constraint::Unserved { busy } => format!(
            "requests that nobody takes up, though its threads work for requests only {} of the time",
            percent(*busy)
        ),
        Constraint::HandedOver { busy } => format!(
            "waiting between two threads: one has received the request, another takes it up later \
             (its threads work {} of the time); for what cannot be told",
            percent(*busy)
        ),
        Constraint::Waiting { kind, place } => {
            format!("{}{}", waiting(*kind), at(place.as_ref()))
        }
    }
}

/// The same in a few words.
pub fn short(constraint: &Constraint) -> String {
    match constraint {
        Constraint::Lock { row, thing, place, .. } => lock(row.as_deref(), *thing, place.as_ref()),
        Constraint::Loop { .. } => "one thread that serves all".to_owned(),
        Constraint::Peer { address, behind, .. } => peer(address, behind.as_deref()),
        Constraint::InTurn { .. } => "calls made one after the other".to_owned(),
        Constraint::Cpu { quota: Some(_), .. } => "the CPU limit of its cgroup".to_owned(),
        Constraint::Cpu { quota: None, .. } => "waiting for a CPU".to_owned(),
        Constraint::Disk { .. } => "the disk".to_owned(),
        Constraint::Workers { .. } => "too few workers".to_owned(),
        Constraint::Uneven { .. } => "uneven workers".to_owned(),
        Constraint::Running { .. } => "its own code".to_owned(),
        Constraint::Unserved { .. } => "requests that nobody takes up".to_owned(),
        Constraint::HandedOver { .. } => "waiting between two threads".to_owned(),
        Constraint::Waiting { kind, .. } => waiting(*kind).to_owned(),
    }
}

fn waiting(kind: crate::model::State) -> &'static str {
    words::activity(crate::analyze::Activity::Blocked(kind))
}

fn lock(row: Option<&LockRow>, thing: Option<&str>, place: Option<&WaitPlace>) -> String {
    let function = place.and_then(|place| crate::analyze::taken_in(&place.stack));
    let function = function.map(|name| cut_middle(name, FUNCTION));
    let on = thing.map(|thing| format!(" on {thing}")).unwrap_or_default();
    match (row, function) {
        (Some(row), Some(function)) if !locks::name(row).contains(&function) => {
            format!("the {}, taken in {function}", cut_middle(&locks::name(row), NAME))
        }
        (Some(row), _) => format!("the {}", cut_middle(&locks::name(row), NAME + FUNCTION)),
        (None, Some(function)) => format!("a lock{on}, taken in {function}"),
        (None, None) => format!("a lock{on}"),
    }
}

/// Who had it, and what that one did meanwhile. Which process that is, where it can be one of several.
fn holder(row: Option<&LockRow>, behind: &[Behind]) -> String {
    let Some(first) = behind.first() else { return String::new() };
    let mut name = cut_middle(words::name_or_none(&first.group), FUNCTION);
    if first.pids.len() == 1 && row.is_some_and(|row| row.pids.len() > 1) {
        name += &locks::pids(first);
    }
    match first.doing.first() {
        Some(part) => {
            format!(", behind {name} (meanwhile {})", cut_middle(&meanwhile(&part.doing), 64))
        }
        None => format!(", behind {name}"),
    }
}

/// What a holder was doing: whom it asked rather than by what means.
fn meanwhile(doing: &Doing) -> String {
    let Doing::Waiting { object: WaitObject::Inet { peer, role: Role::Client, .. }, stack, .. } =
        doing
    else {
        return locks::short(doing);
    };
    match culprit(stack) {
        Some(function) => format!("waiting for {peer} in {}", cut_middle(function, FUNCTION)),
        None => format!("waiting for {peer}"),
    }
}

fn looped(worker: Option<&Worker>, hog: Option<&Hog>, busy: f64) -> String {
    let thread = worker.map_or_else(|| "one thread".to_owned(), self::worker);
    let text = format!(
        "a serialized loop: {thread} serves requests one after the other (at work {} of the time)",
        percent(busy)
    );
    let Some(hog) = hog else { return text };
    let part = words::part(hog.part);
    let label = cut_middle(&words::label(&hog.label), NAME);
    let (requests, own) = (counted(hog.count, "request"), duration(hog.own));
    match hog.count {
        1 => format!("{text}; {requests} of {label} keeps it {own}, mostly {part}"),
        _ => format!("{text}; {requests} of {label} keep it {own} each, mostly {part}"),
    }
}

/// What keeps a thread may be others.
fn starved(share: f64) -> String {
    match share >= STARVED {
        true => {
            format!("; it waits for a CPU {} of the time in which it could run", percent(share))
        }
        false => String::new(),
    }
}

fn worker(worker: &Worker) -> String {
    let name = cut_middle(words::name_or_none(&worker.name), FUNCTION);
    format!("thread {} ({name})", worker.tid)
}

fn peer(address: &str, behind: Option<&str>) -> String {
    let address = cut_middle(words::name_or_none(address), NAME);
    match behind.filter(|behind| !behind.is_empty()) {
        Some(behind) => format!("its peer {} at {address}", cut_middle(behind, FUNCTION)),
        None => format!("its peer {address}"),
    }
}

fn cpu(quota: Option<&CpuQuota>, busy: Option<f64>) -> String {
    match (quota, busy) {
        (Some(quota), _) => format!(
            "the CPU limit of cgroup {} ({:.2} CPUs): throttled in {} of {}",
            cut_middle(&quota.cgroup, NAME),
            quota.cpus(),
            quota.throttled_periods,
            counted(quota.periods, "period")
        ),
        (None, Some(busy)) => {
            format!("waiting for a CPU (the host's CPUs are {} busy)", percent(busy))
        }
        (None, None) => "waiting for a CPU".to_owned(),
    }
}

fn workers(threads: u64, busy: f64, accepting: Option<Accepting>) -> String {
    let mut text = format!(
        "too few workers: {} at work {} of the time, while requests wait for one",
        counted(threads, "thread"),
        percent(busy)
    );
    if let Some(accepting) = accepting.filter(|accepting| accepting.waiting_most > 1) {
        let waiting = mean(accepting.waiting);
        text += &format!(" ({waiting} connections to accept, at most {})", accepting.waiting_most);
    }
    text
}

/// Where it is waited for: `, in fdatasync of file x, from XLogFlush`.
fn at(place: Option<&WaitPlace>) -> String {
    let Some(place) = place else { return String::new() };
    let what = cut_middle(&words::what(&place.object, place.syscall.as_deref()), NAME);
    let call = match &place.syscall {
        Some(call) if !what.contains(call.as_str()) => format!("{call} of {what}"),
        _ => what,
    };
    match culprit(&place.stack) {
        Some(function) => format!(": {call}, from {}", cut_middle(function, FUNCTION)),
        None => format!(": {call}"),
    }
}
