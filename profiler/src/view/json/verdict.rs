//! The part of the document that says what the target is constrained by.

use serde::Serialize;

use super::super::words;
use super::locks::{Holder, holder, names, sort_name};
use crate::analyze::{
    self, Basis, Cause, Confidence, Constraint, Doubt, Finding, Thin, Verdict, Worker,
};
use crate::model::{
    CpuQuota, Nanos, Pid, Profile, RequestLabel, Tid, WaitObject, WaitPlace, part_name, state_name,
};

/// `verdict`.
#[derive(Debug, Serialize)]
pub struct Row {
    process: String,
    address: String,
    other_services: usize,
    finding: &'static str,
    thin: Option<&'static str>,
    basis: &'static str,
    median: Requests,
    tail: Requests,
    all: Requests,
    constraint: Option<Found>,
    next: Option<Found>,
    confidence: &'static str,
    doubts: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Requests {
    count: u64,
    mean_ns: Nanos,
}

#[derive(Debug, Serialize)]
struct Reason {
    reason: &'static str,
    value: f64,
}

#[derive(Debug, Serialize)]
struct Found {
    kind: &'static str,
    explains: f64,
    saves_mean_ns: Nanos,
    saves_mean_share: f64,
    saves_tail_ns: Nanos,
    saves_tail_share: f64,
    waits_tail: u64,
    waits_all: u64,
    detail: Detail,
}

/// What is known of a constraint: each kind has some of these.
#[derive(Debug, Default, Serialize)]
struct Detail {
    lock_kind: Option<&'static str>,
    lock_address: Option<String>,
    lock_place: Option<String>,
    lock_thing: Option<&'static str>,
    place: Option<Place>,
    behind: Option<Vec<Holder>>,
    thread: Option<Thread>,
    label: Option<RequestLabel>,
    label_count: Option<u64>,
    label_own_ns: Option<Nanos>,
    label_part: Option<&'static str>,
    peer: Option<String>,
    peer_process: Option<String>,
    calls_median: Option<f64>,
    calls_tail: Option<f64>,
    call_median_ns: Option<Nanos>,
    call_tail_ns: Option<Nanos>,
    calls_ns: Option<Nanos>,
    longest_call_ns: Option<Nanos>,
    quota: Option<CpuQuota>,
    cpus_busy: Option<f64>,
    threads: Option<u64>,
    busy: Option<f64>,
    starved: Option<f64>,
    mean_ns: Option<Nanos>,
    usual_mean_ns: Option<Nanos>,
    share_of_requests: Option<f64>,
    wait_kind: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Place {
    pid: Pid,
    kind: &'static str,
    syscall: Option<String>,
    object: WaitObject,
    stack: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Thread {
    pid: Pid,
    tid: Tid,
    comm: String,
}

/// The verdict on a profile; none where requests were not followed.
pub fn row(profile: &Profile) -> Option<Row> {
    analyze::verdict(profile).map(verdict)
}

fn verdict(verdict: Verdict) -> Row {
    let (finding, thin, constraint, next) = match verdict.finding {
        Finding::Constrained { first, next } => {
            ("constrained", None, Some(found(*first)), next.map(|next| found(*next)))
        }
        Finding::Free { .. } => ("not_constrained", None, None, None),
        Finding::Unknown(thin) => ("unknown", Some(thin_name(thin)), None, None),
    };
    let requests = |(count, mean_ns)| Requests { count, mean_ns };
    Row {
        process: verdict.process,
        address: verdict.address,
        other_services: verdict.others,
        finding,
        thin,
        basis: match verdict.basis {
            Basis::Tail => "tail",
            Basis::Whole => "whole",
        },
        median: requests(verdict.median),
        tail: requests(verdict.tail),
        all: requests(verdict.all),
        constraint,
        next,
        confidence: match verdict.confidence {
            Confidence::Low => "low",
            Confidence::Medium => "medium",
            Confidence::High => "high",
        },
        doubts: verdict.doubts.into_iter().map(doubt).collect(),
    }
}

fn thin_name(thin: Thin) -> &'static str {
    match thin {
        Thin::NoRequests => "no_requests",
        Thin::Few => "few_requests",
        Thin::Unaccounted(_) => "unaccounted",
        Thin::Nothing => "nothing_stands_out",
    }
}

fn doubt(doubt: Doubt) -> Reason {
    let (reason, value) = match doubt {
        Doubt::Few(number) => ("few_requests", number as f64),
        Doubt::Lost(share) => ("lost", share),
        Doubt::Unaccounted(share) => ("unaccounted", share),
        Doubt::HandedOver(share) => ("handed_over", share),
        Doubt::Pipelined(share) => ("pipelined", share),
        Doubt::Multiplexed(share) => ("multiplexed", share),
        Doubt::ArrivalUnseen(share) => ("arrival_unseen", share),
        Doubt::Flight => ("little", 1.0),
        Doubt::Partly(share) => ("explains_partly", share),
        Doubt::Events => ("events", 1.0),
        Doubt::Stolen(share) => ("stolen", share),
    };
    Reason { reason, value }
}

fn found(cause: Cause) -> Found {
    Found {
        kind: kind(&cause.constraint),
        explains: cause.explains,
        saves_mean_ns: cause.saves_mean,
        saves_mean_share: cause.saves_mean_share,
        saves_tail_ns: cause.saves_tail,
        saves_tail_share: cause.saves_tail_share,
        waits_tail: cause.waits_tail,
        waits_all: cause.waits_all,
        detail: detail(cause.constraint),
    }
}

fn kind(constraint: &Constraint) -> &'static str {
    match constraint {
        Constraint::Lock { .. } => "lock",
        Constraint::Loop { .. } => "serialized_loop",
        Constraint::Peer { .. } => "peer",
        Constraint::InTurn { .. } => "sequential_calls",
        Constraint::Cpu { quota: Some(_), .. } => "cpu_limit",
        Constraint::Cpu { quota: None, .. } => "cpu_queue",
        Constraint::Disk { .. } => "disk",
        Constraint::Workers { .. } => "too_few_workers",
        Constraint::Uneven { .. } => "uneven_workers",
        Constraint::Running { .. } => "own_code",
        Constraint::Unserved { .. } => "not_taken_up",
        Constraint::HandedOver { .. } => "handed_over",
        Constraint::Waiting { .. } => "other_wait",
    }
}

fn detail(constraint: Constraint) -> Detail {
    let none = Detail::default();
    match constraint {
        Constraint::Lock { row, thing, place, behind } => Detail {
            lock_thing: thing,
            lock_kind: row.as_ref().map(|row| sort_name(row.sort)),
            lock_place: row.as_ref().map(|row| words::place(&row.place)),
            lock_address: row.and_then(|row| row.address).map(|at| format!("{at:#x}")),
            place: place.map(self::place),
            behind: Some(behind.into_iter().map(holder).collect()),
            ..none
        },
        Constraint::Loop { worker, hog, busy, starved } => {
            let thread = worker.map(thread);
            let busy = Some(busy);
            let starved = Some(starved);
            let Some(hog) = hog else { return Detail { thread, busy, starved, ..none } };
            Detail {
                thread,
                busy,
                starved,
                label: Some(hog.label),
                label_count: Some(hog.count),
                label_own_ns: Some(hog.own),
                label_part: Some(part_name(hog.part)),
                ..none
            }
        }
        Constraint::Peer { address, behind, calls, each } => Detail {
            peer: Some(address),
            peer_process: behind,
            calls_median: Some(calls[0]),
            calls_tail: Some(calls[1]),
            call_median_ns: Some(each[0]),
            call_tail_ns: Some(each[1]),
            ..none
        },
        Constraint::InTurn { calls, time } => Detail {
            calls_tail: Some(calls),
            calls_ns: Some(time[0]),
            longest_call_ns: Some(time[1]),
            ..none
        },
        Constraint::Cpu { quota, busy } => Detail { quota, cpus_busy: busy, ..none },
        Constraint::Disk { place } => Detail { place: place.map(self::place), ..none },
        Constraint::Workers { threads, busy, .. } => {
            Detail { threads: Some(threads), busy: Some(busy), ..none }
        }
        Constraint::Uneven { worker, means, share } => Detail {
            thread: Some(thread(worker)),
            mean_ns: Some(means[0]),
            usual_mean_ns: Some(means[1]),
            share_of_requests: Some(share),
            ..none
        },
        Constraint::Running { label } => Detail { label, ..none },
        Constraint::Unserved { busy } | Constraint::HandedOver { busy } => {
            Detail { busy: Some(busy), ..none }
        }
        Constraint::Waiting { kind, place } => {
            Detail { wait_kind: Some(state_name(kind)), place: place.map(self::place), ..none }
        }
    }
}

fn place(place: WaitPlace) -> Place {
    Place {
        pid: place.pid,
        kind: state_name(place.kind),
        syscall: place.syscall,
        object: place.object,
        stack: names(&place.stack),
    }
}

fn thread(worker: Worker) -> Thread {
    Thread { pid: worker.pid, tid: worker.tid, comm: worker.name }
}
