//! The part of the document about locks.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Document;

/// One lock, or one place that waits for locks.
#[derive(Clone, Debug, Deserialize)]
pub struct Lock {
    /// `lock`, `rwlock`, `condition`, ….
    pub kind: String,
    /// How that is known.
    pub evidence: String,
    /// Whether threads were in each other's way.
    pub contention: bool,
    /// Whether they spun rather than waited.
    pub spins: bool,
    /// Processes that waited.
    pub pids: Vec<u32>,
    /// Name of the process.
    pub comm: String,
    /// Address of the futex in the first of these processes.
    pub address: Option<String>,
    /// Whether processes share it.
    pub shared: bool,
    /// What lies at the address.
    pub place: String,
    /// How often somebody waited.
    pub count: u64,
    /// Of those, cut by an edge of the window.
    pub clipped: u64,
    /// How long in all.
    pub total_ns: u64,
    /// Half were no longer than this.
    pub p50_ns: u64,
    /// Of a hundred, 95 were no longer than this.
    pub p95_ns: u64,
    /// Of a hundred, 99 were no longer than this.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Threads that waited.
    pub threads: u64,
    /// How many waited at one time.
    pub queue: Queue,
    /// How the waits ended.
    pub ended: Ended,
    /// Whether the lock itself says who had it.
    pub owner_proved: bool,
    /// How long it was held.
    pub hold: Option<Hold>,
    /// Where threads waited.
    pub sites: Vec<Site>,
    /// Behind whom.
    pub behind: Vec<Behind>,
}

/// How many waited at one time.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Queue {
    /// On average over the window.
    pub mean: f64,
    /// At most.
    pub max: Option<u64>,
    /// Share of the window in which at least one waited.
    pub busy_share: Option<f64>,
}

/// How waits ended.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Ended {
    /// Somebody woke the thread.
    pub woken: u64,
    /// Its time was over.
    pub timeout: u64,
    /// A signal came.
    pub signal: u64,
    /// Nobody saw.
    pub unknown: u64,
}

/// Holds of a lock, as far as they can be estimated.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Hold {
    /// How many.
    pub count: u64,
    /// On average.
    pub mean_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// A place that waits.
#[derive(Clone, Debug, Deserialize)]
pub struct Site {
    /// Innermost first.
    pub stack: Vec<String>,
    /// How often.
    pub count: u64,
    /// How long in all.
    pub total_ns: u64,
}

/// Threads behind which others waited.
#[derive(Clone, Debug, Deserialize)]
pub struct Behind {
    /// Their processes.
    pub pids: Vec<u32>,
    /// Name of the thread group.
    pub comm: String,
    /// From where they let go, innermost first.
    pub stack: Vec<String>,
    /// Time of the waits.
    pub total_ns: u64,
    /// Of all.
    pub share: f64,
    /// What they were doing meanwhile.
    pub doing: Vec<Doing>,
}

/// What somebody was doing while others waited.
#[derive(Clone, Debug, Deserialize)]
pub struct Doing {
    /// `running`, `runnable`, or a kind of wait.
    pub state: String,
    /// What was waited for.
    pub object: Option<Map<String, Value>>,
    /// Where, innermost first.
    pub stack: Vec<String>,
    /// How long.
    pub total_ns: u64,
    /// Of all.
    pub share: f64,
    /// Behind whom in turn.
    pub behind: Vec<Behind>,
}

/// Threads that wait for each other.
#[derive(Clone, Debug, Deserialize)]
pub struct Deadlock {
    /// Whether the locks themselves say so.
    pub proved: bool,
    /// Each waits for what the next one has.
    pub threads: Vec<Deadlocked>,
}

/// A thread of a deadlock.
#[derive(Clone, Debug, Deserialize)]
pub struct Deadlocked {
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// What it waits for.
    pub address: String,
    /// Who has that.
    pub owner_tid: Option<u32>,
}

/// The end of a chain: what the last of those behind whom others waited was doing.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// Who.
    pub who: &'a Behind,
    /// What.
    pub doing: &'a Doing,
    /// Time that is not explained by somebody else in turn.
    pub ns: u64,
}

impl Document {
    /// Rows of a process whose address lies in a range.
    pub fn locks_at(&self, pid: u32, range: std::ops::Range<u64>) -> Vec<&Lock> {
        let is_there = |lock: &&Lock| {
            lock.pids.contains(&pid) && lock.number().is_some_and(|number| range.contains(&number))
        };
        self.body.locks.iter().filter(is_there).collect()
    }

    /// The rows in words, for messages.
    pub fn describe_locks(&self) -> String {
        self.body.locks.iter().take(8).map(Lock::describe).collect()
    }
}

impl Lock {
    /// The address as a number.
    pub fn number(&self) -> Option<u64> {
        u64::from_str_radix(self.address.as_deref()?.strip_prefix("0x")?, 16).ok()
    }

    /// Whether a place that waits has such a frame.
    pub fn waits_in(&self, function: &str) -> bool {
        self.sites.iter().any(|site| has_frame(&site.stack, function))
    }

    /// Time of waits behind those that `wanted` accepts.
    pub fn behind_ns(&self, wanted: impl Fn(&Behind) -> bool) -> u64 {
        self.behind.iter().filter(|behind| wanted(behind)).map(|behind| behind.total_ns).sum()
    }

    /// Time of waits whose chain comes to a process.
    pub fn explained_by(&self, pid: u32) -> u64 {
        self.behind.iter().map(|behind| behind.explained_by(pid)).sum()
    }

    /// The ends of all chains.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        self.behind.iter().flat_map(Behind::leaves).collect()
    }

    /// Time of the ends of chains that `wanted` accepts.
    pub fn leaves_ns(&self, wanted: impl Fn(&Leaf) -> bool) -> u64 {
        self.leaves().iter().filter(|leaf| wanted(leaf)).map(|leaf| leaf.ns).sum()
    }

    /// Time in which somebody, anywhere in a chain, did what `wanted` accepts.
    pub fn doing_ns(&self, wanted: impl Fn(&Behind, &Doing) -> bool) -> u64 {
        self.behind.iter().map(|behind| behind.doing_ns(&wanted)).sum()
    }

    /// In words, for messages.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "  {} {} {:?} contention {} count {} total {} ns ended {:?} queue {:?} hold {:?}\n",
            self.kind,
            self.address.as_deref().unwrap_or("-"),
            self.place,
            self.contention,
            self.count,
            self.total_ns,
            self.ended,
            self.queue,
            self.hold,
        );
        for site in self.sites.iter().take(2) {
            text += &format!("    in {:?}\n", site.stack.iter().take(8).collect::<Vec<_>>());
        }
        for behind in self.behind.iter().take(4) {
            text += &behind.describe(4);
        }
        text
    }
}

impl Behind {
    /// Whether it is threads of this process, and of no other.
    pub fn is_of(&self, pid: u32) -> bool {
        self.pids == [pid]
    }

    /// Time of the waits whose chain comes to a process.
    pub fn explained_by(&self, pid: u32) -> u64 {
        if self.is_of(pid) {
            return self.total_ns;
        }
        let next = self.doing.iter().flat_map(|doing| &doing.behind);
        next.map(|behind| behind.explained_by(pid)).sum()
    }

    /// What comes after such a doing is part of it.
    fn doing_ns(&self, wanted: &impl Fn(&Behind, &Doing) -> bool) -> u64 {
        let of = |doing: &Doing| match wanted(self, doing) {
            true => doing.total_ns,
            false => doing.behind.iter().map(|next| next.doing_ns(wanted)).sum(),
        };
        self.doing.iter().map(of).sum()
    }

    fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut leaves = Vec::new();
        for doing in &self.doing {
            let next: Vec<Leaf> = doing.behind.iter().flat_map(Behind::leaves).collect();
            let explained_ns: u64 = next.iter().map(|leaf| leaf.ns).sum();
            let ns = doing.total_ns.saturating_sub(explained_ns);
            leaves.push(Leaf { who: self, doing, ns });
            leaves.extend(next);
        }
        leaves
    }

    fn describe(&self, indent: usize) -> String {
        let space = " ".repeat(indent);
        let from = self.stack.iter().take(6).collect::<Vec<_>>();
        let mut text =
            format!("{space}behind {:?} {} {} ns {from:?}\n", self.pids, self.comm, self.total_ns);
        for doing in self.doing.iter().take(6) {
            let object = doing.object.clone().map(Value::Object).unwrap_or_default();
            text += &format!("{space}  {} {object} {} ns\n", doing.state, doing.total_ns);
            for behind in &doing.behind {
                text += &behind.describe(indent + 4);
            }
        }
        text
    }
}

/// Whether a stack names such a function.
pub fn has_frame(stack: &[String], function: &str) -> bool {
    stack.iter().any(|frame| frame.contains(function))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(pid: u32, total_ns: u64, doing: Vec<Doing>) -> Behind {
        let (comm, stack) = (String::new(), Vec::new());
        Behind { pids: vec![pid], comm, stack, total_ns, share: 1.0, doing }
    }

    fn doing(state: &str, total_ns: u64, behind: Vec<Behind>) -> Doing {
        let (state, stack) = (state.to_owned(), Vec::new());
        Doing { state, object: None, stack, total_ns, share: 1.0, behind }
    }

    #[test]
    fn chains_are_followed_to_their_ends() {
        let backend = behind(7, 80, vec![doing("sleep", 75, Vec::new())]);
        let holder = behind(
            1,
            100,
            vec![doing("socket", 90, vec![backend]), doing("running", 10, Vec::new())],
        );
        assert_eq!((holder.explained_by(7), holder.explained_by(1)), (80, 100));
        assert_eq!(holder.explained_by(3), 0);
        let leaves = holder.leaves();
        let found: Vec<_> =
            leaves.iter().map(|leaf| (leaf.doing.state.as_str(), leaf.ns)).collect();
        assert_eq!(found, [("socket", 15), ("sleep", 75), ("running", 10)]);
    }
}
