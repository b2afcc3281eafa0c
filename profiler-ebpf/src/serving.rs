//! For whom a thread works: the time between two events of its connections goes to one of them.
//!
//! A thread that has received a request works for that until it answers, receives another one, or
//! receives the answer to a call that it made for another one. From an answer on until the next event
//! it works for the connection of that event: it is about to answer there, or only comes to receive.

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::state::State;
use profiler_common::thread::{ThreadEntry, ThreadRecord};
use profiler_common::turn::{Conn, PHASE_RECEIVED, Serving};

use crate::conn;
use crate::maps::{BLANK_SERVING, SERVING};
use crate::task::Task;

/// What the thread serves.
#[inline(always)]
pub fn of(task: Task) -> Option<&'static mut Serving> {
    if let Some(serving) = known(task) {
        return Some(serving);
    }
    let blank = BLANK_SERVING.get(0)?;
    SERVING.insert(&task.0, blank, BPF_NOEXIST as u64).ok()?;
    known(task)
}

/// The same for a thread that has served something.
#[inline(always)]
pub fn known(task: Task) -> Option<&'static mut Serving> {
    // SAFETY: only the thread itself writes it.
    SERVING.get_ptr_mut(&task.0).map(|serving| unsafe { &mut *serving })
}

/// The thread has ended.
#[inline(always)]
pub fn forget(task: Task) {
    let _gone = SERVING.remove(&task.0);
}

/// The counters of the current thread at this instant: what has been closed, and the interval that is
/// open. They sum to `now` and a constant, so differences of them sum to the time between.
#[inline(always)]
pub fn snapshot(record: &ThreadRecord, now: u64, counters: &mut [u64; State::COUNT]) {
    *counters = record.totals_ns;
    let unseen = record.unseen_wakeup_ns;
    if unseen != 0 {
        // It runs, and the wait before is not closed yet.
        let kind = crate::maps::slot(record.open.key.kind as u32, State::COUNT);
        counters[kind] += unseen - record.since_ns;
        counters[State::Running as usize] += now.wrapping_sub(unseen);
    } else {
        counters[State::Running as usize] += now.wrapping_sub(record.since_ns);
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
pub fn credit(
    serving: &mut Serving,
    entry: &mut ThreadEntry,
    counters: &[u64; State::COUNT],
    event: &mut Event<'_>,
) {
    let since = serving.at_ns;
    if serving.focus != 0 && serving.focus != event.sock {
        if let Some(other) = conn::known(serving.focus)
            && other.number == serving.focus_number
            && other.phase == PHASE_RECEIVED
        {
            give(serving, entry, counters, other, event.now - since);
        }
    } else if since != 0 && (event.conn.phase == PHASE_RECEIVED || event.sends) {
        give(serving, entry, counters, event.conn, event.now - since);
    }
    restart(serving, entry, counters, event.now);
}

/// From here on the time counts anew.
#[inline(always)]
pub fn restart(
    serving: &mut Serving,
    entry: &mut ThreadEntry,
    counters: &[u64; State::COUNT],
    now: u64,
) {
    serving.last_ns = *counters;
    serving.at_ns = now;
    let pause = &mut entry.intermission;
    pause.parked_end_ns = 0;
    pause.longest.ns = 0;
}

/// Turns the thread to a request.
#[inline(always)]
pub fn turn_to(serving: &mut Serving, entry: &mut ThreadEntry, sock: u64, number: u64) {
    serving.focus = sock;
    serving.focus_number = number;
    entry.intermission.serves = (sock != 0) as u64;
}

#[inline(never)]
fn give(
    serving: &Serving,
    entry: &ThreadEntry,
    counters: &[u64; State::COUNT],
    conn: &mut Conn,
    ns: u64,
) {
    let parts = &mut conn.turn.parts;
    for state in 0..State::COUNT {
        // Borders are moved by some microseconds after the event, so a state can become less.
        let spent = counters[state].wrapping_sub(serving.last_ns[state]);
        parts.own_ns[state] = parts.own_ns[state].wrapping_add(spent);
    }
    parts.own_sum_ns += ns;
    if entry.intermission.longest.ns > conn.turn.longest.ns {
        conn.turn.longest = entry.intermission.longest;
    }
}
