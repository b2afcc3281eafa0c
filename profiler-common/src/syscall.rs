//! What a thread blocked in a given x86-64 system call waits for.

/// How the wait of a system call is to be understood.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No kind of its own: shown by name.
    Other = 0,
    /// Reads the descriptor in the first argument.
    FdRead = 1,
    /// Writes the descriptor in the first argument.
    FdWrite = 2,
    /// Waits for a connection on the descriptor.
    Accept = 3,
    /// Connects the descriptor.
    Connect = 4,
    /// An event loop; no descriptor in the first argument.
    Poll = 5,
    /// An event loop on the epoll instance in the first argument.
    Epoll = 6,
    /// A sleep, or a wait for a signal.
    Sleep = 7,
    /// futex(2): operation in the second argument.
    Futex = 8,
    /// futex_waitv(2), futex_wait(2): operation implied.
    FutexWait = 9,
    /// flock(2).
    Flock = 10,
    /// fcntl(2): a lock, for some commands.
    Fcntl = 11,
    /// Waits for a child process.
    Child = 12,
    /// io_uring_enter(2).
    IoUring = 13,
    /// Works on the file of the descriptor in the first argument.
    FileByFd = 14,
    /// Works on a file found by path.
    FileByPath = 15,
    /// vfork(2) and clone(2): waits for the child to exec or exit.
    Clone = 16,
}

/// Length of [`CLASSES`]: above the highest number that x86-64 has.
pub const COUNT: usize = 512;

/// Class of each system call (arch/x86/entry/syscalls/syscall_64.tbl).
pub static CLASSES: [Class; COUNT] = classes();

const fn classes() -> [Class; COUNT] {
    let table: &[(Class, &[usize])] = &[
        // read pread64 readv recvfrom recvmsg splice preadv recvmmsg preadv2
        (Class::FdRead, &[0, 17, 19, 45, 47, 275, 295, 299, 327]),
        // write pwrite64 writev sendfile sendto sendmsg pwritev sendmmsg pwritev2
        (Class::FdWrite, &[1, 18, 20, 40, 44, 46, 296, 307, 328]),
        (Class::Accept, &[43, 288]),
        (Class::Connect, &[42]),
        // poll select pselect6 ppoll
        (Class::Poll, &[7, 23, 270, 271]),
        // epoll_wait epoll_pwait epoll_pwait2
        (Class::Epoll, &[232, 281, 441]),
        // pause nanosleep rt_sigtimedwait rt_sigsuspend clock_nanosleep
        (Class::Sleep, &[34, 35, 128, 130, 230]),
        (Class::Futex, &[202]),
        // futex_waitv futex_wait
        (Class::FutexWait, &[449, 455]),
        (Class::Flock, &[73]),
        (Class::Fcntl, &[72]),
        (Class::Child, &[61, 247]),
        (Class::IoUring, &[426]),
        // close fsync fdatasync ftruncate getdents readahead getdents64 fadvise64
        // sync_file_range fallocate syncfs copy_file_range
        (Class::FileByFd, &[3, 74, 75, 77, 78, 187, 217, 221, 277, 285, 306, 326]),
        // open stat lstat msync execve truncate rename mkdir rmdir creat link unlink symlink sync
        // openat mkdirat newfstatat unlinkat renameat linkat renameat2 execveat statx openat2
        (
            Class::FileByPath,
            &[
                2, 4, 6, 26, 59, 76, 82, 83, 84, 85, 86, 87, 88, 162, 257, 258, 262, 263, 264, 265,
                316, 322, 332, 437,
            ],
        ),
        // clone vfork clone3
        (Class::Clone, &[56, 58, 435]),
    ];
    let mut classes = [Class::Other; COUNT];
    let mut row = 0;
    while row < table.len() {
        let (class, numbers) = table[row];
        let mut at = 0;
        while at < numbers.len() {
            classes[numbers[at]] = class;
            at += 1;
        }
        row += 1;
    }
    classes
}
