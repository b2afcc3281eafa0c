//! What a stack shows of an address.

use super::resolve::Name;
use crate::model::CodeAddress;

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Demangled name, safe for a terminal; nothing if the address has no name.
    pub function: Option<String>,
    /// Base name of the program or library, or `[vdso]`, `[jit]`, `[kernel]`; nothing if unknown.
    pub module: Option<String>,
    /// Bytes from the start of the function to the address; without a function, from the start
    /// of the module. An inlined function has no start: it gets the offset in the function that
    /// it was inlined into.
    pub offset: u64,
    /// The address as it was given.
    pub address: u64,
    /// The function was inlined into that of the next frame, which has the same address.
    pub inlined: bool,
    /// Source file and line, where debug information has them.
    pub file_line: Option<(String, u32)>,
    /// Without a function: where the code lies, for whoever names it later.
    pub code: Option<CodeAddress>,
}

impl Frame {
    /// A frame without any name.
    pub(super) fn unknown(address: u64) -> Self {
        Self {
            function: None,
            module: None,
            offset: 0,
            address,
            inlined: false,
            file_line: None,
            code: None,
        }
    }

    /// A frame of which only the module is known.
    pub(super) fn in_module(address: u64, module: &str, offset: u64) -> Self {
        Self { module: Some(module.to_owned()), offset, ..Self::unknown(address) }
    }

    /// A frame of a named function.
    pub(super) fn in_function(address: u64, module: &str, name: Name) -> Self {
        Self {
            function: Some(name.function),
            module: Some(module.to_owned()),
            offset: name.offset,
            address,
            inlined: name.inlined,
            file_line: name.file_line,
            code: None,
        }
    }
}
