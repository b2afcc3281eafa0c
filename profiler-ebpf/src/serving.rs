//! For whom a thread works: the time between two events of its connections goes to one of them.
//!
//! A thread that has received a request works for that until it answers, receives another one, or
//! receives the answer to a call that it made for another one. From an answer on until the next event
//! it works for the connection of that event: it is about to answer there, or only comes to receive.

use profiler_common::state::State;
use profiler_common::thread::{POSTED, ThreadEntry, ThreadRecord};
use profiler_common::turn::{Conn, PHASE_RECEIVED, Parts};

use crate::maps::slot;
use crate::task::Task;
use crate::{books, conn};

/// The running time of the current thread, with the interval that is open. Together with what is closed of
/// the other states it sums to `now` and a constant, so differences sum to the time between.
#[inline(always)]
fn running(record: &ThreadRecord, now: u64) -> u64 {
    let unseen = record.unseen_wakeup_ns;
    let since = if unseen != 0 { unseen } else { record.since_ns };
    record.totals_ns[State::Running as usize] + now.wrapping_sub(since)
}

/// A wait that is not in the books yet although the thread runs: the kind, and its length so far.
#[inline(always)]
fn unclosed(entry: &ThreadEntry) -> (usize, u64) {
    let record = &entry.record;
    let kind = slot(record.open.key.kind as u32, State::COUNT);
    if record.unposted != POSTED {
        return (kind, record.unposted_ns + moved(entry));
    }
    match record.unseen_wakeup_ns {
        0 => (kind, 0),
        unseen => (kind, unseen - record.since_ns),
    }
}

/// How long a thread has waited for events so far.
#[inline(always)]
pub fn polled(entry: &ThreadEntry) -> u64 {
    let closed = entry.record.totals_ns[State::Poll as usize];
    let (kind, ns) = unclosed(entry);
    if kind == State::Poll as usize { closed + ns } else { closed }
}

/// What will be moved from the wait for a CPU to the wait before.
#[inline(always)]
pub fn moved(entry: &ThreadEntry) -> u64 {
    if entry.record.unposted != POSTED { entry.serving.moved_ns } else { 0 }
}

/// Finds out where the last wait ended, before the first event of this run is looked at: else that wait and the one
/// for a CPU would change in the middle of a request.
#[inline(always)]
pub fn settle(entry: &mut ThreadEntry, task: Task) {
    if entry.serving.since_ns == entry.record.since_ns || entry.record.settled != 0 {
        return;
    }
    // First of all: should the thread lose its CPU here, it is moved then.
    entry.record.settled = 1;
    let moved = books::to_be_moved(&entry.record, task);
    entry.serving.moved_ns = moved;
    let woken_ns = entry.record.since_ns.wrapping_sub(entry.record.last_ready_ns);
    let pause = &mut entry.intermission;
    if pause.idle_end_ns == woken_ns {
        pause.idle_end_ns += moved;
    }
    if pause.parked_end_ns == woken_ns {
        pause.parked_end_ns += moved;
        pause.parked.ns += moved;
    }
}

/// An event of a connection, as far as the thread is concerned that it is an event of.
pub struct Event<'a> {
    pub sock: u64,
    pub conn: &'a mut Conn,
    pub now: u64,
    /// Part of an answer is sent.
    pub sends: bool,
}

/// Whether a wait of this kind can be one for requests.
#[inline(always)]
pub fn is_idle(kind: u8) -> bool {
    kind == State::Socket as u8 || kind == State::Poll as u8
}

/// Gives the time since the last event to the request that the thread worked for, and begins anew.
#[inline(always)]
pub fn credit(entry: &mut ThreadEntry, event: &mut Event<'_>) {
    let focus = entry.serving.focus;
    if focus != 0 && focus != event.sock {
        let number = entry.serving.focus_number;
        if let Some(other) = conn::known(focus)
            && other.number == number
            && other.phase == PHASE_RECEIVED
            // Who answers it has not taken it over meanwhile, and thrown away what this thread has given.
            && other.turn.tid == entry.record.tid
        {
            return give(entry, other, event.now);
        }
    } else if entry.serving.at_ns != 0 && (event.conn.phase == PHASE_RECEIVED || event.sends) {
        return give(entry, event.conn, event.now);
    }
    restart(entry, event.now);
}

/// From here on the time counts anew.
#[inline(always)]
pub fn restart(entry: &mut ThreadEntry, now: u64) {
    if entry.serving.since_ns != entry.record.since_ns {
        look(entry);
    }
    entry.serving.running_ns = running(&entry.record, now);
    begin_anew(entry, now);
}

/// Notes the counters of a run that is another one than before.
#[inline(never)]
fn look(entry: &mut ThreadEntry) {
    entry.serving.last_ns = entry.record.totals_ns;
    let (kind, ns) = unclosed(entry);
    entry.serving.last_ns[kind] += ns;
    entry.serving.last_ns[State::Runnable as usize] -= moved(entry);
    entry.serving.since_ns = entry.record.since_ns;
}

#[inline(always)]
fn begin_anew(entry: &mut ThreadEntry, now: u64) {
    entry.serving.at_ns = now;
    entry.intermission.parked_end_ns = 0;
    entry.intermission.longest.ns = 0;
}

/// Turns the thread to a request.
#[inline(always)]
pub fn turn_to(entry: &mut ThreadEntry, sock: u64, number: u64) {
    entry.serving.focus = sock;
    entry.serving.focus_number = number;
    entry.intermission.serves = (sock != 0) as u32;
}

/// Gives the time since the last event to a request.
#[inline(never)]
fn give(entry: &mut ThreadEntry, conn: &mut Conn, now: u64) {
    spend(entry, &mut conn.turn.parts, now);
    conn.turn.parts.own_sum_ns += now.wrapping_sub(entry.serving.at_ns);
    if entry.intermission.longest.ns > conn.turn.longest.ns {
        conn.turn.longest = entry.intermission.longest;
    }
    begin_anew(entry, now);
}

/// Adds what the thread has done since the last event.
#[inline(always)]
pub fn spend(entry: &mut ThreadEntry, parts: &mut Parts, now: u64) {
    let ran = running(&entry.record, now);
    let spent = ran.wrapping_sub(entry.serving.running_ns);
    let own = &mut parts.own_ns[State::Running as usize];
    *own = own.wrapping_add(spent);
    entry.serving.running_ns = ran;
    // Between two events of a busy event loop, it mostly runs on.
    if entry.serving.since_ns != entry.record.since_ns {
        spend_others(entry, parts);
        look(entry);
    }
}

/// The same for what it did without running.
#[inline(never)]
fn spend_others(entry: &ThreadEntry, parts: &mut Parts) {
    for state in 0..State::COUNT {
        if state == State::Running as usize {
            continue;
        }
        // Borders are moved by some microseconds after the event, so a state can become less.
        let spent = entry.record.totals_ns[state].wrapping_sub(entry.serving.last_ns[state]);
        parts.own_ns[state] = parts.own_ns[state].wrapping_add(spent);
    }
    let (kind, ns) = unclosed(entry);
    parts.own_ns[kind] = parts.own_ns[kind].wrapping_add(ns);
    let ready = &mut parts.own_ns[State::Runnable as usize];
    *ready = ready.wrapping_sub(moved(entry));
}
