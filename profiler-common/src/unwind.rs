//! How a stack is walked without frame pointers, and how a known one is told from a new one.
//!
//! A [`Row`] says how to get from a function to its caller at one address. Compilers write such
//! rows into `.eh_frame` for every address; of the millions that a program has, a few hundred
//! occur on the stacks of its waits. User space puts exactly those into the table of rows, when
//! a walk in the kernel meets an address that has none yet.
//!
//! A thread mostly waits where it waited before. So each thread remembers its last stacks
//! ([`KnownStack`]): the registers, the places of the return addresses, and a hash of what stood
//! there. The places follow from the code alone, one after the other: the same registers and the
//! same return addresses at the same places are the same stack.

/// Identity of a [`Row`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// Address in the code: where a thread stands, or the byte before a return address (the
    /// return address itself may belong to the next function).
    pub address: u64,
    /// Number of the address space: processes that were forked from one another share it until
    /// one of them executes another program.
    pub space: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// How to get from a frame to its caller's. The frame address (CFA) is what the stack pointer was
/// before the call: the return address lies right below it (System V ABI of x86-64, 3.2.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Bytes to add to what `rule` gives.
    pub offset: i32,
    /// Where the caller's frame pointer was saved, relative to the frame address; 0: it is still
    /// in its register.
    pub saved_bp: i16,
    /// A `RULE_`.
    pub rule: u8,
    /// Named so that no padding is left undefined.
    pub reserved: u8,
}

/// Where a thread stands in user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, or whatever else the code keeps in its register.
    pub bp: u64,
}

/// Nobody knows how to go on: the walk ends early.
pub const RULE_UNKNOWN: u8 = 0;
/// The frame address is the stack pointer plus the offset.
pub const RULE_SP: u8 = 1;
/// The frame address is the frame pointer plus the offset.
pub const RULE_BP: u8 = 2;
/// The frame address is what lies in memory at the frame pointer plus the offset (functions that
/// align their stack keep it there).
pub const RULE_AT_BP: u8 = 3;
/// A signal frame: the registers of the interrupted code lie on the stack.
pub const RULE_SIGNAL: u8 = 4;
/// The thread began here.
pub const RULE_ENTRY: u8 = 5;

/// Where the interrupted code's registers lie above the stack pointer of the signal trampoline:
/// `uc_mcontext` in `struct ucontext` (arch/x86/include/uapi/asm/sigcontext.h).
pub const SIGNAL_BP: u64 = 120;
/// See [`SIGNAL_BP`].
pub const SIGNAL_SP: u64 = 160;
/// See [`SIGNAL_BP`].
pub const SIGNAL_IP: u64 = 168;

/// How far apart a frame and its caller's may lie, in bytes: beyond, the walk has gone astray.
pub const TALLEST_FRAME: u64 = 64 << 20;

/// Stacks that a thread remembers.
pub const WAYS: usize = 4;
/// Places on a stack that are remembered; a stack with more of them is walked each time.
pub const SLOTS: usize = 48;
/// Most words above the stack pointer that are read at once to look at these places.
pub const NEAR_WORDS: usize = 512;
/// Words without a place that end those. What lies in a wide gap is the buffer of a function, which nobody may have
/// touched lately; to read over a narrower one takes less than another call (docs/cost.md).
pub const NEAR_GAP: u64 = 256;
/// One of so many known stacks is walked all the same, to see whether it is really the same.
pub const RECHECK_EVERY: u32 = 64;
/// Where those were right, more of the same tell little: after so many of a thread's stacks, one of
/// [`RECHECK_LATER_EVERY`].
pub const RECHECK_OFTEN: u32 = 1024;
/// See [`RECHECK_OFTEN`].
pub const RECHECK_LATER_EVERY: u32 = 256;

/// Whether a thread's known stack is to be walked all the same, its `asked`-th.
#[inline(always)]
pub fn is_to_be_checked(asked: u32) -> bool {
    let every = if asked <= RECHECK_OFTEN { RECHECK_EVERY } else { RECHECK_LATER_EVERY };
    asked.is_multiple_of(every)
}

/// A stack that a thread has shown before.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KnownStack {
    /// Instruction pointer in user space.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, where the walk used it.
    pub bp: u64,
    /// Hash of what stood in the slots.
    pub hash: u64,
    /// The stack; 0: nothing is remembered here.
    pub id: u64,
    /// When a walk may be tried again that lacked a row (CLOCK_MONOTONIC); 0 for a walk that
    /// lacked none.
    pub retry_ns: u64,
    /// Places of the return addresses (and of saved frame pointers that the walk used), in words
    /// above the stack pointer.
    pub slots: [u16; SLOTS],
    /// Slots in use.
    pub count: u16,
    /// Words from the stack pointer to the last slot before a gap of [`NEAR_GAP`], that one included.
    pub near: u16,
    /// Whether `bp` matters.
    pub uses_bp: u16,
    /// Named so that no padding is left undefined.
    pub reserved: u16,
}

/// The stacks that a thread has shown last.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackMemo {
    /// In no order.
    pub ways: [KnownStack; WAYS],
    /// The one that is given up next.
    pub next: u32,
    /// Stacks asked for: some are checked, see [`is_to_be_checked`].
    pub asked: u32,
}

const _: () = assert!(size_of::<Row>() == 8);
const _: () = assert!(size_of::<KnownStack>() == 152);
const _: () = assert!(size_of::<StackMemo>() == 616);

/// Adds a word to the hash of a stack's slots (FxHash, as in rustc): one multiplication a word.
#[inline(always)]
pub fn fold(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// Mixes a word into a hash (the finalizer of SplitMix64, Steele et al., OOPSLA 2014).
#[inline(always)]
pub fn mix(hash: u64, word: u64) -> u64 {
    let mut z = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Identity of a stack: the kernel and user space give the same frames the same number. It is odd;
/// numbers that the probes give to a stack before it is walked to its end are even. `hash` is that of
/// the frames, by [`mix`], the innermost first, from 0 on.
#[inline(always)]
pub fn stack_id(hash: u64, depth: usize, end: u16) -> u64 {
    mix(hash, (depth as u64) << 16 | end as u64) | 1
}
