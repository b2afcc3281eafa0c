//! Names functions and variables of recordings, by files that have the same build ids.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::inspect::inspect;
use super::module::Module;
use super::open::open_regular;
use super::resolve::Resolver;
use crate::model::{BuildId, CodeAddress, CodeFile};

/// Most bytes of symbols of all files together that are read for a recording.
const MOST_SYMBOLS: u64 = 512 << 20;
/// How deep folders are searched, and how many files in them are looked at.
const DEPTH: u32 = 8;
const MOST_FILES: usize = 200_000;

/// Programs, libraries and files of debug information on this machine.
///
/// Folders that the user names come first, then the file at the path that was recorded, then what is
/// installed in `/usr/lib/debug`. Only files whose build id is the recorded one are used: what is
/// recorded can lead to wrong files, but not to wrong names.
#[derive(Debug)]
pub struct SymbolFiles {
    folders: Vec<PathBuf>,
    /// Files in those, once they were needed.
    index: Option<HashMap<BuildId, Vec<PathBuf>>>,
    modules: HashMap<BuildId, Option<Rc<Module>>>,
    resolver: Resolver,
    /// Bytes of symbols that may still be read.
    room: u64,
}

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFunction {
    /// Demangled, safe for a terminal.
    pub name: String,
    /// Inlined into the next one.
    pub inlined: bool,
}

/// A variable at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedVariable {
    /// Demangled, safe for a terminal.
    pub name: String,
    /// Bytes from its start to the address.
    pub offset: u64,
}

impl SymbolFiles {
    /// With folders in which files are looked for at any depth; reads none yet.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            index: None,
            modules: HashMap::new(),
            resolver: Resolver::new(),
            room: MOST_SYMBOLS,
        }
    }

    /// Whether there is a file of this build.
    pub fn has(&mut self, file: &CodeFile) -> bool {
        self.module(file).is_some()
    }

    /// The functions at an address, innermost first; none where no file names them.
    pub fn functions(&mut self, code: &CodeAddress) -> Vec<NamedFunction> {
        let Some(module) = self.module(&code.file) else { return Vec::new() };
        let look_up = || self.resolver.resolve(&module, code.address);
        let names = module.names_at(code.address, look_up);
        let named = |name: &super::Name| NamedFunction {
            name: name.function.clone(),
            inlined: name.inlined,
        };
        names.iter().map(named).collect()
    }

    /// The variable at an address; none where no file names it.
    pub fn variable(&mut self, code: &CodeAddress) -> Option<NamedVariable> {
        let module = self.module(&code.file)?;
        let variable = module.variable_at(code.address)?;
        let offset = code.address - variable.address;
        Some(NamedVariable { name: variable.name.clone(), offset })
    }

    fn module(&mut self, file: &CodeFile) -> Option<Rc<Module>> {
        if let Some(known) = self.modules.get(&file.build_id) {
            return known.clone();
        }
        let found = self.find(file).map(Rc::new);
        self.room = self.room.saturating_sub(found.as_ref().map_or(0, |module| module.symbols()));
        self.modules.insert(file.build_id.clone(), found.clone());
        found
    }

    /// The file that names most.
    fn find(&mut self, file: &CodeFile) -> Option<Module> {
        let folders = &self.folders;
        let index = self.index.get_or_insert_with(|| index(folders));
        // Those the user has chosen may be read without the caution that files of a target need.
        let chosen = index.get(&file.build_id).into_iter().flatten().map(|path| (path, true));
        let recorded = PathBuf::from(&file.path);
        let installed = installed(&file.build_id);
        let others = [(&recorded, false), (&installed, true)];
        let modules = chosen.chain(others).filter_map(|(path, is_trusted)| {
            let mut module = open(path, &file.build_id, self.room)?;
            let separate = is_trusted.then(|| path.clone());
            module.debug_file = module.debug_file.take().or(separate);
            Some(module)
        });
        // Of equals the first.
        modules.fold(None, |best: Option<Module>, module| match best {
            Some(best) if best.symbols() >= module.symbols() => Some(best),
            _ => Some(module),
        })
    }
}

fn installed(build: &BuildId) -> PathBuf {
    Path::new(super::inspect::DEBUG_FOLDER).join(format!("{}.debug", build.file_name()))
}

/// A file, if it is of this build and can name anything.
fn open(path: &Path, build: &BuildId, room: u64) -> Option<Module> {
    let file = open_regular(path).ok()?;
    let name = path.as_os_str().as_encoded_bytes();
    let (module, _too_large) = Module::within(file, name, room);
    let is_it = module.shape.as_ref().is_some_and(|shape| shape.build_id.as_ref() == Some(build));
    is_it.then_some(module)
}

/// All files in these folders, and in those inside, by build id.
fn index(folders: &[PathBuf]) -> HashMap<BuildId, Vec<PathBuf>> {
    let mut index: HashMap<BuildId, Vec<PathBuf>> = HashMap::new();
    let mut seen = 0;
    let mut open: Vec<(PathBuf, u32)> = folders.iter().map(|folder| (folder.clone(), 0)).collect();
    while let Some((folder, depth)) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST_FILES {
                return index;
            }
            // Links to folders could lead round in a circle; those to files are followed.
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < DEPTH {
                    open.push((path, depth + 1));
                }
            } else if let Some(build) = open_regular(&path).ok().and_then(build_of) {
                index.entry(build).or_default().push(path);
            }
        }
    }
    index.values_mut().for_each(|paths| paths.sort());
    index
}

fn build_of(file: File) -> Option<BuildId> {
    inspect(&file).ok()?.build_id
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// This program, of which the tests know a function.
    fn this_program() -> (CodeFile, PathBuf) {
        let path = std::env::current_exe().unwrap();
        let build_id = build_of(File::open(&path).unwrap()).unwrap();
        (CodeFile { path: path.display().to_string(), build_id }, path)
    }

    /// Where a function lies, by the maps of this process.
    fn address_of(function: usize, path: &Path) -> u64 {
        let mut symbols = crate::symbol::Symbolizer::new().leaving_files();
        let frames = symbols.resolve(std::process::id(), &[function as u64]);
        let code = frames[0].code.clone().expect("a file with a build id");
        assert_eq!((frames.len(), code.file.path.as_str()), (1, path.to_str().unwrap()));
        code.address
    }

    #[test]
    fn functions_are_found_by_path_or_folder_if_the_build_is_the_same() {
        let (file, path) = this_program();
        let address = address_of(index as *const () as usize, &path);
        let at = |file: &CodeFile| CodeAddress { file: Arc::new(file.clone()), address };
        let names = |folders: &[&Path], file: &CodeFile| {
            let folders = folders.iter().map(|folder| folder.to_path_buf()).collect();
            SymbolFiles::new(folders).functions(&at(file))
        };
        let found = names(&[], &file);
        assert!(
            found.last().is_some_and(|found| found.name.ends_with("files::index")),
            "{found:?}"
        );
        let lost = CodeFile { path: "/nothing/here".to_owned(), ..file.clone() };
        assert_eq!(names(&[], &lost), []);
        assert_eq!(names(&[path.parent().unwrap()], &lost), found);
        let other = CodeFile { build_id: BuildId::parse("0123456789abcdef").unwrap(), ..file };
        assert_eq!(names(&[], &other), []);
    }

    #[test]
    fn paths_of_a_hostile_recording_lead_nowhere() {
        let (file, _) = this_program();
        for path in ["/dev/zero", "/proc/self/mem", "/", "", "/etc/passwd", "\0"] {
            let code = CodeFile { path: path.to_owned(), ..file.clone() };
            assert!(!SymbolFiles::new(Vec::new()).has(&code), "{path}");
        }
    }
}
