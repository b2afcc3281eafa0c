//! The tables shared with user space. Each is bounded; what does not fit is counted in `LOSS`.
//!
//! Hash tables are allocated as they fill (`BPF_F_NO_PREALLOC`): the bounds are far above what a
//! usual target needs, and the memory is paid only where it is used. Safe in any context since
//! Linux 6.1 (`bpf_mem_alloc`).

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use profiler_common::blame::{Blame, BlameKey, Reason};
use profiler_common::control::{Control, Loss};
use profiler_common::event::{COPY_BYTES, PartialStack};
use profiler_common::lock::{KernelLockKey, KernelLockStats, Queue, QueueKey, SpinPlace};
use profiler_common::object::Object;
use profiler_common::thread::ThreadEntry;
use profiler_common::turn::{Conn, Label, Listener, PeerKey, PeerStats};
use profiler_common::unwind::{NEAR_WORDS, Row, RowKey};
use profiler_common::wait::{StackFrames, WaitKey, WaitStats};

use crate::blame::Search;
use crate::label::Text;
use crate::probes::switch::Moment;
use crate::unwind::Walk;

/// Books of each followed thread, by the address of its `task_struct`: it survives an exec, at
/// which a thread's id changes, and no two living threads share it.
#[map(name = "dwell_threads")]
pub static THREADS: HashMap<u64, ThreadEntry> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// How many followed threads have a thread id (initial namespace) that ends in this number: most
/// threads of a host are not followed, and one look here costs a fifth of one into `THREADS`.
#[map(name = "dwell_filter")]
pub static FILTER: Array<[u32; FILTER_SLOTS]> = Array::with_max_entries(1, 0);

/// A power of two.
pub const FILTER_SLOTS: usize = 16_384;

/// Followed processes, by their id in the initial namespace: the number of the address space.
#[map(name = "dwell_procs")]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Processes that user space asks to follow, by their id in its own namespace.
#[map(name = "dwell_request")]
pub static REQUESTED: HashMap<u32, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

#[map(name = "dwell_waits")]
pub static WAITS: HashMap<WaitKey, WaitStats> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Reasons by the hash of what they say.
#[map(name = "dwell_reasons")]
pub static REASONS: HashMap<u64, Reason> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// How much of which wait goes to which reason.
#[map(name = "dwell_blame")]
pub static BLAME: HashMap<BlameKey, Blame> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Futexes that somebody waited for.
#[map(name = "dwell_queues")]
pub static QUEUES: HashMap<QueueKey, Queue> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// Locks of the kernel that somebody waited for.
#[map(name = "dwell_klocks")]
pub static KERNEL_LOCKS: HashMap<KernelLockKey, KernelLockStats> =
    HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Where threads spun last for locks of the kernel, by the number of the thread. One without a place here is looked
/// at each time.
#[map(name = "dwell_spins")]
pub static SPINS: HashMap<u32, SpinPlace> = HashMap::with_max_entries(8_192, BPF_F_NO_PREALLOC);

/// Stacks by the hash of their frames.
#[map(name = "dwell_stacks")]
pub static STACKS: HashMap<u64, StackFrames> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// How to get from a frame to its caller's; filled by user space with what the walks meet.
#[map(name = "dwell_rows")]
pub static ROWS: HashMap<RowKey, Row> = HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// Sockets and files by the hash of their identity.
#[map(name = "dwell_objects")]
pub static OBJECTS: HashMap<u64, Object> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Who listens: `LISTEN_OF_` by network namespace (inode number) << 16 | port for TCP, by the address
/// of the bound name in the kernel for Unix sockets.
#[map(name = "dwell_listen")]
pub static LISTENERS: HashMap<u64, u32> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Connections by the address of their `struct sock`.
#[map(name = "dwell_conns")]
pub static CONNS: HashMap<u64, Conn> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// A bit for each local port of TCP at which something of the target may arrive: most of what arrives at
/// a host is for others, and one look here costs a tenth of one into `CONNS`.
#[map(name = "dwell_ports")]
pub static PORTS: Array<[u32; PORT_WORDS]> = Array::with_max_entries(1, 0);

pub const PORT_WORDS: usize = 65_536 / 32;

/// Labels by the hash of what they say.
#[map(name = "dwell_labels")]
pub static LABELS: HashMap<u64, Label> = HashMap::with_max_entries(4_096, BPF_F_NO_PREALLOC);

/// Calls to peers.
#[map(name = "dwell_peers")]
pub static CALLED: HashMap<PeerKey, PeerStats> =
    HashMap::with_max_entries(4_096, BPF_F_NO_PREALLOC);

/// Queues of connections that wait to be accepted, by the address of the listening `struct sock`.
#[map(name = "dwell_accept")]
pub static QUEUED: HashMap<u64, Listener> = HashMap::with_max_entries(4_096, BPF_F_NO_PREALLOC);

/// Finished turns: a buffer of its own, as there can be many of them.
#[map(name = "dwell_turns")]
pub static TURNS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Data is drained on a timer: a wakeup from inside the scheduler would cost more than it brings.
pub const NO_WAKEUP: u64 = aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64;

#[map(name = "dwell_events")]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Stacks for user space to walk on: a buffer of its own, so that they take no place from what
/// nobody can do without.
#[map(name = "dwell_walks")]
pub static WALKS: RingBuf = RingBuf::with_byte_size(WALK_BYTES, 0);

/// Room for some sixty of them.
pub const WALK_BYTES: u32 = 1 << 20;

#[map(name = "dwell_control")]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// The last number given out of each [`Serial`].
#[map(name = "dwell_serial")]
pub static SERIAL: Array<u64> = Array::with_max_entries(2, 0);

/// What is numbered.
#[derive(Clone, Copy)]
pub enum Serial {
    Thread = 0,
    Space = 1,
}

#[map(name = "dwell_loss")]
pub static LOSS: PerCpuArray<Loss> = PerCpuArray::with_max_entries(1, 0);

/// Work space too large for the 512-byte stack, one for each [`Place`] that uses it.
#[repr(C)]
pub struct Scratch {
    pub stack: StackFrames,
    pub object: Object,
    pub walk: Walk,
    pub search: Search,
    pub moment: Moment,
    /// Where in the memo the stack is that has been recalled. Not in a register: where none has been, that
    /// would hold anything, and the verifier refuses some of it.
    pub way: u32,
    /// The lower end of a stack.
    pub words: [u64; NEAR_WORDS],
    pub partial: Partial,
}

/// A [`PartialStack`] with what follows it.
#[repr(C)]
pub struct Partial {
    pub head: PartialStack,
    pub bytes: [u8; COPY_BYTES],
}

/// Deepest kernel stack kept.
pub const KERNEL_DEPTH: usize = 32;

#[map(name = "dwell_scratch")]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(3, 0);

/// Where a [`Scratch`] is used. Interrupts are off in `sched_switch` and `sched_waking`, so nothing
/// else on that CPU uses theirs meanwhile. The others can be interrupted by these, and are alone with
/// themselves: the kernel runs no program inside itself.
#[derive(Clone, Copy)]
pub enum Place {
    Scheduler = 0,
    Seed = 1,
    Contention = 2,
}

/// Work space for what happens on sockets.
#[repr(C)]
pub struct RequestScratch {
    pub object: Object,
    pub text: Text,
}

#[map(name = "dwell_req_temp")]
pub static REQUEST_SCRATCH: PerCpuArray<RequestScratch> = PerCpuArray::with_max_entries(4, 0);

/// Where a [`RequestScratch`] is used. Data arrives in an interrupt, which can hit the others, and from
/// Linux 7 on a thread can be preempted inside a program: the kernel runs others then, but not the same.
#[derive(Clone, Copy)]
pub enum RequestPlace {
    Arrival = 0,
    Receive = 1,
    Send = 2,
    Connect = 3,
}

#[inline(always)]
pub fn request_scratch(place: RequestPlace) -> Option<&'static mut RequestScratch> {
    // SAFETY: per CPU and used by one at a time; see `RequestPlace`.
    REQUEST_SCRATCH.get_ptr_mut(place as u32).map(|scratch| unsafe { &mut *scratch })
}

/// Zeroes from which new entries are made; never written.
#[map(name = "dwell_zero_t")]
pub static BLANK_THREAD: Array<ThreadEntry> = Array::with_max_entries(1, 0);
#[map(name = "dwell_zero_w")]
pub static BLANK_WAIT: Array<WaitStats> = Array::with_max_entries(1, 0);
#[map(name = "dwell_zero_k")]
pub static BLANK_KERNEL_LOCK: Array<KernelLockStats> = Array::with_max_entries(1, 0);

#[map(name = "dwell_zero_c")]
pub static BLANK_CONN: Array<Conn> = Array::with_max_entries(1, 0);
#[map(name = "dwell_zero_p")]
pub static BLANK_PEER: Array<PeerStats> = Array::with_max_entries(1, 0);

#[inline(always)]
pub fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}

#[inline(always)]
pub fn scratch(place: Place) -> Option<&'static mut Scratch> {
    // SAFETY: per CPU and used by one at a time; see `Place`.
    SCRATCH.get_ptr_mut(place as u32).map(|scratch| unsafe { &mut *scratch })
}

/// Counts something refused.
#[inline(always)]
pub fn count(add: impl FnOnce(&mut Loss)) {
    if let Some(loss) = LOSS.get_ptr_mut(0) {
        // SAFETY: per CPU.
        add(unsafe { &mut *loss });
    }
}

/// An index that the verifier can see to be below `length`: LLVM, which can prove more than the
/// verifier, would drop a check on a value that it knows.
#[inline(always)]
pub fn slot(index: u32, length: usize) -> usize {
    // SAFETY: a local.
    let index = unsafe { core::ptr::read_volatile(&raw const index) } as usize;
    if index < length { index } else { 0 }
}

/// Zeroes words, one after the other; an array of zeroes would be a call of `memset` (see `main.rs`).
#[inline(always)]
pub fn zero<const N: usize>(words: &mut [u64; N]) {
    for word in words {
        *word = 0;
    }
}
