//! Reads a recording.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rusqlite::Connection;

use super::connect::connect;
use super::figures::Table;
use super::name;
use super::restore::restore;
use super::thing::{Kind, ThingId};
use super::things::{Thing, Things};
use super::write::{LATER, NAMES};
use crate::model::{BuildId, Nameless, Names, Nanos, Profile, Window};

/// The end of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Number of its row.
    id: i64,
    /// By CLOCK_MONOTONIC of the host that was recorded.
    pub end: Nanos,
    /// By its clock of the day: nanoseconds since 1970.
    pub unix_ns: i64,
}

/// The part of a slice that is too little to take the slice for it.
const LITTLE: u64 = 10;

/// Slices that follow on one another: from the end of one to the end of another, by their places in
/// [`Recording::ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

/// A recording that is read.
pub struct Recording {
    connection: Connection,
    things: Things,
    last: u32,
    ends: Vec<Slice>,
}

/// A recording takes at most this many things: a hostile one could name more than memory holds.
const MOST_THINGS: i64 = 10_000_000;

impl Recording {
    /// Opens a file.
    ///
    /// # Errors
    /// In one line, what is wrong with it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn read(path: &Path) -> Result<Self> {
        // Whoever opens a database that is not there makes one.
        ensure!(!std::fs::metadata(path)?.is_dir(), "it is a directory");
        let connection = connect(path)?;
        let ends = ends(&connection).context("it is damaged")?;
        ensure!(ends.len() > 1, "it holds no slice: the recorder had no time to write one");
        let in_order = ends.windows(2).all(|pair| pair[0].end <= pair[1].end);
        ensure!(in_order, "it is damaged: its slices are out of order");
        let things = things(&connection).context("it is damaged")?;
        let last = things.last_key_value().map_or(0, |(last, _)| *last);
        Ok(Self { connection, things, last, ends })
    }

    /// The version of dwell that wrote it.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn version(&self) -> Result<String> {
        let read = "SELECT value FROM meta WHERE name = 'dwell'";
        let version = self.connection.query_row(read, (), |row| row.get(0));
        version.context("the recording is damaged: it does not say which dwell wrote it")
    }

    /// Whether it was made without names of functions, for them to be given later.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn is_named_later(&self) -> Result<bool> {
        let read = "SELECT count(*) FROM meta WHERE name = ?1 AND value = ?2";
        let count = self.connection.query_row(read, [NAMES, LATER], |row| row.get::<_, i64>(0));
        Ok(count.context("the recording is damaged")? > 0)
    }

    /// Functions and variables that had no name when it was recorded, by build.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn nameless(&self) -> Result<BTreeMap<BuildId, Nameless>> {
        name::nameless(&self.things).context("the recording is damaged")
    }

    /// Gives them names.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn name(&mut self, names: &HashMap<BuildId, Names>) -> Result<()> {
        name::name_all(&mut self.things, names).context("the recording is damaged")
    }

    /// Where slices end; the first is where the recording begins.
    pub fn ends(&self) -> &[Slice] {
        &self.ends
    }

    /// All of it.
    pub fn whole(&self) -> Part {
        Part { from: 0, to: self.ends.len() - 1 }
    }

    /// Where a part begins and ends, since the beginning.
    pub fn bounds(&self, part: Part) -> [Nanos; 2] {
        let start = self.ends[0].end;
        [part.from, part.to].map(|end| self.ends[end].end.since(start))
    }

    /// The slices that lie in a span of time since the beginning, at least one of them.
    ///
    /// # Errors
    /// When there is nothing between.
    pub fn part(&self, from: Option<Duration>, to: Option<Duration>) -> Result<Part> {
        let start = self.ends[0].end;
        let whole = self.whole();
        let instant = |offset: Duration| Nanos(start.0.saturating_add(offset.as_nanos() as u64));
        let length = self.ends[whole.to].end.since(start);
        // The slice in which it lies counts, but not for so little of it: slices end a little late.
        let little = Nanos(length.0 / (whole.to as u64).max(1) / LITTLE);
        let from = from.map_or(0, |from| {
            let from = instant(from) + little;
            self.ends.partition_point(|slice| slice.end <= from).saturating_sub(1)
        });
        let to = to.map_or(whole.to, |to| {
            let to = instant(to).since(little);
            self.ends.partition_point(|slice| slice.end < to).min(whole.to)
        });
        ensure!(
            from < to,
            "nothing lies between --from and --to: the recording has {:.1} s",
            length.0 as f64 / 1e9
        );
        Ok(Part { from, to })
    }

    /// What a live report of that part would have said.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn profile(&self, part: Part) -> Result<Profile> {
        let mut tables = Tables::new(self)?;
        tables.go_to(part.from)?;
        let before = tables.now.clone();
        tables.go_to(part.to)?;
        self.between(part, &before, &tables.now)
    }

    /// Hands out the profile of each slice of a part.
    ///
    /// # Errors
    /// When the file is damaged, or `each` fails.
    pub fn each_slice(
        &self,
        part: Part,
        mut each: impl FnMut(Profile) -> Result<()>,
    ) -> Result<()> {
        let mut tables = Tables::new(self)?;
        tables.go_to(part.from)?;
        for to in part.from + 1..=part.to {
            let before = tables.now.clone();
            tables.go_to(to)?;
            let slice = Part { from: to - 1, to };
            each(self.between(slice, &before, &tables.now)?)?;
        }
        Ok(())
    }

    fn between(&self, part: Part, before: &Table, after: &Table) -> Result<Profile> {
        let window = Window { start: self.ends[part.from].end, end: self.ends[part.to].end };
        // The first row has what the figures were before, where older slices are gone; of a recording
        // with all its slices it is empty.
        restore(&self.things, window, before, after).context("the recording is damaged")
    }
}

/// The figures at an instant, which moves on.
struct Tables<'a> {
    recording: &'a Recording,
    now: Table,
    next: usize,
}

impl<'a> Tables<'a> {
    fn new(recording: &'a Recording) -> Result<Self> {
        Ok(Self { recording, now: Table::default(), next: 0 })
    }

    /// Adds all slices up to this end.
    fn go_to(&mut self, end: usize) -> Result<()> {
        let recording = self.recording;
        let mut statement = recording
            .connection
            .prepare("SELECT figures FROM slice WHERE id = ?1")
            .context("the recording is damaged")?;
        while self.next <= end {
            let slice = recording.ends[self.next];
            let bytes: Vec<u8> = statement
                .query_row([slice.id], |row| row.get(0))
                .context("the recording is damaged")?;
            let added = self.now.add(&bytes, recording.last);
            added.with_context(|| format!("the recording is damaged: slice {}", slice.id))?;
            self.next += 1;
        }
        Ok(())
    }
}

fn ends(connection: &Connection) -> Result<Vec<Slice>> {
    let mut statement = connection.prepare("SELECT id, end_ns, unix_ns FROM slice ORDER BY id")?;
    let rows = statement.query_map((), |row| {
        let end = row.get::<_, i64>(1)?;
        Ok(Slice { id: row.get(0)?, end: Nanos(end.max(0) as u64), unix_ns: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn things(connection: &Connection) -> Result<Things> {
    let mut statement = connection.prepare("SELECT id, kind, parent, body FROM thing")?;
    let mut rows = statement.query(())?;
    let mut things = Things::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        ensure!((1..=MOST_THINGS).contains(&id), "a thing has the number {id}");
        let kind: String = row.get(1)?;
        let kind = Kind::of(&kind).with_context(|| format!("a thing is a {kind:?}"))?;
        let parent: Option<u32> = row.get(2)?;
        things.insert(id as u32, Thing { kind, parent: parent.map(ThingId), body: row.get(3)? });
    }
    Ok(things)
}
