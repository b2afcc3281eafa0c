//! Walks a blocked thread's user stack from outside, by the same rows as the probes do.

use std::cell::OnceCell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use profiler_common::unwind::{
    Position, RULE_AT_BP, RULE_BP, RULE_ENTRY, RULE_SIGNAL, RULE_SP, Row, SIGNAL_BP, SIGNAL_IP,
    SIGNAL_SP, TALLEST_FRAME,
};
use profiler_common::wait::STACK_DEPTH;

/// Bytes copied from the target at a time; a window never crosses a page of this size.
const WINDOW: u64 = 4096;

/// A stack that is being walked.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Where the innermost frame that is not known yet stands.
    pub position: Position,
    /// Whether it stands there, or was interrupted there; else it returns there.
    pub exact: bool,
}

/// What came of a walk.
#[derive(Debug, Default)]
pub struct Walk {
    /// The frames from the start on, innermost first, the start included.
    pub addresses: Vec<u64>,
    /// The function was reached in which the thread began.
    pub complete: bool,
    /// The rows that it took, by address in the code.
    pub rows: Vec<(u64, Row)>,
}

/// Walks on from `start` with at most `most` frames; `row_at` knows the code, or does not yet, and `stack` the memory.
pub(super) fn walk(
    start: Start,
    most: usize,
    stack: &mut StackMemory<'_>,
    mut row_at: impl FnMut(u64) -> Option<Row>,
) -> Walk {
    let mut walk = Walk::default();
    let mut at = start;
    while walk.addresses.len() < most.min(STACK_DEPTH) {
        let ip = at.position.ip;
        walk.addresses.push(ip);
        let address = if at.exact { ip } else { ip.wrapping_sub(1) };
        let Some(row) = row_at(address) else { break };
        walk.rows.push((address, row));
        match step(at, row, stack) {
            Step::Caller(caller) => at = caller,
            Step::Entry => {
                walk.complete = true;
                break;
            }
            Step::Lost => break,
        }
    }
    walk
}

enum Step {
    Caller(Start),
    Entry,
    Lost,
}

/// From a frame to its caller's. `profiler-ebpf/src/unwind.rs` takes the same steps.
fn step(at: Start, row: Row, stack: &mut StackMemory<'_>) -> Step {
    let Position { sp, bp, .. } = at.position;
    match row.rule {
        RULE_ENTRY => return Step::Entry,
        RULE_SIGNAL => return signal(sp, stack).map_or(Step::Lost, Step::Caller),
        // By convention the outermost frame has a frame pointer of zero.
        RULE_BP | RULE_AT_BP if bp == 0 => return Step::Entry,
        _ => {}
    }
    match caller(at.position, row, stack) {
        // The first frame of a thread returns to nowhere.
        Some(caller) if caller.ip == 0 => Step::Entry,
        Some(position) => Step::Caller(Start { position, exact: false }),
        None => Step::Lost,
    }
}

fn caller(at: Position, row: Row, stack: &mut StackMemory<'_>) -> Option<Position> {
    let offset = i64::from(row.offset);
    let frame = match row.rule {
        RULE_SP => at.sp.wrapping_add_signed(offset),
        RULE_BP => at.bp.wrapping_add_signed(offset),
        RULE_AT_BP => stack.word(at.bp.wrapping_add_signed(offset))?,
        _ => return None,
    };
    let height = frame.wrapping_sub(at.sp);
    if height == 0 || height > TALLEST_FRAME {
        return None;
    }
    let bp = match row {
        Row { rule: RULE_AT_BP, .. } => stack.word(at.bp)?,
        Row { saved_bp: 0, .. } => at.bp,
        Row { saved_bp, .. } => stack.word(frame.wrapping_add_signed(i64::from(saved_bp)))?,
    };
    Some(Position { ip: stack.word(frame.wrapping_sub(8))?, sp: frame, bp })
}

fn signal(sp: u64, stack: &mut StackMemory<'_>) -> Option<Start> {
    let mut register = |place| stack.word(sp.wrapping_add(place));
    let position =
        Position { ip: register(SIGNAL_IP)?, sp: register(SIGNAL_SP)?, bp: register(SIGNAL_BP)? };
    Some(Start { position, exact: true })
}

/// The memory of a blocked thread: a copy of a part of it, or else the memory itself.
pub struct StackMemory<'a> {
    /// Any thread of the process.
    thread: u32,
    /// A copy, and where it begins.
    copy: (u64, &'a [u8]),
    /// Opened when first needed.
    memory: OnceCell<Option<File>>,
    /// Where the window starts, and how many of its bytes are known.
    window: Option<(u64, usize)>,
    bytes: Box<[u8; WINDOW as usize]>,
}

impl<'a> StackMemory<'a> {
    /// The memory of a living thread.
    pub fn of(thread: u32) -> Self {
        Self::with_copy(thread, 0, &[])
    }

    /// A copy of what lay at `address`, and the memory of the thread for all else.
    pub fn with_copy(thread: u32, address: u64, copy: &'a [u8]) -> Self {
        let bytes = Box::new([0; WINDOW as usize]);
        Self { thread, copy: (address, copy), memory: OnceCell::new(), window: None, bytes }
    }

    /// The word at an address, or nothing where the memory cannot be read.
    pub fn word(&mut self, address: u64) -> Option<u64> {
        let (from, copy) = self.copy;
        if let Some(offset) = address.checked_sub(from)
            && let Some(word) = word_at(copy, offset)
        {
            return Some(word);
        }
        let start = address - address % WINDOW;
        if self.window.is_none_or(|(known, _)| known != start) {
            let count = self.read_window(start);
            self.window = Some((start, count));
        }
        let (_, count) = self.window?;
        word_at(self.bytes.get(..count)?, address - start)
    }
}

impl StackMemory<'_> {
    /// Copies a window of the thread's memory; gives the number of bytes copied, 0 where that failed.
    ///
    /// Not by process_vm_readv(2), which waits for a page that is not there: where the target
    /// handles its page faults itself (userfaultfd(2)) that is for good. `/proc/PID/mem` gives an
    /// error then.
    fn read_window(&mut self, start: u64) -> usize {
        let path = || format!("/proc/{}/mem", self.thread);
        let memory = self.memory.get_or_init(|| File::open(path()).ok());
        memory
            .as_ref()
            .and_then(|memory| memory.read_at(&mut self.bytes[..], start).ok())
            .unwrap_or(0)
    }
}

fn word_at(bytes: &[u8], offset: u64) -> Option<u64> {
    let word = bytes.get(usize::try_from(offset).ok()?..)?.first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::super::unwind::{FRAME_POINTER, UNKNOWN};
    use super::*;

    /// Walks a stack made by hand: `words` lie at 0x1000, and the code keeps frame pointers.
    fn walk_words(words: &[u64], position: Position, most: usize) -> Walk {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut stack = StackMemory::with_copy(0, 0x1000, &bytes);
        walk(Start { position, exact: true }, most, &mut stack, |address| match address {
            0x40_0000..0x50_0000 => Some(FRAME_POINTER),
            0x60_0000..0x70_0000 => None,
            _ => Some(UNKNOWN),
        })
    }

    fn chain(frames: &[u64]) -> Vec<u64> {
        let mut words = vec![0; 512];
        for (index, &at) in frames.iter().enumerate() {
            let word = usize::try_from(at).unwrap();
            words[word] = frames.get(index + 1).map_or(0, |next| 0x1000 + next * 8);
            words[word + 1] = 0x40_0001 + index as u64;
        }
        words
    }

    #[test]
    fn follows_a_chain_to_the_outermost_frame() {
        let position = Position { ip: 0x40_1000, sp: 0x1000, bp: 0x1020 };
        let walked = walk_words(&chain(&[4, 10, 500]), position, 127);
        assert_eq!(walked.addresses, [0x40_1000, 0x40_0001, 0x40_0002, 0x40_0003]);
        assert!(walked.complete);
        let taken: Vec<u64> = walked.rows.iter().map(|(address, _)| *address).collect();
        assert_eq!(taken, [0x40_1000, 0x40_0000, 0x40_0001, 0x40_0002]);
    }

    #[test]
    fn ends_early_where_frames_fall_or_nobody_knows_the_code() {
        let position = Position { ip: 0x40_1000, sp: 0x1000, bp: 0x10a0 };
        let falling = walk_words(&chain(&[20, 4]), position, 127);
        assert_eq!((falling.addresses.len(), falling.complete), (2, false));
        let unknown = walk_words(&chain(&[20]), Position { ip: 0x10, ..position }, 127);
        assert_eq!((unknown.addresses, unknown.complete), (vec![0x10], false));
        assert_eq!(unknown.rows, [(0x10, UNKNOWN)]);
        // What may be known later is no row: the probes would never ask again.
        let later = walk_words(&chain(&[20]), Position { ip: 0x60_0000, ..position }, 127);
        assert_eq!((later.addresses, later.rows), (vec![0x60_0000], vec![]));
    }

    #[test]
    fn is_bounded() {
        let frames: Vec<u64> = (0..200).map(|index| index * 2).collect();
        let position = Position { ip: 0x40_1000, sp: 0xff8, bp: 0x1000 };
        assert_eq!(walk_words(&chain(&frames), position, 5).addresses.len(), 5);
        assert_eq!(walk_words(&chain(&frames), position, 9999).addresses.len(), STACK_DEPTH);
    }

    #[test]
    fn survives_garbage_registers_and_rows() {
        let values = [0, 1, 8, 4096, 0x7fff_ffff_f000, 1 << 63, u64::MAX - 7, u64::MAX];
        for (sp, bp) in values.into_iter().flat_map(|sp| values.map(|bp| (sp, bp))) {
            for rule in 0..8 {
                for offset in [i32::MIN, -8, 0, 16, i32::MAX] {
                    let row = Row { offset, saved_bp: -16, rule, reserved: 0 };
                    let start = Start { position: Position { ip: 1, sp, bp }, exact: true };
                    let mut stack = StackMemory::of(std::process::id());
                    walk(start, 127, &mut stack, |_| Some(row));
                }
            }
        }
    }
}
