//! Programs and libraries that are kept open, so that their functions can be named after every
//! process that used them has died.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::clean::clean;
use super::data::{self, Variable};
use super::inspect::{Shape, inspect};
use super::open::path_of;
use super::resolve::Name;
use super::unwind::UnwindTable;
use crate::model::{CodeAddress, CodeFile};

/// Names kept of one module before they are forgotten and looked up anew.
const MOST_NAMES: usize = 65_536;
/// Fewest and most files kept open, whatever this process may open.
const FEWEST_FILES: usize = 32;
const MOST_FILES: usize = 4096;
/// Most bytes of symbols in all files that are kept open together: see `LARGEST_SYMBOLS`.
const MOST_SYMBOLS: u64 = 128 << 20;

/// A file with code that is kept open.
#[derive(Debug)]
pub(super) struct Module {
    file: File,
    /// Base name, safe for a terminal.
    pub name: String,
    /// What it goes by elsewhere; none if it does not tell its build.
    code: Option<Arc<CodeFile>>,
    /// Nothing for what is not ELF.
    pub shape: Option<Shape>,
    /// Its symbols may be read: there is room for them.
    pub may_name: bool,
    /// Separate debug information installed on this machine.
    pub debug_file: Option<PathBuf>,
    /// The symbolizer failed badly on this file and must not see it again.
    pub broken: Cell<bool>,
    /// What was looked up already, by virtual address.
    names: RefCell<HashMap<u64, Rc<[Name]>>>,
    /// Likewise, by rising address.
    variables: OnceCell<Vec<Variable>>,
    /// Read when first asked for; nothing for a file that has none.
    unwind: OnceCell<Option<UnwindTable>>,
}

impl Module {
    /// Takes a file in; also says whether it was refused for its size.
    pub fn new(file: File, path: &[u8]) -> (Self, bool) {
        Self::within(file, path, MOST_SYMBOLS)
    }

    /// The same for a file of which so many bytes of symbols may be read.
    pub fn within(file: File, path: &[u8], room: u64) -> (Self, bool) {
        let shape = inspect(&file);
        let fits = |shape: &Shape| shape.readable && shape.symbols <= room;
        let may_name = shape.as_ref().is_some_and(fits);
        let refused = shape.is_some() && !may_name;
        let debug_file = shape.as_ref().and_then(Shape::find_debug_file);
        let (broken, names) = (Cell::new(false), RefCell::default());
        let (variables, unwind) = (OnceCell::new(), OnceCell::new());
        let name = base_name(path);
        let build_id = shape.as_ref().and_then(|shape| shape.build_id.clone());
        let code = build_id.map(|build_id| Arc::new(CodeFile { path: full_name(path), build_id }));
        let module = Self {
            file,
            name,
            code,
            shape,
            may_name,
            debug_file,
            broken,
            names,
            variables,
            unwind,
        };
        (module, refused)
    }

    /// A virtual address of it, for whoever names it later.
    pub fn code_at(&self, address: u64) -> Option<CodeAddress> {
        Some(CodeAddress { file: Arc::clone(self.code.as_ref()?), address })
    }

    /// The variable in which a virtual address lies.
    pub fn variable_at(&self, address: u64) -> Option<&Variable> {
        data::find(self.variables.get_or_init(|| data::variables(self)), address)
    }

    /// How to get from its functions to their callers.
    pub fn unwind_table(&self) -> Option<&UnwindTable> {
        let read = || UnwindTable::read(&self.file, self.shape.as_ref()?);
        self.unwind.get_or_init(read).as_ref()
    }

    /// Bytes of the symbols that may be read of it.
    pub fn symbols(&self) -> u64 {
        self.shape.as_ref().filter(|_| self.may_name).map_or(0, |shape| shape.symbols)
    }

    /// A path that leads to the file as long as this module lives.
    pub fn path(&self) -> PathBuf {
        path_of(&self.file)
    }

    /// The names at a virtual address, looked up at most once.
    pub fn names_at(&self, address: u64, look_up: impl FnOnce() -> Vec<Name>) -> Rc<[Name]> {
        if let Some(names) = self.names.borrow().get(&address) {
            return Rc::clone(names);
        }
        let names: Rc<[Name]> = look_up().into();
        let mut known = self.names.borrow_mut();
        if known.len() >= MOST_NAMES {
            known.clear();
        }
        known.insert(address, Rc::clone(&names));
        names
    }
}

/// The last part of a file's name, without the kernel's mark for a deleted one.
pub(super) fn base_name(path: &[u8]) -> String {
    let path = without_mark(path);
    clean(path.rsplit(|&byte| byte == b'/').next().unwrap_or(path))
}

/// All of it. A name that is not safe to print is changed, and leads nowhere.
fn full_name(path: &[u8]) -> String {
    clean(without_mark(path))
}

fn without_mark(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

/// All modules, shared among the processes that map them.
#[derive(Debug)]
pub(super) struct Modules {
    /// By device and inode, which cannot be given to another file while this one is open.
    by_inode: HashMap<(u64, u64), Rc<Module>>,
    most: usize,
}

/// What came of taking in a file.
pub(super) struct Admission {
    /// The module, unless there is no room.
    pub module: Option<Rc<Module>>,
    /// A bound was hit: no room, or a file too large to be used.
    pub limit_hit: bool,
    /// Paths that are about to lead elsewhere, to be forgotten.
    pub closed: Vec<Rc<Module>>,
}

impl Modules {
    /// Keeps at most `most` files open.
    pub fn new(most: usize) -> Self {
        Self { by_inode: HashMap::new(), most }
    }

    /// Takes in an open file, or gives the module that it is already.
    pub fn admit(&mut self, file: File, path: &[u8]) -> Admission {
        let mut admission = Admission { module: None, limit_hit: false, closed: Vec::new() };
        let Ok(metadata) = file.metadata() else { return admission };
        let key = (metadata.dev(), metadata.ino());
        if let Some(module) = self.by_inode.get(&key) {
            admission.module = Some(Rc::clone(module));
            return admission;
        }
        if self.by_inode.len() >= self.most {
            admission.closed = self.take_unused();
        }
        if self.by_inode.len() >= self.most {
            admission.limit_hit = true;
            return admission;
        }
        let taken: u64 = self.by_inode.values().map(|module| module.symbols()).sum();
        let (module, refused) = Module::within(file, path, MOST_SYMBOLS.saturating_sub(taken));
        let module = Rc::new(module);
        self.by_inode.insert(key, Rc::clone(&module));
        admission.module = Some(module);
        admission.limit_hit = refused;
        admission
    }

    /// Takes out what no process maps any more.
    fn take_unused(&mut self) -> Vec<Rc<Module>> {
        let unused = self.by_inode.extract_if(|_, module| Rc::strong_count(module) == 1);
        unused.map(|(_, module)| module).collect()
    }
}

/// How many files may be kept open: a quarter of what this process may open, since the symbolizer
/// opens each a second time and others need some as well.
pub(super) fn most_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills in the structure that is given, which outlives the call.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let allowed = if result == 0 { limit.rlim_cur } else { 0 };
    usize::try_from(allowed / 4).unwrap_or(MOST_FILES).clamp(FEWEST_FILES, MOST_FILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_by_their_last_part() {
        assert_eq!(base_name(b"/usr/lib/libc.so.6"), "libc.so.6");
        assert_eq!(base_name(b"/tmp/x\x1b[2J (deleted)"), "x\\x1b[2J");
        assert_eq!(base_name(b"[heap]"), "[heap]");
        assert_eq!(base_name(b""), "");
    }

    #[test]
    fn shares_a_file_and_makes_room_when_full() {
        let open = |path: &str| File::open(path).unwrap();
        let mut modules = Modules::new(1);
        let first = modules.admit(open("/etc/passwd"), b"/etc/passwd").module.unwrap();
        let again = modules.admit(open("/etc/passwd"), b"/other").module.unwrap();
        assert!(Rc::ptr_eq(&first, &again));
        let refused = modules.admit(open("/etc/group"), b"/etc/group");
        assert!(refused.module.is_none() && refused.limit_hit);
        drop((first, again));
        let admitted = modules.admit(open("/etc/group"), b"/etc/group");
        assert!(admitted.module.is_some() && !admitted.limit_hit);
        assert_eq!(admitted.closed.len(), 1);
    }
}
