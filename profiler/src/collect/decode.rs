//! Decodes the records of the ring buffer.

use bytes::Buf;
use profiler_common::event::{
    NEW_STACK, NewStack, PARTIAL_STACK, PartialStack, THREAD_EXIT, ThreadExit, UNTRACKED_EXIT,
    UntrackedExit,
};
use profiler_common::thread::{Comm, FileMemo, OpenWait, ThreadRecord, Waker};
use profiler_common::unwind::Position;
use profiler_common::wait::{STACK_DEPTH, WaitKey};

/// A record of the ring buffer.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "decoded and consumed one at a time, never stored")]
pub enum Event {
    /// A followed thread ended.
    Exit {
        /// When, by CLOCK_MONOTONIC.
        end_ns: u64,
        /// Its final books.
        thread: ThreadRecord,
    },
    /// A thread ended that should have been followed and was not.
    Untracked {
        /// When it was created, by CLOCK_MONOTONIC.
        start_ns: u64,
        /// When it ended.
        end_ns: u64,
        /// Process.
        pid: u32,
        /// Thread.
        tid: u32,
        /// Its name.
        comm: Comm,
    },
    /// A user stack was seen for the first time.
    NewStack {
        /// Key of the stack table.
        id: u64,
        /// The process that showed it.
        pid: u32,
    },
}

/// Decodes a record; `None` for one of another length or kind than this version knows.
pub fn decode(record: &[u8]) -> Option<Event> {
    let mut rest = record;
    if rest.remaining() < 8 {
        return None;
    }
    let kind = rest.get_u32_ne();
    rest.advance(4);
    match (kind, record.len()) {
        (THREAD_EXIT, length) if length == size_of::<ThreadExit>() => {
            let end_ns = rest.get_u64_ne();
            Some(Event::Exit { end_ns, thread: thread(&mut rest) })
        }
        (UNTRACKED_EXIT, length) if length == size_of::<UntrackedExit>() => {
            Some(Event::Untracked {
                start_ns: rest.get_u64_ne(),
                end_ns: rest.get_u64_ne(),
                pid: rest.get_u32_ne(),
                tid: rest.get_u32_ne(),
                comm: comm(&mut rest),
            })
        }
        (NEW_STACK, length) if length == size_of::<NewStack>() => {
            Some(Event::NewStack { id: rest.get_u64_ne(), pid: rest.get_u32_ne() })
        }
        _ => None,
    }
}

/// A stack that a walk in the kernel could not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial<'a> {
    /// Under what number the wait is added up.
    pub id: u64,
    /// Number of the address space.
    pub space: u32,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Process in the initial PID namespace.
    pub tgid: u32,
    /// What was walked, innermost first, without the frame to go on from.
    pub addresses: Vec<u64>,
    /// Where to go on.
    pub position: Position,
    /// Whether the thread stands there, or was interrupted there; else it returns there.
    pub exact: bool,
    /// The stack from there on.
    pub copy: &'a [u8],
}

/// Decodes a stack that is to be walked on; `None` for a record of another form.
pub fn decode_partial(record: &[u8]) -> Option<Partial<'_>> {
    let mut rest = record;
    let copy = record.get(size_of::<PartialStack>()..)?;
    if rest.get_u32_ne() != PARTIAL_STACK {
        return None;
    }
    rest.advance(4);
    let (id, sp, bp) = (rest.get_u64_ne(), rest.get_u64_ne(), rest.get_u64_ne());
    let (space, tid, tgid) = (rest.get_u32_ne(), rest.get_u32_ne(), rest.get_u32_ne());
    let (length, exact) = (rest.get_u32_ne(), rest.get_u32_ne() != 0);
    rest.advance(4);
    let (depth, _end, pid) = (rest.get_u16_ne(), rest.get_u16_ne(), rest.get_u32_ne());
    let depth = usize::from(depth).min(STACK_DEPTH);
    let mut addresses: Vec<u64> = (0..depth).map(|_| rest.get_u64_ne()).collect();
    let position = Position { ip: addresses.pop()?, sp, bp };
    let copy = copy.get(..usize::try_from(length).ok()?)?;
    Some(Partial { id, space, pid, tid, tgid, addresses, position, exact, copy })
}

// The fields are read in the order of their declaration, which is that of `#[repr(C)]`; struct
// expressions evaluate in the order written. The lengths were checked by the caller.

fn thread(bytes: &mut &[u8]) -> ThreadRecord {
    ThreadRecord {
        totals_ns: std::array::from_fn(|_| bytes.get_u64_ne()),
        since_ns: bytes.get_u64_ne(),
        born_ns: bytes.get_u64_ne(),
        open: open_wait(bytes),
        seed: open_wait(bytes),
        memo: FileMemo {
            file: bytes.get_u64_ne(),
            ino: bytes.get_u64_ne(),
            object: bytes.get_u64_ne(),
            peer_port: bytes.get_u16_ne(),
            nature: bytes.get_u8(),
            reserved: bytes.get_u8(),
            run_count: bytes.get_u32_ne(),
        },
        seed_position: Position {
            ip: bytes.get_u64_ne(),
            sp: bytes.get_u64_ne(),
            bp: bytes.get_u64_ne(),
        },
        waker: Waker {
            tid: bytes.get_u32_ne(),
            pid: bytes.get_u32_ne(),
            cause: bytes.get_u32_ne(),
            count: bytes.get_u32_ne(),
            comm: comm(bytes),
        },
        unposted_ns: bytes.get_u64_ne(),
        passage: bytes.get_u64_ne(),
        last_ready_ns: bytes.get_u64_ne(),
        unseen_wakeup_ns: bytes.get_u64_ne(),
        run_delay_ns: bytes.get_u64_ne(),
        preempted_ns: bytes.get_u64_ne(),
        voluntary: bytes.get_u64_ne(),
        involuntary: bytes.get_u64_ne(),
        fault_ino: bytes.get_u64_ne(),
        fault_dev: bytes.get_u32_ne(),
        serial: bytes.get_u32_ne(),
        pid: bytes.get_u32_ne(),
        tid: bytes.get_u32_ne(),
        tgid: bytes.get_u32_ne(),
        space: bytes.get_u32_ne(),
        state: bytes.get_u8(),
        flags: bytes.get_u8(),
        recheck: bytes.get_u8(),
        queued: bytes.get_u8(),
        preempted: bytes.get_u8(),
        unposted: bytes.get_u8(),
        settled: bytes.get_u8(),
        woken_early: bytes.get_u8(),
        comm: comm(bytes),
    }
}

fn open_wait(bytes: &mut &[u8]) -> OpenWait {
    OpenWait {
        key: WaitKey {
            stack: bytes.get_u64_ne(),
            object: bytes.get_u64_ne(),
            serial: bytes.get_u32_ne(),
            syscall: bytes.get_u16_ne(),
            kind: bytes.get_u8(),
            detail: bytes.get_u8(),
        },
        peer_port: bytes.get_u16_ne(),
        reserved: bytes.get_u16_ne(),
        value: bytes.get_u32_ne(),
    }
}

fn comm(bytes: &mut &[u8]) -> Comm {
    std::array::from_fn(|_| bytes.get_u8())
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::event::Header;

    /// The bytes of a record as the kernel writes it.
    fn as_bytes<T: Copy>(record: &T) -> Vec<u8> {
        // SAFETY: the records are `#[repr(C)]` without padding, so every byte is initialised.
        unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), size_of::<T>())
        }
        .to_vec()
    }

    fn record() -> ThreadRecord {
        // SAFETY: integers only: zero is valid.
        let mut record: ThreadRecord = unsafe { std::mem::zeroed() };
        record.totals_ns[16] = 16;
        record.since_ns = 1;
        record.open.key.detail = 2;
        record.seed.peer_port = 3;
        record.seed_position.bp = 4;
        record.waker.comm[15] = 5;
        record.fault_dev = 6;
        record.serial = 7;
        record.tgid = 8;
        record.flags = 9;
        record.comm[0] = b'x';
        record
    }

    #[test]
    fn an_exit_survives_the_wire() {
        let sent = ThreadExit {
            header: Header { kind: THREAD_EXIT, reserved: 0 },
            end_ns: 99,
            thread: record(),
        };
        let Some(Event::Exit { end_ns, thread }) = decode(&as_bytes(&sent)) else {
            panic!("not an exit");
        };
        assert_eq!(end_ns, 99);
        assert_eq!(as_bytes(&thread), as_bytes(&sent.thread));
    }

    #[test]
    fn an_untracked_exit_survives_the_wire() {
        let header = Header { kind: UNTRACKED_EXIT, reserved: 0 };
        let sent = UntrackedExit { header, start_ns: 1, end_ns: 2, pid: 3, tid: 4, comm: [5; 16] };
        let decoded = decode(&as_bytes(&sent));
        assert!(matches!(
            decoded,
            Some(Event::Untracked { start_ns: 1, end_ns: 2, pid: 3, tid: 4, comm: [5, ..] })
        ));
    }

    #[test]
    fn a_partial_stack_survives_the_wire() {
        // SAFETY: integers only: zero is valid.
        let mut sent: PartialStack = unsafe { std::mem::zeroed() };
        sent.header.kind = PARTIAL_STACK;
        (sent.id, sent.sp, sent.bp, sent.space, sent.tid, sent.tgid) = (2, 3, 4, 5, 6, 8);
        (sent.length, sent.exact, sent.stack.depth, sent.stack.pid) = (7, 1, 2, 9);
        (sent.stack.frames[0], sent.stack.frames[1]) = (10, 11);
        let mut bytes = as_bytes(&sent);
        bytes.extend([1; 7]);
        let expected = Partial {
            id: 2,
            space: 5,
            pid: 9,
            tid: 6,
            tgid: 8,
            addresses: vec![10],
            position: Position { ip: 11, sp: 3, bp: 4 },
            exact: true,
            copy: &[1; 7],
        };
        assert_eq!(decode_partial(&bytes), Some(expected));
        for length in 0..bytes.len() {
            assert_eq!(decode_partial(&bytes[..length]), None);
        }
    }

    #[test]
    fn nothing_else_is_decoded() {
        let mut bytes = as_bytes(&record());
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_none());
        }
        bytes[0] = 77;
        assert!(decode(&bytes).is_none());
    }
}
