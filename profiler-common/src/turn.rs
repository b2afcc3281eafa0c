//! Requests: the turns that clients and servers take on a connection.
//!
//! A turn begins when the data of a request arrives, and ends with the last send of the answer. What
//! happened to it in between is the difference of the counters of the thread that serves it, so the
//! parts of a turn add up to its length by construction. See [`Turn`] for the parts.

use crate::event::Header;
use crate::histogram::BUCKETS;
use crate::state::State;
use crate::wait::WaitKey;

/// [`Header::kind`] of [`Turn`].
pub const TURN: u32 = 5;

/// [`Conn::role`]: not looked at yet.
pub const CONN_NEW: u8 = 0;
/// [`Conn::role`]: the target's end was accepted.
pub const CONN_SERVER: u8 = 1;
/// [`Conn::role`]: the target's end connected: what is called over it is a dependency.
pub const CONN_CLIENT: u8 = 2;
/// [`Conn::role`]: neither is known, as with a pair of sockets.
pub const CONN_OTHER: u8 = 3;

/// [`Conn::phase`]: nothing of a request has been received.
pub const PHASE_IDLE: u8 = 0;
/// [`Conn::phase`]: a request has been received, in part or whole.
pub const PHASE_RECEIVED: u8 = 1;
/// [`Conn::phase`]: some of the answer has been sent.
pub const PHASE_ANSWERED: u8 = 2;

/// [`Turn::flags`]: data had come before anybody looked: its arrival is that of the first receive.
pub const TURN_ARRIVAL_UNSEEN: u32 = 1;
/// [`Turn::flags`]: more of the client's data came before it had its answer. The requests on this
/// connection cannot be told apart.
pub const TURN_PIPELINED: u32 = 2;
/// [`Turn::flags`]: another thread sent the answer than received the request.
pub const TURN_HANDED_OVER: u32 = 4;
/// [`Turn::flags`]: it called more peers than [`Turn::calls`] has places for.
pub const TURN_MORE_PEERS: u32 = 8;
/// [`Turn::flags`]: it made calls: the record ends with [`Turn::calls`].
pub const TURN_HAS_CALLS: u32 = 16;
/// [`Turn::flags`]: it has waited for nothing but a CPU, and made no calls: the record ends with that time
/// ([`State::Runnable`]).
pub const TURN_HAS_NO_WAITS: u32 = 32;

/// Peers called by a turn that are kept apart.
pub const PEERS: usize = 6;

/// Calls of a turn to one peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// The peer: key of the table of objects.
    pub peer: u64,
    /// Their time, from the first send to the last receive, in nanoseconds.
    pub ns: u64,
    /// The longest one's.
    pub max_ns: u64,
    /// Calls whose answer came.
    pub count: u32,
    /// Port of the peer, where the object leaves it open.
    pub peer_port: u16,
    /// Named so that no padding is left undefined.
    pub reserved: u16,
}

/// The longest wait of a turn.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongestWait {
    /// Its length, in nanoseconds.
    pub ns: u64,
    /// What it was for.
    pub key: WaitKey,
    /// Why it took so long, see [`crate::blame::Reason`]; 0 where nobody looked.
    pub reason: u64,
}

/// What a turn consists of, in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// From arrival until the thread that receives it was woken for it, or came to it.
    pub queued_ns: u64,
    /// The part before the receive in which that thread served other requests.
    pub behind_ns: u64,
    /// From the receive until another thread took it up.
    pub handed_ns: u64,
    /// The part after the receive in which it waited for a peer, and its thread did other things.
    pub peers_ns: u64,
    /// The part after the receive in which its thread waited for events, while it was counted as working for another
    /// request.
    pub polled_ns: u64,
    /// Sum of `own_ns`.
    pub own_sum_ns: u64,
    /// Of the thread that served it, what it did for this request, by [`State`]. What is missing from
    /// the length of the turn is the time in which it served other requests, or waited with these.
    pub own_ns: [u64; State::COUNT],
}

/// A finished turn. Its length is `last_sent_ns - arrival_ns`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// [`TURN`]; `reserved` holds `TURN_` bits.
    pub header: Header,
    /// Where it came in: key of the table of objects.
    pub service: u64,
    /// What it asked for: key of the table of labels; 0 for nothing known.
    pub label: u64,
    /// When its first data arrived (CLOCK_MONOTONIC).
    pub arrival_ns: u64,
    /// When it was received first.
    pub received_ns: u64,
    /// When the first of the answer was sent.
    pub first_sent_ns: u64,
    /// When the last of the answer was sent.
    pub last_sent_ns: u64,
    /// Address of the connection in the kernel, to tell connections apart.
    pub sock: u64,
    /// Process that answered, in dwell's own PID namespace.
    pub pid: u32,
    /// Its thread, likewise; 0: not known, its answer showed before the call that sent it ended.
    pub tid: u32,
    /// Bytes received.
    pub bytes_in: u32,
    /// Bytes sent.
    pub bytes_out: u32,
    /// What it consists of.
    pub parts: Parts,
    /// Its longest wait.
    pub longest: LongestWait,
    /// Calls that it made.
    pub calls_count: u32,
    /// Of these, those that began while another one was open.
    pub calls_parallel: u32,
    /// Time in which at least one was open.
    pub calls_ns: u64,
    /// By peer; only with [`TURN_HAS_CALLS`].
    pub calls: [Calls; PEERS],
}

/// Length of the record of a turn that called nobody.
pub const TURN_WITHOUT_CALLS: usize = size_of::<Turn>() - size_of::<[Calls; PEERS]>();

/// Length of the record of a turn that waited for nothing but a CPU.
pub const TURN_WITHOUT_WAITS: usize = core::mem::offset_of!(Turn, parts)
    + core::mem::offset_of!(Parts, own_ns)
    + 8 * (State::Runnable as usize + 1);

/// A connection. Written by the thread that uses it, and in part by the arrival of data.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    /// The turn at hand; the label, the service and the address are kept from turn to turn.
    pub turn: Turn,
    /// When data arrived after the last receive; 0: none has.
    pub next_arrival_ns: u64,
    /// Since when the answer to the request at hand is known to be on its way, though the call that sends it
    /// may not have ended; 0: it is not.
    pub answer_ns: u64,
    /// Inode of the socket; 0: not accepted yet. Another one: it is another connection, where the
    /// kernel has used the memory again.
    pub ino: u64,
    /// Key in the table of threads of the one that serves it.
    pub server: u64,
    /// How long that thread had waited for events when it received the request.
    pub polled_ns: u64,
    /// Number of the turn, to tell whether a thread still serves the same one.
    pub number: u64,
    /// Calls that it has made and that have no answer yet.
    pub open_calls: u64,
    /// Since when some call has been open.
    pub calls_since_ns: u64,
    /// [`Parts::own_sum_ns`] at that time.
    pub calls_own_ns: u64,
    /// On a client's end: for whom the call at hand is, key of the table of connections; 0 for nobody.
    pub caller: u64,
    /// [`Self::number`] of the caller when it was made.
    pub caller_number: u64,
    /// One of the `CONN_` constants.
    pub role: u8,
    /// One of the `PHASE_` constants.
    pub phase: u8,
    /// Non-zero: the protocol has several requests on their way at the same time (HTTP/2): no turns.
    pub multiplexed: u8,
    /// On a client's end, non-zero: it has begun to connect for `caller`, and sent nothing yet.
    pub connects: u8,
    /// Port of the peer, where the object leaves it open.
    pub peer_port: u16,
    /// Non-zero: a Unix socket, whose end no tracepoint shows.
    pub is_unix: u8,
    /// Non-zero: the call that sent the answer before had not ended when the next request was received.
    pub late: u8,
    /// The first four bytes of the request, where they were received alone: the header of a packet of MySQL,
    /// whose server receives that first.
    pub header: u32,
    /// Of TCP: the byte that the answer will begin with, as the kernel counts them.
    pub write_seq: u32,
    /// Hash of what the label was read from, where that was a statement of PostgreSQL with a value; else 0.
    pub statement: u64,
    /// Where in the request that value begins.
    pub statement_end: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// What a thread serves.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// Its closed intervals, when it was last seen in another run than before.
    pub last_ns: [u64; State::COUNT],
    /// When its last event on a server's connection was; 0: there was none.
    pub at_ns: u64,
    /// Its running time then, with the open interval.
    pub running_ns: u64,
    /// When the interval began that was open then: as long as that is the same, nothing else has changed.
    pub since_ns: u64,
    /// The connection that it has received a request from, or the answer to a call made for it, and
    /// has not answered since; 0 for none. It works for this one.
    pub focus: u64,
    /// [`Conn::number`] of that.
    pub focus_number: u64,
    /// What will be moved from its wait for this CPU to the wait before, in nanoseconds. Only while that is not in
    /// its sums: later it has been moved.
    pub moved_ns: u64,
}

/// What a thread was doing between two events of its connections, kept at each wakeup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Intermission {
    /// When it last ended a wait for a socket or a poll.
    pub idle_end_ns: u64,
    /// Its time waiting for a CPU so far, then.
    pub idle_ready_ns: u64,
    /// When the first wait since the last event ended; 0: it has not waited since.
    pub parked_end_ns: u64,
    /// That wait: for work, if the thread serves nothing then.
    pub parked: LongestWait,
    /// The thread that ended it, in dwell's own PID namespace; 0 for none.
    pub parked_waker: u32,
    /// Non-zero: it serves a request, so its waits are part of that.
    pub serves: u32,
    /// The longest wait since the last event.
    pub longest: LongestWait,
}

/// Longest text of a label.
pub const LABEL_LENGTH: usize = 96;

/// The same in words.
pub const LABEL_WORDS: usize = LABEL_LENGTH / 8;

/// What a request asks for, in the words of its protocol, without values.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// One of the `PROTOCOL_` constants.
    pub protocol: u32,
    /// Bytes of the text in use.
    pub length: u32,
    /// The text, zero behind its end; what was in it is folded or left out, see the probes' `label`.
    pub words: [u64; LABEL_WORDS],
}

/// [`Label::protocol`]: HTTP/1: method and path.
pub const PROTOCOL_HTTP: u32 = 1;
/// [`Label::protocol`]: Redis: the command.
pub const PROTOCOL_REDIS: u32 = 2;
/// [`Label::protocol`]: PostgreSQL: the text of a statement, up to where there is place.
pub const PROTOCOL_POSTGRES: u32 = 3;
/// [`Label::protocol`]: PostgreSQL: the name of a prepared statement.
pub const PROTOCOL_POSTGRES_PREPARED: u32 = 4;
/// [`Label::protocol`]: PostgreSQL: the opening of a session; no text.
pub const PROTOCOL_POSTGRES_STARTUP: u32 = 5;
/// [`Label::protocol`]: MySQL: the text of a statement.
pub const PROTOCOL_MYSQL: u32 = 6;
/// [`Label::protocol`]: memcached: the command.
pub const PROTOCOL_MEMCACHED: u32 = 7;
/// [`Label::protocol`]: encrypted; no text.
pub const PROTOCOL_TLS: u32 = 8;
/// [`Label::protocol`]: HTTP/2; no text.
pub const PROTOCOL_HTTP2: u32 = 9;

/// Calls to one peer by all requests of a process, or by none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// The peer: key of the table of objects.
    pub peer: u64,
    /// The process that calls, in dwell's own PID namespace.
    pub pid: u32,
    /// Non-zero: while it served a request.
    pub serving: u32,
}

/// See [`PeerKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PeerStats {
    /// Calls whose answer came.
    pub count: u64,
    /// Their time, in nanoseconds.
    pub total_ns: u64,
    /// The longest one's.
    pub max_ns: u64,
    /// Port of the peer, where the object leaves it open.
    pub peer_port: u16,
    /// Named so that no padding is left undefined.
    pub reserved: [u16; 3],
    /// Durations, see [`crate::histogram`].
    pub histogram: [u32; BUCKETS],
}

/// A value of the table of who listens: not, or not known to be, of the target.
pub const LISTEN_OF_OTHERS: u32 = 1;
/// Likewise: what is accepted there, the target serves.
pub const LISTEN_OF_TARGET: u32 = 2;

/// A listening socket of the target.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Listener {
    /// The address: key of the table of objects.
    pub service: u64,
    /// Connections that came.
    pub count: u64,
    /// Connections that waited to be accepted when one came, added up.
    pub waiting_sum: u64,
    /// Most of them.
    pub waiting_most: u32,
    /// How many may wait.
    pub limit: u32,
}

const _: () = assert!(size_of::<Calls>() == 32);
const _: () = assert!(size_of::<LongestWait>() == 40);
const _: () = assert!(size_of::<Parts>() == 48 + 8 * State::COUNT);
const _: () = assert!(TURN_WITHOUT_WAITS == 152);
const _: () = assert!(TURN_WITHOUT_CALLS == 80 + size_of::<Parts>() + 40 + 16);
const _: () = assert!(size_of::<Conn>() == size_of::<Turn>() + 120);
const _: () = assert!(size_of::<Serving>() == 48 + 8 * State::COUNT);
const _: () = assert!(size_of::<Label>() == 104);
const _: () = assert!(size_of::<Listener>() == 32);
const _: () = assert!(size_of::<PeerKey>() == 16);
const _: () = assert!(size_of::<PeerStats>() == 32 + 4 * BUCKETS);
