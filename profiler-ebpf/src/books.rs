//! The books of a thread: every interval is closed into exactly one state.

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::histogram::{BUCKETS, bucket_of};
use profiler_common::state::{State, is_wait};
use profiler_common::thread::{FLAG_SEED_WAIT, ThreadRecord, Waker};
use profiler_common::wait::{NO_SYSCALL, WAKERS, WaitStats};

use crate::maps::{self, BLANK_WAIT, WAITS, slot};

/// The part of `[record.since_ns, now)` that lies inside the window, and whether the window cut
/// its beginning off.
#[inline(always)]
fn inside(record: &ThreadRecord, now: u64, window_start: u64) -> (u64, bool) {
    let clipped = record.since_ns < window_start;
    let from = if clipped { window_start } else { record.since_ns };
    (now.saturating_sub(from), clipped)
}

/// Ends the interval since the last event as time spent in `state` (not a wait).
#[inline(always)]
pub fn close(record: &mut ThreadRecord, state: State, now: u64, window_start: u64) {
    let (ns, _) = inside(record, now, window_start);
    record.totals_ns[state as usize] += ns;
    record.since_ns = now;
}

/// Ends the interval since the last event as the wait described in `record.open`.
#[inline(always)]
pub fn close_wait(record: &mut ThreadRecord, now: u64, window_start: u64) {
    let (ns, clipped) = inside(record, now, window_start);
    let kind = record.open.key.kind;
    record.since_ns = now;
    if !is_wait(kind) || now <= window_start {
        return;
    }
    record.totals_ns[slot(kind as u32, State::COUNT)] += ns;
    let Some(stats) = entry(record) else {
        maps::count(|loss| {
            loss.waits += 1;
            loss.wait_ns[slot(kind as u32, State::COUNT)] += ns;
        });
        return;
    };
    stats.count += 1;
    stats.total_ns += ns;
    stats.max_ns = if ns > stats.max_ns { ns } else { stats.max_ns };
    stats.clipped += clipped as u32;
    stats.histogram[slot(bucket_of(ns), BUCKETS)] += 1;
    note_port(stats, record.open.peer_port);
    note_waker(stats, &record.waker);
}

/// Takes over, as the wait it was in, what the seeding pass found.
#[inline(always)]
pub fn open_seed(record: &mut ThreadRecord) {
    if record.flags & FLAG_SEED_WAIT != 0 {
        record.open = record.seed;
    } else {
        record.open.key.kind = State::Other as u8;
        record.open.key.serial = record.serial;
        record.open.key.syscall = NO_SYSCALL;
    }
}

/// The sums for the wait in `record.open`, added if new.
#[inline(always)]
fn entry(record: &ThreadRecord) -> Option<&'static mut WaitStats> {
    if let Some(stats) = WAITS.get_ptr_mut(&record.open.key) {
        // SAFETY: only this thread's events write it, under its run-queue lock.
        return Some(unsafe { &mut *stats });
    }
    let blank = BLANK_WAIT.get(0)?;
    WAITS.insert(&record.open.key, blank, BPF_NOEXIST as u64).ok()?;
    // SAFETY: as above.
    WAITS.get_ptr_mut(&record.open.key).map(|stats| unsafe { &mut *stats })
}

#[inline(always)]
fn note_port(stats: &mut WaitStats, port: u16) {
    if port == 0 {
        return;
    }
    if stats.peer_port == 0 {
        stats.peer_port = port;
    } else if stats.peer_port != port {
        stats.peer_ports_mixed = 1;
    }
}

/// Counts the waker; the first few are kept by name.
#[inline(always)]
fn note_waker(stats: &mut WaitStats, waker: &Waker) {
    for slot in 0..WAKERS {
        let known = &mut stats.wakers[slot];
        if known.count == 0 {
            *known = *waker;
            known.count = 1;
            return;
        }
        if known.tid == waker.tid && known.cause == waker.cause {
            known.count += 1;
            return;
        }
    }
    stats.other_wakers += 1;
}
