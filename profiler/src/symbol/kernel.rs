//! Names of kernel functions, from `/proc/kallsyms`.
//!
//! Read here rather than by blazesym, which keeps 25 MB of it: a third of what dwell may take for a
//! report on 10,000 threads.

use std::fs::File;
use std::io::{BufRead, BufReader};

use super::clean::clean;
use super::maps::parse_hex;

/// Kernel addresses have the highest bit set.
const LOWEST: u64 = 1 << 63;
/// Farthest from the start of a function that an address can be, in bytes. The list has no sizes,
/// so that the last function before a gap would claim all of it.
const LONGEST_FUNCTION: u64 = 1 << 20;
/// Most bytes of names: the largest kernels have 10 MB of them, modules included.
const MOST_BYTES: usize = 64 << 20;

/// Names kernel functions; reads the kernel's list once, when first asked.
#[derive(Debug, Default)]
pub(super) struct KernelNames {
    functions: Option<Functions>,
}

/// The functions of the kernel by rising address.
#[derive(Debug, Default)]
struct Functions {
    /// Address, and where the name begins in `names`.
    starts: Vec<(u64, u32)>,
    /// Each ends with a line break.
    names: Vec<u8>,
}

impl KernelNames {
    pub fn new() -> Self {
        Self::default()
    }

    /// The function at a kernel address and the distance from its start in bytes; nothing where
    /// the kernel hides its addresses (`kernel.kptr_restrict`) or has no list.
    pub fn look_up(&mut self, address: u64) -> Option<(String, u64)> {
        if address < LOWEST {
            return None;
        }
        let functions = self.functions.get_or_insert_with(|| {
            let list = File::open("/proc/kallsyms").map(BufReader::new);
            list.map(read).unwrap_or_default()
        });
        functions.look_up(address)
    }
}

/// Parses `ADDRESS TYPE NAME [MODULE]` lines; what is no function, or makes no sense, is left out.
fn read(mut list: impl BufRead) -> Functions {
    let mut functions = Functions::default();
    let mut line = Vec::new();
    while list.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        functions.add(&line);
        line.clear();
    }
    // Of several names for an address the first one counts.
    functions.starts.sort_by_key(|(address, _)| *address);
    functions.starts.dedup_by_key(|(address, _)| *address);
    functions.starts.shrink_to_fit();
    functions
}

impl Functions {
    fn add(&mut self, line: &[u8]) {
        let mut words = line.split(|byte| byte.is_ascii_whitespace());
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        let is_code = matches!(kind, b"t" | b"T" | b"w" | b"W");
        let address = parse_hex(address).filter(|address| *address >= LOWEST);
        let place = u32::try_from(self.names.len()).ok();
        if let (true, Some(address), Some(place)) = (is_code && !name.is_empty(), address, place)
            && self.names.len() + name.len() < MOST_BYTES
        {
            self.starts.push((address, place));
            self.names.extend_from_slice(name);
            self.names.push(b'\n');
        }
    }

    fn look_up(&self, address: u64) -> Option<(String, u64)> {
        let after = self.starts.partition_point(|(start, _)| *start <= address);
        let (start, place) = *self.starts.get(after.checked_sub(1)?)?;
        let offset = address - start;
        let name = self.names.get(place as usize..)?.split(|byte| *byte == b'\n').next()?;
        (offset < LONGEST_FUNCTION).then(|| (clean(name), offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"\
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000100 D jiffies
ffffffffc0000010 t in_module\t[some]
ffffffff81000200 t schedule
0000000000000000 A fixed_percpu_data
broken
 \xff
";

    #[test]
    fn finds_the_function_before_an_address() {
        let functions = read(LIST);
        let named = |name: &str, offset| Some((name.to_owned(), offset));
        assert_eq!(functions.look_up(0xffff_ffff_8100_0150), named("_text", 0x150));
        assert_eq!(functions.look_up(0xffff_ffff_8100_0200), named("schedule", 0));
        assert_eq!(functions.look_up(0xffff_ffff_c000_0011), named("in_module", 1));
        assert_eq!(functions.look_up(0xffff_ffff_a000_0000), None);
        assert_eq!(functions.look_up(0xffff_ffff_8000_0000), None);
    }

    #[test]
    fn survives_any_cut_of_the_list() {
        for end in 0..LIST.len() {
            read(&LIST[..end]);
        }
    }
}
