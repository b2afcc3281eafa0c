//! Numbers of a thing, and how they differ from one slice to the next.
//!
//! A figure is a 64-bit number under an index; one that is 0 is left out. Distributions take an index for
//! each of their buckets. Most figures do not change from one second to the next, and most that do change
//! by little: a slice holds only these, as variable-length integers, compressed.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// Sorted by index; none is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures(Vec<(u32, u64)>);

/// A slice takes at most this much when it is no longer compressed: 10,000 threads with 100 waits each.
const MOST_BYTES: u64 = 256 << 20;

impl Figures {
    /// Adds a figure behind all others.
    pub fn push(&mut self, index: u32, value: u64) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < index));
        if value != 0 {
            self.0.push((index, value));
        }
    }

    /// The figure under an index.
    pub fn get(&self, index: u32) -> u64 {
        match self.0.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(place) => self.0[place].1,
            Err(_) => 0,
        }
    }

    /// Those with indices in a range.
    pub fn range(&self, range: std::ops::Range<u32>) -> &[(u32, u64)] {
        let first = self.0.partition_point(|(index, _)| *index < range.start);
        let last = self.0.partition_point(|(index, _)| *index < range.end);
        self.0.get(first..last).unwrap_or_default()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What must be added, modulo 2^64, to come from `before` to these.
    fn since(&self, before: &Figures) -> Vec<(u32, u64)> {
        merge(&self.0, &before.0, u64::wrapping_sub)
    }

    fn add(&mut self, changes: &[(u32, u64)]) {
        self.0 = merge(&self.0, changes, u64::wrapping_add);
    }
}

/// Figures of both, combined where they meet; 0 is left out.
fn merge(a: &[(u32, u64)], b: &[(u32, u64)], combine: impl Fn(u64, u64) -> u64) -> Vec<(u32, u64)> {
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    loop {
        let (index, left, right) = match (a.peek().copied(), b.peek().copied()) {
            (None, None) => return merged,
            (Some((index, left)), None) => (index, left, 0),
            (None, Some((index, right))) => (index, 0, right),
            (Some((i, left)), Some((j, _))) if i < j => (i, left, 0),
            (Some((i, _)), Some((j, right))) if i > j => (j, 0, right),
            (Some((index, left)), Some((_, right))) => (index, left, right),
        };
        a.next_if(|(next, _)| *next == index);
        b.next_if(|(next, _)| *next == index);
        let value = combine(left, right);
        if value != 0 {
            merged.push((index, value));
        }
    }
}

/// The figures of all things, by the numbers of these.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<Figures>);

impl Table {
    /// Those of a thing.
    pub fn of(&self, thing: u32) -> &Figures {
        const NONE: &Figures = &Figures(Vec::new());
        self.0.get(thing as usize).unwrap_or(NONE)
    }

    /// Sets those of a thing.
    pub fn set(&mut self, thing: u32, figures: Figures) {
        *self.place(thing) = figures;
    }

    fn place(&mut self, thing: u32) -> &mut Figures {
        let place = thing as usize;
        if self.0.len() <= place {
            self.0.resize(place + 1, Figures::default());
        }
        &mut self.0[place]
    }

    /// What must be added to `before` to come to this, as bytes.
    pub fn encode_since(&self, before: &Table) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        let mut bytes = Vec::new();
        let mut last = 0;
        for thing in 0..self.0.len().max(before.0.len()) as u32 {
            let changes = self.of(thing).since(before.of(thing));
            if changes.is_empty() {
                continue;
            }
            put(&mut bytes, u64::from(thing - last));
            last = thing;
            put(&mut bytes, changes.len() as u64);
            let mut at = 0;
            for (index, change) in changes {
                put(&mut bytes, u64::from(index - at));
                at = index;
                put(&mut bytes, zigzag(change));
            }
            let _memory = encoder.write_all(&bytes);
            bytes.clear();
        }
        encoder.finish().unwrap_or_else(|_| unreachable!("writing to memory does not fail"))
    }

    /// Adds what [`Self::encode_since`] gave. No thing has a number above `most`.
    ///
    /// # Errors
    /// When the bytes are none of these.
    pub fn add(&mut self, bytes: &[u8], most: u32) -> Result<()> {
        let mut all = Vec::new();
        let mut decoder = DeflateDecoder::new(bytes).take(MOST_BYTES + 1);
        decoder.read_to_end(&mut all).context("it cannot be decompressed")?;
        ensure!(all.len() as u64 <= MOST_BYTES, "it is too large");
        let mut rest = all.as_slice();
        let mut thing = 0_u32;
        let mut changes = Vec::new();
        while !rest.is_empty() {
            thing = next(thing, take(&mut rest)?)?;
            ensure!(thing <= most, "it has figures of nothing");
            let count = take(&mut rest)?;
            // Each takes two bytes or more.
            ensure!(count <= rest.len() as u64 / 2, "it ends early");
            changes.clear();
            let mut index = 0;
            for _ in 0..count {
                index = next(index, take(&mut rest)?)?;
                let is_next = changes.last().is_none_or(|(last, _)| *last < index);
                ensure!(is_next, "its figures are out of order");
                changes.push((index, unzigzag(take(&mut rest)?)));
            }
            self.place(thing).add(&changes);
        }
        Ok(())
    }
}

fn next(number: u32, gap: u64) -> Result<u32> {
    let next = u64::from(number).checked_add(gap).and_then(|next| u32::try_from(next).ok());
    next.context("a number is too large")
}

/// Seven bits a byte, lowest first; all but the last byte have the highest bit set.
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else { bail!("it ends early") };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number is too long")
}

/// Small differences to either side become small numbers.
fn zigzag(change: u64) -> u64 {
    let signed = change as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn figures() -> impl Strategy<Value = Figures> {
        proptest::collection::btree_map(any::<u32>(), any::<u64>(), 0..9).prop_map(|all| {
            let mut figures = Figures::default();
            all.into_iter().for_each(|(index, value)| figures.push(index, value));
            figures
        })
    }

    fn table() -> impl Strategy<Value = Table> {
        proptest::collection::vec(figures(), 0..9).prop_map(Table)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_is_added_up_is_what_was_there(tables in proptest::collection::vec(table(), 1..6)) {
            let (mut before, mut sum) = (Table::default(), Table::default());
            for table in tables {
                sum.add(&table.encode_since(&before), 8).unwrap();
                for thing in 0..9 {
                    prop_assert_eq!(sum.of(thing), table.of(thing));
                }
                before = table;
            }
        }

        #[test]
        fn any_bytes_are_figures_or_an_error(bytes: Vec<u8>) {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).unwrap();
            for bytes in [bytes, encoder.finish().unwrap()] {
                let mut table = Table::default();
                let _any = table.add(&bytes, 1000);
                prop_assert!(table.0.len() <= 1001);
            }
        }

        #[test]
        fn small_changes_are_small_numbers(change in -64_i64..64) {
            prop_assert!(zigzag(change as u64) < 128);
            prop_assert_eq!(unzigzag(zigzag(change as u64)), change as u64);
        }
    }
}
