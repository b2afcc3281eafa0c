//! Makes text that a target chose fit for a terminal and for one line.

use std::cmp::Ordering;

use unicode_width::UnicodeWidthChar as _;

/// Longest text kept, in characters; what is longer ends in `…`.
///
/// A function name is as long as its file says, and a hostile file may say megabytes.
const LONGEST: usize = 4096;

/// Most characters without a width of their own in a row: accents, vowel signs. Heaps of them are
/// drawn over the lines above and below, and take no columns by which they could be cut.
const HIGHEST_HEAP: usize = 4;

/// Makes text from a target safe for a terminal and for one line.
///
/// Control characters become visible escapes (`\x1b`, `\n`), so that no escape sequence survives.
/// Characters that reorder, hide or break the line (bidi overrides, zero-width and tag characters,
/// line separators), more than four marks on one character, and bytes that are not UTF-8 become U+FFFD. Text longer than 4,096 characters
/// is cut and ends in `…`. Everything else stays as it is, other scripts included.
pub fn clean(text: &[u8]) -> String {
    // A character has at most four bytes, so the rest cannot matter.
    let head = text.get(..LONGEST * 4 + 4).unwrap_or(text);
    let text = String::from_utf8_lossy(head);
    let mut cleaned = String::with_capacity(text.len().min(LONGEST));
    let mut heap = 0;
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            cleaned.push('…');
            break;
        }
        heap = if character.width() == Some(0) { heap + 1 } else { 0 };
        match heap.cmp(&(HIGHEST_HEAP + 1)) {
            Ordering::Less => push_clean(&mut cleaned, character),
            Ordering::Equal => cleaned.push('\u{fffd}'),
            Ordering::Greater => {}
        }
    }
    cleaned
}

/// Appends one character, or what stands for it.
fn push_clean(cleaned: &mut String, character: char) {
    match character {
        '\n' => cleaned.push_str("\\n"),
        '\r' => cleaned.push_str("\\r"),
        '\t' => cleaned.push_str("\\t"),
        _ if character.is_control() => {
            cleaned.push_str(&format!("\\x{:02x}", u32::from(character)));
        }
        _ if misleads(character) => cleaned.push('\u{fffd}'),
        _ => cleaned.push(character),
    }
}

/// Whether a character has no shape of its own: it changes how others are shown, or nothing shows it
/// (`Default_Ignorable_Code_Point` of the Unicode Character Database, without the selectors of a shape).
fn misleads(character: char) -> bool {
    matches!(
        character,
        '\u{00ad}'
            | '\u{034f}'
            | '\u{061c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_ordinary_text_of_any_script() {
        assert_eq!(clean(b"std::vec<T>::push"), "std::vec<T>::push");
        assert_eq!(clean("größe_計算".as_bytes()), "größe_計算");
        assert_eq!(clean(b""), "");
    }

    #[test]
    fn shows_escape_sequences_instead_of_sending_them() {
        assert_eq!(clean(b"a\x1b[31mred\x07"), "a\\x1b[31mred\\x07");
        assert_eq!(clean(b"one\r\ntwo\t3\0\x7f"), "one\\r\\ntwo\\t3\\x00\\x7f");
        // C1 controls: U+009B alone starts a sequence on some terminals.
        assert_eq!(clean("a\u{9b}31m".as_bytes()), "a\\x9b31m");
    }

    #[test]
    fn replaces_what_reorders_or_hides_text() {
        assert_eq!(
            clean("a\u{202e}b\u{2066}c\u{2028}d".as_bytes()),
            "a\u{fffd}b\u{fffd}c\u{fffd}d"
        );
        assert_eq!(clean("a\u{200b}b\u{e0041}".as_bytes()), "a\u{fffd}b\u{fffd}");
        assert_eq!(clean(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn heaps_of_marks_are_cut() {
        let heap = format!("a{}b", "\u{301}".repeat(1000));
        assert_eq!(clean(heap.as_bytes()), "a\u{301}\u{301}\u{301}\u{301}\u{fffd}b");
        assert_eq!(clean("e\u{301}\u{323}".as_bytes()), "e\u{301}\u{323}");
        assert_eq!(clean("a\u{3164}b".as_bytes()), "a\u{fffd}b");
    }

    #[test]
    fn never_leaves_a_control_character_and_never_grows_without_bound() {
        let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let cleaned = clean(&every_byte);
        assert!(!cleaned.chars().any(char::is_control));
        assert!(cleaned.ends_with('…'));
        assert!(cleaned.chars().count() <= LONGEST * 4 + 1);
    }
}
