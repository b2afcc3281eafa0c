//! Attaches, follows, and closes the books.

mod chores;
mod look;
mod requests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use profiler_common::control::Policy;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, MissedTickBehavior};

use super::cost::{Meter, give_back_memory, own_cpu_time};
use super::cpu::CpuWatch;
use super::each::EachRequest;
use super::names::KnownNames;
use super::seeds::{self, SeedStacks};
use super::walks::Walks;
use crate::collect::Collector;
use crate::kernel::{Limits, Probes, Setup, Tables, monotonic_ns};
use crate::model::{Nanos, Profile, Target, TargetKind};
use crate::symbol::{Symbolizer, clean};
use crate::target::{Selector, find_cgroup, listeners_of, pids_below};

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whom to follow.
    pub selector: Selector,
    /// Follow processes that the target creates.
    pub children: bool,
    /// For how long; until told to stop, where there is none.
    pub duration: Option<Duration>,
    /// Bounds of the tables in the kernel.
    pub limits: Limits,
    /// Take user stacks.
    pub user_stacks: bool,
    /// Follow requests; none: do not.
    pub requests: Option<RequestOptions>,
    /// Read no symbols of programs and libraries.
    pub names_later: bool,
    /// Use plain raw tracepoints.
    pub raw_tracepoints: bool,
}

/// How to follow requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestOptions {
    /// Look into their first bytes for what they ask for.
    pub labels: bool,
    /// A file that gets a line for each.
    pub each: Option<PathBuf>,
}

/// Why a window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its time was over.
    Time,
    /// The user, or a signal, asked for it.
    Asked,
    /// No process of the target is left.
    TargetGone,
}

/// Told of what happens meanwhile.
pub trait Progress {
    /// The window has begun.
    fn attached(&mut self, threads: usize, processes: usize);
    /// So much of it is over.
    fn elapsed(&mut self, elapsed: Duration);
}

/// Somebody who wants to know what there is so far, several times in a window.
pub trait Tap {
    /// How often.
    fn every(&self) -> Duration;
    /// Everything since the window began.
    ///
    /// # Errors
    /// Ends the window.
    fn take(&mut self, profile: Profile) -> Result<()>;
}

/// Looks may take this share of a core in the long run: one part in so many. Where there are thousands of
/// threads, they are less frequent for it.
const LOOK_SHARE: u32 = 60;
/// What they may take at first, when everything is named for the first time.
const LOOK_BURST: Duration = Duration::from_secs(1);

/// Records are drained this often: at 4 MiB and some 360 bytes for each thread that ends, the ring
/// buffer has room for 100,000 ending threads a second.
const DRAIN_EVERY: Duration = Duration::from_millis(100);

/// Requests are taken in this often: their ring buffer has room for 13,000, and an event loop on a Unix
/// socket answers 150,000 a second.
const TURNS_EVERY: Duration = Duration::from_millis(25);

/// How long before its time the end of the window is made known to the probes.
const AHEAD: Duration = Duration::from_millis(1);

/// The same for its beginning. An event between that and when the probes learn of it costs its thread the time until
/// then, which nobody can tell any more. Among four attaching at a time on two CPUs, one of 200 lost its CPU for more than
/// a millisecond right there.
const OPENS_AHEAD: Duration = Duration::from_millis(20);

/// Attached probes and all that has been learned from them.
pub struct Session {
    options: Options,
    target: Target,
    probes: Probes,
    tables: Tables,
    collector: Collector,
    symbolizer: Symbolizer,
    names: KnownNames,
    seed_stacks: SeedStacks,
    walks: Walks,
    requested: HashSet<u32>,
    start: Nanos,
    began: Instant,
    cpu_before: Nanos,
    meter: Option<Meter>,
    cpu: CpuWatch,
    last_take_over: Instant,
    last_cgroup: Instant,
    last_look: Instant,
    last_sweep: Instant,
    each: Option<EachRequest>,
    /// When the window ended.
    end: Option<Nanos>,
    /// What looks have taken.
    looking: Duration,
}

impl Session {
    /// Attaches the probes and opens the window.
    ///
    /// # Errors
    /// When there is nobody to follow, or the kernel does not allow it.
    pub fn attach(options: Options, progress: &mut dyn Progress) -> Result<Self> {
        let roots = options.selector.roots()?;
        let policy = policy(&options)?;
        let target = Target {
            kind: kind(&options.selector),
            description: clean(options.selector.describe().as_bytes()),
            children: options.children,
        };
        let each = options.requests.as_ref().and_then(|requests| requests.each.clone());
        let each = each.map(EachRequest::create).transpose()?;
        let setup =
            Setup { policy, limits: options.limits, raw_tracepoints: options.raw_tracepoints };
        let mut probes = Probes::load(&setup)?;
        let tables = probes.tables()?;
        let now = Instant::now();
        let mut session = Self {
            target,
            probes,
            tables,
            collector: Collector::new(Nanos(0)),
            symbolizer: match options.names_later {
                true => Symbolizer::new().leaving_files(),
                false => Symbolizer::new(),
            },
            names: KnownNames::default(),
            seed_stacks: SeedStacks::new(),
            walks: Walks::new(),
            requested: HashSet::new(),
            start: Nanos(0),
            began: now,
            cpu_before: Nanos(0),
            meter: None,
            cpu: CpuWatch::default(),
            last_take_over: now,
            last_cgroup: now,
            last_look: now,
            last_sweep: now,
            each,
            end: None,
            looking: Duration::ZERO,
            options,
        };
        if session.options.selector == Selector::WholeHost {
            session.add_listeners();
        }
        session.adopt_all(roots)?;
        if session.options.user_stacks {
            session.seed_stacks =
                seeds::walk_all(&session.tables, &mut session.symbolizer, &mut session.walks)?;
        }
        give_back_memory();
        session.open()?;
        session.report_attached(progress)?;
        Ok(session)
    }

    /// Follows these processes and what they have created. A process that one of them creates
    /// while this looks is followed by the probes, as soon as its parent is: so once a look finds
    /// nobody new, nobody is missing.
    fn adopt_all(&mut self, mut roots: Vec<u32>) -> Result<()> {
        if let Selector::Comm(_) = self.options.selector {
            // Who has taken the name while the probes were being attached; of later ones they tell.
            roots.extend(self.options.selector.roots().unwrap_or_default());
        }
        loop {
            let wanted = if self.options.children { pids_below(&roots)? } else { roots.clone() };
            let new: Vec<u32> =
                wanted.into_iter().filter(|pid| self.requested.insert(*pid)).collect();
            // Of a cgroup, the probes know by themselves who is in it.
            if !matches!(self.options.selector, Selector::Cgroup(_)) {
                for pid in &new {
                    self.probes.request(*pid)?;
                }
            }
            if !new.is_empty() {
                // First: a connection that is used before its listener is known is taken for a client's.
                self.add_listeners();
            }
            self.probes.adopt()?;
            if new.is_empty() {
                break;
            }
        }
        self.probes.settle()?;
        Ok(())
    }

    fn add_listeners(&mut self) {
        for listener in listeners_of(&self.processes()) {
            self.probes.add_listener(listener.namespace, listener.port, listener.own);
        }
    }

    /// The processes of the target before the window.
    fn processes(&self) -> Vec<u32> {
        match self.options.selector {
            Selector::WholeHost => pids_below(&[1, 2]).unwrap_or_default(),
            _ => self.requested.iter().copied().collect(),
        }
    }

    /// Begins the window a little ahead of time, for the reason that [`Self::close`] has.
    fn open(&mut self) -> Result<()> {
        self.cpu = CpuWatch::prepare(&self.processes());
        let start = monotonic_ns() + OPENS_AHEAD.as_nanos() as u64;
        self.probes.open_window(start)?;
        let late = Nanos(monotonic_ns()).since(Nanos(start));
        std::thread::sleep(OPENS_AHEAD);
        self.cpu.open();
        self.start = Nanos(start);
        self.began = Instant::now();
        self.cpu_before = own_cpu_time();
        self.meter = Some(Meter::start(&mut self.probes, &self.tables));
        let collector = Collector::new(self.start).opened_late(late);
        self.collector = match self.options.requests {
            Some(_) => collector.with_requests(),
            None => collector,
        };
        Ok(())
    }

    fn report_attached(&self, progress: &mut dyn Progress) -> Result<()> {
        let mut threads = 0;
        let mut processes = HashSet::new();
        self.tables.for_each_thread(|_, thread| {
            threads += 1;
            processes.insert(thread.pid);
        })?;
        progress.attached(threads, processes.len());
        Ok(())
    }

    /// Follows the target until its time is over, it is gone, or `stop` resolves.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read.
    pub async fn follow(
        &mut self,
        stop: impl Future<Output = ()>,
        progress: &mut dyn Progress,
        mut tap: Option<&mut dyn Tap>,
    ) -> Result<Ended> {
        let deadline = self.options.duration.map(|duration| self.began + duration);
        let mut ticks = tokio::time::interval_at(Instant::now() + DRAIN_EVERY, DRAIN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turns = tokio::time::interval_at(Instant::now() + TURNS_EVERY, TURNS_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let has_turns = self.options.requests.is_some();
        tokio::pin!(stop);
        // SAFETY: the descriptor is owned by what is registered, so it stays open as long.
        let walks = unsafe {
            AsyncFd::register_with_interest(self.tables.walks_fd()?, Interest::READABLE)?
        };
        let mut next_look = tap.as_ref().map(|tap| Instant::now() + tap.every());
        loop {
            tokio::select! {
                ready = walks.readable() => {
                    let mut ready = ready?;
                    if !self.drain_walks() {
                        ready.clear_ready();
                    }
                }
                () = &mut stop => return Ok(Ended::Asked),
                () = until(deadline) => return Ok(Ended::Time),
                _ = turns.tick(), if has_turns => self.drain_turns()?,
                () = until(next_look), if tap.is_some() => {
                    next_look = self.hand_over(&mut tap)?;
                }
                _ = ticks.tick() => {
                    if self.tick()? {
                        return Ok(Ended::TargetGone);
                    }
                    progress.elapsed(self.began.elapsed());
                }
            }
        }
    }
}

impl Session {
    /// Hands out what there is so far, and tells when to do so next.
    fn hand_over(&mut self, tap: &mut Option<&mut dyn Tap>) -> Result<Option<Instant>> {
        let Some(tap) = tap else { return Ok(None) };
        let began = Instant::now();
        tap.take(self.so_far()?)?;
        self.looking += began.elapsed();
        let paid = self.began + self.looking.saturating_sub(LOOK_BURST) * LOOK_SHARE;
        Ok(Some(paid.max(began + tap.every())))
    }
}

fn kind(selector: &Selector) -> TargetKind {
    match selector {
        Selector::Pids(_) => TargetKind::Pid,
        Selector::Comm(_) => TargetKind::Comm,
        Selector::Cgroup(_) => TargetKind::Cgroup,
        Selector::WholeHost => TargetKind::Host,
        Selector::Command { .. } => TargetKind::Command,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn policy(options: &Options) -> Result<Policy> {
    let mut policy = Policy {
        whole_host: u32::from(options.selector == Selector::WholeHost),
        follow_children: u32::from(options.children),
        user_stacks: u32::from(options.user_stacks),
        requests: u32::from(options.requests.is_some()),
        labels: u32::from(options.requests.as_ref().is_some_and(|requests| requests.labels)),
        ..Policy::default()
    };
    match &options.selector {
        Selector::Comm(name) => {
            for (into, byte) in policy.comm.iter_mut().zip(name.bytes()) {
                *into = byte;
            }
        }
        Selector::Cgroup(path) => {
            let cgroup = find_cgroup(path).context("cannot follow the cgroup")?;
            policy.cgroup_id = cgroup.id;
            policy.cgroup_level = cgroup.level;
        }
        _ => {}
    }
    Ok(policy)
}
