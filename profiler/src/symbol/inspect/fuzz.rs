//! Files of any kind.

use std::io::Write;

use proptest::prelude::*;

use super::*;

/// A file that nobody else can open.
pub fn unlinked(bytes: &[u8]) -> File {
    let id = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("dwell-fuzz-{}-{id:?}", std::process::id()));
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Numbers of headers: small, huge, and near the edges of the file.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..200_u64,
        0..5000_u64,
        any::<u64>(),
        Just(u64::MAX),
        Just(1 << 40),
        Just(i64::MAX as u64),
    ]
}

/// A file with tables of headers in their places, the fields of which are anything.
fn plausible_file() -> impl Strategy<Value = Vec<u8>> {
    let entries = || prop::collection::vec(prop::collection::vec(number(), 8), 0..12);
    (entries(), entries(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..600)).prop_map(
        |(programs, sections, names, contents)| {
            let mut bytes = vec![0; FILE_HEADER];
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            let put = |bytes: &mut Vec<u8>, at: usize, value: u64, size: usize| {
                bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
            };
            let here = bytes.len() as u64;
            put(&mut bytes, 32, here, 8);
            put(&mut bytes, 54, PROGRAM_HEADER as u64, 2);
            put(&mut bytes, 56, programs.len() as u64, 2);
            for fields in &programs {
                // Half of them are loaded.
                let kind = u64::from(fields[0].is_multiple_of(2));
                bytes.extend_from_slice(&(kind as u32).to_le_bytes());
                bytes.extend_from_slice(&5_u32.to_le_bytes());
                fields[1..7].iter().for_each(|field| bytes.extend_from_slice(&field.to_le_bytes()));
            }
            let here = bytes.len() as u64;
            put(&mut bytes, 40, here, 8);
            put(&mut bytes, 58, SECTION_HEADER as u64, 2);
            put(&mut bytes, 60, sections.len() as u64, 2);
            put(&mut bytes, 62, u64::from(names) % 14, 2);
            for fields in &sections {
                fields.iter().for_each(|field| bytes.extend_from_slice(&field.to_le_bytes()));
            }
            bytes.extend_from_slice(&contents);
            bytes
        },
    )
}

/// What holds of every file.
fn check(file: &File) -> Result<(), TestCaseError> {
    let Some(shape) = inspect(file) else { return Ok(()) };
    prop_assert!(shape.loads.len() <= usize::from(u16::MAX));
    let _start = shape.start();
    let _file = shape.find_debug_file();
    for offset in [0, 1, 64, 4096, 1 << 40, u64::MAX] {
        let inside = |load: &Load| offset >= load.offset && offset - load.offset < load.size;
        prop_assert!(shape.to_virtual(offset).is_none() || shape.loads.iter().any(inside));
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
    fn any_bytes(tail in prop::collection::vec(any::<u8>(), 0..2000)) {
        check(&unlinked(&tail))?;
        check(&unlinked(&[b"\x7fELF\x02\x01".as_slice(), &tail].concat()))?;
    }

    #[test]
    fn any_headers(bytes in plausible_file()) {
        check(&unlinked(&bytes))?;
    }
}
