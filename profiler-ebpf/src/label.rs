//! What a request asks for: read from its first bytes, in the words of its protocol.
//!
//! Nothing leaves the kernel but what names the request: of HTTP the method and the path, with the
//! segments that look like an id folded; of a statement the text up to its first value; of Redis and
//! memcached the command. Bodies, keys, parameters and the text behind a `?` stay where they are.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::turn::{
    Conn, LABEL_LENGTH, Label, PROTOCOL_HTTP, PROTOCOL_HTTP2, PROTOCOL_MEMCACHED, PROTOCOL_MYSQL,
    PROTOCOL_POSTGRES, PROTOCOL_POSTGRES_PREPARED, PROTOCOL_POSTGRES_STARTUP, PROTOCOL_REDIS,
    PROTOCOL_TLS,
};
use profiler_common::unwind::mix;

use crate::globals;
use crate::maps::{self, LABELS, RequestScratch, slot};
use crate::registers::Saved;

/// Bytes of a request that are looked at: a power of two.
const HEAD: usize = 128;

/// recvmsg(2), readv(2) and preadv(2) take a list of buffers.
const RECVMSG: u16 = 47;
const READV: u16 = 19;

/// Work space. What a loop goes on with is kept here, not in registers, and each step is a function out
/// of line, so that it stays here: what the verifier knows of a register differs with each way through
/// an iteration, and each way would be walked for itself (a million instructions).
#[repr(C)]
pub struct Text {
    head: [u8; HEAD],
    /// Bytes of it that are there.
    length: u32,
    /// The next letter of it to look at.
    at: u32,
    /// Where the next letter of the label goes.
    out: u32,
    /// Where the segment of the path at hand begins.
    segment: u32,
    /// It has a digit.
    digits: u32,
    label: Label,
}

/// Reads the label of the request whose first `length` bytes the current thread has just received.
#[inline(never)]
pub fn read(conn: &mut Conn, length: u32, scratch: &mut RequestScratch) {
    if globals::labels() == 0 {
        return;
    }
    let text = &mut scratch.text;
    if !fetch(length, text) {
        conn.turn.label = 0;
        return;
    }
    text.label.text = [0; LABEL_LENGTH];
    text.label.length = 0;
    text.out = 0;
    let protocol = parse(length, text);
    if protocol == PROTOCOL_HTTP2 {
        conn.multiplexed = 1;
    }
    text.label.protocol = protocol;
    conn.turn.label = if protocol == 0 { 0 } else { intern(conn.turn.label, text) };
}

/// Copies the first bytes from where the system call has put them.
#[inline(always)]
fn fetch(length: u32, text: &mut Text) -> bool {
    let Some(call) = Saved::of_current().and_then(Saved::syscall) else { return false };
    let buffer = match call.number {
        // `struct msghdr` has the list as its third word (include/linux/socket.h).
        RECVMSG => user_word(user_word(call.second + 16)),
        READV => user_word(call.second),
        _ => call.second,
    };
    let wanted = if length < HEAD as u32 { length } else { HEAD as u32 };
    text.head = [0; HEAD];
    // SAFETY: the buffer is as long; the helper checks the source.
    let result = unsafe {
        bpf_probe_read_user(
            text.head.as_mut_ptr().cast(),
            wanted & (2 * HEAD as u32 - 1),
            buffer as *const core::ffi::c_void,
        )
    };
    text.length = wanted;
    result == 0
}

#[inline(always)]
fn user_word(address: u64) -> u64 {
    crate::unwind::read_user(address).unwrap_or(0)
}

/// Finds out the protocol, and writes the text of the label; 0 for a protocol that is not known.
#[inline(always)]
fn parse(length: u32, text: &mut Text) -> u32 {
    let head = &text.head;
    let first = head[0];
    let big = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let start = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let code = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    if first == b'*' && head[1] > b'0' && head[1] <= b'9' {
        return redis(text);
    }
    // One message or several: the first fits in what has come.
    if big >= 4 && big < length {
        match first {
            b'Q' | b'P' => {
                text.at = 5;
                if first == b'P' {
                    skip_name(text);
                }
                statement(text);
                return PROTOCOL_POSTGRES;
            }
            b'B' => return prepared(text),
            b'p' => return PROTOCOL_POSTGRES_STARTUP,
            _ => {}
        }
    }
    // A session begins: version 3, or asks for encryption (src/include/libpq/pqcomm.h).
    if start == length && (code == 196_608 || code == 196_610 || code == 80_877_103) {
        return PROTOCOL_POSTGRES_STARTUP;
    }
    if first >= 0x14 && first <= 0x17 && head[1] == 3 {
        return PROTOCOL_TLS;
    }
    let little = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    // COM_QUERY and COM_STMT_PREPARE (include/my_command.h).
    if little + 4 == length && head[3] == 0 && (head[4] == 3 || head[4] == 0x16) {
        text.at = 5;
        statement(text);
        return PROTOCOL_MYSQL;
    }
    words(text)
}

/// `*3\r\n$3\r\nSET\r\n…`: the first string is the command.
#[inline(never)]
fn redis(text: &mut Text) -> u32 {
    text.segment = 0;
    text.at = 1;
    for _ in 1..32 {
        if !redis_letter(text) {
            break;
        }
    }
    if text.out == 0 { 0 } else { PROTOCOL_REDIS }
}

/// The line with the number of strings, the line with the length of the first, and its letters.
#[inline(never)]
fn redis_letter(text: &mut Text) -> bool {
    let letter = next(text);
    if letter == b'\n' {
        text.segment += 1;
        return text.segment <= 2;
    }
    if text.segment != 2 || letter == b'\r' {
        return true;
    }
    let known = is_letter(letter) || letter == b'.' || letter == b'_';
    if known {
        push(upper(letter), text);
    } else {
        text.out = 0;
    }
    known
}

/// The first word says what it is: `GET /path HTTP/1.1`, `PING`, `get key`.
#[inline(never)]
fn words(text: &mut Text) -> u32 {
    text.at = 0;
    for _ in 0..12 {
        if !word_letter(text) {
            break;
        }
    }
    let length = text.out;
    if length < 3 {
        return 0;
    }
    let after = text.head[slot(length, HEAD)];
    let next = text.head[slot(length + 1, HEAD)];
    let small = text.head[0] >= b'a';
    if after == b' ' && !small && (next == b'/' || next == b'*' || next == b'h') {
        // `PRI * HTTP/2.0` opens a connection of HTTP/2 (RFC 9113, section 3.4).
        if text.head[0] == b'P' && text.head[1] == b'R' && text.head[2] == b'I' {
            return PROTOCOL_HTTP2;
        }
        return path(text);
    }
    match after {
        b' ' | b'\r' if small => PROTOCOL_MEMCACHED,
        b'\r' => PROTOCOL_REDIS,
        _ => 0,
    }
}

#[inline(never)]
fn word_letter(text: &mut Text) -> bool {
    let letter = next(text);
    let known = is_letter(letter);
    if known {
        push(letter, text);
    }
    known
}

/// Copies the path, each segment with a digit as `:id`, but for versions (`v2`).
#[inline(never)]
fn path(text: &mut Text) -> u32 {
    // Behind the method there is a blank.
    text.at = text.out + 1;
    push(b' ', text);
    text.segment = text.out;
    text.digits = 0;
    for _ in 4..HEAD {
        if !path_letter(text) {
            break;
        }
    }
    PROTOCOL_HTTP
}

#[inline(never)]
fn path_letter(text: &mut Text) -> bool {
    let letter = if text.at < text.length { next(text) } else { b' ' };
    let ends = letter <= b' ' || letter == b'?' || letter == b'#' || letter == b';';
    if ends || letter == b'/' {
        close_segment(text);
    }
    if ends {
        return false;
    }
    text.digits |= (letter >= b'0' && letter <= b'9') as u32;
    push(if letter < 0x7f { letter } else { b'?' }, text);
    if letter == b'/' {
        text.segment = text.out;
        text.digits = 0;
    }
    true
}

#[inline(never)]
fn close_segment(text: &mut Text) {
    let length = text.out.wrapping_sub(text.segment);
    let first = text.label.text[slot(text.segment, LABEL_LENGTH)];
    let is_version = length <= 3 && first == b'v';
    if (text.digits != 0 && !is_version) || length > 40 {
        text.out = text.segment;
        push(b':', text);
        push(b'i', text);
        push(b'd', text);
    }
}

/// Goes to behind the next 0.
#[inline(never)]
fn skip_name(text: &mut Text) {
    for _ in 0..64 {
        if next(text) == 0 {
            break;
        }
    }
}

/// The name of a prepared statement, behind that of the portal.
#[inline(never)]
fn prepared(text: &mut Text) -> u32 {
    text.at = 5;
    skip_name(text);
    for _ in 0..32 {
        if !name_letter(text) {
            break;
        }
    }
    PROTOCOL_POSTGRES_PREPARED
}

#[inline(never)]
fn name_letter(text: &mut Text) -> bool {
    let letter = next(text);
    let known = letter > b' ' && letter < 0x7f;
    if known {
        push(letter, text);
    }
    known
}

/// The text of a statement up to its first value: a quote, or a number that is not part of a name.
#[inline(never)]
fn statement(text: &mut Text) {
    text.digits = 0;
    for _ in 0..LABEL_LENGTH {
        if !statement_letter(text) {
            break;
        }
    }
}

#[inline(never)]
fn statement_letter(text: &mut Text) -> bool {
    if text.at >= text.length {
        return false;
    }
    let letter = next(text);
    let is_digit = letter >= b'0' && letter <= b'9';
    if letter == 0 || letter == b'\'' || letter == b'$' || (is_digit && text.digits == 0) {
        return false;
    }
    // In a name, digits are part of it.
    text.digits = (is_letter(letter) || is_digit || letter == b'_') as u32;
    push(letter, text);
    true
}

/// The next letter of the request; 0 behind what was copied of it.
#[inline(always)]
fn next(text: &mut Text) -> u8 {
    let at = text.at;
    text.at = at + 1;
    if at < HEAD as u32 { text.head[slot(at, HEAD)] } else { 0 }
}

#[inline(always)]
fn push(letter: u8, text: &mut Text) {
    let at = text.out;
    if at < LABEL_LENGTH as u32 {
        text.label.text[slot(at, LABEL_LENGTH)] = letter;
        text.out = at + 1;
    }
}

#[inline(always)]
fn is_letter(letter: u8) -> bool {
    let small = letter | 0x20;
    small >= b'a' && small <= b'z'
}

#[inline(always)]
fn upper(letter: u8) -> u8 {
    if letter >= b'a' && letter <= b'z' { letter & 0xdf } else { letter }
}

/// Finds or adds the label; 0 where it found no place. `last` is that of the connection's last request.
#[inline(always)]
fn intern(last: u64, text: &mut Text) -> u64 {
    text.label.length = text.out;
    for at in 0..LABEL_LENGTH / 8 {
        end_at(text, at * 8);
    }
    let id = identity(&text.label) | 1;
    // SAFETY: a look-up; the value is not used.
    if id == last || unsafe { LABELS.get(&id) }.is_some() {
        return id;
    }
    match LABELS.insert(&id, &text.label, BPF_NOEXIST as u64) {
        Ok(()) => id,
        Err(error) if error == -17 => id,
        Err(_) => {
            maps::count(|loss| loss.labels += 1);
            0
        }
    }
}

/// Clears, in the eight letters from `at` on, what a folded segment has left behind the end: all of the
/// text is the identity of a label.
#[inline(never)]
fn end_at(text: &mut Text, at: usize) {
    let left = text.out.saturating_sub(at as u32);
    if left >= 8 {
        return;
    }
    let at = slot(at as u32, LABEL_LENGTH - 7);
    // SAFETY: eight bytes inside the array; unaligned by construction of the type.
    unsafe {
        let word = text.label.text.as_mut_ptr().add(at).cast::<u64>();
        word.write_unaligned(word.read_unaligned() & ((1 << (left * 8)) - 1));
    }
}

#[inline(always)]
fn identity(label: &Label) -> u64 {
    let mut hash = mix(label.protocol as u64, label.length as u64);
    for at in 0..LABEL_LENGTH / 8 {
        // SAFETY: inside the array; unaligned by construction of the type.
        let word = unsafe { label.text.as_ptr().add(at * 8).cast::<u64>().read_unaligned() };
        hash = mix(hash, word);
    }
    hash
}
