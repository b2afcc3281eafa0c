//! Names of functions, files, processes and system calls of the running system.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::Hash;
use std::os::unix::fs::MetadataExt as _;

use super::cost::give_back_memory;
use crate::collect::{NamedStacks, Names};
use crate::kernel::kernel_text;
use crate::model::{Frame, Place};
use crate::symbol::{self, Symbolizer, clean};
use crate::target::{Listening, command_name, is_alive};

/// Names that have been found once. A profile that is made of the same window later says the same, also of
/// what is gone by then.
#[derive(Default)]
pub struct KnownNames {
    stacks: NamedStacks,
    /// By process, device and inode.
    paths: HashMap<(u32, u32, u64), Option<String>>,
    processes: HashMap<u32, String>,
    places: HashMap<(u32, u64), Place>,
    listeners: HashMap<String, Option<String>>,
    /// What was read in this look.
    files: HashMap<u32, ProcessFiles>,
    listening: Option<Listening>,
    asked: HashSet<u32>,
    is_last: bool,
    /// Of the scheduler's own functions.
    sched_text: Option<std::ops::Range<u64>>,
}

/// Paths and places kept: a target can make new ones without end.
const MOST_KNOWN: usize = 65_536;

impl KnownNames {
    /// Processes may have other names by now, and other files open.
    pub fn next_look(&mut self) {
        self.files.clear();
        self.asked.clear();
        self.listening = None;
    }

    /// Likewise, when the window is over.
    pub fn last_look(&mut self) {
        self.next_look();
        self.is_last = true;
    }

    /// The stacks, to be given back.
    pub fn take_stacks(&mut self) -> NamedStacks {
        std::mem::take(&mut self.stacks)
    }

    /// Gives them back.
    pub fn keep_stacks(&mut self, stacks: NamedStacks) {
        self.stacks = stacks;
    }
}

/// [`Names`] of this host.
pub struct HostNames<'a> {
    symbolizer: &'a mut Symbolizer,
    known: &'a mut KnownNames,
    sched_text: std::ops::Range<u64>,
}

/// Paths of a process by device (major, minor) and inode.
type ProcessFiles = HashMap<(u32, u32, u64), String>;

impl<'a> HostNames<'a> {
    /// With what the symbolizer has remembered, and what has been found before.
    pub fn new(symbolizer: &'a mut Symbolizer, known: &'a mut KnownNames) -> Self {
        let sched_text = known.sched_text.get_or_insert_with(|| {
            // The symbols of the kernel take 30 ms to read.
            let (start, end) = kernel_text().scheduler;
            start..end
        });
        let sched_text = sched_text.clone();
        Self { symbolizer, known, sched_text }
    }

    /// How often the symbolizer had to refuse something to stay within its bounds.
    pub fn refused(&self) -> u64 {
        self.symbolizer.limits_hit()
    }
}

/// The known answer, or a new one.
fn once<K: Eq + Hash, V: Clone>(known: &mut HashMap<K, V>, key: K, ask: impl FnOnce() -> V) -> V {
    if let Some(answer) = known.get(&key) {
        return answer.clone();
    }
    let answer = ask();
    if known.len() < MOST_KNOWN {
        known.insert(key, answer.clone());
    }
    answer
}

impl Names for HostNames<'_> {
    fn user_stack(&mut self, pid: u32, origin: u32, addresses: &[u64]) -> Vec<Frame> {
        self.symbolizer
            .resolve(known_process(pid, origin), addresses)
            .into_iter()
            .map(frame)
            .collect()
    }

    fn user_stacks(&mut self, stacks: &mut dyn Iterator<Item = (u32, u32, &[u64])>) {
        let known = |(pid, origin, addresses)| (known_process(pid, origin), addresses);
        self.symbolizer.look_up(stacks.map(known));
    }

    fn kernel_stack(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let in_scheduler = |address: &&u64| self.sched_text.contains(address);
        let after = addresses.iter().rposition(|address| in_scheduler(&address));
        let waiting = &addresses[after.map_or(0, |last| last + 1)..];
        self.symbolizer.resolve_kernel(waiting).into_iter().map(frame).collect()
    }

    fn kernel_function(&mut self, address: u64) -> String {
        let frames = self.symbolizer.resolve_kernel(&[address]);
        frames.into_iter().next().map_or_else(|| format!("{address:#x}"), |first| frame(first).name)
    }

    fn file_path(&mut self, pid: u32, device: u32, inode: u64) -> Option<String> {
        let files = &mut self.known.files;
        once(&mut self.known.paths, (pid, device, inode), || {
            let files = files.entry(pid).or_insert_with(|| files_of(pid));
            files.get(&(device >> 20, device & 0xf_ffff, inode)).cloned()
        })
    }

    fn syscall(&mut self, number: u16) -> String {
        match syscalls::Sysno::new(usize::from(number)) {
            Some(call) => call.name().to_owned(),
            None => format!("syscall_{number}"),
        }
    }

    fn process(&mut self, pid: u32) -> Option<String> {
        if self.known.asked.insert(pid)
            && let Some(name) = command_name(pid)
            && (self.known.processes.len() < MOST_KNOWN || self.known.processes.contains_key(&pid))
        {
            self.known.processes.insert(pid, name);
        }
        self.known.processes.get(&pid).cloned()
    }

    fn place(&mut self, pid: u32, address: u64) -> Place {
        let symbolizer = &mut *self.symbolizer;
        once(&mut self.known.places, (pid, address), || {
            symbolizer.place(pid, address).unwrap_or(Place::Unknown)
        })
    }

    fn words(&mut self, pid: u32, address: u64) -> Option<[u32; 3]> {
        use std::os::unix::fs::FileExt as _;
        // Who holds what is asked for once, at the end: a pool of 1,000 idle threads takes 20 ms.
        if !self.known.is_last {
            return None;
        }
        // Fails at once where userfaultfd serves the memory, other than process_vm_readv(2).
        let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
        let mut bytes = [0; 12];
        memory.read_exact_at(&mut bytes, address).ok()?;
        let mut words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word));
        Some([words.next()?, words.next()?, words.next()?])
    }

    fn listener(&mut self, address: &str) -> Option<String> {
        let listening = &mut self.known.listening;
        once(&mut self.known.listeners, address.to_owned(), || {
            let listening = listening.get_or_insert_with(Listening::look);
            Some(clean(listening.at(address)?.as_bytes()))
        })
    }

    fn user_stacks_done(&mut self) {
        self.symbolizer.close_files();
        give_back_memory();
    }

    fn clean(&mut self, text: &[u8]) -> String {
        clean(text)
    }
}

/// Of a process that shows a stack, and the one that showed it first: the one of which files are known.
fn known_process(pid: u32, origin: u32) -> u32 {
    if pid == origin || is_alive(pid) { pid } else { origin }
}

/// Function, or `module+0xoffset`, or the bare address.
fn frame(frame: symbol::Frame) -> Frame {
    let name = match (frame.function, frame.module) {
        (Some(function), _) => function,
        (None, Some(module)) => format!("{module}+{:#x}", frame.offset),
        (None, None) => format!("{:#x}", frame.address),
    };
    let named = Frame::new(name, frame.address, frame.inlined);
    match frame.code {
        Some(code) => named.lying_at(code),
        None => named,
    }
}

/// Most files of a process that are looked at: a hostile one may have a million of them.
const MOST_FILES: usize = 65_536;

/// Files that a process has open or mapped, now.
fn files_of(pid: u32) -> ProcessFiles {
    let mut files = ProcessFiles::new();
    for directory in ["fd", "map_files"] {
        let entries = fs::read_dir(format!("/proc/{pid}/{directory}")).into_iter().flatten();
        for entry in entries.flatten().take(MOST_FILES) {
            let (Ok(path), Ok(file)) = (fs::read_link(entry.path()), fs::metadata(entry.path()))
            else {
                continue;
            };
            let device = file.dev();
            let key = (libc::major(device), libc::minor(device), file.ino());
            let path = clean(path.as_os_str().as_encoded_bytes());
            files.entry(key).or_insert(path);
        }
    }
    files
}
