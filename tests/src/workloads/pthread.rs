//! The locks of libc, as statics: their addresses are what the kernel is asked to wait for.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

/// glibc waits in futex(2) on the first word of the mutex: its address is the object.
pub struct Mutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: it is touched only by the pthread functions, which are made for it.
unsafe impl Sync for Mutex {}

impl Mutex {
    /// A plain one.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))
    }

    /// Makes a robust one, for processes to share, of zeros in memory.
    pub fn make_robust(&self) {
        let mut attributes = MaybeUninit::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the attributes are initialized first and destroyed last; nobody uses the mutex yet.
        unsafe {
            succeeds(libc::pthread_mutexattr_init(attributes));
            succeeds(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED));
            succeeds(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST));
            succeeds(libc::pthread_mutex_init(self.0.get(), attributes));
            succeeds(libc::pthread_mutexattr_destroy(attributes));
        }
    }

    pub fn lock(&self) {
        // SAFETY: the mutex is initialized and never destroyed.
        succeeds(unsafe { libc::pthread_mutex_lock(self.0.get()) });
    }

    /// Gives up after some time; whether it is locked.
    pub fn lock_within(&self, ns: u64) -> bool {
        let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `until` is a valid place for the answer.
        succeeds(unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut until) });
        let nsec = until.tv_nsec as u64 + ns;
        until.tv_sec += (nsec / 1_000_000_000) as libc::time_t;
        until.tv_nsec = (nsec % 1_000_000_000) as libc::c_long;
        // SAFETY: the mutex is initialized and never destroyed.
        let result = unsafe { libc::pthread_mutex_timedlock(self.0.get(), &until) };
        assert!(matches!(result, 0 | libc::ETIMEDOUT), "pthread_mutex_timedlock: {result}");
        result == 0
    }

    pub fn unlock(&self) {
        // SAFETY: the calling thread holds the mutex.
        succeeds(unsafe { libc::pthread_mutex_unlock(self.0.get()) });
    }

    pub fn address(&self) -> usize {
        self.0.get() as usize
    }
}

/// A condition variable.
pub struct Condition(UnsafeCell<libc::pthread_cond_t>);

// SAFETY: it is touched only by the pthread functions, which are made for it.
unsafe impl Sync for Condition {}

impl Condition {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER))
    }

    /// With the mutex held.
    pub fn wait(&self, mutex: &Mutex) {
        // SAFETY: both are initialized and never destroyed.
        succeeds(unsafe { libc::pthread_cond_wait(self.0.get(), mutex.0.get()) });
    }

    pub fn wake_one(&self) {
        // SAFETY: it is initialized and never destroyed.
        succeeds(unsafe { libc::pthread_cond_signal(self.0.get()) });
    }

    pub fn address(&self) -> usize {
        self.0.get() as usize
    }
}

/// A reader–writer lock. glibc waits on words inside it, not on the first one.
pub struct ReadWriteLock(UnsafeCell<libc::pthread_rwlock_t>);

// SAFETY: it is touched only by the pthread functions, which are made for it.
unsafe impl Sync for ReadWriteLock {}

impl ReadWriteLock {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER))
    }

    pub fn read(&self) {
        // SAFETY: it is initialized and never destroyed.
        succeeds(unsafe { libc::pthread_rwlock_rdlock(self.0.get()) });
    }

    pub fn write(&self) {
        // SAFETY: it is initialized and never destroyed.
        succeeds(unsafe { libc::pthread_rwlock_wrlock(self.0.get()) });
    }

    pub fn unlock(&self) {
        // SAFETY: the calling thread holds it.
        succeeds(unsafe { libc::pthread_rwlock_unlock(self.0.get()) });
    }

    pub fn address(&self) -> usize {
        self.0.get() as usize
    }
}

fn succeeds(result: libc::c_int) {
    assert_eq!(result, 0, "a pthread function failed");
}
