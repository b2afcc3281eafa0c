//! Names of any kind.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Longest time for a name, with room for a machine that does something else.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pieces that mangled names are made of.
fn mangled() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "_ZN",
            "_R",
            "NvC",
            "E",
            "I",
            "St",
            "S_",
            "S0_",
            "S1_",
            "T_",
            "T0_",
            "J",
            "K",
            "P",
            "R",
            "3foo",
            "1a",
            "Dp",
            "Dt",
            "L",
            "X",
            "sr",
            "cv",
            "F",
            "B_",
            "B0_",
            "INvC",
            "Es_",
            "h",
            "i",
            "17h0123456789abcdefE",
            "M",
            "Nt",
            "C",
            "s_",
            "_",
            "0",
            "9",
            "D",
            "A",
            "u",
            "Z",
            "GR",
            "TV",
            "fp",
            "il",
            "tl",
            "on",
            "dl",
            "pl",
            ".llvm.123",
            "$u7e$",
            "..",
            "clE",
            "UlvE_",
        ])
        .prop_map(str::to_owned),
        "[ -~]{1,3}",
    ];
    (
        prop_oneof![Just("_Z"), Just("_ZN"), Just("_R"), Just("_RNv"), Just("__R"), Just("")],
        prop::collection::vec(piece, 0..80),
    )
        .prop_map(|(start, pieces)| start.to_owned() + &pieces.concat())
}

fn check(symbol: &str) -> Result<(), TestCaseError> {
    let began = Instant::now();
    let name = demangle(symbol);
    prop_assert!(began.elapsed() < PATIENCE, "{symbol:?} took {:?}", began.elapsed());
    prop_assert!(!name.chars().any(char::is_control));
    prop_assert!(name.chars().count() <= 4 * LONGEST + 1);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 11 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn mangled_or_nearly(symbol in mangled()) {
        check(&symbol)?;
    }

    #[test]
    fn any_text(symbol in any::<String>()) {
        check(&symbol)?;
        check(&format!("_Z{symbol}"))?;
        check(&format!("_R{symbol}"))?;
    }
}

/// The stack of the thread that names functions: the main thread's (`ulimit -s`). That of a test is smaller.
const STACK: usize = 8 << 20;

#[test]
fn deep_nesting_does_not_end_the_process() {
    let nesting = std::thread::Builder::new().stack_size(STACK).spawn(demangle_what_nests);
    nesting.unwrap().join().unwrap();
}

fn demangle_what_nests() {
    // A stack that overflows cannot be caught: each of these nests as deep as a name may be long.
    let pieces = [
        "P", "N", "I", "F", "J", "Dp", "K", "X", "L", "sr", "1aI", "clE", "cv", "M", "A_", "Dt",
        "ngng",
    ];
    for piece in pieces {
        for start in ["_Z", "_ZN", "_Z1fI", "_Z1f", "_Z1fIX", "_Z1fDT"] {
            for length in [100, 1000, LONGEST, 100_000] {
                demangle(&(start.to_owned() + &piece.repeat(length / piece.len())));
            }
        }
    }
    for piece in
        ["N", "I", "Nv", "NvC", "M", "X", "Y", "R", "P", "T", "F", "D", "B_", "S", "A", "INvC1aR"]
    {
        for length in [100, 1000, 100_000] {
            demangle(&("_R".to_owned() + &piece.repeat(length / piece.len())));
            demangle(&("_RNvC1a".to_owned() + &piece.repeat(length / piece.len())));
        }
    }
}
