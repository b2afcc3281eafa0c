//! What a thread that is about to block waits for.

use profiler_common::kernel::task_state::{FROZEN, STOPPED, TRACED, UNINTERRUPTIBLE};
use profiler_common::object::{
    DIRECTION_ACCEPT, DIRECTION_CONNECT, DIRECTION_RECEIVE, DIRECTION_SEND, futex_detail,
};
use profiler_common::state::State;
use profiler_common::syscall::{CLASSES, COUNT, Class};
use profiler_common::thread::{FLAG_EXITING, FLAG_KERNEL_THREAD, FileMemo, OpenWait, ThreadRecord};
use profiler_common::unwind::StackMemo;
use profiler_common::wait::{NO_SYSCALL, WaitKey};

use crate::file::{self, File, Nature};
use crate::maps::{self, Scratch};
use crate::registers::{Saved, Syscall};
use crate::task::Task;
use crate::{restart, socket, stack};

/// FUTEX_WAIT (include/uapi/linux/futex.h).
const FUTEX_WAIT: u64 = 0;
/// Its first argument is a process id; that of waitid(2) is not.
const WAIT4: u16 = 61;
/// F_SETLKW and F_OFD_SETLKW (include/uapi/linux/fcntl.h).
const F_SETLKW: u64 = 7;
const F_OFD_SETLKW: u64 = 38;

/// restart_syscall(2).
const RESTART_SYSCALL: u16 = 219;

/// A blocked thread, as far as its wait goes.
#[derive(Clone, Copy)]
pub struct Blocked {
    pub task: Task,
    /// `TASK_` bits.
    pub state: u32,
    /// `FLAG_` bits of its books.
    pub flags: u8,
    /// File whose mapping it faulted on last: inode, device.
    pub fault: (u64, u32),
}

impl Blocked {
    #[inline(always)]
    pub fn new(task: Task, state: u32, record: &ThreadRecord) -> Self {
        let fault = (record.fault_ino, record.fault_dev);
        Self { task, state, flags: record.flags, fault }
    }
}

/// Describes, in `record.open`, the wait that the current thread is about to begin.
#[inline(always)]
pub fn classify(
    context: *mut core::ffi::c_void,
    task: Task,
    task_state: u32,
    record: &mut ThreadRecord,
    stacks: &mut StackMemo,
    scratch: &mut Scratch,
) {
    let blocked = Blocked::new(task, task_state, record);
    record.open.key = blank(record.serial);
    record.open.peer_port = 0;
    record.open.value = 0;
    // A kernel thread stands nowhere in user space.
    let is_user = blocked.flags & FLAG_KERNEL_THREAD == 0;
    let saved = Saved::of_current(task);
    if is_user {
        describe(blocked, saved, &mut record.open, &mut record.memo, scratch);
    }
    if record.open.key.kind == State::Kernel as u8 {
        let side = stack::kernel(context, scratch);
        record.open.key.object = side.function;
        record.open.key.stack = side.stack;
    }
    let position = saved.position();
    if is_user && position.ip != 0 && blocked.flags & FLAG_EXITING == 0 {
        record.open.key.stack = stack::user(&position, record, stacks, scratch);
    }
}

/// A wait of which only the thread is known.
#[inline(always)]
pub fn blank(serial: u32) -> WaitKey {
    let kind = State::Kernel as u8;
    WaitKey { stack: 0, object: 0, serial, syscall: NO_SYSCALL, kind, detail: 0 }
}

/// Kind and object of a user thread's wait. Leaves the kind at `kernel` where nothing that the
/// thread asked for explains it.
#[inline(always)]
pub fn describe(
    blocked: Blocked,
    saved: &Saved,
    open: &mut OpenWait,
    memo: &mut FileMemo,
    scratch: &mut Scratch,
) {
    if blocked.state & (STOPPED | TRACED | FROZEN) != 0 {
        open.key.kind = State::Stopped as u8;
        return;
    }
    if blocked.flags & FLAG_EXITING != 0 {
        return;
    }
    let Some(syscall) = saved.syscall() else {
        page_fault(blocked, open, scratch);
        return;
    };
    let syscall =
        if syscall.number == RESTART_SYSCALL { restart::original(blocked.task) } else { syscall };
    open.key.syscall = syscall.number;
    // The last entry, which no system call has, stands for all beyond the table.
    let index = (syscall.number as u32).min(COUNT as u32 - 1);
    let class = CLASSES[maps::slot(index, COUNT)];
    let use_of_file = if blocked.state & UNINTERRUPTIBLE != 0 {
        uninterruptible(blocked.task, class, open)
    } else {
        interruptible(class, syscall, open)
    };
    if open.key.kind == State::Futex as u8 {
        open.value = syscall.third as u32;
    }
    if !matches!(use_of_file, FileUse::None)
        && let Some(file) = File::of(blocked.task, syscall.first)
    {
        on_file(file, use_of_file, open, memo, scratch);
    }
}

/// How the descriptor in the first argument bears on the wait.
#[derive(Clone, Copy)]
enum FileUse {
    /// Not at all.
    None,
    /// It is locked.
    Lock,
    /// It is read or written, and the wait is for data or room: the direction, for a socket.
    Transfer(u8),
    /// It is read, written or synced, and the wait is uninterruptible.
    Storage,
}

#[inline(always)]
fn page_fault(blocked: Blocked, open: &mut OpenWait, scratch: &mut Scratch) {
    open.key.kind = State::PageFault as u8;
    let (ino, dev) = blocked.fault;
    if ino != 0 {
        file::describe_identity(ino, dev, &mut scratch.object);
        open.key.object = socket::intern(&scratch.object);
    }
}

/// Block I/O; or else a lock or other wait inside the kernel, the kind preset by the caller.
#[inline(always)]
fn uninterruptible(task: Task, class: Class, open: &mut OpenWait) -> FileUse {
    match class {
        // vfork waits killably for its child (`wait_for_vfork_done`, kernel/fork.c).
        Class::Clone => open.key.kind = State::Child as u8,
        Class::FileByPath => open.key.kind = State::Disk as u8,
        _ if task.is_in_iowait() => open.key.kind = State::Disk as u8,
        _ => {}
    }
    match class {
        Class::FdRead | Class::FdWrite | Class::FileByFd => FileUse::Storage,
        _ => FileUse::None,
    }
}

#[inline(always)]
fn interruptible(class: Class, syscall: Syscall, open: &mut OpenWait) -> FileUse {
    let key = &mut open.key;
    let mut use_of_file = FileUse::None;
    let kind = match class {
        Class::Futex => {
            key.object = syscall.first;
            key.detail = futex_detail(syscall.second);
            State::Futex
        }
        Class::FutexWait => {
            key.object = syscall.first;
            key.detail = futex_detail(FUTEX_WAIT);
            State::Futex
        }
        Class::FdRead | Class::FdWrite | Class::Accept | Class::Connect => {
            use_of_file = FileUse::Transfer(match class {
                Class::FdRead => DIRECTION_RECEIVE,
                Class::FdWrite => DIRECTION_SEND,
                Class::Accept => DIRECTION_ACCEPT,
                _ => DIRECTION_CONNECT,
            });
            State::Other
        }
        Class::Epoll => {
            key.object = syscall.first as u32 as u64;
            State::Poll
        }
        Class::IoUring => {
            key.object = syscall.first as u32 as u64;
            State::IoUring
        }
        Class::Child => {
            key.object = if syscall.number == WAIT4 { syscall.first as u32 as u64 } else { 0 };
            State::Child
        }
        Class::Fcntl if syscall.second != F_SETLKW && syscall.second != F_OFD_SETLKW => {
            State::Other
        }
        Class::Flock | Class::Fcntl => {
            use_of_file = FileUse::Lock;
            State::FileLock
        }
        Class::Poll => State::Poll,
        Class::Sleep => State::Sleep,
        Class::Clone => State::Child,
        Class::Other | Class::FileByFd | Class::FileByPath => State::Other,
    };
    key.kind = kind as u8;
    use_of_file
}

#[inline(always)]
fn on_file(
    file: File,
    use_of_file: FileUse,
    open: &mut OpenWait,
    memo: &mut FileMemo,
    scratch: &mut Scratch,
) {
    // Looking at a file costs up to fifteen reads of kernel memory; a thread mostly waits on the
    // one that it waited on last.
    let known = file.is_remembered(memo);
    let nature = if known { Nature::of_memo(memo) } else { file.nature() };
    match (use_of_file, nature) {
        (FileUse::Transfer(direction), Nature::Socket) => {
            open.key.kind = State::Socket as u8;
            open.key.detail = direction;
        }
        (FileUse::Transfer(_), Nature::Pipe) => open.key.kind = State::Pipe as u8,
        (FileUse::Storage, Nature::Stored) => open.key.kind = State::Disk as u8,
        // A lock inside a socket or a pipe: the kernel function tells.
        (FileUse::Storage, _) => return,
        // Interruptible, so not block I/O: FUSE, procfs and the like keep `other`.
        _ => {}
    }
    if !known {
        memo.peer_port = 0;
        if matches!(nature, Nature::Socket) {
            memo.peer_port = socket::describe(file, &mut scratch.object);
        } else {
            file.describe(&mut scratch.object);
        }
        memo.object = socket::intern(&scratch.object);
        file.remember(nature, memo);
    }
    open.peer_port = memo.peer_port;
    open.key.object = memo.object;
}
