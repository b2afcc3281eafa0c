//! Lists of any kind.

use proptest::prelude::*;

use super::*;

fn line() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..80);
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let near = (0..64_u64, 0..64_u64, any::<u64>(), 0..3_u64);
    let text = |(start, end, offset, inode): (u64, u64, u64, u64)| {
        format!("{start:x}-{end:x} r-xp {offset:x} fe:01 {inode}  ").into_bytes()
    };
    prop_oneof![
        bytes.clone(),
        "[0-9a-f]{0,17}-[0-9a-f]{0,17} [rwxp-]{0,5} [0-9a-f]{0,17} .{0,6} [0-9]{0,21} .{0,20}"
            .prop_map(String::into_bytes),
        (prop_oneof![numbers, near], bytes)
            .prop_map(move |(fields, path)| { [text(fields), path].concat() }),
    ]
}

/// What every list must be, for `find` to be right.
fn check(regions: &Regions) -> Result<(), TestCaseError> {
    prop_assert!(regions.iter().all(|region| region.start < region.end));
    prop_assert!(regions.sorted.is_sorted_by_key(|region| region.start));
    for region in regions.iter() {
        for address in [region.start, region.end - 1, region.end, region.start.wrapping_sub(1)] {
            let found = regions.find(address);
            prop_assert!(found.is_none_or(|found| (found.start..found.end).contains(&address)));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_list(lines in prop::collection::vec(line(), 0..20)) {
        check(&parse(&*lines.join(&b'\n')).unwrap())?;
    }

    #[test]
    fn any_list_after_another(
        before in prop::collection::vec(line(), 0..20),
        after in prop::collection::vec(line(), 0..20),
    ) {
        let mut earlier = parse(&*before.join(&b'\n')).unwrap();
        for (index, region) in earlier.sorted.iter_mut().enumerate() {
            if index % 2 == 0 {
                region.backing = Backing::Vdso;
            }
        }
        let mut now = parse(&*after.join(&b'\n')).unwrap();
        now.inherit(earlier);
        check(&now)?;
    }

    #[test]
    fn a_path_with_a_line_break_is_one_path(path in "/[ -~]{0,40}") {
        let escaped = path.replace('n', "\\012");
        let line = format!("1000-2000 r-xp 0 0:0 1 {escaped}");
        let region = parse_line(line.as_bytes()).unwrap();
        let (found, wanted) = (String::from_utf8(region.path.to_vec()).unwrap(), path.replace('n', "\n"));
        // The kernel writes a backslash as it is: that a name holds `\\012` itself cannot be told.
        prop_assert_eq!(found, wanted.replace("\\012", "\n"));
    }
}
