//! Which waits are for the same lock, and what they come to.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::behind::behind;
use super::place::taken_in;
use super::sort::{Sort, Sorted};
use super::{By, Ended, Line, LockRow, Site};
use crate::model::{
    Blame, Cause, Futex, Holds, Latency, Nanos, Pid, Place, Profile, State, Wait, WaitObject,
};

/// What waits of one row share.
#[derive(PartialEq, Eq, Hash)]
pub enum Key {
    Address(Pid, u64),
    Shared((u64, u64), u64),
    Object(WaitObject),
    Site(String, State, Vec<String>),
    Interpreter(Pid),
    Others(Pid),
}

impl Key {
    pub fn of(wait: &Wait, sorted: &Sorted, futex: Option<&Futex>, by: By) -> Self {
        if sorted.sort == Sort::Others {
            return Self::Others(wait.pid);
        }
        // It waits on the two halves of a condition variable, by turns.
        if sorted.sort == Sort::Interpreter && by == By::Lock {
            return Self::Interpreter(wait.pid);
        }
        if by == By::Site || !sorted.own_address {
            return Self::Site(wait.comm.clone(), wait.kind, site_names(wait, sorted));
        }
        match (&wait.object, futex.map(|futex| &futex.place)) {
            (
                WaitObject::Futex { private: false, .. },
                Some(Place::Shared { file, offset, .. }),
            ) => Self::Shared(*file, *offset),
            // A condition variable of glibc has two futexes, of which one at a time is waited for
            // (`__g_signals`, sysdeps/nptl/bits/thread-shared-types.h).
            (WaitObject::Futex { address, .. }, _) if sorted.sort == Sort::Condition => {
                Self::Address(wait.pid, *address & !7)
            }
            (WaitObject::Futex { address, .. }, _) => Self::Address(wait.pid, *address),
            (object, _) => Self::Object(object.clone()),
        }
    }
}

/// What makes two places the same: all functions; of a database's lock, which one takes it, since
/// all sorts of statements come there.
fn site_names(wait: &Wait, sorted: &Sorted) -> Vec<String> {
    if sorted.sort == Sort::Database {
        let what = sorted.thing.or_else(|| taken_in(&wait.stack)).unwrap_or_default();
        return vec![sorted.evidence.clone(), what.to_owned()];
    }
    wait.stack.iter().map(|frame| frame.name.clone()).collect()
}

/// The waits of a row.
pub struct Gathered<'a> {
    pub sorted: Sorted,
    pub waits: Vec<&'a Wait>,
    pub futexes: Vec<&'a Futex>,
    /// Made of rows that are not worth one each.
    is_folded: bool,
}

/// Locks with rows of their own. A program can have a futex for each of a hundred thousand rows, and a
/// document of them all would have hundreds of megabytes.
const ROWS_KEPT: usize = 1_024;

/// The rows that cost most; all others are one, or two where some are no contention.
pub fn bounded(mut all: Vec<Gathered<'_>>) -> Vec<Gathered<'_>> {
    if all.len() <= ROWS_KEPT {
        return all;
    }
    // What found no place before goes with the others.
    all.sort_by_cached_key(|row| (row.sorted.sort == Sort::Others, Reverse(row.total())));
    let (contended, idle): (Vec<_>, Vec<_>) =
        all.split_off(ROWS_KEPT).into_iter().partition(|row| row.sorted.sort.is_contention());
    all.extend(folded(contended, Sort::Others));
    all.extend(folded(idle, Sort::Condition));
    all
}

fn folded(rows: Vec<Gathered<'_>>, sort: Sort) -> Option<Gathered<'_>> {
    if rows.is_empty() {
        return None;
    }
    let evidence = format!("beyond the {ROWS_KEPT} that cost most");
    let mut whole = Gathered::new(Sorted { sort, evidence, own_address: false, thing: None });
    whole.is_folded = true;
    whole.waits = rows.into_iter().flat_map(|row| row.waits).collect();
    Some(whole)
}

impl<'a> Gathered<'a> {
    fn total(&self) -> Nanos {
        self.waits.iter().map(|wait| wait.total).sum()
    }

    pub fn new(sorted: Sorted) -> Self {
        Self { sorted, waits: Vec::new(), futexes: Vec::new(), is_folded: false }
    }

    pub fn row(mut self, profile: &Profile, by: By) -> LockRow {
        self.futexes.sort_by_key(|futex| (futex.pid, futex.address));
        self.futexes.dedup_by_key(|futex| (futex.pid, futex.address));
        self.waits.sort_by_key(|wait| Reverse(wait.total));
        let first = self.waits[0];
        let total: Nanos = self.waits.iter().map(|wait| wait.total).sum();
        let by_address = by == By::Lock && self.sorted.own_address;
        let mut latency = Latency::default();
        self.waits.iter().for_each(|wait| latency.merge(&wait.latency));
        let blames: Vec<Blame> =
            self.waits.iter().flat_map(|wait| wait.blames.iter().copied()).collect();
        let is_futex = matches!(first.object, WaitObject::Futex { .. });
        LockRow {
            sort: self.sorted.sort,
            comm: first.comm.clone(),
            pids: self.waits.iter().map(|wait| wait.pid).collect(),
            thread_groups: self.waits.iter().flat_map(|wait| wait.thread_groups.clone()).collect(),
            address: if by_address { self.address() } else { None },
            locks: self.locks(by_address),
            is_shared: matches!(first.object, WaitObject::Futex { private: false, .. }),
            place: match self.futexes.first() {
                Some(futex) if by_address => futex.place.clone(),
                _ => Place::Unknown,
            },
            object: (!is_futex && by_address).then(|| first.object.clone()),
            count: self.waits.iter().map(|wait| wait.count).sum(),
            clipped: self.waits.iter().map(|wait| wait.clipped).sum(),
            total,
            latency,
            threads: self.threads(),
            queue: self.queue(total, by_address, profile),
            ended: self.ended(),
            is_owner_proved: self.is_owner_proved(),
            holds: self.holds(),
            sites: sites(&self.waits),
            behind: behind(profile, &blames, total),
            is_spinning: false,
            thing: self.sorted.thing,
            evidence: self.sorted.evidence,
        }
    }

    /// Of waits that found no place, nothing is known.
    fn ended(&self) -> Ended {
        match self.sorted.sort {
            Sort::Others => Ended {
                unknown: self.waits.iter().map(|wait| wait.count).sum(),
                ..Ended::default()
            },
            _ => ended(&self.waits),
        }
    }

    /// The address in the first process: processes can map the same memory at different places.
    fn address(&self) -> Option<u64> {
        let first = self.waits.iter().min_by_key(|wait| (wait.pid, &wait.object))?;
        match first.object {
            WaitObject::Futex { address, .. } => Some(address),
            _ => None,
        }
    }

    fn locks(&self, by_address: bool) -> u64 {
        if by_address {
            return 1;
        }
        let objects: BTreeSet<(Pid, &WaitObject)> =
            self.waits.iter().map(|wait| (wait.pid, &wait.object)).collect();
        objects.len() as u64
    }

    fn queue(&self, total: Nanos, by_address: bool, profile: &Profile) -> Line {
        let window = profile.window.duration();
        let mean = total.share_of(window);
        if !by_address || self.futexes.is_empty() {
            return Line { mean, most: None, busy: None };
        }
        // Threads that were there before dwell, and still are, are in no queue.
        let stuck = profile.stuck.iter().filter(|stuck| {
            stuck.waited >= window
                && self.futexes.iter().any(|futex| {
                    futex.address == stuck.address && (futex.pid == stuck.pid || !futex.private)
                })
        });
        let stuck = stuck.count() as u64;
        let most = self.futexes.iter().map(|futex| futex.queue.most).max().unwrap_or(0) + stuck;
        let busy = self.futexes.iter().map(|futex| futex.queue.busy).max().unwrap_or(Nanos(0));
        let busy = if stuck > 0 { 1.0 } else { busy.share_of(window).min(1.0) };
        Line { mean, most: Some(most), busy: Some(busy) }
    }

    /// Threads of different rows of a process may be the same, unless each waits on a futex of its own.
    fn threads(&self) -> u64 {
        let mut sets: HashMap<(Pid, Option<&WaitObject>), u64> = HashMap::new();
        for wait in &self.waits {
            let own = (!self.sorted.own_address && !self.is_folded).then_some(&wait.object);
            let threads = sets.entry((wait.pid, own)).or_default();
            *threads = (*threads).max(wait.threads);
        }
        sets.values().sum()
    }

    /// Only the owner can give back a lock of which the kernel knows the owner.
    fn is_owner_proved(&self) -> bool {
        let mut waits = self.waits.iter();
        waits.all(|wait| matches!(wait.object, WaitObject::Futex { op, .. } if op.is_lock()))
    }

    fn holds(&self) -> Option<Holds> {
        if !self.sorted.sort.is_held() || !self.sorted.own_address {
            return None;
        }
        let mut holds = Holds::default();
        for futex in &self.futexes {
            holds.count += futex.holds.count;
            holds.total += futex.holds.total;
            holds.longest = holds.longest.max(futex.holds.longest);
            holds.partial += futex.holds.partial;
        }
        (holds.count > 0).then_some(holds)
    }
}

fn ended(waits: &[&Wait]) -> Ended {
    let mut ended = Ended::default();
    for wait in waits {
        for waker in &wait.wakers {
            match waker.cause {
                Cause::Thread => ended.woken += waker.count,
                Cause::Timer => ended.timeout += waker.count,
                Cause::Signal => ended.signal += waker.count,
                Cause::Network | Cause::Irq | Cause::Unknown => ended.unknown += waker.count,
            }
        }
        // Threads that found no place by name.
        ended.woken += wait.other_wakers;
    }
    ended
}

/// Places are the same where their functions are.
fn sites(waits: &[&Wait]) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    let mut known: HashMap<Vec<&str>, usize> = HashMap::new();
    for wait in waits {
        let names = wait.stack.iter().map(|frame| frame.name.as_str()).collect();
        let place = *known.entry(names).or_insert(sites.len());
        if place == sites.len() {
            sites.push(Site { stack: Arc::clone(&wait.stack), count: 0, total: Nanos(0) });
        }
        sites[place].count += wait.count;
        sites[place].total += wait.total;
    }
    sites.sort_by_key(|site| Reverse(site.total));
    sites
}
