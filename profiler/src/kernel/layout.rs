//! Offsets of the running kernel's structures, from its BTF.

use btf_rs::{Btf, Member, Type};
use profiler_common::kernel::{ABSENT, KernelLayout, KernelOffsets};

use super::{KernelError, loads, needs};

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// `THREAD_SIZE` of x86-64: four pages (arch/x86/include/asm/page_64_types.h, without KASAN).
const KERNEL_STACK_SIZE: u32 = 16 << 10;

/// Fields that some kernel configurations lack, with what is lost without them.
const OPTIONAL: [(&str, &str, &str); 16] = [
    ("task_struct", "sched_info", "the scheduler's own waits for a CPU"),
    ("sched_info", "run_delay", "the scheduler's own waits for a CPU"),
    ("sched_info", "pcount", "the scheduler's own waits for a CPU"),
    ("sock_common", "skc_v6_rcv_saddr", "IPv6 addresses"),
    ("sock_common", "skc_v6_daddr", "IPv6 addresses"),
    ("unix_sock", "addr", "Unix socket paths"),
    ("unix_sock", "peer", "Unix socket paths"),
    ("unix_address", "len", "Unix socket paths"),
    ("unix_address", "name", "Unix socket paths"),
    ("task_struct", "restart_block", "what a thread waits for after a stop"),
    ("restart_block", "fn", "what a thread waits for after a stop"),
    ("restart_block", "futex", "what a thread waits for after a stop"),
    ("css_set", "dfl_cgrp", "--cgroup"),
    ("cgroup", "ancestors", "--cgroup"),
    ("cgroup", "level", "--cgroup"),
    ("cgroup", "kn", "--cgroup"),
];

/// The kernel's layout.
///
/// # Errors
/// Where there is no BTF, the kernel is too old, or a field is missing without which the books cannot be kept.
pub fn kernel_layout() -> Result<KernelLayout, KernelError> {
    let btf = read_btf()?;
    let lacking = needs::lacking(&btf);
    if !lacking.is_empty() {
        return Err(KernelError::TooOld(lacking));
    }
    let (mut offsets, missing) = resolve(&btf);
    if !keeps_run_delay() {
        offsets.run_delay = ABSENT;
    }
    if let Some((structure, member)) = missing.into_iter().find(|field| !is_optional(field)) {
        return Err(KernelError::MissingField { structure, member });
    }
    let iowait = bit_of(&btf, "task_struct", "in_iowait")
        .ok_or(KernelError::MissingField { structure: "task_struct", member: "in_iowait" })?;
    let (cast_function, word_type) = loads::numbers(&btf).unwrap_or_default();
    Ok(KernelLayout {
        offsets,
        iowait_byte: iowait / 8,
        iowait_mask: 1 << (iowait % 8),
        upid_size: size_of_struct(&btf, "upid").unwrap_or(ABSENT),
        switch_has_state: u32::from(switch_arguments(&btf) > 4),
        pid_namespace: own_pid_namespace(),
        kernel_stack_size: KERNEL_STACK_SIZE,
        word_type,
        cast_function,
    })
}

/// Features that this kernel's structures do not allow, by name.
///
/// # Errors
/// Where there is no BTF.
pub fn missing_features() -> Result<Vec<&'static str>, KernelError> {
    let (_, missing) = resolve(&read_btf()?);
    let mut features: Vec<&'static str> = OPTIONAL
        .into_iter()
        .filter(|(structure, member, _)| missing.contains(&(structure, member)))
        .map(|(_, _, feature)| feature)
        .collect();
    features.dedup();
    Ok(features)
}

fn is_optional(field: &(&str, &str)) -> bool {
    OPTIONAL.iter().any(|(structure, member, _)| (*structure, *member) == *field)
}

fn read_btf() -> Result<Btf, KernelError> {
    Btf::from_file(BTF_PATH)
        .map_err(|source| KernelError::NoBtf { path: BTF_PATH, source: Box::new(source) })
}

fn resolve(btf: &Btf) -> (KernelOffsets, Vec<(&'static str, &'static str)>) {
    let mut missing = Vec::new();
    let offsets = KernelOffsets::resolve(
        |structure, member| {
            // Renamed in Linux 5.14 (commit 2f064a59a11f).
            let older = (member == "__state").then_some("state");
            let bits = bit_of(btf, structure, member).or_else(|| bit_of(btf, structure, older?))?;
            Some(bits / 8)
        },
        |structure, member| missing.push((structure, member)),
    );
    (offsets, missing)
}

fn structure(btf: &Btf, name: &str) -> Option<btf_rs::Struct> {
    btf.resolve_types_by_name(name).ok()?.into_iter().find_map(|found| match found {
        Type::Struct(found) => Some(found),
        _ => None,
    })
}

fn size_of_struct(btf: &Btf, name: &str) -> Option<u32> {
    u32::try_from(structure(btf, name)?.size()).ok()
}

/// Offset in bits of a member, found also inside anonymous structures and unions.
fn bit_of(btf: &Btf, name: &str, member: &str) -> Option<u32> {
    bit_among(btf, &structure(btf, name)?.members, member, 0)
}

/// Anonymous members nest a few levels deep in the kernel; a BTF that nests deeper is broken.
const DEEPEST: u32 = 8;

fn bit_among(btf: &Btf, members: &[Member], wanted: &str, depth: u32) -> Option<u32> {
    if depth > DEEPEST {
        return None;
    }
    members.iter().find_map(|member| {
        let name = btf.resolve_name(member).unwrap_or_default();
        if name == wanted {
            return Some(member.bit_offset());
        }
        if !name.is_empty() {
            return None;
        }
        let inner = match btf.resolve_chained_type(member).ok()? {
            Type::Struct(inner) | Type::Union(inner) => inner,
            _ => return None,
        };
        Some(member.bit_offset() + bit_among(btf, &inner.members, wanted, depth + 1)?)
    })
}

/// Number of arguments of `sched_switch`, with the leading `void *` of every tracepoint: the state
/// of the thread switched out came with Linux 5.18 (commit fa2c3254d7cf).
fn switch_arguments(btf: &Btf) -> usize {
    let types = btf.resolve_types_by_name("btf_trace_sched_switch").unwrap_or_default();
    let prototype = types.into_iter().find_map(|found| match found {
        Type::Typedef(alias) => match btf.resolve_chained_type(&alias).ok()? {
            Type::Ptr(pointer) => btf.resolve_chained_type(&pointer).ok(),
            _ => None,
        },
        _ => None,
    });
    match prototype {
        Some(Type::FuncProto(prototype)) => prototype.parameters.len(),
        _ => 0,
    }
}

/// Whether the scheduler accounts for waits for a CPU (/proc/PID/schedstat, second figure): some
/// kernels do only when told to at boot (`delayacct`).
fn keeps_run_delay() -> bool {
    ["self", "1", "2"].into_iter().any(|process| {
        let path = format!("/proc/{process}/schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_ascii_whitespace().nth(1).is_some_and(|delay| delay != "0")
    })
}

/// Inode number of dwell's PID namespace.
fn own_pid_namespace() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |file| file.ino() as u32)
}

#[cfg(test)]
mod fuzz;
