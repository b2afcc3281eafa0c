//! Pairs, adds up, and closes the books.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use profiler_common::control::Loss;
use profiler_common::object::Object;
use profiler_common::state::State as S;
use profiler_common::thread::{
    Comm, FLAG_ENDED, FLAG_KERNEL_THREAD, FLAG_SEED_RUNNABLE, FLAG_SEED_RUNNING, FLAG_SEED_WAIT,
    FLAG_UNPOSTED, FLAG_UNPOSTED_CLIPPED, OpenWait, ThreadRecord,
};
use profiler_common::wait::{NO_SYSCALL, WaitKey, WaitStats};

use super::decode::Event;
use super::describe;
use super::waits::{CutOff, Ended, Row, RowKey};
use crate::model::{
    Frame, Host, Nanos, Pid, Profile, StackReach, State, StateTimes, Target, ThreadBooks, Tid,
    Trust, Wait, WakerCount, Walked, Window, group_name,
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

/// Ended threads kept apart. Beyond, threads of the same process and name share a row: a program
/// that creates 2,000 threads a second would otherwise fill any memory.
const ENDED_THREADS_KEPT: usize = 20_000;

/// Such rows kept apart, and rows of waits of ended threads. A program that creates processes
/// without end, each with a number of its own, would fill any memory again: beyond, threads are
/// those of process 0, and waits lose what they were for.
const FOLDED_KEPT: usize = 4_096;
const ENDED_ROWS_KEPT: usize = 32_768;

/// Stacks renamed: each is of one wait. Beyond, such a wait has no stack, which the trust line shows.
const ALIASES_KEPT: usize = 1 << 18;

/// Follows the events of a window, and makes a profile of them at its end.
#[derive(Default)]
pub struct Collector {
    ended: Vec<Books>,
    folded: HashMap<(u32, String), Books>,
    owners: HashMap<u32, Owner>,
    gone: HashSet<u32>,
    leaders: HashMap<u32, String>,
    rows: HashMap<RowKey, Row>,
    window_start: u64,
    alive: Vec<Books>,
    /// Stacks of the waits that threads were in when dwell came, by thread number.
    seed_stacks: HashMap<u32, u64>,
    undecoded: u64,
    folded_waits: u64,
    new_stacks: Vec<(u64, u32)>,
    aliases: HashMap<u64, u64>,
}

/// The stacks of a process, by their ids, once they are named.
type NamedStacks = HashMap<(u32, u64), Arc<[Frame]>>;

/// Whose waits carry a thread number.
#[derive(Clone)]
struct Owner {
    pid: u32,
    group: String,
    in_kernel: bool,
}

/// The books of one thread before processes are named.
#[derive(Clone, Debug)]
struct Books {
    pid: u32,
    tid: u32,
    comm: String,
    wall: Nanos,
    times: StateTimes,
    voluntary: u64,
    involuntary: u64,
    folded: u64,
    ended: bool,
    in_kernel: bool,
}

/// What there is to be known at the end of the window.
pub struct Outcome<'a> {
    /// The window.
    pub window: Window,
    /// The machine.
    pub host: Host,
    /// What was asked for.
    pub target: Target,
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
    /// For a window that begins at this instant (CLOCK_MONOTONIC).
    pub fn new(window_start: Nanos) -> Self {
        Self { window_start: window_start.0, ..Self::default() }
    }

    /// Takes in a record of the ring buffer.
    pub fn on_record(&mut self, record: &[u8]) {
        match super::decode(record) {
            Some(Event::Exit { end_ns, thread }) => self.on_exit(end_ns, &thread),
            Some(Event::Untracked { start_ns, end_ns, pid, tid, comm }) => {
                let name = text(&comm);
                self.on_untracked(pid, tid, name, start_ns, end_ns);
            }
            Some(Event::NewStack { id, pid }) => self.new_stacks.push((id, pid)),
            None => self.undecoded += 1,
        }
    }

    /// User stacks seen since the last call: key of the stack table, and process.
    pub fn new_stacks(&mut self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.new_stacks)
    }

    /// A stack that the probes numbered before it was walked to its end has this number now.
    pub fn rename_stack(&mut self, from: u64, to: u64) {
        if self.aliases.len() < ALIASES_KEPT {
            self.aliases.insert(from, to);
        }
    }

    /// A record came that is none.
    pub fn note_undecoded(&mut self) {
        self.undecoded += 1;
    }

    fn on_exit(&mut self, end_ns: u64, thread: &ThreadRecord) {
        if end_ns <= self.window_start {
            return;
        }
        let mut books = self.books(thread, end_ns);
        books.ended = true;
        let pid = self.keep_ended(books);
        self.own(thread, pid);
        self.gone.insert(thread.serial);
    }

    fn on_untracked(&mut self, pid: u32, tid: u32, comm: String, start_ns: u64, end_ns: u64) {
        let wall = Nanos(end_ns).since(Nanos(start_ns.max(self.window_start)));
        let mut books = untracked(pid, tid, comm, wall);
        books.ended = true;
        self.keep_ended(books);
    }

    /// Keeps the books of a thread that has ended. Gives the process that it counts for.
    fn keep_ended(&mut self, books: Books) -> u32 {
        let pid = books.pid;
        if self.ended.len() < ENDED_THREADS_KEPT {
            self.ended.push(books);
            return pid;
        }
        let has_room = self.folded.len() < FOLDED_KEPT;
        let mut key = (pid, group_name(&books.comm));
        if !has_room && !self.folded.contains_key(&key) {
            key = (0, String::new());
        }
        match self.folded.get_mut(&key) {
            Some(row) => row.merge(&books),
            None => {
                let (pid, comm) = key.clone();
                self.folded.insert(key.clone(), Books { pid, tid: 0, comm, ..books });
            }
        }
        key.0
    }

    /// Number of ended threads whose waits may still be in the kernel's table.
    pub fn gone(&self) -> usize {
        self.gone.len()
    }

    /// Whether a wait is of a thread that has ended: then it is final.
    pub fn is_gone(&self, key: &WaitKey) -> bool {
        self.gone.contains(&key.serial)
    }

    /// Takes over the waits of ended threads.
    pub fn take_over(&mut self, mut waits: Vec<(WaitKey, Box<WaitStats>)>) {
        // All waits of a thread in a row: see `Row::add_ended`.
        waits.sort_unstable_by_key(|(key, _)| key.serial);
        for (key, stats) in &waits {
            if let Some(row) = self.ended_row(key) {
                row.add_ended(key, stats);
            }
        }
        for serial in self.gone.drain() {
            self.owners.remove(&serial);
        }
    }

    /// Notes whose waits carry the number of a thread, which counts for process `pid`.
    fn own(&mut self, thread: &ThreadRecord, pid: u32) {
        let comm = text(&thread.comm);
        if pid == thread.tid && pid != 0 {
            self.leaders.insert(pid, comm.clone());
        }
        let owner = Owner {
            pid,
            group: group_name(&comm),
            in_kernel: thread.flags & FLAG_KERNEL_THREAD != 0,
        };
        self.owners.insert(thread.serial, owner);
    }

    /// Closed books of a thread up to `end`; the open interval is not in them.
    fn books(&self, thread: &ThreadRecord, end_ns: u64) -> Books {
        Books {
            pid: thread.pid,
            tid: thread.tid,
            comm: text(&thread.comm),
            wall: Nanos(end_ns).since(Nanos(thread.born_ns.max(self.window_start))),
            times: StateTimes::from_raw(&thread.totals_ns),
            voluntary: thread.voluntary,
            involuntary: thread.involuntary,
            folded: 1,
            ended: false,
            in_kernel: thread.flags & FLAG_KERNEL_THREAD != 0,
        }
    }

    fn add_wait(&mut self, key: &WaitKey, stats: &WaitStats, stack: u64) {
        let row = self.row(key, stack);
        if let Some(row) = row {
            row.add(key, stats);
        }
    }

    fn row(&mut self, key: &WaitKey, stack: u64) -> Option<&mut Row> {
        let (key, group) = self.row_key(key, stack)?;
        let row = self.rows.entry(key).or_default();
        row.note_group(group);
        Some(row)
    }

    /// The same for a thread that has ended, within bounds.
    fn ended_row(&mut self, key: &WaitKey) -> Option<&mut Row> {
        let (mut key, group) = self.row_key(key, 0)?;
        if self.rows.len() >= ENDED_ROWS_KEPT && !self.rows.contains_key(&key) {
            key = RowKey { object: 0, stack: 0, detail: 0, ..key };
            self.folded_waits += 1;
        }
        let row = self.rows.entry(key).or_default();
        row.note_group(group);
        Some(row)
    }

    fn row_key(&self, key: &WaitKey, stack: u64) -> Option<(RowKey, String)> {
        let owner = self.owners.get(&key.serial)?.clone();
        let row = RowKey {
            pid: owner.pid,
            kind: key.kind,
            detail: key.detail,
            syscall: key.syscall,
            object: key.object,
            stack: self.aliases.get(&key.stack).copied().unwrap_or(match key.stack {
                0 => stack,
                known => known,
            }),
            in_kernel: owner.in_kernel,
        };
        Some((row, owner.group))
    }

    /// Closes the books of the threads at the end of the window. `seed_stacks` are those of the
    /// waits that threads were in when dwell came, by thread number.
    pub fn close(&mut self, end: Nanos, threads: &[ThreadRecord], seed_stacks: HashMap<u32, u64>) {
        self.seed_stacks = seed_stacks;
        for thread in threads {
            if thread.flags & FLAG_ENDED != 0 {
                self.on_exit(thread.since_ns, thread);
                continue;
            }
            self.own(thread, thread.pid);
            let mut books = self.books(thread, end.0);
            self.post(thread, &mut books);
            self.close_open_interval(thread, end.0, &mut books);
            self.alive.push(books);
        }
    }

    /// Adds a wait that has ended and that the probes have not yet added to its sums.
    fn post(&mut self, thread: &ThreadRecord, books: &mut Books) {
        if thread.flags & FLAG_UNPOSTED == 0 {
            return;
        }
        let length = Nanos(thread.unposted_ns);
        books
            .times
            .add(State::from_raw(thread.open.key.kind).unwrap_or(State::Unattributed), length);
        let clipped = thread.flags & FLAG_UNPOSTED_CLIPPED != 0;
        let seed = if clipped { self.seed_stacks.get(&thread.serial).copied() } else { None };
        let peer_port = thread.open.peer_port;
        if let Some(row) = self.row(&thread.open.key, seed.unwrap_or(0)) {
            row.add_one(thread.serial, Ended { length, clipped, peer_port, waker: thread.waker });
        }
    }

    /// Adds the sums of a wait, once the books of its thread are closed. They are added up one by
    /// one: a host has so many that they should not all be in memory.
    pub fn add_sums(&mut self, key: &WaitKey, stats: &WaitStats) {
        let seed = if stats.clipped > 0 { self.seed_stacks.get(&key.serial) } else { None };
        self.add_wait(key, stats, seed.copied().unwrap_or(0));
    }

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
        let Outcome { window, host, target, .. } = outcome;
        Profile { window, host, target, trust, threads, waits }
    }

    /// The time since the last event of a thread belongs to the state it is in.
    fn close_open_interval(&mut self, thread: &ThreadRecord, end_ns: u64, books: &mut Books) {
        let since = thread.since_ns.max(self.window_start);
        // The probes move borders by up to 20 µs to where the scheduler has them, here past the
        // end of the window, and what they moved they added to the wait for a CPU.
        books.times.take_back(State::Runnable, Nanos(since).since(Nanos(end_ns)));
        let (state, open) = open_state(thread);
        let end = Nanos(end_ns);
        let entered = Nanos(thread.unseen_wakeup_ns.clamp(since, since.max(end_ns)));
        if state == State::Running && thread.unseen_wakeup_ns != 0 {
            // It runs, and the wait before is still open.
            let kind = State::from_raw(open.key.kind).unwrap_or(State::Unattributed);
            books.times.add(State::Running, end.since(entered));
            books.times.add(kind, entered.since(Nanos(since)));
            self.cut_off(thread, kind, open, entered.since(Nanos(since)));
            return;
        }
        let length = end.since(Nanos(since));
        books.times.add(state, length);
        self.cut_off(thread, state, open, length);
    }

    /// Adds a wait that is open at the end to its row.
    fn cut_off(&mut self, thread: &ThreadRecord, state: State, open: OpenWait, length: Nanos) {
        if !state.is_wait() || length == Nanos(0) {
            return;
        }
        let is_seed = thread.state == S::Unsettled as u8;
        let stack = if is_seed { self.seed_stacks.get(&thread.serial).copied() } else { None };
        let key = WaitKey { serial: thread.serial, ..open.key };
        if let Some(row) = self.row(&key, stack.unwrap_or(0)) {
            row.add_cut_off(thread.serial, CutOff { length, peer_port: open.peer_port });
        }
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

impl Books {
    fn merge(&mut self, other: &Books) {
        self.wall += other.wall;
        self.times.merge(&other.times);
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.folded += other.folded;
    }

    fn named(self, process: String, names: &mut dyn Names) -> ThreadBooks {
        ThreadBooks {
            pid: Pid(self.pid),
            tid: Tid(self.tid),
            comm: names.clean(self.comm.as_bytes()),
            process: names.clean(process.as_bytes()),
            wall: self.wall,
            times: self.times,
            voluntary: self.voluntary,
            involuntary: self.involuntary,
            folded: self.folded,
            ended: self.ended,
            in_kernel: self.in_kernel,
        }
    }
}

/// A thread of which nothing but the lifetime is known.
fn untracked(pid: u32, tid: u32, comm: String, wall: Nanos) -> Books {
    let mut times = StateTimes::default();
    times.add(State::Unattributed, wall);
    Books {
        pid,
        tid,
        comm,
        wall,
        times,
        voluntary: 0,
        involuntary: 0,
        folded: 1,
        ended: false,
        in_kernel: false,
    }
}

/// The state that a thread is in at the end, and the wait if it is one.
fn open_state(thread: &ThreadRecord) -> (State, OpenWait) {
    if thread.state != S::Unsettled as u8 {
        let state = State::from_raw(thread.state).unwrap_or(State::Unattributed);
        return (state, thread.open);
    }
    let state = if thread.flags & FLAG_SEED_RUNNING != 0 {
        State::Running
    } else if thread.flags & FLAG_SEED_RUNNABLE != 0 {
        State::Runnable
    } else if thread.flags & FLAG_SEED_WAIT != 0 {
        State::from_raw(thread.seed.key.kind).unwrap_or(State::Unattributed)
    } else {
        State::Unattributed
    };
    (state, thread.seed)
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

fn trimmed(comm: &Comm) -> &[u8] {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    &comm[..end]
}

fn text(comm: &Comm) -> String {
    String::from_utf8_lossy(trimmed(comm)).into_owned()
}
