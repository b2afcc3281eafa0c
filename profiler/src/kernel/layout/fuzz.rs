//! BTF of any kind. It comes from the kernel, which is to be trusted; but a file that was put in its
//! place, or a kernel newer than the reader, must give an error and not a panic.

use proptest::prelude::*;

use super::*;

const MAGIC: u16 = 0xeb9f;

/// Types of any kind that mostly refer to one another.
fn types() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![4 => 0..32_u32, 1 => any::<u32>()];
    let info = (0..24_u32, 0..6_u32, any::<bool>())
        .prop_map(|(kind, length, flag)| length | kind << 24 | u32::from(flag) << 31);
    let one = (word.clone(), info, word.clone(), prop::collection::vec(word, 0..12));
    prop::collection::vec(one, 0..30).prop_map(|types| {
        let words = types
            .into_iter()
            .flat_map(|(name, info, size, rest)| [name, info, size].into_iter().chain(rest));
        words.flat_map(u32::to_le_bytes).collect()
    })
}

/// A file with a header that fits.
fn file(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend([1, 0]);
    let (types_size, strings_size) = (types.len() as u32, strings.len() as u32);
    for word in [24, 0, types_size, types_size, strings_size] {
        bytes.extend(word.to_le_bytes());
    }
    [&bytes, types, strings].concat()
}

fn look(bytes: &[u8]) {
    let Ok(btf) = Btf::from_bytes(bytes) else { return };
    let _ = resolve(&btf);
    let _ = size_of_struct(&btf, "upid");
    let _ = bit_of(&btf, "task_struct", "in_iowait");
    let _ = switch_arguments(&btf);
}

const NAMES: &[u8] = b"\0task_struct\0upid\0btf_trace_sched_switch\0in_iowait\0";

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        look(&bytes);
        look(&file(&bytes, NAMES));
    }

    #[test]
    fn any_types(types in types()) {
        look(&file(&types, NAMES));
    }
}
