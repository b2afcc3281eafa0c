//! Makes profiles of what is known: at the end of the window, and of what it has been so far.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use profiler_common::control::Loss;
use profiler_common::lock::{Queue, QueueKey};
use profiler_common::object::Object;
use profiler_common::thread::{FLAG_KERNEL_THREAD, POSTED, ThreadRecord};
use profiler_common::turn::Turn;

use super::{AHEAD, Session};
use crate::collect::{Closing, Collector, Outcome, RawReason, RequestNotes};
use crate::kernel::{from_boot_ns, monotonic_ns};
use crate::model::{CpuSupply, Host, Nanos, Profile, Target, Trust, Walked, Window};
use crate::session::cost::{give_back_memory, own_cpu_time};
use crate::session::names::{HostNames, KnownNames};
use crate::session::seeds::SeedStacks;
use crate::session::walks::Walks;
use crate::symbol::Symbolizer;
use crate::target::{Selector, is_alive, pids_below, threads_of};

/// Times that the record of a thread is read again, where a probe wrote it meanwhile.
const READ_AGAIN: usize = 8;

/// What the tables of the probes held at an instant.
struct Gathered {
    end: Nanos,
    cpu: CpuSupply,
    objects: HashMap<u64, Object>,
    reasons: HashMap<u64, RawReason>,
    queues: Vec<(QueueKey, Queue)>,
    requests: RequestNotes,
    /// Requests that have been answered and that the probes have not handed over.
    unfinished: Vec<Turn>,
    untracked: Vec<(u32, u32, String, u64)>,
    loss: Loss,
    trust: Trust,
}

impl Session {
    /// Everything since the window began, while the probes go on.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read.
    pub fn so_far(&mut self) -> Result<Profile> {
        self.drain_all();
        self.drain_turns()?;
        // A copy: what is open now goes on.
        let mut collector = self.collector.clone();
        if let Some(turns) = self.collector.turns() {
            turns.forget_recent();
        }
        if let Some(turns) = collector.turns() {
            turns.list_recent();
        }
        let seeds = self.seed_stacks.clone();
        let gathered = self.gather(&mut collector, Closing::Meanwhile, seeds)?;
        let start = self.start;
        self.names.next_look();
        Ok(profile(
            collector,
            gathered,
            start,
            self.target.clone(),
            &self.walks,
            &mut self.symbolizer,
            &mut self.names,
        ))
    }

    /// Closes the window and the books, and takes the probes out of the kernel.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read.
    pub async fn finish(mut self) -> Result<Profile> {
        self.end = Some(self.close().await?);
        self.drain_all();
        self.drain_turns()?;
        let mut collector = std::mem::take(&mut self.collector);
        let seeds = std::mem::take(&mut self.seed_stacks);
        let gathered = self.gather(&mut collector, Closing::End, seeds)?;
        if let Some(mut each) = self.each.take() {
            each.add(&gathered.unfinished, &self.tables.requests, self.start)?;
            each.finish()?;
        }
        // Naming takes time and memory, which nothing of this is needed for.
        let Self { start, target, walks, mut symbolizer, mut names, tables, probes, .. } = self;
        drop((tables, probes));
        give_back_memory();
        names.last_look();
        let profile =
            profile(collector, gathered, start, target, &walks, &mut symbolizer, &mut names);
        drop((walks, symbolizer, names));
        // Printing takes memory in other sizes than collecting did.
        give_back_memory();
        Ok(profile)
    }

    /// Ends the window a little ahead of time, so that every probe learns of the end before it
    /// comes, and none writes past it.
    async fn close(&mut self) -> Result<Nanos> {
        let end = monotonic_ns() + AHEAD.as_nanos() as u64;
        self.probes.close_window(end)?;
        // The probes learned of it too late where dwell has lost its CPU in between: until now they counted.
        let end = end.max(monotonic_ns());
        tokio::time::sleep(2 * AHEAD).await;
        Ok(Nanos(end))
    }

    /// Adds what the tables hold to the collector, and takes the rest.
    fn gather(
        &mut self,
        collector: &mut Collector,
        at: Closing,
        seeds: SeedStacks,
    ) -> Result<Gathered> {
        self.cpu.close();
        let mut threads = self.threads(at)?;
        collector.meet(&threads, seeds);
        // Before the books are closed: a wait that ends in between is missing from the sums until
        // the next look, and not in them twice.
        self.tables.for_each_wait(|key, stats| collector.add_sums(&key, stats))?;
        self.tables.for_each_blame(|key, blame| collector.add_blame(&key, blame))?;
        self.tables.for_each_kernel_lock(|key, stats| collector.add_kernel_lock(&key, stats))?;
        let end = self.end.unwrap_or_else(|| Nanos(monotonic_ns()));
        if at == Closing::Meanwhile {
            threads = self.threads(at)?;
        }
        collector.close(end, at, &threads);
        let end = match at {
            Closing::End => end,
            // No thread lives longer than the window.
            Closing::Meanwhile => {
                threads.iter().map(|thread| Nanos(thread.since_ns)).fold(end, Nanos::max)
            }
        };
        let (requests, unfinished) = self.take_requests(collector, end)?;
        let loss = self.tables.loss()?;
        let untracked = if loss.threads > 0 { self.untracked(&threads) } else { Vec::new() };
        let trust = self.costs(at, Duration::from_nanos(end.since(self.start).0));
        if at == Closing::End {
            self.cpu.look(&user_processes(&threads));
        }
        drop(threads);
        let mut objects = HashMap::new();
        self.tables.for_each_object(|id, object| {
            objects.insert(id, *object);
        })?;
        let (mut reasons, mut queues) = (HashMap::new(), Vec::new());
        self.tables.for_each_reason(|id, reason| {
            reasons.insert(id, *reason);
        })?;
        self.tables.for_each_queue(|key, queue| queues.push((key, *queue)))?;
        self.take_stacks(collector.stacks(&reasons));
        Ok(Gathered {
            end,
            cpu: self.cpu.supply(),
            objects,
            reasons,
            queues,
            requests,
            unfinished,
            untracked,
            loss,
            trust,
        })
    }

    /// The records of all threads.
    fn threads(&self, at: Closing) -> Result<Vec<ThreadRecord>> {
        let mut threads = Vec::new();
        self.tables.for_each_thread(|key, thread| {
            if thread.serial != 0 {
                threads.push((key, *thread));
            }
        })?;
        let whole = threads.into_iter().map(|(key, thread)| match at {
            Closing::End => thread,
            Closing::Meanwhile => self.whole(key, thread),
        });
        Ok(whole.collect())
    }

    /// A record that no probe was writing to while it was read: its times are those since its thread
    /// was born. Where they never are, because switches were missed, it stays the same when read again.
    fn whole(&self, key: u64, mut thread: ThreadRecord) -> ThreadRecord {
        for _ in 0..READ_AGAIN {
            if balances(&thread, self.start) {
                break;
            }
            let Some(again) = self.tables.thread(key) else { break };
            let is_same = again.since_ns == thread.since_ns && again.totals_ns == thread.totals_ns;
            thread = again;
            if is_same {
                break;
            }
        }
        thread
    }

    /// Takes the stacks that are not known yet.
    fn take_stacks(&mut self, wanted: HashSet<(u32, u64)>) {
        for (_, id) in wanted {
            if id == 0 || self.walks.stacks.contains_key(&id) {
                continue;
            }
            if let Some(stack) = self.tables.stack(id) {
                self.walks.stacks.insert(id, Walked::from(&stack));
            }
        }
    }

    /// Living threads of the target that the probes had no place for.
    fn untracked(&self, threads: &[ThreadRecord]) -> Vec<(u32, u32, String, u64)> {
        let known: HashSet<u32> = threads.iter().map(|thread| thread.tid).collect();
        let pids = match self.options.selector {
            Selector::WholeHost => pids_below(&[1, 2]).unwrap_or_default(),
            _ => {
                let mut pids: HashSet<u32> = self.requested.clone();
                pids.extend(threads.iter().map(|thread| thread.pid));
                let roots: Vec<u32> = pids.into_iter().filter(|pid| is_alive(*pid)).collect();
                if self.options.children { pids_below(&roots).unwrap_or_default() } else { roots }
            }
        };
        pids.into_iter()
            .flat_map(|pid| {
                let threads = threads_of(pid).into_iter();
                threads.map(move |(tid, comm, start)| (pid, tid, comm, from_boot_ns(start)))
            })
            .filter(|(_, tid, _, _)| !known.contains(tid))
            .collect()
    }

    fn costs(&mut self, at: Closing, window: Duration) -> Trust {
        if let (Closing::End, Some(meter)) = (at, &mut self.meter) {
            meter.stop(&mut self.probes, &self.tables);
        }
        let cost = self.meter.as_ref().and_then(|meter| meter.cost(window));
        Trust {
            probe_ns: cost.map(|cost| Nanos(cost.ns)),
            probe_runs: cost.map(|cost| cost.runs),
            collector_cpu_ns: own_cpu_time().since(self.cpu_before),
            table_bytes: self.tables.memory_bytes(),
            refused_rows: self.walks.refused_rows,
            switched_off: self.probes.switched_off().iter().map(|&name| name.to_owned()).collect(),
            ..Trust::default()
        }
    }
}

/// Names everything.
fn profile(
    collector: Collector,
    gathered: Gathered,
    start: Nanos,
    target: Target,
    walks: &Walks,
    symbolizer: &mut Symbolizer,
    known: &mut KnownNames,
) -> Profile {
    let mut named = known.take_stacks();
    let mut names = HostNames::new(symbolizer, known);
    let mut profile = collector.finish(Outcome {
        window: Window { start, end: gathered.end },
        host: host(),
        target,
        cpu: gathered.cpu,
        stacks: &walks.stacks,
        stack_origins: &walks.origins,
        named: &mut named,
        objects: gathered.objects,
        reasons: gathered.reasons,
        queues: gathered.queues,
        requests: gathered.requests,
        untracked: gathered.untracked,
        loss: gathered.loss,
        trust: gathered.trust,
        names: &mut names,
    });
    profile.trust.refused_names = names.refused();
    known.keep_stacks(named);
    profile
}

/// Whether the times of a record are those since its thread was born, or since the window began.
fn balances(thread: &ThreadRecord, window_start: Nanos) -> bool {
    let unposted = if thread.unposted != POSTED { thread.unposted_ns } else { 0 };
    let times: u64 = thread.totals_ns.iter().sum();
    Nanos(times + unposted) == Nanos(thread.since_ns).since(Nanos(thread.born_ns).max(window_start))
}

/// The processes of these threads, those of the kernel excepted: it pins its own.
fn user_processes(threads: &[ThreadRecord]) -> Vec<u32> {
    let user = threads.iter().filter(|thread| thread.flags & FLAG_KERNEL_THREAD == 0);
    let pids: BTreeSet<u32> = user.map(|thread| thread.pid).filter(|pid| *pid != 0).collect();
    pids.into_iter().collect()
}

fn host() -> Host {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    Host {
        name: read("/proc/sys/kernel/hostname"),
        kernel: read("/proc/sys/kernel/osrelease"),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    }
}
