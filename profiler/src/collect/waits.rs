//! Adds up the waits of the threads of a process.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use profiler_common::thread::{CAUSE_THREAD, Waker};
use profiler_common::wait::{NO_SYSCALL, WaitKey, WaitStats};

use crate::model::{Latency, Nanos, WaitId};

/// What waits of different threads must share to be one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowKey {
    pub pid: u32,
    pub kind: u8,
    pub detail: u8,
    pub syscall: u16,
    pub object: u64,
    pub stack: u64,
    pub in_kernel: bool,
}

impl RowKey {
    /// Of no process, for nothing, from no stack.
    pub const NOWHERE: Self = Self {
        pid: 0,
        kind: 0,
        detail: 0,
        syscall: NO_SYSCALL,
        object: 0,
        stack: 0,
        in_kernel: false,
    };

    /// The number of the row, the same each time that a profile is made of it.
    pub fn id(&self) -> WaitId {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        WaitId(hasher.finish())
    }
}

/// A wait that was open when the window ended.
#[derive(Clone, Copy, Debug)]
pub struct CutOff {
    pub length: Nanos,
    pub peer_port: u16,
}

/// A single wait that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub length: Nanos,
    pub clipped: bool,
    pub peer_port: u16,
    pub waker: Waker,
}
/// Names of threads, and wakers, kept of one row: a target can choose a new name for every thread.
const GROUPS_KEPT: usize = 256;
const WAKERS_KEPT: usize = 256;

/// Sums of one row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub count: u64,
    pub clipped: u64,
    pub total: Nanos,
    pub latency: Latency,
    /// Of these, waits that the end of the window cut off.
    pub open: Latency,
    /// Threads that are alive, by number.
    threads: BTreeSet<u32>,
    /// Threads that have ended: a program that creates threads without end has no end of numbers.
    ended_threads: u64,
    last_ended: u32,
    /// Sorted; mostly one, for which a tree would take ten times its memory.
    pub groups: Vec<String>,
    pub wakers: HashMap<(u32, u32), (Waker, u64)>,
    pub other_wakers: u64,
    /// Time and waits by the number of a reason.
    pub blames: HashMap<u64, (Nanos, u64)>,
    pub peer_port: Option<u16>,
    pub peer_ports_mixed: bool,
}

impl Row {
    /// Adds what the probes have added up for a thread that is alive.
    pub fn add(&mut self, key: &WaitKey, stats: &WaitStats) {
        self.threads.insert(key.serial);
        self.add_stats(stats);
    }

    /// Adds what they have added up for one that has ended; all of its waits come in a row.
    pub fn add_ended(&mut self, key: &WaitKey, stats: &WaitStats) {
        if self.last_ended != key.serial {
            self.last_ended = key.serial;
            self.ended_threads += 1;
        }
        self.add_stats(stats);
    }

    /// Threads that waited.
    pub fn thread_count(&self) -> u64 {
        self.ended_threads + self.threads.len() as u64
    }

    /// Notes the name of a waiting thread.
    pub fn note_group(&mut self, group: String) {
        if self.groups.len() < GROUPS_KEPT
            && let Err(place) = self.groups.binary_search(&group)
        {
            self.groups.insert(place, group);
            if self.groups.len() == 1 {
                self.groups.shrink_to_fit();
            }
        }
    }

    fn add_stats(&mut self, stats: &WaitStats) {
        self.count += stats.count;
        self.clipped += u64::from(stats.clipped);
        self.total += Nanos(stats.total_ns);
        self.latency.add_buckets(&stats.histogram, Nanos(stats.max_ns));
        self.other_wakers += u64::from(stats.other_wakers);
        for waker in stats.wakers.iter().filter(|waker| waker.count > 0) {
            self.note_waker(waker);
        }
        self.note_port(stats.peer_port);
        self.peer_ports_mixed |= stats.peer_ports_mixed != 0;
    }

    /// Adds a wait that the end of the window cut off: nobody has ended it yet.
    pub fn add_cut_off(&mut self, serial: u32, wait: CutOff) {
        self.open.add(wait.length);
        self.clipped += 1;
        self.add_length(serial, wait);
    }

    fn add_length(&mut self, serial: u32, wait: CutOff) {
        self.count += 1;
        self.total += wait.length;
        self.latency.add(wait.length);
        self.threads.insert(serial);
        self.note_port(wait.peer_port);
    }

    /// Adds a wait that has ended.
    pub fn add_one(&mut self, serial: u32, wait: Ended) {
        self.add_length(serial, CutOff { length: wait.length, peer_port: wait.peer_port });
        self.clipped += u64::from(wait.clipped);
        let tid = if wait.waker.cause == CAUSE_THREAD { wait.waker.tid } else { 0 };
        self.note_waker(&Waker { tid, count: 1, ..wait.waker });
    }

    fn note_waker(&mut self, waker: &Waker) {
        let (key, count) = ((waker.tid, waker.cause), u64::from(waker.count));
        let has_room = self.wakers.len() < WAKERS_KEPT;
        match self.wakers.get_mut(&key) {
            Some((_, known)) => *known += count,
            None if has_room => {
                self.wakers.insert(key, (*waker, count));
            }
            None => self.other_wakers += count,
        }
    }

    fn note_port(&mut self, port: u16) {
        match self.peer_port {
            _ if port == 0 => {}
            None => self.peer_port = Some(port),
            Some(known) => self.peer_ports_mixed |= known != port,
        }
    }
}
