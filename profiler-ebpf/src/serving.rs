//! For whom a thread works: the time between two events of its connections goes to one of them.
//!
//! A thread that has received a request works for that until it answers, receives another one, or
//! receives the answer to a call that it made for another one. From an answer on until the next event
//! it works for the connection of that event: it is about to answer there, or only comes to receive.

use profiler_common::state::State;
use profiler_common::thread::{ThreadEntry, ThreadRecord};
use profiler_common::turn::{Conn, PHASE_RECEIVED, Parts};

use crate::conn;
use crate::maps::slot;

/// A counter of the current thread at this instant: what has been closed, and the interval that is open.
/// All of them sum to `now` and a constant, so differences of them sum to the time between.
#[inline(always)]
pub fn counter(record: &ThreadRecord, state: usize, now: u64) -> u64 {
    let unseen = record.unseen_wakeup_ns;
    let mut ns = record.totals_ns[state];
    if state == State::Running as usize {
        let since = if unseen != 0 { unseen } else { record.since_ns };
        ns += now.wrapping_sub(since);
    }
    ns
}

/// A wait that is not closed yet although the thread runs: the kind, and its length so far.
#[inline(always)]
fn unclosed(record: &ThreadRecord) -> (usize, u64) {
    let kind = slot(record.open.key.kind as u32, State::COUNT);
    match record.unseen_wakeup_ns {
        0 => (kind, 0),
        unseen => (kind, unseen - record.since_ns),
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

/// Gives the time since the last event to the request that the thread worked for, and begins anew.
#[inline(always)]
pub fn credit(entry: &mut ThreadEntry, event: &mut Event<'_>) {
    let focus = entry.serving.focus;
    if focus != 0 && focus != event.sock {
        let number = entry.serving.focus_number;
        if let Some(other) = conn::known(focus)
            && other.number == number
            && other.phase == PHASE_RECEIVED
        {
            return give(entry, other, event.now);
        }
    } else if entry.serving.at_ns != 0 && (event.conn.phase == PHASE_RECEIVED || event.sends) {
        return give(entry, event.conn, event.now);
    }
    restart(entry, event.now);
}

/// From here on the time counts anew.
#[inline(never)]
pub fn restart(entry: &mut ThreadEntry, now: u64) {
    for state in 0..State::COUNT {
        entry.serving.last_ns[state] = counter(&entry.record, state, now);
    }
    let (kind, ns) = unclosed(&entry.record);
    entry.serving.last_ns[kind] += ns;
    begin_anew(entry, now);
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
    entry.intermission.serves = (sock != 0) as u64;
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
    let (kind, ns) = unclosed(&entry.record);
    entry.serving.last_ns[kind] -= ns;
    for state in 0..State::COUNT {
        let current = counter(&entry.record, state, now);
        // Borders are moved by some microseconds after the event, so a state can become less.
        let spent = current.wrapping_sub(entry.serving.last_ns[state]);
        parts.own_ns[state] = parts.own_ns[state].wrapping_add(spent);
        entry.serving.last_ns[state] = current;
    }
    entry.serving.last_ns[kind] += ns;
}
