//! Kinds, objects and causes in plain words.

use super::units::{count, counted};
use crate::analyze::{Activity, Idle, Sort, TopWait, is_reading_command};
use crate::model::{
    Cause, Direction, Doing, Frame, FutexOp, Part, Place, Protocol, RequestLabel, Role, State,
    WaitObject,
};

/// What the time of an activity is spent on, after "x % of its working time is spent".
pub fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Running => "running",
        Activity::Runnable => "waiting for a CPU",
        Activity::Lock => "waiting for a lock",
        Activity::Blocked(kind) => match kind {
            State::Futex => "waiting for a lock or condition",
            State::Socket => "waiting on a socket",
            State::Poll => "waiting for an event",
            State::Sleep => "sleeping",
            State::Disk => "waiting for the disk",
            State::PageFault => "waiting in page faults",
            State::Pipe => "waiting on a pipe",
            State::FileLock => "waiting for a file lock",
            State::Child => "waiting for a child process",
            State::IoUring => "waiting for io_uring",
            State::Kernel => "waiting inside the kernel",
            State::Stopped => "stopped",
            _ => "waiting for something else",
        },
    }
}

/// A wait: its kind, and what it is for. A lock of a database says both.
pub fn wait(wait: &TopWait) -> String {
    match wait.database_lock {
        Some(lock) => self::lock(lock),
        None => format!("{}: {}", kind(wait), object(wait)),
    }
}

/// The kind of a wait.
pub fn kind(wait: &TopWait) -> &'static str {
    match wait.kind {
        State::Futex if wait.idle.is_some() => "condition (futex)",
        State::Futex if wait.is_lock => "lock (futex)",
        State::Futex => "lock or condition (futex)",
        State::Socket => "socket",
        State::Poll if wait.idle.is_some() => "event loop (poll)",
        State::Poll => "event (poll)",
        State::Sleep => "sleep",
        State::Disk => "disk",
        State::PageFault => "page fault",
        State::Pipe => "pipe",
        State::FileLock => "file lock",
        State::Child => "child process",
        State::IoUring => "io_uring",
        State::Kernel => "kernel",
        State::Stopped => "stopped",
        _ => "other",
    }
}

/// Why a wait is no problem.
pub fn idle(reason: Idle) -> &'static str {
    match reason {
        Idle::EventLoop => "waiting for work: an event loop without an event",
        Idle::Connection => "waiting for work: the next connection",
        Idle::Request => "waiting for work: the next request",
        Idle::Datagram => "waiting for work: data on a socket without client or server",
        Idle::Timer => "waiting for a time or a signal",
        Idle::Child => "waiting for a child's end",
        Idle::Completion => "waiting for work: a completion",
        Idle::Input => "waiting for work: input",
        Idle::KernelThread => "waiting for work: a kernel thread at rest",
        Idle::Condition => "waiting for work: a condition, not a lock",
    }
}

/// What was waited for.
pub fn object(wait: &TopWait) -> String {
    what(&wait.object, wait.syscall.as_deref())
}

/// What was waited for, in this system call.
pub fn what(object: &WaitObject, syscall: Option<&str>) -> String {
    match object {
        WaitObject::Futex { address, op, private, .. } => futex(*address, *op, *private),
        WaitObject::Inet { protocol, local, peer, role, direction, .. } => {
            let what = match direction {
                Direction::Receive => format!("from {peer}"),
                Direction::Send => format!("to {peer}"),
                Direction::Accept => format!("connections to {local}"),
                Direction::Connect => format!("connecting to {peer}"),
            };
            format!("{what} ({protocol}{})", side(*role))
        }
        WaitObject::Unix { local, peer, role, direction, .. } => {
            let path = if *role == Role::Server { local } else { peer };
            let blank = if path.is_empty() { "" } else { " " };
            format!("{}{blank}{path} (unix{})", way(*direction), side(*role))
        }
        WaitObject::OtherSocket { family, direction } => format!("{} ({family})", way(*direction)),
        WaitObject::File { inode, device, name, path } => {
            named("file", path.as_deref().unwrap_or(name), *inode, device)
        }
        WaitObject::Pipe { inode, device, name } => named("", name, *inode, device),
        WaitObject::Epoll { fd } => format!("epoll descriptor {fd}"),
        WaitObject::IoUring { fd } => format!("descriptor {fd}"),
        WaitObject::Kernel { function } => format!("kernel function {function}"),
        WaitObject::Others => "several, for which there was no place one by one".to_owned(),
        WaitObject::Child { pid: -1 } => "any child".to_owned(),
        WaitObject::Child { pid } if *pid > 0 => format!("process {pid}"),
        WaitObject::Child { .. } => "any child of a group".to_owned(),
        WaitObject::None => in_syscall(syscall),
    }
}

/// A futex: its address, and what is unusual about it.
pub fn futex(address: u64, op: FutexOp, private: bool) -> String {
    let sharing = if private { "private" } else { "shared" };
    match op {
        FutexOp::Wait | FutexOp::WaitBitset => format!("futex {address:#x} {sharing}"),
        _ => format!("futex {address:#x} {sharing}, {}", op.name()),
    }
}

fn in_syscall(syscall: Option<&str>) -> String {
    match syscall {
        Some(name) => format!("in {name}"),
        None => "outside of system calls".to_owned(),
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Receive => "from its peer",
        Direction::Send => "to its peer",
        Direction::Accept => "connections",
        Direction::Connect => "connecting",
    }
}

fn side(role: Role) -> &'static str {
    match role {
        Role::Server => ", server side",
        Role::Client => ", client side",
        Role::Unknown => "",
    }
}

fn named(what: &str, name: &str, inode: u64, device: &str) -> String {
    let blank = if what.is_empty() { "" } else { " " };
    match name {
        "" => format!("{what}{blank}inode {inode} on device {device}"),
        _ => format!("{what}{blank}{name}"),
    }
}

/// Who ended waits.
pub fn waker(group: &str, cause: Cause) -> &str {
    match cause {
        Cause::Thread => name_or_none(group),
        Cause::Timer => "timer",
        Cause::Network => "network",
        Cause::Irq => "interrupt",
        Cause::Signal => "a signal",
        Cause::Unknown => "unseen",
    }
}

/// The name, or what stands for an empty one.
pub fn name_or_none(name: &str) -> &str {
    if name.is_empty() { "(no name)" } else { name }
}

/// The process of a wait: `postgres, pid 42` or `postgres, 32 processes`.
pub fn process(wait: &TopWait) -> String {
    let name = name_or_none(&wait.comm);
    match wait.pids.first() {
        Some(only) if wait.pids.len() == 1 => format!("{name}, pid {only}"),
        _ => format!("{name}, {}", counted(wait.pids.len() as u64, "process")),
    }
}

/// `, 3 cut off by the window's edges`; nothing if none was.
pub fn clipped(number: u64) -> String {
    match number {
        0 => String::new(),
        _ => format!(", {} cut off by the window's edges", count(number)),
    }
}

/// A place in a few characters; empty where it is not known.
pub fn place(place: &Place) -> String {
    match place {
        Place::Variable { name, offset: 0, .. } => name.clone(),
        Place::Variable { name, offset, .. } => format!("{name}+{offset:#x}"),
        Place::Module { module, offset, code: _ } => format!("{module}+{offset:#x}"),
        Place::Heap => "heap".to_owned(),
        Place::Stack => "stack".to_owned(),
        Place::Shared { path, offset, .. } => format!("{path}+{offset:#x}"),
        Place::Anonymous => "memory without a file".to_owned(),
        Place::Unknown => String::new(),
    }
}

/// A sort of lock.
pub fn sort(sort: Sort) -> &'static str {
    match sort {
        Sort::Lock => "lock",
        Sort::ReadWriteLock => "read-write lock",
        Sort::Interpreter => "interpreter lock",
        Sort::Database => "database lock",
        Sort::File => "file lock",
        Sort::Kernel => "kernel lock",
        Sort::Barrier => "barrier",
        Sort::Unknown => "futex of an unknown sort",
        Sort::Others => "other locks",
        Sort::Semaphore => "semaphore",
        Sort::Condition => "condition",
        Sort::Join => "end of a thread",
    }
}

/// A sort of lock, and what it is on: `database lock on a row`.
pub fn lock((sort, thing): (Sort, Option<&'static str>)) -> String {
    let on = thing.map(|thing| format!(" on {thing}")).unwrap_or_default();
    format!("{}{on}", self::sort(sort))
}

/// Whether a thread waits for its client to go on.
pub fn is_waiting_for_client(stack: &[Frame]) -> bool {
    stack.iter().any(is_reading_command)
}

/// What a thread was doing while others waited for it.
pub fn doing(doing: &Doing) -> String {
    match doing {
        Doing::Running => "running".to_owned(),
        Doing::Runnable => "waiting for a CPU".to_owned(),
        Doing::Queued => "itself in the queue".to_owned(),
        Doing::NotFollowed => "not followed: see what it does with -a, or its pid".to_owned(),
        Doing::Forgotten => "not known: too many waits ago".to_owned(),
        Doing::Waiting { stack, .. } if is_waiting_for_client(stack) => {
            "waiting for its client to go on (idle in transaction)".to_owned()
        }
        Doing::Waiting { kind, syscall, object, .. } => {
            let what = what(object, syscall.as_deref());
            match kind {
                State::Sleep => "sleeping".to_owned(),
                State::Futex => format!("waiting for {what}"),
                State::Disk => format!("waiting for the disk, {what}"),
                _ => format!("{}, {what}", activity(Activity::Blocked(*kind))),
            }
        }
    }
}

/// A part of the time of a request.
pub fn part(part: Part) -> &'static str {
    match part {
        Part::Queued => "in the socket, nobody came",
        Part::BehindOthers => "behind other requests",
        Part::HandedOver => "handed to another thread",
        Part::Peers => "waiting for peers",
        Part::In(state) => match state {
            State::Running => "running",
            State::Runnable => "waiting for a CPU",
            State::Futex => "lock or condition (futex)",
            State::Socket => "socket",
            State::Poll => "event (poll)",
            State::Sleep => "sleep",
            State::Disk => "disk",
            State::PageFault => "page fault",
            State::Pipe => "pipe",
            State::FileLock => "file lock",
            State::Child => "child process",
            State::IoUring => "io_uring",
            State::Kernel => "inside the kernel",
            State::Stopped => "stopped",
            State::Other => "other system calls",
            State::Unattributed | State::Unsettled => "in no known state",
        },
    }
}

/// What a request asks for.
pub fn label(label: &RequestLabel) -> String {
    match (label.protocol, label.text.as_str()) {
        (Protocol::Unknown, "") => "any request".to_owned(),
        (protocol, "") => format!("any {} request", protocol.name()),
        (_, text) => text.to_owned(),
    }
}
