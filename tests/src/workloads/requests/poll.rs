//! Waits for several descriptors: ppoll(2) and epoll(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::check;

/// Events of one wait.
const BATCH: usize = 64;

/// What to wait for.
pub fn wanted(descriptor: &impl AsFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd: descriptor.as_fd().as_raw_fd(), events, revents: 0 }
}

/// How many of them have something; 0 where the time is over, or a signal came.
pub fn poll(descriptors: &mut [libc::pollfd], within: Duration) -> io::Result<usize> {
    let time = libc::timespec {
        tv_sec: within.as_secs() as libc::time_t,
        tv_nsec: within.subsec_nanos().into(),
    };
    let count = descriptors.len() as libc::nfds_t;
    // SAFETY: the descriptors and the time are valid for the call, and no mask is given.
    let found = unsafe { libc::ppoll(descriptors.as_mut_ptr(), count, &time, std::ptr::null()) };
    match check(found) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        found => Ok(found? as usize),
    }
}

/// An instance of epoll(7) that says which of its descriptors can be read.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// Without any descriptor.
    pub fn new() -> io::Result<Self> {
        // SAFETY: creates a descriptor.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: it is new, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Takes a descriptor in, with a token that stands for it.
    pub fn add(&self, descriptor: &impl AsFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, token)
    }

    /// Takes it out: somebody else may hold it open.
    pub fn remove(&self, descriptor: &impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, descriptor, 0)
    }

    fn control(&self, what: libc::c_int, descriptor: &impl AsFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        let (epoll, descriptor) = (self.0.as_raw_fd(), descriptor.as_fd().as_raw_fd());
        // SAFETY: both descriptors are open, and the event is valid for the call.
        check(unsafe { libc::epoll_ctl(epoll, what, descriptor, &mut event) }).map(drop)
    }

    /// Waits for at least one, and gives the tokens of those that can be read.
    pub fn wait(&self, tokens: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let (epoll, most) = (self.0.as_raw_fd(), BATCH as libc::c_int);
        // SAFETY: there is room for so many events.
        let found = check(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), most, -1) });
        tokens.clear();
        match found {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            found => {
                tokens.extend(events[..found? as usize].iter().map(|event| event.u64));
                Ok(())
            }
        }
    }
}
