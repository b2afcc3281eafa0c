use super::super::fixture::{futex, inet, stack, wait};
use super::*;

fn with(kind: State, object: WaitObject, syscall: &str) -> Wait {
    Wait { syscall: Some(syscall.to_owned()), ..wait(kind, object, 1_000_000, 1) }
}

fn at(mut wait: Wait, names: &[&str]) -> Wait {
    wait.stack = stack(names);
    wait
}

#[test]
fn sockets_are_told_apart_by_role_and_direction() {
    use Direction::{Accept, Connect, Receive, Send};
    let of = |role, direction| idle(&with(State::Socket, inet(role, direction), "recvfrom"));
    assert_eq!(of(Role::Server, Receive), Some(Idle::Request));
    assert_eq!(of(Role::Unknown, Receive), Some(Idle::Datagram));
    assert_eq!(of(Role::Server, Accept), Some(Idle::Connection));
    assert_eq!(of(Role::Client, Receive), None);
    assert_eq!(of(Role::Server, Send), None);
    assert_eq!(of(Role::Client, Connect), None);
    let netlink = WaitObject::OtherSocket { family: "netlink".into(), direction: Receive };
    assert_eq!(idle(&with(State::Socket, netlink, "recvmsg")), Some(Idle::Datagram));
    assert_eq!(idle(&with(State::Socket, WaitObject::None, "accept4")), Some(Idle::Connection));
    assert_eq!(idle(&with(State::Socket, WaitObject::None, "read")), None);
}

#[test]
fn kinds_that_are_idle_by_themselves() {
    let of = |kind, syscall| idle(&with(kind, WaitObject::None, syscall));
    assert_eq!(of(State::Poll, "epoll_wait"), Some(Idle::EventLoop));
    assert_eq!(of(State::Sleep, "nanosleep"), Some(Idle::Timer));
    assert_eq!(of(State::Child, "wait4"), Some(Idle::Child));
    assert_eq!(of(State::IoUring, "io_uring_enter"), Some(Idle::Completion));
    assert_eq!(of(State::Pipe, "read"), Some(Idle::Input));
    assert_eq!(of(State::Pipe, "write"), None);
    assert_eq!(of(State::Other, "msgrcv"), Some(Idle::Input));
    for kind in [State::Disk, State::PageFault, State::FileLock, State::Stopped, State::Other] {
        assert_eq!(of(kind, "read"), None);
    }
}

#[test]
fn kernel_waits_are_idle_in_kernel_threads_only() {
    let mut wait = with(State::Kernel, WaitObject::None, "openat");
    assert_eq!(idle(&wait), None);
    wait.in_kernel_thread = true;
    assert_eq!(idle(&wait), Some(Idle::KernelThread));
}

#[test]
fn futex_waits_by_operation() {
    let of = |op, realtime| is_waiting_for_work(&with(State::Futex, futex(op, realtime), "futex"));
    assert!(!of(FutexOp::Wait, false));
    assert!(of(FutexOp::WaitBitset, true));
    assert!(!of(FutexOp::WaitBitset, false));
    assert!(!of(FutexOp::LockPi, false));
    assert!(of(FutexOp::WaitRequeuePi, true));
}

#[test]
fn futex_waits_by_function() {
    let plain = || with(State::Futex, futex(FutexOp::Wait, false), "futex");
    let idle = |names: &[&str]| is_waiting_for_work(&at(plain(), names));
    assert!(idle(&["syscall", "std::sys::sync::condvar::futex::Condvar::wait"]));
    assert!(idle(&["std::thread::park", "main"]));
    assert!(idle(&["Parker::park(bool, long)"]));
    assert!(idle(&["runtime.futex.abi0", "runtime.notesleep", "runtime.stopm"]));
    assert!(idle(&["std::thread::JoinInner<()>::join"]));
    assert!(!idle(&["std::sys::sync::mutex::futex::Mutex::lock_contended", "main"]));
    assert!(!idle(&[
        "parking_lot_core::parking_lot::park",
        "parking_lot::raw_mutex::RawMutex::lock_slow"
    ]));
    assert!(!idle(&["park_visitor_center"]));
    assert!(!idle(&["handle"]));
}

#[test]
fn a_lock_is_claimed_with_evidence_only() {
    let of =
        |op, names: &[&str]| is_lock(&at(with(State::Futex, futex(op, false), "futex"), names));
    assert!(!of(FutexOp::Wait, &[]));
    assert!(!of(FutexOp::Wait, &["syscall", "handle", "main"]));
    assert!(!of(FutexOp::WaitBitset, &["pqWait"]));
    assert!(of(FutexOp::LockPi, &[]) && of(FutexOp::LockPi2, &["main"]));
    assert!(!of(FutexOp::WaitRequeuePi, &[]));
    assert!(of(FutexOp::Wait, &["__lll_lock_wait", "take"]));
    assert!(of(FutexOp::WaitBitset, &["std::sys::sync::mutex::futex::Mutex::lock_contended"]));
    assert!(of(FutexOp::WaitBitset, &["__pthread_rwlock_clockwrlock", "take"]));
    let poll = with(State::Poll, WaitObject::None, "epoll_wait");
    assert!(is_lock(&at(poll.clone(), &["WaitLatch", "ProcSleep"])));
    assert!(!is_lock(&at(poll, &["WaitLatch", "pg_sleep"])));
}

#[test]
fn a_lock_in_the_stack_outweighs_the_way_of_waiting() {
    let condition = with(State::Futex, futex(FutexOp::WaitBitset, true), "futex");
    let lock = ["sem_wait", "PGSemaphoreLock", "LWLockAcquire", "heap_update"];
    assert!(is_waiting_for_work(&condition));
    assert!(!is_waiting_for_work(&at(condition.clone(), &lock)));
    assert!(!is_waiting_for_work(&at(condition.clone(), &["__pthread_rwlock_wrlock@GLIBC_2.2.5"])));
    assert!(!is_waiting_for_work(&at(condition, &["pthread_cond_timedwait", "take_gil"])));
    let poll = with(State::Poll, WaitObject::None, "epoll_wait");
    assert!(!is_waiting_for_work(&at(poll, &["WaitLatch", "ProcSleep", "XactLockTableWait"])));
}

#[test]
fn of_waits_without_call_and_object_the_kind_alone_decides() {
    let of =
        |kind| is_waiting_for_work(&Wait { syscall: None, ..wait(kind, WaitObject::None, 9, 1) });
    assert!([State::Poll, State::Sleep, State::Child, State::IoUring].into_iter().all(of));
    let doubtful = [State::Futex, State::Socket, State::Pipe, State::Disk, State::Other];
    assert!(!doubtful.into_iter().any(of));
}

#[test]
fn a_function_called_lock_counts_only_beside_the_system_call() {
    let futex = with(State::Futex, futex(FutexOp::WaitBitset, false), "futex");
    let near = ["syscall", "lock", "lock<std::net::tcp::TcpStream>", "handle"];
    assert!(is_lock(&at(futex.clone(), &near)));
    assert!(!is_lock(&at(futex, &["syscall", "wait", "recv", "run", "lock"])));
}
