//! Names everything, and makes the profile of what was collected.

use std::collections::HashMap;
use std::sync::Arc;

use profiler_common::control::Loss;
use profiler_common::object::Object;
use profiler_common::wait::NO_SYSCALL;

use super::Collector;
use super::books::{Books, trimmed, untracked};
use super::describe;
use super::waits::{Row, RowKey};
use crate::model::{
    CpuSupply, Frame, Host, Nanos, Pid, Profile, StackReach, State, Target, ThreadBooks, Tid,
    Trust, Wait, WakerCount, Walked, Window,
};

/// Names that only the running system knows.
pub trait Names {
    /// A user stack of a process, innermost first. Where the process is gone, the one that showed
    /// the same stack first (`origin`) may still be known.
    fn user_stack(&mut self, pid: u32, origin: u32, addresses: &[u64]) -> Vec<Frame>;
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
    /// Text from a target, made safe to print.
    fn clean(&mut self, text: &[u8]) -> String;
}

/// The stacks of a process, by their ids, once they are named.
type NamedStacks = HashMap<(u32, u64), Arc<[Frame]>>;

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
    pub stacks: HashMap<u64, Walked>,
    /// The process that showed a stack first, where user space knows it.
    pub stack_origins: HashMap<u64, u32>,
    /// Sockets and files.
    pub objects: HashMap<u64, Object>,
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
        let mut alive = std::mem::take(&mut self.alive);
        for (pid, tid, comm, start_ns) in std::mem::take(&mut outcome.untracked) {
            let wall = outcome.window.end.since(Nanos(start_ns.max(self.window_start)));
            alive.push(untracked(pid, tid, comm, wall));
        }
        let threads = self.threads(alive, outcome.names);
        let waits = self.waits(&mut outcome);
        let trust = self.trust(&outcome, &threads, &waits);
        let Outcome { window, host, target, cpu, .. } = outcome;
        Profile { window, host, target, trust, cpu, threads, waits }
    }

    fn process_name(&self, pid: u32, own: &str, names: &mut dyn Names) -> String {
        match self.leaders.get(&pid) {
            Some(name) => name.clone(),
            None => names.process(pid).unwrap_or_else(|| own.to_owned()),
        }
    }

    fn threads(&mut self, alive: Vec<Books>, names: &mut dyn Names) -> Vec<ThreadBooks> {
        let folded = std::mem::take(&mut self.folded).into_values();
        let ended = std::mem::take(&mut self.ended);
        let mut threads: Vec<ThreadBooks> = alive
            .into_iter()
            .chain(ended)
            .chain(folded)
            .map(|books| {
                let process = self.process_name(books.pid, &books.comm, names);
                books.named(process, names)
            })
            .collect();
        threads.sort_by_key(|thread| (thread.pid, thread.tid));
        threads
    }

    fn waits(&mut self, outcome: &mut Outcome<'_>) -> Vec<Wait> {
        let rows = std::mem::take(&mut self.rows);
        let mut named = NamedStacks::new();
        let mut waits: Vec<Wait> = rows
            .into_iter()
            .filter_map(|(key, row)| self.wait(&key, row, outcome, &mut named))
            .collect();
        waits.sort_by(|a, b| {
            (b.total, a.pid, a.kind, &a.object).cmp(&(a.total, b.pid, b.kind, &b.object))
        });
        waits
    }

    fn wait(
        &self,
        key: &RowKey,
        row: Row,
        outcome: &mut Outcome<'_>,
        named: &mut NamedStacks,
    ) -> Option<Wait> {
        let kind = State::from_raw(key.kind).filter(|kind| kind.is_wait())?;
        let names = &mut *outcome.names;
        let object = describe::object(key, &row, outcome.objects.get(&key.object), names);
        let wakers = row
            .sorted_wakers()
            .into_iter()
            .map(|(waker, count)| WakerCount {
                comm: names.clean(trimmed(&waker.comm)),
                tid: Tid(waker.tid),
                pid: Pid(waker.pid),
                cause: describe::cause(kind, &object, waker.cause),
                count,
            })
            .collect();
        let walked = outcome.stacks.get(&key.stack);
        let stack = named.entry((key.pid, key.stack)).or_insert_with(|| {
            let Some(frames) = walked.map(|walked| &walked.addresses) else {
                return Arc::default();
            };
            if is_kernel_stack(frames) {
                return names.kernel_stack(frames).into();
            }
            let origin = outcome.stack_origins.get(&key.stack).copied();
            names.user_stack(key.pid, origin.unwrap_or(key.pid), frames).into()
        });
        let stack = Arc::clone(stack);
        let threads = row.thread_count();
        let first_group = row.groups.first().cloned().unwrap_or_default();
        let comm = self.process_name(key.pid, &first_group, names);
        Some(Wait {
            pid: Pid(key.pid),
            comm: names.clean(comm.as_bytes()),
            thread_groups: row.groups.iter().map(|group| names.clean(group.as_bytes())).collect(),
            kind,
            syscall: (key.syscall != NO_SYSCALL).then(|| names.syscall(key.syscall)),
            object,
            count: row.count,
            clipped: row.clipped,
            total: row.total,
            latency: row.latency,
            threads,
            wakers,
            other_wakers: row.other_wakers,
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
        let wall: Nanos = threads.iter().map(|thread| thread.wall).sum();
        let attributed: Nanos = threads.iter().map(|thread| thread.times.attributed()).sum();
        let unattributed = threads.iter().map(|thread| thread.times.of(State::Unattributed)).sum();
        Trust {
            lost_events: loss.events + self.undecoded,
            lost_stacks: loss.stacks + self.folded_waits,
            lost_keys: loss.threads
                + loss.processes
                + loss.waits
                + loss.objects
                + self.folded_waits,
            lost_waits: loss.waits,
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
            coverage: if wall == Nanos(0) { 1.0 } else { attributed.share_of(wall) },
            ..outcome.trust.clone()
        }
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
