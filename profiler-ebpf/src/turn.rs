//! Turns on a server's connections: a request is received, and answered.

use profiler_common::state::State;
use profiler_common::thread::ThreadEntry;
use profiler_common::turn::{
    CONN_CLIENT, Calls, Conn, Intermission, PEERS, PHASE_ANSWERED, PHASE_IDLE, PHASE_RECEIVED,
    TURN, TURN_ARRIVAL_UNSEEN, TURN_HANDED_OVER, TURN_HAS_CALLS, TURN_HAS_NO_WAITS, TURN_PIPELINED,
    TURN_WITHOUT_CALLS, TURN_WITHOUT_WAITS, Turn,
};

use crate::globals::field;
use crate::maps::{self, NO_WAKEUP, RequestScratch, TURNS};
use crate::serving::{self, Event};
use crate::task::Task;
use crate::{conn, label, peer};

/// Of a Unix socket the client can have its answer, and have sent its next request, before anything shows that the
/// answer is on its way (3 of 480,000 requests by four connections). Within this time it has waited for the answer.
const REACTION_NS: u64 = 50_000;

/// The current thread has received `length` bytes of a request.
#[inline(always)]
pub fn received(
    sock: u64,
    task: Task,
    entry: &mut ThreadEntry,
    conn: &mut Conn,
    length: u32,
    (now, start): (u64, u64),
    scratch: &mut RequestScratch,
) {
    if conn.multiplexed != 0 {
        return;
    }
    if conn.phase == PHASE_RECEIVED && conn.answer_ns != 0 {
        was_answered(conn);
    }
    if conn.phase != PHASE_RECEIVED {
        finish(conn, start);
        // First of all: what the verifier has learned until then, it takes on each way through this.
        label::read(conn, length, scratch);
        begin(entry, conn, task.0, now);
        if scratch.text.several != 0 {
            conn.turn.header.reserved |= TURN_PIPELINED;
        }
    } else if conn.header != 0 {
        label::read_on(conn, length, scratch);
    }
    serving::credit(entry, &mut Event { sock, conn, now, sends: false });
    conn.phase = PHASE_RECEIVED;
    conn.turn.bytes_in += length;
    conn.next_arrival_ns = 0;
    conn.server = task.0;
    conn.turn.pid = entry.record.pid;
    conn.turn.tid = entry.record.tid;
    serving::turn_to(entry, sock, conn.number);
}

/// A new request has come: what happened to it until now.
#[inline(never)]
fn begin(entry: &ThreadEntry, conn: &mut Conn, task: u64, now: u64) {
    // A client that has its answer can have sent its next request before the server comes back from the call that
    // sends (6 of 100,000 requests of redis-benchmark with one connection).
    let answered_before = match conn.answer_ns {
        0 => conn.turn.first_sent_ns,
        seen => seen,
    };
    let arrived = conn.next_arrival_ns;
    let turn = &mut conn.turn;
    let mut flags = 0;
    if arrived == 0 {
        flags |= TURN_ARRIVAL_UNSEEN;
    } else if arrived + REACTION_NS < answered_before {
        flags |= TURN_PIPELINED;
    }
    let arrival = if arrived == 0 || arrived > now { now } else { arrived };
    turn.header.reserved = flags;
    turn.arrival_ns = arrival;
    turn.received_ns = now;
    turn.first_sent_ns = 0;
    turn.last_sent_ns = 0;
    turn.bytes_in = 0;
    turn.bytes_out = 0;
    turn.longest.ns = 0;
    turn.parts.handed_ns = 0;
    turn.parts.peers_ns = 0;
    turn.parts.queued_ns = 0;
    turn.parts.behind_ns = 0;
    turn.parts.polled_ns = 0;
    maps::zero(&mut turn.parts.own_ns);
    turn.parts.own_sum_ns = 0;
    if turn.calls_count != 0 {
        turn.calls =
            [Calls { peer: 0, ns: 0, max_ns: 0, count: 0, peer_port: 0, reserved: 0 }; PEERS];
    }
    turn.calls_count = 0;
    turn.calls_parallel = 0;
    turn.calls_ns = 0;
    conn.open_calls = 0;
    conn.polled_ns = serving::polled(entry);
    conn.number += 1;
    conn.answer_ns = 0;
    if conn.is_unix == 0 {
        conn.write_seq = field::tcp_write_seq().read(conn.turn.sock);
    }
    let served_before = conn.server == task;
    before(entry, conn, served_before, now);
}

/// Splits the time from the arrival to the receive.
#[inline(always)]
fn before(entry: &ThreadEntry, conn: &mut Conn, served_before: bool, now: u64) {
    let arrival = conn.turn.arrival_ns;
    let sock = conn.turn.sock;
    let pause: &Intermission = &entry.intermission;
    let parts = &mut conn.turn.parts;
    let all = now - arrival;
    let woken = pause.idle_end_ns;
    let last = entry.serving.at_ns;
    let focus = entry.serving.focus;
    if woken > arrival && woken <= now {
        // It was idle, and woken for this or for other things that came at the same time.
        parts.queued_ns = woken - arrival;
        let rest = now - woken;
        let ready = entry.record.totals_ns[State::Runnable as usize] - serving::moved(entry);
        let ready = ready.wrapping_sub(pause.idle_ready_ns);
        let ready = if ready < rest { ready } else { rest };
        let rest = rest - ready;
        let busy = if last > woken { last - woken } else { 0 };
        let behind = busy.saturating_sub(ready);
        let behind = if behind < rest { behind } else { rest };
        parts.behind_ns = behind;
        parts.own_ns[State::Runnable as usize] = ready;
        parts.own_ns[State::Running as usize] = rest - behind;
        parts.own_sum_ns = all - parts.queued_ns - behind;
        return;
    }
    // It has not been idle since. A connection that is always served by the same thread waits for
    // that one to be done with others; else it waits for any thread that is free.
    if served_before && focus != 0 && focus != sock {
        parts.behind_ns = all;
    } else if served_before && last > arrival {
        parts.behind_ns = last - arrival;
        parts.own_ns[State::Running as usize] = now - last;
        parts.own_sum_ns = now - last;
    } else {
        parts.queued_ns = all;
    }
}

/// The current thread has sent `length` bytes of an answer.
#[inline(always)]
pub fn sent(
    sock: u64,
    task: Task,
    entry: &mut ThreadEntry,
    conn: &mut Conn,
    length: u32,
    now: u64,
) {
    // A greeting, or something that nobody has asked for.
    if conn.phase == PHASE_IDLE || conn.multiplexed != 0 {
        return;
    }
    if is_late(entry, conn, now) {
        conn.late = 0;
        if entry.serving.focus == sock && entry.serving.focus_number != conn.number {
            serving::turn_to(entry, 0, 0);
        }
        return serving::restart(entry, now);
    }
    let is_first = conn.phase == PHASE_RECEIVED;
    let focus = entry.serving.focus;
    // Sent on account of another connection's request: news, not part of the answer. Not so after a wait for events:
    // one of these was for this.
    if !is_first && focus != 0 && focus != sock && !has_waited(entry) {
        return;
    }
    if conn.server == task.0 {
        serving::credit(entry, &mut Event { sock, conn, now, sends: true });
        wait_together(entry, conn);
    } else {
        let receiver = conn.turn.tid;
        if is_first {
            // First of all: the receiver may be about to give it what it has done since.
            conn.turn.tid = entry.record.tid;
        }
        take_over(entry, conn, receiver, now);
        conn.server = task.0;
    }
    let turn = &mut conn.turn;
    if is_first {
        turn.first_sent_ns = now;
        turn.pid = entry.record.pid;
        turn.tid = entry.record.tid;
    }
    turn.last_sent_ns = now;
    turn.bytes_out += length;
    conn.phase = PHASE_ANSWERED;
    if focus == sock {
        serving::turn_to(entry, 0, 0);
    }
}

/// Whether a thread has waited for events since it turned to the request that it works for.
#[inline(always)]
fn has_waited(entry: &ThreadEntry) -> bool {
    entry.intermission.idle_end_ns > entry.serving.at_ns
}

/// While an event loop waits, none of its requests is served: all of them wait for an event.
#[inline(always)]
fn wait_together(entry: &ThreadEntry, conn: &mut Conn) {
    let own = conn.turn.parts.own_ns[State::Poll as usize];
    let since_received = serving::polled(entry).wrapping_sub(conn.polled_ns);
    conn.turn.parts.polled_ns = since_received.saturating_sub(own);
}

/// Whether what is sent belongs to the answer to the request before: told too late, or by a CPU that stood still (a virtual
/// machine's does, for milliseconds) between reading its clock and looking at the connection. Who took up work only after
/// this request was received does not answer the one before.
#[inline(always)]
fn is_late(entry: &ThreadEntry, conn: &Conn, now: u64) -> bool {
    let received = conn.turn.received_ns;
    let worked_since = match entry.intermission.parked_end_ns {
        0 => entry.serving.at_ns,
        parked => parked,
    };
    now < received || (conn.late != 0 && worked_since < received)
}

/// The next request is received, or the connection ends, while a thread that has lost its CPU is still inside of the
/// call that answered this one. What it has done for it, it has not told yet.
#[inline(never)]
fn was_answered(conn: &mut Conn) {
    let turn = &mut conn.turn;
    turn.header.reserved |= TURN_HANDED_OVER;
    turn.tid = 0;
    turn.first_sent_ns = conn.answer_ns;
    turn.last_sent_ns = conn.answer_ns;
    turn.longest.ns = 0;
    maps::zero(&mut turn.parts.own_ns);
    turn.parts.own_sum_ns = 0;
    turn.parts.polled_ns = 0;
    // The clock was read before the request was known to be received.
    turn.parts.handed_ns = conn.answer_ns.saturating_sub(turn.received_ns);
    conn.late = 1;
    conn.phase = PHASE_ANSWERED;
}

/// A thread answers a request that another one has received: since when it works on that.
#[inline(never)]
fn take_over(entry: &mut ThreadEntry, conn: &mut Conn, receiver: u32, now: u64) {
    let received = conn.turn.received_ns;
    let since = entry.serving.at_ns;
    let mut parked = entry.intermission.parked_end_ns;
    let by_receiver = entry.intermission.parked_waker == receiver && receiver != 0;
    if since >= received && !by_receiver {
        // It was busy when the request came, and took it up when it had time: it has not waited for
        // work. What it has waited for belongs to the work.
        parked = 0;
    }
    conn.turn.header.reserved |= TURN_HANDED_OVER;
    let taken = if since == 0 || (parked != 0 && parked < received) {
        now
    } else if parked != 0 {
        parked
    } else if since > received {
        since
    } else {
        received
    };
    conn.turn.parts.handed_ns = taken.saturating_sub(received);
    conn.turn.longest.ns = 0;
    // As late as can be: what the receiver is about to give has come by now.
    conn.turn.parts.own_sum_ns = 0;
    maps::zero(&mut conn.turn.parts.own_ns);
    if taken != now {
        let parts = &mut conn.turn.parts;
        serving::spend(entry, parts, now);
        // The time before was not spent on this: a wait for work, and running.
        let before = taken - since;
        let idle = if parked != 0 { entry.intermission.parked.ns } else { 0 };
        let idle = if idle < before { idle } else { before };
        let kind = maps::slot(entry.intermission.parked.key.kind as u32, State::COUNT);
        parts.own_ns[kind] = parts.own_ns[kind].wrapping_sub(idle);
        let running = &mut parts.own_ns[State::Running as usize];
        *running = running.wrapping_sub(before - idle);
        parts.own_sum_ns = now - taken;
        conn.turn.longest = entry.intermission.longest;
        let first = &entry.intermission.parked;
        if parked == 0 && entry.intermission.parked_end_ns != 0 && first.ns > conn.turn.longest.ns {
            conn.turn.longest = *first;
        }
    }
    // What it waits for from here on is waited for by this request as well.
    let own = conn.turn.parts.own_ns[State::Poll as usize];
    conn.polled_ns = serving::polled(entry).wrapping_sub(own);
    conn.turn.parts.polled_ns = 0;
    serving::restart(entry, now);
}

/// Hands over a turn that has been answered, if one has been inside the window.
#[inline(always)]
pub fn finish(conn: &mut Conn, start: u64) {
    if conn.phase != PHASE_ANSWERED {
        return;
    }
    conn.phase = PHASE_IDLE;
    if conn.turn.last_sent_ns > start {
        hand_over(conn);
    }
}

/// Adds what has been answered on a connection that ends.
#[inline(always)]
pub fn end(conn: &mut Conn, start: u64) {
    if conn.role == CONN_CLIENT {
        return peer::finish(conn);
    }
    if conn.phase == PHASE_RECEIVED && conn.answer_ns != 0 {
        was_answered(conn);
    }
    finish(conn, start);
}

/// The beginning of a turn, where the rest is zero.
type WithoutCalls = [u64; TURN_WITHOUT_CALLS / 8];
type WithoutWaits = [u64; TURN_WITHOUT_WAITS / 8];

#[inline(never)]
fn hand_over(conn: &mut Conn) {
    let turn = &mut conn.turn;
    turn.header.kind = TURN;
    let result = if turn.calls_count != 0 {
        turn.header.reserved |= TURN_HAS_CALLS;
        TURNS.output::<Turn>(&*turn, NO_WAKEUP)
    } else if has_no_waits(turn) {
        turn.header.reserved |= TURN_HAS_NO_WAITS;
        // SAFETY: the turn begins with so many words.
        TURNS.output::<WithoutWaits>(unsafe { &*(&raw const *turn).cast() }, NO_WAKEUP)
    } else {
        // SAFETY: as above.
        TURNS.output::<WithoutCalls>(unsafe { &*(&raw const *turn).cast() }, NO_WAKEUP)
    };
    if result.is_err() {
        maps::count(|loss| loss.turns += 1);
    }
}

/// Whether its thread did nothing but run, or wait for a CPU: true of most requests to a busy server.
#[inline(always)]
fn has_no_waits(turn: &Turn) -> bool {
    let own = &turn.parts.own_ns;
    let busy = own[State::Running as usize].wrapping_add(own[State::Runnable as usize]);
    busy == turn.parts.own_sum_ns && turn.longest.ns == 0 && turn.calls_parallel == 0
}

/// The other end has closed, or sends no more and waits for its answer, or for the rest of it. Where that comes, or the
/// connection ends, shows for TCP only.
#[inline(always)]
pub fn receives_no_more(sock: u64, start: u64) {
    let Some(conn) = conn::known(sock) else { return };
    if conn.phase != PHASE_IDLE && conn.is_unix == 0 {
        return;
    }
    end(conn, start);
    conn::forget(sock);
}

/// The connection ends.
#[inline(always)]
pub fn closed(sock: u64, start: u64) {
    let Some(conn) = conn::known(sock) else { return };
    end(conn, start);
    conn::forget(sock);
}

const _: () = assert!(TURN_WITHOUT_CALLS % 8 == 0 && TURN_WITHOUT_WAITS % 8 == 0);
