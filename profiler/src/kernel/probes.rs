//! Loads the probes, attaches them, and steers them.

use std::io::Read as _;
use std::os::fd::OwnedFd;

use aya::maps::{Array, HashMap as BpfHashMap, MapData};
use aya::programs::{BtfTracePoint, Iter, Program, RawTracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use profiler_common::control::{Control, Policy, SEED_ADOPT, SEED_SETTLE};
use profiler_common::kernel::KernelLayout;
use profiler_common::turn::{LISTEN_OF_OTHERS, LISTEN_OF_TARGET};

use super::tables::Tables;
use super::{KernelError, kernel_text, loads, missing_capabilities};

/// The committed object, see `bpf/MANIFEST`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/dwell.bpf.o");

/// A hook of the kernel and the programs that can sit on it.
pub(super) struct Hook {
    pub(super) tracepoint: &'static str,
    pub(super) program: &'static str,
    pub(super) raw_twin: &'static str,
    /// What is lost where the kernel has no such hook; `None`: nothing works without it.
    pub(super) optional: Option<&'static str>,
}

const fn needed(tracepoint: &'static str, program: &'static str, raw_twin: &'static str) -> Hook {
    Hook { tracepoint, program, raw_twin, optional: None }
}

/// What is lost without the hooks of sockets (Linux 6.3).
const REQUESTS: &str = "requests";

/// What is lost without the hook of cgroups.
const MOVES: &str = "processes moved into a cgroup later";

/// Births come after the switches and ends: nobody is followed whose end could be missed. What a thread leaves that
/// ends unseen, the next one in the same memory of the kernel would inherit, and be taken for an exiting one. Who is born
/// before births are seen is found by the pass over all threads.
pub(super) const HOOKS: [Hook; 15] = [
    needed("sched_switch", "dwell_switch", "dwell_switch_raw"),
    needed("sched_waking", "dwell_waking", "dwell_waking_raw"),
    needed("sched_process_exit", "dwell_exit", "dwell_exit_raw"),
    needed("sched_process_exec", "dwell_exec", "dwell_exec_raw"),
    needed("sched_wakeup_new", "dwell_new", "dwell_new_raw"),
    needed("sched_process_fork", "dwell_fork", "dwell_fork_raw"),
    Hook {
        tracepoint: "inet_sock_set_state",
        program: "dwell_sockstate",
        raw_twin: "dwell_sockstate_raw",
        optional: Some("roles of sockets that begin to listen later"),
    },
    Hook {
        tracepoint: "task_rename",
        program: "dwell_rename",
        raw_twin: "dwell_rename_raw",
        optional: Some("names that threads take later"),
    },
    Hook {
        tracepoint: "sk_data_ready",
        program: "dwell_arrival",
        raw_twin: "dwell_arrival_raw",
        optional: Some(REQUESTS),
    },
    Hook {
        tracepoint: "sock_recv_length",
        program: "dwell_receive",
        raw_twin: "dwell_receive_raw",
        optional: Some(REQUESTS),
    },
    Hook {
        tracepoint: "sock_send_length",
        program: "dwell_send",
        raw_twin: "dwell_send_raw",
        optional: Some(REQUESTS),
    },
    Hook {
        tracepoint: "mm_filemap_fault",
        program: "dwell_fault",
        raw_twin: "dwell_fault_raw",
        optional: Some("the file behind a page fault"),
    },
    Hook {
        tracepoint: "contention_begin",
        program: "dwell_lock_begin",
        raw_twin: "dwell_lock_begin_raw",
        optional: Some("locks of the kernel"),
    },
    Hook {
        tracepoint: "contention_end",
        program: "dwell_lock_end",
        raw_twin: "dwell_lock_end_raw",
        optional: Some("locks of the kernel"),
    },
    Hook {
        tracepoint: "cgroup_attach_task",
        program: "dwell_cgroup",
        raw_twin: "dwell_cgroup_raw",
        optional: Some(MOVES),
    },
];

/// Bounds of the tables in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads followed at the same time.
    pub threads: u32,
    /// Different waits, dead threads excepted once they have been taken over.
    pub waits: u32,
    /// Different stacks.
    pub stacks: u32,
    /// Bytes of the ring buffer: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { threads: 65_536, waits: 65_536, stacks: 16_384, ring_bytes: 4 << 20 }
    }
}

/// What the probes are loaded with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Whom to follow.
    pub policy: Policy,
    /// How much to keep.
    pub limits: Limits,
    /// Use the `raw_tp` twins even where `tp_btf` is to be had.
    pub raw_tracepoints: bool,
}

/// The probes in the kernel. They are gone when this is dropped, or when the process ends in any
/// way: nothing is pinned.
pub struct Probes {
    ebpf: Ebpf,
    control: Array<MapData, PlainControl>,
    requested: BpfHashMap<MapData, u32, u32>,
    listeners: BpfHashMap<MapData, u64, u32>,
    ports: Array<MapData, PortBits>,
    stats: Option<OwnedFd>,
    off: Vec<&'static str>,
    attached: Vec<Attached>,
}

/// A hook that a probe sits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The tracepoint.
    pub tracepoint: &'static str,
    /// By BTF; else as a plain raw tracepoint.
    pub typed: bool,
}

/// A bit for each port.
type PortBits = [u32; 65_536 / 32];

/// [`Control`] as aya may copy it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlainControl(Control);

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlainPolicy(Policy);

#[derive(Clone, Copy)]
#[repr(transparent)]
struct PlainLayout(KernelLayout);

// SAFETY: `#[repr(C)]`, integers only, no padding, any bytes valid.
unsafe impl aya::Pod for PlainControl {}
// SAFETY: as above.
unsafe impl aya::Pod for PlainPolicy {}
// SAFETY: as above.
unsafe impl aya::Pod for PlainLayout {}

impl Probes {
    /// Loads the probes and attaches them. They follow nobody yet.
    ///
    /// On typed tracepoints, or on plain ones where the kernel refuses those: on all or on none,
    /// since the probes read the structures behind their arguments in another way there.
    ///
    /// # Errors
    /// Where privileges, BTF or a hook that everything depends on are missing.
    pub fn load(setup: &Setup) -> Result<Self, KernelError> {
        if !setup.raw_tracepoints
            && let Ok(probes) = Self::load_as(setup, true)
        {
            return Ok(probes);
        }
        Self::load_as(setup, false)
    }

    pub(super) fn load_as(setup: &Setup, typed: bool) -> Result<Self, KernelError> {
        let missing = missing_capabilities();
        if missing.iter().any(|capability| matches!(capability.name, "CAP_BPF" | "CAP_PERFMON")) {
            return Err(KernelError::NotPermitted(missing));
        }
        let mut layout = super::kernel_layout()?;
        if !typed {
            (layout.word_type, layout.cast_function) = (0, 0);
        }
        let policy =
            PlainPolicy(Policy { typed: u32::from(typed), ..with_kernel_text(setup.policy) });
        #[cfg(feature = "probe-log")]
        let object = super::log::object(OBJECT)?;
        #[cfg(not(feature = "probe-log"))]
        let object = std::borrow::Cow::Borrowed(OBJECT);
        let object = loads::put_into(object, &layout);
        let layout = PlainLayout(layout);
        let mut loader = EbpfLoader::new();
        if setup.policy.requests == 0 {
            // Nothing will be in them.
            loader.map_max_entries("dwell_turns", PAGE).map_max_entries("dwell_conns", 1);
        }
        let mut ebpf = loader
            .override_global("LAYOUT", &layout, true)
            .override_global("POLICY", &policy, true)
            .map_max_entries("dwell_threads", setup.limits.threads)
            .map_max_entries("dwell_waits", setup.limits.waits)
            .map_max_entries("dwell_stacks", setup.limits.stacks)
            .map_max_entries("dwell_events", setup.limits.ring_bytes)
            .load(&object)
            .map_err(|error| KernelError::refused("dwell's tables", &error))?;
        let mut control = Array::try_from(take(&mut ebpf, "dwell_control")?)
            .map_err(|error| KernelError::refused("dwell_control", &error))?;
        let requested = BpfHashMap::try_from(take(&mut ebpf, "dwell_request")?)
            .map_err(|error| KernelError::refused("dwell_request", &error))?;
        let listeners = BpfHashMap::try_from(take(&mut ebpf, "dwell_listen")?)
            .map_err(|error| KernelError::refused("dwell_listen", &error))?;
        let ports = Array::try_from(take(&mut ebpf, "dwell_ports")?)
            .map_err(|error| KernelError::refused("dwell_ports", &error))?;
        control
            .set(0, PlainControl(CLOSED), 0)
            .map_err(|error| KernelError::refused("dwell_control", &error))?;
        let mut probes = Self {
            ebpf,
            control,
            requested,
            listeners,
            ports,
            stats: None,
            off: Vec::new(),
            attached: Vec::new(),
        };
        probes.attach(setup, typed)?;
        Ok(probes)
    }

    pub(super) fn program(&self, name: &str) -> Option<&Program> {
        self.ebpf.program(name)
    }

    /// Features that this kernel has no hook for.
    pub fn switched_off(&self) -> &[&'static str] {
        &self.off
    }

    /// The hooks that the probes sit on.
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Has the kernel count the time that the probes use, or no longer; false where it does not.
    pub fn count_cost(&mut self, on: bool) -> bool {
        self.stats = match on {
            true => aya::sys::enable_stats(aya::sys::Stats::RunTime).ok(),
            false => None,
        };
        self.stats.is_some()
    }

    /// The tables that the probes fill.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn tables(&mut self) -> Result<Tables, KernelError> {
        Tables::open(&mut self.ebpf)
    }

    fn attach(&mut self, setup: &Setup, typed: bool) -> Result<(), KernelError> {
        let btf = Btf::from_sys_fs().map_err(|error| KernelError::NoBtf {
            path: "/sys/kernel/btf/vmlinux",
            source: Box::new(error),
        })?;
        for hook in &HOOKS {
            if !is_wanted(hook, &setup.policy) {
                continue;
            }
            let outcome = match typed {
                true => attach_typed(&mut self.ebpf, hook, &btf),
                false => attach_raw(&mut self.ebpf, hook),
            };
            match (outcome, hook.optional) {
                (Ok(()), _) => {
                    self.attached.push(Attached { tracepoint: hook.tracepoint, typed });
                }
                (Err(_), Some(feature)) if self.off.contains(&feature) => {}
                (Err(_), Some(feature)) => self.off.push(feature),
                (Err(error), None) => return Err(error),
            }
        }
        let seed: &mut Iter = program(&mut self.ebpf, "dwell_seed")?;
        seed.load("task", &btf).map_err(|error| KernelError::refused("dwell_seed", &error))
    }

    /// Asks to follow a process, by its id in dwell's PID namespace. Takes effect with the next
    /// [`Self::adopt`].
    ///
    /// # Errors
    /// When the table is full.
    pub fn request(&mut self, pid: u32) -> Result<(), KernelError> {
        self.requested
            .insert(pid, 1, 0)
            .map_err(|error| KernelError::refused(format!("process {pid}"), &error))
    }

    /// Tells the probes of a listening TCP port: network namespace (inode number) and port, and whether
    /// the target listens.
    pub fn add_listener(&mut self, namespace: u32, port: u16, own: bool) {
        let key = u64::from(namespace) << 16 | u64::from(port);
        let value = if own { LISTEN_OF_TARGET } else { LISTEN_OF_OTHERS };
        // A full table costs the role of the socket, no more: it then reads "unknown".
        let _full = self.listeners.insert(key, value, 0);
        if own && let Ok(mut ports) = self.ports.get(&0, 0) {
            ports[usize::from(port >> 5)] |= 1 << (port & 31);
            let _kept = self.ports.set(0, ports, 0);
        }
    }

    /// Opens the books of every thread of the processes asked for.
    ///
    /// # Errors
    /// When the task iterator cannot be run.
    pub fn adopt(&mut self) -> Result<(), KernelError> {
        self.iterate(SEED_ADOPT)
    }

    /// Describes what the threads are doing that have had no event since [`Self::adopt`].
    ///
    /// # Errors
    /// When the task iterator cannot be run.
    pub fn settle(&mut self) -> Result<(), KernelError> {
        self.iterate(SEED_SETTLE)
    }

    fn iterate(&mut self, pass: u32) -> Result<(), KernelError> {
        self.steer(|control| control.seed_pass = pass)?;
        let refused = |error: &dyn std::error::Error| KernelError::refused("dwell_seed", error);
        let seed: &mut Iter = program(&mut self.ebpf, "dwell_seed")?;
        let link = seed.attach().map_err(|error| refused(&error))?;
        let link = seed.take_link(link).map_err(|error| refused(&error))?;
        let mut file = link.into_file().map_err(|error| refused(&error))?;
        // The programs run inside read(2); they print nothing.
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).map_err(|error| refused(&error))?;
        Ok(())
    }

    /// Begins the window at this instant (CLOCK_MONOTONIC, nanoseconds).
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn open_window(&mut self, at_ns: u64) -> Result<(), KernelError> {
        self.steer(|control| control.start_ns = at_ns)
    }

    /// Ends the window at this instant: what comes later leaves the books as they are.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn close_window(&mut self, at_ns: u64) -> Result<(), KernelError> {
        self.steer(|control| control.stop_ns = at_ns)
    }

    /// Changes the control words, which only this side writes.
    fn steer(&mut self, change: impl FnOnce(&mut Control)) -> Result<(), KernelError> {
        let refused = |error: &dyn std::error::Error| KernelError::refused("dwell_control", error);
        let mut control = self.control.get(&0, 0).map_err(|error| refused(&error))?.0;
        change(&mut control);
        self.control.set(0, PlainControl(control), 0).map_err(|error| refused(&error))
    }
}

/// Whether what was asked for needs this hook.
fn is_wanted(hook: &Hook, policy: &Policy) -> bool {
    match hook.optional {
        Some(REQUESTS) => policy.requests != 0,
        Some(MOVES) => policy.cgroup_id != 0,
        _ => true,
    }
}

/// The smallest ring buffer.
const PAGE: u32 = 4096;

/// Nothing counts before the window is opened.
const CLOSED: Control =
    Control { start_ns: u64::MAX, stop_ns: u64::MAX, seed_pass: SEED_ADOPT, reserved: 0 };

fn with_kernel_text(policy: Policy) -> Policy {
    let text = kernel_text();
    let (sched_text_start, sched_text_end) = text.scheduler;
    let (restart_futex, restart_poll) = (text.restart_futex, text.restart_poll);
    Policy { sched_text_start, sched_text_end, restart_futex, restart_poll, ..policy }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, KernelError> {
    ebpf.take_map(name).ok_or_else(|| KernelError::Refused {
        what: format!("the map {name}"),
        reason: "it is not in the committed object".to_owned(),
    })
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| KernelError::Refused {
        what: format!("the program {name}"),
        reason: "it is not in the committed object".to_owned(),
    })?;
    program.try_into().map_err(|error| KernelError::refused(name, &error))
}

fn attach_typed(ebpf: &mut Ebpf, hook: &Hook, btf: &Btf) -> Result<(), KernelError> {
    let refused = |error: &dyn std::error::Error| {
        KernelError::refused(format!("tp_btf/{}", hook.tracepoint), error)
    };
    let program: &mut BtfTracePoint = program(ebpf, hook.program)?;
    program.load(hook.tracepoint, btf).map_err(|error| refused(&error))?;
    program.attach().map_err(|error| refused(&error))?;
    Ok(())
}

fn attach_raw(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), KernelError> {
    let refused = |error: &dyn std::error::Error| {
        KernelError::refused(format!("raw_tp/{}", hook.tracepoint), error)
    };
    let program: &mut RawTracePoint = program(ebpf, hook.raw_twin)?;
    program.load().map_err(|error| refused(&error))?;
    program.attach(hook.tracepoint).map_err(|error| refused(&error))?;
    Ok(())
}
