//! Names of kernel functions, from `/proc/kallsyms`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};

use super::clean::clean;

/// Kernel addresses have the highest bit set.
const LOWEST: u64 = 1 << 63;
/// Farthest from the start of a function that an address can be, in bytes. The list has no sizes,
/// so that the last function before a gap would claim all of it.
const LONGEST_FUNCTION: u64 = 1 << 20;
/// Names kept before they are forgotten and looked up anew.
const MOST_NAMES: usize = 65_536;

/// Names kernel functions; reads the kernel's list once, when first asked.
#[derive(Debug)]
pub(super) struct KernelNames {
    blazesym: Symbolizer,
    source: Source<'static>,
    known: HashMap<u64, Option<(String, u64)>>,
}

impl KernelNames {
    pub fn new() -> Self {
        // Lines and inlined functions of the kernel are not worth reading its debug information.
        let source = Kernel { vmlinux: MaybeDefault::None, debug_syms: false, ..Kernel::default() };
        Self {
            blazesym: Symbolizer::builder()
                .enable_code_info(false)
                .enable_inlined_fns(false)
                .build(),
            source: source.into(),
            known: HashMap::new(),
        }
    }

    /// The function at a kernel address and the distance from its start in bytes; nothing where
    /// the kernel hides its addresses (`kernel.kptr_restrict`) or has no list.
    pub fn look_up(&mut self, address: u64) -> Option<(String, u64)> {
        if address < LOWEST {
            return None;
        }
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        let found = catch_unwind(AssertUnwindSafe(|| self.ask(address))).unwrap_or_default();
        if self.known.len() >= MOST_NAMES {
            self.known.clear();
        }
        self.known.insert(address, found.clone());
        found
    }

    fn ask(&self, address: u64) -> Option<(String, u64)> {
        match self.blazesym.symbolize_single(&self.source, Input::AbsAddr(address)) {
            Ok(Symbolized::Sym(symbol)) if (symbol.offset as u64) < LONGEST_FUNCTION => {
                Some((clean(symbol.name.as_bytes()), symbol.offset as u64))
            }
            _ => None,
        }
    }
}
