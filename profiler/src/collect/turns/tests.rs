//! Requests as the probes hand them over.

use profiler_common::turn::{
    CONN_SERVER, TURN, TURN_HAS_CALLS, TURN_HAS_NO_WAITS, TURN_WITHOUT_CALLS, TURN_WITHOUT_WAITS,
};
use proptest::prelude::*;

use super::*;
use crate::model::{Part, State};

/// The bytes of a record as the kernel writes it.
fn as_bytes(turn: &Turn) -> Vec<u8> {
    // SAFETY: the record is `#[repr(C)]` without padding, so every byte is initialised.
    let bytes = unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(turn).cast::<u8>(), size_of::<Turn>())
    };
    let length = match turn.header.reserved {
        TURN_HAS_CALLS => bytes.len(),
        TURN_HAS_NO_WAITS => TURN_WITHOUT_WAITS,
        _ => TURN_WITHOUT_CALLS,
    };
    bytes[..length].to_vec()
}

/// A request of 1,000 ns that ran for 300 and waited for a lock for 400.
fn turn(service: u64, label: u64) -> Turn {
    // SAFETY: integers only: zero is valid.
    let mut turn: Turn = unsafe { std::mem::zeroed() };
    turn.header.kind = TURN;
    (turn.service, turn.label, turn.pid, turn.tid) = (service, label, 7, 8);
    (turn.arrival_ns, turn.received_ns) = (5_000, 5_100);
    (turn.first_sent_ns, turn.last_sent_ns) = (5_900, 6_000);
    turn.parts.queued_ns = 100;
    turn.parts.own_ns[State::Running as usize] = 300;
    turn.parts.own_ns[State::Futex as usize] = 400;
    turn.parts.own_sum_ns = 700;
    turn.longest.ns = 400;
    turn.longest.key.kind = State::Futex as u8;
    turn
}

#[test]
fn a_turn_survives_the_wire() {
    let mut sent = turn(1, 3);
    sent.calls[5].reserved = 9;
    sent.header.reserved = TURN_HAS_CALLS;
    let received = decode_turn(&as_bytes(&sent)).expect("a turn");
    assert_eq!(as_bytes(&received), as_bytes(&sent));
    sent.header.reserved = 0;
    let received = decode_turn(&as_bytes(&sent)).expect("a turn");
    assert_eq!(as_bytes(&received), as_bytes(&sent));
    assert_eq!(received.calls[5].reserved, 0);
}

#[test]
fn a_turn_that_only_ran_survives_the_wire() {
    let mut sent = turn(1, 3);
    sent.header.reserved = TURN_HAS_NO_WAITS;
    sent.parts.own_ns[State::Runnable as usize] = 5;
    let received = decode_turn(&as_bytes(&sent)).expect("a turn");
    assert_eq!(as_bytes(&received), as_bytes(&sent));
    // What comes behind was not told, so there was none.
    assert_eq!(received.parts.own_ns[State::Futex as usize], 0);
    assert_eq!((received.longest.ns, received.calls_count), (0, 0));
    assert!(decode_turn(&as_bytes(&sent)[1..]).is_none());
    assert!(decode_turn(&as_bytes(&sent)[..TURN_WITHOUT_WAITS - 8]).is_none());
}

#[test]
fn the_parts_of_a_turn_sum_to_its_length() {
    let mut served = turn(1, 3);
    let parts = turn_budget(&served, Nanos(0));
    assert_eq!(parts.total(), Nanos(1_000));
    assert_eq!(parts.of(Part::BehindOthers), Nanos(200));
    served.parts.peers_ns = 150;
    assert_eq!(turn_budget(&served, Nanos(0)).of(Part::BehindOthers), Nanos(50));
    assert_eq!(turn_budget(&served, Nanos(0)).of(Part::Peers), Nanos(150));
}

/// As where the clock of one CPU was read before the request was received by another.
#[test]
fn parts_of_two_turns_are_not_believed() {
    let spoilt: [fn(&mut Turn); 5] = [
        |turn| turn.parts.handed_ns = 0u64.wrapping_sub(1_000),
        |turn| turn.parts.own_sum_ns = 300_000,
        |turn| turn.longest.ns = 1 << 40,
        |turn| turn.parts.own_ns[State::Sleep as usize] = 300_000,
        |turn| turn.calls_ns = 0u64.wrapping_sub(7),
    ];
    for spoil in spoilt {
        let mut sent = turn(1, 3);
        spoil(&mut sent);
        let received = decode_turn(&as_bytes(&sent)).expect("a turn");
        let parts = turn_budget(&received, Nanos(0));
        assert_eq!(parts.of(Part::In(State::Unattributed)), Nanos(1_000));
        assert_eq!(parts.total(), Nanos(1_000));
        let mut turns = Turns::new(0);
        turns.add(&received);
        assert!(turns.places.is_empty());
    }
    // Of a worker that was ready for long before it was given this: 50 ms that are its own, and no part of it.
    let mut ready = turn(1, 3);
    ready.parts.own_ns[State::Runnable as usize] = 50_000_000;
    let running = &mut ready.parts.own_ns[State::Running as usize];
    *running = running.wrapping_sub(50_000_000);
    let received = decode_turn(&as_bytes(&ready)).expect("a turn");
    assert_eq!(turn_budget(&received, Nanos(0)).of(Part::In(State::Futex)), Nanos(400));
    assert_eq!(turn_budget(&received, Nanos(0)).total(), Nanos(1_000));
}

#[test]
fn what_was_before_the_window_is_not_known() {
    let served = turn(1, 3);
    let at = |start| turn_budget(&served, Nanos(start));
    // 200 ns of it are in no state: up to where the window began they are nobody's.
    for (start, unknown) in [(5_000, 0), (5_100, 0), (5_150, 50), (5_900, 200), (9_000, 200)] {
        let parts = at(start);
        assert_eq!(parts.of(Part::In(State::Unattributed)), Nanos(unknown), "{start}");
        assert_eq!(parts.of(Part::BehindOthers), Nanos(200 - unknown));
        assert_eq!(parts.total(), Nanos(1_000));
    }
}

#[test]
fn a_state_that_has_lost_time_takes_it_from_the_others() {
    let mut moved = turn(1, 3);
    moved.parts.own_ns[State::Runnable as usize] = 0u64.wrapping_sub(50);
    moved.parts.own_sum_ns = 650;
    let parts = turn_budget(&moved, Nanos(0));
    assert_eq!(parts.of(Part::In(State::Runnable)), Nanos(0));
    assert_eq!(parts.of(Part::In(State::Running)), Nanos(250));
    assert_eq!(parts.total(), Nanos(1_000));
}

#[test]
fn there_is_a_bound_to_everything() {
    let mut turns = Turns::new(0);
    for service in 0..1_000 {
        turns.add(&turn(service, service));
    }
    assert_eq!((turns.services.len(), turns.lost), (SERVICES_KEPT, 1_000 - SERVICES_KEPT as u64));
    let mut turns = Turns::new(0);
    for number in 0..10_000u32 {
        let mut next = turn(1, u64::from(number));
        next.longest.key.stack = u64::from(number);
        (next.pid, next.tid) = (number, number);
        turns.add(&next);
    }
    let service = &turns.services[&1];
    assert!(service.groups.len() <= GROUPS_KEPT + 1, "{}", service.groups.len());
    let counted: u64 = service.groups.values().map(|group| group.latency.count()).sum();
    assert_eq!((counted, turns.lost), (10_000, 0));
    assert_eq!(turns.places.len(), PLACES_KEPT);
    assert!(service.servers.len() <= 1_025 && service.pids.len() <= 64);
    assert_eq!(service.servers.values().map(|server| server.count).sum::<u64>(), 10_000);
}

#[test]
fn only_what_has_been_answered_is_left_to_add() {
    // SAFETY: integers only: zero is valid.
    let mut conn: Conn = unsafe { std::mem::zeroed() };
    (conn.role, conn.phase, conn.turn) = (CONN_SERVER, PHASE_ANSWERED, turn(1, 3));
    assert!(Turns::new(5_999).unfinished(&conn).is_some());
    assert!(Turns::new(6_000).unfinished(&conn).is_none());
    conn.phase = PHASE_RECEIVED;
    assert!(Turns::new(0).unfinished(&conn).is_none());
}

proptest! {
    #[test]
    fn any_record(
        bytes in prop::collection::vec(any::<u8>(), 0..700),
        kind in prop::option::of(prop::sample::select(vec![
            (0, TURN_WITHOUT_CALLS),
            (TURN_HAS_NO_WAITS, TURN_WITHOUT_WAITS),
            (TURN_HAS_CALLS, size_of::<Turn>()),
        ])),
    ) {
        let mut bytes = bytes;
        if let Some((flags, length)) = kind {
            bytes.resize(length, 3);
            bytes[..8].copy_from_slice(&[TURN as u8, 0, 0, 0, flags as u8, 0, 0, 0]);
        }
        let decoded = decode_turn(&bytes);
        prop_assert_eq!(decoded.is_some(), kind.is_some());
        if let Some(turn) = decoded {
            let mut turns = Turns::new(0);
            turns.add(&turn);
        }
    }
}
