//! The document that `dwell attach --json` prints.

pub mod locks;
pub mod requests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use locks::{Deadlock, Lock};
use requests::{Load, Requests};

/// The document, as printed and as read.
#[derive(Clone, Debug)]
pub struct Document {
    /// As printed.
    pub value: Value,
    /// As read.
    pub body: Body,
}

/// The parts that tests look at.
#[derive(Clone, Debug, Deserialize)]
pub struct Body {
    /// Name of the format.
    pub schema: String,
    /// The time it covers.
    pub window: Window,
    /// How far to trust it.
    pub trust: Trust,
    /// One row for each thread.
    pub threads: Vec<Thread>,
    /// One row for each thing waited for.
    pub waits: Vec<Wait>,
    /// One row for each lock that was waited for.
    #[serde(default)]
    pub locks: Vec<Lock>,
    /// Threads that waited for each other the whole time.
    #[serde(default)]
    pub deadlocks: Vec<Deadlock>,
    /// What servers were asked for.
    #[serde(default)]
    pub requests: Requests,
    /// The load of each service.
    #[serde(default)]
    pub queues: Vec<Load>,
}

/// The time that a document covers.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Window {
    /// CLOCK_MONOTONIC.
    pub start_monotonic_ns: u64,
    /// CLOCK_MONOTONIC.
    pub end_monotonic_ns: u64,
    /// From one to the other.
    pub duration_ns: u64,
}

/// How far to trust a document.
#[derive(Clone, Debug, Deserialize)]
pub struct Trust {
    /// Events that found no place in the ring buffer.
    pub lost_events: u64,
    /// Stacks that found no place.
    pub lost_stacks: u64,
    /// Threads and waits that found no place.
    pub lost_keys: u64,
    /// Waits cut by an edge of the window.
    pub clipped_waits: u64,
    /// Time that could not be attributed.
    pub unattributed_ns: u64,
    /// Attributed time over all time.
    pub coverage: f64,
    /// Wait time with a stack that reaches the thread's entry.
    pub stacks_complete_ns: u64,
    /// Wait time with a stack that ends early.
    pub stacks_truncated_ns: u64,
    /// Wait time of user threads without a stack.
    pub stacks_missing_ns: u64,
    /// Stacks that were walked; the others were known.
    pub stack_walks: u64,
    /// Known stacks that were walked again, as a check.
    pub rechecks: u64,
    /// Wait time behind these.
    pub recheck_ns: u64,
    /// Of that, with a wrong stack.
    pub recheck_wrong_ns: u64,
}

/// The books of one thread.
#[derive(Clone, Debug, Deserialize)]
pub struct Thread {
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Its lifetime inside the window.
    pub wall_ns: u64,
    /// On a CPU.
    pub running_ns: u64,
    /// Waiting for one.
    pub runnable_ns: u64,
    /// Blocked, by kind.
    pub blocked_ns: BTreeMap<String, u64>,
    /// Switches in which it blocked.
    pub voluntary: u64,
    /// Switches in which it was preempted.
    pub involuntary: u64,
}

/// Waits of one process for one thing.
#[derive(Clone, Debug, Deserialize)]
pub struct Wait {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Kind of wait.
    pub kind: String,
    /// What was waited for.
    pub object: Map<String, Value>,
    /// In which system call.
    pub syscall: Option<String>,
    /// How often.
    pub count: u64,
    /// Of those, cut by an edge of the window.
    pub clipped: u64,
    /// How long in all.
    pub total_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Half were no longer than this.
    pub p50_ns: u64,
    /// Of a hundred, 95 were no longer than this.
    pub p95_ns: u64,
    /// Of a hundred, 99 were no longer than this.
    pub p99_ns: u64,
    /// Threads that waited.
    pub threads: u64,
    /// Who ended the waits.
    pub wakers: Vec<Waker>,
    /// Where the threads stood, innermost first.
    pub stack: Vec<String>,
    /// The addresses of those that are not inlined.
    pub stack_addresses: Vec<String>,
}

/// Who ended waits.
#[derive(Clone, Debug, Deserialize)]
pub struct Waker {
    /// Name of the thread, where one did.
    pub comm: String,
    /// Its id.
    pub tid: u32,
    /// How often.
    pub count: u64,
    /// `thread`, `timer`, `network`, `irq` or `unknown`.
    pub cause: String,
}

impl Document {
    /// Reads what dwell printed: one document, and nothing beside it.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("stdout is not one document")?;
        let body = Body::deserialize(&value).context("the document lacks something")?;
        Ok(Self { value, body })
    }

    /// The threads of a process.
    pub fn threads_of(&self, pid: u32) -> impl Iterator<Item = &Thread> {
        self.body.threads.iter().filter(move |thread| thread.pid == pid)
    }

    /// A figure of every thread of a process, added up.
    pub fn sum(&self, pid: u32, figure: impl Fn(&Thread) -> u64) -> u64 {
        self.threads_of(pid).map(figure).sum()
    }

    /// Time that the threads of a process were blocked in waits of one kind.
    pub fn blocked_ns(&self, pid: u32, kind: &str) -> u64 {
        self.sum(pid, |thread| thread.blocked(kind))
    }

    /// Processes that have threads in the document.
    pub fn pids(&self) -> BTreeSet<u32> {
        self.body.threads.iter().map(|thread| thread.pid).collect()
    }

    /// Waits of a process of one kind for what `wanted` accepts.
    pub fn waits(&self, pid: u32, kind: &str, wanted: impl Fn(&Wait) -> bool) -> Waits<'_> {
        let of_kind = |wait: &&Wait| wait.pid == pid && wait.kind == kind && wanted(wait);
        Waits(self.body.waits.iter().filter(of_kind).collect())
    }

    /// The waits of a process in words, for messages.
    pub fn describe(&self, pid: u32) -> String {
        let line = |wait: &Wait| {
            let object = Value::Object(wait.object.clone());
            format!("  {} {object} count {} total {} ns\n", wait.kind, wait.count, wait.total_ns)
        };
        self.body.waits.iter().filter(|wait| wait.pid == pid).map(line).collect()
    }
}

impl Thread {
    /// Blocked time of one kind.
    pub fn blocked(&self, kind: &str) -> u64 {
        self.blocked_ns.get(kind).copied().unwrap_or_default()
    }

    /// Blocked time of every kind, `unattributed` among them.
    pub fn blocked_total(&self) -> u64 {
        self.blocked_ns.values().sum()
    }

    /// All its states, added up.
    pub fn accounted(&self) -> u64 {
        self.running_ns + self.runnable_ns + self.blocked_total()
    }
}

impl Wait {
    /// A text of its object; empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.object.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number of its object.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.object.get(key).and_then(Value::as_u64)
    }
}

/// Rows of waits, chosen.
#[derive(Clone, Debug)]
pub struct Waits<'a>(pub Vec<&'a Wait>);

impl Waits<'_> {
    /// Their time.
    pub fn total_ns(&self) -> u64 {
        self.0.iter().map(|wait| wait.total_ns).sum()
    }

    /// Their number.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|wait| wait.count).sum()
    }

    /// Those cut by an edge of the window.
    pub fn clipped(&self) -> u64 {
        self.0.iter().map(|wait| wait.clipped).sum()
    }

    /// The longest.
    pub fn max_ns(&self) -> u64 {
        self.0.iter().map(|wait| wait.max_ns).max().unwrap_or_default()
    }

    /// Who ended them, with how often.
    pub fn wakers(&self) -> impl Iterator<Item = &Waker> {
        self.0.iter().flat_map(|wait| &wait.wakers)
    }
}
