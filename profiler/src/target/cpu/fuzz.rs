//! Limits, counters and masks of any kind.

use std::path::Path;

use proptest::prelude::*;

use super::affinity::Mask;
use super::counters::{parse_cpus, parse_pressure};
use super::quota::{Mount, Version, find, membership, mounts, parse_limit, parse_stat};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 7 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text(text in any::<String>()) {
        let _ = membership(&text);
        let _ = mounts(&text);
        let _ = parse_limit(&text);
        let _ = parse_stat(&text);
        let _ = parse_cpus(&text);
        let _ = parse_pressure(&text);
    }

    #[test]
    fn any_mount(line in "([0-9]{1,3} ?){0,3}([^ ]{0,5} ){0,5}(- )?(cgroup2?|.{0,4})( [a-z,]{0,9}){0,3}") {
        prop_assert!(mounts(&line).len() <= 1);
    }

    #[test]
    fn any_counters(lines in prop::collection::vec("cpu[0-9]{0,12}( [0-9]{1,21}){0,11}", 0..8)) {
        let cpus = parse_cpus(&lines.join("\n"));
        let whole = lines.iter().filter(|line| line.split(' ').count() > 8 && !line.starts_with("cpu "));
        prop_assert!(cpus.len() <= whole.count());
    }

    #[test]
    fn any_statistics(lines in prop::collection::vec(
        "(nr_periods|nr_throttled|throttled_(time|usec)|usage_usec|.{0,5}) ?-?[0-9]{0,21}", 0..8
    )) {
        let _ = parse_stat(&lines.join("\n"));
        let _ = parse_limit(&lines.join(" "));
    }

    #[test]
    fn a_limit_is_what_was_written(quota_us: u64, period_us in 1..u64::MAX) {
        let limit = parse_limit(&format!("{quota_us} {period_us}\n"));
        prop_assert_eq!(limit.map(|limit| (limit.quota_us, limit.period_us)), Some((quota_us, period_us)));
    }

    /// Whatever the path of a cgroup is, nothing outside of the mount is looked at: there, every
    /// folder would have a limit.
    #[test]
    fn no_path_leads_out(path in "(/(\\.\\.|\\.|a|b| )){0,6}", root in "(/|/a|/a/b|/\\.\\.)") {
        let point = Path::new("/nonexistent/dwell");
        let mount = Mount { version: Version::V2, root: root.into(), point: point.into() };
        let limits = find(&[mount], std::iter::once(format!("0::{path}\n")));
        prop_assert!(limits.cgroups.is_empty());
    }

    #[test]
    fn a_mask_has_the_bits_that_are_set(bits in prop::collection::btree_set(0_u32..8192, 0..40)) {
        let mut mask = Mask([0; 128]);
        bits.iter().for_each(|bit| mask.0[*bit as usize / 64] |= 1 << (bit % 64));
        let all: Vec<u32> = (0..9000).collect();
        prop_assert_eq!(mask.among(&all), bits.into_iter().collect::<Vec<_>>());
    }
}
