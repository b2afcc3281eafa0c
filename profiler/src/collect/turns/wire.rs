//! Decodes a turn, and says what it consists of.

use bytes::Buf;
use profiler_common::event::Header;
use profiler_common::turn::{
    Calls, LongestWait, PEERS, Parts, TURN, TURN_HAS_CALLS, TURN_HAS_NO_WAITS, TURN_WITHOUT_CALLS,
    TURN_WITHOUT_WAITS, Turn,
};
use profiler_common::wait::WaitKey;

use crate::model::{Budget, Nanos, State, StateTimes};

/// Decodes a record; `None` for one of another length or kind than this version knows.
pub fn decode(record: &[u8]) -> Option<Turn> {
    let mut rest = record;
    if rest.remaining() < TURN_WITHOUT_WAITS {
        return None;
    }
    let header = Header { kind: rest.get_u32_ne(), reserved: rest.get_u32_ne() };
    if header.kind != TURN || record.len() != length(header.reserved) {
        return None;
    }
    // Behind the end of a shorter record, all is zero.
    let mut whole = [0; size_of::<Turn>()];
    whole[..record.len()].copy_from_slice(record);
    let rest = &mut &whole[size_of::<Header>()..];
    let turn = Turn {
        header,
        service: rest.get_u64_ne(),
        label: rest.get_u64_ne(),
        arrival_ns: rest.get_u64_ne(),
        received_ns: rest.get_u64_ne(),
        first_sent_ns: rest.get_u64_ne(),
        last_sent_ns: rest.get_u64_ne(),
        sock: rest.get_u64_ne(),
        pid: rest.get_u32_ne(),
        tid: rest.get_u32_ne(),
        bytes_in: rest.get_u32_ne(),
        bytes_out: rest.get_u32_ne(),
        parts: parts(rest),
        longest: longest(rest),
        calls_count: rest.get_u32_ne(),
        calls_parallel: rest.get_u32_ne(),
        calls_ns: rest.get_u64_ne(),
        calls: std::array::from_fn(|_| calls(rest)),
    };
    Some(without_contradiction(turn))
}

/// Length of a record with these flags.
fn length(flags: u32) -> usize {
    match flags & (TURN_HAS_CALLS | TURN_HAS_NO_WAITS) {
        0 => TURN_WITHOUT_CALLS,
        TURN_HAS_NO_WAITS => TURN_WITHOUT_WAITS,
        _ => size_of::<Turn>(),
    }
}

/// Borders between states are moved by up to so much after a part of a turn was measured
/// (`CLOCK_SLACK_NS` in `profiler-ebpf/src/books.rs`).
const SLACK: Nanos = Nanos(200_000);

/// The turn, of which nothing but its length is believed where a part of it is longer. (Not so states: time goes
/// from one to another when borders are moved, and only their sum has to fit.)
///
/// Two CPUs can work on a connection at once, and what they write may then belong to two turns. One of 400,000
/// requests to threads that hand them over, on a virtual machine whose CPUs stand still at times, had waited for
/// 2^64 ns.
pub fn without_contradiction(turn: Turn) -> Turn {
    let latency = Nanos(turn.last_sent_ns).since(Nanos(turn.arrival_ns));
    let Parts { queued_ns, behind_ns, handed_ns, polled_ns, own_ns, own_sum_ns, .. } = turn.parts;
    let states = own_ns.into_iter().fold(0, u64::wrapping_add).cast_signed().unsigned_abs();
    let before = [queued_ns, behind_ns, handed_ns];
    let parts = [polled_ns, own_sum_ns, states, turn.longest.ns, turn.calls_ns];
    if before.into_iter().chain(parts).all(|part| Nanos(part) <= latency + SLACK) {
        return turn;
    }
    let mut own_ns = [0; State::COUNT];
    own_ns[State::Unattributed as usize] = latency.0;
    let parts = Parts { own_ns, ..Parts::default() };
    let (calls, longest) = ([Calls::default(); PEERS], LongestWait::default());
    Turn { parts, longest, calls_count: 0, calls_parallel: 0, calls_ns: 0, calls, ..turn }
}

// The fields are read in the order of their declaration, as in `collect/decode`.

fn parts(bytes: &mut &[u8]) -> Parts {
    Parts {
        queued_ns: bytes.get_u64_ne(),
        behind_ns: bytes.get_u64_ne(),
        handed_ns: bytes.get_u64_ne(),
        peers_ns: bytes.get_u64_ne(),
        polled_ns: bytes.get_u64_ne(),
        own_sum_ns: bytes.get_u64_ne(),
        own_ns: std::array::from_fn(|_| bytes.get_u64_ne()),
    }
}

fn longest(bytes: &mut &[u8]) -> LongestWait {
    LongestWait {
        ns: bytes.get_u64_ne(),
        key: WaitKey {
            stack: bytes.get_u64_ne(),
            object: bytes.get_u64_ne(),
            serial: bytes.get_u32_ne(),
            syscall: bytes.get_u16_ne(),
            kind: bytes.get_u8(),
            detail: bytes.get_u8(),
        },
        reason: bytes.get_u64_ne(),
    }
}

fn calls(bytes: &mut &[u8]) -> Calls {
    Calls {
        peer: bytes.get_u64_ne(),
        ns: bytes.get_u64_ne(),
        max_ns: bytes.get_u64_ne(),
        count: bytes.get_u32_ne(),
        peer_port: bytes.get_u16_ne(),
        reserved: bytes.get_u16_ne(),
    }
}

/// What a turn consists of. What its thread did for others while it was being served is the rest.
///
/// The books of its thread begin with the window: what a turn that was received before did until then, nobody
/// knows.
pub fn budget(turn: &Turn, window_start: Nanos) -> Budget {
    let parts = &turn.parts;
    let mut states = StateTimes::default();
    // Borders between states are moved by some microseconds after the counters were read, so one of
    // them can have lost what another one has won.
    let mut owed = Nanos(0);
    for state in State::ALL {
        let signed = parts.own_ns[state as usize].cast_signed();
        if signed < 0 {
            owed += Nanos(signed.unsigned_abs());
        } else {
            states.add(state, Nanos(signed.unsigned_abs()));
        }
    }
    for state in [State::Running, State::Runnable].into_iter().chain(State::ALL) {
        let paid = owed.0.min(states.of(state).0);
        states.take_back(state, Nanos(paid));
        owed = owed.since(Nanos(paid));
    }
    let latency = Nanos(turn.last_sent_ns).since(Nanos(turn.arrival_ns));
    let queued = Nanos(parts.queued_ns);
    let before = Nanos(parts.behind_ns);
    let handed_over = Nanos(parts.handed_ns);
    let elsewhere = latency.since(queued + before + handed_over + states.total());
    let begun = window_start.min(Nanos(turn.last_sent_ns));
    let unknown = begun.since(Nanos(turn.received_ns)).min(elsewhere);
    states.add(State::Unattributed, unknown);
    let elsewhere = elsewhere.since(unknown);
    let peers = Nanos(parts.peers_ns.min(elsewhere.0));
    // Where it waited for peers, its thread mostly waited for events.
    let polled = Nanos(parts.polled_ns).since(peers).min(elsewhere.since(peers));
    states.add(State::Poll, polled);
    let behind_others = before + elsewhere.since(peers + polled);
    Budget { queued, behind_others, handed_over, peers, states }
}
