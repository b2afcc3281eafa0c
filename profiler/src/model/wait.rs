//! A wait, added up over the threads of a process.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Blame, Frame, Latency, Nanos, Pid, State, Tid};

/// Which side of a connection the waiter is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Its side accepted the connection, or listens.
    Server,
    /// Its side connected.
    Client,
    /// Nothing shows which side listened.
    Unknown,
}

/// What a thread waits for on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Data to come.
    Receive,
    /// Room to send.
    Send,
    /// A connection to come.
    Accept,
    /// A connection to be made.
    Connect,
}

/// An operation of futex(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FutexOp {
    /// FUTEX_WAIT.
    Wait,
    /// FUTEX_LOCK_PI.
    LockPi,
    /// FUTEX_WAIT_BITSET.
    WaitBitset,
    /// FUTEX_WAIT_REQUEUE_PI.
    WaitRequeuePi,
    /// FUTEX_LOCK_PI2.
    LockPi2,
    /// Another one.
    Other,
}

impl FutexOp {
    /// Its name, as in futex(2), lower case and without prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::LockPi => "lock_pi",
            Self::WaitBitset => "wait_bitset",
            Self::WaitRequeuePi => "wait_requeue_pi",
            Self::LockPi2 => "lock_pi2",
            Self::Other => "other",
        }
    }

    /// Whether it takes a lock, and does nothing else.
    pub const fn is_lock(self) -> bool {
        matches!(self, Self::LockPi | Self::LockPi2)
    }
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpFamily {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// What was waited for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WaitObject {
    /// Nothing beyond the system call.
    None,
    /// A futex in the memory of the process.
    Futex {
        /// User address, in hexadecimal.
        #[serde(serialize_with = "hexadecimal")]
        address: u64,
        /// Operation.
        op: FutexOp,
        /// Whether it is private to the process.
        private: bool,
        /// Whether the timeout is measured by CLOCK_REALTIME.
        realtime: bool,
    },
    /// An IP socket.
    #[serde(rename = "socket")]
    Inet {
        /// Which.
        family: IpFamily,
        /// `tcp`, `udp` or the number of another protocol.
        protocol: String,
        /// Local address and port.
        local: String,
        /// Address and port of the peer; `*` for the port if the waits were on several
        /// connections.
        peer: String,
        /// Side of the waiter.
        role: Role,
        /// What for.
        direction: Direction,
    },
    /// A Unix socket.
    #[serde(rename = "socket")]
    Unix {
        /// Always `unix`.
        family: &'static str,
        /// Always `unix`.
        protocol: String,
        /// Path that the waiter's side is bound to; `@` first if abstract, empty if unbound.
        local: String,
        /// Path that the peer is bound to, likewise.
        peer: String,
        /// Side of the waiter.
        role: Role,
        /// What for.
        direction: Direction,
    },
    /// A socket of another family.
    #[serde(rename = "socket")]
    OtherSocket {
        /// Name of the family, or its AF_ number.
        family: String,
        /// What for.
        direction: Direction,
    },
    /// A stored file.
    File {
        /// Inode number.
        inode: u64,
        /// Device, major:minor.
        device: String,
        /// Last component of its path.
        name: String,
        /// Its path as the process sees it, where it could be found.
        path: Option<String>,
    },
    /// A pipe, fifo, terminal, eventfd or the like.
    Pipe {
        /// Inode number.
        inode: u64,
        /// Device, major:minor.
        device: String,
        /// As in /proc/PID/fd.
        name: String,
    },
    /// An epoll instance.
    Epoll {
        /// Its descriptor.
        fd: u32,
    },
    /// An io_uring instance.
    IoUring {
        /// Its descriptor.
        fd: u32,
    },
    /// A kernel function waited in.
    Kernel {
        /// Its name, or address where the kernel hides names.
        function: String,
    },
    /// Several things, for which there was no place one by one.
    Others,
    /// A child process.
    Child {
        /// The argument of wait4(2): a process, or -1 for any.
        pid: i32,
    },
}

fn hexadecimal<S: serde::Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

/// `address:port`, IPv6 in brackets.
pub fn endpoint(address: IpAddr, port: &str) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A thread.
    Thread,
    /// A timer.
    Timer,
    /// The network stack, on behalf of another host or another CPU.
    Network,
    /// A device or another interrupt.
    Irq,
    /// A signal.
    Signal,
    /// No wakeup was seen.
    Unknown,
}

/// A waker and how often it ended waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WakerCount {
    /// Name of the thread; empty where none did it.
    pub comm: String,
    /// The thread; 0 where none did it.
    pub tid: Tid,
    /// Its process; 0 likewise.
    pub pid: Pid,
    /// What it was.
    pub cause: Cause,
    /// Waits ended.
    pub count: u64,
}

impl WakerCount {
    /// By what wakers are ordered: most often first.
    pub fn order(&self) -> impl Ord + use<> {
        (std::cmp::Reverse(self.count), self.cause, self.tid, self.pid)
    }
}

/// How far the walk of a user stack got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackReach {
    /// There is no user stack.
    Nowhere,
    /// Not to the function in which the thread began.
    Truncated,
    /// To the function in which the thread began.
    Entry,
}

/// The number of a row of waits: the same in every profile that one session makes of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(pub u64);

/// Waits of one process of one kind, for one object, from one stack.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Its number.
    pub id: WaitId,
    /// The process.
    pub pid: Pid,
    /// Its name.
    pub comm: String,
    /// Names of the waiting threads, like ones folded: `worker-*`.
    pub thread_groups: Vec<String>,
    /// Kind; always one for which [`State::is_wait`] holds.
    pub kind: State,
    /// System call, by name; none outside of one.
    pub syscall: Option<String>,
    /// What was waited for.
    pub object: WaitObject,
    /// Waits that ended inside the window, or were cut off by its end.
    pub count: u64,
    /// Of these, cut off by the beginning or the end of the window.
    pub clipped: u64,
    /// Of these, cut off by the end: they had lasted so long.
    pub open: Latency,
    /// Their time inside the window.
    pub total: Nanos,
    /// Their durations.
    pub latency: Latency,
    /// Threads that waited.
    pub threads: u64,
    /// Who ended them, most often first.
    pub wakers: Vec<WakerCount>,
    /// Waits ended by wakers that are not in `wakers`.
    pub other_wakers: u64,
    /// Why they took so long, most time first; at most their time in all.
    pub blames: Vec<Blame>,
    /// Innermost first. Rows share it: thousands of threads wait in few places.
    pub stack: Arc<[Frame]>,
    /// How far the walk of it got.
    pub reach: StackReach,
    /// The waiters are kernel threads.
    pub in_kernel_thread: bool,
}

impl Wait {
    /// A row without waits.
    pub fn none(id: WaitId, pid: Pid, kind: State, object: WaitObject) -> Self {
        Self {
            id,
            pid,
            comm: String::new(),
            thread_groups: Vec::new(),
            kind,
            syscall: None,
            object,
            count: 0,
            clipped: 0,
            open: Latency::default(),
            total: Nanos(0),
            latency: Latency::default(),
            threads: 0,
            wakers: Vec::new(),
            other_wakers: 0,
            blames: Vec::new(),
            stack: Arc::default(),
            reach: StackReach::Nowhere,
            in_kernel_thread: false,
        }
    }

    /// By what waits are ordered in a profile: most time first.
    pub fn order(&self) -> impl Ord + '_ {
        (std::cmp::Reverse(self.total), self.pid, self.kind, &self.object, self.count, self.id)
    }
}
