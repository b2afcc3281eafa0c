//! System calls that the standard library does not have.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;

/// Ends this process after some seconds, whatever it does.
pub fn end_after(seconds: u32) {
    // SAFETY: alarm(2) always succeeds; the default action of SIGALRM ends the process.
    unsafe { libc::alarm(seconds) };
}

/// The result of a call that answers -1 and sets errno when it fails.
pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sends a signal.
pub fn kill(pid: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill(2) touches no memory.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Waits for a child (-1 for any) in wait4(2).
pub fn wait_for(pid: libc::pid_t, options: libc::c_int) -> io::Result<libc::pid_t> {
    // SAFETY: the status is not asked for.
    check(unsafe { libc::waitpid(pid, std::ptr::null_mut(), options) })
}

/// Id of the calling thread.
pub fn thread_id() -> u32 {
    // SAFETY: gettid(2) always succeeds.
    unsafe { libc::gettid() as u32 }
}

/// CPUs this process may use.
pub fn cpus() -> io::Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

/// Device of a file, as `major:minor`.
pub fn device(metadata: &Metadata) -> String {
    let device = metadata.dev();
    format!("{}:{}", libc::major(device), libc::minor(device))
}
