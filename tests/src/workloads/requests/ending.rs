//! The end of a server: SIGTERM, SIGINT, or the end of its stdin.

use std::io::{self, Read, stdin};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::check;
use super::poll::{poll, wanted};

/// Both signals, as a descriptor.
pub struct Ending(OwnedFd);

impl Ending {
    /// Keeps both signals from the calling thread, and from those it will create.
    pub fn prepare() -> io::Result<Self> {
        let mut signals = MaybeUninit::uninit();
        // SAFETY: the set has its place, which the first call fills in.
        let signals = unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGTERM);
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGINT);
            signals.assume_init()
        };
        // SAFETY: the set is valid, and the old one is not asked for.
        check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut()) })?;
        // SAFETY: creates a descriptor for a valid set.
        let descriptor = check(unsafe { libc::signalfd(-1, &signals, libc::SFD_CLOEXEC) })?;
        // SAFETY: it is new, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Waits for one of them, for no longer than `within`.
    pub fn wait(&self, within: Duration) -> io::Result<()> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut both = [wanted(&self.0, libc::POLLIN), wanted(&stdin(), libc::POLLIN)];
            poll(&mut both, left)?;
            let [signal, input] = both.map(|one| one.revents != 0);
            // What is said on stdin does not matter, only its end does.
            if signal || left.is_zero() || (input && stdin().read(&mut [0; 512])? == 0) {
                return Ok(());
            }
        }
    }
}
