//! The states a thread can be in, and the kinds of wait.

/// What a thread is doing at an instant. Exactly one holds at any time.
///
/// The discriminants index [`crate::thread::ThreadRecord::totals_ns`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Seen by the seeding pass, no event yet: the first event tells what it was.
    Unsettled = 0,
    /// Switched in on a CPU.
    Running = 1,
    /// Ready, waiting for a CPU: preempted, or woken and not yet switched in.
    Runnable = 2,
    /// Blocked in futex(2) or one of its relatives.
    Futex = 3,
    /// Blocked in a socket call.
    Socket = 4,
    /// Blocked in epoll/poll/select.
    Poll = 5,
    /// Blocked in a sleep, or waiting for a signal.
    Sleep = 6,
    /// Waiting for block I/O.
    Disk = 7,
    /// Blocked outside any system call: a page fault.
    PageFault = 8,
    /// Blocked on a pipe, fifo, eventfd or terminal.
    Pipe = 9,
    /// Blocked in flock(2) or an fcntl(2) lock.
    FileLock = 10,
    /// Waiting for a child process.
    Child = 11,
    /// Blocked in io_uring_enter(2).
    IoUring = 12,
    /// A kernel lock or other uninterruptible wait, and all waits of kernel threads.
    Kernel = 13,
    /// Stopped, traced or frozen.
    Stopped = 14,
    /// Blocked in a system call that is named but has no kind of its own.
    Other = 15,
    /// Time that could not be attributed to any of the above.
    Unattributed = 16,
}

impl State {
    /// Number of states; the length of a table indexed by state.
    pub const COUNT: usize = 17;

    /// Every state, in the order of their discriminants.
    pub const ALL: [State; Self::COUNT] = [
        State::Unsettled,
        State::Running,
        State::Runnable,
        State::Futex,
        State::Socket,
        State::Poll,
        State::Sleep,
        State::Disk,
        State::PageFault,
        State::Pipe,
        State::FileLock,
        State::Child,
        State::IoUring,
        State::Kernel,
        State::Stopped,
        State::Other,
        State::Unattributed,
    ];

    /// The state with this discriminant, if there is one.
    pub const fn from_raw(raw: u8) -> Option<State> {
        if (raw as usize) < Self::COUNT { Some(Self::ALL[raw as usize]) } else { None }
    }

    /// Whether this is one of the kinds of blocked wait (`unattributed` is not).
    pub const fn is_wait(self) -> bool {
        is_wait(self as u8)
    }
}

/// [`State::is_wait`] for a discriminant that has not been parsed (the probes keep it raw).
#[inline(always)]
pub const fn is_wait(raw: u8) -> bool {
    raw >= State::Futex as u8 && raw <= State::Other as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discriminants_are_the_order_of_all() {
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
            assert_eq!(State::from_raw(index as u8), Some(state));
        }
        assert_eq!(State::from_raw(State::COUNT as u8), None);
    }
}
