//! Reads what a process has mapped (`/proc/PID/maps`): code, and data that can be written.
//!
//! Parsed here rather than by `procfs`, which panics on some names a target can choose
//! (`/SYSV…`) and refuses the whole list for one name that is not UTF-8.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::module::Module;

/// Most bytes read of one `/proc/PID/maps`.
const MOST_BYTES: u64 = 64 << 20;
/// Most code regions kept of one process.
const MOST_REGIONS: usize = 65_536;
/// Most data regions kept of one process.
const MOST_DATA: usize = 4_096;
/// Threads tried for their memory where the first thread of a process has ended.
const THREADS_TRIED: usize = 64;

/// What lies behind a region.
#[derive(Clone, Debug)]
pub(super) enum Backing {
    /// A file that no address has asked for yet.
    Unopened,
    /// A file that could not be opened.
    Unreadable,
    /// A file that is kept open.
    File(Rc<Module>),
    /// The kernel's code in user space.
    Vdso,
    /// Memory without a file: the code of a just-in-time compiler.
    Anonymous,
}

/// A range of a process's memory that holds code.
#[derive(Clone, Debug)]
pub(super) struct Region {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Where `start` lies in the file, in bytes.
    pub offset: u64,
    /// Inode number of the file, 0 for none.
    pub inode: u64,
    /// Name of the file in the process's mount namespace, or a `[name]`; empty for none.
    pub path: Box<[u8]>,
    /// What lies behind it.
    pub backing: Backing,
}

impl Region {
    /// Where in the file an address of this region lies, in bytes.
    pub fn position(&self, address: u64) -> u64 {
        self.offset.saturating_add(address - self.start)
    }

    /// Whether two readings show the same mapping.
    fn is_same_mapping(&self, other: &Self) -> bool {
        (self.start, self.end, self.offset, self.inode)
            == (other.start, other.end, other.offset, other.inode)
            && self.path == other.path
    }
}

/// A range of a process's memory that can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DataRegion {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Where `start` lies in the file, in bytes.
    pub offset: u64,
    /// Device of the file: major << 20 | minor.
    pub device: u64,
    /// Inode number of the file, 0 for none.
    pub inode: u64,
    /// Other processes that map it see what is written.
    pub shared: bool,
    /// As in [`Region`].
    pub path: Box<[u8]>,
}

/// The regions of a process, sorted by address, and whether code was left out.
#[derive(Debug, Default)]
pub(super) struct Regions {
    sorted: Vec<Region>,
    data: Vec<DataRegion>,
    /// More than what is kept of one process was mapped.
    pub cut: bool,
}

impl Regions {
    /// Reads the regions of a process through its folder in `/proc`.
    ///
    /// # Errors
    /// The process is gone, or it may not be inspected.
    pub fn read(process: &Path) -> io::Result<Self> {
        parse(BufReader::new(File::open(process.join("maps"))?.take(MOST_BYTES)))
    }

    /// The region in which an address lies.
    pub fn find(&self, address: u64) -> Option<&Region> {
        self.sorted.get(self.index_of(address)?)
    }

    /// The region of data in which an address lies. Where it has no file, but goes on where one ends
    /// that has (the zeroes behind a program's data), that one.
    pub fn find_data(&self, address: u64) -> Option<&DataRegion> {
        let after = self.data.partition_point(|region| region.start <= address);
        let index = after.checked_sub(1)?;
        let region = self.data.get(index).filter(|region| address < region.end)?;
        let before = index.checked_sub(1).and_then(|index| self.data.get(index));
        let goes_on = region.inode == 0 && region.path.is_empty();
        let file = before.filter(|before| {
            goes_on && before.end == region.start && before.inode != 0 && !before.shared
        });
        Some(file.unwrap_or(region))
    }

    /// The first region of code that maps this file.
    pub fn code_of(&self, inode: u64) -> Option<&Region> {
        self.sorted.iter().find(|region| region.inode == inode)
    }

    /// The region in which an address lies, to fill in what lies behind it.
    pub fn find_mut(&mut self, address: u64) -> Option<&mut Region> {
        let index = self.index_of(address)?;
        self.sorted.get_mut(index)
    }

    /// All of them, by rising address.
    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.sorted.iter()
    }

    /// How many regions there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Takes over what is already known from an earlier reading: files kept open of mappings that
    /// are still there, and mappings that are gone but whose place is still free, since addresses
    /// were collected from them.
    pub fn inherit(&mut self, earlier: Self) {
        let mut gone = Vec::new();
        for region in earlier.sorted {
            if matches!(region.backing, Backing::Unopened | Backing::Unreadable) {
                continue;
            }
            let now = self.find_mut(region.start);
            if let Some(now) = now.filter(|now| now.is_same_mapping(&region)) {
                now.backing = region.backing;
            } else if !self.overlaps(&region) {
                gone.push(region);
            }
        }
        let room = MOST_REGIONS.saturating_sub(self.sorted.len());
        self.sorted.extend(gone.into_iter().take(room));
        self.sorted.sort_unstable_by_key(|region| region.start);
    }

    fn index_of(&self, address: u64) -> Option<usize> {
        let after = self.sorted.partition_point(|region| region.start <= address);
        let index = after.checked_sub(1)?;
        (address < self.sorted.get(index)?.end).then_some(index)
    }

    fn overlaps(&self, region: &Region) -> bool {
        let before_end = self.sorted.partition_point(|other| other.start < region.end);
        before_end
            .checked_sub(1)
            .and_then(|index| self.sorted.get(index))
            .is_some_and(|other| other.end > region.start)
    }
}

/// The folder in `/proc` that shows a process's memory.
///
/// Usually `/proc/PID`. Once its first thread has ended, that one shows nothing any more while
/// other threads may still run; then it is the folder of one of those.
pub(super) fn find_process(pid: u32) -> PathBuf {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if has_memory(&process) {
        return process;
    }
    let threads = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    threads
        .take(THREADS_TRIED)
        .map(|thread| Path::new("/proc").join(thread.file_name()))
        .find(|thread| has_memory(thread))
        .unwrap_or(process)
}

/// Whether a thread still has memory: a dead one shows an empty list.
fn has_memory(process: &Path) -> bool {
    let mut byte = [0];
    File::open(process.join("maps")).and_then(|mut maps| maps.read(&mut byte)).is_ok_and(|n| n == 1)
}

/// CPU time of this thread so far.
pub(super) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; the call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// When a process was started, in clock ticks since boot: tells it from a later one with its number.
pub(super) fn read_start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold any character, so count from the last one.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let fields = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Parses the text of `/proc/PID/maps`, keeping code and what can be written.
fn parse(mut maps: impl BufRead) -> io::Result<Regions> {
    let mut regions = Regions::default();
    let mut line = Vec::new();
    let mut bytes = 0_u64;
    loop {
        line.clear();
        let count = maps.read_until(b'\n', &mut line)?;
        bytes += count as u64;
        if count == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(region) = parse_data(line)
            && regions.data.len() < MOST_DATA
        {
            regions.data.push(region);
        }
        let Some(region) = parse_line(line) else { continue };
        if regions.sorted.len() == MOST_REGIONS {
            regions.cut = true;
            break;
        }
        regions.sorted.push(region);
    }
    regions.cut |= bytes >= MOST_BYTES;
    regions.sorted.sort_by_key(|region| region.start);
    regions.data.sort_by_key(|region| region.start);
    Ok(regions)
}

/// Parses one line; gives nothing for data or for a line that makes no sense.
///
/// `START-END PERMISSIONS OFFSET DEVICE INODE      PATH`
fn parse_line(line: &[u8]) -> Option<Region> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut range = fields.next()?.splitn(2, |&byte| byte == b'-');
    let (start, end) = (parse_hex(range.next()?)?, parse_hex(range.next()?)?);
    let permissions = fields.next()?;
    let offset = parse_hex(fields.next()?)?;
    let _device = fields.next()?;
    let inode = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    if permissions.get(2) != Some(&b'x') || start >= end {
        return None;
    }
    let path = unescape(fields.next().unwrap_or_default().trim_ascii_start());
    let backing = match &*path {
        b"[vdso]" => Backing::Vdso,
        _ if inode == 0 => Backing::Anonymous,
        _ => Backing::Unopened,
    };
    Some(Region { start, end, offset, inode, path, backing })
}

/// The same for data that can be written.
fn parse_data(line: &[u8]) -> Option<DataRegion> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut range = fields.next()?.splitn(2, |&byte| byte == b'-');
    let (start, end) = (parse_hex(range.next()?)?, parse_hex(range.next()?)?);
    let permissions = fields.next()?;
    let offset = parse_hex(fields.next()?)?;
    let mut device = fields.next()?.splitn(2, |&byte| byte == b':');
    let (major, minor) = (parse_hex(device.next()?)?, parse_hex(device.next()?)?);
    let inode = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    if permissions.get(1) != Some(&b'w') || start >= end || offset.checked_add(end).is_none() {
        return None;
    }
    let path = unescape(fields.next().unwrap_or_default().trim_ascii_start());
    let shared = permissions.get(3) == Some(&b's');
    let device = major.checked_shl(20)? | minor;
    Some(DataRegion { start, end, offset, device, inode, shared, path })
}

/// Parses a hexadecimal number without a prefix.
pub(super) fn parse_hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Undoes the kernel's only escape in these names: a line break is written `\012`.
fn unescape(path: &[u8]) -> Box<[u8]> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain.into_boxed_slice()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
55d0c0a00000-55d0c0a28000 r--p 00000000 fe:01 1234       /usr/bin/a program
55d0c0a28000-55d0c0a90000 r-xp 00028000 fe:01 1234       /usr/bin/a program
7f0000000000-7f0000010000 rwxp 00000000 00:00 0
7f0000100000-7f0000110000 r-xp 00000000 00:01 77                         /memfd:jit (deleted)
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]
7f0000200000-7f0000210000 r-xp 00001000 fe:01 5 /SYSV\\012\xff
garbage
-- -- -- -- --
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn keeps_code_with_its_file() {
        let regions = parse(MAPS).unwrap();
        assert_eq!(regions.len(), 6);
        let program = regions.find(0x55d0_c0a2_8000).unwrap();
        assert_eq!(&*program.path, b"/usr/bin/a program");
        assert_eq!((program.offset, program.inode), (0x28000, 1234));
        assert!(matches!(program.backing, Backing::Unopened));
        assert!(regions.find(0x55d0_c0a0_0000).is_none());
        assert!(regions.find(0x55d0_c0a9_0000).is_none());
        assert!(matches!(regions.find(0x7f00_0000_0000).unwrap().backing, Backing::Anonymous));
        assert!(matches!(regions.find(0x7fff_0000_0001).unwrap().backing, Backing::Vdso));
        assert_eq!(&*regions.find(0x7f00_0020_0000).unwrap().path, b"/SYSV\n\xff");
        assert!(regions.find(0).is_none() && regions.find(u64::MAX).is_none());
    }

    #[test]
    fn survives_any_cut_of_the_text() {
        for end in 0..MAPS.len() {
            parse(&MAPS[..end]).unwrap();
        }
    }

    #[test]
    fn inherits_what_was_known_unless_its_place_was_taken() {
        let known = |line: &[u8]| {
            let mut region = parse_line(line).unwrap();
            region.backing = Backing::Vdso;
            region
        };
        let earlier = Regions {
            sorted: vec![
                known(b"1000-2000 r-xp 0 0:0 1 /same"),
                known(b"3000-4000 r-xp 0 0:0 2 /replaced"),
                known(b"8000-9000 r-xp 0 0:0 3 /unloaded"),
            ],
            ..Regions::default()
        };
        let mut now =
            parse(&b"1000-2000 r-xp 0 0:0 1 /same\n2800-3800 r-xp 0 0:0 9 /new\n"[..]).unwrap();
        now.inherit(earlier);
        assert_eq!(now.len(), 3);
        assert!(matches!(now.find(0x1000).unwrap().backing, Backing::Vdso));
        assert_eq!(&*now.find(0x3000).unwrap().path, b"/new");
        assert!(now.find(0x3900).is_none());
        assert_eq!(&*now.find(0x8000).unwrap().path, b"/unloaded");
    }

    #[test]
    fn finds_this_process() {
        let me = std::process::id();
        assert_eq!(find_process(me), PathBuf::from(format!("/proc/{me}")));
        let regions = Regions::read(&find_process(me)).unwrap();
        assert!(regions.find(finds_this_process as fn() as usize as u64).is_some());
        assert!(read_start_time(me).is_some_and(|ticks| ticks > 0));
        assert_eq!(read_start_time(u32::MAX), None);
    }
}
