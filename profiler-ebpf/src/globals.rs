//! Read-only data that user space fills in before the programs are loaded. The map behind it is
//! frozen, so the verifier knows the values and removes the branches they rule out.

use profiler_common::control::Policy;
use profiler_common::kernel::{ABSENT, KernelLayout, KernelOffsets};

#[unsafe(no_mangle)]
static LAYOUT: KernelLayout = KernelLayout::ABSENT;

#[unsafe(no_mangle)]
static POLICY: Policy = Policy {
    whole_host: 0,
    follow_children: 0,
    comm: [0; 16],
    cgroup_id: 0,
    cgroup_level: 0,
    user_stacks: 0,
    typed: 0,
    requests: 0,
    labels: 0,
    reserved: 0,
    sched_text_start: 0,
    sched_text_end: 0,
    restart_futex: 0,
    restart_poll: 0,
};

/// Reads one word of the read-only data. Volatile, or the compiler would use the value above.
macro_rules! constant {
    ($place:expr) => {
        // SAFETY: a reference to a static; volatile because the loader replaces its bytes.
        unsafe { core::ptr::read_volatile(&raw const $place) }
    };
}

macro_rules! layout {
    ($($name:ident: $field:ident,)*) => {
        $(#[inline(always)]
        pub fn $name() -> u32 {
            constant!(LAYOUT.$field)
        })*
    };
}

layout! {
    iowait_byte: iowait_byte,
    iowait_mask: iowait_mask,
    upid_size: upid_size,
    switch_has_state: switch_has_state,
    pid_namespace: pid_namespace,
    kernel_stack_size: kernel_stack_size,
    word_type: word_type,
}

/// Inode number of the initial PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u32 = 0xefff_fffc;

/// Whether ids as dwell sees them are those of the kernel.
#[inline(always)]
pub fn is_initial_namespace() -> bool {
    pid_namespace() == INITIAL_PID_NAMESPACE
}

macro_rules! policy {
    ($($name:ident: $type:ty,)*) => {
        $(#[inline(always)]
        pub fn $name() -> $type {
            constant!(POLICY.$name)
        })*
    };
}

policy! {
    whole_host: u32,
    follow_children: u32,
    comm: [u8; 16],
    cgroup_id: u64,
    cgroup_level: u32,
    user_stacks: u32,
    typed: u32,
    requests: u32,
    labels: u32,
    sched_text_start: u64,
    sched_text_end: u64,
    restart_futex: u64,
    restart_poll: u64,
}

/// A field of a kernel structure: reads nothing (zero) where the kernel has no such field.
#[derive(Clone, Copy)]
pub struct Field(u32);

macro_rules! fields {
    ($($field:ident,)*) => {
        $(#[inline(always)]
        pub fn $field() -> Field {
            Field(constant!(LAYOUT.offsets.$field))
        })*
    };
}

/// One function for each field of [`KernelOffsets`].
pub mod field {
    use super::*;

    fields! {
        task_flags, task_state, task_on_cpu, task_stack, task_pid, task_tgid, task_group_leader,
        task_thread_pid, task_comm, task_start_time, task_files, task_signal, task_sched_info, run_delay, run_count, task_se, se_sum_exec, se_prev_sum_exec, task_mm, mm_mmap_lock, task_pending, task_blocked, task_cgroups, task_restart_block, restart_fn, restart_futex_part,
        signal_live, signal_shared_pending, sigpending_signal, pid_level, pid_numbers, upid_nr, upid_ns, pid_namespace_ns, files_fdt,
        fdt_fd, file_inode, file_path, file_private_data, path_dentry, dentry_name,
        qstr_name, inode_mode, inode_ino, inode_sb, sb_dev, sb_magic, mapping_host, socket_sk,
        sk_family, sk_rcv_saddr, sk_daddr, sk_v6_rcv_saddr, sk_v6_daddr, sk_num, sk_dport,
        sk_state, sk_net, sk_protocol, sk_type, sk_socket, sk_ack_backlog, sk_max_ack_backlog, sk_receive_queue, queue_length, socket_file, net_ns, ns_inum, unix_addr, unix_peer, tcp_write_seq, unix_address_len,
        unix_address_name, css_set_dfl_cgrp, cgroup_level, cgroup_kn, cgroup_ancestors, kernfs_id,
    }
}

impl Field {
    /// Whether the kernel has it.
    #[inline(always)]
    pub fn exists(self) -> bool {
        self.0 != ABSENT
    }

    /// Address of this field in the structure at `base`; `None` where there is no such field.
    #[inline(always)]
    pub fn of(self, base: u64) -> Option<u64> {
        if self.0 == ABSENT || base == 0 { None } else { Some(base + self.0 as u64) }
    }

    /// Reads this field of the structure at `base`, an argument of the probe or what such loads
    /// lead to: the verifier knows its type, so this takes one instruction where a helper's call
    /// takes 10 to 20 ns. A fault reads as zero. On untyped tracepoints as [`Self::read`].
    #[inline(always)]
    pub fn load<T: Default + Copy>(self, base: u64) -> T {
        if typed() == 0 {
            return self.read(base);
        }
        match self.of(base) {
            // SAFETY: the verifier checks type and offset, and the kernel catches the fault.
            Some(address) => unsafe { core::ptr::read_volatile(address as *const T) },
            None => T::default(),
        }
    }

    /// Reads this field of the structure at `base`.
    #[inline(always)]
    pub fn read<T: Default + Copy>(self, base: u64) -> T {
        match self.of(base) {
            Some(address) => crate::task::read(address),
            None => T::default(),
        }
    }
}

const _: () = assert!(size_of::<KernelOffsets>() == 78 * 4);
