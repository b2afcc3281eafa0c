//! Adds up the waits of the threads of a process.

use std::collections::{BTreeSet, HashMap};

use profiler_common::thread::{CAUSE_THREAD, Waker};
use profiler_common::wait::{WaitKey, WaitStats};

use crate::model::{Latency, Nanos};

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

/// Sums of one row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub count: u64,
    pub clipped: u64,
    pub total: Nanos,
    pub latency: Latency,
    pub threads: BTreeSet<u32>,
    pub groups: BTreeSet<String>,
    pub wakers: HashMap<(u32, u32), (Waker, u64)>,
    pub other_wakers: u64,
    pub peer_port: Option<u16>,
    pub peer_ports_mixed: bool,
}

impl Row {
    /// Adds what the probes have added up for one thread.
    pub fn add(&mut self, key: &WaitKey, stats: &WaitStats) {
        self.count += stats.count;
        self.clipped += u64::from(stats.clipped);
        self.total += Nanos(stats.total_ns);
        self.latency.add_buckets(&stats.histogram, Nanos(stats.max_ns));
        self.threads.insert(key.serial);
        self.other_wakers += u64::from(stats.other_wakers);
        for waker in stats.wakers.iter().filter(|waker| waker.count > 0) {
            self.wakers.entry((waker.tid, waker.cause)).or_insert((*waker, 0)).1 +=
                u64::from(waker.count);
        }
        self.note_port(stats.peer_port);
        self.peer_ports_mixed |= stats.peer_ports_mixed != 0;
    }

    /// Adds a wait that the end of the window cut off: nobody has ended it yet.
    pub fn add_cut_off(&mut self, serial: u32, wait: CutOff) {
        self.count += 1;
        self.clipped += 1;
        self.total += wait.length;
        self.latency.add(wait.length);
        self.threads.insert(serial);
        self.note_port(wait.peer_port);
    }

    /// Adds a wait that has ended.
    pub fn add_one(&mut self, serial: u32, wait: Ended) {
        self.add_cut_off(serial, CutOff { length: wait.length, peer_port: wait.peer_port });
        self.clipped -= u64::from(!wait.clipped);
        let tid = if wait.waker.cause == CAUSE_THREAD { wait.waker.tid } else { 0 };
        self.wakers.entry((tid, wait.waker.cause)).or_insert((wait.waker, 0)).1 += 1;
    }

    fn note_port(&mut self, port: u16) {
        match self.peer_port {
            _ if port == 0 => {}
            None => self.peer_port = Some(port),
            Some(known) => self.peer_ports_mixed |= known != port,
        }
    }

    /// Wakers, most often first.
    pub fn sorted_wakers(&self) -> Vec<(Waker, u64)> {
        let mut wakers: Vec<_> = self.wakers.values().copied().collect();
        wakers.sort_by_key(|(waker, count)| {
            (std::cmp::Reverse(*count), waker.cause != CAUSE_THREAD, waker.tid)
        });
        wakers
    }
}
