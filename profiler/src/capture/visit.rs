//! Which figures each part of a profile has, and in what order: one function for each, by which they are
//! both taken and given back.

use crate::model::{
    AcceptQueue, Band, Blame, Budget, Called, CpuQuota, CpuUse, CpuWait, Durations, Futex,
    KernelLock, Latency, Nanos, Peer, RequestGroup, Requests, Samples, Server, Service, StateTimes,
    Stuck, ThreadBooks, Trust, Wait, WakerCount,
};

/// What a figure becomes in a part of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The difference between the ends of that part.
    Sum,
    /// What it is at its end.
    Level,
}

/// What nothing is counted beyond (some 280 million millions), so that sums of what a damaged file says cannot
/// overflow. Times need no bound: their sums stop at the longest.
pub const MOST: u64 = 1 << 48;

/// Somebody who reads or writes figures, one after the other.
pub trait Visit {
    /// A number.
    fn figure(&mut self, class: Class, value: &mut u64);
    /// A distribution of waits.
    fn latency(&mut self, class: Class, latency: &mut Latency);
    /// A distribution of the latencies of requests.
    fn durations(&mut self, durations: &mut Durations);
}

/// Shorter words.
pub struct Visitor<'a>(pub &'a mut dyn Visit);

impl Visitor<'_> {
    fn sum(&mut self, count: &mut u64) {
        self.0.figure(Class::Sum, count);
        *count = (*count).min(MOST);
    }

    fn time(&mut self, value: &mut Nanos) {
        self.0.figure(Class::Sum, &mut value.0);
    }

    fn level(&mut self, count: &mut u64) {
        self.0.figure(Class::Level, count);
        *count = (*count).min(MOST);
    }

    fn level_time(&mut self, value: &mut Nanos) {
        self.0.figure(Class::Level, &mut value.0);
    }

    fn level_float(&mut self, value: &mut f64) {
        let mut bits = value.to_bits();
        self.0.figure(Class::Level, &mut bits);
        *value = f64::from_bits(bits);
    }

    fn flag(&mut self, class: Class, value: &mut bool) {
        let mut number = u64::from(*value);
        self.0.figure(class, &mut number);
        *value = number != 0;
    }

    fn optional(&mut self, value: &mut Option<u64>) {
        let (mut is_known, mut number) = (value.is_some(), value.unwrap_or(0));
        self.flag(Class::Level, &mut is_known);
        self.sum(&mut number);
        *value = is_known.then_some(number);
    }

    fn optional_time(&mut self, value: &mut Option<Nanos>) {
        let (mut is_known, mut time) = (value.is_some(), value.unwrap_or_default());
        self.flag(Class::Level, &mut is_known);
        self.time(&mut time);
        *value = is_known.then_some(time);
    }

    fn times(&mut self, times: &mut StateTimes) {
        times.all_mut().for_each(|time| self.time(time));
    }

    fn budget(&mut self, budget: &mut Budget) {
        self.time(&mut budget.queued);
        self.time(&mut budget.behind_others);
        self.time(&mut budget.handed_over);
        self.time(&mut budget.peers);
        self.times(&mut budget.states);
    }

    /// Of the trust line.
    pub fn trust(&mut self, trust: &mut Trust) {
        self.sum(&mut trust.lost_events);
        self.sum(&mut trust.lost_stacks);
        self.sum(&mut trust.lost_keys);
        self.sum(&mut trust.lost_waits);
        self.sum(&mut trust.lost_locks);
        self.sum(&mut trust.lost_threads);
        self.sum(&mut trust.lost_processes);
        self.sum(&mut trust.lost_objects);
        self.sum(&mut trust.failed_stacks);
        self.time(&mut trust.stacks_complete_ns);
        self.time(&mut trust.stacks_truncated_ns);
        self.time(&mut trust.stacks_missing_ns);
        self.sum(&mut trust.stack_walks);
        self.sum(&mut trust.refused_walks);
        self.sum(&mut trust.refused_rows);
        self.sum(&mut trust.rechecks);
        self.time(&mut trust.recheck_ns);
        self.time(&mut trust.recheck_wrong_ns);
        self.sum(&mut trust.failed_reads);
        self.sum(&mut trust.refused_names);
        self.sum(&mut trust.missed_switches);
        self.sum(&mut trust.clipped_waits);
        self.time(&mut trust.unattributed_ns);
        self.optional_time(&mut trust.probe_ns);
        self.optional(&mut trust.probe_runs);
        self.time(&mut trust.collector_cpu_ns);
        self.level(&mut trust.table_bytes);
    }

    /// Of a limit of CPU time.
    pub fn quota(&mut self, quota: &mut CpuQuota) {
        self.sum(&mut quota.periods);
        self.sum(&mut quota.throttled_periods);
        self.time(&mut quota.throttled_ns);
        self.optional_time(&mut quota.used_ns);
    }

    /// Of a CPU.
    pub fn cpu(&mut self, cpu: &mut CpuUse) {
        self.time(&mut cpu.busy_ns);
        self.time(&mut cpu.iowait_ns);
        self.time(&mut cpu.steal_ns);
        self.time(&mut cpu.idle_ns);
    }

    /// Of the pressure on CPUs.
    pub fn pressure(&mut self, pressure: &mut Option<Nanos>) {
        self.optional_time(pressure);
    }

    /// Of a thread.
    pub fn thread(&mut self, thread: &mut ThreadBooks) {
        self.time(&mut thread.wall);
        self.times(&mut thread.times);
        self.time(&mut thread.preempted);
        self.sum(&mut thread.voluntary);
        self.sum(&mut thread.involuntary);
        self.level(&mut thread.folded);
        self.flag(Class::Sum, &mut thread.ended);
    }

    /// Of waits.
    pub fn wait(&mut self, wait: &mut Wait) {
        self.sum(&mut wait.count);
        self.sum(&mut wait.clipped);
        self.time(&mut wait.total);
        self.level(&mut wait.threads);
        self.sum(&mut wait.other_wakers);
        self.0.latency(Class::Sum, &mut wait.latency);
        self.0.latency(Class::Level, &mut wait.open);
    }

    /// Of a waker.
    pub fn waker(&mut self, waker: &mut WakerCount) {
        self.sum(&mut waker.count);
    }

    /// Of a reason of some waits.
    pub fn blame(&mut self, blame: &mut Blame) {
        self.time(&mut blame.time);
        self.sum(&mut blame.count);
    }

    /// Of a futex.
    pub fn futex(&mut self, futex: &mut Futex) {
        self.level(&mut futex.queue.most);
        self.time(&mut futex.queue.busy);
        self.sum(&mut futex.holds.count);
        self.time(&mut futex.holds.total);
        self.level_time(&mut futex.holds.longest);
        self.sum(&mut futex.holds.partial);
    }

    /// Of a lock of the kernel.
    pub fn kernel_lock(&mut self, lock: &mut KernelLock) {
        self.sum(&mut lock.count);
        self.time(&mut lock.total);
        self.level(&mut lock.threads);
        self.0.latency(Class::Sum, &mut lock.latency);
    }

    /// Of waits for a CPU.
    pub fn cpu_wait(&mut self, wait: &mut CpuWait) {
        self.sum(&mut wait.count);
        self.time(&mut wait.total);
        self.level(&mut wait.threads);
        self.sum(&mut wait.other_behind);
        self.0.latency(Class::Sum, &mut wait.latency);
    }

    /// Of a thread that waits at the end.
    pub fn stuck(&mut self, stuck: &mut Stuck) {
        self.level_time(&mut stuck.waited);
    }

    /// Of all requests.
    pub fn requests(&mut self, requests: &mut Requests) {
        self.flag(Class::Level, &mut requests.followed);
        self.sum(&mut requests.lost);
        self.sum(&mut requests.lost_connections);
        self.sum(&mut requests.lost_labels);
    }

    /// Of a service.
    pub fn service(&mut self, service: &mut Service) {
        self.samples(&mut service.samples);
        self.time(&mut service.in_flight);
        self.level_float(&mut service.in_flight_most);
        let mut accepts = service.accept.is_some();
        self.flag(Class::Level, &mut accepts);
        let mut queue = service.accept.unwrap_or_default();
        self.accept(&mut queue);
        service.accept = accepts.then_some(queue);
    }

    fn samples(&mut self, samples: &mut Samples) {
        self.sum(&mut samples.looks);
        self.sum(&mut samples.in_flight);
        self.level(&mut samples.in_flight_most);
        self.sum(&mut samples.queued);
        self.level(&mut samples.queued_most);
        self.level(&mut samples.connections);
        self.level(&mut samples.multiplexed);
    }

    fn accept(&mut self, queue: &mut AcceptQueue) {
        self.sum(&mut queue.connections);
        self.sum(&mut queue.waiting_sum);
        self.level(&mut queue.waiting_most);
        self.level(&mut queue.limit);
    }

    /// Of requests for the same thing.
    pub fn group(&mut self, group: &mut RequestGroup) {
        self.sum(&mut group.count);
        self.level_time(&mut group.max);
        self.sum(&mut group.arrival_unseen);
        self.sum(&mut group.pipelined);
        self.sum(&mut group.handed_over);
        self.sum(&mut group.calls);
        self.sum(&mut group.parallel_calls);
        self.sum(&mut group.bytes_in);
        self.sum(&mut group.bytes_out);
        self.0.durations(&mut group.latency);
    }

    /// Of requests of about the same latency.
    pub fn band(&mut self, band: &mut Band) {
        self.sum(&mut band.count);
        self.time(&mut band.total);
        self.budget(&mut band.budget);
        self.time(&mut band.calls_open);
    }

    /// Of the longest waits of these in one place.
    pub fn longest(&mut self, (count, time): (&mut u64, &mut Nanos)) {
        self.sum(count);
        self.time(time);
    }

    /// Of their calls to a peer.
    pub fn called(&mut self, called: &mut Called) {
        self.sum(&mut called.count);
        self.time(&mut called.total);
        self.sum(&mut called.requests);
        self.time(&mut called.longest);
    }

    /// Of a thread that answers.
    pub fn server(&mut self, server: &mut Server) {
        self.sum(&mut server.count);
        self.time(&mut server.total);
        self.time(&mut server.before);
        self.time(&mut server.own);
    }

    /// Of calls to a peer.
    pub fn peer(&mut self, peer: &mut Peer) {
        self.sum(&mut peer.count);
        self.time(&mut peer.total);
        self.0.latency(Class::Sum, &mut peer.latency);
    }
}
