//! What may constrain a system.

use super::super::locks::{Behind, LockRow};
use super::super::requests::Accepting;
use crate::model::{CpuQuota, Nanos, Part, Pid, RequestLabel, State, Tid, WaitPlace};

/// Something that requests wait for.
#[derive(Clone, Debug)]
pub enum Constraint {
    /// A lock.
    Lock {
        /// Its row among the locks; none where it has none.
        row: Option<Box<LockRow>>,
        /// What a database's lock is on, where that is known.
        thing: Option<&'static str>,
        /// Where slow requests wait for it.
        place: Option<WaitPlace>,
        /// Behind whom, and what those were doing.
        behind: Vec<Behind>,
    },
    /// One thread serves all, one after the other.
    Loop {
        /// That thread.
        worker: Option<Worker>,
        /// The requests that keep it longest.
        hog: Option<Hog>,
        /// Part of the window in which it worked for requests, 0 to 1.
        busy: f64,
        /// Part of the time in which it could run that it waited for a CPU, 0 to 1.
        starved: f64,
    },
    /// Somebody who is called.
    Peer {
        /// The address.
        address: String,
        /// The process behind it, where it is on this host.
        behind: Option<String>,
        /// Calls of a request around the median, and of a slow one.
        calls: [f64; 2],
        /// How long such a call takes on average, likewise.
        each: [Nanos; 2],
    },
    /// Calls that are made one after the other.
    InTurn {
        /// Calls of a slow request.
        calls: f64,
        /// What they take together, and the longest of them.
        time: [Nanos; 2],
    },
    /// CPU time.
    Cpu {
        /// The limit that held threads back.
        quota: Option<CpuQuota>,
        /// How busy the CPUs of the host were, 0 to 1.
        busy: Option<f64>,
    },
    /// The disk.
    Disk {
        /// Where slow requests wait for it.
        place: Option<WaitPlace>,
    },
    /// Too few threads that serve.
    Workers {
        /// How many there are.
        threads: u64,
        /// How busy they are on average, 0 to 1.
        busy: f64,
        /// Connections that wait to be accepted.
        accepting: Option<Accepting>,
    },
    /// One thread has more to do than the others.
    Uneven {
        /// That thread.
        worker: Worker,
        /// Mean latency of what it answers, and of what the thread in the middle answers.
        means: [Nanos; 2],
        /// Part of all requests that it answers, 0 to 1.
        share: f64,
    },
    /// Its own code.
    Running {
        /// The requests that run longest.
        label: Option<RequestLabel>,
    },
    /// Nobody took requests up, though threads had time.
    Unserved {
        /// How busy they are on average, 0 to 1.
        busy: f64,
    },
    /// Requests wait between two threads.
    HandedOver {
        /// How busy the threads are on average, 0 to 1.
        busy: f64,
    },
    /// Another wait.
    Waiting {
        /// Its kind.
        kind: State,
        /// Where slow requests wait longest in it.
        place: Option<WaitPlace>,
    },
}

/// A thread that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// Its name.
    pub name: String,
}

/// Requests that keep a thread long.
#[derive(Clone, Debug, PartialEq)]
pub struct Hog {
    /// What they ask for.
    pub label: RequestLabel,
    /// How many.
    pub count: u64,
    /// How long each keeps it on average.
    pub own: Nanos,
    /// What that consists of mostly.
    pub part: Part,
    /// Part of all work of the service that goes to them, 0 to 1.
    pub share: f64,
}
