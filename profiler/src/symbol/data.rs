//! What lies at an address of a process's data: a variable, the heap, shared memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use blazesym::SymType;
use blazesym::inspect::source::{Elf, Source};
use blazesym::inspect::{Inspector, SymInfo};

use super::clean::clean;
use super::demangle::demangle;
use super::maps::{Backing, DataRegion, find_process};
use super::module::{Module, base_name};
use super::{Process, Symbolizer};
use crate::model::Place;

/// A variable of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Variable {
    /// Virtual address.
    pub address: u64,
    pub size: u64,
    /// Demangled.
    pub name: String,
}

/// Most variables kept of a file.
const MOST_VARIABLES: usize = 1 << 18;

/// The variables of a file by rising address; none where it names none, or the symbolizer failed on
/// it.
pub(super) fn variables(module: &Module) -> Vec<Variable> {
    if !module.may_name || module.broken.get() {
        return Vec::new();
    }
    let read = || {
        // A stripped library still names the few that others use.
        let mut all = variables_of(&module.path());
        all.extend(module.debug_file.iter().flat_map(|separate| variables_of(separate)));
        all
    };
    let mut variables = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        module.broken.set(true);
        Vec::new()
    });
    variables.sort();
    variables.dedup();
    variables
}

fn variables_of(path: &Path) -> Vec<Variable> {
    let mut variables = Vec::new();
    let mut elf = Elf::new(path);
    // Of variables, debug information says nothing that the symbols do not.
    elf.debug_syms = false;
    let _unreadable = Inspector::new().for_each(&Source::Elf(elf), |symbol: &SymInfo<'_>| {
        if symbol.sym_type == SymType::Variable && symbol.addr != 0 {
            variables.push(Variable {
                address: symbol.addr,
                size: symbol.size.unwrap_or(0) as u64,
                name: demangle(&symbol.name),
            });
        }
        if variables.len() < MOST_VARIABLES {
            std::ops::ControlFlow::Continue(())
        } else {
            std::ops::ControlFlow::Break(())
        }
    });
    variables
}

/// The variable in which a virtual address lies.
pub(super) fn find(variables: &[Variable], address: u64) -> Option<&Variable> {
    let after = variables.partition_point(|variable| variable.address <= address);
    let before = variables[..after].iter().rev();
    // Several names can share an address, and one without a size says nothing.
    before
        .take_while(|variable| address - variable.address < 1 << 20)
        .find(|variable| address - variable.address < variable.size)
}

/// What a region says about an address in it by itself; none where a file has to be asked.
pub(super) fn place_in(region: &DataRegion, address: u64) -> Option<Place> {
    if region.shared {
        return Some(Place::Shared {
            path: clean(&region.path),
            file: (region.device, region.inode),
            offset: region.offset + (address - region.start),
        });
    }
    match &*region.path {
        b"[heap]" => Some(Place::Heap),
        b"[stack]" => Some(Place::Stack),
        _ if region.inode != 0 => None,
        _ => Some(Place::Anonymous),
    }
}

impl Symbolizer {
    /// What lies at an address of a process's data; none where nothing is known of it.
    pub fn place(&mut self, pid: u32, address: u64) -> Option<Place> {
        self.look_for_data(pid, address);
        let process = self.processes.get(&pid)?;
        let region = process.regions.find_data(address)?;
        if let Some(place) = place_in(region, address) {
            return Some(place);
        }
        let name = base_name(&region.path);
        let unnamed = Place::Module {
            module: name.clone(),
            offset: region.offset + (address - region.start),
            code: None,
        };
        let Some(code) = process.regions.code_of(region.inode) else { return Some(unnamed) };
        let Backing::File(module) = &code.backing else { return Some(unnamed) };
        let bias = module.shape.as_ref().and_then(|shape| {
            let bias = shape.bias(code.start, code.offset, code.end - code.start)?;
            Some((bias, shape.start()))
        });
        let Some((bias, start)) = bias else { return Some(unnamed) };
        let target = address.wrapping_sub(bias);
        let variable = if self.leaves_files { None } else { module.variable_at(target) };
        Some(match variable {
            Some(variable) => Place::Variable {
                module: name,
                name: variable.name.clone(),
                offset: target - variable.address,
            },
            None => Place::Module {
                module: name,
                offset: target.saturating_sub(start),
                code: module.code_at(target),
            },
        })
    }

    /// Sees to it that the region of some data is known, and its file open, where the process still
    /// lives.
    fn look_for_data(&mut self, pid: u32, address: u64) {
        let is_known = |process: &Process| {
            let region = process.regions.find_data(address);
            let code = region.and_then(|region| process.regions.code_of(region.inode));
            region.is_some() && !code.is_some_and(|code| matches!(code.backing, Backing::Unopened))
        };
        // Asking the system for each of a hundred thousand futexes takes seconds.
        if self.processes.get(&pid).is_some_and(is_known) || !self.is_same_process(pid, false) {
            return;
        }
        let folder = find_process(pid);
        let known = |process: &Process| process.regions.find_data(address).is_some();
        let may_read = self.processes.get(&pid).is_some_and(Process::may_be_read);
        if may_read && !self.processes.get(&pid).is_some_and(known) {
            self.read_regions(pid, &folder);
        }
        let Some(process) = self.processes.get(&pid) else { return };
        let inode = process.regions.find_data(address).map_or(0, |region| region.inode);
        let code = if inode == 0 { None } else { process.regions.code_of(inode) };
        if let Some(start) = code.map(|code| code.start) {
            self.open_region(pid, &folder, start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(address: u64, size: u64, name: &str) -> Variable {
        Variable { address, size, name: name.to_owned() }
    }

    #[test]
    fn the_innermost_variable_with_a_size_is_found() {
        let all = [variable(16, 64, "whole"), variable(32, 8, "part"), variable(36, 0, "label")];
        assert_eq!(find(&all, 36).map(|found| &*found.name), Some("part"));
        assert_eq!(find(&all, 44).map(|found| &*found.name), Some("whole"));
        assert_eq!(find(&all, 80), None);
        assert_eq!(find(&all, 3), None);
    }

    #[test]
    fn regions_speak_for_themselves_but_for_files() {
        let region = |path: &[u8], inode, shared| DataRegion {
            start: 4096,
            end: 8192,
            offset: 512,
            device: 7,
            inode,
            shared,
            path: path.into(),
        };
        assert_eq!(place_in(&region(b"[heap]", 0, false), 5000), Some(Place::Heap));
        assert_eq!(place_in(&region(b"", 0, false), 5000), Some(Place::Anonymous));
        assert_eq!(place_in(&region(b"/bin/x", 3, false), 5000), None);
        let shared = place_in(&region(b"/dev/zero (deleted)", 3, true), 4100);
        let expected =
            Place::Shared { path: "/dev/zero (deleted)".to_owned(), file: (7, 3), offset: 516 };
        assert_eq!(shared, Some(expected));
    }
}
