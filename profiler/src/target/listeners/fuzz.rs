//! Tables of any kind.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 7 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_table(text in any::<String>(), lines in prop::collection::vec(
        " *[0-9]{1,3}: [0-9A-F:]{0,40} [0-9A-F:]{0,20} (0A|01|.{0,3})( .{0,20})?", 0..8
    )) {
        let _ = ports(&text).count();
        let found = ports(&lines.join("\n")).count();
        prop_assert!(found <= lines.len());
    }

    #[test]
    fn every_listener_is_found(listening in prop::collection::vec(any::<u16>(), 0..8)) {
        let lines = listening.iter().enumerate().map(|(index, port)| {
            let rest = format!("00000000:00000000 00:00000000 00000000 0 0 {index}");
            format!("{index:4}: 00000000:{port:04X} 00000000:0000 0A {rest}\n")
        });
        let wanted: Vec<(u16, u64)> = listening.iter().copied().zip(0..).collect();
        let table: String = lines.collect();
        prop_assert_eq!(ports(&table).collect::<Vec<_>>(), wanted);
    }
}
