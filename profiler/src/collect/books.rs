//! The books of one thread, and what its record says at the end.

use profiler_common::state::State as S;
use profiler_common::thread::{
    Comm, FLAG_SEED_RUNNABLE, FLAG_SEED_RUNNING, FLAG_SEED_WAIT, OpenWait, ThreadRecord,
};

use super::Names;
use crate::model::{Nanos, Pid, State, StateTimes, ThreadBooks, Tid};

/// The books of one thread before processes are named.
#[derive(Clone, Debug)]
pub struct Books {
    pub pid: u32,
    pub tid: u32,
    pub comm: String,
    pub wall: Nanos,
    pub times: StateTimes,
    pub preempted: Nanos,
    pub voluntary: u64,
    pub involuntary: u64,
    pub folded: u64,
    pub ended: bool,
    pub in_kernel: bool,
}

impl Books {
    /// Adds those of another thread: they share a row.
    pub fn merge(&mut self, other: &Books) {
        self.wall += other.wall;
        self.times.merge(&other.times);
        self.preempted += other.preempted;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.folded += other.folded;
    }

    /// So much of what is in no state is unattributed; where more is missing, the books are wrong, and should show it.
    pub fn attribute_rest(&mut self, at_most: Nanos) {
        let rest = self.wall.since(self.times.total()).min(at_most);
        self.times.add(State::Unattributed, rest);
    }

    /// With the name of the process.
    pub fn named(self, process: String, names: &mut dyn Names) -> ThreadBooks {
        ThreadBooks {
            pid: Pid(self.pid),
            tid: Tid(self.tid),
            comm: names.clean(self.comm.as_bytes()),
            process: names.clean(process.as_bytes()),
            wall: self.wall,
            preempted: self.preempted.min(self.times.of(State::Runnable)),
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
pub fn untracked(pid: u32, tid: u32, comm: String, wall: Nanos) -> Books {
    let mut times = StateTimes::default();
    times.add(State::Unattributed, wall);
    Books {
        pid,
        tid,
        comm,
        wall,
        times,
        preempted: Nanos(0),
        voluntary: 0,
        involuntary: 0,
        folded: 1,
        ended: false,
        in_kernel: false,
    }
}

/// The state that a thread is in at the end, and the wait if it is one.
pub fn open_state(thread: &ThreadRecord) -> (State, OpenWait) {
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

/// A name without what pads it.
pub fn trimmed(comm: &Comm) -> &[u8] {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    &comm[..end]
}

/// The same as text.
pub fn text(comm: &Comm) -> String {
    String::from_utf8_lossy(trimmed(comm)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_late_beginning_costs_is_unattributed() {
        let unattributed = |known: u64, late: u64| {
            let mut books = untracked(1, 2, "x".to_owned(), Nanos(0));
            books.wall = Nanos(100);
            books.times.add(State::Running, Nanos(known));
            books.attribute_rest(Nanos(late));
            books.times.of(State::Unattributed)
        };
        assert_eq!(unattributed(60, 50), Nanos(40));
        assert_eq!(unattributed(60, 30), Nanos(30));
        assert_eq!(unattributed(60, 0), Nanos(0));
        assert_eq!(unattributed(110, 50), Nanos(0));
    }
}
