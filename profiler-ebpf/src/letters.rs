//! Eight letters at a time, in a word. Of a letter with the property asked for, the top bit of its byte
//! is set in the result.

use profiler_common::turn::{LABEL_LENGTH, LABEL_WORDS};

/// The top bit of each byte.
pub const TOPS: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;

/// The bytes of word number `word` that lie below `length`, as a mask.
#[inline(always)]
pub fn below(length: u32, word: u32) -> u64 {
    let left = length.saturating_sub(word * 8);
    if left >= 8 { u64::MAX } else { (1 << (left * 8)) - 1 }
}

/// Number of the first byte whose top bit is set; 7 for none.
#[inline(always)]
pub fn first(tops: u64) -> u32 {
    // The bits below the lowest one that is set: of each byte up to there, the lowest bit.
    let lowest = tops & tops.wrapping_neg();
    let ones = lowest.wrapping_sub(1) & ONES;
    ((ones.wrapping_mul(ONES) >> 56) as u32).wrapping_sub(1) & 7
}

/// At least this; for letters of ASCII without their top bits, and a bound of 1 to 127.
#[inline(always)]
fn from(word: u64, bound: u8) -> u64 {
    ((word | TOPS) - bound as u64 * ONES) & TOPS
}

#[inline(always)]
fn within(word: u64, low: u8, high: u8) -> u64 {
    from(word, low) & !from(word, high + 1)
}

/// Letters of ASCII.
#[inline(always)]
pub fn letters(word: u64) -> u64 {
    within((word & !TOPS) | 0x2020_2020_2020_2020, b'a', b'z') & !word & TOPS
}

/// Digits.
#[inline(always)]
pub fn digits(word: u64) -> u64 {
    within(word & !TOPS, b'0', b'9') & !word & TOPS
}

#[inline(always)]
pub fn equal(word: u64, letter: u8) -> u64 {
    within(word & !TOPS, letter, letter) & !word & TOPS
}

/// Up to and including the blank, which is below all that is printed.
#[inline(always)]
fn blanks(word: u64) -> u64 {
    !from(word & !TOPS, b' ' + 1) & !word & TOPS
}

/// What ends a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// A blank or less.
    Name,
    /// A blank or less, or what begins the parameters of a path.
    Path,
    /// A quote, a `$`, a zero, or a digit that is not part of a name.
    Value,
    /// The same, and a double quote: in MySQL it begins a value as well, elsewhere a name.
    MysqlValue,
}

/// Where the text ends; its whole length where it does not.
#[inline(always)]
pub fn find(words: &[u64; LABEL_WORDS], ends: Ends) -> u32 {
    // Whether the letter before was part of a name, in the lowest byte.
    let mut name_before = 0;
    for place in 0..LABEL_WORDS {
        let word = words[place];
        let tops = match ends {
            Ends::Name => blanks(word),
            Ends::Path => path_ends(word),
            Ends::Value | Ends::MysqlValue => {
                let digits = digits(word);
                // What is not ASCII is a letter of some language.
                let names = letters(word) | digits | equal(word, b'_') | (word & TOPS);
                let after_name = names << 8 | name_before;
                name_before = names >> 56;
                let zeros = !from(word & !TOPS, 1) & !word & TOPS;
                let doubles = if ends == Ends::MysqlValue { equal(word, b'"') } else { 0 };
                zeros | doubles | equal(word, b'\'') | equal(word, b'$') | (digits & !after_name)
            }
        };
        if tops != 0 {
            return place as u32 * 8 + first(tops);
        }
    }
    LABEL_LENGTH as u32
}

/// What ends a path.
#[inline(always)]
pub fn path_ends(word: u64) -> u64 {
    blanks(word) | equal(word, b'?') | equal(word, b'#') | equal(word, b';')
}
