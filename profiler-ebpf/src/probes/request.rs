//! `sk_data_ready`, `sock_recv_length` and `sock_send_length` (Linux 6.3): data arrives at a socket, is
//! received, and is sent. The last two fire at the end of the call, in the context of its thread.

use profiler_common::turn::{CONN_CLIENT, CONN_SERVER};

use super::{clock, hook};
use crate::adopt::followed_entry;
use crate::maps::{RequestPlace, request_scratch};
use crate::task::Task;
use crate::{conn, peer, serving, turn};

/// MSG_PEEK (include/linux/socket.h).
const PEEK: u32 = 2;

hook!("sk_data_ready", dwell_arrival, dwell_arrival_raw, |context| {
    arrived(context.arg(0));
});

#[inline(always)]
fn arrived(sock: u64) {
    if !conn::may_be_known(sock) {
        return;
    }
    let known = conn::known(sock);
    let Some(moment) = clock() else { return };
    if conn::is_unix(sock) {
        conn::answers(sock, moment.0);
    }
    let Some(scratch) = request_scratch(RequestPlace::Arrival) else { return };
    match known {
        Some(conn) => conn::on_known(sock, conn, moment, scratch),
        None => conn::on_stranger(sock, moment.0, scratch),
    }
}

hook!("sock_recv_length", dwell_receive, dwell_receive_raw, |context| {
    let (length, flags): (u64, u64) = (context.arg(1), context.arg(2));
    received(context.arg(0), length as i32, flags as u32);
});

#[inline(always)]
fn received(sock: u64, length: i32, flags: u32) {
    if length < 0 || flags & PEEK != 0 {
        return;
    }
    if length != 0 && conn::is_unix(sock) {
        has_answer(sock);
    }
    let task = Task::current();
    let Some(entry) = followed_entry(task) else { return };
    let Some(moment) = clock() else { return };
    if length == 0 {
        return turn::receives_no_more(sock, moment.1);
    }
    let Some(scratch) = request_scratch(RequestPlace::Receive) else { return };
    let Some(conn) = conn::of(sock, scratch) else { return };
    serving::settle(entry, task);
    conn::keep_apart(sock, conn, moment.1, scratch);
    match conn.role {
        CONN_SERVER => turn::received(sock, task, entry, conn, length as u32, moment, scratch),
        CONN_CLIENT => peer::received(entry, conn, moment.0),
        _ => {}
    }
}

/// Something is received from the other end of a Unix socket: that can come before `sk_data_ready` says that it may, where
/// the sender loses its CPU in between (4 of 1,200,000 requests).
#[inline(always)]
fn has_answer(sock: u64) {
    if let Some(conn) = conn::asked(sock)
        && let Some((now, _)) = clock()
    {
        conn.answer_ns = now;
    }
}

hook!("sock_send_length", dwell_send, dwell_send_raw, |context| {
    let length: u64 = context.arg(1);
    sent(context.arg(0), length as i32);
});

#[inline(always)]
fn sent(sock: u64, length: i32) {
    if length <= 0 {
        return;
    }
    let task = Task::current();
    let Some(entry) = followed_entry(task) else { return };
    let Some((now, start)) = clock() else { return };
    let Some(scratch) = request_scratch(RequestPlace::Send) else { return };
    let Some(conn) = conn::of(sock, scratch) else { return };
    serving::settle(entry, task);
    conn::keep_apart(sock, conn, start, scratch);
    match conn.role {
        CONN_SERVER => turn::sent(sock, task, entry, conn, length as u32, now),
        CONN_CLIENT => peer::sent(sock, entry, conn, now),
        _ => {}
    }
}
