//! Which waits are waits for work: no problem, however long.
//!
//! A wait is called idle only for a reason that can be named. Whatever has none counts as work,
//! so a doubt shows up in the report rather than vanishing from it.

use super::functions::{is_answer_function, is_condition_function, is_lock_function};
use crate::model::{Direction, Frame, FutexOp, Role, State, Wait, WaitObject};

/// Why a wait is a wait for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Idle {
    /// An event loop without an event: epoll, poll, select.
    EventLoop,
    /// A server waits for connections.
    Connection,
    /// A server waits for the next request on a connection.
    Request,
    /// A socket of which nothing shows who serves whom, such as an unconnected datagram socket,
    /// waits for data.
    Datagram,
    /// A sleep, or a wait for a signal.
    Timer,
    /// A child process runs.
    Child,
    /// No completion in an io_uring.
    Completion,
    /// A reader of an empty pipe, terminal, eventfd or message queue.
    Input,
    /// A thread of the kernel has nothing to do.
    KernelThread,
    /// A condition variable, a semaphore, a parked thread, or the end of another thread.
    Condition,
}

/// Whether a wait is a wait for work.
pub fn is_waiting_for_work(wait: &Wait) -> bool {
    idle(wait).is_some()
}

/// Why a wait is a wait for work; none if it is not.
pub fn idle(wait: &Wait) -> Option<Idle> {
    if names_any(&wait.stack, |frame| is_lock_function(frame) || is_answer_function(frame)) {
        return None;
    }
    match wait.kind {
        State::Poll => Some(Idle::EventLoop),
        State::Socket => socket(wait),
        State::Sleep => Some(Idle::Timer),
        State::Child => Some(Idle::Child),
        State::IoUring => Some(Idle::Completion),
        State::Pipe => reads(wait).then_some(Idle::Input),
        State::Other => receives_message(wait).then_some(Idle::Input),
        State::Kernel if wait.in_kernel_thread => Some(Idle::KernelThread),
        State::Futex => is_condition(wait).then_some(Idle::Condition),
        _ => None,
    }
}

/// Whether a wait is proven to be one for a lock: by a function that acquires one, or by
/// an operation that exists for locks alone (FUTEX_LOCK_PI). Plain FUTEX_WAIT proves nothing,
/// because condition variables outside of glibc use it too. PostgreSQL waits for some of its locks until an event
/// tells.
pub fn is_lock(wait: &Wait) -> bool {
    let by_operation = matches!(wait.object, WaitObject::Futex { op, .. } if op.is_lock());
    let by_function = names_any(&wait.stack, is_lock_function);
    match wait.kind {
        State::Futex => by_operation || by_function || is_in_lock(&wait.stack),
        State::Poll => by_function,
        _ => false,
    }
}

/// `std::sync::Mutex::lock`, of which debug information says just `lock`, and whose slow path a
/// frame-pointer walk misses: it is the caller of the leaf `syscall`. Any function may have such
/// a name, so it counts only right beside the system call.
fn is_in_lock(stack: &[Frame]) -> bool {
    stack.iter().take(3).any(|frame| frame.bare() == "lock")
}

fn socket(wait: &Wait) -> Option<Idle> {
    let (role, direction) = match &wait.object {
        WaitObject::Inet { role, direction, .. } | WaitObject::Unix { role, direction, .. } => {
            (*role, *direction)
        }
        WaitObject::OtherSocket { direction, .. } => (Role::Unknown, *direction),
        _ => return syscall(wait).starts_with("accept").then_some(Idle::Connection),
    };
    match (direction, role) {
        (Direction::Accept, _) => Some(Idle::Connection),
        (Direction::Receive, Role::Server) => Some(Idle::Request),
        (Direction::Receive, Role::Unknown) => Some(Idle::Datagram),
        (Direction::Receive, Role::Client) | (Direction::Send | Direction::Connect, _) => None,
    }
}

/// Reading from a pipe is waiting for input; writing to a full one is waiting for its reader.
fn reads(wait: &Wait) -> bool {
    let syscall = syscall(wait);
    syscall.starts_with("read") || syscall.starts_with("pread")
}

fn receives_message(wait: &Wait) -> bool {
    matches!(syscall(wait), "msgrcv" | "mq_timedreceive")
}

fn syscall(wait: &Wait) -> &str {
    wait.syscall.as_deref().unwrap_or_default()
}

/// glibc's condition variables, semaphores and pthread_join wait by CLOCK_REALTIME with
/// FUTEX_WAIT_BITSET, its mutexes with plain FUTEX_WAIT (nptl/futex-internal.c, lowlevellock.c).
/// FUTEX_WAIT_REQUEUE_PI exists for condition variables alone. Other libraries are told apart by
/// their functions.
pub(super) fn is_condition(wait: &Wait) -> bool {
    let by_operation = matches!(
        wait.object,
        WaitObject::Futex { op: FutexOp::WaitBitset, realtime: true, .. }
            | WaitObject::Futex { op: FutexOp::WaitRequeuePi, .. }
    );
    by_operation || names_any(&wait.stack, is_condition_function)
}

pub(super) fn names_any(stack: &[Frame], found: impl Fn(&Frame) -> bool) -> bool {
    stack.iter().any(found)
}

#[cfg(test)]
mod tests;
