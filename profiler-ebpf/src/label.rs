//! What a request asks for: read from its first bytes, in the words of its protocol.
//!
//! Nothing leaves the kernel but what names the request: of HTTP the method and the path, with the
//! segments that look like an id folded; of a statement the text up to its first value; of Redis and
//! memcached the command. Bodies, keys, parameters and the text behind a `?` stay where they are.
//!
//! The text is looked at eight letters at a time (`letters`): one by one, a statement took 800 ns.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::turn::{
    Conn, LABEL_LENGTH, LABEL_WORDS, Label, PROTOCOL_HTTP2, PROTOCOL_MEMCACHED, PROTOCOL_MYSQL,
    PROTOCOL_POSTGRES, PROTOCOL_POSTGRES_PREPARED, PROTOCOL_POSTGRES_STARTUP, PROTOCOL_REDIS,
    PROTOCOL_TLS,
};
use profiler_common::unwind::{fold, mix};

use crate::letters::{self, below};
use crate::maps::{self, LABELS, RequestScratch, slot};
use crate::registers::Saved;
use crate::task::Task;
use crate::{globals, http};

/// Bytes of a request that are looked at: a power of two.
pub const HEAD: usize = 128;

/// recvmsg(2) and readv(2) take a list of buffers.
const RECVMSG: u16 = 47;
const READV: u16 = 19;

/// Work space.
#[repr(C)]
pub struct Text {
    /// The first bytes of the request; behind its end, of others.
    pub head: [u64; HEAD / 8],
    pub label: Label,
    /// Where the request lies in user space.
    buffer: u64,
    /// Bytes of `head` that are there.
    pub length: u32,
    /// The next letter of it to look at.
    pub at: u32,
    /// Where the next letter of the label goes.
    pub out: u32,
    /// Where the segment of the path at hand begins.
    pub segment: u32,
    /// It has a digit.
    pub digits: u32,
    /// Non-zero: another request has come together with this one.
    pub several: u32,
}

impl Text {
    #[inline(always)]
    pub fn byte(&self, at: u32) -> u8 {
        if at >= self.length {
            return 0;
        }
        // SAFETY: inside the array.
        unsafe { *self.head.as_ptr().cast::<u8>().add(slot(at, HEAD)) }
    }

    /// Ends the label at this length. The words behind it keep what was there.
    #[inline(always)]
    pub fn end_at(&mut self, length: u32) {
        self.label.length = length;
        if length < LABEL_LENGTH as u32 {
            let word = length / 8;
            self.label.words[slot(word, LABEL_WORDS)] &= below(length, word);
        }
    }
}

/// Reads the label of the request whose first `length` bytes the current thread has just received.
#[inline(never)]
pub fn read(conn: &mut Conn, length: u32, scratch: &mut RequestScratch) {
    let text = &mut scratch.text;
    text.several = 0;
    if globals::labels() == 0 {
        return;
    }
    if !fetch(length, text) {
        conn.turn.label = 0;
        return;
    }
    conn.header = if length == HEADER { text.head[0] as u32 } else { 0 };
    if is_statement_again(conn, length, text) {
        return;
    }
    text.label.length = 0;
    let protocol = parse(length, text);
    if protocol == PROTOCOL_HTTP2 {
        conn.multiplexed = 1;
    }
    name(conn, protocol, text);
    remember_statement(conn, protocol, text);
}

#[inline(always)]
fn name(conn: &mut Conn, protocol: u32, text: &mut Text) {
    text.label.protocol = protocol;
    conn.turn.label = if protocol == 0 { 0 } else { intern(conn.turn.label, text) };
}

/// Where the text of a statement of PostgreSQL begins: behind `Q` and the length of the message.
const STATEMENT: u32 = 5;

/// Of the first word of that message, the letters that a label depends on.
const STATEMENT_MASK: u64 = !0xff_ffff_ff00;

/// Whether it is the statement that the connection's label was read from, with other values perhaps: it is the
/// same up to the first of them. What that saves: docs/cost.md.
#[inline(always)]
fn is_statement_again(conn: &Conn, length: u32, text: &Text) -> bool {
    let end = conn.statement_end;
    conn.statement != 0
        && end < text.length
        && is_message(length, text)
        && statement(end, text) == conn.statement
}

/// Keeps what is needed to know the statement again, if there is a value in it.
#[inline(always)]
fn remember_statement(conn: &mut Conn, protocol: u32, text: &Text) {
    conn.statement = 0;
    let (end, length) = (STATEMENT + text.label.length, text.label.length);
    let is_simple = protocol == PROTOCOL_POSTGRES && text.head[0] as u8 == b'Q';
    if is_simple && length < LABEL_LENGTH as u32 && end < text.length {
        conn.statement = statement(end, text);
        conn.statement_end = end;
    }
}

/// Hash of a statement up to the letter at `end`, and of that letter: any digit there is like any other, for
/// it begins a number where the letter before is no part of a name.
#[inline(always)]
fn statement(end: u32, text: &Text) -> u64 {
    let ending = text.byte(end);
    let is_digit = ending >= b'0' && ending <= b'9';
    let mut hash = fold(0, if is_digit { b'0' } else { ending } as u64);
    for word in 0..HEAD / 8 {
        if (word * 8) as u32 >= end {
            break;
        }
        let mask = if word == 0 { STATEMENT_MASK } else { u64::MAX };
        hash = fold(hash, text.head[word] & mask & below(end, word as u32));
    }
    hash | 1
}

/// Bytes of the header of a packet of MySQL: its length in three, and its number, 0 for a command.
const HEADER: u32 = 4;

/// The same for the rest of a packet of MySQL, whose server has received the header alone.
#[inline(never)]
pub fn read_on(conn: &mut Conn, length: u32, scratch: &mut RequestScratch) {
    let text = &mut scratch.text;
    if globals::labels() == 0 || conn.header != length || !fetch(length, text) {
        return;
    }
    conn.header = 0;
    text.label.length = 0;
    if mysql(0, text) {
        name(conn, PROTOCOL_MYSQL, text);
    }
}

/// A command of MySQL that begins there: COM_QUERY or COM_STMT_PREPARE (include/my_command.h).
#[inline(always)]
fn mysql(at: u32, text: &mut Text) -> bool {
    let command = text.byte(at);
    let is_statement = command == 3 || command == 0x16;
    if is_statement && load(at + 1, text) {
        end_where(letters::Ends::MysqlValue, text);
    }
    is_statement
}

/// Copies the first bytes from where the system call has put them.
#[inline(always)]
fn fetch(length: u32, text: &mut Text) -> bool {
    let Some(call) = Saved::of_current(Task::current()).syscall() else { return false };
    text.buffer = match call.number {
        // `struct msghdr` has the list as its third word (include/linux/socket.h).
        RECVMSG => user_word(user_word(call.second + 16)),
        READV => user_word(call.second),
        _ => call.second,
    };
    let wanted = if length < HEAD as u32 { length } else { HEAD as u32 };
    text.length = wanted;
    let found = copy(text.head.as_mut_ptr(), wanted, text.buffer);
    // The others are read by letters, or up to the end.
    text.head[0] &= below(wanted, 0);
    text.head[1] &= below(wanted, 1);
    found
}

#[inline(always)]
fn copy(into: *mut u64, length: u32, from: u64) -> bool {
    // SAFETY: the callers' buffers are as long; the helper checks the source.
    let result = unsafe {
        bpf_probe_read_user(
            into.cast(),
            length & (2 * HEAD as u32 - 1),
            from as *const core::ffi::c_void,
        )
    };
    result == 0
}

#[inline(always)]
fn user_word(address: u64) -> u64 {
    crate::unwind::read_user(address).unwrap_or(0)
}

/// Finds out the protocol, and writes the text of the label; 0 for a protocol that is not known.
#[inline(always)]
fn parse(length: u32, text: &mut Text) -> u32 {
    let word = text.head[0];
    let first = word as u8;
    let (start, code) = ((word as u32).swap_bytes(), ((word >> 32) as u32).swap_bytes());
    if first == b'*' {
        return redis(text);
    }
    if is_message(length, text) {
        match first {
            b'Q' | b'P' => return postgres(first, text),
            b'B' => return prepared(text),
            b'p' => return PROTOCOL_POSTGRES_STARTUP,
            _ => {}
        }
    }
    // A session begins: version 3, or asks for encryption (src/include/libpq/pqcomm.h).
    if start == length && (code == 196_608 || code == 196_610 || code == 80_877_103) {
        return PROTOCOL_POSTGRES_STARTUP;
    }
    if first >= 0x14 && first <= 0x17 && (word >> 8) as u8 == 3 {
        return PROTOCOL_TLS;
    }
    if (word as u32) + HEADER == length && mysql(HEADER, text) {
        return PROTOCOL_MYSQL;
    }
    words(text)
}

/// Whether it begins with a message of PostgreSQL: one or several have come, and the first is whole.
#[inline(always)]
fn is_message(length: u32, text: &Text) -> bool {
    let first = ((text.head[0] >> 8) as u32).swap_bytes();
    first >= 4 && first < length
}

/// `*3\r\n$3\r\nSET\r\n…`: the first string is the command. With counts of one digit: no command has a
/// name of ten letters or more that is sent with ten strings or more.
const REDIS: u64 = u64::from_le_bytes(*b"*\0\r\n$\0\r\n");
const REDIS_MASK: u64 = !u64::from_le_bytes([0, 0xff, 0, 0, 0, 0xff, 0, 0]);

#[inline(always)]
fn redis(text: &mut Text) -> u32 {
    text.several = has_another(text) as u32;
    let word = text.head[0];
    let length = (((word >> 40) as u8).wrapping_sub(b'0')) as u32;
    if word & REDIS_MASK != REDIS || length == 0 || length > 9 {
        return redis_with_many(text);
    }
    // A name of nine letters lacks its last one.
    let length = if length < 8 { length } else { 8 };
    let name = text.head[1] & below(length, 0);
    command(name, length, PROTOCOL_REDIS, text)
}

/// Whether a second command begins in the same bytes: a line that begins with `*`. A value that has such
/// a line is taken for one as well.
#[inline(never)]
fn has_another(text: &Text) -> bool {
    let mut before = 0;
    for word in 0..HEAD / 8 {
        if (word * 8) as u32 >= text.length {
            break;
        }
        let letters = text.head[word] & below(text.length, word as u32);
        let stars = letters::equal(letters, b'*');
        // Most words have none.
        if stars != 0 {
            let ends = letters::equal(letters, b'\n') << 8 | letters::equal(before, b'\n') >> 56;
            if stars & ends != 0 {
                return true;
            }
        }
        before = letters;
    }
    false
}

/// With ten strings or more: `*12\r\n$4\r\nMSET\r\n…`.
#[inline(never)]
fn redis_with_many(text: &mut Text) -> u32 {
    text.at = 0;
    for _ in 0..8 {
        if !skip_digits(text) {
            break;
        }
    }
    let at = text.at;
    let length = text.byte(at.wrapping_sub(3)).wrapping_sub(b'0') as u32;
    if at < 8 || length == 0 || length > 9 {
        return 0;
    }
    let mut name = 0;
    for letter in 0..8 {
        name |= (text.byte(at + letter) as u64) << (8 * letter);
    }
    let length = if length < 8 { length } else { 8 };
    command(name & below(length, 0), length, PROTOCOL_REDIS, text)
}

/// Goes on to behind the second line; false at its end.
#[inline(never)]
fn skip_digits(text: &mut Text) -> bool {
    for at in 6..16 {
        if text.byte(at) == b'\n' {
            text.at = at + 1;
            return false;
        }
    }
    false
}

/// A single word of letters.
#[inline(always)]
fn command(name: u64, length: u32, protocol: u32, text: &mut Text) -> u32 {
    let others = !letters::letters(name) & letters::TOPS & below(length, 0);
    if others != 0 {
        return 0;
    }
    text.label.words[0] = name & !(0x2020_2020_2020_2020 & below(length, 0));
    if protocol == PROTOCOL_MEMCACHED {
        text.label.words[0] = name;
    }
    text.end_at(length);
    protocol
}

/// The first word says what it is: `GET /path HTTP/1.1`, `PING`, `get key`.
#[inline(always)]
fn words(text: &mut Text) -> u32 {
    let word = text.head[0];
    let others = !letters::letters(word) & letters::TOPS;
    if others == 0 {
        return 0;
    }
    let length = letters::first(others);
    if length < 3 {
        return 0;
    }
    let after = text.byte(length);
    let small = word as u8 >= b'a';
    if after == b' ' && !small {
        return http::request(length, text);
    }
    let name = word & below(length, 0);
    match after {
        b' ' | b'\r' if small => command(name, length, PROTOCOL_MEMCACHED, text),
        b'\r' => command(name, length, PROTOCOL_REDIS, text),
        _ => 0,
    }
}

/// A statement, simple or to be prepared: its text up to its first value.
#[inline(always)]
fn postgres(first: u8, text: &mut Text) -> u32 {
    text.at = STATEMENT;
    if first == b'P' {
        skip_name(text);
    }
    if load(text.at, text) {
        end_where(letters::Ends::Value, text);
    }
    PROTOCOL_POSTGRES
}

/// Goes to behind the next 0.
#[inline(never)]
fn skip_name(text: &mut Text) {
    for _ in 0..64 {
        if !skip_letter(text) {
            break;
        }
    }
}

/// Out of line, so that what the loop goes on with stays in memory: what the verifier knows of a register
/// differs with each way through an iteration, and each way would be walked for itself.
#[inline(never)]
fn skip_letter(text: &mut Text) -> bool {
    let letter = text.byte(text.at);
    text.at += 1;
    letter != 0
}

/// The name of a prepared statement, behind that of the portal.
#[inline(always)]
fn prepared(text: &mut Text) -> u32 {
    text.at = STATEMENT;
    skip_name(text);
    if load(text.at, text) {
        end_where(letters::Ends::Name, text);
    }
    PROTOCOL_POSTGRES_PREPARED
}

#[inline(always)]
fn end_where(ends: letters::Ends, text: &mut Text) {
    let end = letters::find(&text.label.words, ends);
    let length = text.label.length;
    text.end_at(if end < length { end } else { length });
}

/// Copies what comes from there on to where the label is.
#[inline(never)]
fn load(at: u32, text: &mut Text) -> bool {
    let left = text.length.saturating_sub(at);
    let wanted = if left < LABEL_LENGTH as u32 { left } else { LABEL_LENGTH as u32 };
    text.label.length = wanted;
    // Nothing to copy, the helper does not take.
    wanted != 0 && copy(text.label.words.as_mut_ptr(), wanted, text.buffer + at as u64)
}

/// Finds or adds the label; 0 where it found no place. `last` is that of the connection's last request.
#[inline(always)]
fn intern(last: u64, text: &mut Text) -> u64 {
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

/// Hash of protocol, length and the words in use.
#[inline(always)]
fn identity(label: &Label) -> u64 {
    let mut hash = mix(label.protocol as u64, label.length as u64);
    for word in 0..LABEL_WORDS {
        if (word * 8) as u32 >= label.length {
            break;
        }
        hash = mix(hash, label.words[word]);
    }
    hash
}
