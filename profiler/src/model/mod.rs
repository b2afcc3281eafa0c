//! What dwell knows about one window of one target: the only thing that analysis and views see.

mod code;
mod cpu;
mod durations;
mod frame;
mod group;
mod histogram;
mod ids;
mod lock;
mod profile;
mod request;
mod stack;
mod wait;

pub use code::{BuildId, CodeAddress, CodeFile, Nameless, Names};
pub use cpu::{AffinityGroup, CpuQuota, CpuSupply, CpuUse};
pub use durations::Durations;
pub use frame::Frame;
pub use group::group_name;
pub use histogram::Latency;
pub use ids::{Nanos, Pid, Tid};
pub use lock::{
    Blame, CpuWait, Doing, Futex, Holds, KernelLock, KernelLockSort, Place, Queue, Reason,
    ReasonId, Stuck,
};
pub use profile::{Host, Profile, StateTimes, Target, TargetKind, ThreadBooks, Trust, Window};
pub use request::{
    AcceptQueue, Band, Budget, Called, Part, Peer, PeerId, PlaceId, Protocol, RequestGroup,
    RequestLabel, Requests, SLOWEST_KEPT, Samples, Server, Service, SlowRequest, WaitPlace,
};
pub use stack::Walked;
pub use wait::{
    Cause, Direction, FutexOp, IpFamily, Role, StackReach, Wait, WaitId, WaitObject, WakerCount,
    endpoint,
};

pub use profiler_common::state::State;

/// Word by which a part of a request is named in JSON.
pub const fn part_name(part: Part) -> &'static str {
    match part {
        Part::Queued => "queued",
        Part::BehindOthers => "behind_others",
        Part::HandedOver => "handed_over",
        Part::Peers => "peers",
        Part::In(state) => state_name(state),
    }
}

/// Word by which a state is named, in text and in JSON.
pub const fn state_name(state: State) -> &'static str {
    match state {
        State::Unsettled | State::Unattributed => "unattributed",
        State::Running => "running",
        State::Runnable => "runnable",
        State::Futex => "futex",
        State::Socket => "socket",
        State::Poll => "poll",
        State::Sleep => "sleep",
        State::Disk => "disk",
        State::PageFault => "page_fault",
        State::Pipe => "pipe",
        State::FileLock => "file_lock",
        State::Child => "child",
        State::IoUring => "io_uring",
        State::Kernel => "kernel",
        State::Stopped => "stopped",
        State::Other => "other",
    }
}

/// The part of a name, where there is one.
pub fn part_named(name: &str) -> Option<Part> {
    let parts = [Part::Queued, Part::BehindOthers, Part::HandedOver, Part::Peers];
    let part = parts.into_iter().find(|part| part_name(*part) == name);
    part.or_else(|| state_named(name).map(Part::In))
}

/// The state of a name, where there is one.
pub fn state_named(name: &str) -> Option<State> {
    State::ALL.into_iter().rev().find(|state| state_name(*state) == name)
}
