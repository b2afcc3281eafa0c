//! Latencies over time: how many requests took how long, when.

use std::collections::BTreeMap;

use super::spike::latencies;
use super::{Spike, find_spike};
use crate::model::{Durations, Nanos, Profile, Window};

/// Columns at most; where there were more, each two neighbours become one.
const COLUMNS: usize = 240;

/// log2 of the steps of a histogram ([`Durations::steps`]) in one row: sixteen rows for each octave, so a
/// row is some 4 % high.
const ROW_BITS: u32 = 6;

/// Rows in an octave.
pub const ROWS_IN_OCTAVE: u32 = 16;

/// How many requests took how long, when.
#[derive(Clone, Debug, Default)]
pub struct Heat {
    columns: Vec<Column>,
    /// Slices in each column but the last one.
    slices: usize,
    /// Slices in the last column.
    filled: usize,
    /// All that has been added from profiles that hold everything so far.
    so_far: Durations,
}

/// Requests that were answered in a part of the window.
#[derive(Clone, Debug)]
pub struct Column {
    /// Which part.
    pub window: Window,
    /// How many took how long, by row.
    pub rows: BTreeMap<Row, u64>,
}

/// Durations that are alike to some 4 %: a number that grows with their logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row(pub u32);

impl Row {
    fn of(step: u32) -> Self {
        Self(step >> ROW_BITS)
    }

    /// The shortest duration in it.
    pub fn low(self) -> Nanos {
        Durations::step_start(self.0 << ROW_BITS)
    }
}

impl Column {
    /// How many requests.
    pub fn count(&self) -> u64 {
        self.rows.values().sum()
    }

    /// The end of the row that holds this quantile (0 to 1); none without requests.
    pub fn quantile(&self, share: f64) -> Option<Nanos> {
        let rank = (share * self.count() as f64).ceil().max(1.0) as u64;
        let mut sum = 0;
        let (row, _) = self.rows.iter().find(|(_, count)| {
            sum += **count;
            sum >= rank
        })?;
        Some(Row(row.0 + 1).low())
    }

    fn merge(&mut self, other: Column) {
        self.window.end = self.window.end.max(other.window.end);
        for (row, count) in other.rows {
            *self.rows.entry(row).or_default() += count;
        }
    }
}

impl Heat {
    /// Adds a slice of a recording: what happened in its window.
    pub fn add_slice(&mut self, slice: &Profile) {
        self.add(slice.window, &latencies(slice));
    }

    /// Adds what happened since the last look at the same window.
    pub fn add_so_far(&mut self, profile: &Profile) {
        let now = latencies(profile);
        let start = self.columns.last().map_or(profile.window.start, |last| last.window.end);
        let window = Window { start, end: profile.window.end };
        let since = now.since(&self.so_far);
        self.so_far = now;
        self.add(window, &since);
    }

    fn add(&mut self, window: Window, latencies: &Durations) {
        let mut column = Column { window, rows: BTreeMap::new() };
        for (step, count) in latencies.steps() {
            *column.rows.entry(Row::of(step)).or_default() += count;
        }
        self.slices = self.slices.max(1);
        match self.columns.last_mut().filter(|_| self.filled < self.slices) {
            Some(last) => {
                last.merge(column);
                self.filled += 1;
            }
            None => {
                self.make_room();
                self.columns.push(column);
                self.filled = 1;
            }
        }
    }

    fn make_room(&mut self) {
        if self.columns.len() < COLUMNS {
            return;
        }
        let mut wider: Vec<Column> = Vec::with_capacity(COLUMNS);
        for (place, column) in std::mem::take(&mut self.columns).into_iter().enumerate() {
            match wider.last_mut().filter(|_| place % 2 == 1) {
                Some(last) => last.merge(column),
                None => wider.push(column),
            }
        }
        self.columns = wider;
        self.slices *= 2;
    }

    /// By time.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// When requests were slowest, by column.
    pub fn spike(&self) -> Option<Spike> {
        let p99s: Vec<_> = self.columns.iter().map(|column| column.quantile(0.99)).collect();
        find_spike(&p99s)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(number: u64) -> Window {
        Window { start: Nanos(number * 1_000_000_000), end: Nanos((number + 1) * 1_000_000_000) }
    }

    fn of(all: &[u64]) -> Durations {
        let mut durations = Durations::default();
        all.iter().for_each(|ns| durations.add(Nanos(*ns)));
        durations
    }

    #[test]
    fn a_row_is_a_twenty_fifth_high() {
        for ns in [3_000, 77_000, 1_000_000, 2_500_000_000] {
            let mut heat = Heat::default();
            heat.add(second(0), &of(&[ns]));
            let (row, count) = heat.columns()[0].rows.first_key_value().unwrap();
            let (low, next) = (row.low().0, Row(row.0 + 1).low().0);
            assert!(low <= ns && ns < next && *count == 1, "{low} {ns} {next}");
            assert!((next - low) as f64 / (low as f64) < 0.07, "{low} {next}");
            assert_eq!(heat.columns()[0].quantile(0.99), Some(Nanos(next)));
        }
    }

    #[test]
    fn the_spike_is_where_requests_were_slow() {
        let mut heat = Heat::default();
        for number in 0..20 {
            let ns = if (8..10).contains(&number) { 90_000_000 } else { 4_000_000 };
            heat.add(second(number), &of(&[ns; 50]));
        }
        assert_eq!(heat.spike().map(|spike| spike.slices), Some((8, 10)));
    }

    #[test]
    fn a_look_adds_what_is_new() {
        let mut profile = crate::analyze::fixture::requests::lock();
        let mut heat = Heat::default();
        heat.add_so_far(&profile);
        let before = heat.columns()[0].count();
        assert!(before > 0);
        profile.requests.services[0].groups[0].latency.add(Nanos(9_000));
        profile.window.end.0 += 1;
        heat.add_so_far(&profile);
        assert_eq!(heat.columns()[1].count(), 1);
        assert_eq!(heat.columns()[1].window.start, heat.columns()[0].window.end);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_many_slices(numbers in prop::collection::vec(0..5_u64, 1..1500)) {
            let mut heat = Heat::default();
            for (place, number) in numbers.iter().enumerate() {
                heat.add(second(place as u64), &of(&vec![1_000_000; *number as usize]));
            }
            let columns = heat.columns();
            prop_assert!(columns.len() <= COLUMNS);
            let counted: u64 = columns.iter().map(Column::count).sum();
            prop_assert_eq!(counted, numbers.iter().sum::<u64>());
            prop_assert_eq!(columns[0].window.start, Nanos(0));
            prop_assert_eq!(columns.last().unwrap().window.end, second(numbers.len() as u64 - 1).end);
            for pair in columns.windows(2) {
                prop_assert_eq!(pair[0].window.end, pair[1].window.start);
            }
        }
    }
}
