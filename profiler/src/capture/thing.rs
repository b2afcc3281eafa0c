//! What a recording has figures of, as it is written down once: who, where, what for. See docs/recording.md.

use serde::{Deserialize, Serialize};

use crate::model::{
    Cause, Direction, FutexOp, IpFamily, KernelLockSort, Nanos, Pid, Place, RequestLabel, Role,
    StackReach, State, TargetKind, Tid, WaitObject, state_name, state_named,
};

/// A number of a thing in its recording, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThingId(pub u32);

/// Sorts of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Head,
    Supply,
    Quota,
    Cpu,
    Thread,
    CodeFile,
    Stack,
    Wait,
    Waker,
    Reason,
    Blame,
    Futex,
    KernelLock,
    CpuWait,
    Behind,
    Stuck,
    Requests,
    Service,
    Group,
    Band,
    Longest,
    Called,
    Slow,
    Server,
    Peer,
    Place,
}

impl Kind {
    /// Every sort.
    const ALL: [(Kind, &'static str); 26] = [
        (Kind::Head, "head"),
        (Kind::Supply, "supply"),
        (Kind::Quota, "quota"),
        (Kind::Cpu, "cpu"),
        (Kind::Thread, "thread"),
        (Kind::CodeFile, "code_file"),
        (Kind::Stack, "stack"),
        (Kind::Wait, "wait"),
        (Kind::Waker, "waker"),
        (Kind::Reason, "reason"),
        (Kind::Blame, "blame"),
        (Kind::Futex, "futex"),
        (Kind::KernelLock, "kernel_lock"),
        (Kind::CpuWait, "cpu_wait"),
        (Kind::Behind, "behind"),
        (Kind::Stuck, "stuck"),
        (Kind::Requests, "requests"),
        (Kind::Service, "service"),
        (Kind::Group, "group"),
        (Kind::Band, "band"),
        (Kind::Longest, "longest"),
        (Kind::Called, "called"),
        (Kind::Slow, "slow"),
        (Kind::Server, "server"),
        (Kind::Peer, "peer"),
        (Kind::Place, "place"),
    ];

    /// Its word in the file.
    pub fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    /// The sort with this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, own)| *own == word).map(|(kind, _)| kind)
    }
}

/// A state by its name.
mod named {
    use super::*;

    pub fn serialize<S: serde::Serializer>(
        state: &State,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(state_name(*state))
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<State, D::Error> {
        let name = String::deserialize(deserializer)?;
        state_named(&name).ok_or_else(|| serde::de::Error::custom("no such state"))
    }
}

/// Where, for whom and by whom.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Head {
    pub host: String,
    pub kernel: String,
    pub cpus: usize,
    pub target_kind: TargetKind,
    pub target: String,
    pub children: bool,
    pub switched_off: Vec<String>,
}

/// What of the CPU time of the host does not add up.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Supply {
    /// CPUs, threads, names of the threads.
    pub affinity: Vec<(Vec<u32>, u64, Vec<String>)>,
    pub affinity_unlisted: u64,
    pub unavailable: Vec<String>,
}

/// A limit of CPU time.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Quota {
    pub cgroup: String,
    pub quota_ns: Nanos,
    pub period_ns: Nanos,
}

/// A CPU.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Cpu {
    pub cpu: u32,
}

/// A thread.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Thread {
    pub pid: Pid,
    pub tid: Tid,
    pub comm: String,
    pub process: String,
    pub in_kernel: bool,
}

/// A stack, innermost first: name, address, whether inlined into the next.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Stack {
    pub frames: Vec<(String, u64, bool)>,
    /// Frames whose function has no name, by their place from 0 on: in which file they lie, and at which
    /// virtual address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unnamed: Vec<(usize, ThingId, u64)>,
}

/// What is waited for, and where.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Waiting {
    #[serde(with = "named")]
    pub kind: State,
    pub syscall: Option<String>,
    pub object: Object,
    pub stack: Option<ThingId>,
}

/// Waits of one process of one kind, for one object, from one stack.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Wait {
    pub row: u64,
    pub pid: Pid,
    pub comm: String,
    pub thread_groups: Vec<String>,
    #[serde(flatten)]
    pub waiting: Waiting,
    pub reach: StackReach,
    pub in_kernel_thread: bool,
}

/// Somebody who ended waits, or had the CPU.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Waker {
    pub comm: String,
    pub tid: Tid,
    pub pid: Pid,
    pub cause: Cause,
}

/// Why waits took so long.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Reason {
    pub pid: Pid,
    pub group: String,
    pub release: Option<ThingId>,
    pub doing: Doing,
}

/// What a thread was doing meanwhile.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    Running,
    Runnable,
    Waiting {
        #[serde(flatten)]
        waiting: Waiting,
        next: Option<ThingId>,
    },
    Queued,
    NotFollowed,
    Forgotten,
}

/// A reason of some waits.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Blame {
    pub reason: ThingId,
}

/// A futex.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Futex {
    pub pid: Pid,
    pub address: u64,
    pub private: bool,
    pub place: Place,
    /// Where its variable has no name: in which file it lies, and at which virtual address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<(ThingId, u64)>,
    pub value: Option<u32>,
}

/// A lock of the kernel.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct KernelLock {
    pub pid: Pid,
    pub comm: String,
    pub thread_groups: Vec<String>,
    pub sort: KernelLockSort,
    pub is_mmap_lock: bool,
    pub stack: Option<ThingId>,
    pub is_several: bool,
}

/// Waits for a CPU.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct CpuWait {
    pub pid: Pid,
    pub comm: String,
    pub thread_groups: Vec<String>,
    pub preempted: bool,
}

/// A thread that waits at the end.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Stuck {
    pub pid: Pid,
    pub tid: Tid,
    pub comm: String,
    pub address: u64,
    pub op: FutexOp,
    pub stack: Option<ThingId>,
    pub words: Option<[u32; 3]>,
}

/// Nothing but figures.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Nothing {}

/// Where requests come in.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Service {
    pub address: String,
    pub process: String,
    pub pids: Vec<Pid>,
}

/// Requests whose latency lies between two bounds.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Band {
    pub low: Nanos,
    pub high: Nanos,
}

/// Where they waited longest.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Longest {
    pub place: ThingId,
}

/// Whom they called.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Called {
    pub peer: ThingId,
}

/// A slow request.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Slow {
    #[serde(flatten)]
    pub label: RequestLabel,
    pub arrival: Nanos,
    pub latency: Nanos,
    pub first_byte: Nanos,
    pub pid: Pid,
    pub tid: Tid,
    /// By the name of the part.
    pub parts: std::collections::BTreeMap<String, Nanos>,
    pub longest: Option<(ThingId, Nanos)>,
    pub calls: u64,
}

/// A thread that answers.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Server {
    pub pid: Pid,
    pub tid: Tid,
}

/// Somebody who is called.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct Peer {
    pub pid: Pid,
    pub process: String,
    pub address: String,
    pub behind: Option<String>,
    pub serving: bool,
}

/// Where requests wait longest.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub struct WaitPlace {
    /// Its number in the last profile: the order of places.
    #[serde(default)]
    pub order: u32,
    pub pid: Pid,
    #[serde(flatten)]
    pub waiting: Waiting,
    pub reason: Option<ThingId>,
}

/// [`WaitObject`] as it is written down.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    None,
    Futex {
        address: u64,
        op: FutexOp,
        private: bool,
        realtime: bool,
    },
    Inet {
        family: IpFamily,
        protocol: String,
        local: String,
        peer: String,
        role: Role,
        direction: Direction,
    },
    Unix {
        local: String,
        peer: String,
        role: Role,
        direction: Direction,
    },
    OtherSocket {
        family: String,
        direction: Direction,
    },
    File {
        inode: u64,
        device: String,
        name: String,
        path: Option<String>,
    },
    Pipe {
        inode: u64,
        device: String,
        name: String,
    },
    Epoll {
        fd: u32,
    },
    IoUring {
        fd: u32,
    },
    Kernel {
        function: String,
    },
    Others,
    Child {
        pid: i32,
    },
}

impl From<&WaitObject> for Object {
    fn from(object: &WaitObject) -> Self {
        match object.clone() {
            WaitObject::None => Object::None,
            WaitObject::Futex { address, op, private, realtime } => {
                Object::Futex { address, op, private, realtime }
            }
            WaitObject::Inet { family, protocol, local, peer, role, direction } => {
                Object::Inet { family, protocol, local, peer, role, direction }
            }
            WaitObject::Unix { family: _, protocol: _, local, peer, role, direction } => {
                Object::Unix { local, peer, role, direction }
            }
            WaitObject::OtherSocket { family, direction } => {
                Object::OtherSocket { family, direction }
            }
            WaitObject::File { inode, device, name, path } => {
                Object::File { inode, device, name, path }
            }
            WaitObject::Pipe { inode, device, name } => Object::Pipe { inode, device, name },
            WaitObject::Epoll { fd } => Object::Epoll { fd },
            WaitObject::IoUring { fd } => Object::IoUring { fd },
            WaitObject::Kernel { function } => Object::Kernel { function },
            WaitObject::Others => Object::Others,
            WaitObject::Child { pid } => Object::Child { pid },
        }
    }
}

impl From<Object> for WaitObject {
    fn from(object: Object) -> Self {
        match object {
            Object::None => WaitObject::None,
            Object::Futex { address, op, private, realtime } => {
                WaitObject::Futex { address, op, private, realtime }
            }
            Object::Inet { family, protocol, local, peer, role, direction } => {
                WaitObject::Inet { family, protocol, local, peer, role, direction }
            }
            Object::Unix { local, peer, role, direction } => {
                let protocol = "unix".to_owned();
                WaitObject::Unix { family: "unix", protocol, local, peer, role, direction }
            }
            Object::OtherSocket { family, direction } => {
                WaitObject::OtherSocket { family, direction }
            }
            Object::File { inode, device, name, path } => {
                WaitObject::File { inode, device, name, path }
            }
            Object::Pipe { inode, device, name } => WaitObject::Pipe { inode, device, name },
            Object::Epoll { fd } => WaitObject::Epoll { fd },
            Object::IoUring { fd } => WaitObject::IoUring { fd },
            Object::Kernel { function } => WaitObject::Kernel { function },
            Object::Others => WaitObject::Others,
            Object::Child { pid } => WaitObject::Child { pid },
        }
    }
}
