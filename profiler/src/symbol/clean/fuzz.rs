//! Text of any kind.

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr as _;

use super::*;

/// Whether nothing in a text can steer a terminal.
fn is_safe(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() || misleads(character))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 7 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bytes_come_out_safe(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        let cleaned = clean(&bytes);
        prop_assert!(is_safe(&cleaned), "{cleaned:?}");
        prop_assert!(cleaned.len() <= 6 * LONGEST + 3);
    }

    #[test]
    fn text_comes_out_safe(text in any::<String>()) {
        let cleaned = clean(text.as_bytes());
        prop_assert!(is_safe(&cleaned), "{cleaned:?}");
        prop_assert_eq!(clean(cleaned.as_bytes()), cleaned.clone(), "cleaning twice changes nothing");
        // What it takes is bounded by the columns that it takes.
        prop_assert!(cleaned.chars().count() <= (HIGHEST_HEAP + 2) * (cleaned.width() + 1));
    }

    #[test]
    fn ordinary_text_stays(text in "[ -~äöü計算]{0,500}") {
        prop_assert_eq!(clean(text.as_bytes()), text);
    }
}
