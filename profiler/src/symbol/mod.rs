//! Names for the addresses that the probes collect: functions, files and lines, of processes that
//! may have died since.
//!
//! While a process lives, [`Symbolizer::remember`] notes what it has mapped and keeps the files
//! open. From then on nothing of the process is needed any more: names come from the open files,
//! by debug information where there is some and by exported symbols where there is none.
//!
//! Everything a target can choose (its files, their names and contents, its perf map, its memory)
//! is hostile here: what is read is bounded, never leads to another file of this machine, and text
//! comes out safe for a terminal.

mod allowance;
mod clean;
mod data;
mod demangle;
mod files;
mod frame;
mod inspect;
mod kernel;
mod maps;
mod module;
mod open;
mod perf_map;
mod process;
mod resolve;
mod unwind;
mod vdso;
mod walk;

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

pub use allowance::Allowance;
pub use clean::clean;
pub use files::{NoNames, SymbolFiles};
pub use frame::Frame;
pub use walk::{StackMemory, Start, Walk};

use profiler_common::unwind::Row;

use kernel::KernelNames;
use maps::{Backing, Region, Regions, cpu_time, find_process, read_start_time};
use module::{Module, Modules, base_name, most_files};
use perf_map::Bounds;
use process::{Process, may_be_jit};
use resolve::{Name, Resolver};
use unwind::{FRAME_POINTER, UNKNOWN};
use vdso::Vdso;

/// Most code regions remembered of all processes together; one takes about 120 bytes.
const MOST_REGIONS: usize = 1 << 20;
/// Most processes remembered.
const MOST_PROCESSES: usize = 65_536;

/// Names functions of processes and of the kernel.
///
/// Keeps files open and names in memory between calls, both bounded; [`Self::limits_hit`] counts
/// what had to be refused. It never panics on what a target gives it. Not `Send`.
#[derive(Debug)]
pub struct Symbolizer {
    processes: HashMap<u32, Process>,
    regions: usize,
    modules: Modules,
    resolver: Resolver,
    kernel: KernelNames,
    vdso: OnceCell<Option<Vdso>>,
    perf_maps: Bounds,
    limits_hit: u64,
    /// Files are named by whoever reads the recording.
    leaves_files: bool,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Symbolizer {
    /// A symbolizer that knows nothing yet; reads no file until it is asked.
    pub fn new() -> Self {
        Self {
            processes: HashMap::new(),
            regions: 0,
            modules: Modules::new(most_files()),
            resolver: Resolver::new(),
            kernel: KernelNames::new(),
            vdso: OnceCell::new(),
            perf_maps: Bounds::default(),
            limits_hit: 0,
            leaves_files: false,
        }
    }

    /// The same that reads no symbols of files, but tells where the code lies ([`Frame::code`]). The kernel,
    /// the vDSO and code made at run time keep their names: nobody could give those later.
    pub fn leaving_files(self) -> Self {
        Self { leaves_files: true, ..self }
    }

    /// Remembers the files that the addresses of a living process lie in, and keeps them open, so
    /// that the addresses can be named after its death. `addresses` as for [`Self::resolve`].
    ///
    /// Reads `/proc/PID/maps` at most once, and only if an address is not covered yet. A process
    /// that is gone or may not be inspected is passed over; its frames will have no names.
    pub fn remember(&mut self, pid: u32, addresses: &[u64]) {
        self.cover(pid, addresses, true);
        self.refresh_perf_map(pid);
    }

    /// Names the addresses of a user stack, innermost first.
    ///
    /// The first address is taken as it is; all others are return addresses, of which the call
    /// before them is named. An address gives at least one frame, and several where functions were
    /// inlined. What cannot be named gives a frame without function.
    pub fn resolve(&mut self, pid: u32, addresses: &[u64]) -> Vec<Frame> {
        self.cover(pid, addresses, false);
        self.refresh_perf_map(pid);
        let lookups = lookups(addresses);
        lookups.flat_map(|(address, lookup)| self.resolve_one(pid, address, lookup)).collect()
    }

    /// Looks up all names that these stacks of processes will be given by [`Self::resolve`], one file after the
    /// other: the debug information of all programs of a host together takes more memory than may be used
    /// (101 MiB with one of 84 MB among them), that of one file at a time seldom (67 MiB).
    pub fn look_up<'a>(&mut self, stacks: impl Iterator<Item = (u32, &'a [u64])>) {
        if self.leaves_files {
            return;
        }
        let mut wanted: HashMap<*const Module, (Rc<Module>, BTreeSet<u64>)> = HashMap::new();
        for (pid, addresses) in stacks {
            self.cover(pid, addresses, false);
            let Some(process) = self.processes.get(&pid) else { continue };
            for (module, target) in lookups(addresses).filter_map(|(_, at)| process.in_file(at)) {
                let new = || (Rc::clone(module), BTreeSet::new());
                wanted.entry(Rc::as_ptr(module)).or_insert_with(new).1.insert(target);
            }
        }
        for (module, targets) in wanted.values() {
            for target in targets {
                self.names_at(module, *target);
            }
            self.close_files();
        }
    }

    /// Names the addresses of a kernel stack, innermost first, as [`Self::resolve`] does.
    ///
    /// Frames have no function where the kernel hides its addresses from this user.
    pub fn resolve_kernel(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let lookups = lookups(addresses);
        lookups.map(|(address, lookup)| self.resolve_one_kernel(address, lookup)).collect()
    }

    /// Walks a stack of a living process on from `start`, with at most `most` frames. Remembers the
    /// files that it leads through, as [`Self::remember`] does. `space` is the number of the process's address space
    /// then, which another program has not.
    pub fn walk(
        &mut self,
        (pid, space): (u32, u32),
        start: Start,
        most: usize,
        stack: &mut StackMemory<'_>,
    ) -> Walk {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.enter(space);
        }
        walk::walk(start, most, stack, |address| self.row_at(pid, address))
    }

    /// How to get from the function at an address to its caller; `None` where it is too early to say.
    fn row_at(&mut self, pid: u32, address: u64) -> Option<Row> {
        let is_known = self.cover(pid, &[address], true);
        let region = self.processes.get(&pid).and_then(|process| process.regions.find(address));
        match region {
            _ if !is_known => None,
            Some(Region { backing: Backing::Unopened, .. }) => None,
            Some(region) => Some(self.row_in(region, address)),
            None => Some(UNKNOWN),
        }
    }

    fn row_in(&self, region: &Region, address: u64) -> Row {
        let inside = address - region.start;
        let (module, position) = match &region.backing {
            Backing::File(module) => (&**module, region.position(address)),
            Backing::Vdso => match self.vdso.get_or_init(Vdso::copy) {
                Some(vdso) => (&vdso.module, inside),
                None => return UNKNOWN,
            },
            Backing::Anonymous | Backing::Unopened | Backing::Unreadable => return FRAME_POINTER,
        };
        let table = module.unwind_table();
        let target = module.shape.as_ref().and_then(|shape| shape.to_virtual(position));
        let row = table.zip(target).and_then(|(table, target)| table.row_at(target));
        row.unwrap_or(FRAME_POINTER)
    }

    /// Forgets what was remembered of a process: it executed another program, or a new process has
    /// its number. Names that are still wanted have to be resolved before.
    pub fn forget(&mut self, pid: u32) {
        let Some(process) = self.processes.remove(&pid) else { return };
        self.regions = self.regions.saturating_sub(process.regions.len());
        if let Some(map) = process.perf_map {
            self.perf_maps.total = self.perf_maps.total.saturating_add(map.taken());
        }
    }

    /// Forgets what was read of files to name functions; the names themselves stay, and what else is asked
    /// for is read again.
    pub fn close_files(&mut self) {
        self.resolver = Resolver::new();
    }

    /// How often something was refused to stay within bounds: files to keep open, regions,
    /// processes, perf maps or programs of unreasonable size. Frames may lack names for it.
    pub fn limits_hit(&self) -> u64 {
        self.limits_hit
    }

    /// Sees to it that the addresses lie in known regions with open files, as far as possible.
    /// `alive` says that the process with this number now is the one that is meant. Whether it is known of each where it
    /// lies, if anywhere: not of a process that is gone, or whose regions were read too often of late.
    fn cover(&mut self, pid: u32, addresses: &[u64], alive: bool) -> bool {
        let process = self.processes.get(&pid);
        let covered = |(_, lookup)| process.is_some_and(|process: &Process| process.covers(lookup));
        if lookups(addresses).all(covered) {
            return true;
        }
        if !self.is_same_process(pid, alive) {
            return false;
        }
        let folder = find_process(pid);
        let process = self.processes.get(&pid);
        let placed = |(_, lookup)| process.is_some_and(|process: &Process| process.places(lookup));
        let is_placed = lookups(addresses).all(placed);
        let may_be_read = process.is_none_or(Process::may_be_read);
        let is_known = is_placed || (may_be_read && self.read_regions(pid, &folder));
        for (_, lookup) in lookups(addresses) {
            self.open_region(pid, &folder, lookup);
            if is_known && let Some(process) = self.processes.get_mut(&pid) {
                process.note_unless_placed(lookup);
            }
        }
        is_known
    }

    /// Whether the process that has this number now is the one remembered under it. If it is
    /// known to be `alive`, a different one takes the place of the remembered one.
    fn is_same_process(&mut self, pid: u32, alive: bool) -> bool {
        let Some(now) = read_start_time(pid) else { return false };
        let remembered = self.processes.get(&pid).and_then(|process| process.start_time);
        if remembered.is_none_or(|start_time| start_time == now) {
            return self.note_process(pid, now);
        }
        if alive {
            self.forget(pid);
            return self.note_process(pid, now);
        }
        false
    }

    fn note_process(&mut self, pid: u32, start_time: u64) -> bool {
        if !self.processes.contains_key(&pid) && self.processes.len() >= MOST_PROCESSES {
            self.limits_hit += 1;
            return false;
        }
        self.processes.entry(pid).or_insert_with(Process::new).start_time = Some(start_time);
        true
    }

    /// Reads the regions of a process anew, keeping what was known of them; false where they cannot be had.
    fn read_regions(&mut self, pid: u32, folder: &Path) -> bool {
        let Some(process) = self.processes.get_mut(&pid) else { return false };
        // Not the time gone by: where the machine stood still meanwhile for 50 ms, new code had no names for a second.
        let began = cpu_time();
        let read = Regions::read(folder);
        let took = cpu_time().saturating_sub(began);
        process.reading.spend(Instant::now(), took);
        // A process that is just dying shows an empty list.
        let Ok(mut now) = read else { return false };
        if now.len() == 0 {
            return false;
        }
        let others = self.regions.saturating_sub(process.regions.len());
        if others + now.len() > MOST_REGIONS {
            self.limits_hit += 1;
            return false;
        }
        self.limits_hit += u64::from(now.cut);
        now.inherit(std::mem::take(&mut process.regions));
        self.regions = others + now.len();
        process.regions = now;
        process.is_outdated = false;
        true
    }

    /// Opens the file behind an address, if that was not tried yet.
    fn open_region(&mut self, pid: u32, folder: &Path, address: u64) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some(region) = process.regions.find_mut(address) else {
            process.find_perf_map(folder);
            return;
        };
        if matches!(region.backing, Backing::Unopened) {
            let opened = open::open_mapped(folder, region).ok();
            if opened.is_none() && read_start_time(pid) != process.start_time {
                // It has ended meanwhile: that says nothing of the file.
                return;
            }
            let admission = opened.map(|file| self.modules.admit(file, &region.path));
            let module = admission.and_then(|admission| {
                self.limits_hit += u64::from(admission.limit_hit);
                admission.closed.iter().for_each(|module| self.resolver.forget(module));
                admission.module
            });
            region.backing = module.map_or(Backing::Unreadable, Backing::File);
        }
        if may_be_jit(region) {
            process.find_perf_map(folder);
        }
    }

    /// Takes in what a just-in-time compiler has written since the last time.
    fn refresh_perf_map(&mut self, pid: u32) {
        let process = self.processes.get_mut(&pid);
        if let Some(map) = process.and_then(|process| process.perf_map.as_mut()) {
            self.limits_hit += u64::from(map.refresh(&mut self.perf_maps));
        }
    }

    fn resolve_one(&self, pid: u32, address: u64, lookup: u64) -> Vec<Frame> {
        let Some(process) = self.processes.get(&pid) else {
            return vec![Frame::unknown(address)];
        };
        let region = process.regions.find(lookup);
        if region.is_none_or(may_be_jit)
            && let Some(frame) = process.name_of_jit(address, lookup)
        {
            return vec![frame];
        }
        match region {
            Some(region) => self.resolve_in_region(region, address, lookup),
            None => vec![Frame::unknown(address)],
        }
    }

    fn resolve_in_region(&self, region: &Region, address: u64, lookup: u64) -> Vec<Frame> {
        let inside = lookup - region.start;
        let position = region.position(lookup);
        match &region.backing {
            Backing::File(module) => {
                let look_up = |target| match self.leaves_files {
                    true => Vec::new().into(),
                    false => self.names_at(module, target),
                };
                resolve_in_module(module, position, (address, lookup), look_up)
            }
            Backing::Vdso => match self.vdso.get_or_init(Vdso::copy) {
                Some(vdso) if vdso.size == region.end - region.start => {
                    let look_up = |target| self.names_at(&vdso.module, target);
                    resolve_in_module(&vdso.module, inside, (address, lookup), look_up)
                }
                _ => vec![Frame::in_module(address, "[vdso]", address - region.start)],
            },
            Backing::Anonymous if region.path.is_empty() => {
                vec![Frame { offset: address - region.start, ..Frame::unknown(address) }]
            }
            Backing::Anonymous => {
                vec![Frame::in_module(address, &base_name(&region.path), address - region.start)]
            }
            Backing::Unopened | Backing::Unreadable => {
                let offset = position.saturating_add(address - lookup);
                vec![Frame::in_module(address, &base_name(&region.path), offset)]
            }
        }
    }

    fn names_at(&self, module: &Module, target: u64) -> Rc<[Name]> {
        module.names_at(target, || self.resolver.resolve(module, target))
    }

    fn resolve_one_kernel(&mut self, address: u64, lookup: u64) -> Frame {
        let Some((function, offset)) = self.kernel.look_up(lookup) else {
            return Frame::unknown(address);
        };
        let offset = offset + (address - lookup);
        Frame { function: Some(function), ..Frame::in_module(address, "[kernel]", offset) }
    }
}

/// Names a position in a file; return addresses get their distance back that was taken off to find the
/// call.
fn resolve_in_module(
    module: &Module,
    position: u64,
    (address, lookup): (u64, u64),
    look_up: impl FnOnce(u64) -> Rc<[Name]>,
) -> Vec<Frame> {
    let after_call = address - lookup;
    let shape = module.shape.as_ref();
    let target = shape.and_then(|shape| Some((shape.to_virtual(position)?, shape.start())));
    let Some((target, start)) = target else {
        return vec![Frame::in_module(address, &module.name, position + after_call)];
    };
    let names = look_up(target);
    if names.is_empty() {
        let offset = target.saturating_sub(start) + after_call;
        let code = module.code_at(target);
        return vec![Frame { code, ..Frame::in_module(address, &module.name, offset) }];
    }
    let shift = |name: &Name| Name { offset: name.offset + after_call, ..name.clone() };
    names.iter().map(|name| Frame::in_function(address, &module.name, shift(name))).collect()
}

/// Each address with the one to look up for it: return addresses point behind the call, which may
/// be the last instruction of its function or even of its file.
fn lookups(addresses: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    let lookup = |(index, &address): (usize, &u64)| {
        (address, if index == 0 { address } else { address.saturating_sub(1) })
    };
    addresses.iter().enumerate().map(lookup)
}

#[cfg(test)]
mod tests;
