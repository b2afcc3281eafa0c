//! Calls that the target makes to others, and for whom.

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::histogram::{BUCKETS, bucket_of};
use profiler_common::thread::ThreadEntry;
use profiler_common::turn::{
    Conn, PEERS, PHASE_ANSWERED, PHASE_IDLE, PHASE_RECEIVED, PeerKey, PeerStats, Serving,
    TURN_MORE_PEERS,
};

use crate::adopt::followed_entry;
use crate::conn;
use crate::maps::{self, BLANK_PEER, CALLED, RequestPlace, request_scratch, slot};
use crate::serving::{self, Event};
use crate::task::Task;

/// The current thread begins to connect. An event loop sends its call once the connection is made, and
/// serves others meanwhile: for whom it is, shows here.
#[inline(always)]
pub fn connects(sock: u64) {
    let Some(entry) = followed_entry(Task::current()) else { return };
    let serving = &entry.serving;
    if serving.focus == 0 {
        return;
    }
    let Some(scratch) = request_scratch(RequestPlace::Connect) else { return };
    let Some(conn) = conn::begin(sock, scratch) else { return };
    conn.caller = serving.focus;
    conn.caller_number = serving.focus_number;
    conn.connects = 1;
}

/// The current thread has sent part of a call.
#[inline(always)]
pub fn sent(sock: u64, entry: &ThreadEntry, conn: &mut Conn, now: u64) {
    if conn.phase == PHASE_RECEIVED {
        // More of the same: no answer has come yet.
        return;
    }
    finish(conn);
    conn.phase = PHASE_RECEIVED;
    conn.turn.received_ns = now;
    conn.next_arrival_ns = 0;
    let serving = &entry.serving;
    if conn.connects == 0 {
        conn.caller = serving.focus;
        conn.caller_number = serving.focus_number;
    } else {
        // It had no port when it began to connect.
        conn::note_port(sock);
        conn.connects = 0;
    }
    let Some(caller) = caller(conn.caller, conn.caller_number) else {
        conn.caller = 0;
        return;
    };
    if caller.open_calls == 0 {
        caller.calls_since_ns = now;
        caller.calls_own_ns = own(conn.caller, caller, serving, now);
    } else {
        caller.turn.calls_parallel += 1;
    }
    caller.open_calls += 1;
}

/// What its thread has done for a request so far. Since the last event it is not credited yet.
#[inline(always)]
fn own(sock: u64, caller: &Conn, serving: &Serving, now: u64) -> u64 {
    let open = if serving.focus == sock { now - serving.at_ns } else { 0 };
    caller.turn.parts.own_sum_ns + open
}

/// The request that a call is made for, if it is still being served.
#[inline(always)]
fn caller(sock: u64, number: u64) -> Option<&'static mut Conn> {
    let caller = conn::known(sock)?;
    if caller.number == number && caller.phase == PHASE_RECEIVED { Some(caller) } else { None }
}

/// The current thread has received part of the answer to a call.
#[inline(always)]
pub fn received(entry: &mut ThreadEntry, conn: &mut Conn, now: u64) {
    if conn.phase == PHASE_IDLE {
        return;
    }
    let is_first = conn.phase == PHASE_RECEIVED;
    let from = if is_first { conn.turn.received_ns } else { conn.turn.last_sent_ns };
    conn.phase = PHASE_ANSWERED;
    conn.turn.last_sent_ns = now;
    let arrived = conn.next_arrival_ns;
    conn.next_arrival_ns = 0;
    conn.turn.pid = entry.record.pid;
    if conn.caller == 0 {
        return;
    }
    let Some(caller) = caller(conn.caller, conn.caller_number) else { return };
    let focus = entry.serving.focus;
    if focus != conn.caller {
        // The thread goes on with the one that it called for.
        if focus == 0 {
            // Since its last answer it has worked for nobody, or only waited for this.
            serving::restart(entry, now);
        } else {
            let mut event = Event { sock: conn.caller, conn: caller, now, sends: false };
            serving::credit(entry, &mut event);
        }
        serving::turn_to(entry, conn.caller, conn.caller_number);
    }
    let own = own(conn.caller, caller, &entry.serving, now);
    // What is waited for has come with the last of the calls that are open, or with more of an answer where none is.
    let has_come = match caller.open_calls {
        0 => !is_first,
        _ if is_first => {
            caller.open_calls -= 1;
            caller.open_calls == 0
        }
        _ => false,
    };
    if has_come {
        waited(caller, own, arrived, now);
    }
    note(conn, caller, is_first, now - from);
}

/// A request has waited until `now` for those that it has called, since it called the first of them or since the last piece
/// of an answer came: a head and a body can be far apart.
#[inline(always)]
fn waited(caller: &mut Conn, own: u64, arrived: u64, now: u64) {
    let since = caller.calls_since_ns;
    let open = now.saturating_sub(since);
    caller.turn.calls_ns += open;
    // The answer lay there while the thread did other things: those were in its way.
    let late = if arrived > since && arrived < now { now - arrived } else { 0 };
    let elsewhere = open.saturating_sub(own.saturating_sub(caller.calls_own_ns));
    caller.turn.parts.peers_ns += elsewhere.saturating_sub(late);
    caller.calls_since_ns = now;
    caller.calls_own_ns = own;
}

/// Adds (a part of) a call to what the request has called.
#[inline(always)]
fn note(conn: &Conn, caller: &mut Conn, is_first: bool, ns: u64) {
    let turn = &mut caller.turn;
    turn.calls_count += is_first as u32;
    let whole = conn.turn.last_sent_ns - conn.turn.received_ns;
    for place in 0..PEERS {
        let calls = &mut turn.calls[place];
        if calls.count == 0 {
            calls.peer = conn.turn.service;
            calls.peer_port = conn.peer_port;
        } else if calls.peer != conn.turn.service {
            continue;
        }
        calls.count += is_first as u32;
        calls.ns += ns;
        if whole > calls.max_ns {
            calls.max_ns = whole;
        }
        return;
    }
    turn.header.reserved |= TURN_MORE_PEERS;
}

/// A call has been answered whole: adds it to its sums.
#[inline(always)]
pub fn finish(conn: &mut Conn) {
    if conn.phase != PHASE_ANSWERED {
        return;
    }
    conn.phase = PHASE_IDLE;
    let key =
        PeerKey { peer: conn.turn.service, pid: conn.turn.pid, serving: (conn.caller != 0) as u32 };
    let Some(stats) = stats(&key) else {
        maps::count(|loss| loss.objects += 1);
        return;
    };
    let ns = conn.turn.last_sent_ns - conn.turn.received_ns;
    stats.count += 1;
    stats.total_ns += ns;
    stats.max_ns = if ns > stats.max_ns { ns } else { stats.max_ns };
    stats.histogram[slot(bucket_of(ns), BUCKETS)] += 1;
    stats.peer_port = conn.peer_port;
}

#[inline(always)]
fn stats(key: &PeerKey) -> Option<&'static mut PeerStats> {
    if let Some(stats) = CALLED.get_ptr_mut(key) {
        // SAFETY: threads of a process can race for it, and lose a count.
        return Some(unsafe { &mut *stats });
    }
    let blank = BLANK_PEER.get(0)?;
    CALLED.insert(key, blank, BPF_NOEXIST as u64).ok()?;
    // SAFETY: as above.
    CALLED.get_ptr_mut(key).map(|stats| unsafe { &mut *stats })
}
