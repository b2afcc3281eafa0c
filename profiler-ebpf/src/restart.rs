//! System calls that a signal, a stop or a tracer has broken off, and that go on with what is left of their timeout: the
//! number of the call is that of restart_syscall(2) then.

use crate::globals::{self, field};
use crate::registers::Syscall;
use crate::task::{self, Task};

/// futex(2), poll(2) and clock_nanosleep(2) (arch/x86/entry/syscalls/syscall_64.tbl).
const FUTEX: u16 = 202;
const POLL: u16 = 7;
const CLOCK_NANOSLEEP: u16 = 230;

/// Of the first argument of `restart_block.futex`, an address, those behind it: a value and flags.
const VALUE: u64 = 8;
const FLAGS: u64 = 12;

/// `FLAGS_HAS_TIMEOUT`, which is always set there; `FLAGS_SHARED`, `FLAGS_CLOCKRT` (kernel/futex/futex.h since Linux 6.7,
/// commit 5694289ce183).
const HAS_TIMEOUT: u32 = 0x40;
const SHARED: u32 = 0x10;
const REALTIME: u32 = 0x20;
/// The latter two before that.
const OLD_SHARED: u32 = 0x01;
const OLD_REALTIME: u32 = 0x02;

/// FUTEX_WAIT_BITSET, FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME (include/uapi/linux/futex.h). Only waits with a timeout
/// go on this way.
const WAIT_BITSET: u64 = 9;
const PRIVATE: u64 = 128;
const CLOCK_REALTIME: u64 = 256;

/// The call that a thread goes on with, as it was asked for, as far as that is known. Out of line, as it is seldom needed.
#[inline(never)]
pub fn original(task: Task) -> Syscall {
    let sleep = Syscall { number: CLOCK_NANOSLEEP, first: 0, second: 0, third: 0 };
    let Some(block) = field::task_restart_block().of(task.0) else { return sleep };
    let function: u64 = field::restart_fn().read(block);
    if function == 0 {
        return sleep;
    }
    if function == globals::restart_poll() {
        return Syscall { number: POLL, ..sleep };
    }
    match field::restart_futex_part().of(block) {
        Some(part) if function == globals::restart_futex() => {
            let flags: u32 = task::read(part + FLAGS);
            Syscall {
                number: FUTEX,
                first: task::read(part),
                second: operation(flags),
                third: task::read::<u32>(part + VALUE) as u64,
            }
        }
        _ => sleep,
    }
}

#[inline(always)]
fn operation(flags: u32) -> u64 {
    let (shared, realtime) = match flags & HAS_TIMEOUT {
        0 => (OLD_SHARED, OLD_REALTIME),
        _ => (SHARED, REALTIME),
    };
    let private = if flags & shared == 0 { PRIVATE } else { 0 };
    let clock = if flags & realtime != 0 { CLOCK_REALTIME } else { 0 };
    WAIT_BITSET | private | clock
}
