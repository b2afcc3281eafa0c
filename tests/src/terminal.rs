//! What may reach a terminal.

use serde_json::Value;

/// The first thing in a text that can steer a terminal or hide what is shown, and where. Line breaks
/// are all right.
pub fn steers(text: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => return Some(format!("not UTF-8: {error}")),
    };
    let found =
        text.char_indices().find(|(_, character)| *character != '\n' && is_dangerous(*character));
    found.map(|(at, character)| {
        let before: String = text[..at].chars().rev().take(40).collect();
        let before: String = before.chars().rev().collect();
        format!("{character:?} after {before:?}")
    })
}

/// The same for every text of a document, where a line break is not all right either.
pub fn steers_in(document: &Value) -> Option<String> {
    match document {
        Value::String(text) if text.contains('\n') => Some(format!("a line break in {text:?}")),
        Value::String(text) => steers(text.as_bytes()),
        Value::Array(values) => values.iter().find_map(steers_in),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(key, value)| steers(key.as_bytes()).or_else(|| steers_in(value))),
        _ => None,
    }
}

/// Control characters, those that turn the direction of text, and those of no width.
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sequences_are_found_wherever_they_are() {
        assert_eq!(steers("größe 計算\nnext".as_bytes()), None);
        for bad in ["\x1b[2J", "a\x07", "\u{9b}2J", "\x7f", "\r", "\u{202e}"] {
            assert!(steers(bad.as_bytes()).is_some(), "{bad:?}");
            assert!(steers_in(&json!({"a": [1, {"b": bad}]})).is_some(), "{bad:?}");
        }
        assert!(steers(b"\xff").is_some());
        assert!(steers_in(&json!(["a\nb"])).is_some() && steers_in(&json!(["a", 1])).is_none());
    }
}
