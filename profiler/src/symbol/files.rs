//! Names functions and variables of recordings, by files that have the same build ids.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::inspect::inspect;
use super::module::Module;
use super::open::{open_regular, open_stored};
use super::resolve::Resolver;
use crate::model::{BuildId, Nameless, Names};

/// Most bytes of symbols of one file that are read.
const MOST_SYMBOLS: u64 = 128 << 20;
/// Most bytes of names that are given in all: a hostile recording could ask for those of every program here.
const MOST_NAMES: usize = 256 << 20;
/// Most files of one build that are looked at: of a folder, and of paths that were recorded.
const MOST_ALIKE: usize = 16;
/// How deep folders are searched, and how many files in them are looked at.
const DEPTH: u32 = 8;
const MOST_FILES: usize = 200_000;

/// Programs, libraries and files of debug information on this machine.
///
/// Folders that the user names come first, then the files at paths that were recorded, then what is installed in
/// `/usr/lib/debug`. Only files whose build id is the recorded one are used.
#[derive(Debug)]
pub struct SymbolFiles {
    folders: Vec<PathBuf>,
    /// Files in those, once they were needed.
    index: Option<HashMap<BuildId, Vec<PathBuf>>>,
    /// Bytes of names that may still be given.
    room: usize,
}

/// Why a build cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoNames {
    /// No file here has its build id.
    NoFile,
    /// There is one, and its symbols would take more memory than a profiler may use.
    TooLarge,
}

/// A file of the build that is wanted.
struct Candidate {
    module: Module,
    path: PathBuf,
    origin: Origin,
}

/// Where a file was found; those of a later one come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// Where debug information is installed.
    Installed,
    /// At a path that was recorded.
    Stored,
    /// In a folder that the user has named.
    Chosen,
}

impl Candidate {
    /// Its debug information may be read without the caution that files of a target need.
    fn is_trusted(&self) -> bool {
        self.origin != Origin::Stored
    }

    fn has_debug(&self) -> bool {
        self.module.shape.as_ref().is_some_and(|shape| shape.has_debug)
    }
}

impl SymbolFiles {
    /// With folders in which files are looked for, and in those inside; reads none yet.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, index: None, room: MOST_NAMES }
    }

    /// Names what files here can name. None of them is open afterwards.
    ///
    /// # Errors
    /// Why there is no file for it.
    pub fn look_up(&mut self, build: &BuildId, wanted: &Nameless) -> Result<Names, NoNames> {
        let module = self.find(build, &wanted.paths)?;
        let resolver = Resolver::new();
        let mut names = Names::default();
        for &address in &wanted.code {
            let functions = resolver.resolve(&module, address).into_iter();
            let functions: Vec<(String, bool)> =
                functions.map(|name| (name.function, name.inlined)).collect();
            let bytes = functions.iter().map(|(name, _)| name.len()).sum::<usize>();
            let Some(room) = self.room.checked_sub(bytes) else { break };
            self.room = room;
            if !functions.is_empty() {
                names.functions.insert(address, functions);
            }
        }
        for &address in &wanted.data {
            if let Some(variable) = module.variable_at(address) {
                let found = (variable.name.clone(), address - variable.address);
                names.variables.insert(address, found);
            }
        }
        Ok(names)
    }

    /// The first file that can name anything, and of a folder the one that names most, with debug information from
    /// the first that has some. Where the file that was recorded is still there, names are those of a live report.
    fn find(&mut self, build: &BuildId, paths: &BTreeSet<String>) -> Result<Module, NoNames> {
        let mut all = self.candidates(build, paths);
        let debug = all.iter().find(|one| one.is_trusted() && one.has_debug());
        let debug = debug.map(|one| one.path.clone());
        let worth = |one: &Candidate| {
            let symbols = one.module.symbols();
            (one.module.may_name, symbols > 0, one.origin, symbols)
        };
        // Of equals the first.
        let best = (0..all.len()).rev().max_by_key(|&place| worth(&all[place]));
        let mut module = all.swap_remove(best.ok_or(NoNames::NoFile)?).module;
        if !module.may_name {
            return Err(NoNames::TooLarge);
        }
        module.debug_file = debug.or(module.debug_file.take());
        Ok(module)
    }

    fn candidates(&mut self, build: &BuildId, paths: &BTreeSet<String>) -> Vec<Candidate> {
        let folders = &self.folders;
        let index = self.index.get_or_insert_with(|| index(folders));
        let chosen = index.get(build).into_iter().flatten().take(MOST_ALIKE);
        let chosen = chosen.map(|path| (path.clone(), open_regular(path), Origin::Chosen));
        let stored = paths.iter().take(MOST_ALIKE).map(PathBuf::from);
        let stored = stored.map(|path| (path.clone(), open_stored(&path), Origin::Stored));
        let installed = installed(build);
        let installed = (installed.clone(), open_regular(&installed), Origin::Installed);
        let all = chosen.chain(stored).chain([installed]);
        let opened = all.filter_map(|(path, file, origin)| {
            let module = module(file.ok()?, &path, build)?;
            Some(Candidate { module, path, origin })
        });
        opened.collect()
    }
}

fn installed(build: &BuildId) -> PathBuf {
    Path::new(super::inspect::DEBUG_FOLDER).join(format!("{}.debug", build.file_name()))
}

/// The file, if it is of this build.
fn module(file: File, path: &Path, build: &BuildId) -> Option<Module> {
    let name = path.as_os_str().as_encoded_bytes();
    let (module, _too_large) = Module::within(file, name, MOST_SYMBOLS);
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
    inspect(&file)?.build_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CodeAddress;

    /// Where a function of this program lies.
    fn address_of(function: usize) -> CodeAddress {
        let mut symbols = crate::symbol::Symbolizer::new().leaving_files();
        let frames = symbols.resolve(std::process::id(), &[function as u64]);
        assert_eq!(frames.len(), 1);
        frames[0].code.clone().expect("a file with a build id")
    }

    fn names(folders: &[&Path], at: &CodeAddress, paths: &[&str]) -> Result<Names, NoNames> {
        let folders = folders.iter().map(|folder| folder.to_path_buf()).collect();
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let code = [at.address].into();
        let wanted = Nameless { paths, code, ..Nameless::default() };
        SymbolFiles::new(folders).look_up(&at.file.build_id, &wanted)
    }

    #[test]
    fn functions_are_found_by_path_or_folder_if_the_build_is_the_same() {
        let at = address_of(index as *const () as usize);
        let path = at.file.path.clone();
        let found = names(&[], &at, &[&path]);
        let functions = found.as_ref().expect("the file is here").functions.values().next();
        let last = functions.and_then(|functions| functions.last());
        assert!(last.is_some_and(|(name, _)| name.ends_with("index")), "{found:?}");
        // Whichever of the paths it is.
        assert_eq!(names(&[], &at, &["/nothing/here", &path]), found);
        assert_eq!(names(&[], &at, &["/nothing/here"]), Err(NoNames::NoFile));
        let folder = Path::new(&path).parent().expect("a folder");
        assert_eq!(names(&[folder], &at, &["/nothing/here"]), found);
        let build_id = BuildId::parse("0123456789abcdef").expect("a build id");
        let file = crate::model::CodeFile { build_id, path: path.clone() };
        let other = CodeAddress { file: std::sync::Arc::new(file), ..at };
        assert_eq!(names(&[], &other, &[&path]), Err(NoNames::NoFile));
    }

    #[test]
    fn paths_of_a_hostile_recording_lead_nowhere() {
        let at = address_of(index as *const () as usize);
        let own = format!("/proc/{}/exe", std::process::id());
        for path in [
            "/dev/zero",
            "/proc/kmsg",
            "/proc/self/mem",
            "/sys/kernel/notes",
            "/",
            "",
            "exe",
            &own,
            "\0",
        ] {
            let is_exe = path == own;
            // A link in /proc leads to a file that is none of the kernel's.
            assert_eq!(names(&[], &at, &[path]).is_ok(), is_exe, "{path}");
        }
    }
}
