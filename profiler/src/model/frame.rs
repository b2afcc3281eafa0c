//! Functions on a stack.

use std::ops::Range;

use super::CodeAddress;

/// A stack frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Function, or `module+0xoffset`, or the bare address: never empty.
    pub name: String,
    /// Where the thread stands in it, or returns to.
    pub address: u64,
    /// Inlined into the next frame outwards, which has the same address.
    pub inlined: bool,
    /// Where it lies, if it has no name but can be given one later.
    pub lies_at: Option<CodeAddress>,
    /// Where the last segment lies in the name: looked for once, since a stack is shared by thousands of
    /// waits, each of which is asked what it waits for.
    last: Range<usize>,
}

impl Frame {
    /// A frame of this name.
    pub fn new(name: String, address: u64, inlined: bool) -> Self {
        let last = last_segment(&name);
        Self { name, address, inlined, lies_at: None, last }
    }

    /// The same frame, to be given a name later.
    pub fn lying_at(self, code: CodeAddress) -> Self {
        Self { lies_at: Some(code), ..self }
    }

    /// The name of the function itself: `Parker::park(bool, long)` → `park`,
    /// `<T as lock::Raw>::lock_slow::<u8>` → `lock_slow`.
    pub fn last_segment(&self) -> &str {
        self.name.get(self.last.clone()).unwrap_or(&self.name)
    }

    /// That without underscores in front: `__pthread_mutex_lock@GLIBC_2.2.5` → `pthread_mutex_lock`.
    pub fn bare(&self) -> &str {
        self.last_segment().trim_start_matches('_')
    }
}

fn last_segment(name: &str) -> Range<usize> {
    // Most names are those of C, and there are millions of them on a large host.
    if !name.bytes().any(|byte| matches!(byte, b'<' | b':' | b'(' | b'@')) {
        return 0..name.len();
    }
    let mut depth = 0_i32;
    let mut start = 0;
    let mut end = name.len();
    let mut previous = ' ';
    for (at, character) in name.char_indices() {
        match character {
            '<' if depth == 0 && at > start => {
                end = at;
                depth += 1;
            }
            '<' => depth += 1,
            '>' if previous != '-' => depth -= 1,
            ':' if depth == 0 && previous == ':' && !name[at + 1..].starts_with('<') => {
                start = at + 1;
                end = name.len();
            }
            '(' | '@' if depth == 0 && at > start => {
                end = end.min(at);
                break;
            }
            _ => {}
        }
        previous = character;
    }
    let segment = name.get(start..end).unwrap_or(name).trim_end_matches(':');
    start..start + segment.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_of_names_in_several_languages() {
        for (name, last) in [
            ("main", "main"),
            ("a::b::c", "c"),
            ("Parker::park(bool, long)", "park"),
            ("ns::f(std::vector<a::b>)", "f"),
            ("<T as lock::Raw>::lock_slow::<u8>", "lock_slow"),
            ("a::f<b::c>", "f"),
            ("a::B<c::D>::e", "e"),
            ("pthread_mutex_lock@GLIBC_2.2.5", "pthread_mutex_lock"),
            ("<fn() -> a::B as C>::d", "d"),
            ("operator->", "operator->"),
            ("x::<", "x"),
            ("", ""),
            ("名::前", "前"),
        ] {
            let frame = Frame::new(name.to_owned(), 0, false);
            assert_eq!(frame.last_segment(), last, "{name}");
        }
    }
}
