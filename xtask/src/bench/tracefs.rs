//! perf and bpftrace look tracepoints up in tracefs, which not every machine has mounted. It is
//! mounted for this process and its children only, and is gone with them.

use std::{ffi::CStr, io, path::Path};

use anyhow::{Result, bail};

const FOLDER: &CStr = c"/sys/kernel/tracing";
/// There in every tracefs.
const PROBE: &str = "/sys/kernel/tracing/events/sched";

/// Mounts it unless it is there. Only this thread, and what it starts, sees the mount.
pub fn provide() -> Result<()> {
    if Path::new(PROBE).is_dir() {
        return Ok(());
    }
    // SAFETY: unshare takes a number.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        bail!("no mounts of our own for tracefs: {}", io::Error::last_os_error());
    }
    // Private first: the mount must not spread to the rest of the machine.
    mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"tracefs", FOLDER, Some(c"tracefs"), 0)
}

fn mount(source: &CStr, target: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> Result<()> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: strings that end with NUL, and no data.
    let result =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) };
    if result != 0 {
        let error = io::Error::last_os_error();
        bail!("cannot mount tracefs, which perf and bpftrace need: {error}");
    }
    Ok(())
}
