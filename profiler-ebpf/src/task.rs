//! Reads `task_struct` and what hangs on it.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use profiler_common::kernel::{CAST_CALL, task_flag};
use profiler_common::thread::Comm;

use crate::globals::{self, field};
use crate::maps;

/// A `task_struct` in the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Task(pub u64);

/// Reads kernel memory; zero where it cannot be read. Of types that all bytes are a value of.
///
/// By a plain load where the kernel allows it: three calls a wait were a tenth of the probes' time (docs/cost.md).
#[inline(always)]
pub fn read<T: Default + Copy>(address: u64) -> T {
    if size_of::<T>() > size_of::<u64>() {
        return call_to_read(address);
    }
    if globals::word_type() == 0 {
        let word = call_to_read_word(address, size_of::<T>() as u32);
        // SAFETY: it is no larger, and the first bytes are those that were read.
        return unsafe { core::mem::transmute_copy(&word) };
    }
    // SAFETY: user space has put the call of `bpf_rdonly_cast` there where `word_type` is set
    // (kernel/bpf/helpers.c); the verifier checks that `T` fits, and the kernel catches the fault.
    unsafe {
        let cast = core::mem::transmute::<usize, unsafe extern "C" fn(u64, u32) -> *const T>(
            CAST_CALL as usize,
        );
        core::ptr::read_volatile(cast(address, globals::word_type()))
    }
}

/// [`read`] of up to eight bytes, by a call. Failures are counted. Out of line, as Linux 6.1 is short of stack.
#[inline(never)]
fn call_to_read_word(address: u64, length: u32) -> u64 {
    let mut word = 0u64;
    // SAFETY: the destination is a local, of which `length` is at most the size; the helper checks the source.
    let result = unsafe {
        bpf_probe_read_kernel((&raw mut word).cast(), length, address as *const core::ffi::c_void)
    };
    if result != 0 {
        maps::count(|loss| loss.reads += 1);
    }
    word
}

/// [`read`], by a call. Failures are counted.
#[inline(always)]
fn call_to_read<T: Default + Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination is a local of that size; the helper checks the source.
    let result = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const core::ffi::c_void,
        )
    };
    if result != 0 {
        count_failed_read();
    }
    // SAFETY: the helper writes all of it, zeroes where it fails (`bpf_probe_read_kernel_common`,
    // kernel/trace/bpf_trace.c).
    unsafe { value.assume_init() }
}

/// Reads a name that ends with a NUL, or where there is no more place.
#[inline(always)]
pub fn read_name(address: u64) -> Comm {
    let mut name = Comm::default();
    // SAFETY: the destination is a local of that size; the helper checks the source.
    let result = unsafe {
        bpf_probe_read_kernel_str(
            name.as_mut_ptr().cast(),
            size_of::<Comm>() as u32,
            address as *const core::ffi::c_void,
        )
    };
    if result < 0 {
        count_failed_read();
    }
    name
}

/// Out of line, as it is repeated at each read of a name.
#[inline(never)]
fn count_failed_read() {
    maps::count(|loss| loss.reads += 1);
}

impl Task {
    /// The thread that the program runs on behalf of.
    #[inline(always)]
    pub fn current() -> Task {
        if globals::typed() == 0 {
            // SAFETY: no arguments, no preconditions.
            return Task(unsafe { aya_ebpf::helpers::generated::bpf_get_current_task() });
        }
        // SAFETY: as above.
        Task(unsafe { aya_ebpf::helpers::generated::bpf_get_current_task_btf() } as u64)
    }

    #[inline(always)]
    pub fn flags(self) -> u32 {
        field::task_flags().load(self.0)
    }

    /// A kernel thread, or a worker that the kernel runs inside a process.
    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        self.flags() & (task_flag::KTHREAD | task_flag::IO_WORKER) != 0
    }

    #[inline(always)]
    pub fn state(self) -> u32 {
        field::task_state().load(self.0)
    }

    /// One byte of it: an `int` up to Linux 7.2, a `u8` with other fields right behind it in 7.3.
    #[inline(always)]
    pub fn is_on_cpu(self) -> bool {
        field::task_on_cpu().load::<u8>(self.0) != 0
    }

    /// Waits for block I/O: the kernel sets this around such waits (`io_schedule_prepare`).
    #[inline(always)]
    pub fn is_in_iowait(self) -> bool {
        let byte: u8 = read(self.0 + globals::iowait_byte() as u64);
        byte as u32 & globals::iowait_mask() != 0
    }

    /// Thread id in the initial namespace; 0 is the idle task of a CPU.
    #[inline(always)]
    pub fn global_tid(self) -> u32 {
        field::task_pid().load(self.0)
    }

    /// Process id in the initial namespace.
    #[inline(always)]
    pub fn global_tgid(self) -> u32 {
        field::task_tgid().load(self.0)
    }

    /// The number of its process as dwell sees it, likewise.
    #[inline(always)]
    pub fn visible_pid(self) -> u32 {
        if globals::is_initial_namespace() {
            return self.global_tgid();
        }
        Task(field::task_group_leader().read(self.0)).tid_in_namespace()
    }

    /// Its number as dwell sees it; 0 where it lives in a namespace dwell does not see.
    #[inline(always)]
    pub fn visible_tid(self) -> u32 {
        if globals::is_initial_namespace() {
            return self.global_tid();
        }
        self.tid_in_namespace()
    }

    #[inline(always)]
    fn tid_in_namespace(self) -> u32 {
        let pid: u64 = field::task_thread_pid().read(self.0);
        let innermost: u32 = field::pid_level().read(pid);
        let Some(numbers) = field::pid_numbers().of(pid) else { return 0 };
        // MAX_PID_NS_LEVEL is 32; eight cover every nesting met in practice.
        for level in 0..8u32 {
            if level > innermost {
                break;
            }
            let upid = numbers + level as u64 * globals::upid_size() as u64;
            let namespace: u64 = field::upid_ns().read(upid);
            let Some(common) = field::pid_namespace_ns().of(namespace) else { return 0 };
            if field::ns_inum().read::<u32>(common) == globals::pid_namespace() {
                return field::upid_nr().read(upid);
            }
        }
        0
    }

    #[inline(always)]
    pub fn comm(self) -> Comm {
        field::task_comm().read(self.0)
    }

    /// How long it has waited for CPUs so far, by the scheduler's own accounts; `None` where they
    /// are not kept.
    #[inline(always)]
    pub fn run_delay_ns(self) -> Option<u64> {
        let delay = field::run_delay();
        if !delay.exists() {
            return None;
        }
        Some(delay.load(field::task_sched_info().of(self.0)?))
    }

    /// How often it was given a CPU so far, by the scheduler's own accounts: counted after the probe of the switch
    /// (`sched_info_arrive`, kernel/sched/stats.h). 0 where they are not kept.
    #[inline(always)]
    pub fn run_count(self) -> u32 {
        if !field::run_delay().exists() {
            return 0;
        }
        match field::task_sched_info().of(self.0) {
            Some(info) => field::run_count().load::<u64>(info) as u32,
            None => 0,
        }
    }

    /// How long it has held the CPU that it is about to leave, by the scheduler's own accounts
    /// (`set_next_entity` and `update_curr`, kernel/sched/fair.c); wrong for real-time threads.
    #[inline(always)]
    pub fn last_run_ns(self) -> u64 {
        let Some(entity) = field::task_se().of(self.0) else { return u64::MAX };
        let now: u64 = field::se_sum_exec().load(entity);
        now.wrapping_sub(field::se_prev_sum_exec().load(entity))
    }

    /// CLOCK_MONOTONIC, in nanoseconds.
    #[inline(always)]
    pub fn start_ns(self) -> u64 {
        field::task_start_time().read(self.0)
    }

    /// Whether no thread of its process is left that has not begun to exit.
    #[inline(always)]
    pub fn is_last_of_process(self) -> bool {
        let signal: u64 = field::task_signal().read(self.0);
        field::signal_live().read::<u32>(signal) == 0
    }

    /// Whether it is in the cgroup asked for, or below it.
    #[inline(always)]
    pub fn is_in_target_cgroup(self) -> bool {
        let wanted = globals::cgroup_id();
        if wanted == 0 {
            return false;
        }
        let set: u64 = field::task_cgroups().read(self.0);
        let cgroup: u64 = field::css_set_dfl_cgrp().read(set);
        cgroup_is_below(cgroup, wanted)
    }

    /// Whether the arguments of a tracepoint lie on its kernel stack. In an interrupt it does not: x86-64 switches
    /// to a stack of the CPU, unless user code was interrupted (arch/x86/include/asm/irq_stack.h).
    #[inline(always)]
    pub fn has_on_stack(self, context: *mut core::ffi::c_void, passage: &mut u64) -> bool {
        // The verifier allows no arithmetic on the context; what comes back from a table's memory
        // is a number.
        // SAFETY: a reference; volatile, or the compiler would use the pointer itself.
        let address = unsafe {
            core::ptr::write_volatile(passage, context as u64);
            core::ptr::read_volatile(passage)
        };
        let bottom: u64 = field::task_stack().load(self.0);
        address.wrapping_sub(bottom) < globals::kernel_stack_size() as u64
    }
}

/// Whether the cgroup at `cgroup` is the one with this id, or below it.
#[inline(always)]
pub fn cgroup_is_below(cgroup: u64, wanted: u64) -> bool {
    let level = globals::cgroup_level();
    if field::cgroup_level().read::<u32>(cgroup) < level {
        return false;
    }
    let Some(ancestors) = field::cgroup_ancestors().of(cgroup) else { return false };
    let ancestor: u64 = read(ancestors + level as u64 * 8);
    let node: u64 = field::cgroup_kn().read(ancestor);
    field::kernfs_id().read::<u64>(node) == wanted
}
