use super::super::fixture;
use super::*;
use crate::model::{Blame, Doing, FutexOp, Reason, ReasonId, State};

#[test]
fn a_lock_says_who_waits_behind_whom_and_why() {
    let rows = locks(&fixture::chain(), By::Lock);
    let row = &rows[0];
    assert_eq!((row.sort, row.count, row.address), (Sort::Lock, 1434, Some(0x55d0_c0ff_ee40)));
    assert!(matches!(&row.place, Place::Variable { name, .. } if name == "INVENTORY"));
    assert_eq!((row.queue.most, row.queue.busy), (Some(7), Some(0.98)));
    assert!((row.queue.mean - 28.8 / 5.0).abs() < 1e-9);
    assert_eq!(row.ended, Ended { woken: 1354, timeout: 0, signal: 0, unknown: 80 });
    let holder = &row.behind[0];
    assert_eq!((row.behind.len(), holder.group.as_str()), (1, "worker-*"));
    assert!((holder.share - 28.0 / 28.8).abs() < 1e-9);
    let asked = &holder.doing[0];
    assert!(matches!(asked.doing, Doing::Waiting { kind: State::Socket, .. }));
    let peer = &asked.behind[0];
    assert_eq!(peer.group, "backend");
    assert!(matches!(peer.doing[0].doing, Doing::Waiting { kind: State::Sleep, .. }));
    assert_eq!(peer.doing[0].total, asked.total);
}

#[test]
fn parked_workers_are_no_contention_and_come_last() {
    let mut profile = fixture::chain();
    let mut idle =
        fixture::wait(State::Futex, fixture::futex(FutexOp::WaitBitset, true), 1 << 40, 3);
    idle.object =
        WaitObject::Futex { address: 0x10, op: FutexOp::WaitBitset, private: true, realtime: true };
    profile.waits.insert(0, idle);
    let rows = locks(&profile, By::Lock);
    let last = rows.last().expect("there are locks");
    assert_eq!((last.sort, last.is_contention()), (Sort::Condition, false));
    assert!(rows[0].is_contention());
}

#[test]
fn both_halves_of_a_condition_variable_are_one() {
    let mut profile = fixture::empty();
    for address in [0x1028, 0x102c] {
        let mut wait =
            fixture::wait(State::Futex, fixture::futex(FutexOp::WaitBitset, true), 1000, 1);
        wait.object =
            WaitObject::Futex { address, op: FutexOp::WaitBitset, private: true, realtime: true };
        profile.waits.push(wait);
    }
    assert_eq!(locks(&profile, By::Lock).len(), 1);
}

#[test]
fn a_shared_futex_is_one_lock_in_all_processes() {
    let mut profile = fixture::empty();
    for (pid, address) in [(1, 0x7000), (2, 0x9000)] {
        let object =
            WaitObject::Futex { address, op: FutexOp::Wait, private: false, realtime: false };
        let mut wait = fixture::wait(State::Futex, object, 1000, 1);
        wait.pid = Pid(pid);
        profile.waits.push(wait);
        profile.futexes.push(Futex {
            pid: Pid(pid),
            address,
            private: false,
            place: Place::Shared { path: "/dev/shm/x".into(), file: (1, 2), offset: 64 },
            queue: crate::model::Queue::default(),
            holds: Holds::default(),
            value: None,
        });
    }
    let rows = locks(&profile, By::Lock);
    assert_eq!((rows.len(), rows[0].pids.len(), rows[0].is_shared), (1, 2, true));
}

#[test]
fn places_can_be_what_counts() {
    let mut profile = fixture::empty();
    for address in [0x10, 0x20, 0x30] {
        let object =
            WaitObject::Futex { address, op: FutexOp::Wait, private: true, realtime: false };
        let mut wait = fixture::wait(State::Futex, object, 1000, 1);
        wait.stack = fixture::stack(&["pthread_mutex_lock", "shard_put", "main"]);
        profile.waits.push(wait);
    }
    assert_eq!(locks(&profile, By::Lock).len(), 3);
    let by_site = locks(&profile, By::Site);
    assert_eq!((by_site.len(), by_site[0].locks, by_site[0].address), (1, 3, None));
}

/// Process 1 holds a lock, and most waits are behind it; the others are behind one that waits for it and for others.
/// There, too, it has a row of its own, though with a tenth of the time.
#[test]
fn a_process_that_stands_out_does_so_along_the_chain() {
    let mut profile = fixture::chain();
    let reason = |pid, doing| Reason {
        pid: Pid(pid),
        group: "backend".into(),
        release: fixture::stack(&["release"]),
        doing,
    };
    let waiting = |next| Doing::Waiting {
        kind: State::Futex,
        syscall: None,
        object: WaitObject::None,
        stack: fixture::stack(&["acquire"]),
        next: Some(ReasonId(next)),
    };
    profile.reasons = vec![
        reason(1, Doing::Running),
        reason(3, Doing::Running),
        reason(4, Doing::Running),
        reason(2, waiting(0)),
        reason(2, waiting(1)),
        reason(2, waiting(2)),
    ];
    let blame = |id, time| Blame { reason: ReasonId(id), time: Nanos(time), count: 1 };
    let blames = [blame(0, 60), blame(3, 10), blame(4, 10), blame(5, 10)];
    let rows = behind(&profile, &blames, Nanos(100));
    let second = rows.iter().find(|row| row.pids.contains(&Pid(2))).expect("a row");
    let next: Vec<(Vec<u32>, u64)> = second.doing[0]
        .behind
        .iter()
        .map(|row| (row.pids.iter().map(|pid| pid.0).collect(), row.total.0))
        .collect();
    assert_eq!(next, [(vec![3, 4], 20), (vec![1], 10)]);
}

#[test]
fn a_place_tells_the_lock_or_nothing() {
    let at =
        |kind, object: WaitObject, names: &[&str]| lock_at(kind, &object, &fixture::stack(names));
    let row = ["epoll_wait", "WaitLatch", "ProcSleep", "XactLockTableWait", "heap_update"];
    let epoll = || WaitObject::Epoll { fd: 3 };
    assert_eq!(at(State::Poll, epoll(), &row), Some((Sort::Database, Some("a row"))));
    assert_eq!(at(State::Poll, epoll(), &["epoll_wait", "main"]), None);
    let futex =
        || WaitObject::Futex { address: 1, op: FutexOp::Wait, private: true, realtime: false };
    let mutex = ["__lll_lock_wait", "pthread_mutex_lock", "take"];
    assert_eq!(at(State::Futex, futex(), &mutex), Some((Sort::Lock, None)));
    assert_eq!(at(State::Futex, futex(), &["pthread_cond_wait", "next_job"]), None);
    assert_eq!(at(State::Futex, futex(), &["somewhere"]), None);
}
