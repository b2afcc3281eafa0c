//! What is remembered of a process.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::allowance::Allowance;
use super::frame::Frame;
use super::maps::{Backing, Region, Regions};
use super::module::Module;
use super::perf_map::PerfMap;

/// Most addresses of a process that are known to lie nowhere.
const MOST_MISSES: usize = 4096;
/// How long an address that lies nowhere is not looked for again: reading the maps of a large
/// process takes milliseconds, and a broken stack walk gives such addresses all the time.
const MISS_LASTS: Duration = Duration::from_secs(1);

/// What share of the time (one part in so many) may go into reading the maps of one process again. A
/// target with tens of thousands of mappings that shows ever new addresses that lie nowhere would
/// otherwise keep the collector busy with nothing else.
const READING_SHARE: u32 = 20;
/// What may go into it at once. A program that begins, or loads a library, shows new addresses within a millisecond of
/// one another; to read its maps takes some 0.1 ms.
const READING_BURST: Duration = Duration::from_millis(20);

/// How often a perf map that is not there is looked for.
const PERF_MAP_EVERY: Duration = Duration::from_millis(100);

/// What is remembered of a process.
#[derive(Debug)]
pub(super) struct Process {
    /// Tells it from a later process with the same number.
    pub start_time: Option<u64>,
    pub regions: Regions,
    /// They are those of the program before.
    pub is_outdated: bool,
    /// Number of its address space, as of the last walk.
    space: Option<u32>,
    pub perf_map: Option<PerfMap>,
    /// Addresses that were found to lie nowhere, and when.
    misses: HashMap<u64, Instant>,
    /// CPU time that may go into reading its regions.
    pub reading: Allowance,
    /// When its perf map was last looked for.
    perf_map_missed: Option<Instant>,
}

impl Process {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            start_time: None,
            regions: Regions::default(),
            is_outdated: false,
            space: None,
            perf_map: None,
            misses: HashMap::new(),
            reading: Allowance::new(READING_BURST, READING_SHARE),
            perf_map_missed: None,
        }
    }

    /// Whether an address needs no look at the process.
    pub fn covers(&self, address: u64) -> bool {
        match self.regions.find(address) {
            _ if self.is_outdated => false,
            Some(region) => !matches!(region.backing, Backing::Unopened),
            None => self.is_miss(address),
        }
    }

    /// Whether reading the regions again would tell nothing new about an address.
    pub fn places(&self, address: u64) -> bool {
        !self.is_outdated && (self.regions.find(address).is_some() || self.is_miss(address))
    }

    /// A stack in this address space is about to be walked: in another one than before, the process has executed another
    /// program since.
    pub fn enter(&mut self, space: u32) {
        if self.space.is_some_and(|known| known != space) {
            self.is_outdated = true;
            self.misses.clear();
        }
        self.space = Some(space);
    }

    /// The open file that an address lies in, and the virtual address there.
    pub fn in_file(&self, address: u64) -> Option<(&Rc<Module>, u64)> {
        let region = self.regions.find(address)?;
        let Backing::File(module) = &region.backing else { return None };
        Some((module, module.shape.as_ref()?.to_virtual(region.position(address))?))
    }

    fn is_miss(&self, address: u64) -> bool {
        self.misses.get(&address).is_some_and(|since| since.elapsed() < MISS_LASTS)
    }

    /// Whether its regions may be read again, or that has cost too much of late.
    pub fn may_be_read(&self) -> bool {
        !self.reading.left(Instant::now()).is_zero()
    }

    /// Notes an address that lies nowhere, now that the regions have been looked at.
    pub fn note_unless_placed(&mut self, address: u64) {
        if self.places(address) {
            return;
        }
        if self.misses.len() >= MOST_MISSES {
            self.misses.clear();
        }
        self.misses.insert(address, Instant::now());
    }

    /// Looks for its perf map, unless that was found already, or just now was not there.
    pub fn find_perf_map(&mut self, folder: &Path) {
        let is_missed = self.perf_map_missed.is_some_and(|since| since.elapsed() < PERF_MAP_EVERY);
        if self.perf_map.is_none() && !is_missed {
            self.perf_map = PerfMap::find(folder);
            self.perf_map_missed = Some(Instant::now());
        }
    }

    /// Code that was made at run time, by its perf map.
    pub fn name_of_jit(&self, address: u64, lookup: u64) -> Option<Frame> {
        let (function, offset) = self.perf_map.as_ref()?.look_up(lookup)?;
        let offset = offset + (address - lookup);
        Some(Frame { function: Some(function), ..Frame::in_module(address, "[jit]", offset) })
    }
}

/// Whether a region may hold code that was made at run time.
pub(super) fn may_be_jit(region: &Region) -> bool {
    match &region.backing {
        Backing::Anonymous => true,
        Backing::File(module) => module.shape.is_none(),
        Backing::Unopened | Backing::Unreadable | Backing::Vdso => false,
    }
}
