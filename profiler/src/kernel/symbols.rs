//! Addresses of kernel text that the probes need.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// Start and end of the scheduler's own functions (`__sched_text_start`, `__sched_text_end`),
/// which are never what a thread waits in. Zeroes where the kernel hides addresses.
pub fn sched_text() -> (u64, u64) {
    // Line by line: the whole list, which is read at the end as well, is 5 to 10 MB.
    let list = File::open("/proc/kallsyms").map(BufReader::new);
    list.map_or((0, 0), find)
}

fn find(list: impl BufRead) -> (u64, u64) {
    let (mut start, mut end) = (None, None);
    for line in list.split(b'\n').map_while(Result::ok) {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (address, name) = (words.next(), words.nth(1));
        let found = match name {
            Some(b"__sched_text_start") => &mut start,
            Some(b"__sched_text_end") => &mut end,
            _ => continue,
        };
        *found = found.or_else(|| parse_hex(address?));
        if start.is_some() && end.is_some() {
            break;
        }
    }
    (start.unwrap_or(0), end.unwrap_or(0))
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    #[test]
    fn finds_both_ends() {
        let text = "ffffffff81000000 T _text\nffffffff821f84a0 T __sched_text_start\n\
                    ffffffff82200fb7 T __sched_text_end\nbroken\n";
        assert_eq!(super::find(text.as_bytes()), (0xffff_ffff_821f_84a0, 0xffff_ffff_8220_0fb7));
        assert_eq!(super::find(&b""[..]), (0, 0));
    }
}
