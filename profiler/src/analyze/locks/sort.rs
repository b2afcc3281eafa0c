//! What sort of lock a wait is for, and how that is known.

use super::super::functions::{is_condition_function, is_lock_function, locked_thing};
use super::super::{idle, is_lock};
use crate::model::{Frame, State, Wait, WaitObject};

/// Sorts of locks, and of what looks like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// Held by one at a time.
    Lock,
    /// Held by one writer or several readers.
    ReadWriteLock,
    /// What lets one thread at a time interpret a program.
    Interpreter,
    /// A lock that a database keeps: on a row, a table, a page.
    Database,
    /// A lock on a file.
    File,
    /// A lock inside the kernel.
    Kernel,
    /// All wait for the last, or for the first to have done something once.
    Barrier,
    /// A futex of which nothing tells what it is.
    Unknown,
    /// Locks for which there was no place one by one.
    Others,
    /// Counts what is there to be taken.
    Semaphore,
    /// Something is announced; parked threads.
    Condition,
    /// The end of another thread.
    Join,
}

/// A sort, and the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sorted {
    /// What it is.
    pub sort: Sort,
    /// How that is known, in a few words.
    pub evidence: String,
    /// What its address tells: nothing where each waiter has a futex of its own.
    pub own_address: bool,
    /// What a database's lock is on, where its functions tell.
    pub thing: Option<&'static str>,
}

/// The value that glibc's mutexes, and those of Rust's standard library, hold while somebody waits
/// (sysdeps/nptl/lowlevellock.h; library/std/src/sys/sync/mutex/futex.rs).
const CONTENDED: u32 = 2;

/// What a wait is for; none if it is for nothing that could be a lock. `value` is what its waiters
/// expect in the futex.
pub fn sort(wait: &Wait, value: Option<u32>, in_interpreter: bool) -> Option<Sorted> {
    let kind = wait.kind;
    if matches!(wait.object, WaitObject::Others) && kind == State::Futex {
        return Some(sorted(Sort::Others, "no place in the table of waits".to_owned(), true));
    }
    if kind == State::FileLock {
        return Some(sorted(Sort::File, "the system call".to_owned(), true));
    }
    if let Some(found) = by_database(&wait.stack) {
        return Some(found);
    }
    if kind != State::Futex {
        return None;
    }
    if let Some(name) = find(&wait.stack, is_interpreter) {
        return Some(sorted(Sort::Interpreter, in_stack(name), true));
    }
    if in_interpreter {
        let evidence = "it lies in the state of the interpreter".to_owned();
        return Some(sorted(Sort::Interpreter, evidence, true));
    }
    if let WaitObject::Futex { op, .. } = wait.object
        && op.is_lock()
    {
        return Some(sorted(Sort::Lock, format!("the operation {}", op.name()), true));
    }
    if let Some(found) = by_functions(&wait.stack) {
        return Some(found);
    }
    if is_lock(wait) {
        return Some(sorted(Sort::Lock, "lock beside the system call".to_owned(), true));
    }
    if idle(wait).is_some() {
        let evidence = "the operation is that of a condition variable".to_owned();
        return Some(sorted(Sort::Condition, evidence, true));
    }
    Some(match value {
        Some(CONTENDED) => {
            let evidence = "the value 2, which a contended mutex holds".to_owned();
            sorted(Sort::Lock, evidence, true)
        }
        _ => sorted(Sort::Unknown, "nothing in its stack".to_owned(), true),
    })
}

fn sorted(sort: Sort, evidence: String, own_address: bool) -> Sorted {
    Sorted { sort, evidence, own_address, thing: None }
}

fn in_stack(frame: &Frame) -> String {
    format!("{} in the stack", frame.last_segment())
}

fn find(stack: &[Frame], wanted: impl Fn(&Frame) -> bool) -> Option<&Frame> {
    stack.iter().find(|frame| wanted(frame))
}

/// The lock of a database that is waited for in `stack`: its sort, and what it is on.
pub fn database_lock(stack: &[Frame]) -> Option<(Sort, Option<&'static str>)> {
    by_database(stack).map(|found| (found.sort, found.thing))
}

/// PostgreSQL waits for a lock of its own on a semaphore or latch of the waiting process; InnoDB on a
/// condition of the waiting thread.
fn by_database(stack: &[Frame]) -> Option<Sorted> {
    const NAMES: [&str; 5] = [
        "LWLockAcquire",
        "LWLockAcquireOrWait",
        "LWLockWaitForVar",
        "ProcSleep",
        "lock_wait_suspend_thread",
    ];
    let name = find(stack, |frame| NAMES.contains(&frame.bare()))?;
    let thing = locked_thing(stack);
    Some(Sorted { thing, ..sorted(Sort::Database, in_stack(name), false) })
}

/// CPython, Ruby.
fn is_interpreter(frame: &Frame) -> bool {
    const NAMES: [&str; 5] = [
        "take_gil",
        "gvl_acquire",
        "gvl_acquire_common",
        "rb_gvl_acquire",
        "thread_sched_to_running",
    ];
    NAMES.contains(&frame.bare())
}

/// A function that takes a lock tells more than one that waits: a lock can be made of a condition
/// variable, and a mutex is taken again at the end of a wait for one.
fn by_functions(stack: &[Frame]) -> Option<Sorted> {
    let found = stack.iter().find_map(|frame| Some((held(frame)?, frame)));
    let announced = || stack.iter().find_map(|frame| Some((announced(frame)?, frame)));
    let (sort, frame) = found.or_else(announced)?;
    // parking_lot, and `park` of any runtime, wait on a futex of the waiting thread.
    let of_parking_lot =
        |frame: &Frame| frame.name.contains("parking_lot") || frame.name.contains("lock_api");
    let parked = stack.iter().any(of_parking_lot) || frame.last_segment().starts_with("park");
    Some(sorted(sort, in_stack(frame), !parked))
}

/// What somebody has meanwhile.
pub fn held(frame: &Frame) -> Option<Sort> {
    let (name, bare) = (frame.name.as_str(), frame.bare());
    if is_read_write(name, bare) {
        Some(Sort::ReadWriteLock)
    } else if is_barrier(name, bare) {
        Some(Sort::Barrier)
    } else {
        is_lock_function(frame).then_some(Sort::Lock)
    }
}

/// What somebody will announce.
fn announced(frame: &Frame) -> Option<Sort> {
    let (name, bare) = (frame.name.as_str(), frame.bare());
    if is_semaphore(bare) {
        Some(Sort::Semaphore)
    } else if is_join(name, bare) {
        Some(Sort::Join)
    } else {
        is_condition_function(frame).then_some(Sort::Condition)
    }
}

fn is_read_write(name: &str, bare: &str) -> bool {
    const NAMES: [&str; 6] = [
        "read_contended",
        "write_contended",
        "lock_shared_slow",
        "lock_exclusive_slow",
        "lock_upgradable_slow",
        "upgrade_slow",
    ];
    NAMES.contains(&bare) || bare.starts_with("pthread_rwlock_") || name.contains("RWMutex")
}

fn is_barrier(name: &str, bare: &str) -> bool {
    matches!(bare, "pthread_barrier_wait" | "pthread_once" | "pthread_once_slow")
        || name.contains("Barrier::wait")
        || name.contains("Barrier>::wait")
        || name.contains("Once::call")
}

fn is_semaphore(bare: &str) -> bool {
    bare.starts_with("sem_") || bare.starts_with("new_sem_wait")
}

fn is_join(name: &str, bare: &str) -> bool {
    matches!(bare, "pthread_join" | "pthread_timedjoin_np" | "pthread_clockjoin_ex")
        || ["thread::join", "JoinHandle", "JoinInner"].iter().any(|part| name.contains(part))
}

impl Sort {
    /// Whether waiting for it is waiting for somebody who has it, rather than for work.
    pub fn is_contention(self) -> bool {
        !matches!(self, Self::Semaphore | Self::Condition | Self::Join)
    }

    /// Whether somebody holds it for some time.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Lock)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{futex, stack, wait};
    use super::*;
    use crate::model::FutexOp;

    fn of(names: &[&str]) -> Sort {
        let mut wait = wait(State::Futex, futex(FutexOp::Wait, false), 1_000_000, 1);
        wait.stack = stack(names);
        sort(&wait, None, false).expect("a futex is of some sort").sort
    }

    #[test]
    fn functions_tell_the_sort() {
        assert_eq!(of(&["__lll_lock_wait", "pthread_mutex_lock", "work"]), Sort::Lock);
        assert_eq!(
            of(&["__futex_abstimed_wait_common", "pthread_rwlock_wrlock"]),
            Sort::ReadWriteLock
        );
        assert_eq!(
            of(&["pthread_cond_wait", "take_gil", "PyEval_RestoreThread"]),
            Sort::Interpreter
        );
        assert_eq!(of(&["do_futex_wait", "sem_wait", "consume"]), Sort::Semaphore);
        assert_eq!(of(&["pthread_cond_wait", "std::sync::barrier::Barrier::wait"]), Sort::Barrier);
        assert_eq!(of(&["pthread_cond_wait", "pool_main"]), Sort::Condition);
        assert_eq!(of(&["__pthread_clockjoin_ex", "main"]), Sort::Join);
        assert_eq!(of(&["syscall", "frobnicate"]), Sort::Unknown);
        let parked = ["syscall", "parking_lot::raw_mutex::RawMutex::lock_slow", "work"];
        assert_eq!(of(&parked), Sort::Lock);
        let semaphore =
            ["do_futex_wait", "sem_wait", "PGSemaphoreLock", "LWLockAcquire", "XLogInsert"];
        assert_eq!(of(&semaphore), Sort::Database);
    }

    #[test]
    fn without_functions_the_value_tells() {
        let wait = wait(State::Futex, futex(FutexOp::Wait, false), 1_000_000, 1);
        assert_eq!(sort(&wait, Some(2), false).map(|found| found.sort), Some(Sort::Lock));
        assert_eq!(sort(&wait, Some(7), false).map(|found| found.sort), Some(Sort::Unknown));
        assert_eq!(sort(&wait, None, true).map(|found| found.sort), Some(Sort::Interpreter));
    }

    #[test]
    fn other_waits_are_locks_only_where_a_database_says_so() {
        let mut wait = wait(State::Poll, WaitObject::Epoll { fd: 3 }, 1_000_000, 1);
        assert_eq!(sort(&wait, None, false), None);
        wait.stack = stack(&["epoll_wait", "WaitEventSetWait", "ProcSleep", "heap_update"]);
        assert_eq!(sort(&wait, None, false).map(|found| found.sort), Some(Sort::Database));
    }

    #[test]
    fn a_lock_of_the_lock_manager_is_on_no_row() {
        let thing = |names: &[&str]| {
            let mut wait = wait(State::Poll, WaitObject::Epoll { fd: 3 }, 1_000_000, 1);
            wait.stack = stack(names);
            sort(&wait, None, false).and_then(|found| found.thing)
        };
        assert_eq!(thing(&["epoll_wait", "ProcSleep", "LockTuple", "heap_update"]), Some("a row"));
        let inner = ["sem_wait", "PGSemaphoreLock", "LWLockAcquire", "ProcSleep", "LockTuple"];
        assert_eq!(thing(&inner), None);
        assert_eq!(thing(&["sem_wait", "LWLockAcquire", "LockBuffer"]), Some("a page"));
    }
}
