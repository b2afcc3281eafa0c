//! Functions of libraries, runtimes and servers that tell what a wait is.

use crate::model::Frame;

/// Functions that wait for something to be announced.
pub fn is_condition_function(frame: &Frame) -> bool {
    const PARTS: &[&str] = &[
        "pthread_cond_wait",
        "pthread_cond_timedwait",
        "pthread_cond_clockwait",
        "Condvar",
        "condition_variable::wait",
        "sem_wait",
        "sem_timedwait",
        "sem_clockwait",
        "new_sem_wait",
        "pthread_join",
        "pthread_timedjoin",
        "pthread_clockjoin",
        "thread::join",
        "JoinHandle",
        "JoinInner",
    ];
    // A Go runtime thread without a goroutine (runtime/lock_futex.go, proc.go).
    const EXACT: &[&str] = &[
        "runtime.notesleep",
        "runtime.notetsleep",
        "runtime.notetsleep_internal",
        "runtime.notetsleepg",
        "runtime.mPark",
        "runtime.stopm",
    ];
    // Not `parking_lot::…::lock_slow`: only the function itself counts, not the path to it.
    let (name, last) = (frame.name.as_str(), frame.last_segment());
    PARTS.iter().any(|part| name.contains(part))
        || EXACT.contains(&name)
        || matches!(last, "park" | "park_timeout" | "park_until" | "Unsafe_Park")
}

/// Functions that acquire a lock: whatever they wait in, the wait lies inside work.
pub fn is_lock_function(frame: &Frame) -> bool {
    const LOCKS: &[&str] = &[
        // glibc
        "lll_lock_wait",
        "lll_lock_wait_private",
        // Rust's standard library and parking_lot
        "lock_contended",
        "read_contended",
        "write_contended",
        "lock_slow",
        "lock_shared_slow",
        "lock_exclusive_slow",
        "lock_upgradable_slow",
        // Go, CPython, OpenJDK
        "runtime.lock2",
        "take_gil",
        "EnterI",
        // PostgreSQL: locks on rows and pages
        "LWLockAcquire",
        "LWLockAcquireOrWait",
        "LWLockWaitForVar",
        "ProcSleep",
        // InnoDB
        "lock_wait_suspend_thread",
    ];
    let bare = frame.bare();
    // `pthread_mutex_lock_full`, `pthread_mutex_clocklock_common`, `pthread_rwlock_rdlock_full64`, …
    let of_pthread = bare.starts_with("pthread_mutex_") || bare.starts_with("pthread_rwlock_");
    LOCKS.contains(&bare) || (of_pthread && !bare.contains("unlock"))
}

/// Whether a thread waits for its client to go on: a database's server reading the next command, in
/// PostgreSQL and in MySQL.
pub fn is_reading_command(frame: &Frame) -> bool {
    matches!(frame.bare(), "secure_read" | "my_net_read" | "net_read_packet")
}

/// What a lock of a database is on, by the functions that wait for it; nothing where they do not tell. A lightweight lock
/// of PostgreSQL is on what its caller says: further out may be the lock manager, which takes some for itself.
pub fn locked_thing(stack: &[Frame]) -> Option<&'static str> {
    let lightweight = stack.iter().position(|frame| frame.bare().starts_with("LWLock"));
    match lightweight {
        Some(at) => stack.get(at + 1).and_then(thing_of),
        None => stack.iter().find_map(thing_of),
    }
}

/// Who waits for a row waits for the transaction that has changed it, or for its turn to do that.
fn thing_of(frame: &Frame) -> Option<&'static str> {
    match frame.bare() {
        "XactLockTableWait" | "MultiXactIdWait" | "LockTuple" | "heap_acquire_tuplock" => {
            Some("a row")
        }
        "lock_wait_suspend_thread" => Some("a row"),
        "LockRelationOid" | "LockRelation" | "LockRelationForExtension" => Some("a table"),
        "LockBuffer" => Some("a page"),
        _ => None,
    }
}

/// Functions of a server around those that take its locks: what they are called from says more.
pub fn is_lock_manager(frame: &Frame) -> bool {
    const NAMES: [&str; 11] = [
        "WaitOnLock",
        "LockAcquireExtended",
        "LockAcquire",
        "XactLockTableWait",
        "MultiXactIdWait",
        "LockTuple",
        "LockRelationOid",
        "LockBuffer",
        "heap_acquire_tuplock",
        "PGSemaphoreLock",
        "LWLockQueueSelf",
    ];
    NAMES.contains(&frame.bare())
}

/// Functions that wait for an answer: likewise.
pub fn is_answer_function(frame: &Frame) -> bool {
    // PostgreSQL: that of a standby; libpq: that of the server.
    const ANSWERS: &[&str] = &["SyncRepWaitForLSN", "pqWait", "pqWaitTimed"];
    ANSWERS.contains(&frame.bare())
}
