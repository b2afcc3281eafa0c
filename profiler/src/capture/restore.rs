//! Puts a profile together: from things, and what their figures were at both ends of a part of the recording.

mod requests;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::figures::{Figures, Table};
use super::thing::{self, Kind, ThingId};
use super::things::{CodeFiles, Things, body};
use super::visit::{Class, MOST, Visit, Visitor};
use super::{DISTRIBUTION, PRESENT};
use crate::model::{
    AffinityGroup, Blame, CpuQuota, CpuSupply, CpuUse, CpuWait, Doing, Durations, Frame, Futex,
    Holds, Host, KernelLock, Latency, Nanos, Place, Profile, Queue, Reason, ReasonId, StateTimes,
    Stuck, Target, ThreadBooks, Trust, Wait, WaitId, WaitObject, WakerCount, Window,
};

/// Puts the profile of a window together, whose ends have these figures.
///
/// # Errors
/// When a thing is not what it has to be.
pub fn restore(things: &Things, window: Window, before: &Table, after: &Table) -> Result<Profile> {
    let mut restorer = Restorer {
        things,
        before,
        after,
        stacks: HashMap::new(),
        code_files: CodeFiles::default(),
        reasons: Vec::new(),
        reason_ids: HashMap::new(),
        children: HashMap::new(),
        by_kind: HashMap::new(),
    };
    restorer.sort_out();
    restorer.profile(window)
}

struct Restorer<'a> {
    things: &'a Things,
    before: &'a Table,
    after: &'a Table,
    stacks: HashMap<ThingId, Arc<[Frame]>>,
    code_files: CodeFiles,
    reasons: Vec<Reason>,
    reason_ids: HashMap<ThingId, ReasonId>,
    /// Things that have figures, by what they belong to.
    children: HashMap<(Kind, ThingId), Vec<ThingId>>,
    /// Those that belong to nothing.
    by_kind: HashMap<Kind, Vec<ThingId>>,
}

impl Restorer<'_> {
    /// Keeps the things that have changed in the window, by sort.
    fn sort_out(&mut self) {
        for (number, thing) in self.things {
            let id = ThingId(*number);
            if !self.is_there(id, thing.kind) {
                continue;
            }
            match thing.parent {
                Some(parent) => self.children.entry((thing.kind, parent)).or_default().push(id),
                None => self.by_kind.entry(thing.kind).or_default().push(id),
            }
        }
    }

    fn is_there(&self, id: ThingId, kind: Kind) -> bool {
        let (before, after) = (self.before.of(id.0), self.after.of(id.0));
        let is_kept = after.get(PRESENT) == 1;
        match kind {
            // Nothing of these changes, or nobody asks when.
            Kind::Head | Kind::Supply | Kind::Requests | Kind::Stuck | Kind::Place => is_kept,
            Kind::Quota | Kind::Cpu | Kind::Peer | Kind::Futex => is_kept,
            // Found by what refers to them.
            Kind::CodeFile | Kind::Stack | Kind::Reason => false,
            _ => is_kept && before != after,
        }
    }

    fn of_kind(&self, kind: Kind) -> Vec<ThingId> {
        self.by_kind.get(&kind).cloned().unwrap_or_default()
    }

    fn children(&self, kind: Kind, parent: ThingId) -> Vec<ThingId> {
        self.children.get(&(kind, parent)).cloned().unwrap_or_default()
    }

    /// What is written down of a thing of this sort.
    fn body<T: for<'a> Deserialize<'a>>(&self, id: ThingId, kind: Kind) -> Result<T> {
        body(self.things, id, kind)
    }

    /// Hands out the figures of a thing.
    fn give(&self, id: ThingId, visit: impl FnOnce(&mut Visitor<'_>)) {
        let (before, after) = (self.before.of(id.0), self.after.of(id.0));
        visit(&mut Visitor(&mut Given::new(before, after)));
    }

    /// A thing with its figures.
    fn given<T>(
        &self,
        id: ThingId,
        mut thing: T,
        visit: impl FnOnce(&mut Visitor<'_>, &mut T),
    ) -> T {
        self.give(id, |visitor| visit(visitor, &mut thing));
        thing
    }

    fn profile(&mut self, window: Window) -> Result<Profile> {
        let head_id = *self.of_kind(Kind::Head).first().context("its head is missing")?;
        let head: thing::Head = self.body(head_id, Kind::Head)?;
        let mut trust = Trust { switched_off: head.switched_off, ..Trust::default() };
        self.give(head_id, |visit| visit.trust(&mut trust));
        let host = Host { name: head.host, kernel: head.kernel, cpus: head.cpus };
        let target =
            Target { kind: head.target_kind, description: head.target, children: head.children };
        let threads = self.threads()?;
        trust.coverage = Trust::coverage_of(&threads);
        let waits = self.waits(window)?;
        if self.before.of(head_id.0) != &Figures::default() {
            // Those that were open when the window began were counted before it.
            trust.clipped_waits = waits.iter().map(|wait| wait.clipped).sum();
        }
        let requests = self.requests(window)?;
        Ok(Profile {
            window,
            host,
            target,
            trust,
            cpu: self.supply()?,
            threads,
            waits,
            futexes: self.futexes()?,
            kernel_locks: self.kernel_locks()?,
            stuck: self.stuck()?,
            cpu_waits: self.cpu_waits()?,
            requests,
            reasons: std::mem::take(&mut self.reasons),
        })
    }

    fn supply(&self) -> Result<CpuSupply> {
        let Some(id) = self.of_kind(Kind::Supply).first().copied() else {
            return Ok(CpuSupply::default());
        };
        let body: thing::Supply = self.body(id, Kind::Supply)?;
        let group = |(cpus, threads, thread_groups)| AffinityGroup { cpus, threads, thread_groups };
        let mut supply = CpuSupply {
            affinity: body.affinity.into_iter().map(group).collect(),
            affinity_unlisted: body.affinity_unlisted,
            unavailable: body.unavailable,
            ..CpuSupply::default()
        };
        self.give(id, |visit| visit.pressure(&mut supply.pressure_some_ns));
        for id in self.of_kind(Kind::Quota) {
            let body: thing::Quota = self.body(id, Kind::Quota)?;
            let quota = CpuQuota {
                cgroup: body.cgroup,
                quota_ns: body.quota_ns,
                period_ns: body.period_ns,
                periods: 0,
                throttled_periods: 0,
                throttled_ns: Nanos(0),
                used_ns: None,
            };
            supply.quotas.push(self.given(id, quota, |visit, it| visit.quota(it)));
        }
        for id in self.of_kind(Kind::Cpu) {
            let zero = Nanos(0);
            let cpu = self.body::<thing::Cpu>(id, Kind::Cpu)?.cpu;
            let cpu = CpuUse { cpu, busy_ns: zero, iowait_ns: zero, steal_ns: zero, idle_ns: zero };
            supply.per_cpu.push(self.given(id, cpu, |visit, it| visit.cpu(it)));
        }
        Ok(supply)
    }

    fn threads(&self) -> Result<Vec<ThreadBooks>> {
        let mut threads = Vec::new();
        for id in self.of_kind(Kind::Thread) {
            let body: thing::Thread = self.body(id, Kind::Thread)?;
            let thread = ThreadBooks {
                pid: body.pid,
                tid: body.tid,
                comm: body.comm,
                process: body.process,
                wall: Nanos(0),
                times: StateTimes::default(),
                preempted: Nanos(0),
                voluntary: 0,
                involuntary: 0,
                folded: 0,
                ended: false,
                in_kernel: body.in_kernel,
            };
            threads.push(self.given(id, thread, |visit, it| visit.thread(it)));
        }
        threads.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(threads)
    }

    fn stack(&mut self, id: Option<ThingId>) -> Result<Arc<[Frame]>> {
        let Some(id) = id else { return Ok(Arc::default()) };
        if let Some(known) = self.stacks.get(&id) {
            return Ok(Arc::clone(known));
        }
        let body: thing::Stack = self.body(id, Kind::Stack)?;
        let frames = body.frames.into_iter();
        let mut stack: Vec<Frame> =
            frames.map(|(name, address, inlined)| Frame::new(name, address, inlined)).collect();
        for (place, file, address) in body.unnamed {
            let code = self.code_files.place(self.things, file, address)?;
            let frame =
                stack.get_mut(place).context("a stack names a frame that it does not have")?;
            frame.lies_at = Some(code);
        }
        let stack: Arc<[Frame]> = stack.into();
        self.stacks.insert(id, Arc::clone(&stack));
        Ok(stack)
    }

    fn reason(&mut self, id: ThingId) -> Result<ReasonId> {
        if let Some(known) = self.reason_ids.get(&id) {
            return Ok(*known);
        }
        // One leads to the next, and to the next: not by calling itself, as there may be thousands.
        let mut chain = vec![id];
        while let Some(next) = self.next_of(chain[chain.len() - 1])?
            && !self.reason_ids.contains_key(&next)
        {
            let is_earlier = chain.last().is_some_and(|last| next < *last);
            ensure!(is_earlier, "its reasons go round in a circle");
            chain.push(next);
        }
        while let Some(id) = chain.pop() {
            let reason = self.named_reason(id)?;
            let place = ReasonId(u32::try_from(self.reasons.len())?);
            self.reasons.push(reason);
            self.reason_ids.insert(id, place);
        }
        self.reason_ids.get(&id).copied().context("a reason is missing")
    }

    fn next_of(&self, id: ThingId) -> Result<Option<ThingId>> {
        let body: thing::Reason = self.body(id, Kind::Reason)?;
        Ok(match body.doing {
            thing::Doing::Waiting { next, .. } => next,
            _ => None,
        })
    }

    fn named_reason(&mut self, id: ThingId) -> Result<Reason> {
        let body: thing::Reason = self.body(id, Kind::Reason)?;
        let doing = match body.doing {
            thing::Doing::Running => Doing::Running,
            thing::Doing::Runnable => Doing::Runnable,
            thing::Doing::Queued => Doing::Queued,
            thing::Doing::NotFollowed => Doing::NotFollowed,
            thing::Doing::Forgotten => Doing::Forgotten,
            thing::Doing::Waiting { waiting, next } => Doing::Waiting {
                kind: waiting.kind,
                syscall: waiting.syscall,
                object: waiting.object.into(),
                stack: self.stack(waiting.stack)?,
                next: next.and_then(|next| self.reason_ids.get(&next).copied()),
            },
        };
        let release = self.stack(body.release)?;
        Ok(Reason { pid: body.pid, group: body.group, release, doing })
    }

    fn waits(&mut self, window: Window) -> Result<Vec<Wait>> {
        let mut waits = Vec::new();
        for id in self.of_kind(Kind::Wait) {
            let mut wait = self.wait(id)?;
            // Of a wait that began before the window, the length is known as of its end, or of that of the window.
            wait.latency = wait.latency.at_most(window.duration());
            waits.push(wait);
        }
        waits.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(waits)
    }

    fn wait(&mut self, id: ThingId) -> Result<Wait> {
        let body: thing::Wait = self.body(id, Kind::Wait)?;
        let waiting = body.waiting;
        ensure!(waiting.kind.is_wait(), "a wait has no kind");
        let object = waiting.object.into();
        let mut wait = Wait {
            comm: body.comm,
            thread_groups: body.thread_groups,
            syscall: waiting.syscall,
            stack: self.stack(waiting.stack)?,
            reach: body.reach,
            in_kernel_thread: body.in_kernel_thread,
            ..Wait::none(WaitId(body.row), body.pid, waiting.kind, object)
        };
        self.give(id, |visit| visit.wait(&mut wait));
        self.add_open_before(id, &mut wait);
        wait.wakers = self.wakers(Kind::Waker, id)?;
        for blame in self.children(Kind::Blame, id) {
            let body: thing::Blame = self.body(blame, Kind::Blame)?;
            let row = Blame { reason: self.reason(body.reason)?, time: Nanos(0), count: 0 };
            wait.blames.push(self.given(blame, row, |visit, it| visit.blame(it)));
        }
        wait.blames.retain(|blame| blame.time > Nanos(0) || blame.count > 0);
        wait.blames.sort_by_key(Blame::order);
        Ok(wait)
    }

    /// The waits that were open when the window began were counted before it, when they were cut off.
    fn add_open_before(&self, id: ThingId, wait: &mut Wait) {
        let none = Figures::default();
        let object = WaitObject::None;
        let mut earlier = Wait::none(wait.id, wait.pid, wait.kind, object);
        Visitor(&mut Given::new(&none, self.before.of(id.0))).wait(&mut earlier);
        let open = earlier.open.count();
        if open > 0 {
            let ended_before = earlier.clipped.saturating_sub(open);
            let mut now = Wait::none(wait.id, wait.pid, wait.kind, WaitObject::None);
            Visitor(&mut Given::new(&none, self.after.of(id.0))).wait(&mut now);
            wait.count += open;
            wait.latency.merge(&earlier.open);
            wait.clipped = (now.clipped.saturating_sub(ended_before) + open).min(wait.count);
        }
    }

    fn wakers(&self, kind: Kind, parent: ThingId) -> Result<Vec<WakerCount>> {
        let mut wakers = Vec::new();
        for id in self.children(kind, parent) {
            let body: thing::Waker = self.body(id, kind)?;
            let (comm, tid, pid, cause) = (body.comm, body.tid, body.pid, body.cause);
            let waker = WakerCount { comm, tid, pid, cause, count: 0 };
            wakers.push(self.given(id, waker, |visit, it| visit.waker(it)));
        }
        wakers.retain(|waker| waker.count > 0);
        wakers.sort_by_key(WakerCount::order);
        Ok(wakers)
    }

    fn futexes(&mut self) -> Result<Vec<Futex>> {
        let mut futexes = Vec::new();
        for id in self.of_kind(Kind::Futex) {
            let mut body: thing::Futex = self.body(id, Kind::Futex)?;
            if let (Some((file, address)), Place::Module { code, .. }) =
                (body.unnamed, &mut body.place)
            {
                *code = Some(self.code_files.place(self.things, file, address)?);
            }
            let futex = Futex {
                pid: body.pid,
                address: body.address,
                private: body.private,
                place: body.place,
                queue: Queue::default(),
                holds: Holds::default(),
                value: body.value,
            };
            futexes.push(self.given(id, futex, |visit, it| visit.futex(it)));
        }
        futexes.sort_by_key(Futex::order);
        Ok(futexes)
    }

    fn kernel_locks(&mut self) -> Result<Vec<KernelLock>> {
        let mut locks = Vec::new();
        for id in self.of_kind(Kind::KernelLock) {
            let body: thing::KernelLock = self.body(id, Kind::KernelLock)?;
            let lock = KernelLock {
                pid: body.pid,
                comm: body.comm,
                thread_groups: body.thread_groups,
                sort: body.sort,
                is_mmap_lock: body.is_mmap_lock,
                stack: self.stack(body.stack)?,
                is_several: body.is_several,
                count: 0,
                total: Nanos(0),
                latency: Latency::default(),
                threads: 0,
            };
            locks.push(self.given(id, lock, |visit, it| visit.kernel_lock(it)));
        }
        locks.sort_by_cached_key(KernelLock::order);
        Ok(locks)
    }

    fn stuck(&mut self) -> Result<Vec<Stuck>> {
        let mut all = Vec::new();
        for id in self.of_kind(Kind::Stuck) {
            let body: thing::Stuck = self.body(id, Kind::Stuck)?;
            let stuck = Stuck {
                pid: body.pid,
                tid: body.tid,
                comm: body.comm,
                address: body.address,
                op: body.op,
                waited: Nanos(0),
                stack: self.stack(body.stack)?,
                words: body.words,
            };
            all.push(self.given(id, stuck, |visit, it| visit.stuck(it)));
        }
        all.sort_by_key(Stuck::order);
        Ok(all)
    }

    fn cpu_waits(&self) -> Result<Vec<CpuWait>> {
        let mut waits = Vec::new();
        for id in self.of_kind(Kind::CpuWait) {
            let body: thing::CpuWait = self.body(id, Kind::CpuWait)?;
            let wait = CpuWait {
                pid: body.pid,
                comm: body.comm,
                thread_groups: body.thread_groups,
                preempted: body.preempted,
                count: 0,
                total: Nanos(0),
                latency: Latency::default(),
                threads: 0,
                behind: self.wakers(Kind::Behind, id)?,
                other_behind: 0,
            };
            waits.push(self.given(id, wait, |visit, it| visit.cpu_wait(it)));
        }
        waits.sort_by_key(CpuWait::order);
        Ok(waits)
    }
}

/// Hands out figures, one after the other.
struct Given<'a> {
    before: &'a Figures,
    after: &'a Figures,
    next: u32,
    base: u32,
}

impl<'a> Given<'a> {
    fn new(before: &'a Figures, after: &'a Figures) -> Self {
        Self { before, after, next: PRESENT + 1, base: DISTRIBUTION }
    }

    fn at(&self, class: Class, index: u32) -> u64 {
        let after = self.after.get(index);
        match class {
            Class::Sum => after.saturating_sub(self.before.get(index)),
            Class::Level => after,
        }
    }
}

impl Visit for Given<'_> {
    fn figure(&mut self, class: Class, value: &mut u64) {
        *value = self.at(class, self.next);
        self.next += 1;
    }

    fn latency(&mut self, class: Class, latency: &mut Latency) {
        let mut max = 0;
        self.figure(Class::Level, &mut max);
        let range = self.base..self.base + DISTRIBUTION;
        let filled = self.after.range(range).iter();
        let counts = filled.filter(|(index, _)| (index - self.base).is_multiple_of(2));
        let buckets = counts.map(|(index, _)| {
            let count = self.at(class, *index).min(MOST);
            // It may have become less: it is taken modulo 2^64.
            let (before, after) = (self.before.get(index + 1), self.after.get(index + 1));
            let more = match class {
                Class::Sum => after.wrapping_sub(before),
                Class::Level => after,
            };
            ((index - self.base) / 2, count, more)
        });
        *latency = Latency::from_buckets(buckets, Nanos(max));
        self.base += DISTRIBUTION;
    }

    fn durations(&mut self, durations: &mut Durations) {
        let range = self.base..self.base + DISTRIBUTION;
        let filled = self.after.range(range).iter();
        let steps = filled.map(|(index, _)| (index - self.base, self.at(Class::Sum, *index)));
        *durations = Durations::from_steps(steps);
        self.base += DISTRIBUTION;
    }
}
