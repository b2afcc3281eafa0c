//! Addresses of kernel text that the probes need.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// What the probes have to know of the kernel's text; zeroes where the kernel hides addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelText {
    /// Start and end of the scheduler's own functions (`__sched_text_start`, `__sched_text_end`),
    /// which are never what a thread waits in.
    pub scheduler: (u64, u64),
    /// What a wait for a futex leaves in `restart_block` while it goes on after a signal or a stop
    /// (`futex_wait_restart`, kernel/futex/waitwake.c); no other call does.
    pub restart_futex: u64,
    /// The same of poll(2) (`do_restart_poll`, fs/select.c).
    pub restart_poll: u64,
}

impl KernelText {
    fn place(&mut self, name: &[u8]) -> Option<&mut u64> {
        Some(match name {
            b"__sched_text_start" => &mut self.scheduler.0,
            b"__sched_text_end" => &mut self.scheduler.1,
            b"do_no_restart_syscall" => &mut self.restart_futex,
            b"do_restart_poll" => &mut self.restart_poll,
            _ => return None,
        })
    }

    fn is_whole(&self) -> bool {
        let (start, end) = self.scheduler;
        [start, end, self.restart_futex, self.restart_poll].iter().all(|address| *address != 0)
    }
}

/// Reads it from the kernel's list of symbols.
pub fn kernel_text() -> KernelText {
    // Line by line: the whole list, which is read at the end as well, is 5 to 10 MB.
    let list = File::open("/proc/kallsyms").map(BufReader::new);
    list.map_or_else(|_| KernelText::default(), find)
}

fn find(list: impl BufRead) -> KernelText {
    let mut text = KernelText::default();
    for line in list.split(b'\n').map_while(Result::ok) {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (address, name) = (words.next(), words.nth(1));
        let place = name.and_then(|name| text.place(name)).filter(|place| **place == 0);
        let Some(place) = place else { continue };
        *place = address.and_then(parse_hex).unwrap_or(0);
        if text.is_whole() {
            break;
        }
    }
    text
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there() {
        let text = "ffffffff81000000 T _text\nffffffff821f84a0 T __sched_text_start\n\
                    ffffffff812c7f10 t do_restart_poll\n\
                    ffffffff82200fb7 T __sched_text_end\nbroken\n";
        let found = KernelText {
            scheduler: (0xffff_ffff_821f_84a0, 0xffff_ffff_8220_0fb7),
            restart_futex: 0,
            restart_poll: 0xffff_ffff_812c_7f10,
        };
        assert_eq!(find(text.as_bytes()), found);
        assert_eq!(find(&b""[..]), KernelText::default());
    }
}
