//! Processes of any kind.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 7 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text(text in any::<String>()) {
        let _ = Stat::parse(&text);
        let _ = field(&text, "Tgid:");
    }

    #[test]
    fn no_name_shifts_the_fields(
        comm in prop::collection::vec(any::<u8>(), 0..16), parent in any::<u32>(),
        flags in any::<u64>(), start in any::<u64>(),
    ) {
        let comm = String::from_utf8_lossy(&comm).into_owned();
        let text = format!(
            "42 ({comm}) S {parent} 42 42 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 1 0 {start} 0 0\n"
        );
        let stat = Stat::parse(&text);
        prop_assert!(stat.is_some());
        let stat = stat.unwrap_or_else(|| unreachable!());
        prop_assert_eq!((stat.comm, stat.parent, stat.flags, stat.start_ticks), (comm, parent, flags, start));
    }
}
