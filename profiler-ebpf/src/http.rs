//! Labels of HTTP/1: the method and the path, with the segments folded that look like an id.

use profiler_common::turn::{LABEL_LENGTH, LABEL_WORDS, Label, PROTOCOL_HTTP, PROTOCOL_HTTP2};

use crate::label::{HEAD, Text};
use crate::letters::{self, Ends};
use crate::maps::slot;

/// Segments longer than this are folded: a hash without a digit.
const LONGEST_SEGMENT: u32 = 40;

/// A request whose method has `method` letters; 0 if it is none.
#[inline(always)]
pub fn request(method: u32, text: &mut Text) -> u32 {
    let next = text.byte(method + 1);
    if next != b'/' && next != b'*' && next != b'h' {
        return 0;
    }
    // `PRI * HTTP/2.0` opens a connection of HTTP/2 (RFC 9113, section 3.4).
    if text.head[0] as u32 == u32::from_le_bytes(*b"PRI ") {
        return PROTOCOL_HTTP2;
    }
    for word in 0..LABEL_WORDS {
        text.label.words[word] = text.head[word];
    }
    // The blank behind the method is not the end.
    let blank = 0xffu64 << (8 * (method & 7));
    text.label.words[0] = (text.head[0] & !blank) | (b'_' as u64) << (8 * (method & 7));
    let end = letters::find(&text.label.words, Ends::Path);
    text.label.words[0] = text.head[0];
    text.end_at(if end < text.length { end } else { text.length });
    if has_digits(&text.label) {
        fold(method, text);
    }
    PROTOCOL_HTTP
}

#[inline(always)]
fn has_digits(label: &Label) -> bool {
    let mut found = 0;
    for word in 0..LABEL_WORDS {
        if (word * 8) as u32 >= label.length {
            break;
        }
        found |= letters::digits(label.words[word]);
    }
    found != 0
}

/// Copies the path anew, each segment with a digit as `:id`, but for versions (`v2`).
#[inline(never)]
fn fold(method: u32, text: &mut Text) {
    text.at = method + 1;
    text.out = method + 1;
    text.segment = text.out;
    text.digits = 0;
    for _ in 4..HEAD {
        if !letter(text) {
            break;
        }
    }
    let length = text.out;
    text.end_at(length);
}

/// The next letter; out of line for the reason that `skip_letter` has.
#[inline(never)]
fn letter(text: &mut Text) -> bool {
    let letter = text.byte(text.at);
    text.at += 1;
    let ends = letter <= b' ' || letter == b'?' || letter == b'#' || letter == b';';
    if ends || letter == b'/' {
        close_segment(text);
    }
    if ends {
        return false;
    }
    text.digits |= (letter >= b'0' && letter <= b'9') as u32;
    push(letter, text);
    if letter == b'/' {
        text.segment = text.out;
        text.digits = 0;
    }
    true
}

#[inline(never)]
fn close_segment(text: &mut Text) {
    let length = text.out.wrapping_sub(text.segment);
    let is_version = length <= 3 && letter_of_label(text.segment, text) == b'v';
    if (text.digits != 0 && !is_version) || length > LONGEST_SEGMENT {
        text.out = text.segment;
        push(b':', text);
        push(b'i', text);
        push(b'd', text);
    }
}

#[inline(always)]
fn letter_of_label(at: u32, text: &Text) -> u8 {
    // SAFETY: inside the array.
    unsafe { *text.label.words.as_ptr().cast::<u8>().add(slot(at, LABEL_LENGTH)) }
}

#[inline(always)]
fn push(letter: u8, text: &mut Text) {
    let at = text.out;
    if at < LABEL_LENGTH as u32 {
        // SAFETY: inside the array.
        unsafe {
            *text.label.words.as_mut_ptr().cast::<u8>().add(slot(at, LABEL_LENGTH)) = letter;
        }
        text.out = at + 1;
    }
}
