//! Follows the events of a window, and closes the books.

use std::collections::{HashMap, HashSet};

use profiler_common::state::State as S;
use profiler_common::thread::{
    FLAG_ENDED, FLAG_KERNEL_THREAD, OpenWait, POSTED, ThreadRecord, UNPOSTED_CLIPPED,
};
use profiler_common::turn::Turn;
use profiler_common::wait::{WaitKey, WaitStats};

use super::books::{Books, open_state, text, untracked};
use super::decode::Event;
use super::locks::Locks;
use super::turns::{Turns, decode_turn};

use super::waits::{CutOff, Ended, Row, RowKey};
use crate::model::{Nanos, State, StateTimes, group_name};

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

/// When books are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// At the end of the window: nothing changes any more.
    End,
    /// While the probes go on: books that have changed since are closed where they are.
    Meanwhile,
}

/// Follows the events of a window, and makes a profile of them at its end.
#[derive(Clone, Default)]
pub struct Collector {
    pub(super) ended: Vec<Books>,
    pub(super) folded: HashMap<(u32, String), Books>,
    pub(super) owners: HashMap<u32, Owner>,
    pub(super) gone: HashSet<u32>,
    pub(super) leaders: HashMap<u32, String>,
    pub(super) rows: HashMap<RowKey, Row>,
    pub(super) window_start: u64,
    /// See [`Self::opened_late`].
    late: Nanos,
    pub(super) alive: Vec<Books>,
    /// Stacks of the waits that threads were in when dwell came, by thread number.
    pub(super) seed_stacks: HashMap<u32, u64>,
    pub(super) undecoded: u64,
    pub(super) folded_waits: u64,
    pub(super) new_stacks: Vec<(u64, u32)>,
    pub(super) aliases: HashMap<u64, u64>,
    pub(super) locks: Locks,
    /// None where requests are not followed.
    pub(super) turns: Option<Turns>,
}

/// Whose waits carry a thread number.
#[derive(Clone)]
pub(super) struct Owner {
    pub pid: u32,
    pub group: String,
    in_kernel: bool,
}

impl Collector {
    /// For a window that begins at this instant (CLOCK_MONOTONIC).
    pub fn new(window_start: Nanos) -> Self {
        Self { window_start: window_start.0, ..Self::default() }
    }

    /// For a window of which the probes learned so long after its beginning, at most: a thread with an event in
    /// between lacks the time before that.
    pub fn opened_late(self, late: Nanos) -> Self {
        Self { late, ..self }
    }

    /// Adds up requests as well.
    pub fn with_requests(self) -> Self {
        Self { turns: Some(Turns::new(self.window_start)), ..self }
    }

    /// Takes in a record of the ring buffer of requests, and gives it decoded.
    pub fn on_turn(&mut self, record: &[u8]) -> Option<Turn> {
        let turns = self.turns.as_mut()?;
        let turn = decode_turn(record);
        match &turn {
            Some(turn) => turns.add(turn),
            None => turns.note_undecoded(),
        }
        turn
    }

    /// The requests, where they are followed.
    pub fn turns(&mut self) -> Option<&mut Turns> {
        self.turns.as_mut()
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
        books.attribute_rest(self.late);
        books.ended = true;
        let pid = self.keep_ended(books);
        self.own(thread, pid);
        self.gone.insert(thread.serial);
    }

    fn on_untracked(&mut self, pid: u32, tid: u32, comm: String, start_ns: u64, end_ns: u64) {
        if end_ns <= self.window_start {
            return;
        }
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
    }

    /// All that there is of ended threads has been taken over.
    pub fn forget_gone(&mut self) {
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
            preempted: Nanos(thread.preempted_ns),
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

    pub(super) fn row_key(&self, key: &WaitKey, stack: u64) -> Option<(RowKey, String)> {
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

    /// Notes whose waits carry the numbers of these threads, before the waits are added.
    /// `seed_stacks` are those of the waits that threads were in when dwell came, by thread number.
    pub fn meet(&mut self, threads: &[ThreadRecord], seed_stacks: HashMap<u32, u64>) {
        self.seed_stacks = seed_stacks;
        for thread in threads {
            if thread.flags & FLAG_ENDED == 0 {
                self.own(thread, thread.pid);
            } else {
                self.on_exit(thread.since_ns, thread);
            }
        }
    }

    /// Closes the books of the threads at this instant.
    pub fn close(&mut self, end: Nanos, at: Closing, threads: &[ThreadRecord]) {
        for thread in threads {
            if thread.flags & FLAG_ENDED != 0 {
                // Unless it has been met as such.
                if !self.gone.contains(&thread.serial) {
                    self.on_exit(thread.since_ns, thread);
                }
                continue;
            }
            self.own(thread, thread.pid);
            let end_ns = match at {
                Closing::End => end.0,
                Closing::Meanwhile => end.0.max(thread.since_ns),
            };
            let mut books = self.books(thread, end_ns);
            self.post(thread, &mut books);
            self.close_open_interval(thread, end_ns, &mut books);
            books.attribute_rest(self.late);
            self.alive.push(books);
        }
    }

    /// Adds a wait that has ended and that the probes have not yet added to its sums.
    fn post(&mut self, thread: &ThreadRecord, books: &mut Books) {
        if thread.unposted == POSTED {
            return;
        }
        let length = Nanos(thread.unposted_ns);
        books
            .times
            .add(State::from_raw(thread.open.key.kind).unwrap_or(State::Unattributed), length);
        let clipped = thread.unposted == UNPOSTED_CLIPPED;
        let seed = if clipped { self.seed_stacks.get(&thread.serial).copied() } else { None };
        let peer_port = thread.open.peer_port;
        if let Some(row) = self.row(&thread.open.key, seed.unwrap_or(0)) {
            row.add_one(thread.serial, Ended { length, clipped, peer_port, waker: thread.waker });
        }
    }

    /// Adds the sums of a wait, once its thread is known. They are added up one by
    /// one: a host has so many that they should not all be in memory.
    pub fn add_sums(&mut self, key: &WaitKey, stats: &WaitStats) {
        let seed = if stats.clipped > 0 { self.seed_stacks.get(&key.serial) } else { None };
        self.add_wait(key, stats, seed.copied().unwrap_or(0));
    }

    /// The time since the last event of a thread belongs to the state it is in.
    fn close_open_interval(&mut self, thread: &ThreadRecord, end_ns: u64, books: &mut Books) {
        let since = thread.since_ns.max(self.window_start);
        // The probes move borders by up to 200 µs to where the scheduler has them, here past the
        // end of the window, and what they moved they added to the wait for a CPU or to the run.
        let past = Nanos(since).since(Nanos(end_ns));
        let rest = past.since(books.times.of(State::Runnable));
        books.times.take_back(State::Runnable, past);
        books.times.take_back(State::Running, rest);
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
        if let Some((row, _)) = self.row_key(&key, stack.unwrap_or(0)) {
            self.note_stuck(thread, &row, length);
        }
        if let Some(row) = self.row(&key, stack.unwrap_or(0)) {
            row.add_cut_off(thread.serial, CutOff { length, peer_port: open.peer_port });
        }
    }
}
