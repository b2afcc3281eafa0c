//! How to get from a function to its caller, by what compilers write into `.eh_frame`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice,
    FrameDescriptionEntry, LittleEndian, Reader as _, RegisterRule, UnwindContext,
    UnwindSection as _, UnwindTableRow, X86_64,
};
use profiler_common::unwind::{
    RULE_AT_BP, RULE_BP, RULE_ENTRY, RULE_SIGNAL, RULE_SP, RULE_UNKNOWN, Row,
};

use super::inspect::{Section, Shape};

/// Largest table that is read; that of a browser has some 20 MiB.
const LARGEST_TABLE: u64 = 64 << 20;
/// Longest description of one function; each look-up reads up to all of it.
const LONGEST_ENTRY: usize = 1 << 20;
/// Rows kept of one module before they are forgotten and looked up anew.
const MOST_ROWS: usize = 65_536;

/// Bytes of a return address, which a call leaves right below the frame address.
const RETURN_ADDRESS: i64 = -8;

/// Nobody knows how to go on.
pub(super) const UNKNOWN: Row = Row { offset: 0, saved_bp: 0, rule: RULE_UNKNOWN, reserved: 0 };

/// The convention of code that keeps frame pointers, for code that has no table: that of
/// just-in-time compilers, and of Go.
pub(super) const FRAME_POINTER: Row = Row { offset: 16, saved_bp: -16, rule: RULE_BP, reserved: 0 };

/// The table of one module.
#[derive(Debug)]
pub(super) struct UnwindTable {
    frames: Vec<u8>,
    index: Index,
    bases: BaseAddresses,
    rows: RefCell<HashMap<u64, Row>>,
}

/// What the table is read as.
type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// Where in the table the entry of an address is.
#[derive(Debug)]
enum Index {
    /// As the linker has written it down (`.eh_frame_hdr`).
    Linked(Vec<u8>),
    /// By rising address: that of a statically linked program has none.
    Listed(Vec<Listed>),
}

/// An entry of the table: the addresses that it is for, and where it is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    start: u64,
    end: u64,
    place: usize,
}

impl UnwindTable {
    /// Reads the table of a file; nothing where it has none that can be used.
    pub fn read(file: &File, shape: &Shape) -> Option<Self> {
        let section = shape.eh_frame.as_ref()?;
        let frames = contents(file, section)?;
        let bases = BaseAddresses::default().set_eh_frame(section.address);
        let (index, bases) = match shape.eh_frame_hdr.as_ref() {
            Some(index) => {
                (Index::Linked(contents(file, index)?), bases.set_eh_frame_hdr(index.address))
            }
            None => {
                let listed = catch_unwind(AssertUnwindSafe(|| list(&frames, &bases)));
                (Index::Listed(listed.unwrap_or_default()), bases)
            }
        };
        Some(Self { frames, index, bases, rows: RefCell::default() })
    }

    /// The row at a virtual address of the module; nothing for code that the table does not cover.
    pub fn row_at(&self, address: u64) -> Option<Row> {
        if let Some(row) = self.rows.borrow().get(&address) {
            return (*row != UNCOVERED).then_some(*row);
        }
        // The file is the target's, and gimli is not asked to vouch for every one.
        let found = catch_unwind(AssertUnwindSafe(|| self.look_up(address))).unwrap_or(None);
        let mut rows = self.rows.borrow_mut();
        if rows.len() >= MOST_ROWS {
            rows.clear();
        }
        rows.insert(address, found.unwrap_or(UNCOVERED));
        found
    }

    fn look_up(&self, address: u64) -> Option<Row> {
        let frames = EhFrame::new(&self.frames, LittleEndian);
        let entry = self.entry_of(&frames, address)?;
        if entry.entry_len() > LONGEST_ENTRY {
            return None;
        }
        if entry.is_signal_trampoline() {
            return Some(Row { rule: RULE_SIGNAL, ..UNKNOWN });
        }
        let mut context = UnwindContext::new();
        let row =
            entry.unwind_info_for_address(&frames, &self.bases, &mut context, address).ok()?;
        Some(self.translate(row).unwrap_or(UNKNOWN))
    }

    fn entry_of<'a>(
        &'a self,
        frames: &EhFrame<Reader<'a>>,
        address: u64,
    ) -> Option<FrameDescriptionEntry<Reader<'a>>> {
        match &self.index {
            Index::Linked(index) => {
                let index = EhFrameHdr::new(index, LittleEndian).parse(&self.bases, 8).ok()?;
                let table = index.table()?;
                table.fde_for_address(frames, &self.bases, address, EhFrame::cie_from_offset).ok()
            }
            Index::Listed(listed) => {
                let after = listed.partition_point(|entry| entry.start <= address);
                let found = listed[..after].last().filter(|entry| address < entry.end)?;
                let place = EhFrameOffset(found.place);
                frames.fde_from_offset(&self.bases, place, EhFrame::cie_from_offset).ok()
            }
        }
    }

    fn translate(&self, row: &UnwindTableRow<usize>) -> Option<Row> {
        let (rule, offset) = self.frame_address(row.cfa())?;
        match row.register(X86_64::RA) {
            Some(RegisterRule::Offset(RETURN_ADDRESS)) => {}
            // So the outermost functions are marked.
            Some(RegisterRule::Undefined) => return Some(Row { rule: RULE_ENTRY, ..UNKNOWN }),
            _ => return None,
        }
        let saved_bp = match row.register(X86_64::RBP) {
            // A realigned frame keeps the caller's where its own frame pointer points to.
            Some(RegisterRule::Expression(place)) if rule == RULE_AT_BP => {
                (self.at_bp(&place, false)? == 0).then_some(0)?
            }
            _ if rule == RULE_AT_BP => return None,
            Some(RegisterRule::Offset(place)) => i16::try_from(place).ok()?,
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => 0,
            _ => return None,
        };
        Some(Row { offset, saved_bp, rule, reserved: 0 })
    }

    fn frame_address(&self, rule: &CfaRule<usize>) -> Option<(u8, i32)> {
        match rule {
            CfaRule::RegisterAndOffset { register, offset } => {
                let rule = match *register {
                    X86_64::RSP => RULE_SP,
                    X86_64::RBP => RULE_BP,
                    _ => return None,
                };
                Some((rule, i32::try_from(*offset).ok()?))
            }
            CfaRule::Expression(place) => Some((RULE_AT_BP, self.at_bp(place, true)?)),
        }
    }

    /// The distance from the frame pointer, for an expression that says `bp + distance`, followed
    /// by `deref` where that is asked for.
    fn at_bp(&self, place: &gimli::UnwindExpression<usize>, deref: bool) -> Option<i32> {
        let frames = EhFrame::new(&self.frames, LittleEndian);
        let mut code = place.get(&frames).ok()?.0;
        if code.read_u8().ok()? != gimli::DW_OP_breg6.0 {
            return None;
        }
        let distance = i32::try_from(code.read_sleb128().ok()?).ok()?;
        if deref && code.read_u8().ok()? != gimli::DW_OP_deref.0 {
            return None;
        }
        code.is_empty().then_some(distance)
    }
}

/// The entries of a table without an index, one after the other.
fn list(frames: &[u8], bases: &BaseAddresses) -> Vec<Listed> {
    let frames = EhFrame::new(frames, LittleEndian);
    let mut entries = frames.entries(bases);
    let mut listed = Vec::new();
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(entry) = entry else { continue };
        let Ok(entry) = entry.parse(EhFrame::cie_from_offset) else { continue };
        let (start, end) = (entry.initial_address(), entry.end_address());
        listed.push(Listed { start, end, place: entry.offset() });
    }
    listed.sort();
    listed
}

/// In the memory of rows: the table does not cover this address.
const UNCOVERED: Row = Row { offset: i32::MIN, ..UNKNOWN };

fn contents(file: &File, section: &Section) -> Option<Vec<u8>> {
    if section.size > LARGEST_TABLE {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(section.size).ok()?];
    file.read_exact_at(&mut bytes, section.offset).ok()?;
    Some(bytes)
}
