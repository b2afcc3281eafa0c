//! Walks a blocked thread's user stack along its frame pointers.

use std::io::IoSliceMut;

/// Most return addresses that a walk gives, the innermost included.
const MOST_FRAMES: usize = 127;
/// How far above the stack pointer a frame may lie, in bytes.
const TALLEST_STACK: u64 = 256 << 20;
/// Bytes copied from the target at a time; a window never crosses a page of this size.
const WINDOW: u64 = 4096;
/// Bytes of one saved register.
const WORD: u64 = 8;
/// User addresses lie between these: the first page is never mapped, and the upper half is the
/// kernel's even with five-level page tables.
const USER_ADDRESSES: std::ops::Range<u64> = 4096..1 << 56;

/// Gives the addresses of a blocked thread's user stack, innermost first, by following its frame
/// pointers from the saved registers `ip`, `sp` and `bp`.
///
/// The first address is `ip` itself, all others are return addresses. The walk ends at 127 frames,
/// at a frame pointer that does not rise, is not aligned or lies outside the stack, at an address
/// that cannot be code, or where memory cannot be read (process gone, no permission): what was
/// found until then is given. Code compiled without frame pointers ends the walk early or hides the
/// caller of the innermost function; it never makes the walk fail.
///
/// The thread should be blocked: a running one may give frames that never existed together.
pub fn walk_by_frame_pointers(pid: u32, ip: u64, sp: u64, bp: u64) -> Vec<u64> {
    let mut addresses = Vec::new();
    if !USER_ADDRESSES.contains(&ip) {
        return addresses;
    }
    addresses.push(ip);
    let mut stack = StackReader::new(pid);
    let top = sp.saturating_add(TALLEST_STACK);
    let mut lowest = sp;
    let mut frame = bp;
    while addresses.len() < MOST_FRAMES && is_frame(frame, lowest, top) {
        let Some(address) = stack.read_word(frame + WORD) else { break };
        if !USER_ADDRESSES.contains(&address) {
            break;
        }
        addresses.push(address);
        lowest = frame + 2 * WORD;
        let Some(caller) = stack.read_word(frame) else { break };
        frame = caller;
    }
    addresses
}

/// Whether a frame pointer can be one: aligned, not below what was walked already, inside the stack.
fn is_frame(frame: u64, lowest: u64, top: u64) -> bool {
    frame.is_multiple_of(WORD)
        && frame >= lowest
        && frame < top
        && USER_ADDRESSES.contains(&frame)
        && USER_ADDRESSES.contains(&(frame + 2 * WORD))
}

/// Reads words of another process's memory, a window at a time.
struct StackReader {
    pid: u32,
    /// Where the window starts, and how many of its bytes are known.
    window: Option<(u64, usize)>,
    bytes: [u8; WINDOW as usize],
}

impl StackReader {
    fn new(pid: u32) -> Self {
        Self { pid, window: None, bytes: [0; WINDOW as usize] }
    }

    /// Reads the word at an aligned address, or nothing where the memory cannot be read.
    fn read_word(&mut self, address: u64) -> Option<u64> {
        let start = address - address % WINDOW;
        if self.window.is_none_or(|(known, _)| known != start) {
            let count = read_memory(self.pid, start, &mut self.bytes);
            self.window = Some((start, count));
        }
        let (_, count) = self.window?;
        let at = usize::try_from(address - start).ok()?;
        let word = self.bytes.get(..count)?.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*word))
    }
}

/// Copies another process's memory; gives the number of bytes copied, 0 where that failed.
fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> usize {
    let (Ok(pid), Ok(base)) = (libc::pid_t::try_from(pid), usize::try_from(address)) else {
        return 0;
    };
    let remote =
        libc::iovec { iov_base: std::ptr::without_provenance_mut(base), iov_len: into.len() };
    let mut local = [IoSliceMut::new(into)];
    // SAFETY: `IoSliceMut` has the layout of `iovec` and borrows `into` for the whole call; the
    // remote address is only read, by the kernel, which answers EFAULT where nothing is mapped.
    let count = unsafe { libc::process_vm_readv(pid, local.as_mut_ptr().cast(), 1, &remote, 1, 0) };
    usize::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack made by hand: frames at the given word indexes, each pointing to the next.
    fn chain(words: &mut [u64], frames: &[usize]) -> u64 {
        let base = words.as_ptr() as u64;
        for (index, &at) in frames.iter().enumerate() {
            let next = frames.get(index + 1).map_or(0, |next| base + *next as u64 * 8);
            words[at] = next;
            words[at + 1] = 0x40_0000 + index as u64;
        }
        base
    }

    #[test]
    fn follows_a_chain_and_ends_at_its_end() {
        let mut words = vec![0_u64; 1024];
        let base = chain(&mut words, &[4, 10, 700]);
        let walked = walk_by_frame_pointers(std::process::id(), 0x1234_5678, base, base + 32);
        assert_eq!(walked, [0x1234_5678, 0x40_0000, 0x40_0001, 0x40_0002]);
    }

    #[test]
    fn refuses_frames_that_fall_stay_or_are_not_aligned() {
        let me = std::process::id();
        let mut words = vec![0_u64; 64];
        let base = chain(&mut words, &[20, 4]);
        assert_eq!(walk_by_frame_pointers(me, 0x5000, base, base + 160).len(), 2);
        words[20] = base + 160;
        assert_eq!(walk_by_frame_pointers(me, 0x5000, base, base + 160).len(), 2);
        assert_eq!(walk_by_frame_pointers(me, 0x5000, base, base + 161), [0x5000]);
        assert_eq!(walk_by_frame_pointers(me, 0x5000, base + 168, base + 160), [0x5000]);
    }

    #[test]
    fn is_bounded() {
        let mut words = vec![0_u64; 4096];
        let frames: Vec<usize> = (0..2000).map(|index| index * 2).collect();
        let base = chain(&mut words, &frames);
        assert_eq!(walk_by_frame_pointers(std::process::id(), 0x5000, base, base).len(), 127);
    }

    #[test]
    fn survives_garbage_registers() {
        let values = [0, 1, 8, 4096, 0x7fff_ffff_f000, 1 << 55, 1 << 63, u64::MAX - 7, u64::MAX];
        for pid in [0, std::process::id(), u32::MAX] {
            for ip in values {
                for sp in values {
                    for bp in values {
                        assert!(walk_by_frame_pointers(pid, ip, sp, bp).len() <= MOST_FRAMES);
                    }
                }
            }
        }
    }

    // Two functions that keep frame pointers, whatever the compiler does elsewhere: the outer one
    // calls the inner one, which calls the function that it was given.
    #[cfg(target_arch = "x86_64")]
    std::arch::global_asm!(
        ".type dwell_test_outer, @function",
        "dwell_test_outer: push rbp",
        "mov rbp, rsp",
        "call dwell_test_inner",
        "pop rbp",
        "ret",
        ".size dwell_test_outer, . - dwell_test_outer",
        ".type dwell_test_inner, @function",
        "dwell_test_inner: push rbp",
        "mov rbp, rsp",
        "call rdi",
        "pop rbp",
        "ret",
        ".size dwell_test_inner, . - dwell_test_inner",
    );

    #[cfg(target_arch = "x86_64")]
    unsafe extern "C" {
        fn dwell_test_outer(function: extern "C" fn() -> *mut u8) -> *mut u8;
    }

    /// Walks the stack of its own thread.
    #[cfg(target_arch = "x86_64")]
    extern "C" fn walk_here() -> *mut u8 {
        let (ip, sp, bp): (u64, u64, u64);
        // SAFETY: only copies registers.
        unsafe {
            std::arch::asm!("lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
                out(reg) ip, out(reg) sp, out(reg) bp, options(nomem, nostack));
        }
        Box::into_raw(Box::new(walk_by_frame_pointers(std::process::id(), ip, sp, bp))).cast()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn walks_real_frames_that_can_be_named() {
        // SAFETY: the function calls what it is given and returns its result, a box given away.
        let walked = *unsafe { Box::from_raw(dwell_test_outer(walk_here).cast::<Vec<u64>>()) };
        let frames = super::super::Symbolizer::new().resolve(std::process::id(), &walked);
        let outer =
            |frame: &&super::super::Frame| frame.function.as_deref() == Some("dwell_test_outer");
        let outer = frames.iter().find(outer);
        // push, mov and call have 1 + 3 + 5 bytes.
        assert_eq!(outer.map(|frame| frame.offset), Some(9), "{frames:#?}");
    }
}
