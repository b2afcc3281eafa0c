//! Connections of the target: which there are, and which end of them is the target's.

use aya_ebpf::bindings::BPF_NOEXIST;
use profiler_common::object::{FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, ROLE_CLIENT, ROLE_SERVER};
use profiler_common::turn::{
    CONN_CLIENT, CONN_NEW, CONN_OTHER, CONN_SERVER, Conn, LISTEN_OF_OTHERS, LISTEN_OF_TARGET,
    Listener, PHASE_IDLE, PHASE_RECEIVED,
};

use crate::globals::field;
use crate::maps::{self, BLANK_CONN, CONNS, LISTENERS, PORT_WORDS, PORTS, QUEUED, RequestScratch};
use crate::socket::{self, LISTENING};
use crate::turn;

/// TCP_ESTABLISHED, TCP_CLOSE and others (include/net/tcp_states.h).
const ESTABLISHED: u8 = 1;
pub const CLOSED: u32 = 7;
/// TCP_SYN_SENT.
pub const CONNECTING: u32 = 2;
/// IPPROTO_TCP (include/uapi/linux/in.h).
const TCP: u16 = 6;
/// SOCK_STREAM (include/linux/net.h).
const STREAM: u16 = 1;

/// The connection of this socket, if it is known.
#[inline(always)]
pub fn known(sock: u64) -> Option<&'static mut Conn> {
    let conn = CONNS.get_ptr_mut(&sock)?;
    // SAFETY: written by the thread that uses the socket, and in words of its own by the arrival of
    // data; two threads that use it at the same time can spoil its figures, and nothing else.
    Some(unsafe { &mut *conn })
}

/// The connection of a socket that a thread of the target uses; one of its own for each accepted or
/// connected socket, also where the kernel uses the memory of a closed one again.
#[inline(always)]
pub fn of(sock: u64, scratch: &mut RequestScratch) -> Option<&'static mut Conn> {
    match known(sock) {
        Some(conn) if conn.role != CONN_NEW => Some(conn),
        // What a client has sent before it reset the connection is still received. Nobody would forget it,
        // and the next connection in the same memory would be taken for this one.
        _ if field::sk_state().load::<u8>(sock) == CLOSED as u8 => None,
        // Not known, or another CPU is about to describe it: its data arrives at this instant.
        _ => open(sock, scratch),
    }
}

/// The connection of a socket that begins to connect: until that is told, its state is the one before.
#[inline(always)]
pub fn begin(sock: u64, scratch: &mut RequestScratch) -> Option<&'static mut Conn> {
    match known(sock) {
        Some(conn) if conn.role != CONN_NEW => Some(conn),
        _ => open(sock, scratch),
    }
}

#[inline(never)]
fn open(sock: u64, scratch: &mut RequestScratch) -> Option<&'static mut Conn> {
    let blank = BLANK_CONN.get(0)?;
    // Data that arrives meanwhile may have been first.
    let _same = CONNS.insert(&sock, blank, BPF_NOEXIST as u64);
    let Some(conn) = known(sock) else {
        maps::count(|loss| loss.conns += 1);
        return None;
    };
    describe(sock, conn, scratch);
    Some(conn)
}

/// The kernel has used the memory of a closed socket again.
#[inline(never)]
fn describe_again(sock: u64, conn: &mut Conn, scratch: &mut RequestScratch) {
    if conn.next_arrival_ns < conn.turn.last_sent_ns {
        // It came for the one that is closed.
        conn.next_arrival_ns = 0;
    }
    conn.phase = PHASE_IDLE;
    conn.number += 1;
    conn.server = 0;
    conn.multiplexed = 0;
    conn.late = 0;
    describe(sock, conn, scratch);
}

#[inline(always)]
fn describe(sock: u64, conn: &mut Conn, scratch: &mut RequestScratch) {
    let peer_port = socket::describe_sock(sock, &mut scratch.object);
    let role = match scratch.object.role {
        _ if !is_stream(sock) => CONN_OTHER,
        ROLE_SERVER => CONN_SERVER,
        ROLE_CLIENT => CONN_CLIENT,
        _ => CONN_OTHER,
    };
    if role == CONN_SERVER {
        note_target(sock);
        // A service is the same for all who call it.
        scratch.object.peer = [0; 16];
    } else {
        note_port(sock);
    }
    conn.role = role;
    conn.peer_port = peer_port;
    conn.turn.service = if role == CONN_OTHER { 0 } else { socket::intern(&scratch.object) };
    conn.turn.sock = sock;
    conn.ino = inode(sock);
    conn.is_unix = (scratch.object.family == FAMILY_UNIX) as u8;
}

/// Whether it is worth to look a socket up. Always for Unix sockets.
#[inline(always)]
pub fn may_be_known(sock: u64) -> bool {
    if is_unix(sock) {
        return true;
    }
    let (word, bit) = port_bit(sock);
    match PORTS.get(0) {
        Some(ports) => ports[maps::slot(word, PORT_WORDS)] & bit != 0,
        None => true,
    }
}

/// The word of [`PORTS`] for the local port of a socket, and the bit in it.
#[inline(always)]
fn port_bit(sock: u64) -> (u32, u32) {
    let port: u16 = field::sk_num().load(sock);
    (port as u32 >> 5, 1 << (port & 31))
}

/// Something of the target may arrive at the local port of this socket. The bit stays: ports of clients
/// are used again.
#[inline(always)]
pub fn note_port(sock: u64) {
    let (word, bit) = port_bit(sock);
    if let Some(ports) = PORTS.get_ptr_mut(0) {
        // SAFETY: a word of the table; a race can lose a bit, and with it the arrivals at a port.
        unsafe { (*ports)[maps::slot(word, PORT_WORDS)] |= bit };
    }
}

/// Forgets what is known of a socket.
#[inline(always)]
pub fn forget(sock: u64) {
    let _gone = CONNS.remove(&sock);
}

/// Makes sure that what is known is known of this socket: of a Unix socket nothing shows that it was
/// closed, and the kernel uses its memory again.
#[inline(always)]
pub fn keep_apart(sock: u64, conn: &mut Conn, start: u64, scratch: &mut RequestScratch) {
    if !is_same(sock, conn) {
        turn::end(conn, start);
        describe_again(sock, conn, scratch);
    }
}

/// Whether the socket is still the one that it was when its connection was noted. What arrives
/// before a connection is accepted finds no inode there.
#[inline(always)]
fn is_same(sock: u64, conn: &mut Conn) -> bool {
    // The end of a connection of TCP shows.
    if conn.is_unix == 0 {
        return true;
    }
    let ino = inode(sock);
    if conn.ino == 0 {
        conn.ino = ino;
    }
    conn.ino == ino
}

#[inline(always)]
fn inode(sock: u64) -> u64 {
    let socket: u64 = field::sk_socket().load(sock);
    let file: u64 = field::socket_file().load(socket);
    let inode: u64 = field::file_inode().load(file);
    field::inode_ino().load(inode)
}

/// Only streams have turns.
#[inline(always)]
fn is_stream(sock: u64) -> bool {
    match field::sk_family().load::<u16>(sock) as u8 {
        FAMILY_INET | FAMILY_INET6 => field::sk_protocol().load::<u16>(sock) == TCP,
        FAMILY_UNIX => field::sk_type().load::<u16>(sock) == STREAM,
        _ => false,
    }
}

/// Key of [`LISTENERS`] for the listener that a socket is, or was accepted from; 0 for none. Accepted
/// Unix sockets share the address of their listener (`unix_stream_connect`, net/unix/af_unix.c).
#[inline(always)]
fn listener_of(sock: u64) -> u64 {
    match field::sk_family().load::<u16>(sock) as u8 {
        FAMILY_INET | FAMILY_INET6 => socket::listener_key(sock, field::sk_num().load(sock)),
        FAMILY_UNIX => field::unix_addr().read(sock),
        _ => 0,
    }
}

/// Whether a thread has already received what arrives at this socket. Nothing keeps readers of a Unix
/// socket from coming before its `sk_data_ready`; those of TCP wait for a lock.
#[inline(always)]
pub fn is_received(sock: u64) -> bool {
    if !is_unix(sock) {
        return false;
    }
    match field::sk_receive_queue().of(sock) {
        Some(queue) => field::queue_length().read::<u32>(queue) == 0,
        None => false,
    }
}

/// A thread of the target serves what was accepted from this listener, or listens.
#[inline(always)]
pub fn note_target(sock: u64) {
    note_port(sock);
    let key = listener_of(sock);
    if key != 0 && LISTENERS.insert(&key, &LISTEN_OF_TARGET, 0).is_err() {
        maps::count(|loss| loss.objects += 1);
    }
}

/// Data has arrived at a socket that is known.
#[inline(always)]
pub fn on_known(
    sock: u64,
    conn: &mut Conn,
    (now, start): (u64, u64),
    scratch: &mut RequestScratch,
) {
    if !is_same(sock, conn) {
        // It may have been a socket of others meanwhile.
        conn.next_arrival_ns = 0;
        turn::end(conn, start);
        describe_again(sock, conn, scratch);
    }
    if conn.next_arrival_ns == 0 {
        arrives(sock, conn, now);
        if conn.phase == PHASE_RECEIVED {
            comes_early(sock, conn, now);
        }
    }
}

/// Notes when data has arrived, unless a thread has already received it. Asked afterwards: who receives it from
/// then on finds the note.
#[inline(always)]
fn arrives(sock: u64, conn: &mut Conn, now: u64) {
    // SAFETY: a word of the entry, written before the queue is looked at.
    unsafe { core::ptr::write_volatile(&raw mut conn.next_arrival_ns, now) };
    if is_received(sock) {
        conn.next_arrival_ns = 0;
    }
}

/// More arrives, and no answer has been seen: either it is more of the request, or the thread that answers has
/// lost its CPU inside of the call that sends.
#[inline(never)]
fn comes_early(sock: u64, conn: &mut Conn, now: u64) {
    if conn.is_unix == 0 && field::tcp_write_seq().read::<u32>(sock) != conn.write_seq {
        conn.answer_ns = now;
    }
}

/// Data arrives at the other end of a Unix socket: it comes before the call that sends has ended. Where that call
/// is one whose answer was known before, it tells nothing of the request at hand.
#[inline(always)]
pub fn answers(sock: u64, now: u64) {
    if let Some(conn) = asked(sock)
        && conn.late == 0
    {
        conn.answer_ns = now;
    }
}

/// The connection whose client has this end of a Unix socket, if it waits for an answer of which nothing is seen yet.
#[inline(always)]
pub fn asked(sock: u64) -> Option<&'static mut Conn> {
    let conn = known(field::unix_peer().read(sock))?;
    let waits = conn.phase == PHASE_RECEIVED && conn.answer_ns == 0 && conn.multiplexed == 0;
    waits.then_some(conn)
}

/// Whether this is a Unix socket.
#[inline(always)]
pub fn is_unix(sock: u64) -> bool {
    field::sk_family().load::<u16>(sock) as u8 == FAMILY_UNIX
}

/// Data, or a connection, has arrived at a socket of which nothing is known.
#[inline(always)]
pub fn on_stranger(sock: u64, now: u64, scratch: &mut RequestScratch) {
    let state: u8 = field::sk_state().load(sock);
    if state != ESTABLISHED && state != LISTENING {
        return;
    }
    let key = listener_of(sock);
    if key == 0 {
        return;
    }
    // SAFETY: one word, read at once.
    let owner = unsafe { LISTENERS.get(&key) }.copied().unwrap_or(LISTEN_OF_OTHERS);
    if owner != LISTEN_OF_TARGET {
        return;
    }
    if state == LISTENING {
        connection_waits(sock, scratch);
    } else if is_received(sock) {
        // Whoever has received it has noted that.
    } else if let Some(conn) = open(sock, scratch) {
        arrives(sock, conn, now);
    }
}

/// A connection waits to be accepted.
#[inline(never)]
fn connection_waits(sock: u64, scratch: &mut RequestScratch) {
    // Without the one that has just come.
    let waiting = field::sk_ack_backlog().load::<u32>(sock).saturating_sub(1);
    let limit: u32 = field::sk_max_ack_backlog().load(sock);
    if QUEUED.get_ptr(&sock).is_none() {
        socket::describe_sock(sock, &mut scratch.object);
        let service = socket::intern(&scratch.object);
        let _full = QUEUED.insert(&sock, &Listener { service, ..Listener::default() }, 0);
    }
    let Some(listener) = QUEUED.get_ptr_mut(&sock) else { return };
    // SAFETY: a race with another CPU can lose one of its counts.
    let listener = unsafe { &mut *listener };
    listener.count += 1;
    listener.waiting_sum += waiting as u64;
    listener.limit = limit;
    if waiting > listener.waiting_most {
        listener.waiting_most = waiting;
    }
}
