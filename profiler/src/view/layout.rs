//! Fits text into columns of a terminal.

use unicode_width::UnicodeWidthChar as _;

/// Asks for the wide, coloured shape of the character before it: left out, because terminals do
/// not agree on the width of the result.
pub const EMOJI_STYLE: char = '\u{fe0f}';

/// A blank at which no line is broken; shown as a blank.
pub const TIE: char = '\u{a0}';

/// Columns that a character takes.
fn columns(character: char) -> usize {
    // A control character is replaced by a character of width 1 on output.
    character.width().unwrap_or(1)
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The text, its middle replaced by `…` if it is wider than `most` columns.
pub fn cut_middle(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let Some(room) = most.checked_sub(1) else { return String::new() };
    let head = prefix(text.chars(), room - room / 2);
    let tail = prefix(text.chars().rev(), room / 2);
    let tail: String = tail.chars().rev().collect();
    format!("{head}…{tail}")
}

/// As many characters as fit.
fn prefix(characters: impl Iterator<Item = char>, room: usize) -> String {
    let mut used = 0;
    characters
        .take_while(|character| {
            used += columns(*character);
            used <= room
        })
        .collect()
}

/// The text cut and filled up to exactly `columns`, at the left.
pub fn left(text: &str, columns: usize) -> String {
    let mut text = cut_middle(text, columns);
    text.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&text))));
    text
}

/// The same, at the right.
pub fn right(text: &str, columns: usize) -> String {
    let text = cut_middle(text, columns);
    " ".repeat(columns.saturating_sub(width(&text))) + &text
}

/// Sets pieces that must not be broken, with a blank between them, into lines no wider than
/// `most`. The first begins with `first`, the others are indented by `indent`.
pub fn wrap<S: AsRef<str>>(pieces: &[S], first: &str, indent: usize, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut is_fresh = true;
    for piece in pieces {
        let gap = usize::from(!is_fresh);
        if !is_fresh && width(&line) + gap + width(piece.as_ref()) > most {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        } else if !is_fresh {
            line.push(' ');
        }
        let room = most.saturating_sub(width(&line));
        line.push_str(&cut_middle(piece.as_ref(), room));
        is_fresh = false;
    }
    lines.push(line);
    lines
}

/// [`wrap`] at the blanks of a text.
pub fn wrap_words(text: &str, first: &str, indent: usize, most: usize) -> Vec<String> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    wrap(&words, first, indent, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_in_the_middle_by_columns() {
        assert_eq!(cut_middle("abcdefghij", 10), "abcdefghij");
        assert_eq!(cut_middle("abcdefghij", 7), "abc…hij");
        assert_eq!(cut_middle("会議室の予約", 7), "会…約");
        assert_eq!(cut_middle("abc", 1), "…");
        assert_eq!(cut_middle("abc", 0), "");
    }

    #[test]
    fn columns_are_filled_exactly() {
        assert_eq!(left("会議", 6), "会議  ");
        assert_eq!(right("42", 4), "  42");
        assert_eq!(width(&left("会議室の予約", 6)), 6);
    }

    #[test]
    fn no_line_is_wider_than_it_may_be() {
        let text = format!("one two three {} four", "x".repeat(50));
        let lines = wrap_words(&text, "  ", 4, 20);
        assert!(lines.iter().all(|line| width(line) <= 20));
        assert_eq!(lines[0], "  one two three");
        assert_eq!(lines[2], "    four");
    }

    #[test]
    fn nothing_to_wrap_leaves_the_beginning() {
        assert_eq!(wrap_words("", "Trust:", 7, 20), ["Trust:"]);
    }
}
