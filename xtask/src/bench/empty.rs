//! The floor: programs that do nothing on the tracepoints that a scheduler tracer needs. What
//! they cost is the price of being called at all.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result, bail};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

/// `r0 = 0; exit`, in the kernel's encoding (`struct bpf_insn`, little endian).
const NOTHING: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

/// The start of `union bpf_attr` for BPF_PROG_LOAD, up to the name (include/uapi/linux/bpf.h).
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// Its part for BPF_RAW_TRACEPOINT_OPEN.
#[repr(C)]
struct Open {
    name: u64,
    program: u32,
    reserved: u32,
}

/// Attached programs; the kernel drops them with these descriptors.
pub struct Empty {
    _descriptors: Vec<OwnedFd>,
}

/// Attaches an empty program to `sched_switch` and one to `sched_waking`.
pub fn attach() -> Result<Empty> {
    let mut descriptors = Vec::new();
    for tracepoint in [c"sched_switch", c"sched_waking"] {
        let program = load()?;
        let attributes = Open {
            name: tracepoint.as_ptr() as u64,
            program: program.as_raw_fd() as u32,
            reserved: 0,
        };
        let link = bpf(BPF_RAW_TRACEPOINT_OPEN, &attributes)
            .with_context(|| format!("cannot attach to {}", tracepoint.to_string_lossy()))?;
        descriptors.extend([program, link]);
    }
    Ok(Empty { _descriptors: descriptors })
}

fn load() -> Result<OwnedFd> {
    let attributes = Load {
        kind: BPF_PROG_TYPE_RAW_TRACEPOINT,
        instructions: NOTHING.len() as u32,
        code: NOTHING.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"bench_nothing\0\0\0",
    };
    bpf(BPF_PROG_LOAD, &attributes).context("cannot load an empty program")
}

/// Calls bpf(2) for a command that returns a descriptor.
fn bpf<T>(command: libc::c_int, attributes: &T) -> Result<OwnedFd> {
    // SAFETY: the attributes are the beginning of the kernel's union for this command, whose
    // length it is told; what they point to is static or outlives the call.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    if descriptor < 0 {
        bail!("bpf(2): {}", io::Error::last_os_error());
    }
    let descriptor = i32::try_from(descriptor).context("no descriptor")?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
