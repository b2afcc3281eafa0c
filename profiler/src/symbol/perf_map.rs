//! Names of functions that a just-in-time compiler wrote to `/tmp/perf-PID.map`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::clean::clean;
use super::maps::parse_hex;
use super::open::open_in_root;

/// Bytes read at a time; a line longer than this ends the reading.
const CHUNK: usize = 1 << 20;
/// Longest name kept, in bytes.
const LONGEST_NAME: usize = 512;

/// How much of perf maps may be kept in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Largest file that is read, in bytes.
    pub file: u64,
    /// Bytes that may still be read of all maps together.
    pub total: u64,
    /// Most functions of one map.
    pub functions: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { file: 64 << 20, total: 256 << 20, functions: 1 << 20 }
    }
}

/// A perf map, kept open; it grows while the process runs.
#[derive(Debug)]
pub(super) struct PerfMap {
    file: File,
    /// Bytes of the file that were taken in.
    parsed: u64,
    /// By first address: the address after the last, and where the name is in `names`.
    functions: BTreeMap<u64, (u64, Range<usize>)>,
    names: Vec<u8>,
    /// A bound was hit, and no more is taken in.
    refused: bool,
}

impl PerfMap {
    /// Opens the map that a process has written, under the number it has in its own namespace or
    /// in this one. As `perf` does, it takes only a file that belongs to the process's user or root.
    pub fn find(process: &Path) -> Option<Self> {
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        // The innermost namespace's number comes last.
        let numbers = field("NStgid:").or_else(|| field("Tgid:"))?.split_ascii_whitespace().rev();
        let owner: u32 = field("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let trusted = |file: &File| {
            file.metadata().is_ok_and(|metadata| metadata.uid() == owner || metadata.uid() == 0)
        };
        numbers
            .filter_map(|number| {
                open_in_root(process, format!("/tmp/perf-{number}.map").as_bytes()).ok()
            })
            .find(trusted)
            .map(Self::new)
    }

    /// A map in an open file; nothing of it is read yet.
    pub fn new(file: File) -> Self {
        Self { file, parsed: 0, functions: BTreeMap::new(), names: Vec::new(), refused: false }
    }

    /// Bytes that this map has taken from [`Bounds::total`].
    pub fn taken(&self) -> u64 {
        self.parsed
    }

    /// Takes in what was added to the file since the last time. Gives whether a bound was hit now,
    /// for the first time.
    pub fn refresh(&mut self, bounds: &mut Bounds) -> bool {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        if self.refused || length <= self.parsed {
            return false;
        }
        if length > bounds.file || length - self.parsed > bounds.total {
            self.refused = true;
            return true;
        }
        // An error in the middle leaves what was read; there will be another time.
        let _ = self.read_on(length, bounds);
        self.refused
    }

    /// The function at an address, and the distance from its start in bytes.
    pub fn look_up(&self, address: u64) -> Option<(String, u64)> {
        let (start, (end, name)) = self.functions.range(..=address).next_back()?;
        let name = self.names.get(name.clone())?;
        (address < *end).then(|| (clean(name), address - start))
    }

    fn read_on(&mut self, length: u64, bounds: &mut Bounds) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        while self.parsed < length && !self.refused {
            let count = self.file.read_at(&mut chunk, self.parsed)?;
            let text = chunk.get(..count).unwrap_or_default();
            // A line that has no end yet is still being written.
            let Some(last) = text.iter().rposition(|&byte| byte == b'\n') else {
                self.refused = count == CHUNK;
                break;
            };
            let lines = text.get(..=last).unwrap_or_default();
            for line in lines.split(|&byte| byte == b'\n') {
                self.add_line(line, bounds.functions);
            }
            self.parsed += lines.len() as u64;
            bounds.total = bounds.total.saturating_sub(lines.len() as u64);
        }
        Ok(())
    }

    /// Takes in one line: `START SIZE NAME`, numbers in hexadecimal. Lines of another kind are
    /// passed over.
    fn add_line(&mut self, line: &[u8], most: usize) {
        let Some((range, name)) = parse_line(line) else { return };
        self.remove_overlapped(&range);
        if self.functions.len() >= most {
            self.refused = true;
            return;
        }
        let at = self.names.len();
        self.names.extend_from_slice(name);
        self.functions.insert(range.start, (range.end, at..self.names.len()));
    }

    /// Removes functions whose place is given to another: code is moved and collected.
    fn remove_overlapped(&mut self, range: &Range<u64>) {
        while let Some((&start, (end, _))) = self.functions.range(..range.end).next_back() {
            if *end <= range.start {
                break;
            }
            self.functions.remove(&start);
        }
    }
}

fn parse_line(line: &[u8]) -> Option<(Range<u64>, &[u8])> {
    let mut fields = line.splitn(3, |&byte| byte == b' ');
    let mut number =
        || fields.next().and_then(|digits| parse_hex(digits.strip_prefix(b"0x").unwrap_or(digits)));
    let (start, size) = (number()?, number()?);
    let name = fields.next()?.trim_ascii();
    let end = start.checked_add(size).filter(|end| *end > start)?;
    let name = name.get(..LONGEST_NAME).unwrap_or(name);
    (!name.is_empty()).then_some((start..end, name))
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn temporary(text: &[u8]) -> File {
        let id = format!("{:?}", std::thread::current().id());
        let path = std::env::temp_dir().join(format!("dwell-map-{}-{id}", std::process::id()));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(text).unwrap();
        file
    }

    fn read(text: &[u8]) -> PerfMap {
        let mut map = PerfMap::new(temporary(text));
        assert!(!map.refresh(&mut Bounds::default()));
        map
    }

    #[test]
    fn names_addresses_inside_functions_only() {
        let map = read(b"1000 20 LazyCompile:*add /a b.js:1\n0x2000 10 two\n");
        assert_eq!(map.look_up(0x1000), Some(("LazyCompile:*add /a b.js:1".into(), 0)));
        assert_eq!(map.look_up(0x101f), Some(("LazyCompile:*add /a b.js:1".into(), 0x1f)));
        assert_eq!(map.look_up(0x1020), None);
        assert_eq!(map.look_up(0x200f), Some(("two".into(), 15)));
        assert_eq!((map.look_up(0), map.look_up(u64::MAX)), (None, None));
    }

    #[test]
    fn later_functions_take_the_place_of_earlier_ones() {
        let map = read(b"1000 100 old\n1100 100 next\n1080 100 new\n");
        assert_eq!(map.look_up(0x1000), None);
        assert_eq!(map.look_up(0x1100), Some(("new".into(), 0x80)));
        assert_eq!(map.look_up(0x1190), None);
    }

    #[test]
    fn takes_in_what_is_added() {
        let file = temporary(b"1000 10 one\n2000 10 tw");
        let mut map = PerfMap::new(file.try_clone().unwrap());
        map.refresh(&mut Bounds::default());
        assert_eq!(map.look_up(0x2000), None);
        (&file).write_all(b"o\n").unwrap();
        map.refresh(&mut Bounds::default());
        assert_eq!(map.look_up(0x2000), Some(("two".into(), 0)));
    }

    #[test]
    fn refuses_a_gigabyte_without_reading_it() {
        let file = temporary(b"1000 10 one\n");
        file.set_len(1 << 30).unwrap();
        let mut map = PerfMap::new(file);
        assert!(map.refresh(&mut Bounds::default()));
        assert!(!map.refresh(&mut Bounds::default()), "counted once");
        assert_eq!((map.taken(), map.look_up(0x1000)), (0, None));
    }

    #[test]
    fn refuses_too_many_functions_and_endless_lines() {
        let mut bounds = Bounds { functions: 2, ..Bounds::default() };
        let mut map = PerfMap::new(temporary(b"1 1 a\n2 1 b\n3 1 c\n"));
        assert!(map.refresh(&mut bounds));
        assert_eq!(map.look_up(2), Some(("b".into(), 0)));
        let mut map = PerfMap::new(temporary(&vec![b'1'; CHUNK + 1]));
        assert!(map.refresh(&mut Bounds::default()));
    }

    #[test]
    fn survives_garbage() {
        let map =
            read(b"\n \n  \nx y z\n1 1\n1 0 zero\nffffffffffffffff 1 end\n5 1 \x1b[2J\xff\n\0\n");
        assert_eq!(map.look_up(5), Some(("\\x1b[2J\u{fffd}".into(), 0)));
        assert_eq!(map.functions.len(), 1);
    }
}
