//! Maps of any kind.

use proptest::prelude::*;

use super::super::inspect::fuzz::unlinked;
use super::*;

fn line() -> impl Strategy<Value = Vec<u8>> {
    let name =
        prop::collection::vec(any::<u8>().prop_filter("a line", |byte| *byte != b'\n'), 0..700);
    let near = (0..256_u64, 0..64_u64);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        (prop_oneof![near, any::<(u64, u64)>()], name).prop_map(|((start, size), name)| {
            [format!("{start:x} {size:x} ").into_bytes(), name].concat()
        }),
    ]
}

/// Functions do not overlap, and names are safe.
fn check(map: &PerfMap) -> Result<(), TestCaseError> {
    let mut last = 0;
    for (start, (end, name)) in &map.functions {
        prop_assert!(*start >= last && end > start && name.end <= map.names.len());
        last = *end;
        let (name, offset) = map.look_up(end - 1).unwrap();
        prop_assert!(offset == end - 1 - start && !name.chars().any(char::is_control));
        prop_assert!(name.len() <= 4 * LONGEST_NAME);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_map_in_any_parts(lines in prop::collection::vec(line(), 0..60), cut in any::<prop::sample::Index>()) {
        let text = [lines.join(&b'\n'), b"\n".to_vec()].concat();
        let (first, rest) = text.split_at(cut.index(text.len()));
        let file = unlinked(first);
        let mut bounds = Bounds { functions: 40, ..Bounds::default() };
        let mut map = PerfMap::new(file.try_clone().unwrap());
        map.refresh(&mut bounds);
        check(&map)?;
        std::io::Write::write_all(&mut &file, rest).unwrap();
        map.refresh(&mut bounds);
        check(&map)?;
        prop_assert!(map.functions.len() <= 40);
        prop_assert_eq!(map.taken() + bounds.total, Bounds::default().total);
        // In one piece it is the same.
        let mut whole = PerfMap::new(unlinked(&text));
        whole.refresh(&mut Bounds { functions: 40, ..Bounds::default() });
        if !map.refused && !whole.refused {
            let functions = |map: &PerfMap| map.functions.clone();
            prop_assert_eq!(functions(&map), functions(&whole));
        }
    }
}
