//! The user registers that the kernel saved when a thread entered it (x86-64).

use aya_ebpf::bindings::task_struct;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use profiler_common::unwind::Position;
use profiler_common::wait::NO_SYSCALL;

use crate::globals;
use crate::task::Task;

/// `struct pt_regs` of x86-64, which is part of the kernel's ABI (arch/x86/include/uapi/asm/ptrace.h).
#[repr(C)]
pub struct Saved {
    _r15_to_r12: [u64; 4],
    bp: u64,
    _rbx: u64,
    _r11: u64,
    _r10: u64,
    _r9: u64,
    _r8: u64,
    ax: u64,
    _cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    orig_ax: u64,
    ip: u64,
    cs: u64,
    _flags: u64,
    sp: u64,
}

/// Set in `ax` on entry to a system call and replaced on the way out (arch/x86/entry/entry_64.S),
/// so it tells "inside a system call" from a page fault or an interrupt.
const ENOSYS: u64 = (-38i64) as u64;

/// Code segment of 32-bit programs, whose system calls have other numbers (asm/segment.h).
const USER32_CS: u64 = 0x23;

/// A system call that a thread is inside of.
#[derive(Clone, Copy)]
pub struct Syscall {
    pub number: u16,
    pub first: u64,
    pub second: u64,
    pub third: u64,
}

impl Saved {
    /// Of `current`, the current thread. Those of kernel threads say nothing.
    #[inline(always)]
    pub fn of_current(current: Task) -> &'static Saved {
        let task = if globals::typed() != 0 {
            current.0 as *mut task_struct
        } else {
            // A number to the verifier.
            // SAFETY: no arguments, no preconditions.
            unsafe { bpf_get_current_task_btf().cast() }
        };
        // SAFETY: the current task outlives the program.
        unsafe { Self::of(task) }
    }

    /// Of a task that the verifier knows as one.
    ///
    /// # Safety
    /// `task` must be a trusted `task_struct` pointer.
    #[inline(always)]
    pub unsafe fn of(task: *mut task_struct) -> &'static Saved {
        // SAFETY: as the caller promises, and the verifier checks. They are a place at the end of the task's
        // stack, which every task has (`task_pt_regs`, arch/x86/include/asm/processor.h).
        unsafe { &*(bpf_task_pt_regs(task) as *const Saved) }
    }

    /// The system call it is inside of; for 32-bit code one without a number.
    #[inline(always)]
    pub fn syscall(&self) -> Option<Syscall> {
        if self.ax != ENOSYS || self.orig_ax >= NO_SYSCALL as u64 {
            return None;
        }
        let number = if self.cs == USER32_CS { NO_SYSCALL as u64 } else { self.orig_ax };
        Some(Syscall { number: number as u16, first: self.di, second: self.si, third: self.dx })
    }

    /// Where its user code stands.
    #[inline(always)]
    pub fn position(&self) -> Position {
        Position { ip: self.ip, sp: self.sp, bp: self.bp }
    }
}
