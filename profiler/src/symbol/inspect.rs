//! Looks at an ELF file before anything else parses it: where its bytes are loaded, and what of it
//! may be trusted to the symbolizer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::model::BuildId;

/// Bytes of the headers of a 64-bit file.
const FILE_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;
/// Most bytes read of any one table.
const LARGEST_TABLE: usize = 4 << 20;
/// Most bytes of symbols: an index of all of them is built in memory, which takes about as much again.
/// The largest browser has 40 MiB of them.
const LARGEST_SYMBOLS: u64 = 64 << 20;
/// Most bytes of their names, which are only looked at.
const LARGEST_NAMES: u64 = 1 << 30;
/// Most bytes of debug information.
const LARGEST_DEBUG: u64 = 8 << 30;
/// Where separate debug information is installed on this machine.
pub(super) const DEBUG_FOLDER: &str = "/usr/lib/debug/.build-id";

const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;
const SHT_DYNSYM: u32 = 11;
const SHF_COMPRESSED: u64 = 0x800;
const PT_LOAD: u32 = 1;
const PF_X: u32 = 1;

/// What is known of an ELF file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    loads: Vec<Load>,
    /// Its symbols may be read: they take no more memory than a profiler may use.
    pub readable: bool,
    /// It has debug information, wherever that leads.
    pub has_debug: bool,
    /// The file's own debug information may be read: it has some, which names no other file
    /// (a hostile one could name any file of this machine) and is not compressed (it could grow
    /// without bound).
    pub debug: bool,
    /// Identifies the build, if the file says.
    pub build_id: Option<BuildId>,
    /// How to get from each function to its caller, and an index of it.
    pub eh_frame: Option<Section>,
    /// See [`Self::eh_frame`].
    pub eh_frame_hdr: Option<Section>,
    /// Bytes of its symbols.
    pub symbols: u64,
}

/// A part of the file that is mapped into memory.
#[derive(Debug, PartialEq, Eq)]
struct Load {
    offset: u64,
    size: u64,
    address: u64,
    executable: bool,
}

impl Shape {
    /// Turns a position in the file into the virtual address that its symbols use.
    pub fn to_virtual(&self, offset: u64) -> Option<u64> {
        self.loads.iter().find_map(|load| {
            let inside = offset.checked_sub(load.offset).filter(|inside| *inside < load.size)?;
            load.address.checked_add(inside)
        })
    }

    /// What has to be added to virtual addresses, where code of the file lies at `start`, from the position `offset` in the
    /// file on and for so many bytes. A page of code can begin with the end of another part.
    pub fn bias(&self, start: u64, offset: u64, length: u64) -> Option<u64> {
        let end = offset.checked_add(length)?;
        let overlap = |load: &&Load| {
            let last = end.min(load.offset.saturating_add(load.size));
            last.saturating_sub(offset.max(load.offset))
        };
        let code = self.loads.iter().filter(|load| load.executable);
        let load = code.max_by_key(overlap).filter(|load| overlap(load) > 0)?;
        let place = start.wrapping_add(load.offset.wrapping_sub(offset));
        Some(place.wrapping_sub(load.address))
    }

    /// The lowest virtual address of the file: 0 unless it must be loaded at a fixed place.
    pub fn start(&self) -> u64 {
        self.loads.iter().map(|load| load.address).min().unwrap_or(0)
    }

    /// The file of debug information that this machine has installed for this build.
    pub fn find_debug_file(&self) -> Option<PathBuf> {
        let name = self.build_id.as_ref()?.file_name();
        let path = Path::new(DEBUG_FOLDER).join(format!("{name}.debug"));
        path.is_file().then_some(path)
    }
}

/// Looks at an ELF file; nothing for what is not a readable 64-bit little-endian one.
pub(super) fn inspect(file: &File) -> Option<Shape> {
    let header = read_exactly(file, 0, FILE_HEADER)?;
    // Class 2: 64 bit; data 1: little-endian.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let loads = read_loads(file, &header)?;
    let sections = read_sections(file, &header)?;
    let mut shape = Shape { loads, ..Shape::default() };
    shape.symbols = sum(&sections, |section| matches!(section.kind, SHT_SYMTAB | SHT_DYNSYM));
    shape.readable = may_read_symbols(&sections, shape.symbols);
    shape.has_debug = sum(&sections, Section::is_debug) > 0;
    shape.debug = may_read_debug(&sections);
    shape.build_id = sections.iter().find_map(|section| section.read_build_id(file));
    for section in sections {
        match &*section.name {
            b".eh_frame" if section.is_readable() => shape.eh_frame = Some(section),
            b".eh_frame_hdr" if section.is_readable() => shape.eh_frame_hdr = Some(section),
            _ => {}
        }
    }
    Some(shape)
}

/// Reads which parts of the file are mapped where.
fn read_loads(file: &File, header: &[u8]) -> Option<Vec<Load>> {
    let table = read_table(file, u64_at(header, 32)?, (header, 54, 56), PROGRAM_HEADER)?;
    let loads = table.chunks_exact(PROGRAM_HEADER).filter_map(|entry| {
        (u32_at(entry, 0)? == PT_LOAD).then_some(Load {
            offset: u64_at(entry, 8)?,
            address: u64_at(entry, 16)?,
            size: u64_at(entry, 32)?,
            executable: u32_at(entry, 4)? & PF_X != 0,
        })
    });
    Some(loads.collect())
}

/// A section, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    name: Vec<u8>,
    kind: u32,
    flags: u64,
    /// Virtual address.
    pub address: u64,
    /// Where it lies in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
}

impl Section {
    /// The build ID, if this is the section that holds it.
    fn read_build_id(&self, file: &File) -> Option<BuildId> {
        if self.kind != SHT_NOTE || self.name != b".note.gnu.build-id" {
            return None;
        }
        let note = read_exactly(file, self.offset, usize::try_from(self.size).ok()?.min(256))?;
        let size = usize::try_from(u32_at(&note, 4)?).ok().filter(|size| *size <= 64)?;
        // Length of the name ("GNU\0"), of the contents, and the type come first.
        let id = note.get(16..16 + size).filter(|_| u32_at(&note, 0) == Some(4))?;
        BuildId::new(id.to_vec())
    }

    /// Whether its bytes are in the file as they are in memory.
    fn is_readable(&self) -> bool {
        self.kind != SHT_NOBITS && !self.is_compressed()
    }

    fn is_debug(&self) -> bool {
        self.name.starts_with(b".debug_") || self.name.starts_with(b".zdebug_")
    }

    fn is_compressed(&self) -> bool {
        self.flags & SHF_COMPRESSED != 0 || self.name.starts_with(b".zdebug_")
    }

    fn names_another_file(&self) -> bool {
        matches!(&*self.name, b".gnu_debuglink" | b".gnu_debugaltlink" | b".debug_sup")
    }
}

/// Reads the list of sections with their names; a file stripped of them has none.
fn read_sections(file: &File, header: &[u8]) -> Option<Vec<Section>> {
    let position = u64_at(header, 40)?;
    if position == 0 {
        return Some(Vec::new());
    }
    let table = read_table(file, position, (header, 58, 60), SECTION_HEADER)?;
    let entries: Vec<&[u8]> = table.chunks_exact(SECTION_HEADER).collect();
    let names = entries.get(usize::from(u16_at(header, 62)?))?;
    let names_size =
        usize::try_from(u64_at(names, 32)?).ok().filter(|size| *size <= LARGEST_TABLE)?;
    let names = read_exactly(file, u64_at(names, 24)?, names_size)?;
    entries.iter().map(|entry| parse_section(entry, &names)).collect()
}

fn parse_section(entry: &[u8], names: &[u8]) -> Option<Section> {
    let name = names.get(usize::try_from(u32_at(entry, 0)?).ok()?..)?;
    let name =
        name.split(|&byte| byte == 0).next()?.get(..).map(|name| &name[..name.len().min(64)])?;
    Some(Section {
        name: name.to_vec(),
        kind: u32_at(entry, 4)?,
        flags: u64_at(entry, 8)?,
        address: u64_at(entry, 16)?,
        offset: u64_at(entry, 24)?,
        size: u64_at(entry, 32)?,
    })
}

/// Bytes of those sections in the file.
fn sum(sections: &[Section], wanted: impl Fn(&Section) -> bool) -> u64 {
    let chosen = sections.iter().filter(|section| section.kind != SHT_NOBITS && wanted(section));
    chosen.fold(0, |sum, section| sum.saturating_add(section.size))
}

/// Whether reading the symbols takes no more memory than a profiler may use.
fn may_read_symbols(sections: &[Section], symbols: u64) -> bool {
    let names = sum(sections, |section| section.kind == SHT_STRTAB && !section.is_debug());
    let hides = |section: &Section| section.is_compressed() && !section.is_debug();
    symbols <= LARGEST_SYMBOLS && names <= LARGEST_NAMES && !sections.iter().any(hides)
}

/// Whether the file's own debug information may be read, if its symbols may.
fn may_read_debug(sections: &[Section]) -> bool {
    let debug = sum(sections, Section::is_debug);
    let suspect = |section: &Section| section.names_another_file() || section.is_compressed();
    debug > 0 && debug <= LARGEST_DEBUG && !sections.iter().any(suspect)
}

/// Reads a table of headers; `counts` are the header and where in it the size of an entry and the
/// number of entries stand.
fn read_table(
    file: &File,
    position: u64,
    (header, entry_at, count_at): (&[u8], usize, usize),
    entry_size: usize,
) -> Option<Vec<u8>> {
    let count = usize::from(u16_at(header, count_at)?);
    // A count of 0 with a table means that the true one is elsewhere: nobody needs 65,280 sections.
    if usize::from(u16_at(header, entry_at)?) != entry_size || count == 0 {
        return None;
    }
    read_exactly(file, position, count * entry_size)
}

fn read_exactly(file: &File, position: u64, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; Some(size).filter(|size| *size <= LARGEST_TABLE.max(65_536 * 64))?];
    file.read_exact_at(&mut bytes, position).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn knows_this_program() {
        let shape = inspect(&File::open("/proc/self/exe").unwrap()).unwrap();
        assert_eq!(shape.start(), 0);
        assert_eq!(shape.to_virtual(0), Some(0));
        assert_eq!(shape.to_virtual(u64::MAX), None);
    }

    #[test]
    fn code_of_a_few_bytes_is_found_in_its_page() {
        let load = |offset, size, address, executable| Load { offset, size, address, executable };
        let loads = vec![load(0, 0x1f00, 0, false), load(0x1f00, 0x20, 0x2f00, true)];
        let shape = Shape { loads, ..Shape::default() };
        assert_eq!(shape.bias(0x50_2000, 0x1000, 0x1000), Some(0x50_0000));
        assert_eq!(shape.bias(0x50_0000, 0x8000, 0x1000), None);
    }

    #[test]
    fn reads_the_build_id_and_the_link_of_a_stripped_program() {
        let shape = inspect(&File::open("/usr/bin/sleep").unwrap()).unwrap();
        assert!(shape.build_id.is_some() && !shape.debug, "{shape:?}");
    }

    #[test]
    fn refuses_what_is_not_elf() {
        assert_eq!(inspect(&File::open("/etc/passwd").unwrap()), None);
        assert_eq!(inspect(&File::open("/proc/self/status").unwrap()), None);
    }

    #[test]
    fn survives_any_change_of_a_byte_in_the_headers() {
        let mut image = std::fs::read("/usr/bin/sleep").unwrap();
        let path = std::env::temp_dir().join(format!("dwell-elf-{}", std::process::id()));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(&image).unwrap();
        let tail = image.len() - 31 * 64;
        for at in (0..1024).chain(tail..image.len()) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                file.write_all_at(&[value], at as u64).unwrap();
                let _ = inspect(&file);
            }
            file.write_all_at(&image[at..=at], at as u64).unwrap();
        }
        image.truncate(100);
        file.set_len(100).unwrap();
        assert_eq!(inspect(&file), None);
    }
}
