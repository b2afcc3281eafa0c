//! Records of any kind.

use profiler_common::state::State;
use proptest::prelude::*;

use super::*;

/// A record of a known kind and its length, or nearly; the rest is anything.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let sizes = [size_of::<ThreadExit>(), size_of::<UntrackedExit>(), size_of::<NewStack>()];
    let kind = prop_oneof![Just(THREAD_EXIT), Just(UNTRACKED_EXIT), Just(NEW_STACK), any::<u32>()];
    let size = prop_oneof![prop::sample::select(sizes.to_vec()), 0..600_usize];
    (kind, size).prop_flat_map(|(kind, size)| {
        prop::collection::vec(any::<u8>(), size).prop_map(move |mut bytes| {
            let head = bytes.len().min(4);
            bytes[..head].copy_from_slice(&kind.to_ne_bytes()[..head]);
            bytes
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 11 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_record(bytes in record()) {
        let known = matches!(
            (bytes.first_chunk().copied().map(u32::from_ne_bytes), bytes.len()),
            (Some(THREAD_EXIT), length) if length == size_of::<ThreadExit>()
        ) || matches!(
            (bytes.first_chunk().copied().map(u32::from_ne_bytes), bytes.len()),
            (Some(UNTRACKED_EXIT), length) if length == size_of::<UntrackedExit>()
        ) || matches!(
            (bytes.first_chunk().copied().map(u32::from_ne_bytes), bytes.len()),
            (Some(NEW_STACK), length) if length == size_of::<NewStack>()
        );
        prop_assert_eq!(decode(&bytes).is_some(), known);
        if let Some(Event::Exit { thread, .. }) = decode(&bytes) {
            // A state that is none is nobody's business here, but must be told from one.
            let _state = State::COUNT.cmp(&usize::from(thread.state));
        }
    }
}
