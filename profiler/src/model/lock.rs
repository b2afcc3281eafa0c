//! What is known about locks beyond the waits for them.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CodeAddress, Frame, FutexOp, Latency, Nanos, Pid, State, Tid, WaitObject};

/// Place of a [`Reason`] in [`super::Profile::reasons`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonId(pub u32);

/// Why a wait took so long: who ended it, and what that thread was doing meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    /// Process of the thread that ended the wait.
    pub pid: Pid,
    /// Name of the thread, like ones folded: `worker-*`.
    pub group: String,
    /// Whence it ended the wait, innermost first.
    pub release: Arc<[Frame]>,
    /// What it was doing while the other waited.
    pub doing: Doing,
}

/// What a thread was doing while another one waited for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// On a CPU.
    Running,
    /// Waiting for a CPU.
    Runnable,
    /// Waiting itself.
    Waiting {
        /// Kind of wait.
        kind: State,
        /// System call, by name; none outside of one.
        syscall: Option<String>,
        /// What for.
        object: WaitObject,
        /// Where, innermost first.
        stack: Arc<[Frame]>,
        /// Why that took so long, where a thread ended it that is known.
        next: Option<ReasonId>,
    },
    /// It was in the same queue, and others held the lock.
    Queued,
    /// The thread is not among those that are followed.
    NotFollowed,
    /// It was so long ago that nothing is kept of it.
    Forgotten,
}

/// How much of the time of some waits goes to a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    /// The reason.
    pub reason: ReasonId,
    /// Their time.
    pub time: Nanos,
    /// Waits that were looked at.
    pub count: u64,
}

impl Blame {
    /// By what reasons are ordered: most time first.
    pub fn order(&self) -> impl Ord + use<> {
        (Reverse(self.time), self.reason)
    }
}

/// A futex that threads waited for.
#[derive(Clone, Debug)]
pub struct Futex {
    /// One of the processes that wait.
    pub pid: Pid,
    /// Its address there.
    pub address: u64,
    /// Whether it is private to the process.
    pub private: bool,
    /// What lies there.
    pub place: Place,
    /// Who waits at the same time.
    pub queue: Queue,
    /// How long it was held, where it is a lock.
    pub holds: Holds,
    /// The value that waiters expect in it; none if they expect several.
    pub value: Option<u32>,
}

impl Futex {
    /// By what they are ordered in a profile.
    pub fn order(&self) -> impl Ord + use<> {
        (self.pid, self.address, self.private)
    }
}

/// The threads that wait for a futex at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Most at a time.
    pub most: u64,
    /// Time inside the window in which at least one waited.
    pub busy: Nanos,
}

/// Times that a lock was held, as far as others waited for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Those whose beginning is known.
    pub count: u64,
    /// Their time.
    pub total: Nanos,
    /// The longest.
    pub longest: Nanos,
    /// Those that began before anybody waited.
    pub partial: u64,
}

/// Where an address of a process lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In a variable of a program or library.
    Variable {
        /// Base name of the file.
        module: String,
        /// Its name.
        name: String,
        /// Bytes from its start.
        offset: u64,
    },
    /// In the data of a program or library, which names no variable there.
    Module {
        /// Base name of the file.
        module: String,
        /// Bytes from the start of the file, as it is in memory.
        offset: u64,
        /// The same for whoever names it later, where that is possible.
        #[serde(skip)]
        code: Option<CodeAddress>,
    },
    /// On the heap.
    Heap,
    /// On the stack of a thread.
    Stack,
    /// In memory that is shared with other processes.
    Shared {
        /// Path of the file, or what the kernel shows for shared memory.
        path: String,
        /// Device and inode number: the same memory in each process.
        file: (u64, u64),
        /// Bytes from its start.
        offset: u64,
    },
    /// In memory without a file.
    Anonymous,
    /// Nobody knows: the process is gone.
    Unknown,
}

/// Waits of the threads of a process for a lock inside the kernel, from one place in it.
#[derive(Clone, Debug)]
pub struct KernelLock {
    /// The process.
    pub pid: Pid,
    /// Its name.
    pub comm: String,
    /// Names of the waiting threads, like ones folded.
    pub thread_groups: Vec<String>,
    /// What sort of lock.
    pub sort: KernelLockSort,
    /// It is the `mmap_lock` of the process's address space.
    pub is_mmap_lock: bool,
    /// Where in the kernel, innermost first.
    pub stack: Arc<[Frame]>,
    /// Different locks than the first were among them.
    pub is_several: bool,
    /// Waits.
    pub count: u64,
    /// Their time.
    pub total: Nanos,
    /// Their durations.
    pub latency: Latency,
    /// Threads that waited.
    pub threads: u64,
}

impl KernelLock {
    /// By what they are ordered in a profile: most time first.
    pub fn order(&self) -> impl Ord + use<> {
        let place: Vec<u64> = self.stack.iter().map(|frame| frame.address).collect();
        (Reverse(self.total), self.pid, self.sort, self.count, place)
    }
}

/// Sorts of locks in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelLockSort {
    /// Waits on the CPU.
    Spinning,
    /// A mutex.
    Mutex,
    /// A reader-writer semaphore, for reading.
    Read,
    /// A reader-writer semaphore, for writing.
    Write,
    /// A real-time mutex.
    RealTime,
}

/// A thread that waits for a futex when the window ends.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// Its name.
    pub comm: String,
    /// The futex.
    pub address: u64,
    /// The operation.
    pub op: FutexOp,
    /// How long it has waited, inside the window.
    pub waited: Nanos,
    /// Where, innermost first.
    pub stack: Arc<[Frame]>,
    /// The first words at the address, where they can be read: see [`super::lock`].
    pub words: Option<[u32; 3]>,
}

impl Stuck {
    /// By what they are ordered in a profile.
    pub fn order(&self) -> impl Ord + use<> {
        (self.pid, self.tid)
    }
}

/// Waits of a group of threads for a CPU that were long enough to be looked at one by one.
#[derive(Clone, Debug)]
pub struct CpuWait {
    /// The process.
    pub pid: Pid,
    /// Its name.
    pub comm: String,
    /// Names of the threads, like ones folded.
    pub thread_groups: Vec<String>,
    /// After a preemption or a yield; else after a wakeup.
    pub preempted: bool,
    /// Waits.
    pub count: u64,
    /// Their time.
    pub total: Nanos,
    /// Their durations.
    pub latency: Latency,
    /// Threads that waited.
    pub threads: u64,
    /// Who had the CPU before, most often first; the cause `irq` stands for nobody: it was idle.
    pub behind: Vec<super::WakerCount>,
    /// Waits behind others than those.
    pub other_behind: u64,
}

impl CpuWait {
    /// By what they are ordered in a profile: most time first.
    pub fn order(&self) -> impl Ord + use<> {
        (Reverse(self.total), self.pid, self.preempted)
    }
}
