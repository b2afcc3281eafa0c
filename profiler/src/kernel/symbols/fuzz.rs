//! Lists of any kind.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_list(text in any::<String>(), lines in prop::collection::vec(
        "([0-9a-f]{0,18}|.{0,4}) ?.? ?(__sched_text_start|__sched_text_end|.{0,8})", 0..12
    )) {
        find(text.as_bytes());
        find(lines.join("\n").as_bytes());
    }

    #[test]
    fn both_ends_are_found_wherever_they_are(
        start in 1..u64::MAX, end in 1..u64::MAX,
        others in prop::collection::vec("[0-9a-f]{16} [TtDd] [a-z_]{1,12}", 0..9),
    ) {
        let mut lines = others;
        let middle = lines.len() / 2;
        lines.insert(middle, format!("{start:016x} T __sched_text_start"));
        lines.push(format!("{end:016x} T __sched_text_end"));
        prop_assert_eq!(find(lines.join("\n").as_bytes()).scheduler, (start, end));
    }
}
