//! Names everything, and makes the profile of what was collected.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use profiler_common::control::Loss;
use profiler_common::lock::{Queue, QueueKey};
use profiler_common::object::Object;
use profiler_common::thread::CAUSE_THREAD;
use profiler_common::wait::NO_SYSCALL;

use super::Collector;
use super::books::{Books, trimmed, untracked};
use super::describe;
use super::locks::{RawReason, Reasons, blames, cleaned, futexes};
use super::turns::{RequestNotes, Turns};
use super::waits::{Row, RowKey};
use crate::model::{
    Cause, CpuSupply, CpuWait, Frame, Host, Nanos, Pid, Place, Profile, StackReach, State, Target,
    ThreadBooks, Tid, Trust, Wait, WaitObject, WakerCount, Walked, Window,
};

/// Sums of waits by what they share.
type Rows = HashMap<RowKey, Row>;

/// Names that only the running system knows.
pub trait Names {
    /// A user stack of a process, innermost first. Where the process is gone, the one that showed
    /// the same stack first (`origin`) may still be known.
    fn user_stack(&mut self, pid: u32, origin: u32, addresses: &[u64]) -> Vec<Frame>;
    /// All user stacks that will be asked for, each with its process and its origin, before the first is.
    fn user_stacks(&mut self, stacks: &mut dyn Iterator<Item = (u32, u32, &[u64])>);
    /// A kernel stack, innermost first, without the scheduler's own frames.
    fn kernel_stack(&mut self, addresses: &[u64]) -> Vec<Frame>;
    /// The kernel function at an address.
    fn kernel_function(&mut self, address: u64) -> String;
    /// The path under which a process has a file open or mapped.
    fn file_path(&mut self, pid: u32, device: u32, inode: u64) -> Option<String>;
    /// A system call by its number.
    fn syscall(&mut self, number: u16) -> String;
    /// The current name of a process that is still there.
    fn process(&mut self, pid: u32) -> Option<String>;
    /// What lies at an address of a process.
    fn place(&mut self, pid: u32, address: u64) -> Place;
    /// The first three words at an address of a process that is still there.
    fn words(&mut self, pid: u32, address: u64) -> Option<[u32; 3]>;
    /// The process that listens at an address of this host.
    fn listener(&mut self, address: &str) -> Option<String>;
    /// No more user stacks will be asked for: what was read to name them is needed no longer.
    fn user_stacks_done(&mut self);
    /// Text from a target, made safe to print.
    fn clean(&mut self, text: &[u8]) -> String;
}

/// The stacks of a process, by their ids, once they are named.
pub type NamedStacks = HashMap<(u32, u64), Arc<[Frame]>>;

/// What there is to be known at the end of the window.
pub struct Outcome<'a> {
    /// The window.
    pub window: Window,
    /// The machine.
    pub host: Host,
    /// What was asked for.
    pub target: Target,
    /// What CPU time the host let the target have.
    pub cpu: CpuSupply,
    /// Stacks.
    pub stacks: &'a HashMap<u64, Walked>,
    /// The process that showed a stack first, where user space knows it.
    pub stack_origins: &'a HashMap<u64, u32>,
    /// Stacks that have been named before, and then all of them.
    pub named: &'a mut NamedStacks,
    /// Sockets and files.
    pub objects: HashMap<u64, Object>,
    /// Why waits took so long, by the number of the probes.
    pub reasons: HashMap<u64, RawReason>,
    /// Futexes that were waited for.
    pub queues: Vec<(QueueKey, Queue)>,
    /// What the probes know about requests; none where they were not followed.
    pub requests: RequestNotes,
    /// Threads alive that the probes had no place for: process, thread, name, creation time.
    pub untracked: Vec<(u32, u32, String, u64)>,
    /// What the probes had to refuse.
    pub loss: Loss,
    /// The rest of the trust line: costs, and what is switched off.
    pub trust: Trust,
    /// How to name things.
    pub names: &'a mut dyn Names,
}

impl Collector {
    /// Names everything, and makes the profile.
    pub fn finish(mut self, mut outcome: Outcome<'_>) -> Profile {
        let mut named = std::mem::take(outcome.named);
        self.name_stacks(&mut outcome, &mut named);
        let mut alive = std::mem::take(&mut self.alive);
        for (pid, tid, comm, start_ns) in std::mem::take(&mut outcome.untracked) {
            let wall = outcome.window.end.since(Nanos(start_ns.max(self.window_start)));
            alive.push(untracked(pid, tid, comm, wall));
        }
        let threads = self.threads(alive, outcome.names);
        let mut reasons = Reasons::default();
        let (rows, ready) = self.take_rows();
        let mut waits = self.waits(rows, &mut outcome, &mut named, &mut reasons);
        waits.extend(unplaced(&threads, &waits, &outcome.loss));
        waits.sort_by(|a, b| a.order().cmp(&b.order()));
        let cpu_waits = self.cpu_waits(ready, outcome.names);
        let locks = std::mem::take(&mut self.locks);
        let kernel_locks = self.kernel_locks(locks.kernel, &mut outcome, &mut named);
        let stuck = self.stuck(locks.stuck, &mut outcome, &mut named);
        let futexes = futexes(&mut outcome, &stuck);
        let turns = std::mem::take(&mut self.turns);
        let requests =
            turns.map(|turns| turns.finish(&self, &mut outcome, &mut named, &mut reasons));
        let requests = requests.unwrap_or_default();
        let trust = self.trust(&outcome, &threads, &waits);
        let reasons = reasons.list;
        let Outcome { window, host, target, cpu, named: all_named, .. } = outcome;
        *all_named = named;
        Profile {
            window,
            host,
            target,
            trust,
            cpu,
            threads,
            waits,
            reasons,
            futexes,
            kernel_locks,
            stuck,
            cpu_waits,
            requests,
        }
    }

    /// The rows of waits, and those of waits for a CPU.
    fn take_rows(&mut self) -> (Rows, Rows) {
        let rows = std::mem::take(&mut self.rows).into_iter();
        let (ready, waits) = rows.partition(|(key, _)| key.kind == State::Runnable as u8);
        (waits, ready)
    }

    pub(super) fn process_name(&self, pid: u32, own: &str, names: &mut dyn Names) -> String {
        match self.leaders.get(&pid) {
            Some(name) => name.clone(),
            None => names.process(pid).unwrap_or_else(|| own.to_owned()),
        }
    }

    fn threads(&mut self, alive: Vec<Books>, names: &mut dyn Names) -> Vec<ThreadBooks> {
        let folded = std::mem::take(&mut self.folded).into_values();
        // Those that have ended first: threads that had the same number one after the other stay in
        // that order.
        let mut all = std::mem::take(&mut self.ended);
        all.extend(alive);
        let mut threads: Vec<ThreadBooks> = all
            .into_iter()
            .chain(folded)
            .map(|books| {
                let process = self.process_name(books.pid, &books.comm, names);
                books.named(process, names)
            })
            .collect();
        threads.sort_by(|a, b| a.order().cmp(&b.order()));
        threads
    }

    fn waits(
        &self,
        rows: Rows,
        outcome: &mut Outcome<'_>,
        named: &mut NamedStacks,
        reasons: &mut Reasons,
    ) -> Vec<Wait> {
        let named_row = |(key, row)| self.wait(&key, row, outcome, named, reasons);
        rows.into_iter().filter_map(named_row).collect()
    }

    /// Names every stack before any row is made: debug information takes tens of megabytes while it is
    /// read, and so do the rows of 10,000 threads. Those of the kernel come after it, since its list of
    /// functions, once read, stays: 5 MB.
    fn name_stacks(&self, outcome: &mut Outcome<'_>, named: &mut NamedStacks) {
        let mut new = self.stacks(&outcome.reasons);
        new.retain(|stack| !named.contains_key(stack));
        if new.is_empty() {
            return;
        }
        let in_kernel = |(_, id): &(u32, u64)| {
            outcome.stacks.get(id).is_some_and(|walked| is_kernel_stack(&walked.addresses))
        };
        let (kernel, user): (Vec<_>, Vec<_>) = new.into_iter().partition(in_kernel);
        let (stacks, origins) = (outcome.stacks, outcome.stack_origins);
        let mut addresses = user.iter().filter_map(|(pid, id)| {
            let origin = origins.get(id).copied().unwrap_or(*pid);
            Some((*pid, origin, &*stacks.get(id)?.addresses))
        });
        outcome.names.user_stacks(&mut addresses);
        for (pid, id) in user {
            self.stack(pid, id, outcome, named);
        }
        outcome.names.user_stacks_done();
        for (pid, id) in kernel {
            self.stack(pid, id, outcome, named);
        }
    }

    /// Every stack that is to be named, by process and number.
    pub fn stacks(&self, reasons: &HashMap<u64, RawReason>) -> HashSet<(u32, u64)> {
        let of_rows = self.rows.keys().map(|key| (key.pid, key.stack));
        let of_reasons = reasons
            .values()
            .flat_map(|reason| [(reason.pid, reason.release), (reason.pid, reason.stack)]);
        let of_turns = self.turns.iter().flat_map(Turns::stacks);
        let all = of_rows.chain(of_reasons).chain(self.locks.stacks()).chain(of_turns);
        all.map(|(pid, id)| (pid, self.aliases.get(&id).copied().unwrap_or(id))).collect()
    }

    /// A stack of a process by its number; empty where there is none.
    pub(super) fn stack(
        &self,
        pid: u32,
        id: u64,
        outcome: &mut Outcome<'_>,
        named: &mut NamedStacks,
    ) -> Arc<[Frame]> {
        let id = self.aliases.get(&id).copied().unwrap_or(id);
        let stack = named.entry((pid, id)).or_insert_with(|| {
            let Some(frames) = outcome.stacks.get(&id).map(|walked| &walked.addresses) else {
                return Arc::default();
            };
            if is_kernel_stack(frames) {
                return outcome.names.kernel_stack(frames).into();
            }
            let origin = outcome.stack_origins.get(&id).copied();
            outcome.names.user_stack(pid, origin.unwrap_or(pid), frames).into()
        });
        Arc::clone(stack)
    }

    /// Waits for a CPU.
    fn cpu_waits(&self, rows: Rows, names: &mut dyn Names) -> Vec<CpuWait> {
        let mut waits: Vec<CpuWait> =
            rows.into_iter().map(|(key, row)| self.cpu_wait(&key, row, names)).collect();
        waits.sort_by_key(CpuWait::order);
        waits
    }

    fn cpu_wait(&self, key: &RowKey, row: Row, names: &mut dyn Names) -> CpuWait {
        let first_group = row.groups.first().cloned().unwrap_or_default();
        let comm = self.process_name(key.pid, &first_group, names);
        CpuWait {
            pid: Pid(key.pid),
            comm: names.clean(comm.as_bytes()),
            thread_groups: cleaned(&row.groups, names),
            preempted: key.detail != 0,
            count: row.count,
            total: row.total,
            threads: row.thread_count(),
            behind: wakers(&row, names, |cause| match cause {
                CAUSE_THREAD => Cause::Thread,
                _ => Cause::Irq,
            }),
            other_behind: row.other_wakers,
            latency: row.latency,
        }
    }

    fn wait(
        &self,
        key: &RowKey,
        row: Row,
        outcome: &mut Outcome<'_>,
        named: &mut NamedStacks,
        reasons: &mut Reasons,
    ) -> Option<Wait> {
        let kind = State::from_raw(key.kind).filter(|kind| kind.is_wait())?;
        let parts = row.blames.iter().filter_map(|(id, (time, count))| {
            Some((reasons.find(self, *id, outcome, named)?, *time, *count))
        });
        let blames = blames(parts.collect::<Vec<_>>().into_iter(), row.total);
        let stack = self.stack(key.pid, key.stack, outcome, named);
        let walked = outcome.stacks.get(&key.stack);
        let names = &mut *outcome.names;
        let object = describe::object(key, &row, outcome.objects.get(&key.object), names);
        let wakers = wakers(&row, names, |cause| describe::cause(kind, &object, cause));
        let threads = row.thread_count();
        let first_group = row.groups.first().cloned().unwrap_or_default();
        let comm = self.process_name(key.pid, &first_group, names);
        Some(Wait {
            pid: Pid(key.pid),
            comm: names.clean(comm.as_bytes()),
            thread_groups: cleaned(&row.groups, names),
            kind,
            syscall: (key.syscall != NO_SYSCALL).then(|| names.syscall(key.syscall)),
            object,
            id: key.id(),
            count: row.count,
            clipped: row.clipped,
            open: row.open,
            total: row.total,
            latency: row.latency,
            threads,
            wakers,
            other_wakers: row.other_wakers,
            blames,
            stack,
            reach: match walked {
                None => StackReach::Nowhere,
                Some(walked) if is_kernel_stack(&walked.addresses) => StackReach::Nowhere,
                Some(walked) if walked.complete => StackReach::Entry,
                Some(_) => StackReach::Truncated,
            },
            in_kernel_thread: key.in_kernel,
        })
    }

    fn trust(&self, outcome: &Outcome<'_>, threads: &[ThreadBooks], waits: &[Wait]) -> Trust {
        let loss = &outcome.loss;
        let unattributed = threads.iter().map(|thread| thread.times.of(State::Unattributed)).sum();
        Trust {
            lost_events: loss.events + self.undecoded,
            lost_stacks: loss.stacks + self.folded_waits,
            lost_keys: loss.threads
                + loss.processes
                + loss.waits.iter().sum::<u64>()
                + loss.objects
                + self.folded_waits,
            lost_waits: loss.waits.iter().sum(),
            lost_locks: loss.queues + loss.reasons + loss.kernel_locks,
            lost_threads: loss.threads,
            lost_processes: loss.processes,
            lost_objects: loss.objects + self.folded_waits,
            failed_stacks: loss.stack_failures,
            stacks_complete_ns: user_wait_time(waits, StackReach::Entry),
            stacks_truncated_ns: user_wait_time(waits, StackReach::Truncated),
            stacks_missing_ns: user_wait_time(waits, StackReach::Nowhere),
            stack_walks: loss.walks,
            refused_walks: loss.copies,
            rechecks: loss.rechecks,
            recheck_ns: Nanos(loss.recheck_ns),
            recheck_wrong_ns: Nanos(loss.recheck_wrong_ns),
            failed_reads: loss.reads,
            missed_switches: loss.anomalies,
            clipped_waits: waits.iter().map(|wait| wait.clipped).sum(),
            unattributed_ns: unattributed,
            coverage: Trust::coverage_of(threads),
            ..outcome.trust.clone()
        }
    }
}

/// Who ended the waits of a row.
fn wakers(row: &Row, names: &mut dyn Names, cause: impl Fn(u32) -> Cause) -> Vec<WakerCount> {
    let mut wakers: Vec<WakerCount> = row
        .wakers
        .values()
        .map(|(waker, count)| WakerCount {
            comm: names.clean(trimmed(&waker.comm)),
            tid: Tid(waker.tid),
            pid: Pid(waker.pid),
            cause: cause(waker.cause),
            count: *count,
        })
        .collect();
    wakers.sort_by_key(WakerCount::order);
    wakers
}

/// The waits that found no place in the table of the probes, one row for each process and kind: what
/// its books have and its rows have not.
fn unplaced(threads: &[ThreadBooks], waits: &[Wait], loss: &Loss) -> Vec<Wait> {
    let kinds = State::ALL.into_iter().filter(|kind| kind.is_wait());
    let lost = kinds.filter(|kind| loss.waits[*kind as usize] > 0);
    lost.flat_map(|kind| {
        let mut missing: BTreeMap<Pid, (Nanos, &ThreadBooks)> = BTreeMap::new();
        for books in threads {
            missing.entry(books.pid).or_insert((Nanos(0), books)).0 += books.times.of(kind);
        }
        for wait in waits.iter().filter(|wait| wait.kind == kind) {
            if let Some((time, _)) = missing.get_mut(&wait.pid) {
                *time = time.since(wait.total);
            }
        }
        let all: Nanos = missing.values().map(|(time, _)| *time).sum();
        let count = loss.waits[kind as usize];
        missing.into_values().filter(|(time, _)| *time > Nanos(0)).map(move |(time, books)| {
            let count = (count as f64 * time.share_of(all)).round() as u64;
            unplaced_row(books, kind, time, count)
        })
    })
    .collect()
}

fn unplaced_row(books: &ThreadBooks, kind: State, total: Nanos, count: u64) -> Wait {
    let id = RowKey { pid: books.pid.0, kind: kind as u8, ..RowKey::NOWHERE }.id();
    Wait {
        comm: books.process.clone(),
        count,
        total,
        in_kernel_thread: books.in_kernel,
        ..Wait::none(id, books.pid, kind, WaitObject::Others)
    }
}

/// How much the waits of user threads come to whose stack reaches so far.
fn user_wait_time(waits: &[Wait], reach: StackReach) -> Nanos {
    let user = waits.iter().filter(|wait| !wait.in_kernel_thread);
    user.filter(|wait| wait.reach == reach).map(|wait| wait.total).sum()
}

/// Kernel addresses lie in the upper half of the address space.
fn is_kernel_stack(frames: &[u64]) -> bool {
    frames.first().is_some_and(|address| address >> 63 == 1)
}
