//! Names of functions, files, processes and system calls of the running system.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::cost::give_back_memory;
use crate::collect::Names;
use crate::model::{Frame, Place};
use crate::symbol::{self, Symbolizer, clean};
use crate::target::{Listening, command_name, is_alive};

/// [`Names`] of this host.
pub struct HostNames {
    symbolizer: Symbolizer,
    sched_text: std::ops::Range<u64>,
    files: HashMap<u32, ProcessFiles>,
    listening: Option<Listening>,
}

/// Paths of a process by device (major, minor) and inode.
type ProcessFiles = HashMap<(u32, u32, u64), String>;

impl HostNames {
    /// With what the symbolizer has remembered, and the range of the scheduler's own functions.
    pub fn new(symbolizer: Symbolizer, sched_text: (u64, u64)) -> Self {
        Self {
            symbolizer,
            sched_text: sched_text.0..sched_text.1,
            files: HashMap::new(),
            listening: None,
        }
    }

    /// How often the symbolizer had to refuse something to stay within its bounds.
    pub fn refused(&self) -> u64 {
        self.symbolizer.limits_hit()
    }
}

impl Names for HostNames {
    fn user_stack(&mut self, pid: u32, origin: u32, addresses: &[u64]) -> Vec<Frame> {
        let known = if pid == origin || is_alive(pid) { pid } else { origin };
        self.symbolizer.resolve(known, addresses).into_iter().map(frame).collect()
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
        let files = self.files.entry(pid).or_insert_with(|| files_of(pid));
        files.get(&(device >> 20, device & 0xf_ffff, inode)).cloned()
    }

    fn syscall(&mut self, number: u16) -> String {
        match syscalls::Sysno::new(usize::from(number)) {
            Some(call) => call.name().to_owned(),
            None => format!("syscall_{number}"),
        }
    }

    fn process(&mut self, pid: u32) -> Option<String> {
        command_name(pid)
    }

    fn place(&mut self, pid: u32, address: u64) -> Place {
        self.symbolizer.place(pid, address).unwrap_or(Place::Unknown)
    }

    fn words(&mut self, pid: u32, address: u64) -> Option<[u32; 3]> {
        use std::os::unix::fs::FileExt as _;
        // Fails at once where userfaultfd serves the memory, other than process_vm_readv(2).
        let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
        let mut bytes = [0; 12];
        memory.read_exact_at(&mut bytes, address).ok()?;
        let mut words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word));
        Some([words.next()?, words.next()?, words.next()?])
    }

    fn listener(&mut self, address: &str) -> Option<String> {
        let listening = self.listening.get_or_insert_with(Listening::look);
        Some(clean(listening.at(address)?.as_bytes()))
    }

    fn stacks_done(&mut self) {
        self.symbolizer.close_files();
        give_back_memory();
    }

    fn clean(&mut self, text: &[u8]) -> String {
        clean(text)
    }
}

/// Function, or `module+0xoffset`, or the bare address.
fn frame(frame: symbol::Frame) -> Frame {
    let name = match (frame.function, frame.module) {
        (Some(function), _) => function,
        (None, Some(module)) => format!("{module}+{:#x}", frame.offset),
        (None, None) => format!("{:#x}", frame.address),
    };
    Frame::new(name, frame.address, frame.inlined)
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
