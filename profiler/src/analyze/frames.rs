//! Which frames of a stack say something.

use crate::model::Frame;

/// Names that only carry a call into the kernel, or a thread to its first function.
const PLUMBING: &[&str] = &[
    "syscall",
    "start_thread",
    "clone",
    "clone3",
    "_start",
    "thread_start",
    "kthread",
    "ret_from_fork",
    "ret_from_fork_asm",
    "schedule",
    "schedule_timeout",
];

/// Beginnings of such names.
const PLUMBING_PREFIXES: &[&str] = &[
    "__libc_start",
    "__GI_",
    "__clone",
    "__schedule",
    "__futex",
    "futex_",
    "__lll_",
    "__syscall",
    "__internal_syscall",
    "__rust_",
    "std::rt::",
    "std::sys::",
    "std::panic",
    "std::thread::Builder",
    "std::thread::lifecycle",
    "core::ops::function::",
    "<alloc::boxed::Box<",
];

/// Functions of libraries and servers through which programs wait: what called them says more.
const LIBRARY: &[&str] = &[
    "read",
    "write",
    "readv",
    "writev",
    "recv",
    "recvfrom",
    "recvmsg",
    "send",
    "sendto",
    "sendmsg",
    "accept",
    "accept4",
    "connect",
    "poll",
    "ppoll",
    "select",
    "pselect",
    "fsync",
    "fdatasync",
    "flock",
    "fcntl",
    "pread64",
    "pwrite64",
    "sleep",
    "usleep",
    "nanosleep",
    "waitpid",
    "wait4",
    // PostgreSQL: what all of it waits in
    "WaitEventSetWait",
    "WaitEventSetWaitBlock",
    "WaitLatch",
    "WaitLatchOrSocket",
];

/// Beginnings of such names; underscores in front are ignored.
const LIBRARY_PREFIXES: &[&str] = &[
    "pthread_",
    "libc_",
    "lll_",
    "sem_",
    "new_sem_",
    "epoll_",
    "clock_nanosleep",
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "<core::",
    "<alloc::",
    "parking_lot",
    "lock_api::",
    "runtime.",
];

/// The names of a stack, innermost first, without those that are in every stack; all of them if
/// no other is there.
pub fn meaningful(stack: &[Frame]) -> Vec<&str> {
    let all = || stack.iter().map(|frame| frame.name.as_str());
    let some: Vec<&str> = all().filter(|name| !is_plumbing(name)).collect();
    if some.is_empty() { all().collect() } else { some }
}

/// The innermost function that belongs to the program rather than to its runtime library.
pub fn culprit(stack: &[Frame]) -> Option<&str> {
    stack
        .iter()
        .map(|frame| frame.name.as_str())
        .find(|name| !is_plumbing(name) && !is_library(name) && !is_address(name))
}

fn is_plumbing(name: &str) -> bool {
    PLUMBING.contains(&name) || PLUMBING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_library(name: &str) -> bool {
    let name = name.trim_start_matches('_');
    let bare = name.split_once('@').map_or(name, |(bare, _)| bare);
    LIBRARY.contains(&bare) || LIBRARY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `module+0xoffset` or an address: no function is known.
fn is_address(name: &str) -> bool {
    name.starts_with("0x") || name.contains("+0x")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::stack;
    use super::*;

    #[test]
    fn the_innermost_own_function_is_named() {
        let frames = stack(&["__lll_lock_wait", "pthread_mutex_lock", "take", "main", "_start"]);
        assert_eq!(culprit(&frames), Some("take"));
        assert_eq!(meaningful(&frames), ["pthread_mutex_lock", "take", "main"]);
        assert_eq!(culprit(&stack(&["std::sync::Mutex::lock", "app::work"])), Some("app::work"));
        assert_eq!(culprit(&stack(&["libc.so.6+0x9caba", "0x7f00"])), None);
        assert_eq!(culprit(&[]), None);
    }

    #[test]
    fn a_stack_of_nothing_else_is_kept() {
        assert_eq!(meaningful(&stack(&["syscall", "_start"])), ["syscall", "_start"]);
    }
}
