//! Takes a profile apart: into things, each with a number that it keeps, and their figures.

mod requests;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;

use serde::Serialize;

use super::figures::{Figures, Table};
use super::thing::{self, Kind, Object, ThingId};
use super::visit::{Class, Visit, Visitor};
use super::{DISTRIBUTION, PRESENT};
use crate::model::{
    CodeFile, CpuSupply, CpuWait, Doing, Durations, Frame, Latency, Place, Profile, Reason,
    ReasonId, Wait, WaitObject, WakerCount,
};

/// A thing to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its number.
    pub id: ThingId,
    /// Its sort.
    pub kind: Kind,
    /// The thing that it belongs to.
    pub parent: Option<ThingId>,
    /// JSON.
    pub body: String,
}

/// Remembers things by what makes them the same thing.
pub struct Flattener {
    hashes: RandomState,
    known: HashMap<u64, Known>,
    /// By where the frames lie, which are kept so that nothing else comes to lie there.
    stacks: HashMap<usize, (Arc<[Frame]>, ThingId)>,
    last: u32,
    /// Slow requests, and where each waited longest.
    slow: HashMap<ThingId, Option<ThingId>>,
    /// Of the profile that is being taken apart.
    new: Vec<Written>,
    table: Table,
    reasons: Vec<Option<ThingId>>,
}

struct Known {
    id: ThingId,
    body: u64,
}

/// A profile, taken apart.
pub struct Flat {
    /// Things that are new, or have changed.
    pub new: Vec<Written>,
    /// All figures.
    pub table: Table,
}

impl Flattener {
    pub fn new() -> Self {
        Self {
            hashes: RandomState::new(),
            known: HashMap::new(),
            stacks: HashMap::new(),
            last: 0,
            slow: HashMap::new(),
            new: Vec::new(),
            table: Table::default(),
            reasons: Vec::new(),
        }
    }

    /// The highest number of a thing.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Slow requests that have been written down.
    pub fn slow_requests(&self) -> impl Iterator<Item = ThingId> {
        self.slow.keys().copied()
    }

    /// These will not be seen again.
    pub fn forget(&mut self, things: &HashSet<ThingId>) {
        self.slow.retain(|slow, _| !things.contains(slow));
        self.known.retain(|_, known| !things.contains(&known.id));
    }

    /// Takes a profile apart.
    pub fn flatten(&mut self, mut profile: Profile) -> Flat {
        self.table = Table::default();
        self.head(&mut profile);
        self.supply(&mut profile.cpu);
        self.threads(&mut profile);
        self.reasons = Vec::with_capacity(profile.reasons.len());
        for reason in std::mem::take(&mut profile.reasons) {
            let id = self.reason(&reason);
            self.reasons.push(Some(id));
        }
        profile.waits.iter_mut().for_each(|wait| self.wait(wait));
        self.locks(&mut profile);
        profile.cpu_waits.iter_mut().for_each(|wait| self.cpu_wait(wait));
        self.requests(&mut profile.requests);
        Flat { new: std::mem::take(&mut self.new), table: std::mem::take(&mut self.table) }
    }

    /// Notes a thing with its figures. `key` is what makes it the same thing as before, together with its
    /// sort and what it belongs to.
    fn thing<B: Serialize + Hash>(
        &mut self,
        (kind, parent): (Kind, Option<ThingId>),
        key: impl Hash,
        body: &B,
        figures: impl FnOnce(&mut Visitor<'_>),
    ) -> ThingId {
        let id = self.note((kind, parent), key, body);
        let mut taken = Taken::new();
        figures(&mut Visitor(&mut taken));
        self.table.set(id.0, taken.finish());
        id
    }

    /// The same for a thing that has no figures.
    fn note<B: Serialize + Hash>(
        &mut self,
        (kind, parent): (Kind, Option<ThingId>),
        key: impl Hash,
        body: &B,
    ) -> ThingId {
        let key = self.hashes.hash_one((kind, parent, key));
        let hash = self.hashes.hash_one(body);
        let next = ThingId(self.last + 1);
        let known = self.known.entry(key).or_insert(Known { id: next, body: !hash });
        let id = known.id;
        if known.body != hash {
            known.body = hash;
            self.last = self.last.max(id.0);
            // Names and numbers only: this cannot fail.
            let body = serde_json::to_string(body).unwrap_or_default();
            self.new.push(Written { id, kind, parent, body });
        }
        id
    }

    fn head(&mut self, profile: &mut Profile) {
        let (host, target) = (&profile.host, &profile.target);
        let head = thing::Head {
            host: host.name.clone(),
            kernel: host.kernel.clone(),
            cpus: host.cpus,
            target_kind: target.kind,
            target: target.description.clone(),
            children: target.children,
            switched_off: profile.trust.switched_off.clone(),
        };
        self.thing((Kind::Head, None), (), &head, |visit| visit.trust(&mut profile.trust));
    }

    fn supply(&mut self, supply: &mut CpuSupply) {
        let affinity = supply.affinity.iter();
        let body = thing::Supply {
            affinity: affinity
                .map(|group| (group.cpus.clone(), group.threads, group.thread_groups.clone()))
                .collect(),
            affinity_unlisted: supply.affinity_unlisted,
            unavailable: supply.unavailable.clone(),
        };
        let pressure = &mut supply.pressure_some_ns;
        self.thing((Kind::Supply, None), (), &body, |visit| visit.pressure(pressure));
        for quota in &mut supply.quotas {
            let body = thing::Quota {
                cgroup: quota.cgroup.clone(),
                quota_ns: quota.quota_ns,
                period_ns: quota.period_ns,
            };
            let key = quota.cgroup.clone();
            self.thing((Kind::Quota, None), key, &body, |visit| visit.quota(quota));
        }
        for cpu in &mut supply.per_cpu {
            let body = thing::Cpu { cpu: cpu.cpu };
            self.thing((Kind::Cpu, None), cpu.cpu, &body, |visit| visit.cpu(cpu));
        }
    }

    fn threads(&mut self, profile: &mut Profile) {
        // Threads that had the same number one after the other are in that order.
        let mut same = 0;
        let mut last = None;
        for thread in &mut profile.threads {
            same = if last == Some((thread.pid, thread.tid)) { same + 1 } else { 0 };
            last = Some((thread.pid, thread.tid));
            let body = thing::Thread {
                pid: thread.pid,
                tid: thread.tid,
                comm: thread.comm.clone(),
                process: thread.process.clone(),
                in_kernel: thread.in_kernel,
            };
            let comm = if thread.tid.0 == 0 { thread.comm.clone() } else { String::new() };
            let nth = if thread.tid.0 == 0 { 0 } else { same };
            let key = (thread.pid, thread.tid, nth, comm);
            self.thing((Kind::Thread, None), key, &body, |visit| visit.thread(thread));
        }
    }

    fn stack(&mut self, stack: &Arc<[Frame]>) -> Option<ThingId> {
        if stack.is_empty() {
            return None;
        }
        let place = stack.as_ptr() as usize;
        if let Some((_, id)) = self.stacks.get(&place) {
            return Some(*id);
        }
        let frames = stack.iter();
        let body = thing::Stack {
            frames: frames
                .clone()
                .map(|frame| (frame.name.clone(), frame.address, frame.inlined))
                .collect(),
            unnamed: frames
                .enumerate()
                .filter_map(|(place, frame)| Some((place, frame.lies_at.as_ref()?)))
                .map(|(place, code)| (place, self.code_file(&code.file), code.address))
                .collect(),
        };
        let id = self.note((Kind::Stack, None), &body, &body);
        // One that nobody else holds will not be met again.
        if Arc::strong_count(stack) > 1 {
            self.stacks.insert(place, (Arc::clone(stack), id));
        }
        Some(id)
    }

    fn code_file(&mut self, file: &Arc<CodeFile>) -> ThingId {
        self.note((Kind::CodeFile, None), file, &**file)
    }

    fn waiting(
        &mut self,
        (kind, syscall): (crate::model::State, &Option<String>),
        object: &WaitObject,
        stack: &Arc<[Frame]>,
    ) -> thing::Waiting {
        let stack = self.stack(stack);
        thing::Waiting { kind, syscall: syscall.clone(), object: Object::from(object), stack }
    }

    fn reason_of(&self, reason: ReasonId) -> Option<ThingId> {
        self.reasons.get(reason.0 as usize).copied().flatten()
    }

    fn reason(&mut self, reason: &Reason) -> ThingId {
        let doing = match &reason.doing {
            Doing::Running => thing::Doing::Running,
            Doing::Runnable => thing::Doing::Runnable,
            Doing::Queued => thing::Doing::Queued,
            Doing::NotFollowed => thing::Doing::NotFollowed,
            Doing::Forgotten => thing::Doing::Forgotten,
            Doing::Waiting { kind, syscall, object, stack, next } => thing::Doing::Waiting {
                waiting: self.waiting((*kind, syscall), object, stack),
                // Those that others lead to come first.
                next: next.and_then(|next| self.reason_of(next)),
            },
        };
        let release = self.stack(&reason.release);
        let group = reason.group.clone();
        let body = thing::Reason { pid: reason.pid, group, release, doing };
        self.note((Kind::Reason, None), &body, &body)
    }

    fn wait(&mut self, wait: &mut Wait) {
        let body = thing::Wait {
            row: wait.id.0,
            pid: wait.pid,
            comm: wait.comm.clone(),
            thread_groups: wait.thread_groups.clone(),
            waiting: self.waiting((wait.kind, &wait.syscall), &wait.object, &wait.stack),
            reach: wait.reach,
            in_kernel_thread: wait.in_kernel_thread,
        };
        let id = self.thing((Kind::Wait, None), wait.id, &body, |visit| visit.wait(wait));
        for waker in &mut wait.wakers {
            self.waker((Kind::Waker, Some(id)), waker);
        }
        for blame in &mut wait.blames {
            let Some(reason) = self.reason_of(blame.reason) else { continue };
            let body = thing::Blame { reason };
            self.thing((Kind::Blame, Some(id)), reason, &body, |visit| visit.blame(blame));
        }
    }

    fn waker(&mut self, kind: (Kind, Option<ThingId>), waker: &mut WakerCount) {
        let body = thing::Waker {
            comm: waker.comm.clone(),
            tid: waker.tid,
            pid: waker.pid,
            cause: waker.cause,
        };
        let key = (waker.tid, waker.pid, waker.cause);
        self.thing(kind, key, &body, |visit| visit.waker(waker));
    }

    fn locks(&mut self, profile: &mut Profile) {
        for futex in &mut profile.futexes {
            let unnamed = match &futex.place {
                Place::Module { code: Some(code), .. } => {
                    Some((self.code_file(&code.file), code.address))
                }
                _ => None,
            };
            let body = thing::Futex {
                pid: futex.pid,
                address: futex.address,
                private: futex.private,
                place: futex.place.clone(),
                unnamed,
                value: futex.value,
            };
            let key = (futex.pid, futex.address, futex.private);
            self.thing((Kind::Futex, None), key, &body, |visit| visit.futex(futex));
        }
        for lock in &mut profile.kernel_locks {
            let stack = self.stack(&lock.stack);
            let body = thing::KernelLock {
                pid: lock.pid,
                comm: lock.comm.clone(),
                thread_groups: lock.thread_groups.clone(),
                sort: lock.sort,
                is_mmap_lock: lock.is_mmap_lock,
                stack,
                is_several: lock.is_several,
            };
            let key = (lock.pid, lock.sort, stack);
            self.thing((Kind::KernelLock, None), key, &body, |visit| visit.kernel_lock(lock));
        }
        for stuck in &mut profile.stuck {
            let body = thing::Stuck {
                pid: stuck.pid,
                tid: stuck.tid,
                comm: stuck.comm.clone(),
                address: stuck.address,
                op: stuck.op,
                stack: self.stack(&stuck.stack),
                words: stuck.words,
            };
            let key = (stuck.pid, stuck.tid);
            self.thing((Kind::Stuck, None), key, &body, |visit| visit.stuck(stuck));
        }
    }

    fn cpu_wait(&mut self, wait: &mut CpuWait) {
        let body = thing::CpuWait {
            pid: wait.pid,
            comm: wait.comm.clone(),
            thread_groups: wait.thread_groups.clone(),
            preempted: wait.preempted,
        };
        let key = (wait.pid, wait.preempted);
        let id = self.thing((Kind::CpuWait, None), key, &body, |visit| visit.cpu_wait(wait));
        for waker in &mut wait.behind {
            self.waker((Kind::Behind, Some(id)), waker);
        }
    }
}

/// Takes figures down, one after the other.
struct Taken {
    figures: Figures,
    next: u32,
    /// Where the figures of the next distribution begin, and all that have been taken.
    base: u32,
    distributions: Vec<(u32, u64)>,
}

impl Taken {
    fn new() -> Self {
        let mut figures = Figures::default();
        figures.push(PRESENT, 1);
        Self { figures, next: PRESENT + 1, base: DISTRIBUTION, distributions: Vec::new() }
    }

    fn finish(mut self) -> Figures {
        for (index, value) in self.distributions {
            self.figures.push(index, value);
        }
        self.figures
    }
}

impl Visit for Taken {
    fn figure(&mut self, _: Class, value: &mut u64) {
        self.figures.push(self.next, *value);
        self.next += 1;
    }

    fn latency(&mut self, _: Class, latency: &mut Latency) {
        self.figure(Class::Level, &mut { latency.max().0 });
        for (index, count, more) in latency.buckets() {
            self.distributions.push((self.base + 2 * index, count));
            self.distributions.push((self.base + 2 * index + 1, more));
        }
        self.base += DISTRIBUTION;
    }

    fn durations(&mut self, durations: &mut Durations) {
        let steps = durations.steps().map(|(step, count)| (self.base + step, count));
        self.distributions.extend(steps);
        self.base += DISTRIBUTION;
    }
}
