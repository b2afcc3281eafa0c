//! Addresses of kernel text that the probes need.

/// Start and end of the scheduler's own functions (`__sched_text_start`, `__sched_text_end`),
/// which are never what a thread waits in. Zeroes where the kernel hides addresses.
pub fn sched_text() -> (u64, u64) {
    let Ok(text) = std::fs::read_to_string("/proc/kallsyms") else { return (0, 0) };
    parse(&text)
}

fn parse(kallsyms: &str) -> (u64, u64) {
    let find = |wanted: &str| {
        kallsyms.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = words.next()?;
            (words.nth(1)? == wanted).then(|| u64::from_str_radix(address, 16).ok()).flatten()
        })
    };
    (find("__sched_text_start").unwrap_or(0), find("__sched_text_end").unwrap_or(0))
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    #[test]
    fn finds_both_ends() {
        let text = "ffffffff81000000 T _text\nffffffff821f84a0 T __sched_text_start\n\
                    ffffffff82200fb7 T __sched_text_end\nbroken\n";
        assert_eq!(super::parse(text), (0xffff_ffff_821f_84a0, 0xffff_ffff_8220_0fb7));
        assert_eq!(super::parse(""), (0, 0));
    }
}
