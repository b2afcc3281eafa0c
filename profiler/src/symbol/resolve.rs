//! Names the functions at an address of an ELF file, by its symbols and debug information.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use blazesym::symbolize::evict::{self, Evict};
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

use super::clean::clean;
use super::demangle::demangle;
use super::module::Module;

/// Most functions given for one address: inlining nests that deep only in a hostile file.
const MOST_INLINED: usize = 64;

/// One function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Demangled.
    pub function: String,
    /// Bytes from the start of the function as it is in memory; inlined functions share it.
    pub offset: u64,
    /// The function has no code of its own here: it was inlined into the next.
    pub inlined: bool,
    /// Source file and line.
    pub file_line: Option<(String, u32)>,
}

/// Reads ELF files; keeps what it has parsed.
#[derive(Debug)]
pub(super) struct Resolver {
    blazesym: Symbolizer,
}

impl Resolver {
    pub fn new() -> Self {
        // Names are demangled here, within bounds.
        Self { blazesym: Symbolizer::builder().enable_demangling(false).build() }
    }

    /// The functions at a virtual address of a module, innermost first; none if it has no name.
    pub fn resolve(&self, module: &Module, address: u64) -> Vec<Name> {
        let Some(shape) = module.shape.as_ref().filter(|_| module.may_name && !module.broken.get())
        else {
            return Vec::new();
        };
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let separate = module.debug_file.as_deref();
            separate
                .and_then(|path| self.look_up(path, true, address))
                .or_else(|| {
                    shape.debug.then(|| self.look_up(&module.path(), true, address)).flatten()
                })
                .or_else(|| self.look_up(&module.path(), false, address))
        }));
        attempt
            .unwrap_or_else(|_| {
                module.broken.set(true);
                None
            })
            .unwrap_or_default()
    }

    /// Forgets a module that is about to be closed.
    pub fn forget(&mut self, module: &Module) {
        let paths = [Some(module.path()), module.debug_file.clone()];
        for path in paths.into_iter().flatten() {
            // It fails only if there is nothing to forget.
            let _ = self.blazesym.evict(&Evict::Elf(evict::Elf::new(path)));
        }
    }

    fn look_up(&self, path: &Path, debug: bool, address: u64) -> Option<Vec<Name>> {
        let mut elf = Elf::new(path);
        elf.debug_syms = debug;
        match self.blazesym.symbolize_single(&Source::from(elf), Input::VirtOffset(address)) {
            Ok(Symbolized::Sym(symbol)) if !symbol.name.is_empty() => Some(to_names(&symbol)),
            _ => None,
        }
    }
}

/// Lists the functions of a symbol, innermost first.
fn to_names(symbol: &Sym<'_>) -> Vec<Name> {
    let offset = symbol.offset as u64;
    let inlined = symbol.inlined.iter().rev().take(MOST_INLINED).map(|inlined| Name {
        function: demangle(&inlined.name),
        offset,
        inlined: true,
        file_line: inlined.code_info.as_ref().and_then(to_file_line),
    });
    let itself = Name {
        function: demangle(&symbol.name),
        offset,
        inlined: false,
        file_line: symbol.code_info.as_deref().and_then(to_file_line),
    };
    inlined.chain([itself]).collect()
}

fn to_file_line(code: &CodeInfo<'_>) -> Option<(String, u32)> {
    Some((clean(code.to_path().as_os_str().as_encoded_bytes()), code.line?))
}
