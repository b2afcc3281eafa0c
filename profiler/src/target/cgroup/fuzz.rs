//! Mounts of any kind.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 7 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_list(text in any::<String>(), line in "([0-9]{1,3} ?){0,3}[^ ]{0,3} [^ ]{0,9}( - )?(cgroup2?|.{0,4})( .{0,9})?") {
        let _ = mount_point(&text);
        let _ = mount_point(&line);
    }
}
