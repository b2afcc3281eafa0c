//! Reads what the probes have added up.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use aya::programs::Program;
use profiler_common::blame::{Blame, BlameKey, Reason};
use profiler_common::control::Loss;
use profiler_common::lock::{KernelLockKey, KernelLockStats, Queue, QueueKey, SpinPlace};
use profiler_common::object::Object;
use profiler_common::thread::{ThreadEntry, ThreadRecord};
use profiler_common::unwind::{Row, RowKey};
use profiler_common::wait::{StackFrames, WaitKey, WaitStats};

use super::KernelError;
use super::batch::{self, Plain};
use super::requests::RequestTables;
use super::warm::warm;

// SAFETY: `#[repr(C)]` without padding, integers only: any bytes are valid.
unsafe impl Plain for WaitKey {}
// SAFETY: as above.
unsafe impl Plain for WaitStats {}
// SAFETY: as above.
unsafe impl Plain for ThreadEntry {}
// SAFETY: as above.
unsafe impl Plain for RowKey {}
// SAFETY: as above.
unsafe impl Plain for Row {}
// SAFETY: as above.
unsafe impl Plain for StackFrames {}
// SAFETY: as above.
unsafe impl Plain for Object {}
// SAFETY: as above.
unsafe impl Plain for Reason {}
// SAFETY: as above.
unsafe impl Plain for BlameKey {}
// SAFETY: as above.
unsafe impl Plain for Blame {}
// SAFETY: as above.
unsafe impl Plain for QueueKey {}
// SAFETY: as above.
unsafe impl Plain for Queue {}
// SAFETY: as above.
unsafe impl Plain for KernelLockKey {}
// SAFETY: as above.
unsafe impl Plain for KernelLockStats {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}

/// CPU time that the probes have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCost {
    /// Nanoseconds inside the programs.
    pub ns: u64,
    /// Times one of them ran.
    pub runs: u64,
}

/// The tables that the probes fill.
pub struct Tables {
    events: RingBuf<MapData>,
    walks: RingBuf<MapData>,
    loss: PerCpuArray<MapData, PlainLoss>,
    threads: MapData,
    processes: MapData,
    waits: MapData,
    stacks: MapData,
    rows: MapData,
    objects: MapData,
    reasons: MapData,
    blame: MapData,
    queues: MapData,
    kernel_locks: MapData,
    spins: MapData,
    /// About requests.
    pub requests: RequestTables,
    programs: Vec<OwnedFd>,
    #[cfg(feature = "probe-log")]
    lines: super::log::Lines,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlainLoss(Loss);

// SAFETY: `#[repr(C)]`, integers only, no padding, any bytes valid.
unsafe impl aya::Pod for PlainLoss {}

impl Tables {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let programs = ebpf.programs().filter_map(|(_, program)| loaded(program)).collect();
        let events = RingBuf::try_from(take(ebpf, "dwell_events")?)
            .map_err(|error| KernelError::refused("dwell_events", &error))?;
        let walks = RingBuf::try_from(take(ebpf, "dwell_walks")?)
            .map_err(|error| KernelError::refused("dwell_walks", &error))?;
        let loss = PerCpuArray::try_from(take(ebpf, "dwell_loss")?)
            .map_err(|error| KernelError::refused("dwell_loss", &error))?;
        let tables = Self {
            events,
            walks,
            loss,
            threads: hash::<u64, ThreadEntry>(ebpf, "dwell_threads")?,
            processes: hash::<u32, u32>(ebpf, "dwell_procs")?,
            waits: hash::<WaitKey, WaitStats>(ebpf, "dwell_waits")?,
            stacks: hash::<u64, StackFrames>(ebpf, "dwell_stacks")?,
            rows: hash::<RowKey, Row>(ebpf, "dwell_rows")?,
            objects: hash::<u64, Object>(ebpf, "dwell_objects")?,
            reasons: hash::<u64, Reason>(ebpf, "dwell_reasons")?,
            blame: hash::<BlameKey, Blame>(ebpf, "dwell_blame")?,
            queues: hash::<QueueKey, Queue>(ebpf, "dwell_queues")?,
            kernel_locks: hash::<KernelLockKey, KernelLockStats>(ebpf, "dwell_klocks")?,
            spins: hash::<u32, SpinPlace>(ebpf, "dwell_spins")?,
            requests: RequestTables::open(ebpf)?,
            programs,
            #[cfg(feature = "probe-log")]
            lines: super::log::Lines::of(ebpf),
        };
        tables.warm();
        Ok(tables)
    }

    /// Under keys that no probe uses: ids of stacks, objects and reasons are odd, thread numbers and
    /// address spaces not 0.
    fn warm(&self) {
        // SAFETY: integers only: zero is valid.
        let (thread, wait, stack, object) =
            unsafe { std::mem::zeroed::<(ThreadEntry, WaitStats, StackFrames, Object)>() };
        warm(self.threads.fd().as_fd(), &0u64, &thread);
        warm(self.waits.fd().as_fd(), &WaitKey::default(), &wait);
        warm(self.stacks.fd().as_fd(), &0u64, &stack);
        warm(self.objects.fd().as_fd(), &0u64, &object);
        warm(self.reasons.fd().as_fd(), &0u64, &Reason::default());
        warm(self.blame.fd().as_fd(), &BlameKey::default(), &Blame::default());
        warm(self.queues.fd().as_fd(), &QueueKey::default(), &Queue::default());
        self.requests.warm();
    }

    /// Hands every record that waits in the ring buffer to `each`.
    pub fn drain_events(&mut self, mut each: impl FnMut(&[u8])) {
        #[cfg(feature = "probe-log")]
        self.lines.print();
        while let Some(item) = self.events.next() {
            each(&item);
        }
    }

    /// The next stack that waits to be walked on.
    pub fn take_walk(&mut self) -> Option<Vec<u8>> {
        self.walks.next().map(|item| item.to_vec())
    }

    /// Number of the address space of a followed process (initial namespace); nothing once it has ended.
    pub fn space_of(&self, tgid: u32) -> Option<u32> {
        batch::lookup(self.processes.fd().as_fd(), &tgid)
    }

    /// Numbers of the address spaces of all followed processes.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn spaces(&self) -> Result<HashSet<u32>, KernelError> {
        let mut spaces = HashSet::new();
        for_each(&self.processes, "dwell_procs", |_: u32, space: &u32| {
            spaces.insert(*space);
        })?;
        Ok(spaces)
    }

    /// Becomes readable when a stack waits to be walked on.
    ///
    /// # Errors
    /// When this process may open no more files.
    pub fn walks_fd(&self) -> std::io::Result<OwnedFd> {
        // SAFETY: the descriptor is open as long as the ring buffer is.
        let borrowed = unsafe { BorrowedFd::borrow_raw(self.walks.as_raw_fd()) };
        borrowed.try_clone_to_owned()
    }

    /// Tells the walks how to get from a frame to its caller's; false where the table is full.
    pub fn add_row(&self, key: &RowKey, row: &Row) -> bool {
        batch::insert(self.rows.fd().as_fd(), key, row)
    }

    /// Forgets a row of an address space that no process has any more.
    pub fn forget_row(&self, key: &RowKey) {
        batch::delete(self.rows.fd().as_fd(), key);
    }

    /// Hands the books of every followed thread to `each`, with the key of their entry.
    ///
    /// # Errors
    /// When the kernel refuses to read the table; likewise below.
    pub fn for_each_thread(
        &self,
        mut each: impl FnMut(u64, &ThreadRecord),
    ) -> Result<(), KernelError> {
        for_each(&self.threads, "dwell_threads", |key, entry: &ThreadEntry| {
            each(key, &entry.record);
        })
    }

    /// The record of a thread, by the key that [`Self::for_each_thread`] gives.
    pub fn thread(&self, key: u64) -> Option<ThreadRecord> {
        let entry: Option<ThreadEntry> = batch::lookup(self.threads.fd().as_fd(), &key);
        entry.map(|entry| entry.record)
    }

    /// Hands the sums of every wait to `each`.
    pub fn for_each_wait(&self, each: impl FnMut(WaitKey, &WaitStats)) -> Result<(), KernelError> {
        for_each(&self.waits, "dwell_waits", each)
    }

    /// Hands every object to `each`.
    pub fn for_each_object(&self, each: impl FnMut(u64, &Object)) -> Result<(), KernelError> {
        for_each(&self.objects, "dwell_objects", each)
    }

    /// Hands every reason to `each`.
    pub fn for_each_reason(&self, each: impl FnMut(u64, &Reason)) -> Result<(), KernelError> {
        for_each(&self.reasons, "dwell_reasons", each)
    }

    /// Hands every part of a wait with its reason to `each`.
    pub fn for_each_blame(&self, each: impl FnMut(BlameKey, &Blame)) -> Result<(), KernelError> {
        for_each(&self.blame, "dwell_blame", each)
    }

    /// Hands every futex that was waited for to `each`.
    pub fn for_each_queue(&self, each: impl FnMut(QueueKey, &Queue)) -> Result<(), KernelError> {
        for_each(&self.queues, "dwell_queues", each)
    }

    /// Hands every lock of the kernel that was waited for to `each`.
    pub fn for_each_kernel_lock(
        &self,
        each: impl FnMut(KernelLockKey, &KernelLockStats),
    ) -> Result<(), KernelError> {
        for_each(&self.kernel_locks, "dwell_klocks", each)
    }

    /// Whether a process is left that the probes follow (initial namespace; not for a whole host).
    pub fn any_process(&self) -> Result<bool, KernelError> {
        let mut any = false;
        for_each(&self.processes, "dwell_procs", |_: u32, _: &u32| any = true)?;
        Ok(any)
    }

    /// One stack.
    pub fn stack(&self, id: u64) -> Option<StackFrames> {
        batch::lookup(self.stacks.fd().as_fd(), &id)
    }

    /// Removes the wait of a thread that has ended; nobody writes it any more.
    pub fn forget_wait(&mut self, key: &WaitKey) {
        batch::delete(self.waits.fd().as_fd(), key);
    }

    /// Removes what is kept of why the waits of a thread took so long that has ended.
    pub fn forget_blame(&mut self, key: &BlameKey) {
        batch::delete(self.blame.fd().as_fd(), key);
    }

    /// Removes the waits for a lock of the kernel of a thread that has ended.
    pub fn forget_kernel_lock(&mut self, key: &KernelLockKey) {
        batch::delete(self.kernel_locks.fd().as_fd(), key);
    }

    /// What the probes had to refuse so far, over all CPUs.
    ///
    /// # Errors
    /// When the kernel refuses to read the table.
    pub fn loss(&self) -> Result<Loss, KernelError> {
        let per_cpu =
            self.loss.get(&0, 0).map_err(|error| KernelError::refused("dwell_loss", &error))?;
        Ok(per_cpu.iter().map(|PlainLoss(loss)| *loss).fold(Loss::default(), add))
    }

    /// CPU time of the probes while the kernel counted it; `None` where it cannot be read.
    pub fn cost(&self) -> Option<ProbeCost> {
        let mut cost = ProbeCost::default();
        for program in &self.programs {
            let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
            let text = fs::read_to_string(path).ok()?;
            cost.ns += field(&text, "run_time_ns:")?;
            cost.runs += field(&text, "run_cnt:")?;
        }
        Some(cost)
    }

    /// Memory of all of the tables in the kernel, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        [
            &self.threads,
            &self.processes,
            &self.waits,
            &self.stacks,
            &self.rows,
            &self.objects,
            &self.reasons,
            &self.blame,
            &self.queues,
            &self.kernel_locks,
            &self.spins,
        ]
        .into_iter()
        .chain(self.requests.maps())
        .filter_map(|map| {
            let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
            field(&fs::read_to_string(path).ok()?, "memlock:")
        })
        .sum()
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn loaded(program: &Program) -> Option<OwnedFd> {
    program.fd().ok()?.as_fd().try_clone_to_owned().ok()
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or_else(|| KernelError::Refused {
        what: format!("the map {name}"),
        reason: "it is not in the committed object".to_owned(),
    })
}

/// A hash table, its key and value sizes checked against the types it is read as.
pub(super) fn hash<K, V>(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, KernelError> {
    let Map::HashMap(map) = take(ebpf, name)? else {
        return Err(KernelError::Refused {
            what: format!("the map {name}"),
            reason: "it is not a hash table".to_owned(),
        });
    };
    let info = map.info().map_err(|error| KernelError::refused(name, &error))?;
    if info.key_size() as usize != size_of::<K>() || info.value_size() as usize != size_of::<V>() {
        return Err(KernelError::Refused {
            what: format!("the map {name}"),
            reason: "its entries have another size than expected".to_owned(),
        });
    }
    Ok(map)
}

pub(super) fn for_each<K: Plain, V: Plain>(
    map: &MapData,
    name: &'static str,
    each: impl FnMut(K, &V),
) -> Result<(), KernelError> {
    batch::for_each(map.fd().as_fd(), each).map_err(|error| KernelError::refused(name, &error))
}

fn add(a: Loss, b: Loss) -> Loss {
    Loss {
        threads: a.threads + b.threads,
        processes: a.processes + b.processes,
        waits: std::array::from_fn(|kind| a.waits[kind] + b.waits[kind]),
        queues: a.queues + b.queues,
        reasons: a.reasons + b.reasons,
        kernel_locks: a.kernel_locks + b.kernel_locks,
        stacks: a.stacks + b.stacks,
        stack_failures: a.stack_failures + b.stack_failures,
        objects: a.objects + b.objects,
        conns: a.conns + b.conns,
        turns: a.turns + b.turns,
        labels: a.labels + b.labels,
        events: a.events + b.events,
        reads: a.reads + b.reads,
        walks: a.walks + b.walks,
        copies: a.copies + b.copies,
        rechecks: a.rechecks + b.rechecks,
        recheck_ns: a.recheck_ns + b.recheck_ns,
        recheck_wrong_ns: a.recheck_wrong_ns + b.recheck_wrong_ns,
        anomalies: a.anomalies + b.anomalies,
    }
}
